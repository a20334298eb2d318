# SPDX-License-Identifier: AGPL-3.0-or-later
"""DKIM (C2, D1): only what was signed for the author's own domain proves the author."""

import dataclasses
import re
import time
from email.utils import formatdate
from typing import Any

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import limits
from bridges.smtp.proof.resolver import LookupFailed
from bridges.smtp.proof.verdict import Claim, Standing
from tests.support.downloads import sdist
from tests.support.proving import DKIM, ED25519, KEY, Bench, keys
from tests.support.signing import mail_of, openssl_rsa, rsa_key, rsa_record, signed, signed_by_hand


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_signature_of_the_authors_domain_proves_it(bench: Bench) -> None:
    verdict = await bench.verdict(signed(mail_of()), keys())
    assert verdict.standing(DKIM) is Standing.HOLDS
    assert verdict.trace[0].startswith("DKIM: d=partner.example, aligned, pass")
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.unsure = frozenset()  # type: ignore[misc]


@pytest.mark.parametrize("canonicalize", [(b"simple", b"simple"), (b"relaxed", b"simple"), (b"simple", b"relaxed")])
async def test_every_canonicalisation(bench: Bench, canonicalize: tuple[bytes, bytes]) -> None:
    mail = mail_of(body="A  line \t\r\n\r\n.x\r\n\r\n\r\n", Subject="Two\r\n  lines")
    assert (await bench.verdict(signed(mail, canonicalize=canonicalize), keys())).standing(DKIM) is Standing.HOLDS


async def test_ed25519(bench: Bench) -> None:
    """RFC 8463."""
    mail = signed(mail_of(), selector="ed", signature_algorithm=b"ed25519-sha256")
    assert (await bench.verdict(mail, keys())).standing(DKIM) is Standing.HOLDS
    wrong = {ED25519: rsa_record(rsa_key())}
    assert (await bench.verdict(mail, wrong)).standing(DKIM) is Standing.FAILS


async def test_every_signature_is_looked_at(bench: Bench) -> None:
    """The good one may stand anywhere among those of others, broken ones, and ones without a key."""
    good = signed(mail_of())
    for mail in (
        signed(good, "other.example"),
        signed(good, selector="gone"),
        b"DKIM-Signature: nonsense\r\n" + good,
        signed(signed(mail_of(), "other.example"), "partner.example"),
    ):
        verdict = await bench.verdict(mail, keys())
        assert verdict.standing(DKIM) is Standing.HOLDS, verdict.trace
        assert len(verdict.findings) == 2


def wrong_signatures() -> dict[str, bytes]:
    now = int(time.time())
    mail = mail_of()
    good = signed(mail)
    return {
        "no signature": mail,
        "body changed": good + b"More.\r\n",
        "subject changed": good.replace(b"An order", b"No order"),
        "another's domain": signed(mail, "other.example"),
        "a subdomain that no policy joins": signed(mail, "mail.partner.example"),
        "l= with more than was signed": signed_by_hand(mail, {"l": "5"}) + b"More.\r\n",
        "l= over all": signed_by_hand(mail, {"l": str(len(mail.partition(b"\r\n\r\n")[2]))}),
        "expired": signed_by_hand(mail, {"t": str(now - 9_000), "x": str(now - 2 * limits.CLOCK_SKEW_S)}),
        "made in the future": signed_by_hand(mail, {"t": str(now + 2 * limits.CLOCK_SKEW_S)}),
        "sha1": signed_by_hand(mail, {}, hash_name="sha1"),
        "sha512": signed_by_hand(mail, {}, hash_name="sha512"),
        "From not covered": signed_by_hand(mail, {"h": "to:subject"}),
        "Subject not covered": signed_by_hand(mail, {"h": "from:to:date"}),
        "no version": signed_by_hand(mail, {"v": ""}),
        "i= of another": signed_by_hand(mail, {"i": "@notpartner.example"}),
        "another's key": signed_by_hand(mail, {}, rsa_key(2048, 1)),
        "empty b=": good.partition(b"b=")[0] + b"b=\r\n" + mail,
        "no name in d=": signed_by_hand(mail, {"d": "partner..example"}),
        "a field that is too long": signed_by_hand(mail, {"z": "x" * limits.SIGNATURE_FIELD_MAX_BYTES}),
        "made long ago": signed_by_hand(mail, {"t": str(now - int(limits.SIGNATURE_AGE_MAX_S) - 60)}),
        "a mail of long ago": signed_by_hand(mail_of(Date="Thu, 26 Nov 2020 07:00:00 +0000"), {}),
        "a mail of a day to come": signed_by_hand(mail_of(Date=formatdate(now + limits.DATE_AHEAD_MAX_S + 60)), {}),
        "made nobody knows when": signed_by_hand(mail, {"h": "from:to:subject"}),
        "a date that is none": signed_by_hand(mail_of(Date="yesterday"), {}),
        "an unknown c=": signed_by_hand(mail, {"c": "nowsp/nowsp"}),
    }


@pytest.mark.parametrize("which", list(wrong_signatures()))
async def test_what_proves_nothing(bench: Bench, which: str) -> None:
    table = keys()
    table |= {f"rsa._domainkey.{name}": table[KEY] for name in ("other.example", "mail.partner.example")}
    verdict = await bench.verdict(wrong_signatures()[which], table)
    assert verdict.standing(DKIM) is Standing.FAILS, verdict.trace
    assert verdict.trace


