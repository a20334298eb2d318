# SPDX-License-Identifier: AGPL-3.0-or-later
"""The data of an incoming message, as it comes: bounded memory, and back-pressure to the service."""

import asyncio
from collections.abc import AsyncIterator, Callable

from tmtp_client import limits


class Disconnected(Exception):
    """The connection is over; the text says why, in the service's words when it gave any."""


class LogInRefused(Disconnected):
    """The service lets this device in no more, for good or until its owner does something about it."""


class Payload:
    """The data of one incoming message, as it comes. Whatever the handler leaves unread is thrown away."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._buffered = 0
        self._room = asyncio.Event()
        self._room.set()
        self._abandoned = False
        self._broken = False
        self.ended = asyncio.Event()  # nothing more will come

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return self.ended.is_set() and not self._broken

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def read(self) -> bytes:
        """All of it. For what is known to be small."""
        return b"".join([chunk async for chunk in self])

    async def _iterate(self) -> AsyncIterator[bytes]:
        while True:
            chunk = await self._chunks.get()
            if chunk is None:
                if self._broken:
                    raise Disconnected("the connection broke in the middle of a message")
                return
            self._buffered -= len(chunk)
            self._room.set()
            yield chunk

    async def feed(self, chunk: bytes) -> None:
        """From the connection: the next octets; waits while the handler is behind."""
        if self._abandoned:
            return
        while self._buffered >= limits.PAYLOAD_BUFFER_BYTES and not self._abandoned:
            self._room.clear()
            await self._room.wait()
        self._buffered += len(chunk)
        self._chunks.put_nowait(chunk)

    def end(self, *, broken: bool = False) -> None:
        """From the connection: that was all, or all that will ever come."""
        self._broken = broken
        self._chunks.put_nowait(None)
        self.ended.set()

    def abandon(self) -> None:
        """The handler is done with it."""
        self._abandoned = True
        self._room.set()


class Gathered:
    """The data of an answer, whose size is known to be small; `done` gets all of it."""

    def __init__(self, done: Callable[[bytes], object]) -> None:
        self._done = done
        self._data = bytearray()

    async def feed(self, chunk: bytes) -> None:
        """From the connection: the next octets."""
        self._data += chunk

    def end(self, *, broken: bool = False) -> None:
        """From the connection: that was all, or all that will ever come."""
        if not broken:
            self._done(bytes(self._data))
