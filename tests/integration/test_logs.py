# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs hold no content and no secret, whatever happens (D5)."""

import asyncio
import contextlib
import logging
import os
import smtplib
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.logs import LibraryTrouble, hide_secrets, quiet_libraries
from tests.integration.test_bridges_smtp import RECIPIENT, SENDER, a_mail, smtp
from tests.support.gateway import SETTINGS, endpoint, member, running_gateway
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
            bridge_seed = (tmp_path / "data/bridges/intake/device.key").read_bytes()
    text = repr(logged)
    assert "listening" in text
    for secret in (CANARY, token, password):
        assert secret not in text
    for seed in (bridge_seed, keys.device.seed, keys.recovery_seed, keys.device.box_key):
        assert to_text(seed) not in text
        assert repr(seed) not in text


MALFORMED = (
    b"GET /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n",
    b"%b%b",
    b"GET / HTTP/1.1\r\n%b %b\r\n\r\n",
    b"%b / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n%b: x\r\n\r\n",
)


async def test_what_libraries_say_about_peers_is_counted_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    quiet_libraries()
    settings = SETTINGS.replace(
        'listen: [{tls: "127.0.0.1:0"}]', 'listen: [{tls: "127.0.0.1:0"}, {ws: "127.0.0.1:0"}]', 1
    )
    with structlog.testing.capture_logs() as logged:
        async with running_gateway(tmp_path, settings) as gateway:
            websocket = gateway.instances["members"].listeners[1].address
            for address in (websocket, gateway.http_address, tmp_path / "data" / "control.sock"):
                for number in range(20):
                    await _send(address, MALFORMED[number % len(MALFORMED)] % ((CANARY.encode(),) * 2))
        loop = asyncio.get_running_loop()
        loop.call_soon(_fails, CANARY)  # a fault of ours, with content in its hands
        await asyncio.sleep(0.01)
    kinds = {entry["kind"] for entry in logged if entry["event"] == "library_trouble"}
    assert kinds >= {"ValueError"}
    assert len(kinds) >= 2
    assert len([entry for entry in logged if entry["event"] == "library_trouble"]) < 30
    said = capfd.readouterr()
    for text in (repr(logged), said.out, said.err):
        assert CANARY not in text


def _fails(content: str) -> None:
    raise ValueError(content)


async def _send(address: Any, request: bytes) -> None:
    if isinstance(address, Path):
        reader, writer = await asyncio.open_unix_connection(str(address))
    else:
        reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 60)
    writer.close()


def test_trouble_of_one_kind_is_told_when_it_has_doubled() -> None:
    handler = LibraryTrouble()
    with structlog.testing.capture_logs() as logged:
        for _ in range(1_000):
            handler.handle(logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, CANARY, (), None))
    assert [entry["count"] for entry in logged] == [1 << power for power in range(10)]
    assert CANARY not in repr(logged)


def test_fields_named_like_secrets_are_hidden() -> None:
    event = hide_secrets(None, "info", {"event": "x", "node": "abc", "token": "def", "instance": "members"})
    assert event == {"event": "x", "node": "(hidden)", "token": "(hidden)", "instance": "members"}
