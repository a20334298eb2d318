# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail programs that people run, plain and with STARTTLS, and Postfix in front by LMTP (C2)."""

import asyncio
import os
import shutil
import smtplib
from pathlib import Path

import pytest

from tests.support.gateway import member
from tests.support.intake import RECIPIENT, proving_gateway
from tests.support.senders import exim, msmtp, open_folder, opensmtpd, postfix, run
from tests.support.signing import mail_of, signed

FROM = "bounces@partner.example"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mail servers have users of their own: only root starts them")


@pytest.mark.parametrize("tls", [False, True])
async def test_exim_signs_and_sends(tmp_path: Path, tls: bool) -> None:
    """Its signature is another implementation's than the one that looks at it here."""
    with open_folder() as folder:
        async with proving_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
            port = gateway.bridges["intake"].address[1]
            log = await exim(folder, port, mail_of(), FROM, RECIPIENT, tls=tls, sign=True)
            assert f"=> {RECIPIENT}" in log, log
            assert ("X=TLS1." in log) is tls
            await desk.until(1)
            log = await exim(folder, port, mail_of(), FROM, RECIPIENT, tls=tls, sign=False)
            assert f"** {RECIPIENT}" in log, log
            assert "550 5.7.22" in log
            assert len(desk.got) == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_msmtp_and_opensmtpd(tmp_path: Path, tls: bool) -> None:
    async with proving_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
        port = gateway.bridges["intake"].address[1]
        for number, program in enumerate((msmtp, opensmtpd)):
            mail = signed(mail_of(**{"Message-ID": f"<{number}@partner.example>"}))
            code, said = await program(tmp_path, port, mail, FROM, RECIPIENT, tls=tls)
            assert code == 0, said
            await desk.until(number + 1)
            code, said = await program(tmp_path, port, mail_of(), FROM, RECIPIENT, tls=tls)
            assert code != 0 or "550" in said, said
        assert len(desk.got) == 2


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed: apt-get install swaks")
@pytest.mark.parametrize("tls", [["--tls"], ["--tls-on-connect"], []])
async def test_swaks(tmp_path: Path, tls: list[str]) -> None:
    listen = '{smtps: "127.0.0.1:0"}' if "--tls-on-connect" in tls else '"127.0.0.1:0"'
    async with proving_gateway(tmp_path, listen=listen) as gateway, member(gateway, "public", "Support Desk") as desk:
        host, port = gateway.bridges["intake"].address
        file = tmp_path / "mail"
        await asyncio.to_thread(file.write_bytes, signed(mail_of()).replace(b"\r\n", b"\n"))
        command = ("swaks", "--server", f"{host}:{port}", "--from", FROM, "--to", RECIPIENT, "--data", f"@{file}", *tls)
        code, said = await run(*command)
        assert code == 0, said
        await desk.until(1)


@pytest.mark.parametrize("tls", ["none", "encrypt"])
async def test_postfix_sends(tmp_path: Path, tls: str) -> None:
    with open_folder() as folder:
        async with proving_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
            port = gateway.bridges["intake"].address[1]
            transport = f"smtp:[127.0.0.1]:{port}"
            async with postfix(folder, transport, f"smtp_tls_security_level = {tls}", "smtp_tls_loglevel = 1") as (
                own,
                log,
            ):
                await asyncio.to_thread(hand_over, own, signed(mail_of()))
                await desk.until(1)
                await asyncio.to_thread(hand_over, own, mail_of())
                await said_in(log, "550 5.7.22")
                assert ("TLS connection established" in log.read_text()) is (tls == "encrypt")
            assert len(desk.got) == 1


async def test_postfix_in_front_by_lmtp(tmp_path: Path) -> None:
    """It says what it saw; each recipient has its own answer, and what is put off for one comes later to it alone."""
    with open_folder() as folder:
        socket = folder / "run" / "lmtp.sock"
        listen = f'{{lmtp: "unix:{socket}"}}'
        upstream = "upstream: {addresses: [unix], authserv_id: mail.example.org}"
        seen = "Authentication-Results: mail.example.org; dkim=pass header.d=partner.example"
        lines = f"smtpd_client_restrictions = check_client_access static:{{PREPEND {seen}}}"
        async with (
            proving_gateway(tmp_path, listen=listen, more=upstream) as gateway,
            member(gateway, "public", "Support Desk") as desk,
            postfix(folder, f"lmtp:unix:{socket}", lines) as (own, log),
        ):
            shutil.chown(socket, None, "daemon")  # whom the administrator lets in
            await asyncio.to_thread(hand_over, own, mail_of(), RECIPIENT, "nobody@example.org")
            await desk.until(1)
            await said_in(log, "to=<nobody@example.org>", "status=deferred", "451 4.3.0")
            assert f"to=<{RECIPIENT}>" in log.read_text()
            async with member(gateway, "public", "Nobody Yet") as late:
                await late.until(1)
            assert len(desk.got) == 1


def hand_over(port: int, mail: bytes, *recipients: str) -> None:
    """Give a mail to a Postfix."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30, local_hostname="client.example") as client:
        client.sendmail(FROM, list(recipients) or [RECIPIENT], mail)


async def said_in(log: Path, *words: str) -> None:
    """Wait until all of these stand in a log."""
    try:
        async with asyncio.timeout(60):
            while not all(word in log.read_text() for word in words):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{words} are not in: {log.read_text()}") from None
