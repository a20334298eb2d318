# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail of real clients through the intake (C2, D1): approved mail arrives, everything else leaves nothing behind."""

import asyncio
import errno
import shutil
import smtplib
from collections.abc import Callable
from email.header import Header
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway
from tests.support.gateway import SETTINGS, endpoint, member, running_gateway
from tmtp_client.connection import Connection, KeyLogin, Refused
from tmtp_core.crypto.signing import SEED_BYTES, Signer
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, decode_post_head

SENDER, RECIPIENT = "orders@partner.example", "support@example.org"


def a_mail(**headers: str) -> EmailMessage:
    mail = EmailMessage()
    for name, value in {
        "From": SENDER,
        "To": RECIPIENT,
        "Subject": "An order",
        "Message-ID": "<1@p>",
        **headers,
    }.items():
        mail[name] = value
    mail.set_content("Good morning.\n")
    return mail


async def smtp(gateway: Gateway, talk: Callable[[smtplib.SMTP], Any]) -> Any:
    """Talk to the intake on a thread of its own."""
    host, port = gateway.bridges["intake"].address

    def run() -> Any:
        with smtplib.SMTP(host, port, local_hostname="client.example", timeout=30) as client:
            return talk(client)

    return await asyncio.to_thread(run)


def content(got: tuple[m2.StoredEvent, bytes]) -> tuple[PostHead, str, list[bytes]]:
    """A delivery taken apart: head, text, attachments."""
    event, data = got
    assert isinstance(event, m.Delivery)
    head = decode_post_head(data[: event.datahead])
    rest = data[event.datahead :]
    files: list[bytes] = []
    for attached in reversed(head.attach):
        files.insert(0, rest[len(rest) - attached.size :])
        rest = rest[: len(rest) - attached.size]
    return head, rest.decode(), files


def left_behind(folder: Path) -> list[str]:
    """Files in the spool."""
    return [str(path) for path in (folder / "data/bridges/intake/spool").iterdir()]


async def test_a_mail_with_attachments_arrives(tmp_path: Path) -> None:
    mail = a_mail(Subject="Bestellung für Grüße ☃")
    mail.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="pdf", filename="Rechnung ü.pdf")
    mail.add_attachment("a;b\n", subtype="csv", filename="../../etc/order.csv")
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        await smtp(gateway, lambda client: client.send_message(mail))
        head, text, files = content((await desk.until(1))[0])
        assert head.alias == f"{SENDER} (by SMTP)"
        assert head.subject == f"[SMTP: {SENDER}] Bestellung für Grüße ☃"
        assert text.strip() == "Good morning."
        assert [attached.name for attached in head.attach] == ["u:Rechnung ü.pdf", "u:order.csv"]
        assert files[0] == bytes(range(256)) * 40
        assert left_behind(tmp_path) == []


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "base64", "quoted-printable"])
async def test_every_transfer_encoding_arrives(tmp_path: Path, encoding: str) -> None:
    text = "plain text\n" if encoding == "7bit" else "Grüße, 漢字\n"
    mail = a_mail()
    mail.set_content(text, cte=encoding)
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        options = ["BODY=8BITMIME"] if encoding == "8bit" else []
        await smtp(gateway, lambda client: client.send_message(mail, mail_options=options))
        assert content((await desk.until(1))[0])[1].strip() == text.strip()


async def test_raw_utf8_headers_and_old_charsets_arrive(tmp_path: Path) -> None:
    raw = (
        f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: Größe\r\n"
        'Content-Type: text/plain; charset="iso-8859-1"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
    ).encode() + "Größe\r\n".encode("latin-1")
    word = Header("Größe", "iso-8859-15").encode()
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        await smtp(gateway, lambda client: client.sendmail(SENDER, [RECIPIENT], raw))
        await smtp(gateway, lambda client: client.send_message(a_mail(Subject=word, **{"Message-ID": "<2@p>"})))
        first, second = (await desk.until(2))[:2]
        assert content(first)[0].subject.endswith("Größe")
        assert content(first)[1].strip() == "Größe"
        assert content(second)[0].subject.endswith("Größe")


async def test_html_alone_arrives_as_text_without_what_it_would_load(tmp_path: Path) -> None:
    mail = a_mail()
    mail.set_content(
        "<style>p{}</style><p>Hello <b>you</b></p><img src='https://t.example/x.png'><script>x()</script>",
        subtype="html",
    )
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        await smtp(gateway, lambda client: client.send_message(mail))
        text = content((await desk.until(1))[0])[1]
        assert "Hello you" in text
        assert "t.example" not in text
        assert "x()" not in text


