# SPDX-License-Identifier: AGPL-3.0-or-later
"""The service's end of a link, played by the test: what a client must cope with and no real service does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.certificates import make_self_signed, server_context, spki_pin
from tmtp_client.connection import Endpoint
from tmtp_core.wire import messages as m
from tmtp_core.wire.codec import DataRead, FrameReader, HeadRead
from tmtp_core.wire.requests import parse_request

POSTED = "2026-11-24T12:00:00.000Z"


class PeerLink:
    """One accepted connection: requests in, whatever the test says out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parse: Callable[[bytes], Any] = parse_request  # of revision 1
        self._frames: FrameReader[m.Request] = FrameReader(lambda raw: self.parse(raw))  # noqa: PLW0108
        self._requests = self._parse()

    async def request(self) -> tuple[m.Request, bytes]:
        """The next request and its data."""
        return await anext(self._requests)

    async def send(self, event: m.Event, data: bytes = b"") -> None:
        """Send a message whole."""
        self.writer.write(m.encode_head(event) + data)
        await self.writer.drain()

    async def greet(self) -> None:
        """Answer op 0 and op 2 as a service does that lets the device in."""
        await self.request()
        await self.send(m.TmtpRevAnswer("1", "Scripted"))
        await self.request()
        await self.send(m.Info("login ok"))

    async def part(self) -> None:
        """Read on until the client logs out, and answer as a service does: who gets no answer waits for it."""
        async for request, _ in self._requests:
            if isinstance(request, m.Quit):
                await self.send(m.QuitNotice(""))
                break
        await self.close()

    async def close(self) -> None:
        """Close without a word."""
        self.writer.transport.abort()
        await asyncio.sleep(0)

    async def _parse(self) -> AsyncIterator[tuple[m.Request, bytes]]:
        head: m.Request | None = None
        data = bytearray()
        while chunk := await self.reader.read(65_536):
            self._frames.feed(chunk)
            for event in self._frames.events():
                if isinstance(event, HeadRead):
                    head, data = event.head, bytearray()
                elif isinstance(event, DataRead):
                    data += event.chunk
                else:
                    assert head is not None
                    yield head, bytes(data)


class ScriptedPeer:
    """Listens on loopback; `link` waits for the next connection."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self._key = folder / "peer.crt", folder / "peer.key"
        make_self_signed(self.certificate, self._key, "peer", datetime.now(UTC))
        self._links: asyncio.Queue[PeerLink] = asyncio.Queue()
        self._all: list[PeerLink] = []
        self._parting: asyncio.Task[object] | None = None
        self._server: asyncio.Server
        self.port = 0

    @property
    def endpoint(self) -> Endpoint:
        """Where it is, with its pin."""
        return Endpoint("127.0.0.1", self.port, spki_pin(self.certificate))

    async def link(self) -> PeerLink:
        """The next connection that was accepted."""
        return await self._links.get()

    def part(self) -> None:
        """The test has seen enough: from now on all links only wait for their clients to log out."""
        self._parting = asyncio.ensure_future(
            asyncio.gather(*(link.part() for link in self._all), return_exceptions=True)
        )

    async def start(self) -> None:
        """Listen."""
        context = server_context(self.certificate, self._key)
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drop everything."""
        self._server.close()
        if self._parting is not None:
            self._parting.cancel()
            await asyncio.gather(self._parting, return_exceptions=True)
        for link in self._all:
            link.writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = PeerLink(reader, writer)
        self._all.append(link)
        self._links.put_nowait(link)


@asynccontextmanager
async def scripted_peer(folder: Path) -> AsyncIterator[ScriptedPeer]:
    """A peer for the length of the block."""
    peer = ScriptedPeer(folder)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.stop()


def ping_event(number: int, text: bytes) -> m.PingEvent:
    """The header of a ping's delivery."""
    return m.PingEvent(
        id=f"{number:016x}", from_="U" * 32, posted=POSTED, datalen=len(text), alias="Ada Lovelace", to="Bob Builder"
    )


def delivery_event(number: int, datalen: int, datahead: int = 0, from_: str = "U" * 32) -> m.Delivery:
    """The header of a post's delivery."""
    return m.Delivery(id=f"{number:016x}", from_=from_, posted=POSTED, datalen=datalen, datahead=datahead)
