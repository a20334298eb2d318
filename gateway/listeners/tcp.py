# SPDX-License-Identifier: AGPL-3.0-or-later
"""TMTP over TLS: sockets on one side, `tmtp_core.session` on the other (wire.md §1.8, storage.md *Sockets*).

All frames of one turn of the loop leave in as few writes as the rule allows: a frame that fits one TLS
record is never cut by a record's border, because revision 1 clients read a small message with one read.
"""

import asyncio
import contextlib
import os
import ssl
from collections import deque
from pathlib import Path
from typing import cast

import structlog

from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.domain.port import EMPTY, Body
from tmtp_core.service import Service
from tmtp_core.session import Session

log = structlog.get_logger()


class TcpLink(asyncio.Protocol):
    """One connection. Implements `tmtp_core.session.Outlet`."""

    def __init__(self, listener: "TcpListener") -> None:
        self._listener = listener
        self._transport: asyncio.Transport
        self._session: Session | None = None
        self._frames: deque[tuple[bytes, Body]] = deque()
        self._flush_scheduled = False
        self._streaming: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._closing = False
        self._unsent_bytes = 0  # at the last sweep
        self._stalled_since_s: float | None = None

    # -- asyncio.Protocol --------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is done."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.WRITE_HIGH_WATER_BYTES)
        self._session = self._listener.service.connect(self, self._listener.spki_hashes)
        if self._session is None:
            self._transport.abort()
            return
        self._listener.links.add(self)

    def data_received(self, data: bytes) -> None:
        """The peer sent something."""
        if self._session is not None:
            self._session.receive(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._listener.lost(self)
        self._drained.set()
        self._frames.clear()
        if self._streaming is not None:
            self._streaming.cancel()
        if self._session is not None:
            self._session.connection_lost()

    def pause_writing(self) -> None:
        """The peer takes less than it is sent."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """The peer takes what it is sent again."""
        self._drained.set()
        if self._streaming is None and self._session is not None:
            self._session.resumed()

    # -- tmtp_core.session.Outlet ------------------------------------------------------------------------------------
    def send(self, head: bytes, body: Body = EMPTY) -> None:
        """Queue one frame for the end of this turn of the loop."""
        self._frames.append((head, body))
        if not self._flush_scheduled and self._streaming is None:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self) -> None:
        """Send what is queued, then close."""
        self._closing = True
        if not self._frames and self._streaming is None:
            self._transport.close()

    def set_reading(self, wanted: bool) -> None:
        """Read on, or leave what comes to the peer's own buffers."""
        if self._transport.is_closing() or wanted is self._transport.is_reading():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    @property
    def congested(self) -> bool:
        """Whether the peer takes less than it is sent: no delivery should be added."""
        return not self._drained.is_set() or self._streaming is not None

    @property
    def clogged(self) -> bool:
        """Whether even answers pile up. While a large payload is sent they wait behind it, a bounded number of them."""
        if self._streaming is not None:
            return len(self._frames) > limits.OUTLET_FRAMES_MAX
        return not self._drained.is_set()

    def abort(self) -> None:
        """Drop the connection, whatever is still to be sent."""
        self._transport.abort()

    # -- writing -----------------------------------------------------------------------------------------------------
    def sweep(self, now_s: float) -> None:
        """Close a peer that has taken nothing of what it is sent for too long."""
        unsent = self._transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent_bytes:
            self._unsent_bytes = unsent
            self._stalled_since_s = now_s if unsent else None
        elif self._stalled_since_s is not None and now_s - self._stalled_since_s >= limits.WRITE_STALL_DEADLINE_S:
            self._transport.abort()

    def _flush(self) -> None:
        """Write what is queued, joined; a payload that lies in a file is streamed after its header."""
        self._flush_scheduled = False
        joined = bytearray()
        while self._frames:
            head, body = self._frames.popleft()
            size = len(head) + (body.size if body.file is None else 0)
            record = limits.TLS_RECORD_MAX_BYTES
            if joined and size <= record < len(joined) % record + size:
                self._write(joined)
                joined = bytearray()
            joined += head
            if body.file is None:
                joined += body.inline
                continue
            self._write(joined)
            self._streaming = asyncio.get_running_loop().create_task(self._stream(body))
            return
        self._write(joined)
        if self._closing and not self._transport.is_closing():
            self._transport.close()

    def _write(self, data: bytearray) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(bytes(data))

    async def _stream(self, body: Body) -> None:
        """Send a payload from its file, piece by piece, as fast as the peer takes it."""
        assert body.file is not None
        try:
            await self._send_file(self._listener.service.payloads.path(body.file))
        except OSError as error:
            log.exception("payload_not_readable", errno=error.errno)
            self._transport.abort()
        self._streaming = None
        self._flush()
        if self._session is not None:
            self._session.resumed()

    async def _send_file(self, path: Path) -> None:
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while not self._transport.is_closing():
                piece = await asyncio.to_thread(os.read, descriptor, limits.PAYLOAD_CHUNK_BYTES)
                if not piece:
                    return
                await self._drained.wait()
                self._transport.write(piece)
        finally:
            os.close(descriptor)


class TcpListener:
    """Accepts connections for one service on one address.

    `context` None means plain TCP, which the settings allow on loopback only. `spki_hashes`: see `Service.connect`.
    """

    def __init__(
        self, service: Service, host: str, port: int, context: ssl.SSLContext | None, spki_hashes: tuple[bytes, ...]
    ) -> None:
        self.service = service
        self.spki_hashes = spki_hashes
        self.links: set[TcpLink] = set()
        self._host = host
        self._port = port
        self._context = context
        self._server: asyncio.Server | None = None
        self._links_gone = asyncio.Event()

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self._context is not None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one, also when 0 was asked for."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        tls = self._context is not None
        self._server = await loop.create_server(
            lambda: TcpLink(self),
            self._host,
            self._port,
            ssl=self._context,
            ssl_handshake_timeout=limits.LOGIN_DEADLINE_S if tls else None,
            ssl_shutdown_timeout=limits.LOGIN_DEADLINE_S if tls else None,
            backlog=limits.LISTEN_BACKLOG,
        )

    def lost(self, link: TcpLink) -> None:
        """A connection is gone."""
        self.links.discard(link)
        if not self.links:
            self._links_gone.set()

    def stop_accepting(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    def sweep(self, clock: Clock) -> None:
        """Once a second: links whose peers stopped reading."""
        now_s = clock.monotonic_s()
        for link in list(self.links):
            link.sweep(now_s)

    async def close(self, grace_s: float) -> None:
        """Wait until the links are gone, then drop those that are still there."""
        self._links_gone.clear()
        if self.links:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._links_gone.wait(), grace_s)
        for link in list(self.links):
            link.abort()
