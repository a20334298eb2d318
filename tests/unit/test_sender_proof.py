# SPDX-License-Identifier: AGPL-3.0-or-later
"""DKIM, ARC and DMARC's alignment (C2, D1): only what was signed for the author's own domain proves the author."""

import asyncio
import dataclasses
import ipaddress
import re
import time
from email.utils import formatdate
from typing import Any

import dkim
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import limits
from bridges.mime import headers
from bridges.mime.parse import parse_mail
from bridges.smtp.mail import post_id
from bridges.smtp.posting import without
from bridges.smtp.proof import author, worker
from bridges.smtp.proof.author import HeaderRefused, canonical_address, read_header
from bridges.smtp.proof.dmarc import Alignment, Unsure, walk_targets
from bridges.smtp.proof.exchange import Order, Overtaxed, SignaturesOrder
from bridges.smtp.proof.prover import Origin, Prover, Trust
from bridges.smtp.proof.resolver import LookupFailed, Lookups
from bridges.smtp.proof.results import parse_results, trusted_results
from bridges.smtp.proof.verdict import Claim, Finding, Standing, Verdict
from bridges.smtp.rules import Rules, SenderRule, covered_fields
from bridges.workers import WorkerFailed
from tests.support.downloads import sdist
from tests.support.signing import (
    Records,
    ed25519_record,
    mail_of,
    openssl_rsa,
    pem,
    rsa_key,
    rsa_record,
    sealed,
    signed,
    signed_by_hand,
)

DKIM, SPF = Claim("dkim", "partner.example"), Claim("spf")
ORIGIN = Origin("192.0.2.1", "mx.partner.example", "bounces@partner.example")
KEY = "rsa._domainkey.partner.example"
ED25519 = "ed._domainkey.partner.example"
DMARC = "_dmarc.partner.example"


def keys(**more: Any) -> dict[Any, Any]:
    return {KEY: rsa_record(rsa_key()), ED25519: ed25519_record(), **more}


class InThisProcess:
    """What the processes that look at mails do, without a second for the start of each."""

    async def ask(self, order: bytes, octets: bytes, wall_s: float, answer_max_bytes: int) -> bytes:
        return msgspec.json.encode(worker.answer(msgspec.json.decode(order, type=Order), octets))


class Bench:
    """Provers over tables of records."""

    def __init__(self) -> None:
        self.records = Records({})

    async def verdict(
        self,
        mail: bytes,
        table: dict[Any, Any],
        claims: tuple[Claim, ...] = (DKIM,),
        origin: Origin = ORIGIN,
        trust: Trust = Trust(),  # noqa: B008 - it does not change
        ahead_s: int = 0,
    ) -> Verdict:
        self.records = Records(table)
        prover = Prover(self.records, lambda: int(time.time()) + ahead_s, trust)
        prover._workers = InThisProcess()  # type: ignore[assignment]
        return await prover.prove(mail, read_header(mail), origin, claims)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- DKIM --------------------------------------------------------------------------------------------------------------
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


