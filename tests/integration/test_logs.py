# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs hold no content and no secret, whatever happens (D5)."""

import os
import smtplib
from pathlib import Path

import pytest
import structlog

from gateway.logs import hide_secrets
from tests.integration.test_bridges_smtp import RECIPIENT, SENDER, a_mail, smtp
from tests.support.gateway import endpoint, member, running_gateway
from tmtp_client.connection import AccountKeys, Connection, Refused
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire import messages as m

CANARY = "canary-in-the-logs"


async def test_nothing_of_a_message_and_no_secret_is_logged(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with running_gateway(tmp_path) as gateway, member(gateway, "public", "Support Desk") as desk:
            token = await gateway.instances["members"].service.create_invitation(note=CANARY)
            ada = await Connection.open(endpoint(gateway, "members"), revision="2")
            keys = AccountKeys.new(os.urandom)
            registered = await ada.register_keys("n", keys, "Ada Lovelace", token)
            old = await Connection.open(endpoint(gateway, "public"))
            password = (await old.register("n", "Old Acquaintance")).nodeid
            await old.quit()
            await ada.post("1", [m.Recipient(registered.uid, m.TO_UID)], CANARY.encode())
            with pytest.raises(Refused):
                await ada.post(CANARY, [m.Recipient("B" * 32, m.TO_UID)], CANARY.encode())
            await ada.quit()
            mail = a_mail(Subject=CANARY)
            mail.add_attachment(CANARY.encode(), maintype="text", subtype="plain", filename=f"{CANARY}.txt")
            await smtp(gateway, lambda client: client.send_message(mail))
            with pytest.raises(smtplib.SMTPDataError):
                raw = f"From: {SENDER}, x@y.example\r\nSubject: {CANARY}\r\n\r\n{CANARY}".encode()
                await smtp(gateway, lambda client: client.sendmail(SENDER, [RECIPIENT], raw))
            await desk.until(1)
            bridge_seed = (tmp_path / "data/bridges/intake.key").read_bytes()
    text = repr(logged)
    assert "listening" in text
    for secret in (CANARY, token, password):
        assert secret not in text
    for seed in (bridge_seed, keys.device.seed, keys.recovery_seed, keys.device.box_key):
        assert to_text(seed) not in text
        assert repr(seed) not in text


def test_fields_named_like_secrets_are_hidden() -> None:
    event = hide_secrets(None, "info", {"event": "x", "node": "abc", "token": "def", "instance": "members"})
    assert event == {"event": "x", "node": "(hidden)", "token": "(hidden)", "instance": "members"}
