# SPDX-License-Identifier: AGPL-3.0-or-later
"""A connection to a server, of which each protocol takes what is whole; one write answers one read."""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from bench.peers.work import PATIENCE_S
from bench.worker import Place

_LEAVE_PATIENCE_S: Final = 2.0  # then without TLS's farewell
_EARLY_MAX: Final = 4  # a server greets once


class Link(asyncio.Protocol):
    """Bytes in, whole messages to `take`, which returns how many octets it has used. `lost` hears of an end."""

    def __init__(self, take: Callable[[bytes], int], lost: Callable[[str], None]) -> None:
        self._take = take
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._out: list[bytes] = []
        self._reading = False
        self._leaving = False
        self._gone = asyncio.Event()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._early: deque[bytes] = deque(maxlen=_EARLY_MAX)

    async def connect(self, place: Place, context: ssl.SSLContext | None) -> None:
        """Have it stand. Raises OSError."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, place.host, place.port, ssl=context)

    def write(self, *parts: bytes) -> None:
        """Send this, together with whatever else answers what is being read."""
        self._out += parts
        if not self._reading:
            self._flush()

    async def ask(self, *parts: bytes) -> bytes:
        """Send this and wait for an `answer`; a greeting may be there before it is asked for.

        Raises OSError when the link ends instead, and TimeoutError.
        """
        if self._early:
            return self._early.popleft()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.write(*parts)
        async with asyncio.timeout(PATIENCE_S):
            return await answer

    def answer(self, text: bytes) -> None:
        """Give this to who asked first, or to who will."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(text)
                return
        self._early.append(text)

    async def leave(self) -> None:
        """End it after what was written, and wait until it has ended."""
        self._leaving = True
        if self._transport is None:
            return
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_PATIENCE_S):
                await self._gone.wait()
            return
        self._transport.abort()
        await self._gone.wait()

    # -- asyncio.Protocol --------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Act on what came, then send everything that answers it at once."""
        self._rest += data
        self._reading = True
        try:
            used = self._take(self._rest)
        finally:
            self._reading = False
        self._rest = self._rest[used:]
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone; perhaps nobody asked for that."""
        self._gone.set()
        self._transport = None
        if self._leaving:
            return
        error = ConnectionResetError(f"the link was lost: {exc or 'closed by the server'}")
        if not self._waiting:
            self._lost(str(error))
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(error)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()
