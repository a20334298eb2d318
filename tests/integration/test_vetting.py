# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vetting end to end (C2, C5): a real gateway, real clients, real DNS on loopback; what each recipient's mail meets."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.evidence import MailDecided
from gateway.app import Gateway
from tests.support.dns_server import Zone
from tests.support.gateway import Desk, member
from tests.support.intake import AUTHOR, RECIPIENT, proving_gateway, records, talk
from tests.support.signing import mail_of, rsa_key, rsa_record, signed

SALES = "sales@example.org"
URL = "https://example.org/write-to-us"
BY_DKIM = m.VetSender(proof=[m.Proof(dkim="partner.example")], address=AUTHOR)


def a_mail(number: int = 1, **headers: str) -> bytes:
    """A signed mail; each number is another one."""
    return signed(mail_of(**{"Message-ID": f"<{number}@partner.example>", **headers}))


@asynccontextmanager
async def serving(
    folder: Path, more: str = "", zone: Zone | None = None, senders: str = "[]", **options: Any
) -> AsyncIterator[tuple[Gateway, Any, Desk]]:
    """A gateway with one intake, which vets nobody unless told to, and the desk behind its first route."""
    async with (
        proving_gateway(folder, zone or records(), senders=senders, more=more, **options) as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        yield gateway, gateway.bridges["intake"], desk


async def said(intake: Any, content: bytes, *recipients: str, sender: str = "bounces@partner.example") -> str:
    """The reply to one mail: the first that refuses anything, or that to the data."""
    async with talk(intake.address) as one:
        replies = await one.mail(content, *recipients, sender=sender)
    return next((reply for reply in replies if not reply.startswith("250")), replies[-1])


async def decided(intake: Any) -> list[MailDecided]:
    """What the log says of mails, oldest first."""
    page = await intake.decisions.page(None, 500)
    mails = [entry.body for entry in page.entries if entry.kind == "mail"]
    return [msgspec.json.decode(body, type=MailDecided) for body in reversed(mails)]


async def test_a_sender_vetted_while_it_runs_is_taken_at_once_and_a_withdrawn_one_no_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, intake, desk):
        assert (await said(intake, a_mail())).startswith("550 5.7.1")
        made = await intake.vetting.vet(BY_DKIM, "ada")
        assert await said(intake, a_mail()) == "250 2.0.0 Delivered to the service"
        await desk.until(1)
        assert (await intake.vetting.show(made.number)).today == 1
        assert (await intake.vetting.show(made.number)).passed_ms is not None
        await intake.vetting.suspend(made.number, "ada", "a doubt")
        assert (await said(intake, a_mail(2))).startswith("451 4.7.1 Mail from orders@partner.example is suspended, an")
        await intake.vetting.resume(made.number, "ada", "")
        assert (await said(intake, a_mail(2))).startswith("250")
        await intake.vetting.withdraw(made.number, "ada", "")
        assert (await said(intake, a_mail(3))).startswith("550 5.7.1")
        assert len(await desk.until(2)) == 2
        assert intake.correspondents.state(AUTHOR) == "vetted"
        outcomes = [one.decided[0].outcome for one in await decided(intake)]
        assert outcomes == ["delivered", "deferred", "delivered"]  # what was refused at MAIL was no mail
        assert (await intake.decisions.verify()).intact


async def test_smtplib_hears_the_invitation_in_a_refusal_and_a_forger_does_not(tmp_path: Path) -> None:
    """C5: proven by DKIM or by SPF; whoever only writes somebody's name is told nothing."""
    async with serving(tmp_path, f"invitation_url: {URL}") as (_, intake, desk):

        def send(raw: bytes, sender: str) -> tuple[int, str]:
            with smtplib.SMTP(*intake.address, local_hostname="client.example", timeout=30) as client:
                try:
                    client.sendmail(sender, [RECIPIENT], raw)
                except smtplib.SMTPDataError as refused:
                    return refused.smtp_code, refused.smtp_error.decode()
            return 250, ""

        code, text = await asyncio.to_thread(send, a_mail(), "bounces@partner.example")
        assert (code, text.startswith(f"5.7.1 You can write without SMTP, by {URL} . This service takes")) == (
            550,
            True,
        )
        code, text = await asyncio.to_thread(send, mail_of("ann@spf.example"), "ann@spf.example")
        assert (code, URL in text) == (550, True)
        for forged in (
            mail_of(),
            a_mail() + b"More.\r\n",
            signed(mail_of(), key=rsa_key(2048, 1)),
            mail_of("x@no.example"),
        ):
            code, text = await asyncio.to_thread(send, forged, "bounces@partner.example")
            assert (code, URL in text) == (550, False)
        assert desk.got == []
        assert intake.correspondents.state(AUTHOR) == intake.correspondents.state("ann@spf.example") == "seen"
        assert intake.correspondents.state("x@no.example") is None
        assert [one.proof for one in (await intake.correspondents.list()).correspondents] == ["weak", "strong"]


