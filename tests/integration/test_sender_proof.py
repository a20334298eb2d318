# SPDX-License-Identifier: AGPL-3.0-or-later
"""Senders proved end to end (C2, D1): a real intake, real DNS on loopback, real processes that look at the mail."""

from pathlib import Path

import pytest

from bridges import limits
from tests.support.dns_server import Zone
from tests.support.gateway import member
from tests.support.intake import RECIPIENT, SENDERS, proving_gateway, records, talk
from tests.support.signing import mail_of, rsa_key, rsa_record, sealed, signed


async def test_a_signed_mail_arrives_and_others_do_not(tmp_path: Path) -> None:
    zone = records()
    async with proving_gateway(tmp_path, zone) as gateway, member(gateway, "public", "Support Desk") as desk:
        intake = gateway.bridges["intake"]
        async with talk(intake.address) as one:
            assert (await one.mail(signed(mail_of())))[0].startswith("250 2.0.0")
            assert (await one.mail(signed(mail_of(), selector="ed", signature_algorithm=b"ed25519-sha256")))[0][
                :3
            ] == "250"
            for forged in (
                mail_of(),
                signed(mail_of()) + b"And more.\r\n",
                signed(mail_of(), key=rsa_key(2048, 1)),
                signed(mail_of(), "evil.example"),
            ):
                reply = (await one.mail(forged))[0]
                assert reply.startswith(
                    "550 5.7.22 Not proved to be from orders@partner.example: wanted DKIM by partner"
                )
            assert (await one.mail(signed(mail_of("x@stranger.example"))))[0].startswith("550 5.7.1")
            assert (await one.mail(b"From: orders@partner.example\r\n" + signed(mail_of())))[0].startswith("554 5.6.0")
        assert len(await desk.until(1)) == 1  # the second was the first again: same id, same text
        assert not list((tmp_path / "data/bridges/intake/spool").iterdir())


@pytest.mark.parametrize("trouble", ["broken", "silent"])
async def test_dns_that_does_not_answer_is_temporary(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DNS_WALL_S", 0.5)
    zone = records()
    getattr(zone, trouble).add("rsa._domainkey.partner.example")
    async with proving_gateway(tmp_path, zone) as gateway, member(gateway, "public", "Support Desk") as desk:
        async with talk(gateway.bridges["intake"].address) as one:
            reply = (await one.mail(signed(mail_of())))[0]
            assert reply.startswith("451 4.4.3 DKIM by partner.example cannot be looked up")
            assert desk.got == []
            getattr(zone, trouble).clear()
            monkeypatch.setattr(limits, "DNS_WALL_S", 60.0)  # what answers may take its time here
            assert (await one.mail(signed(mail_of())))[0].startswith("250")
        await desk.until(1)


async def test_a_long_key_comes_over_tcp(tmp_path: Path) -> None:
    padding = b"n=" + b"x" * 1_400 + b"; "
    zone = Zone({"rsa._domainkey.partner.example": rsa_record(rsa_key()).replace(b"k=rsa; ", b"k=rsa; " + padding)})
    async with proving_gateway(tmp_path, zone) as gateway, member(gateway, "public", "Support Desk") as desk:
        async with talk(gateway.bridges["intake"].address) as one:
            assert (await one.mail(signed(mail_of())))[0].startswith("250")
        await desk.until(1)


async def test_spf_and_its_alignment(tmp_path: Path) -> None:
    async with proving_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        async with talk(gateway.bridges["intake"].address) as one:
            mail = mail_of("anybody@spf.example")
            await one.send(b"EHLO \xff\xfe\r\n")
            assert (await one.reply()).startswith("250")
            assert (await one.mail(mail, sender="bounces@spf.example"))[0].startswith("250")
            assert (await one.mail(mail, sender="bounces@partner.example"))[0].startswith("550 5.7.23")
            assert (await one.mail(mail, sender=""))[0].startswith("550 5.7.23")  # HELO never aligns
        await desk.until(1)


async def test_every_listed_proof_must_hold(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example, spf: aligned, network: 127.0.0.0/8]}]"
    zone = records()
    async with (
        proving_gateway(tmp_path, zone, senders=senders) as gateway,
        member(gateway, "public", "Support Desk"),
        talk(gateway.bridges["intake"].address) as one,
    ):
        assert (await one.mail(signed(mail_of())))[0].startswith("550 5.7.23")  # no SPF record
        zone.texts["partner.example"] = b"v=spf1 ip4:127.0.0.1 -all"
        assert (await one.mail(mail_of()))[0].startswith("550 5.7.22")
        assert (await one.mail(signed(mail_of())))[0].startswith("250")
    elsewhere = senders.replace("127.0.0.0/8", "192.0.2.0/24")
    async with (
        proving_gateway(tmp_path, senders=elsewhere) as gateway,
        talk(gateway.bridges["intake"].address) as one,
    ):
        assert (await one.mail(signed(mail_of())))[0].startswith("550 5.7.1")  # nobody from here: at MAIL


