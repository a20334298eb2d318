# SPDX-License-Identifier: AGPL-3.0-or-later
"""TLS, certificates, proxies, LMTP and full disks at a real intake (C2)."""

import asyncio
import errno
import smtplib
import socket
import ssl
import stat
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from gateway.certificates import make_self_signed, spki_pin
from gateway.instance import StartFailed
from tests.support.gateway import member
from tests.support.intake import RECIPIENT, proving_gateway, talk
from tests.support.signing import mail_of, signed


def client_context(*certificate: Path) -> ssl.SSLContext:
    """A client that takes any server, as mail servers do with STARTTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def certificate(folder: Path, name: str) -> tuple[Path, Path, str]:
    """A self-signed certificate, its key, and its pin."""
    pem, key = folder / f"{name}.crt", folder / f"{name}.key"
    make_self_signed(pem, key, name, datetime.now(UTC))
    return pem, key, spki_pin(pem)


def send(address: tuple[str, int], mail: bytes, context: ssl.SSLContext, *, implicit: bool) -> Any:
    """Send by smtplib, in TLS."""
    kind = smtplib.SMTP_SSL if implicit else smtplib.SMTP
    options: dict[str, Any] = {"context": context} if implicit else {}
    with kind(*address, timeout=30, local_hostname="client.example", **options) as client:
        if not implicit:
            client.starttls(context=context)
            client.ehlo()
            assert "starttls" not in client.esmtp_features
        return client.sendmail("bounces@partner.example", [RECIPIENT], mail)


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_arrives_through_tls(tmp_path: Path, implicit: bool) -> None:
    listen = '{smtps: "127.0.0.1:0"}' if implicit else '"127.0.0.1:0"'
    large = signed(mail_of(body="x" * 70 + "\r\n" + ("y" * 900 + "\r\n") * 1_500))
    async with proving_gateway(tmp_path, listen=listen) as gateway, member(gateway, "public", "Support Desk") as desk:
        address = gateway.bridges["intake"].address
        for mail in (signed(mail_of()), large):
            await asyncio.to_thread(send, address, mail, client_context(), implicit=implicit)
        assert len((await desk.until(2))[1][1]) > 1_350_000


async def test_a_sender_is_known_by_its_certificate(tmp_path: Path) -> None:
    """Whoever signed it, and nobody who offers another, or none, or speaks without TLS."""
    mine, my_key, pin = await asyncio.to_thread(certificate, tmp_path, "mine")
    other, others_key, _ = await asyncio.to_thread(certificate, tmp_path, "other")
    senders = f'[{{address: bounces@partner.example, proof: [client_certificate: "{pin}"]}}]'
    mail = mail_of("bounces@partner.example")
    async with (
        proving_gateway(tmp_path, senders=senders, listen='[{smtp: "127.0.0.1:0"}, {smtps: "127.0.0.1:0"}]') as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        intake = gateway.bridges["intake"]
        plain, tls = (("127.0.0.1", int(where.rpartition(":")[2])) for _, where in intake.addresses)
        await asyncio.to_thread(send, plain, mail, client_context(mine, my_key), implicit=False)
        await asyncio.to_thread(send, tls, mail, client_context(mine, my_key), implicit=True)
        for context in (client_context(), client_context(other, others_key)):
            with pytest.raises(smtplib.SMTPSenderRefused) as refused:
                await asyncio.to_thread(send, plain, mail, context, implicit=False)
            assert refused.value.smtp_code == 550
        async with talk(plain) as one:
            assert (await one.mail(mail))[0].startswith("550 5.7.1")
        await desk.until(1)
        assert len(desk.got) == 1


async def test_what_is_sent_ahead_of_tls_is_forgotten(tmp_path: Path) -> None:
    """RFC 3207 §4.2, §6: commands injected by somebody in between, and what was said before."""
    async with proving_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        async with talk(gateway.bridges["intake"].address) as one:
            assert (await one.say("MAIL FROM:<evil@partner.example>")).startswith("250")
            injected = b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@partner.example>\r\nRCPT TO:<support@example.org>\r\n"
            await one.send(injected)
            assert (await one.reply()).startswith("220")
            await one.writer.start_tls(client_context())
            assert (await one.say("RCPT TO:<support@example.org>")).startswith("503")
            assert (await one.say("MAIL FROM:<a@partner.example>")).startswith("503")  # not even EHLO was said
            assert (await one.say("EHLO client.example")).startswith("250-mx.example.org")
            assert (await one.say("RCPT TO:<support@example.org>")).startswith("503")
            assert (await one.say("STARTTLS")).startswith("503")
            assert (await one.mail(signed(mail_of())))[0].startswith("250")
        await desk.until(1)


async def test_what_is_no_tls_ends_the_session(tmp_path: Path) -> None:
    async with proving_gateway(tmp_path, listen='[{smtp: "127.0.0.1:0"}, {smtps: "127.0.0.1:0"}]') as gateway:
        plain, tls = (("127.0.0.1", int(where.rpartition(":")[2])) for _, where in gateway.bridges["intake"].addresses)
        async with talk(plain) as one:
            assert (await one.say("STARTTLS")).startswith("220")
            await one.send(b"MAIL FROM:<evil@partner.example>\r\n")
            assert b"250" not in await one.reader.read()
        async with talk(tls, "") as one:
            await one.send(b"EHLO x\r\nMAIL FROM:<evil@partner.example>\r\n")
            assert b"250" not in await one.reader.read()


async def test_the_certificate_of_the_file(tmp_path: Path) -> None:
    pem, key, _ = await asyncio.to_thread(certificate, tmp_path, "mx")

    def seen(address: tuple[str, int]) -> bytes:
        with smtplib.SMTP(*address, timeout=30) as client:
            client.starttls(context=client_context())
            return client.sock.getpeercert(binary_form=True)  # type: ignore[union-attr,no-any-return]

    files = f'tls: {{certificate: "{pem}", key: "{key}"}}'
    async with proving_gateway(tmp_path, more=files) as gateway:
        shown = await asyncio.to_thread(seen, gateway.bridges["intake"].address)
    assert ssl.DER_cert_to_PEM_cert(shown) in pem.read_text()


async def test_a_listed_proxy_says_who_the_client_is(tmp_path: Path) -> None:
    """SPF and networks are about the client, not the proxy."""
    senders = "[{domain: spf.example, proof: [spf: aligned, network: 127.0.0.1/32]}]"
    mail = mail_of("a@spf.example")
    async with (
        proving_gateway(tmp_path, senders=senders, more='proxies: ["127.0.0.0/8"]') as gateway,
        member(gateway, "public", "Support Desk"),
    ):
        for client, code in (("127.0.0.1", "250"), ("198.51.100.7", "550")):
            async with talk(gateway.bridges["intake"].address, "") as one:
                await one.send(f"PROXY TCP4 {client} 127.0.0.1 1 25\r\n".encode())
                assert (await one.reply()).startswith("220")
                assert (await one.say("EHLO x")).startswith("250")
                assert (await one.mail(mail, sender="b@spf.example"))[0].startswith(code)


async def test_a_server_in_front_by_lmtp_is_believed(tmp_path: Path) -> None:
    """RFC 8601: its results count, and not those of others in its name, nor over another door."""
    path = tmp_path / "run" / "lmtp.sock"
    listen = f'[{{lmtp: "unix:{path}"}}, {{smtp: "127.0.0.1:0"}}]'
    upstream = "upstream: {addresses: [unix], authserv_id: mail.example.org}"
    said = b"Authentication-Results: mail.example.org; dkim=pass header.d=partner.example\r\n"
    async with (
        proving_gateway(tmp_path, listen=listen, more=upstream) as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        async with talk(path, "LHLO mail.example.org") as one:
            assert (await one.mail(said + mail_of()))[0].startswith("250")
            assert (await one.mail(said.replace(b"mail.", b"evil.") + mail_of()))[0].startswith("550 5.7.22")
            below = b"Received: by mail.example.org\r\nReceived: by evil\r\n" + said + mail_of()
            assert (await one.mail(below))[0].startswith("550 5.7.22")
        async with talk(gateway.bridges["intake"].address) as one:
            assert (await one.mail(said + mail_of()))[0].startswith("550 5.7.22")
        await desk.until(1)
    assert not path.exists()


async def test_addresses_outside_ascii(tmp_path: Path) -> None:
    """SMTPUTF8 (RFC 6531): the sender's domain is compared as DNS has it."""
    senders = "[{domain: xn--bcher-kva.example, proof: [network: 127.0.0.0/8]}]"
    async with proving_gateway(tmp_path, senders=senders) as gateway, member(gateway, "public", "Support Desk") as desk:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "büro@bücher.example", RECIPIENT, "Grüße"
        mail.set_content("x")

        def send_utf8() -> None:
            with smtplib.SMTP(*gateway.bridges["intake"].address, timeout=30) as client:
                client.send_message(mail)

        await asyncio.to_thread(send_utf8)
        async with talk(gateway.bridges["intake"].address) as one:
            assert (await one.say("MAIL FROM:<büro@bücher.example>")).startswith("553 5.6.7")
            assert (await one.say(f"MAIL FROM:<{'x' * 65}@bücher.example> SMTPUTF8")).startswith("501 5.1.3")
        await desk.until(1)