async def test_who_fails_his_records_proof_and_shows_another_is_told_where_to_join(tmp_path: Path) -> None:
    senders = "[{domain: spf.example, proof: [dkim: spf.example]}]"
    async with serving(tmp_path, f"invitation_url: {URL}", senders=senders) as (_, intake, _desk):
        mail = mail_of("ann@spf.example")
        assert (await said(intake, mail, sender="ann@spf.example")).startswith(
            f"550 5.7.22 You can write without SMTP, by {URL}"
        )
        assert URL not in await said(intake, mail, sender="ann@elsewhere.example")


async def test_a_correspondent_who_was_invited_is_refused_with_his_own_link(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, intake, _desk):
        ann = "ann@spf.example"

        def her(number: int) -> bytes:
            return mail_of(ann, **{"Message-ID": f"<{number}@spf.example>"})

        made = await intake.vetting.vet(m.VetSender(proof=[m.Proof(spf="aligned")], address=ann), "ada")
        assert (await said(intake, her(1), sender=ann)).startswith("250")
        link = "https://example.org/join#secret"
        await intake.correspondents.invited(ann, m.Invited(invitation=1, link=link), "ada")
        assert (await said(intake, her(2), sender=ann)).startswith("250")  # invited, and not refused yet
        await intake.vetting.withdraw(made.number, "ada", "")
        # at MAIL everybody is let in now, who could be told his link
        assert link in await said(intake, her(3), sender=ann)
        assert link not in await said(intake, her(3), sender="bounces@spf.example")  # who would get a notice
        assert link not in await said(intake, mail_of(), sender=ann)
        await intake.vetting.vet(m.VetSender(proof=[m.Proof(spf="aligned")], address=ann), "ada")
        await intake.correspondents.move(ann, "refused", "ada", "")
        assert (await said(intake, her(4), sender=ann)).startswith("550 5.7.1 Mail from ann@spf.example is no longer")


async def test_whoever_has_a_signed_mail_of_his_is_not_told_his_link(tmp_path: Path) -> None:
    """C5: a link is an account. A signature shows whose mail it is, and not who hands it in."""
    async with serving(tmp_path, f"invitation_url: {URL}") as (_, intake, _desk):
        link = "https://example.org/join#secret"
        await intake.correspondents.invited(AUTHOR, m.Invited(invitation=1, link=link), "ada")
        for envelope in ("mallory@evil.example", AUTHOR, ""):
            reply = await said(intake, a_mail(), sender=envelope)
            assert (link in reply, URL in reply) == (False, True), envelope


async def test_each_recipient_has_his_own_decision(tmp_path: Path) -> None:
    """C2: an unknown sender is held where the route says so, and refused elsewhere; in LMTP each hears his own."""
    async with (
        serving(tmp_path, unknown="hold", listen='{lmtp: "127.0.0.1:0"}') as (_, intake, desk),
        talk(intake.address, "LHLO mx.example") as one,
    ):
        replies = await one.mail(a_mail(), RECIPIENT, SALES)
        replies.append(await one.reply())
        assert [reply[:9] for reply in replies] == ["250 2.0.0", "550 5.7.1"]
        held = await intake.holding.list("held")
        assert [(mail.author, mail.recipients, mail.subject) for mail in held] == [(AUTHOR, [RECIPIENT], "An order")]
        assert held[0].why == "orders@partner.example has no vetting record"
        shown = await intake.holding.show(held[0].number)
        assert shown.text.strip() == "Good morning."
        assert shown.suggested[0].dkim == "partner.example"  # it was looked at: a person decides by it
        log = (await decided(intake))[0]
        assert [(each.recipient, each.outcome) for each in log.decided] == [(RECIPIENT, "held"), (SALES, "refused")]
        # vetted and released in one act, and the next one passes
        body = m.DecideHeld(action="vet_and_release", reason="known to Ada")
        assert (await intake.holding.decide(held[0].number, body, "ada")).outcomes == {RECIPIENT: "delivered"}
        replies = await one.mail(a_mail(2), RECIPIENT, SALES)
        assert replies[-1].startswith("250 2.0.0 Delivered")
        assert (await one.reply())[:3] == "451"  # nobody sits there yet
        assert len(await desk.until(2)) == 2