async def test_the_processes_that_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a bridge: a good mail, hostile ones, one that takes too long, and the good one again."""
    header = read_header(mail_of())
    prover = Prover(Records(keys()), lambda: int(time.time()), Trust(arc_sealers=frozenset({"lists.example"})))

    async def standing(mail: bytes) -> Standing:
        return (await prover.prove(mail, header, ORIGIN, (DKIM,))).standing(DKIM)

    try:
        assert await standing(signed(mail_of())) is Standing.HOLDS
        for hostile in (
            b"",
            b"\r\n",
            b"\xff" * 1_000,
            b" x\r\n",
            b"DKIM-Signature: " + b";a=" * 20_000,
            b"ARC-Seal: i=x\r\n",
        ):
            assert await standing(hostile) is Standing.FAILS
        with monkeypatch.context() as hurried, pytest.raises(WorkerFailed):  # our load, so it is tried again
            hurried.setattr(limits, "PROOF_WALL_S", 0.0)
            await standing(signed(mail_of()))
        assert await standing(signed(mail_of())) is Standing.HOLDS
    finally:
        await prover.stop()


def test_a_mail_that_makes_a_library_fall_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), RecursionError(), ValueError("x")):
        monkeypatch.setattr(worker.dkim, "Signatures", lambda *_, error=error: (_ for _ in ()).throw(error))
        assert isinstance(worker.answer(SignaturesOrder(0, False), signed(mail_of())), Overtaxed)


@given(st.text(alphabet="b=; \t\r\nA/z", max_size=40))
def test_the_pattern_for_b_finds_what_that_of_dkimpy_finds(text: str) -> None:
    """Its own needs time that grows with the square of the white space, and fields of 64 KiB were let through to it."""
    white = rb"(?:(?:\s*\r?\n)?\s+)?"
    theirs = re.compile(rb"([;\s]b" + white + rb"=)(?:" + white + rb"[a-zA-Z0-9+/=])*(?:\r?\n\Z)?")
    value = b" v=1;" + text.encode() + b"\r\n"
    assert dkim.RE_BTAG.sub(rb"\1", value) == theirs.sub(rb"\1", value)
    assert "*+" in dkim.RE_BTAG.pattern.decode()


async def test_one_peers_mails_leave_a_turn_to_others() -> None:
    class Counting(InThisProcess):
        now = most = 0

        async def ask(self, order: bytes, octets: bytes, wall_s: float, answer_max_bytes: int) -> bytes:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return await super().ask(order, octets, wall_s, answer_max_bytes)

    mail = signed(mail_of())
    header = read_header(mail)
    prover = Prover(Records(keys()), lambda: int(time.time()), Trust())

    async def most(*origins: Origin) -> int:
        counting = Counting()
        prover._workers = counting  # type: ignore[assignment]
        await asyncio.gather(*(prover.prove(mail, header, origin, (DKIM,)) for origin in origins))
        return counting.most

    other = dataclasses.replace(ORIGIN, peer="192.0.2.2")
    assert await most(ORIGIN, ORIGIN, ORIGIN) == limits.PROOF_WORKERS_PER_PEER
    assert await most(ORIGIN, other) == 2 * limits.PROOF_WORKERS_PER_PEER
    behind = dataclasses.replace(ORIGIN, peer="127.0.0.1", upstream=True)
    assert await most(behind, behind, behind) == limits.PROOF_WORKERS


# -- alignment ---------------------------------------------------------------------------------------------------------
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


# -- SPF ---------------------------------------------------------------------------------------------------------------
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


# -- what a signature leaves out ------------------------------------------------------------------------------------------
QUOTING = "You wrote:\r\n\r\n--x\r\n\r\nPay to me.\r\n--x--\r\n\r\nWe never do that.\r\n"
PARTS = "--x\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("body", "kind", "standing"),
    [
        (QUOTING, "multipart/mixed; boundary=x", Standing.FAILS),
        (PARTS + "We never do that.\r\n", "multipart/mixed; boundary=x", Standing.FAILS),
        ("Hidden.\r\n" + PARTS, "multipart/mixed; boundary=x", Standing.FAILS),
        (PARTS, "multipart/mixed; boundary=y", Standing.FAILS),
        (PARTS, "multipart/mixed", Standing.FAILS),
        (QUOTING, "message/rfc822", Standing.FAILS),
        (QUOTING, "message/delivery-status", Standing.FAILS),
        (QUOTING, "text/enriched", Standing.FAILS),
        (QUOTING, "application/octet-stream", Standing.FAILS),
        (QUOTING, "text/plain; charset=utf-16", Standing.FAILS),
        (QUOTING, "text/plain; charset=utf-7", Standing.FAILS),
        (QUOTING, "text/plain; charset=iso-8859-2", Standing.HOLDS),
        (QUOTING, "text/html; charset=utf-8", Standing.HOLDS),
        (PARTS, 'multipart/mixed;\r\n boundary="x"', Standing.HOLDS),
        ("This is a multi-part message in MIME format.\r\n" + PARTS + "\r\n", "multipart/mixed; boundary=x", Standing.HOLDS),
    ],
)  # fmt: skip
async def test_a_content_type_that_nobody_signed(bench: Bench, body: str, kind: str, standing: Standing) -> None:
    """D1: it must not make another mail of a signed body. One that was signed may be anything."""
    mail = f"Content-Type: {kind}\r\n".encode() + signed(mail_of(body=body))
    verdict = await bench.verdict(mail, keys())
    assert verdict.standing(DKIM) is standing, verdict.trace
    names = [b"from", b"subject", b"date", b"content-type"]
    mail = signed(mail_of(body=body, **{"Content-Type": kind}), include_headers=names)
    assert (await bench.verdict(mail, keys())).standing(DKIM) is Standing.HOLDS


async def test_a_mails_place_is_signed_or_it_has_none(bench: Bench) -> None:
    """D1: whoever has a signed mail must not put it into another conversation."""
    rule = SenderRule(address="orders@partner.example", claims=(DKIM,))
    covered = covered_fields(rule, await bench.verdict(signed(mail_of()), keys()))
    assert covered == {"from", "to", "subject", "date", "message-id"}
    letter = parse_mail(b"Message-ID: <2@x>\r\nReferences: <1@x>\r\n" + b"From: a@b.example\r\n\r\nx").letter
    assert without(letter, frozenset()) is letter
    bare = without(letter, frozenset({"references", "message-id", "received"}))
    assert (bare.message_id, bare.references, bare.text) == ("", (), letter.text)
    assert without(letter, frozenset({"in-reply-to"})).references == ()
    # what came in a session that is proved is his as it is
    origin = dataclasses.replace(ORIGIN, mail_from="b@partner.example")
    both = dataclasses.replace(rule, claims=(DKIM, SPF))
    verdict = await bench.verdict(
        signed(mail_of()), keys(**{"partner.example": "v=spf1 ip4:192.0.2.1"}), (DKIM, SPF), origin
    )
    assert covered_fields(both, verdict) is None
    network = dataclasses.replace(rule, networks=(ipaddress.ip_network("192.0.2.0/24"),))
    assert covered_fields(network, await bench.verdict(signed(mail_of()), keys())) is None


@pytest.mark.parametrize("canonicalize", [(b"simple", b"simple"), (b"relaxed", b"relaxed")])
async def test_a_signed_mail_that_comes_again_is_the_same_post(bench: Bench, canonicalize: tuple[bytes, bytes]) -> None:
    """Whatever its signature lets others change (A4, D1): blank lines at the end, fields that it leaves out."""

    async def post(mail: bytes) -> str:
        verdict = await bench.verdict(mail, keys())
        assert verdict.standing(DKIM) is Standing.HOLDS, verdict.trace
        rule = SenderRule(address="orders@partner.example", claims=(DKIM,))
        covered = covered_fields(rule, verdict)
        assert covered is not None
        names = frozenset(name for name, _ in read_header(mail).fields)
        letter = without(parse_mail(mail).letter, names - covered)
        return post_id("orders@partner.example", "support@example.org", letter, mail, verdict.body)

    names = [b"from", b"subject", b"date"]
    mail = signed(mail_of(), canonicalize=canonicalize, include_headers=names)
    again = [
        mail + b"\r\n\r\n",
        mail.replace(b"<1@partner", b"<2@partner"),
        b"References: <x@y>\r\n" + mail,
        b"Content-Type: text/plain; charset=utf-8\r\n" + mail,
    ]
    assert {await post(one) for one in (mail, *again)} == {await post(mail)}
    others = [mail_of(body="Good evening.\r\n"), mail_of(Subject="Another"), mail_of(Date=formatdate(time.time() - 60))]
    assert (
        len(
            {await post(signed(one, canonicalize=canonicalize, include_headers=names)) for one in others}
            | {await post(mail)}
        )
        == 4
    )


# -- ARC ---------------------------------------------------------------------------------------------------------------
LISTS = Trust(arc_sealers=frozenset({"lists.example"}))
SAW = "dkim=pass header.d=partner.example; spf=pass smtp.mailfrom=bounces@partner.example"


def forwarded(results: str = SAW) -> bytes:
    """A mail that a mailing list changed after it had looked at it."""
    return sealed(signed(mail_of()) + b"-- \r\nThe list\r\n", "lists.example", results)


def forwarded_bare() -> bytes:
    """The list's signature does not cover the subject."""
    mail = f"Authentication-Results: lists.example; {SAW}\r\n".encode() + mail_of()
    names = [b"from", b"to"]
    made = dkim.arc_sign(mail, b"rsa", b"lists.example", pem(rsa_key()), b"lists.example", include_headers=names)
    return b"".join(made) + mail


