# SPDX-License-Identifier: AGPL-3.0-or-later
"""TMTP over WebSocket: the same stream, the same limits (docs/protocol.md, *Bytes*)."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.instance import ListenOn
from tests.support.devices import KeyDevice, newcomer
from tests.support.instance import TestInstance, running_instance
from tests.support.raw_peer import PATIENCE_S, RawPeer, framed, websocket_frame
from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.possession import Channel, login_proof
from tmtp_core.wire import messages as m

PAGE = "https://chat.example.org"


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    also = ListenOn("127.0.0.1", 0, websocket=True, origins=frozenset({PAGE}))
    async with running_instance(tmp_path / "instance", listen=(also,)) as running:
        yield running


def url(instance: TestInstance, path: str = "/tmtp") -> str:
    return f"wss://127.0.0.1:{instance.running.listeners[1].address[1]}{path}"


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def socket_to(
    instance: TestInstance, protocols: tuple[str, ...] = ("tmtp",), path: str = "/tmtp", **headers: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(
            url(instance, path), protocols=protocols, ssl=trusting(), headers=headers, max_msg_size=0
        ) as socket,
    ):
        yield socket


class Stream:
    """Frames of TMTP out of frames of WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._buffer = bytearray()

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            message = await asyncio.wait_for(self.socket.receive(), 60)
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise EOFError(message.type)
            self._buffer += message.data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def next(self) -> tuple[dict[str, Any], bytes]:
        head = json.loads(await self._take(int(await self._take(4), 16)))
        return head, await self._take(head.get("datalen", 0))

    async def until(self, op: str) -> tuple[dict[str, Any], bytes]:
        while True:
            head, data = await self.next()
            if head["op"] == op:
                return head, data


async def registered(socket: aiohttp.ClientWebSocketResponse, alias: str) -> tuple[Stream, str]:
    """In one frame, revision 1."""
    stream = Stream(socket)
    hello = framed({"op": 0, "id": "1"}) + framed({"op": 1, "newnode": "n", "newalias": alias})
    await socket.send_bytes(hello)
    head, _ = await stream.until("registered")
    await stream.until("info")
    return stream, str(head["uid"])


async def test_the_same_stream_however_it_is_cut(instance: TestInstance) -> None:
    bob = await newcomer(instance, "Bob Builder")
    async with socket_to(instance) as socket:
        assert socket.protocol == "tmtp"
        stream, uid = await registered(socket, "Ada Lovelace")
        ping = framed({"op": 9, "id": "p", "from": "Ada Lovelace", "to": "Bob Builder", "datalen": 5}, b"hello")
        for octet in ping[:-1]:
            await socket.send_bytes(bytes([octet]))
        await socket.send_bytes(ping[-1:] + framed({"op": 11}))
        assert (await stream.until("ack"))[0]["id"] == "p"
        event, data = await bob.next(m.PingEvent)
        assert (event.from_, data) == (uid, b"hello")
        await bob.ping("Ada Lovelace", "good morning")
        assert (await stream.until("ping"))[1] == b"good morning"
        await socket.send_bytes(framed({"op": 12}))
        assert (await stream.until("quit"))[0]["error"] == "logout ok"
        with pytest.raises(EOFError):
            await stream.next()


async def test_large_data_both_ways(instance: TestInstance) -> None:
    bob = await newcomer(instance, "Bob Builder")
    large = bytes(range(256)) * 12_000
    async with socket_to(instance) as socket:
        stream, uid = await registered(socket, "Ada Lovelace")
        post = framed({"op": 7, "id": "q", "for": [{"id": bob.uid, "type": 1}], "datalen": len(large)}, large)
        for start in range(0, len(post), limits.WEBSOCKET_MESSAGE_MAX_BYTES):
            await socket.send_bytes(post[start : start + limits.WEBSOCKET_MESSAGE_MAX_BYTES])
        await stream.until("ack")
        assert (await bob.next(m.Delivery))[1] == large
        await bob.post(uid, data=large)
        assert (await stream.until("delivery"))[1] == large


@pytest.mark.parametrize(
    ("origin", "status"), [(PAGE, 101), (PAGE.upper(), 101), ("https://evil.example", 403), ("null", 403)]
)
async def test_pages_come_from_listed_origins_only(instance: TestInstance, origin: str, status: int) -> None:
    if status == 101:
        async with socket_to(instance, Origin=origin) as socket:
            await registered(socket, "Ada Lovelace")
        return
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with socket_to(instance, Origin=origin):
            pass
    assert refused.value.status == status


async def test_what_is_no_websocket_for_tmtp(instance: TestInstance) -> None:
    for options, status in (({"protocols": ("chat",)}, 400), ({"protocols": ()}, 400), ({"path": "/other"}, 404)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket_to(instance, **options):  # type: ignore[arg-type]
                pass
        assert refused.value.status == status
    page = url(instance).replace("wss", "https")
    async with aiohttp.ClientSession() as session, session.get(page, ssl=trusting()) as answer:
        assert answer.status == 426


async def test_text_and_frames_that_are_too_long_end_it(instance: TestInstance) -> None:
    async with socket_to(instance) as socket:
        await socket.send_str("{}")
        closed = await socket.receive()
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1003)
    async with socket_to(instance) as socket:
        await socket.send_bytes(bytes(limits.WEBSOCKET_MESSAGE_MAX_BYTES + 1))
        closed = await socket.receive()
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_a_log_in_signed_for_this_certificate(instance: TestInstance) -> None:
    """Revision 2 over WebSocket: the SPKI that is signed is the one that this listener shows."""
    ada = await newcomer(instance, "Ada Lovelace")
    await ada.quit()
    ada.connection = await ada.open()
    spki = (await ada.connection.channel()).spki_hash
    await ada.connection.close()
    async with socket_to(instance) as socket:
        stream = Stream(socket)
        await socket.send_bytes(framed({"op": 0, "id": "2"}))
        greeting, _ = await stream.next()
        channel = Channel(from_text(greeting["nonce"]), from_text(greeting["service"]["key"]), spki)
        login = {"op": 2, "uid": ada.uid, "device": ada.name, "sig": login_proof(ada.signer, channel, ada.uid)}
        await socket.send_bytes(framed(login))
        assert (await stream.until("info"))[0]["info"] == "login ok"


