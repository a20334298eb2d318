# SPDX-License-Identifier: AGPL-3.0-or-later
"""TMTP over WebSocket (docs/protocol.md, *Bytes*): the same byte stream in binary frames, for where only HTTP passes.

Frame borders mean nothing. A browser's page may come only from a listed origin; a program that is no browser sends no
Origin. aiohttp speaks HTTP and frames; what it hands over is bounded here.
"""

import asyncio
import contextlib
import os
import ssl
from collections import deque
from typing import Any, Final, cast

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.web_protocol import RequestHandler

from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.domain.port import EMPTY, Body
from tmtp_core.service import Service
from tmtp_core.session import Session

log = structlog.get_logger()

PATH: Final = "/tmtp"
SUBPROTOCOL: Final = "tmtp"


class WebSocketLink:
    """One connection. Implements `tmtp_core.session.Outlet`."""

    def __init__(
        self, listener: "WebSocketListener", socket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> None:
        self._listener = listener
        self._socket = socket
        self._transport = transport
        self._session: Session | None = None
        self._frames: deque[tuple[bytes, Body]] = deque()
        self._unsent_bytes = 0  # queued here, or on its way into the transport
        self._sent_bytes = 0
        self._waiting = asyncio.Event()  # there is something to send, or nothing ever will be
        self._wanted = asyncio.Event()  # the session wants to read
        self._wanted.set()
        self._closing = False
        self._stalled_at: tuple[int, float] | None = None  # bytes sent, and when, as of an earlier sweep

    async def run(self, spki_hashes: tuple[bytes, ...]) -> None:
        """Carry bytes both ways until either side ends."""
        self._session = self._listener.service.connect(self, spki_hashes)
        if self._session is None:
            await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
            return
        writing = asyncio.get_running_loop().create_task(self._write())
        try:
            await self._read(self._session)
        finally:
            self._session.connection_lost()
            self.close()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    # -- tmtp_core.session.Outlet ------------------------------------------------------------------------------------
    def send(self, head: bytes, body: Body = EMPTY) -> None:
        """Queue one frame."""
        self._frames.append((head, body))
        self._unsent_bytes += len(head) + body.size
        self._waiting.set()

    def close(self) -> None:
        """Send what is queued, then close."""
        self._closing = True
        self._waiting.set()
        self._wanted.set()

    def set_reading(self, wanted: bool) -> None:
        """Read on, or leave what comes to the peer's own buffers."""
        if wanted or self._closing:
            self._wanted.set()
        else:
            self._wanted.clear()

    @property
    def congested(self) -> bool:
        """Whether the peer takes less than it is sent: no delivery should be added."""
        return self._unsent_bytes > limits.WRITE_HIGH_WATER_BYTES

    @property
    def clogged(self) -> bool:
        """Whether even answers pile up."""
        return len(self._frames) > limits.OUTLET_FRAMES_MAX

    # -- from the listener -------------------------------------------------------------------------------------------
    def abort(self) -> None:
        """Drop the connection, whatever is still to be sent."""
        self._transport.abort()

    def sweep(self, now_s: float) -> None:
        """Close a peer that has taken nothing of what it is sent for too long."""
        unsent = self._unsent_bytes or self._transport.get_write_buffer_size()
        if not unsent or self._stalled_at is None or self._stalled_at[0] != self._sent_bytes:
            self._stalled_at = (self._sent_bytes, now_s) if unsent else None
        elif now_s - self._stalled_at[1] >= limits.WRITE_STALL_DEADLINE_S:
            self.abort()

    # -- both directions ---------------------------------------------------------------------------------------------
    async def _read(self, session: Session) -> None:
        while True:
            await self._wanted.wait()
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                session.receive(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"binary frames only")
                return
            else:  # closed by either side, or broken
                return

    async def _write(self) -> None:
        """Send what is queued, joined; a payload that lies in a file goes out piece by piece."""
        try:
            while True:
                await self._waiting.wait()
                self._waiting.clear()
                while self._frames:
                    await self._send_some()
                if self._closing:
                    await self._socket.close()
                    return
        except (ConnectionError, RuntimeError):  # the peer is gone; reading ends by itself
            self._transport.abort()
        except OSError as error:
            log.exception("payload_not_readable", errno=error.errno)
            self._transport.abort()

    async def _send_some(self) -> None:
        joined, file = bytearray(), None
        while self._frames and file is None and len(joined) < limits.WEBSOCKET_FRAME_BYTES:
            head, body = self._frames.popleft()
            joined += head
            joined += body.inline
            file = body.file
        await self._send(bytes(joined))
        if file is not None:
            await self._send_file(file)

    async def _send_file(self, name: str) -> None:
        path = self._listener.service.payloads.path(name)
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while piece := await asyncio.to_thread(os.read, descriptor, limits.PAYLOAD_CHUNK_BYTES):
                await self._send(piece)
        finally:
            os.close(descriptor)

    async def _send(self, data: bytes) -> None:
        """One binary frame; waits while the peer's buffers are full."""
        congested = self.congested
        await self._socket.send_bytes(data)
        self._unsent_bytes -= len(data)
        self._sent_bytes += len(data)
        if congested and not self.congested and self._session is not None:
            self._session.resumed()


class _HttpConnection(RequestHandler):
    """A connection before, and if all goes well after, it has become a WebSocket."""

    __slots__ = ("_listener",)

    def __init__(self, listener: "WebSocketListener", server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.opened(cast(asyncio.Transport, transport))

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.transport is not None:
            self._listener.upgraded(self.transport)  # no deadline for what is gone
        super().connection_lost(exc)


class WebSocketListener:
    """Accepts WebSockets for one service on one address.

    `context` None means plain HTTP, which the settings allow on loopback only. `spki_hashes`: see `Service.connect`.
    `origins`: `scheme://host[:port]` of the pages that may connect.
    """

    def __init__(
        self,
        service: Service,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        spki_hashes: tuple[bytes, ...],
        origins: frozenset[str],
    ) -> None:
        self.service = service
        self.links: set[WebSocketLink] = set()
        self._host = host
        self._port = port
        self._context = context
        self._spki_hashes = spki_hashes
        self._origins = origins
        self._http: web.Server | None = None
        self._server: asyncio.Server | None = None
        self._not_upgraded: dict[asyncio.Transport, float | None] = {}  # and when a sweep first saw it
        self._links_gone = asyncio.Event()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one, also when 0 was asked for."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        http: web.Server = web.Server(self._answer)
        self._http = http
        tls = self._context is not None
        self._server = await loop.create_server(
            lambda: _HttpConnection(self, http, loop=loop, access_log=None),
            self._host,
            self._port,
            ssl=self._context,
            ssl_handshake_timeout=limits.LOGIN_DEADLINE_S if tls else None,
            ssl_shutdown_timeout=limits.LOGIN_DEADLINE_S if tls else None,
            backlog=limits.LISTEN_BACKLOG,
        )

    def opened(self, transport: asyncio.Transport) -> None:
        """A connection that has yet to become a WebSocket."""
        if len(self._not_upgraded) >= limits.CONNECTIONS_NOT_UPGRADED_MAX:
            transport.abort()
        else:
            self._not_upgraded[transport] = None

    def upgraded(self, transport: asyncio.BaseTransport) -> None:
        """It has, or it is gone."""
        self._not_upgraded.pop(cast(asyncio.Transport, transport), None)

    def stop_accepting(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    def sweep(self, clock: Clock) -> None:
        """Once a second: connections that never became WebSockets, and peers that stopped reading."""
        now_s = clock.monotonic_s()
        for transport, since_s in list(self._not_upgraded.items()):
            if since_s is None:
                self._not_upgraded[transport] = now_s
            elif now_s - since_s >= limits.LOGIN_DEADLINE_S:
                transport.abort()
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
        for transport in list(self._not_upgraded):
            transport.abort()
        if self._http is not None:
            await self._http.shutdown(timeout=0.0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One HTTP request: a WebSocket, or why not."""
        refusal = self._refusal(request)
        if refusal is not None:
            status, text = refusal
            answer = web.Response(status=status, text=text + "\n")
            answer.force_close()
            return answer
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,  # what is compressed tells its content by its length
            max_msg_size=limits.WEBSOCKET_MESSAGE_MAX_BYTES,
            timeout=limits.LOGIN_DEADLINE_S,
        )
        await socket.prepare(request)
        transport = cast(asyncio.Transport, request.transport)
        self.upgraded(transport)
        link = WebSocketLink(self, socket, transport)
        self.links.add(link)
        try:
            await link.run(self._spki_hashes)
        finally:
            self.links.discard(link)
            if not self.links:
                self._links_gone.set()
        return socket

    def _refusal(self, request: web.BaseRequest) -> tuple[int, str] | None:
        if request.path != PATH:
            return 404, f"There is nothing here; TMTP is at {PATH}"
        if request.headers.get("Upgrade", "").lower() != "websocket" or request.method != "GET":
            return 426, "This is for WebSockets"
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in self._origins:
            return 403, "Pages of this origin may not connect"
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if SUBPROTOCOL not in {name.strip() for name in offered.split(",")}:
            return 400, f"The subprotocol is {SUBPROTOCOL}"
        return None