async def test_a_full_disk_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has an attachment is written before it is posted; what has none needs no file."""
    real = Path.open

    def full(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "w" in mode:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(self, mode, *arguments, **options)

    fields = [b"from", b"to", b"subject", b"date", b"message-id", b"content-type"]
    attached = signed(mail_of(**{"Content-Type": "image/png"}), include_headers=fields)
    async with proving_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        async with talk(gateway.bridges["intake"].address) as one:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "open", full)
                assert (await one.mail(attached))[0].startswith("452 4.3.1")
            assert not list((tmp_path / "data/bridges/intake/spool").iterdir())
            assert (await one.mail(attached))[0].startswith("250")
            assert not list((tmp_path / "data/bridges/intake/spool").iterdir())
        await desk.until(1)


async def test_too_many_recipients_are_for_another_mail(tmp_path: Path) -> None:
    """RFC 5321 §4.5.3.1.10."""
    async with proving_gateway(tmp_path) as gateway, talk(gateway.bridges["intake"].address) as one:
        await one.say("MAIL FROM:<bounces@partner.example>")
        replies = [await one.say(f"RCPT TO:<{RECIPIENT}>") for _ in range(101)]
        assert [reply[:9] for reply in replies[-2:]] == ["250 2.1.5", "452 4.5.3"]


async def test_what_cannot_be_opened_is_said_and_leaves_nothing_open(tmp_path: Path) -> None:
    """The second door is taken: the first one is closed again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = tmp_path / "lmtp.sock"
        listen = f'[{{lmtp: "unix:{path}"}}, {{smtp: "127.0.0.1:{taken.getsockname()[1]}"}}]'
        with pytest.raises(StartFailed, match="bridge intake cannot listen"):
            async with proving_gateway(tmp_path, listen=listen):
                pass
        assert not path.exists()
