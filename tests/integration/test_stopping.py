# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stop waits for nobody who does not take his answer: not on /metrics, not on the control socket, not on a link."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway.instance import ListenOn
from tests.integration.test_websocket import trusting
from tests.support.gateway import running_gateway
from tests.support.instance import TestInstance, running_instance
from tests.support.raw_peer import PATIENCE_S, RawPeer
from tmtp_core import limits

SETTINGS = """\
data_dir: ./data
http: {listen: "127.0.0.1:0"}
log: {level: error}
instances: [{name: members, policy: members, registration: invite, listen: [{tls: "127.0.0.1:0"}]}]
"""


async def a_peer_that_takes_no_answer(family: int, address: Any, request: bytes) -> socket.socket:
    """It asks until nothing more is read from it."""
    stuck = socket.socket(family)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stuck.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stuck, address)
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.3):
                await loop.sock_sendall(stuck, request * 100)
    return stuck


@pytest.mark.parametrize("where", ["http", "control"])
async def test_of_a_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(limits, "HTTP_STOP_GRACE_S", 0.05)
    async with running_gateway(tmp_path, SETTINGS) as gateway:
        if where == "http":
            request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
            stuck = await a_peer_that_takes_no_answer(socket.AF_INET, gateway.http_address, request)
        else:
            request = b"GET /instances/members/accounts HTTP/1.1\r\nHost: x\r\n\r\n"
            path = str(tmp_path / "data" / "control.sock")
            stuck = await a_peer_that_takes_no_answer(socket.AF_UNIX, path, request)
        await asyncio.wait_for(gateway.stop(grace_s=0.1), PATIENCE_S)
        stuck.close()


async def test_an_instance_stops_while_the_http_servers_still_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path, SETTINGS) as gateway:
        assert gateway._control is not None
        waiting, stop = asyncio.Event(), gateway._control.stop

        async def slow() -> None:
            await waiting.wait()
            await stop()

        monkeypatch.setattr(gateway._control, "stop", slow)
        service = gateway.instances["members"].service
        stopping = asyncio.create_task(gateway.stop(grace_s=0.1))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while service._writer.is_alive():
                    await asyncio.sleep(0.01)
            assert not stopping.done()
        finally:
            waiting.set()
            await stopping


@pytest.fixture
async def instance(tmp_path: Path) -> Any:
    async with running_instance(tmp_path / "instance", listen=(ListenOn("127.0.0.1", 0, websocket=True),)) as running:
        yield running


async def test_of_websockets_whose_peers_do_nothing(instance: TestInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_STOP_GRACE_S", 0.05)
    address = instance.running.listeners[1].address
    logged_in = await RawPeer(websocket=True).register(instance, "Ada Lovelace")
    silent = await RawPeer(websocket=True).connect(instance)
    _, half = await asyncio.open_connection(*address, ssl=trusting())
    half.write(b"GET /tmtp HTTP/1.1\r\nHost:")
    _, mute = await asyncio.open_connection(*address)
    links = list(instance.running.listeners[1].links)
    assert len(links) == 2
    await asyncio.wait_for(instance.running.stop(grace_s=0.1), PATIENCE_S)
    assert all(link._gone.is_set() for link in links)
    logged_in.close()
    silent.close()
    mute.close()
    half.transport.abort()
    await instance.start()