ARC_KEYS = keys(
    **{"rsa._domainkey.lists.example": rsa_record(rsa_key()), "rsa._domainkey.evil.example": rsa_record(rsa_key())}
)


async def test_a_listed_sealer_is_believed(bench: Bench) -> None:
    verdict = await bench.verdict(forwarded(), ARC_KEYS, (DKIM, SPF), trust=LISTS)
    assert verdict.standing(DKIM) is Standing.HOLDS, verdict.trace
    assert verdict.standing(SPF) is Standing.HOLDS
    assert any("the sealer lists.example" in line for line in verdict.trace)


@pytest.mark.parametrize(
    ("mail", "trust"),
    [
        (forwarded(), Trust()),
        (forwarded(), Trust(arc_sealers=frozenset({"other.example"}))),
        (forwarded("dkim=fail header.d=partner.example"), LISTS),
        (forwarded("dkim=pass header.d=other.example"), LISTS),
        (forwarded() + b"More.\r\n", LISTS),
        (forwarded(SAW.replace("pass", "fail")).replace(b"dkim=fail", b"dkim=pass", 1), LISTS),
        (forwarded_bare(), LISTS),
        # who is not listed changed it after the list had sealed it
        (sealed(forwarded() + b"More.\r\n", "evil.example", SAW), LISTS),
        # who is not listed says that he saw it, and the list sealed that
        (sealed(sealed(mail_of(), "evil.example", SAW), "lists.example", "arc=pass"), LISTS),
    ],
)
async def test_seals_that_prove_nothing(bench: Bench, mail: bytes, trust: Trust) -> None:
    verdict = await bench.verdict(mail, ARC_KEYS, (DKIM,), trust=trust)
    assert verdict.standing(DKIM) is Standing.FAILS, verdict.trace