async def test_a_slow_reader_pauses_itself_and_nobody_else(instance: TestInstance) -> None:
    bob: KeyDevice = await newcomer(instance, "Bob Builder")
    async with socket_to(instance) as socket:
        stream, uid = await registered(socket, "Ada Lovelace")
        for _ in range(30):
            await bob.post(uid, data=bytes(1_000_000))
        await bob.post(bob.uid, data=b"still served")
        while (await bob.next(m.Delivery))[1] != b"still served":
            pass
        for _ in range(30):
            head, data = await stream.until("delivery")
            assert len(data) == 1_000_000
            await socket.send_bytes(framed({"op": 10, "id": head["id"], "type": "ok"}))


async def test_deadlines(instance: TestInstance) -> None:
    async with socket_to(instance) as socket:  # a socket that never says a word
        await instance.advance(limits.LOGIN_DEADLINE_S)
        assert (await asyncio.wait_for(socket.receive(), 60)).type in {
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
        }
    host, port = instance.running.listeners[1].address
    reader, writer = await asyncio.open_connection(host, port, ssl=trusting())
    writer.write(b"GET /tmtp HTTP/1.1\r\nHost:")  # and a request that never ends
    await instance.advance(0.0)
    await instance.advance(limits.LOGIN_DEADLINE_S)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 60)
    writer.close()
    with pytest.raises((ConnectionError, ssl.SSLError, TimeoutError)):
        await asyncio.wait_for(writer.wait_closed(), 60)
        raise TimeoutError


async def test_a_stop_closes_it(tmp_path: Path) -> None:
    also = ListenOn("127.0.0.1", 0, websocket=True)
    async with running_instance(tmp_path / "instance", listen=(also,)) as instance:
        async with socket_to(instance) as socket:
            await registered(socket, "Ada Lovelace")
            stopping = asyncio.create_task(instance.stop())
            message = await asyncio.wait_for(socket.receive(), 60)
            while message.type is aiohttp.WSMsgType.BINARY:
                message = await asyncio.wait_for(socket.receive(), 60)
            assert message.type is aiohttp.WSMsgType.CLOSE
            await socket.close()
            await asyncio.wait_for(stopping, 60)
        await instance.start()


async def test_a_ping_is_answered_also_while_something_large_is_on_its_way(instance: TestInstance) -> None:
    bob = await newcomer(instance, "Bob Builder")
    peer = await RawPeer(websocket=True).register(instance, "Ada Lovelace")
    await peer.send(b"one", opcode=9)
    while b"one" not in peer.pongs:
        await peer.pass_on()
    await bob.post(peer.uid, data=bytes(8 << 20))
    await peer.until(b'"op":"delivery"')
    await peer.send(b"two", opcode=9)
    while b"two" not in peer.pongs:
        await peer.pass_on()
    assert peer.read_bytes < 8 << 20
    peer.close()


async def test_pongs_that_nobody_reads_do_not_pile_up(instance: TestInstance) -> None:
    peer = await RawPeer(websocket=True).register(instance, "Ada Lovelace")
    (link,) = instance.running.listeners[1].links
    link._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    pings = websocket_frame(bytes(125), opcode=9) * 2_000
    for _ in range(10):
        await peer.send_raw(pings)
    async with asyncio.timeout(PATIENCE_S):
        while link._pong is None:
            await asyncio.sleep(0.01)
    await peer.send(framed({"op": 9, "id": "after them", "from": "nobody!!", "to": "nobody!!"}))
    await peer.until(b"after them")
    assert peer.pongs[-1] == bytes(125)
    assert len(peer.pongs) < 20_000
    peer.close()


async def test_connections_that_never_become_one_make_room_for_who_does(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_NOT_UPGRADED_MAX", 3)
    address = instance.running.listeners[1].address
    silent = [await asyncio.open_connection(*address, ssl=trusting()) for _ in range(3)]
    with pytest.raises(EOFError):
        await RawPeer(websocket=True).connect(instance)
    await instance.advance(0.0)
    (await RawPeer(websocket=True).register(instance, "Ada Lovelace")).close()
    for _, writer in silent:
        writer.transport.abort()


async def test_what_has_not_become_a_websocket_may_send_little(instance: TestInstance) -> None:
    address = instance.running.listeners[1].address
    reader, writer = await asyncio.open_connection(*address, ssl=trusting())
    writer.write(b"POST /tmtp HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    with pytest.raises(ConnectionError):
        for _ in range(1_000):
            writer.write(bytes(limits.SESSION_BUFFER_MAX_BYTES))
            await writer.drain()
    writer.transport.abort()
    assert reader is not None