async def test_a_held_mail_that_is_released_and_sent_again_arrives_once(tmp_path: Path) -> None:
    """C2: who got no answer sends his mail again; by then his record proves it otherwise than it was held by."""
    zone = records()
    zone.texts["partner.example"] = b"v=spf1 ip4:127.0.0.1 -all"
    async with serving(tmp_path, zone=zone, unknown="hold") as (_, intake, desk):
        assert (await said(intake, a_mail(), sender=AUTHOR)).startswith("250 2.0.0 Accepted, and shown")
        held = (await intake.holding.list())[0]
        body = m.DecideHeld(action="vet_and_release", reason="known to Ada")
        assert (await intake.holding.decide(held.number, body, "ada")).outcomes == {RECIPIENT: "delivered"}
        for number in (1, 2):
            assert (await said(intake, a_mail(number), sender=AUTHOR)).startswith("250")
        assert (await said(intake, a_mail(3), sender=AUTHOR)).startswith("250")
        assert len(await desk.until(3)) == 3


async def test_a_mail_that_was_held_and_came_again_meanwhile_arrives_once(tmp_path: Path) -> None:
    async with serving(tmp_path, unknown="hold") as (_, intake, desk):
        assert (await said(intake, mail_of("eve@x.example"), sender="eve@x.example")).startswith("250")
        await intake.vetting.vet(m.VetSender(proof=[m.Proof(network="127.0.0.0/8")], address="eve@x.example"), "ada")
        assert (await said(intake, mail_of("eve@x.example"), sender="eve@x.example")).startswith("250 2.0.0 Deliv")
        held = (await intake.holding.list())[0]
        done = await intake.holding.decide(held.number, m.DecideHeld(action="release"), "ada")
        assert done.outcomes == {RECIPIENT: "duplicate"}
        assert len(await desk.until(1)) == 1


async def test_what_is_held_for_all_costs_a_stranger_no_bounce_and_is_held_once(tmp_path: Path) -> None:
    """An unproved stranger's, too: nothing is said to anybody, a person decides (no bounce, RFC 3834)."""
    async with serving(tmp_path, unknown="hold") as (_, intake, desk):
        forged = mail_of("eve@stranger.example", **{"Auto-Submitted": "auto-replied"})
        for _ in range(2):
            assert (await said(intake, forged, sender="")).startswith("250 2.0.0 Accepted, and shown")
        held = await intake.holding.list()
        assert [(mail.author, mail.state) for mail in held] == [("eve@stranger.example", "held")]
        assert (await intake.holding.show(held[0].number)).suggested == []
        first, second = await decided(intake)
        assert first.evidence.mail == second.evidence.mail
        assert first.evidence.machine == "auto-submitted"
        assert first.evidence.looked
        assert intake.correspondents.state("eve@stranger.example") is None
        assert desk.got == []


async def test_no_room_to_hold_is_temporary(tmp_path: Path) -> None:
    async with serving(tmp_path, "hold: {mails_max: 1}", unknown="hold") as (_, intake, _desk):
        assert (await said(intake, a_mail())).startswith("250")
        assert (await said(intake, a_mail(2))).startswith("452 4.3.1 No room to hold")


async def test_a_quota_puts_off_what_is_beyond_it_and_does_not_count_repeats(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], quota_per_day: 2}]"
    async with serving(tmp_path, senders=senders) as (_, intake, desk):
        for number in (1, 1, 1, 2):
            assert (await said(intake, a_mail(number, Subject=f"Order {number}"))).startswith("250")
        reply = await said(intake, a_mail(3, Subject="Order 3"))
        assert reply.startswith("452 4.7.1 orders@partner.example has sent 2 messages today")
        assert len(await desk.until(2)) == 2
        assert (await intake.vetting.list())[0].today == 2


async def test_mails_at_once_do_not_share_the_last_of_a_day(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], quota_per_day: 3}]"
    async with serving(tmp_path, senders=senders) as (_, intake, desk):
        mails = [a_mail(number, Subject=f"Order {number}") for number in range(8)]
        replies = await asyncio.gather(*(said(intake, mail) for mail in mails))
        assert sorted(reply[:3] for reply in replies) == ["250"] * 3 + ["452"] * 5
        assert len(await desk.until(3)) == 3