async def test_a_seal_whose_key_cannot_be_looked_up_is_tried_again(bench: Bench) -> None:
    table = {**ARC_KEYS, "rsa._domainkey.lists.example": LookupFailed}
    assert (await bench.verdict(forwarded(), table, (DKIM,), trust=LISTS)).standing(DKIM) is Standing.UNSURE


# -- Authentication-Results of a server in front -----------------------------------------------------------------------
IN_FRONT = Trust(authserv_id="mx.example.org")


def from_upstream(*headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode() + mail_of()


@pytest.mark.parametrize(
    ("mail", "upstream", "standing"),
    [
        (from_upstream("Authentication-Results: mx.example.org; dkim=pass (ok) header.d=partner.example"), True, Standing.HOLDS),
        (from_upstream("Authentication-Results: MX.example.org 1;\r\n dkim=pass header.i=@partner.example"), True, Standing.HOLDS),
        (from_upstream("Received: by mx", "Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), True, Standing.HOLDS),
        # not from the server in front; in another's name; below what it wrote; overruled by what it wrote
        (from_upstream("Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), False, Standing.FAILS),
        (from_upstream("Authentication-Results: evil.example; dkim=pass header.d=partner.example"), True, Standing.FAILS),
        (from_upstream("Authentication-Results: evil.example (; mx.example.org; dkim=pass header.d=partner.example)"), True, Standing.FAILS),
        (from_upstream("Received: by mx", "Received: by x", "Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), True, Standing.FAILS),
        (from_upstream("Authentication-Results: mx.example.org; dkim=none", "Authentication-Results: mx.example.org; dkim=pass header.d=partner.example"), True, Standing.FAILS),
        (from_upstream("Authentication-Results: mx.example.org; dkim=pass header.d=other.example"), True, Standing.FAILS),
        (from_upstream('Authentication-Results: mx.example.org; x=y reason="; dkim=pass header.d=partner.example"'), True, Standing.FAILS),
        (from_upstream("Authentication-Results: mx.example.org; dkim=temperror header.d=partner.example"), True, Standing.UNSURE),
    ],
)  # fmt: skip
async def test_results_of_a_server_in_front(bench: Bench, mail: bytes, upstream: bool, standing: Standing) -> None:
    """RFC 8601."""
    origin = dataclasses.replace(ORIGIN, upstream=upstream)
    verdict = await bench.verdict(mail, {}, (DKIM,), origin, IN_FRONT)
    assert verdict.standing(DKIM) is standing, verdict.trace


FORGED = {
    "a quoted local part": 'spf=pass smtp.mailfrom="x@partner.example"@evil.example',
    "one that goes on as a method": 'spf=pass smtp.mailfrom="a; spf=pass smtp.mailfrom=x@partner.example; y="@evil.example',
    "one with a quotation mark in it": r'spf=pass smtp.mailfrom="a\"; spf=pass smtp.mailfrom=x@partner.example; y=\""@evil.example',
    "one with a blank of Unicode": "spf=pass smtp.mailfrom=x@partner.example\u00a0y=z@evil.example",
    "one in a comment": 'spf=pass (domain of "a) smtp.mailfrom=x@partner.example ("@evil.example) smtp.mailfrom=y@evil.example',
    "a reason": 'spf=pass reason="smtp.mailfrom=x@partner.example" smtp.mailfrom=y@evil.example',
    "a value twice": "spf=pass smtp.mailfrom=x@partner.example smtp.mailfrom=y@evil.example",
}


@pytest.mark.parametrize("which", list(FORGED))
async def test_what_a_stranger_writes_into_results_is_no_pass(bench: Bench, which: str) -> None:
    """RFC 8601 §2.2: MAIL FROM is a stranger's text, in a field of the server in front and in one that was sealed."""
    origin = dataclasses.replace(ORIGIN, upstream=True)
    mail = from_upstream(f"Authentication-Results: mx.example.org; {FORGED[which]}")
    verdict = await bench.verdict(mail, {}, (SPF,), origin, IN_FRONT)
    assert verdict.standing(SPF) is Standing.FAILS, verdict.trace
    if FORGED[which].isascii():
        verdict = await bench.verdict(forwarded(FORGED[which]), ARC_KEYS, (SPF,), trust=LISTS)
        assert verdict.standing(SPF) is Standing.FAILS, verdict.trace


async def test_below_results_that_cannot_be_read_nothing_is_believed(bench: Bench) -> None:
    origin = dataclasses.replace(ORIGIN, upstream=True)
    good = "Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=x@partner.example"
    assert (await bench.verdict(from_upstream(good), {}, (SPF,), origin, IN_FRONT)).standing(SPF) is Standing.HOLDS
    mail = from_upstream(f"Authentication-Results: mx.example.org; {FORGED['a quoted local part']}", good)
    assert (await bench.verdict(mail, {}, (SPF,), origin, IN_FRONT)).standing(SPF) is Standing.FAILS


@given(st.text(alphabet='mx;=() "\\dkimpass.header', max_size=60))
def test_whatever_stands_in_results_is_read_or_not(text: str) -> None:
    header = read_header(b"Authentication-Results: " + text.encode() + b"\r\n\r\n")
    trusted_results(header, "mx")
    parse_results(text)


# -- the author --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "address", "domain"),
    [
        ("orders@partner.example", "orders@partner.example", "partner.example"),
        ("<orders@Partner.Example>", "orders@partner.example", "partner.example"),
        ('"Orders, GmbH" <orders@partner.example>', "orders@partner.example", "partner.example"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= <orders@partner.example>", "orders@partner.example", "partner.example"),
        ("Büro <büro@bücher.example>", "büro@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("\r\n\tOrders\r\n <orders@partner.example>", "orders@partner.example", "partner.example"),
    ],
)
def test_one_author(value: str, address: str, domain: str) -> None:
    author = read_header(f"From: {value}\r\n\r\n".encode()).author()
    assert (author.address, author.domain) == (address, domain)


@pytest.mark.parametrize("filling", ["\u00a0", " ", "\t", '"a"', '""', "a", "<", "(", "\\"])
def test_a_from_header_is_read_in_one_go(filling: str) -> None:
    """A stranger's header is read where everybody waits: it is short, and no part of a pattern is tried twice."""
    long = f"From: x {filling * limits.FROM_MAX_CHARACTERS}x <a@b.example>\r\n\r\n".encode()
    with pytest.raises(HeaderRefused, match=f"longer than {limits.FROM_MAX_CHARACTERS}|no field"):
        read_header(long).author()
    for pattern in (author._ONE_ADDRESS, headers._ONE_ADDRESS):
        assert pattern.fullmatch(filling * 20_000 + "x,") is None  # 200,000,000 steps if each were tried from each
        assert re.search(r"(?<!\\\\)[*+](?![+])", pattern.pattern.replace("*+", "").replace("++", "")) is None


@pytest.mark.parametrize(
    "written",
    ["CEO@Supplier.Example", "ceo@ｓupplier.example", "ceo@supplier。example", "Ceo@supplier\ufe00.example"],
)
def test_one_author_has_one_address_however_it_is_spelled(written: str) -> None:
    """Whoever is blocked or barred comes back by no other spelling (D1)."""
    assert read_header(f"From: <{written}>\r\n\r\n".encode()).author().address == "ceo@supplier.example"


@pytest.mark.parametrize(
    "local",
    [
        "ceo\ufe00",
        "ceo\u034f",
        "ceo\u3164",
        "ceo＠bank.example⠀⠀",
        "ｃeo",
        "ceo\u00ad",
        "ceo\u200b",
        "\u115fceo",
        "ceo\ufb01",
    ],
)
def test_an_address_that_can_be_taken_for_another_is_refused(local: str) -> None:
    with pytest.raises(HeaderRefused):
        read_header(f"From: <{local}@supplier.example>\r\n\r\n".encode()).author()


def test_letters_that_are_not_the_same_stay_apart() -> None:
    """`casefold` would make one of these two."""
    sharp = read_header("From: straße@supplier.example\r\n\r\n".encode()).author()
    assert sharp.address == "straße@supplier.example" != canonical_address("strasse@supplier.example")


def test_a_long_domain_is_none() -> None:
    with pytest.raises(HeaderRefused):
        read_header(b"From: a@" + "ü".encode() * 300 + b".example\r\n\r\n").author()


@pytest.mark.parametrize(
    "header",
    [
        "Subject: x",
        "From: a@b.example\r\nFrom: a@b.example",
        "From: a@b.example\r\nfROM: c@d.example",
        "From: a@b.example\r\nSubject: x\r\nSubject: y",
        "From: a@b.example\r\nContent-Type: text/plain\r\nContent-type: text/html",
        "From: a@b.example, c@d.example",
        "From: <a@b.example>, <c@d.example>",
        "From: <a@b.example> <c@d.example>",
        "From: Friends: a@b.example;",
        "From: Friends:;",
        "From: (c@d.example) a@b.example",
        "From: a@b.example (c@d.example)",
        "From: a(x)@b.example",
        "From: a@b.example(",
        'From: "a@b.example" ',
        'From: "a@b.example" <c@d.example',
        "From: a@b.example <c@d.example>",
        "From: <@x.example:a@b.example>",
        "From: =?utf-8?q?a=40b.example?=",
        "From: =?utf-8?q?a?=@b.example",
        "From: <=?utf-8?q?a=40b.example=3E=2C_=3Cc?=@d.example>",
        "From: a@b.example\x00@c.example",
        "From: a@[192.0.2.1]",
        "From: a@b",
        "From: a@-b.example",
        "From: a@b..example",
        "From: a@b.example.",
        "From: ",
        "From : a@b.example",
        "From a@b.example",
        "From: a@b.example\r\nnonsense",
        "From: a@b.example\r\n: x",
        " From: a@b.example",
        "From: " + "a" * 65 + "@b.example",
        "From: a@" + "b" * 64 + ".example",
    ],
)
def test_no_author(header: str) -> None:
    """D1: what two readers could read in two ways."""
    with pytest.raises(HeaderRefused):
        read_header(f"{header}\r\n\r\nFrom: a@b.example\r\n".encode()).author()


def test_a_finding_in_words() -> None:
    assert str(Finding("dkim", "example.org", "pass", True)) == "DKIM: d=example.org, aligned, pass"