async def test_strangers_and_wrong_recipients_are_refused_in_the_session(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:

        def talk(client: smtplib.SMTP) -> list[tuple[int, bytes]]:
            client.ehlo()
            answers = [client.mail("evil@stranger.example"), client.mail("far@partner.example"), client.mail("")]
            client.mail(SENDER)
            answers += [client.rcpt("ceo@example.org"), client.rcpt("support@elsewhere.example")]
            answers += [client.docmd("DATA"), client.docmd("VRFY support"), client.docmd("EXPN all")]
            return answers

        codes = [code for code, _ in await smtp(gateway, talk)]
        assert codes[:5] == [550] * 5
        assert all(500 <= code < 600 for code in codes[5:])
        for other in (
            "From: evil@x.example",
            f"From: {SENDER}, evil@x.example",
            f"From: {SENDER}\r\nFrom: {SENDER}",
            "",
        ):
            raw = f"{other}\r\nSubject: x\r\n\r\nx".lstrip().encode()
            with pytest.raises(smtplib.SMTPDataError) as refused:
                await smtp(gateway, lambda client, raw=raw: client.sendmail(SENDER, [RECIPIENT], raw))
            assert 500 <= refused.value.smtp_code < 600
        assert gateway.instances["public"].service.figures()["messages_queued"] == 0
        assert desk.got == []
        assert left_behind(tmp_path) == []


async def test_the_same_mail_again_is_accepted_and_comes_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        for _ in range(2):
            await smtp(gateway, lambda client: client.send_message(a_mail()))
        await smtp(gateway, lambda client: client.send_message(a_mail(**{"Message-ID": "<2@p>"})))
        assert len(await desk.until(2)) == 2


async def test_the_same_mail_in_two_sessions_at_once_comes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a client has given up on one session that is still at work: the second is told to come again."""
    real, begun, goes_on = Connection.post, 0, asyncio.Event()

    async def slow(self: Connection, *arguments: Any, **options: Any) -> m.Acked:
        nonlocal begun
        begun += 1
        await goes_on.wait()
        return await real(self, *arguments, **options)

    async with running_gateway(tmp_path, SETTINGS) as gateway, member(gateway, "public", "Support Desk") as desk:
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "post", slow)
            first, second = (
                asyncio.create_task(smtp(gateway, lambda client: client.send_message(a_mail()))) for _ in range(2)
            )
            async with asyncio.timeout(60):
                while begun < 2 and not (begun and (first.done() or second.done())):
                    await asyncio.sleep(0.01)
            goes_on.set()
            got = await asyncio.gather(first, second, return_exceptions=True)
        (put_off,) = [one for one in got if isinstance(one, smtplib.SMTPDataError)]
        assert (
            put_off.smtp_error
            == b"4.3.0 Cannot be delivered just now, try again later: the same mail is being delivered already"
        )
        await desk.until(1)
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        assert len(desk.got) == 1


async def test_what_the_service_has_forgotten_the_bridge_still_knows(tmp_path: Path) -> None:
    """Senders try for days; the service knows an id for one. The bridge does not even ask it."""
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        await desk.until(1)
        await gateway.instances["public"].stop(0.1)
        again = a_mail(Received="from elsewhere by mx.partner.example")
        assert await smtp(gateway, lambda client: client.send_message(again)) == {}


async def test_the_same_mail_for_another_recipient_is_no_duplicate(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        member(gateway, "public", "Support Desk") as support,
        member(gateway, "public", "Sales Desk") as sales,
    ):
        for to in (RECIPIENT, "sales@example.org", RECIPIENT):
            await smtp(gateway, lambda client, to=to: client.send_message(a_mail(), to_addrs=[to]))
        await smtp(
            gateway,
            lambda client: client.send_message(a_mail(**{"Message-ID": "<2@p>"}), to_addrs=["sales@example.org"]),
        )
        assert len(await sales.until(2)) == 2
        assert len(await support.until(1)) == 1


async def test_a_conversation_is_one_thread_and_only_its_first_mail_names_who_reads_it(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        member(gateway, "public", "Support Desk") as support,
        member(gateway, "public", "Sales Desk") as sales,
    ):
        reply = {"Message-ID": "<2@p>", "In-Reply-To": "<1@p>", "References": "<1@p>"}
        other = {"Message-ID": "<3@p>", "Subject": "Something else"}
        for headers in ({}, reply, other):
            await smtp(gateway, lambda client, headers=headers: client.send_message(a_mail(**headers)))
        await smtp(gateway, lambda client: client.send_message(a_mail(**reply), to_addrs=["sales@example.org"]))
        first, second, third = [content(one)[0] for one in (await support.until(3))[:3]]
        elsewhere = content((await sales.until(1))[0])[0]
        assert first.threadid == second.threadid
        assert len({first.threadid, third.threadid, elsewhere.threadid}) == 3
        assert [bool(head.cc) for head in (first, second, third, elsewhere)] == [True, False, True, True]


def with_program() -> EmailMessage:
    mail = a_mail()
    mail.add_attachment(b"plan", maintype="application", subtype="pdf", filename="plan.pdf")
    mail.add_attachment(b"MZ\x90", maintype="application", subtype="pdf", filename="invoice.pdf")
    return mail


async def test_active_attachments_are_named_and_not_passed_on(tmp_path: Path) -> None:
    """D2. What one route allows it does not allow for the others."""
    settings = SETTINGS.replace("to: Sales Desk}", "to: Sales Desk, active_attachments: allow, original: attach}")
    assert settings != SETTINGS
    async with (
        running_gateway(tmp_path, settings) as gateway,
        member(gateway, "public", "Support Desk") as support,
        member(gateway, "public", "Sales Desk") as sales,
    ):
        to = [RECIPIENT, "sales@example.org"]
        await smtp(gateway, lambda client: client.send_message(with_program(), to_addrs=to))
        head, text, files = content((await support.until(1))[0])
        assert [one.name for one in head.attach] == ["u:plan.pdf"]
        assert files == [b"plan"]
        assert text == (
            "Good morning.\n\n[gateway] the attachment 'invoice.pdf' (3 bytes) was not passed on: it is a program"
        )
        head, text, files = content((await sales.until(1))[0])
        assert [one.name for one in head.attach] == ["u:plan.pdf", "u:invoice.pdf", "u:original.eml"]
        assert files[:2] == [b"plan", b"MZ\x90"]
        assert files[2].count(b"Content-Disposition: attachment") == 2
        assert text == "Good morning."
        assert left_behind(tmp_path) == []


async def test_mail_that_cannot_be_parsed_is_held_with_the_reason(tmp_path: Path) -> None:
    """Never lost and never stuck (zammad#1772): of a vetted sender it waits for a person, whatever its route says."""
    parts = "--b\r\n\r\nx\r\n" * 2_000
    raw = f"From: {SENDER}\r\nMessage-ID: <1@p>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}".encode()
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        for _ in range(2):
            await smtp(gateway, lambda client: client.sendmail(SENDER, [RECIPIENT], raw))
        held = await gateway.bridges["intake"].holding.list("held")
        assert [(one.author, one.recipients, one.size) for one in held] == [(SENDER, [RECIPIENT], len(raw))]
        assert "more than 1000 parts" in held[0].why
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        assert len(await desk.until(1)) == 1
        assert left_behind(tmp_path) == []


async def test_a_database_that_fails_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is delivered that could not be remembered."""

    async def full(*_: object) -> bool:
        raise OSError(errno.ENOSPC, "full")

    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        with monkeypatch.context() as patched:
            patched.setattr("bridges.smtp.store.delivered.Delivered.known", full)
            with pytest.raises(smtplib.SMTPDataError) as refused:
                await smtp(gateway, lambda client: client.send_message(a_mail()))
        assert refused.value.smtp_code == 452
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        assert len(await desk.until(1)) == 1


async def test_a_mail_for_two_routes_reaches_both(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        member(gateway, "public", "Support Desk") as support,
        member(gateway, "public", "Sales Desk") as sales,
    ):
        to = [RECIPIENT, "SALES@Example.ORG"]
        await smtp(gateway, lambda client: client.send_message(a_mail(), to_addrs=to))
        assert content((await support.until(1))[0])[1] == content((await sales.until(1))[0])[1]


async def test_a_recipient_that_has_not_joined_is_temporary(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await smtp(gateway, lambda client: client.send_message(a_mail(), to_addrs=["nobody@example.org"]))
        assert refused.value.smtp_code == 451


def stolen_login(gateway: Gateway, folder: Path) -> KeyLogin:
    """What lies on the bridge's disk, in an attacker's hand."""
    seed = (folder / "data/bridges/intake/device.key").read_bytes()[:SEED_BYTES]
    uid = gateway.bridges["intake"]._settings.login.uid
    return KeyLogin(uid, Signer(seed), gateway.instances["public"].service.identity.public)


async def test_a_bridge_reaches_its_routes_and_nobody_else(tmp_path: Path) -> None:
    """Its credentials in an attacker's hand: the core still lets it reach its routes' recipients only (C2)."""
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Ada Lovelace") as ada:
        await gateway.bridges["intake"].stop(1.0)
        thief = await Connection.open(endpoint(gateway, "public"), revision="2")
        await thief.enter(await asyncio.to_thread(stolen_login, gateway, tmp_path))
        for attempt in (
            thief.post("1", [m.Recipient(ada.uid, m.TO_UID)], b"x"),
            thief.post("2", [m.Recipient("Ada Lovelace", m.TO_UID)], b"x"),
            thief.post("3", [], b"x", as_=m.Outsider(SENDER)),
            thief.post("3a", [m.Recipient(RECIPIENT, m.TO_UID)], b"as nobody"),
            thief.post("3b", [m.Recipient(RECIPIENT, m.TO_UID)], b"x", as_=m.Outsider("Support Desk")),
            thief.ping("4", "Support Desk", "Ada Lovelace", "x"),
            thief.group_invite("5", "A group of theirs", "Support Desk", "Ada Lovelace"),
            thief.ask(m.UserEdit("6", newalias="Ada Lovelace II")),
            thief.ask(m.UserEdit("7", newnode="another")),
            thief.ask(m.OhiEdit("8", "add", (m.Recipient(ada.uid),))),
        ):
            with pytest.raises(Refused):
                await attempt
        await thief.quit()
        assert ada.got == []


async def test_an_oversized_mail_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk"):
        mail = a_mail()
        mail.add_attachment(bytes(2_100_000), maintype="application", subtype="zip", filename="big.zip")
        with pytest.raises(smtplib.SMTPException) as refused:
            await smtp(gateway, lambda client: client.send_message(mail))
        assert "552" in str(refused.value)
        assert left_behind(tmp_path) == []


async def test_what_is_announced(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:

        def talk(client: smtplib.SMTP) -> dict[str, str]:
            client.ehlo()
            return client.esmtp_features

        features = await smtp(gateway, talk)
        assert features["size"] == "2000000"
        assert {"8bitmime", "smtputf8", "enhancedstatuscodes", "pipelining", "starttls"} <= features.keys()
        assert not {"auth", "vrfy"} & features.keys()


async def test_the_intake_says_try_again_while_the_service_is_away_and_the_spool_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridges.limits.SERVICE_WAIT_S", 0.3)
    async with running_gateway(tmp_path, SETTINGS + "      spool: {mails_max: 1}\n") as gateway:
        await gateway.instances["public"].stop(0.1)
        for _ in range(2):
            assert await smtp(gateway, lambda client: client.send_message(a_mail())) == {}  # kept once
        with pytest.raises(smtplib.SMTPDataError) as refused:
            await smtp(gateway, lambda client: client.send_message(a_mail(**{"Message-ID": "<2@p>"})))
        assert refused.value.smtp_code == 451


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed: apt-get install swaks")
async def test_swaks(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        host, port = gateway.bridges["intake"].address
        attachment = tmp_path / "plan.bin"
        await asyncio.to_thread(attachment.write_bytes, bytes(range(256)) * 100)

        async def swaks(sender: str, recipient: str, *more: str) -> int:
            process = await asyncio.create_subprocess_exec(
                *("swaks", "--server", f"{host}:{port}", "--from", sender, "--to", recipient, *more),
                stdout=asyncio.subprocess.DEVNULL,
            )
            return await process.wait()

        plan = (
            "--attach-name",
            "plan.bin",
            "--attach",
            f"@{attachment}",
            "--header",
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
        )
        assert await swaks(SENDER, RECIPIENT, *plan) == 0
        head, _, files = content((await desk.until(1))[0])
        assert head.subject == f"[SMTP: {SENDER}] Grüße"
        assert files == [bytes(range(256)) * 100]
        assert await swaks("evil@stranger.example", RECIPIENT) == 23  # refused at MAIL
        assert await swaks(SENDER, "ceo@example.org") == 24  # refused at RCPT
        assert len(desk.got) == 1


async def test_mails_without_an_id_are_told_apart_by_their_header(tmp_path: Path) -> None:
    """Of a machine that sets no Message-ID; what it sends again, as it was, still comes once."""
    async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        for subject in ("Server A is down", "Server B is down", "Server B is down", "Server A is up"):
            mail = a_mail(Subject=subject)
            del mail["Message-ID"]
            await smtp(gateway, lambda client, mail=mail: client.send_message(mail))
        subjects = [content(one)[0].subject for one in await desk.until(3)]
        assert subjects == [f"[SMTP: {SENDER}] Server {what}" for what in ("A is down", "B is down", "A is up")]
