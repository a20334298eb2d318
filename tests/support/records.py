# SPDX-License-Identifier: AGPL-3.0-or-later
"""A TLS connection that knows which TLS record each byte came in (wire.md §1.8)."""

import asyncio
import ssl
from collections.abc import Awaitable

_RECORD_HEADER_BYTES = 5
TIMEOUT_S = 60.0  # of a machine that has much else to do


class RecordLink:
    """Reads record by record; the plaintext of each stays apart. `read` gives None at the end."""

    def __init__(self) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self, host: str, port: int) -> None:
        """Connect and shake hands."""
        self._reader, self._writer = await asyncio.open_connection(host, port)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._feed_record():
                    raise ConnectionError("closed during the handshake") from None
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        """Send in one record (or as few as fit)."""
        self._tls.write(data)
        await self._flush()

    async def read(self) -> bytes | None:
        """The plaintext of the next record that has any, or None when the peer has closed."""
        while True:
            try:
                plain = self._tls.read(1 << 16)
            except ssl.SSLWantReadError:
                if not await self._feed_record():
                    return None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return None
            else:
                return plain or None

    async def close(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()

    async def _feed_record(self) -> bool:
        try:
            head = await within(self._reader.readexactly(_RECORD_HEADER_BYTES))
            self._incoming.write(head + await within(self._reader.readexactly(int.from_bytes(head[3:5]))))
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._writer.write(data)
            await self._writer.drain()


async def within(wait: Awaitable[bytes]) -> bytes:
    """What is waited for, or a clear failure."""
    async with asyncio.timeout(TIMEOUT_S):
        return await wait
