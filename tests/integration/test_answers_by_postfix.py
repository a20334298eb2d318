# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers by a real submission server: STARTTLS before anything, AUTH or nothing, a sender that this user may use (C5)."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.integration.test_answers import PARTNER, SMARTHOST, answer
from tests.integration.test_bridges_smtp import RECIPIENT, a_mail, content, smtp
from tests.integration.test_real_senders import said_in
from tests.support.gateway import member, running_gateway
from tests.support.relay import PASSWORD, USER, prepare, relay
from tests.support.senders import open_folder, postfix, sasl, sasl_modules

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mail servers have users of their own: only root starts them")


async def test_postfix_sends_the_answers_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASL_PATH", await sasl_modules())
    with open_folder() as folder:
        await asyncio.to_thread(prepare, folder / "relay")
        lines = (
            *await sasl(folder, USER, PASSWORD),
            "smtpd_tls_security_level = encrypt",
            "smtpd_tls_auth_only = yes",
            f"smtpd_tls_cert_file = {folder}/relay/relay.pem",
            f"smtpd_tls_key_file = {folder}/relay/relay.key",
            f"smtpd_sender_login_maps = inline:{{{{ {RECIPIENT} = {USER} }}}}",
            "smtpd_sender_restrictions = reject_sender_login_mismatch",
        )
        async with (
            relay(folder / "relay", tls="none") as partner,
            postfix(folder, f"smtp:[127.0.0.1]:{partner.port}", *lines) as (port, log),
        ):
            given = SMARTHOST.replace("to: Sales Desk}", "to: Sales Desk, reply: smarthost}")
            given += f"      {partner.settings(port=str(port))}\n      tell: nobody@example.org\n"
            async with (
                running_gateway(tmp_path, given) as gateway,
                member(gateway, "public", "Support Desk") as desk,
                member(gateway, "public", "Sales Desk") as sales,
                member(gateway, "public", "Nobody Yet") as administrator,
            ):
                both = [RECIPIENT, "sales@example.org"]
                await smtp(gateway, lambda client: client.send_message(a_mail(Subject="Größe"), to_addrs=both))
                await desk.until(1)
                await sales.until(1)
                await answer(desk, "Gern.", (("a.txt", b".\r\n..\r\n"),))
                taken = (await partner.until(1))[0]
                assert (taken.sender, taken.recipients) == (RECIPIENT, [PARTNER])
                assert taken.mail["Subject"] == "Re: Größe"
                assert taken.text == "Gern.\r\n"
                assert [file.get_content() for file in taken.mail.iter_attachments()] == [".\r\n..\r\n"]
                await said_in(log, f"sasl_username={USER}")

                await answer(sales, "From an address that this user may not use.")
                assert "553 5.7.1" in content((await sales.until(2))[1])[1]
                assert "553 5.7.1" in content((await administrator.until(1))[0])[1]

                back = a_mail(**{"Message-ID": "<2@p>", "In-Reply-To": taken.mail["Message-ID"]})
                await smtp(gateway, lambda client: client.send_message(back))
                got = await desk.until(2)
                assert content(got[1])[0].threadid == content(got[0])[0].threadid
                assert len(partner.mails) == 1