async def test_a_rule_for_an_address_goes_before_that_of_its_domain(tmp_path: Path) -> None:
    senders = (
        "[{address: ceo@spf.example, proof: [network: 192.0.2.0/24]}, {domain: spf.example, proof: [spf: aligned]}]"
    )
    async with (
        proving_gateway(tmp_path, senders=senders) as gateway,
        member(gateway, "public", "Support Desk"),
        talk(gateway.bridges["intake"].address) as one,
    ):
        for author, code in (("ceo@spf.example", "550"), ("x@below.spf.example", "550"), ("x@SPF.example", "250")):
            assert (await one.mail(mail_of(author), sender="b@spf.example"))[0].startswith(code)


async def test_a_listed_forwarder_is_believed(tmp_path: Path) -> None:
    """ARC (RFC 8617): the list changed the mail after it had seen its signature."""
    zone = records()
    zone.texts["rsa._domainkey.lists.example"] = rsa_record(rsa_key())
    mail = sealed(signed(mail_of()) + b"-- \r\nThe list\r\n", "lists.example", "dkim=pass header.d=partner.example")
    for sealers, code in (("[lists.example]", "250"), ("[]", "550")):
        folder = tmp_path / code
        folder.mkdir()
        async with (
            proving_gateway(folder, zone, more=f"arc_sealers: {sealers}") as gateway,
            member(gateway, "public", "Support Desk"),
            talk(gateway.bridges["intake"].address) as one,
        ):
            assert (await one.mail(mail))[0].startswith(code)


async def test_a_stranger_costs_no_look_up(tmp_path: Path) -> None:
    zone = records()
    async with proving_gateway(tmp_path, zone) as gateway, talk(gateway.bridges["intake"].address) as one:
        assert (await one.mail(signed(mail_of("x@stranger.example"), "stranger.example")))[0].startswith("550")
    assert zone.asked == []


@pytest.mark.parametrize("door", ["smtp", "lmtp", "lmtp on unix"])
async def test_each_recipient_has_its_own_answer_in_lmtp(tmp_path: Path, door: str) -> None:
    """RFC 2033 §4.2; SMTP has one answer, which must be true for all: the mail is tried again for all, and comes once."""
    path, lmtp = tmp_path / "lmtp.sock", door != "smtp"
    listen = f'{{lmtp: "unix:{path}"}}' if door == "lmtp on unix" else f'{{{door}: "127.0.0.1:0"}}'
    async with (
        proving_gateway(tmp_path, listen=listen, senders=SENDERS) as gateway,
        member(gateway, "public", "Support Desk") as desk,
        member(gateway, "public", "Sales Desk") as sales,
    ):
        intake = gateway.bridges["intake"]
        address = path if door == "lmtp on unix" else intake.address
        async with talk(address, "LHLO mx.example" if lmtp else "EHLO mx.example") as one:
            for _ in range(2):
                first = (await one.mail(signed(mail_of()), RECIPIENT, "nobody@example.org", "sales@example.org"))[0]
                rest = [await one.reply() for _ in range(2)] if lmtp else []
                assert [reply[:3] for reply in (first, *rest)] == (["250", "451", "250"] if lmtp else ["451"])
            assert (await one.say("NOOP")).startswith("250")
        assert len(await desk.until(1)) == len(await sales.until(1)) == 1
