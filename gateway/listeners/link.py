# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way out of one connection, the same for TCP and WebSocket: queue, join, stream, watch, cut (storage.md, Sockets).

All frames of one turn of the loop leave in as few writes as the rule allows: a frame that fits one TLS record is never
cut by a record's border, because revision 1 clients read a small message with one read (wire.md §1.8). A payload that
lies in a file is streamed. When the peer takes less than it is sent, frames wait here, where they are counted.

Most links are idle: what waits is a list, which takes nothing while it is empty, where a deque takes 760 octets.
"""

import asyncio
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from tmtp_core import limits
from tmtp_core.domain.port import EMPTY, Body
from tmtp_core.service import Service
from tmtp_core.session import Session
from tmtp_core.store.payloads import PayloadReading, is_shortage

log = structlog.get_logger()

T = TypeVar("T")

_FREE, _CONGESTED, _CLOGGED = range(3)
_TCP_INFO_ACKED: Final = struct.Struct("=120xQ")  # `tcpi_bytes_acked`: Linux 4.1, include/uapi/linux/tcp.h


class Link:
    """One connection. Implements `tmtp_core.session.Outlet` but for `set_reading`, which is each listener's own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._transport: asyncio.Transport
        self._session: Session | None = None
        self._frames: list[tuple[bytes, Body]] = []
        self._queued_bytes = 0  # of them, in memory
        self._flush_scheduled = False
        self._streaming: asyncio.Task[None] | None = None
        self._half_sent = False  # a frame's header has left, and not yet all of its payload
        self._blocked = False  # the peer takes less than it is sent
        self._unblocked: asyncio.Future[None] | None = None  # what streams waits for it
        self._closing = False  # when what is queued has been sent
        self._over = False  # nothing is sent any more
        self._cut_since_s: float | None = None  # as of the sweep that first saw it
        self._handed_bytes = 0
        self._taken = 0  # by the peer, at the last sweep
        self._stalled_since_s: float | None = None

    def _begin(self, transport: asyncio.Transport, spki_hashes: tuple[bytes, ...]) -> Session | None:
        """The connection stands; its session, or None when the service takes no more."""
        self._transport = transport
        transport.set_write_buffer_limits(high=limits.WRITE_HIGH_WATER_BYTES)
        if hasattr(transport, "set_read_buffer_limits"):  # TLS
            transport.set_read_buffer_limits(high=limits.READ_HIGH_WATER_BYTES)
        self._session = self._service.connect(self, spki_hashes)
        return self._session

    # -- what the listeners differ in --------------------------------------------------------------------------------
    def _framing(self, size: int) -> bytes:
        """What goes before so many octets on this transport."""
        return b""

    def _finish(self) -> None:
        """Everything was sent: close."""
        self._transport.close()

    def set_reading(self, wanted: bool) -> None:
        """Read on, or leave what comes to the peer's own buffers."""
        raise NotImplementedError

    # -- from the transport ------------------------------------------------------------------------------------------
    def pause_writing(self) -> None:
        """The peer takes less than it is sent."""
        self._blocked = True

    def resume_writing(self) -> None:
        """The peer takes what it is sent again."""
        before = self._pressure
        self._blocked = False
        if self._unblocked is not None and not self._unblocked.done():
            self._unblocked.set_result(None)
        self._flush(before)

    def lost(self) -> None:
        """The connection is gone."""
        self._drop()
        if self._session is not None:
            self._session.connection_lost()

    # -- tmtp_core.session.Outlet ------------------------------------------------------------------------------------
    def send(self, head: bytes, body: Body = EMPTY) -> None:
        """Queue one frame for the end of this turn of the loop."""
        if self._over or self._closing:
            return
        self._frames.append((head, body))
        self._queued_bytes += len(head) + len(body.inline)
        self._flush_soon()

    def close(self) -> None:
        """Send what is queued, then close."""
        self._closing = True
        self._flush_soon()

    def cut(self, last_word: bytes) -> None:
        """Send nothing that is queued, stop in the midst of a payload, and close within about a second.

        `last_word` is sent when nothing is half sent, here or in the transport: a peer that lags behind hears it never.
        """
        lags = self._half_sent or self._blocked or self._transport.get_write_buffer_size() > 0
        finished = self._over
        self._drop()
        if lags:
            self._transport.abort()
            return
        self._cut_since_s = self._cut_since_s or float("inf")
        if not finished:
            self._write(last_word)
            self._finish()

    def abort(self) -> None:
        """Drop the connection, whatever is still to be sent."""
        self._drop()
        self._transport.abort()

    @property
    def peer_address(self) -> str:
        """The IP address of the peer; "" where there is none."""
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def congested(self) -> bool:
        """Whether the peer takes less than it is sent: no delivery should be added."""
        if self._streaming is not None or self._blocked:
            return True
        return self._queued_bytes > limits.WRITE_HIGH_WATER_BYTES or len(self._frames) > limits.OUTLET_FRAMES_MAX

    @property
    def clogged(self) -> bool:
        """Whether even answers pile up. While a large payload is sent they wait behind it, a bounded number of them."""
        return len(self._frames) > limits.OUTLET_FRAMES_MAX or self._queued_bytes > limits.OUTLET_MAX_BYTES

    # -- from the listener -------------------------------------------------------------------------------------------
    def sweep(self, now_s: float) -> None:
        """Once a second: close a peer that was cut a second ago, or that takes nothing of what it is sent."""
        if self._cut_since_s is not None:
            self._cut_since_s = min(self._cut_since_s, now_s)
            if now_s - self._cut_since_s >= limits.CUT_GRACE_S:
                self.abort()
            return
        waits = self._blocked or self._transport.get_write_buffer_size() > 0
        taken = self._taken_bytes()
        if not waits or taken != self._taken:
            self._taken = taken
            self._stalled_since_s = now_s if waits else None
        elif self._stalled_since_s is None:
            self._stalled_since_s = now_s
        elif now_s - self._stalled_since_s >= limits.WRITE_STALL_DEADLINE_S:
            self.abort()

    # -- writing -----------------------------------------------------------------------------------------------------
    @property
    def _pressure(self) -> int:
        """How far the peer lags behind. Each time it becomes less the session is told, as it may wait for that."""
        return _CLOGGED if self.clogged else _CONGESTED if self.congested else _FREE

    def _flush_soon(self) -> None:
        if not (self._flush_scheduled or self._blocked) and self._streaming is None:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_scheduled = False
        self._flush(self._pressure)

    def _flush(self, before: int) -> None:
        """Write what is queued as far as the peer takes it. `before`: the pressure when this began to become less."""
        while self._frames and self._streaming is None and not self._blocked:
            if self._frames[0][1].file is None:
                self._write(self._joined())
            else:
                self._streaming = asyncio.get_running_loop().create_task(self._stream(*self._next()))
        if self._closing and not self._over and not self._frames and self._streaming is None:
            self._finish_when_taken()
        if before and self._pressure < before and self._session is not None:
            self._session.resumed()

    def _finish_when_taken(self) -> None:
        """Close when the transport has sent what it has: TLS, once closing, gives a slow peer little time for it."""
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(high=0)  # it tells when it is empty
        else:
            self._over = True
            self._finish()

    def _joined(self) -> bytes:
        """The next frames, as many as one write may hold."""
        parts: list[bytes] = []
        joined, record = 0, limits.TLS_RECORD_MAX_BYTES
        for head, body in self._frames:
            size = len(head) + len(body.inline)
            if body.file is not None or (joined and size <= record < joined % record + size):
                break
            parts += (head, body.inline)
            joined += size
            if joined >= limits.WRITE_PIECE_BYTES:
                break
        del self._frames[: len(parts) // 2]
        self._queued_bytes -= joined
        return b"".join(parts)

    def _next(self) -> tuple[bytes, Body]:
        head, body = self._frames.pop(0)
        self._queued_bytes -= len(head) + len(body.inline)
        return head, body

    def _write(self, data: bytes | memoryview) -> None:
        """Hand it on; a view of a large payload's piece as it is, without a copy."""
        if data and not self._transport.is_closing():
            self._handed_bytes += len(data)
            framing = self._framing(len(data))
            if not framing:
                self._transport.write(data)
            elif isinstance(data, bytes):
                self._transport.write(framing + data)
            else:
                self._transport.writelines((framing, data))

    def _drop(self) -> None:
        """Nothing more is sent."""
        self._over = True
        self._frames.clear()
        self._queued_bytes = 0
        if self._streaming is not None:
            self._streaming.cancel()

    # -- large payloads ----------------------------------------------------------------------------------------------
    async def _stream(self, head: bytes, body: Body) -> None:
        """Send a frame whose payload lies in a file or a bucket, as fast as the peer takes it."""
        assert body.file is not None
        reading = self._service.payloads.reading(body.file)
        try:
            if await self._opened(reading):
                await self._send_payload(head, body.size, reading)
        except OSError as error:
            log.error("payload_not_readable", errno=error.errno)
            self.abort()
        finally:
            reading.close()
        before = self._pressure
        self._streaming = None
        self._flush(before)

    async def _opened(self, reading: PayloadReading) -> bool:
        """Open a payload before anything of its frame is sent. False when it is gone: somebody acknowledged it."""
        while True:
            try:
                return await self._on_thread(reading.open)
            except OSError as error:
                if not is_shortage(error):
                    raise
                await asyncio.sleep(limits.DESCRIPTOR_RETRY_S)

    async def _send_payload(self, head: bytes, size: int, reading: PayloadReading) -> None:
        self._half_sent = True
        self._write(head)
        while chunk := memoryview(await self._on_thread(reading.read, limits.PAYLOAD_CHUNK_BYTES)):
            size -= len(chunk)
            for start in range(0, len(chunk), limits.WRITE_PIECE_BYTES):
                await self._until_unblocked()
                self._write(chunk[start : start + limits.WRITE_PIECE_BYTES])
        if size:
            raise OSError(errno.EIO, "a payload is not as long as was announced")
        self._half_sent = False

    def _on_thread(self, act: Callable[..., T], *values: int) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._service.payloads.readers, act, *values)

    async def _until_unblocked(self) -> None:
        while self._blocked:
            self._unblocked = asyncio.get_running_loop().create_future()
            await self._unblocked
            self._unblocked = None

    def _taken_bytes(self) -> int:
        """A count that grows when the peer takes something.

        The kernel's own where it tells: what a transport has handed on is no sign, since TLS moves in lumps that a slow
        peer needs minutes for.
        """
        return _acknowledged_bytes(self._transport) or self._handed_bytes - self._transport.get_write_buffer_size()


def _acknowledged_bytes(transport: asyncio.Transport) -> int:
    """How many bytes the peer's kernel has acknowledged; 0 where this machine does not tell."""
    connection = transport.get_extra_info("socket")
    if sys.platform != "linux" or connection is None:
        return 0
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_ACKED.size)
    except (OSError, ValueError):  # it is closed
        return 0
    return int(_TCP_INFO_ACKED.unpack(told)[0]) if len(told) == _TCP_INFO_ACKED.size else 0
