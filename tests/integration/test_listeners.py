# SPDX-License-Identifier: AGPL-3.0-or-later
"""Listeners of a whole gateway: plain TCP on loopback, several addresses, a certificate of one's own (C1)."""

import asyncio
import os
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog

from gateway.app import Gateway
from gateway.certificates import make_self_signed, spki_pin
from gateway.cli import serving
from gateway.clock import SystemClock
from gateway.instance import StartFailed
from gateway.settings import Address, SettingsInvalid, load_settings
from tests.support.gateway import invited, running_gateway
from tmtp_client.connection import Connection, Endpoint, WrongService
from tmtp_core import limits
from tmtp_core.wire.address import parse_address

SETTINGS = """\
http: {listen: "127.0.0.1:0"}
instances:
  - name: members
    title: The Members
    policy: members
    protocol: {revision1: allow}
    listen: [{tls: "127.0.0.1:0"}, {tcp: "127.0.0.1:0"}]
    tls: {certificate: own.crt, key: own.key}
"""

PIN = "sha256:" + "A" * 43


async def test_this_machines_name_is_asked_for_once_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody answers for names, that takes seconds."""
    asked: list[threading.Thread] = []

    def name() -> str:
        asked.append(threading.current_thread())
        return "here.example"

    monkeypatch.setattr("socket.getfqdn", name)
    make_self_signed(tmp_path / "own.crt", tmp_path / "own.key", "members.example", datetime.now(UTC))
    async with running_gateway(tmp_path, SETTINGS) as gateway:
        assert [gateway._reachable(host) for host in ("0.0.0.0", "::", "127.0.0.1")] == [
            "here.example",
            "here.example",
            "127.0.0.1",
        ]
    assert len(asked) == 1
    assert asked[0] is not threading.main_thread()


@pytest.mark.parametrize("host", ["chat.example.org", "2001:db8::7"])
async def test_links_name_the_host_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """C1: those of invitations and of the console; what only this machine reaches keeps its address."""
    monkeypatch.setattr("socket.getfqdn", lambda: pytest.fail("nobody else needs to be asked"))
    settings = f"""\
data_dir: ./data
host: "{host}"
http: {{listen: "127.0.0.1:0"}}
administration: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - {{name: members, policy: members, listen: [{{tls: "0.0.0.0:0"}}]}}
  - {{name: here, policy: members, listen: [{{tls: "127.0.0.1:0"}}]}}
"""
    async with running_gateway(tmp_path, settings) as gateway:
        made, own = [parse_address((await invited(gateway, name)).link) for name in ("members", "here")]
        assert (made.host, made.port) == (host, gateway.instances["members"].address[1])
        assert own.host == "127.0.0.1"
        assert [gateway._reachable(one) for one in ("::", "192.0.2.7", "::1", "localhost")] == [
            host,
            host,
            "::1",
            "localhost",
        ]
        assert gateway._console_url().startswith("http://localhost:")
        everywhere = gateway._settings.administration.model_copy(update={"listen": Address(host="0.0.0.0", port=0)})
        monkeypatch.setattr(gateway, "_settings", gateway._settings.model_copy(update={"administration": everywhere}))
        assert urlsplit(gateway._console_url()).hostname == host


async def test_links_name_where_a_proxy_or_a_mapped_port_takes_clients(tmp_path: Path) -> None:
    """C1: and the pin of a key that they see there, which is not the gateway's where a proxy ends TLS."""
    elsewhere = "reached_at: chat.example.org:443"
    settings = f"""\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - {{name: mapped, policy: members, listen: [{{tls: "127.0.0.1:0"}}], {elsewhere}}}
  - {{name: proxied, policy: members, listen: [{{tcp: "127.0.0.1:0"}}], {elsewhere}, tls: {{proxy_pins: [{PIN}]}}}}
"""
    async with running_gateway(tmp_path, settings) as gateway:
        for name, pin in (("mapped", gateway.instances["mapped"].spki_pin), ("proxied", None)):
            made = parse_address((await invited(gateway, name)).link)
            assert (made.host, made.port, made.pin) == ("chat.example.org", 443, pin)
            assert made.invite


async def test_plain_tcp_and_an_own_certificate(tmp_path: Path) -> None:
    make_self_signed(tmp_path / "own.crt", tmp_path / "own.key", "members.example", datetime.now(UTC))
    async with running_gateway(tmp_path, SETTINGS) as gateway:
        tls, plain = gateway.instances["members"].listeners
        assert gateway.client_address("members").pin is None  # others vouch for a certificate of one's own
        connection = await Connection.open(Endpoint(*tls.address, pin=spki_pin(tmp_path / "own.crt")))
        assert connection.service.result().name == "The Members"
        await connection.close()
        with pytest.raises(WrongService, match="nothing was sent"):
            await Connection.open(Endpoint(*tls.address, pin="sha256:" + "A" * 43))
        with pytest.raises(ssl.SSLCertVerificationError):
            await Connection.open(Endpoint(*tls.address))

        reader, writer = await asyncio.open_connection(*plain.address)
        writer.write(b'0011{"op":0,"id":"1"}')
        answer = b'{"id":"1","name":"The Members","op":"tmtprev"}'
        assert await reader.readexactly(4 + len(answer)) == b"%04x%b" % (len(answer), answer)
        writer.close()
        await writer.wait_closed()


async def test_the_descriptors_that_all_instances_need_are_secured_or_missed_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.replace("tls: {certificate: own.crt, key: own.key}", "limits: {connections_max: 5000}")
    (tmp_path / "gateway.yaml").write_text(settings, "utf-8")
    gateway = Gateway(load_settings(tmp_path / "gateway.yaml"), SystemClock(), os.urandom)
    assert gateway.descriptors_needed == limits.DESCRIPTORS_FOR_FILES + 5_000 + 2 * limits.HANDSHAKES_MAX
    with structlog.testing.capture_logs() as logged:
        monkeypatch.setattr(serving, "raise_descriptors_max", lambda: gateway.descriptors_needed)
        serving.secure_descriptors(gateway.descriptors_needed)
        assert logged == []
        monkeypatch.setattr(serving, "raise_descriptors_max", lambda: gateway.descriptors_needed - 1)
        serving.secure_descriptors(gateway.descriptors_needed)
    assert [entry["event"] for entry in logged] == ["descriptors_few"]


async def test_a_key_that_does_not_fit_is_named(tmp_path: Path) -> None:
    make_self_signed(tmp_path / "own.crt", tmp_path / "other.key", "members.example", datetime.now(UTC))
    make_self_signed(tmp_path / "other.crt", tmp_path / "own.key", "members.example", datetime.now(UTC))
    with pytest.raises(SettingsInvalid) as invalid:
        async with running_gateway(tmp_path, SETTINGS):
            pass
    (problem,) = invalid.value.problems
    assert "own.key cannot be used together" in problem.wrong
    assert problem.path == "instances[0].tls.certificate"


async def test_a_lost_credential_key_is_not_replaced(tmp_path: Path) -> None:
    settings = SETTINGS.replace("    tls: {certificate: own.crt, key: own.key}\n", "")
    async with running_gateway(tmp_path, settings):
        pass
    (tmp_path / "data/instances/members/credential.key").unlink()
    with pytest.raises(StartFailed, match="restore it from the backup"):
        async with running_gateway(tmp_path, settings):
            pass