async def test_by_hand_is_right_where_nothing_is_wrong(bench: Bench) -> None:
    """Else the tests above would fail for another reason than the one they name."""
    assert (await bench.verdict(signed_by_hand(mail_of(), {}), keys())).standing(DKIM) is Standing.HOLDS
    now = int(time.time())
    ahead = signed_by_hand(mail_of(Date=formatdate(now + 3_600)), {})  # whoever wrote it has another summer time
    assert (await bench.verdict(ahead, keys())).standing(DKIM) is Standing.HOLDS
    soon = signed_by_hand(mail_of(), {"t": str(now), "x": str(now + 600), "i": "@news.partner.example"})
    assert (await bench.verdict(soon, keys())).standing(DKIM) is Standing.HOLDS
    assert (await bench.verdict(soon, keys(), ahead_s=600 + 2 * limits.CLOCK_SKEW_S)).standing(DKIM) is Standing.FAILS


@pytest.mark.parametrize(
    "record",
    [
        rsa_record(rsa_key(), "t=y; "),
        rsa_record(rsa_key(), "s=tlsrpt; "),
        rsa_record(rsa_key(), "h=sha1; "),
        rsa_record(rsa_key()).replace(b"DKIM1", b"DKIM2"),
        b"v=DKIM1; p=",
        b"v=DKIM1; p=AAAA",
        b"nonsense",
        b"v=DKIM1; p=" + b"A" * 5_000,
        (rsa_record(rsa_key()), rsa_record(rsa_key(2048, 1))),
        (),
    ],
)
async def test_keys_that_prove_nothing(bench: Bench, record: Any) -> None:
    assert (await bench.verdict(signed(mail_of()), {KEY: record})).standing(DKIM) is Standing.FAILS


async def test_a_key_for_this_domain_only(bench: Bench) -> None:
    """RFC 6376 §3.6.1: t=s."""
    table = {KEY: rsa_record(rsa_key(), "t=s; ")}
    assert (await bench.verdict(signed(mail_of()), table)).standing(DKIM) is Standing.HOLDS
    below = signed_by_hand(mail_of(), {"i": "@news.partner.example"})
    assert (await bench.verdict(below, table)).standing(DKIM) is Standing.FAILS


async def test_an_oversigned_from_stays_valid(bench: Bench) -> None:
    mail = signed(mail_of(), include_headers=[b"from", b"from", b"to", b"subject", b"subject"])
    assert (await bench.verdict(mail, keys())).standing(DKIM) is Standing.HOLDS


async def test_a_key_that_cannot_be_looked_up_is_tried_again(bench: Bench) -> None:
    verdict = await bench.verdict(signed(mail_of()), {KEY: LookupFailed})
    assert verdict.standing(DKIM) is Standing.UNSURE
    # of another's signature it is of no interest
    other = await bench.verdict(signed(mail_of(), "other.example"), {"rsa._domainkey.other.example": LookupFailed})
    assert other.standing(DKIM) is Standing.FAILS


async def test_more_signatures_than_are_looked_at(bench: Bench) -> None:
    mail = signed(mail_of())
    for _ in range(limits.DKIM_SIGNATURES_MAX):
        mail = b"DKIM-Signature: v=1\r\n" + mail
    verdict = await bench.verdict(mail, keys())
    assert verdict.standing(DKIM) is Standing.FAILS
    assert any("1 further" in line for line in verdict.trace)


async def test_look_ups_have_a_budget(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_LOOKUPS_MAX", 3)
    mail = signed(mail_of())
    for number in range(5):
        mail = signed(mail, selector=f"s{number}")
    verdict = await bench.verdict(mail, keys())
    assert len(bench.records.asked) == 3
    assert verdict.standing(DKIM) is Standing.FAILS


@pytest.mark.parametrize(("bits", "standing"), [(768, Standing.FAILS), (1024, Standing.HOLDS), (4224, Standing.FAILS)])
async def test_how_long_a_key_may_be(bench: Bench, bits: int, standing: Standing) -> None:
    """RFC 8301 §3.2; OpenSSL's command makes those that nobody should."""
    private, public = openssl_rsa(bits)
    made = dkim.sign(mail_of(), b"rsa", b"partner.example", private, include_headers=[b"from", b"subject"])
    assert (await bench.verdict(made + mail_of(), {KEY: b"v=DKIM1; p=" + public})).standing(DKIM) is standing


async def test_the_messages_of_dkimpy(bench: Bench) -> None:
    """Its RFC 6376 and RFC 8463 examples, as they were sent."""
    data = sdist("dkimpy", "1.1.8") / "dkim" / "tests" / "data"
    mail = (data / "rfc6376.signed.msg").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    claim = Claim("dkim", "football.example.com")
    table = {
        "brisbane._domainkey.football.example.com": b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "test._domainkey.football.example.com": (data / "test.txt").read_bytes().strip(),
    }
    changed = mail.replace(b"hungry", b"thirsty")
    for made_s in (1_518_460_054, 1_527_915_362):  # t= of the two signatures
        ahead_s = made_s - int(time.time())
        verdict = await bench.verdict(mail, table, (claim,), ahead_s=ahead_s)
        assert verdict.standing(claim) is Standing.HOLDS, verdict.trace
        assert (await bench.verdict(changed, table, (claim,), ahead_s=ahead_s)).standing(claim) is Standing.FAILS


@given(st.text(alphabet="b=; \t\r\nA/z", max_size=40))
def test_the_pattern_for_b_finds_what_that_of_dkimpy_finds(text: str) -> None:
    """Its own needs time that grows with the square of the white space, and fields of 64 KiB were let through to it."""
    white = rb"(?:(?:\s*\r?\n)?\s+)?"
    theirs = re.compile(rb"([;\s]b" + white + rb"=)(?:" + white + rb"[a-zA-Z0-9+/=])*(?:\r?\n\Z)?")
    value = b" v=1;" + text.encode() + b"\r\n"
    assert dkim.RE_BTAG.sub(rb"\1", value) == theirs.sub(rb"\1", value)
    assert "*+" in dkim.RE_BTAG.pattern.decode()
