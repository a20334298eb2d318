# SPDX-License-Identifier: AGPL-3.0-or-later
"""A cable between a device and its service that can be pulled out, and put in again: what is encrypted goes through it as it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_PIECE_BYTES: Final = 65_536


class Cable:
    """`port`, on loopback, leads to what is behind it while the cable is in."""

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self._in = True
        self._links: set[asyncio.Task[None]] = set()
        self.port = 0

    async def pull(self) -> None:
        """Nothing goes through any more; what was open breaks off."""
        self._in = False
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def put_in(self) -> None:
        """Whoever asks from now on is let through."""
        self._in = True

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it or the cable is pulled."""
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        there: asyncio.StreamWriter | None = None
        try:
            if self._in:
                back, there = await asyncio.open_connection(*self._behind)
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copy(reader, there))
                    both.create_task(_copy(back, writer))
        except asyncio.CancelledError:
            if self._in:
                raise
        finally:
            self._links.discard(link)
            for end in filter(None, (writer, there)):
                end.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE_BYTES):
            sink.write(piece)
            await sink.drain()
        sink.write_eof()


@asynccontextmanager
async def cable(host: str, port: int) -> AsyncIterator[Cable]:
    """One that leads there, for the length of the block."""
    one = Cable(host, port)
    server = await asyncio.start_server(one.carry, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        await one.pull()
        await server.wait_closed()