async def test_a_key_that_is_changed_in_dns_suspends_the_record_and_nobody_else_can(tmp_path: Path) -> None:
    """C2: its proof stops passing for mail that claims it, from where it used to pass; administrators are told."""
    zone = records()
    more = "tell: sales@example.org"
    async with (
        serving(tmp_path, more, zone) as (gateway, intake, _desk),
        member(gateway, "public", "Sales Desk") as sales,
    ):
        await intake.vetting.vet(BY_DKIM, "ada")
        for number in range(5):  # forged before it has ever passed from here
            assert (await said(intake, mail_of(**{"Message-ID": f"<f{number}@x>"}))).startswith("550 5.7.22")
        assert (await intake.vetting.show(1)).state == "active"
        assert (await said(intake, a_mail())).startswith("250")
        zone.texts["rsa._domainkey.partner.example"] = rsa_record(rsa_key(2048, 1))
        for number in (2, 2, 3, 4):  # a repeat is no other mail
            assert (await intake.vetting.show(1)).state == "active"
            assert (await said(intake, a_mail(number))).startswith("550 5.7.22")
        assert (await intake.vetting.show(1)).state == "suspended"
        _, data = (await sales.until(1))[0]
        assert b"Mail from orders@partner.example is suspended" in data
        zone.texts["rsa._domainkey.partner.example"] = rsa_record(rsa_key())
        assert (await said(intake, a_mail(5))).startswith("451 4.7.1")  # whoever looks at it resumes it
        await intake.vetting.resume(1, "ada", "their key is back")
        assert (await said(intake, a_mail(5))).startswith("250")


async def test_whoever_hands_in_a_signed_mail_again_does_not_suspend_its_sender(tmp_path: Path) -> None:
    """C2: a network is the partner's by mail that was taken from there, which a repeat is not."""
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example]}]"
    async with serving(tmp_path, senders=senders) as (_, intake, _desk):
        assert (await said(intake, a_mail())).startswith("250")
        forged = (mail_of(**{"Message-ID": f"<f{number}@x>"}) for number in range(3))
        for number, mail in enumerate((a_mail(), *forged)):
            async with talk(intake.address, local=("127.0.9.1", 0)) as forger:
                assert (await forger.mail(mail))[-1].startswith("550 5.7.22" if number else "250")
        assert (await intake.vetting.show(1)).state == "active"
        assert (await said(intake, a_mail(2))).startswith("250")


async def test_dns_that_is_down_suspends_nobody(tmp_path: Path) -> None:
    zone = records()
    async with serving(
        tmp_path, zone=zone, senders="[{address: orders@partner.example, proof: [dkim: partner.example]}]"
    ) as (
        _,
        intake,
        _desk,
    ):
        assert (await said(intake, a_mail())).startswith("250")
        zone.broken.add("rsa._domainkey.partner.example")
        for number in range(2, 8):
            assert (await said(intake, a_mail(number))).startswith("451 4.4.3")
        shown = (await intake.vetting.list())[0]
        assert (shown.state, shown.failures, shown.failed_ms) == ("active", 0, None)


async def test_what_waits_for_the_service_is_counted_written_down_and_delivered(tmp_path: Path) -> None:
    """250 for what is on the disk; when the service is back it arrives, once."""
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], quota_per_day: 2}]"
    async with serving(tmp_path, senders=senders) as (gateway, intake, _desk):
        assert (await said(intake, a_mail())).startswith("250 2.0.0 Delivered")
        await gateway.instances["public"].stop(0.1)
        assert (
            await said(intake, a_mail(2, Subject="Later"))
        ) == "250 2.0.0 Accepted, and delivered when the service is back"
        assert (await said(intake, a_mail(3, Subject="Too much"))).startswith("452 4.7.1")
        assert intake.spool.figures.mails == 1
        assert [one.decided[0].outcome for one in await decided(intake)] == ["delivered", "spooled", "deferred"]


async def test_a_signed_mail_handed_in_again_and_again_while_the_service_is_away_is_one(tmp_path: Path) -> None:
    """C2: it fills no spool and uses no quota, whatever its signature leaves out is made into."""
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], quota_per_day: 4}]"
    async with serving(tmp_path, senders=senders) as (gateway, intake, _desk):
        assert (await said(intake, a_mail())).startswith("250")
        await gateway.instances["public"].stop(0.1)
        for number in range(5):
            again = b"X-%d: %d\r\n" % (number, number) + a_mail(2, Subject="Later")
            assert (await said(intake, again)) == "250 2.0.0 Accepted, and delivered when the service is back"
        assert intake.spool.figures.mails == 1
        assert (await intake.vetting.show(1)).today == 2
        outcomes = [one.decided[0].outcome for one in await decided(intake)]
        assert outcomes == ["delivered", "spooled", *["duplicate"] * 4]


