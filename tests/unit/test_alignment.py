# SPDX-License-Identifier: AGPL-3.0-or-later
"""DMARC's alignment, and SPF with it (C2, D1): whose domain proves an author of which."""

import dataclasses
import ipaddress
from typing import Any

import pytest

from bridges.smtp.policy.rules import Rules, SenderRule
from bridges.smtp.proof.dmarc import Alignment, Unsure, walk_targets
from bridges.smtp.proof.resolver import LookupFailed, Lookups
from bridges.smtp.proof.verdict import Claim, Standing
from tests.support.proving import DKIM, DMARC, ORIGIN, SPF, Bench
from tests.support.signing import Records, mail_of, rsa_key, rsa_record, signed


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("author", "other", "records", "aligned"),
    [
        ("partner.example", "partner.example", {}, True),
        ("partner.example", "mail.partner.example", {}, False),
        ("partner.example", "mail.partner.example", {DMARC: "v=DMARC1; p=none"}, True),
        ("mail.partner.example", "partner.example", {DMARC: "v=DMARC1"}, True),
        ("a.partner.example", "b.c.partner.example", {DMARC: "v=DMARC1; p=reject"}, True),
        ("partner.example", "mail.partner.example", {DMARC: "v=DMARC1; p=none; adkim=s"}, False),
        ("partner.example", "partner.example", {DMARC: "v=DMARC1; p=none; adkim=s"}, True),
        ("partner.example", "notpartner.example", {DMARC: "v=DMARC1", "_dmarc.notpartner.example": "v=DMARC1"}, False),
        # the owner of a part says that it is his own
        ("partner.example", "shop.partner.example", {DMARC: "v=DMARC1", "_dmarc.shop.partner.example": "v=DMARC1; psd=n"}, False),
        # a registry says that what is below it is not one
        ("a.co.example", "b.co.example", {"_dmarc.co.example": "v=DMARC1; psd=y"}, False),
        ("a.co.example", "x.a.co.example", {"_dmarc.co.example": "v=DMARC1; psd=y"}, True),
        # a registry that forgot to say so owns nobody
        ("a.example", "b.example", {"_dmarc.example": "v=DMARC1; p=none"}, False),
        # several records are none, and so is what does not begin with the version
        ("partner.example", "mail.partner.example", {DMARC: ["v=DMARC1", "v=DMARC1; p=none"]}, False),
        ("partner.example", "mail.partner.example", {DMARC: "p=none; v=DMARC1"}, False),
        ("partner.example", "mail.partner.example", {DMARC: ["v=spf1 -all", "v=DMARC1;"]}, True),
    ],
)  # fmt: skip
async def test_who_is_aligned(author: str, other: str, records: dict[Any, Any], aligned: bool) -> None:
    """RFC 9989 §4.4, §4.10."""
    assert await Alignment(author, Lookups(Records(records))).aligned(other, "adkim") is aligned


def test_a_walk_costs_eight_look_ups_at_most() -> None:
    """RFC 9989 §4.10, with its example."""
    assert walk_targets("a.mail.example.com") == ["a.mail.example.com", "mail.example.com", "example.com", "com"]
    long = walk_targets("a.b.c.d.e.f.g.h.i.j.mail.example.com")
    assert long[:2] == ["a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com"]
    assert len(long) == 8
    assert len(walk_targets("1.2.3.4.5.6.7.example")) == 8


async def test_a_policy_that_cannot_be_looked_up_decides_nothing(bench: Bench) -> None:
    with pytest.raises(Unsure):
        await Alignment("partner.example", Lookups(Records({DMARC: LookupFailed}))).aligned("x.partner.example", "aspf")
    mail, claim = signed(mail_of(), "mail.partner.example"), Claim("dkim", "mail.partner.example")
    table = {"rsa._domainkey.mail.partner.example": rsa_record(rsa_key()), DMARC: LookupFailed}
    assert (await bench.verdict(mail, table, (claim,))).standing(claim) is Standing.UNSURE
    table[DMARC] = b"v=DMARC1; p=none"
    assert (await bench.verdict(mail, table, (claim,))).standing(claim) is Standing.HOLDS
    assert (await bench.verdict(mail, table, (claim,))).standing(DKIM) is Standing.FAILS  # another d= than was wanted


@pytest.mark.parametrize(
    ("mail_from", "records", "standing"),
    [
        ("b@partner.example", {"partner.example": "v=spf1 ip4:192.0.2.1 -all"}, Standing.HOLDS),
        ("b@partner.example", {"partner.example": "v=spf1 ip4:192.0.2.2 -all"}, Standing.FAILS),
        ("b@partner.example", {"partner.example": "v=spf1 ip4:192.0.2.2 ~all"}, Standing.FAILS),
        ("b@partner.example", {"partner.example": "v=spf1 ?all"}, Standing.FAILS),
        ("b@partner.example", {}, Standing.FAILS),
        ("b@partner.example", {"partner.example": LookupFailed}, Standing.UNSURE),
        ("b@other.example", {"other.example": "v=spf1 +all"}, Standing.FAILS),
        ("b@m.partner.example", {"m.partner.example": "v=spf1 +all"}, Standing.FAILS),
        ("b@m.partner.example", {"m.partner.example": "v=spf1 +all", DMARC: "v=DMARC1"}, Standing.HOLDS),
        ("b@m.partner.example", {"m.partner.example": "v=spf1 +all", DMARC: "v=DMARC1; aspf=s"}, Standing.FAILS),
        # HELO never aligns, whatever it says
        ("", {"partner.example": "v=spf1 +all", "mx.partner.example": "v=spf1 +all", DMARC: "v=DMARC1"}, Standing.FAILS),
    ],
)  # fmt: skip
async def test_spf_must_pass_and_be_aligned(bench: Bench, mail_from: str, records: Any, standing: Standing) -> None:
    origin = dataclasses.replace(ORIGIN, mail_from=mail_from)
    verdict = await bench.verdict(mail_of(), records, (SPF,), origin)
    assert verdict.standing(SPF) is standing, verdict.trace


async def test_the_address_of_a_server_in_front_is_not_the_senders(bench: Bench) -> None:
    origin = dataclasses.replace(ORIGIN, upstream=True)
    verdict = await bench.verdict(mail_of(), {"partner.example": "v=spf1 +all"}, (SPF,), origin)
    assert verdict.standing(SPF) is Standing.FAILS


@pytest.mark.parametrize("proof", [{"networks": (ipaddress.ip_network("127.0.0.0/8"),)}, {"keys": (b"key",)}])
def test_what_a_server_in_front_shows_is_its_own(proof: Any) -> None:
    """Its network and its certificate prove no sender (C2, D1), not at MAIL and not after the data."""
    rule = SenderRule(address="orders@partner.example", **proof)
    rules = Rules([rule], [])
    for upstream in (False, True):
        assert rule.session_proves("127.0.0.1", b"key", upstream=upstream) is not upstream
        passing = rules.could_pass("orders@partner.example", "127.0.0.1", b"key", upstream=upstream)
        assert passing is not upstream