async def test_a_suspension_and_a_quota_outlive_a_restart(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], quota_per_day: 1}]"
    async with serving(tmp_path, senders=senders) as (_, intake, _desk):
        assert (await said(intake, a_mail())).startswith("250")
    async with proving_gateway(tmp_path, senders=senders) as gateway:
        intake = gateway.bridges["intake"]
        assert (await said(intake, a_mail(2))).startswith("452")
        await intake.vetting.suspend(1, "ada", "")
    async with proving_gateway(tmp_path, senders=senders) as gateway:
        assert (await said(gateway.bridges["intake"], a_mail(2))).startswith("451 4.7.1")


async def test_a_mistake_of_an_entry_that_has_expired_stops_nothing(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], expires: 2020-01-01}]"
    async with serving(tmp_path, senders=senders) as (_, intake, _desk):
        assert (await said(intake, a_mail())).startswith(
            "550 5.7.1 orders@partner.example, in the From header, is no longer"
        )
        assert intake.vetting.attention == ["record 1, orders@partner.example, has expired: renew or withdraw it"]


async def test_a_record_for_one_route(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], routes: [sales@example.org]}]"
    async with (
        serving(tmp_path, senders=senders) as (gateway, intake, desk),
        member(gateway, "public", "Sales Desk") as sales,
    ):
        reply = await said(intake, a_mail(), RECIPIENT, SALES)
        assert reply.startswith("550 5.7.1 Not for support@example.org (Mail from orders@partner.example is not taken")
        assert reply.endswith("Accepted for sales@example.org")
        assert len(await sales.until(1)) == 1
        assert desk.got == []


async def test_a_client_that_hangs_up_changes_nothing_of_what_is_written_down(tmp_path: Path) -> None:
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example], quota_per_day: 9}]"
    async with serving(tmp_path, senders=senders) as (_, intake, desk):
        async with talk(intake.address) as one:
            for command in ("MAIL FROM:<b@partner.example>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
                await one.say(command)
            await one.send(a_mail() + b".\r\n")
        await desk.until(1)
        assert (await said(intake, a_mail())).startswith("250")
        assert len(desk.got) == 1
        assert intake.vetting.today(1, intake._clock.wall_ns() // 1_000_000) <= 1


async def test_who_is_known_by_his_certificate_is_asked_for_it_as_soon_as_he_is_vetted(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, intake, _desk):
        assert not intake._asked
        pin = "sha256:" + "A" * 43
        await intake.vetting.vet(m.VetSender(proof=[m.Proof(client_certificate=pin)], address=AUTHOR), "ada")
        await asyncio.sleep(0)
        assert intake._asked
        await intake.vetting.withdraw(1, "ada", "")
        await asyncio.sleep(0)
        assert not intake._asked


async def test_administrators_hear_of_what_waits_for_them_once_an_hour(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, "tell: sales@example.org\nhold: {mails_max: 2}", unknown="hold") as (gateway, intake, _desk),
        member(gateway, "public", "Sales Desk") as sales,
    ):
        for number in (1, 2, 3):
            await said(intake, a_mail(number))
        first, second = (data for _, data in await sales.until(2))
        assert b"Mail waits for a decision. The newest is number 1: orders@partner.example has no vetting" in first
        assert b"No more mail can be held" in second
        await asyncio.sleep(0.2)
        assert len(sales.got) == 2


async def test_what_was_changed_while_a_mail_was_looked_at_decides(tmp_path: Path) -> None:
    """Who suspends a sender is not answered before his last mail is through: it is put off, and comes again."""
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example]}]"
    async with serving(tmp_path, senders=senders) as (_, intake, desk):
        gathering = intake._delivery._rooms.gathering
        gather = gathering.gather

        async def gather_slowly(*given: Any) -> Any:
            got = await gather(*given)
            await intake.vetting.suspend(1, "ada", "")
            return got

        gathering.gather = gather_slowly
        assert (await said(intake, a_mail())).startswith(
            "451 4.3.0 Cannot be delivered just now, try again later: the vetting"
        )
        assert desk.got == []


async def test_a_flood_of_refusals_is_counted_and_not_written_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSALS_WRITTEN_OF_NETWORK", 3)
    senders = "[{address: orders@partner.example, proof: [dkim: partner.example]}]"
    async with serving(tmp_path, senders=senders) as (_, intake, _desk):
        for number in range(6):
            assert (await said(intake, mail_of(**{"Message-ID": f"<{number}@x>"}))).startswith("550")
        assert (await said(intake, a_mail())).startswith("250")  # what is taken is written always
        assert [one.decided[0].outcome for one in await decided(intake)] == ["refused"] * 3 + ["delivered"]
        for _ in range(5):  # whoever has a signed mail has it as often as he likes
            assert (await said(intake, a_mail())).startswith("250")
        assert len(await decided(intake)) == 4
