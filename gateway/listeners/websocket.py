# SPDX-License-Identifier: AGPL-3.0-or-later
"""TMTP over WebSocket (docs/protocol.md, *Bytes*): the same byte stream in binary frames, for where only HTTP passes.

Frame borders mean nothing. A browser's page may come only from a listed origin; a program that is no browser sends no
Origin. aiohttp speaks HTTP and reads frames; what it gathers is bounded here. What is sent goes the way of every link.
"""

import asyncio
import ssl
from typing import Any, Final, cast

from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.web_protocol import RequestHandler

from gateway.listeners.link import Link
from gateway.listeners.listener import Listener
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.service import Service
from tmtp_core.session import Session

PATH: Final = "/tmtp"
SUBPROTOCOL: Final = "tmtp"
_FINAL_BINARY: Final = b"\x82"
_FINAL_PONG: Final = b"\x8a"
_MESSAGE_OVERHEAD_BYTES: Final = 128  # what a message counts for in its reader's turn, besides its octets


class WebSocketLink(Link):
    """One connection that became a WebSocket."""

    def __init__(
        self, listener: "WebSocketListener", socket: web.WebSocketResponse, connection: RequestHandler
    ) -> None:
        super().__init__(listener.service)
        self._listener = listener
        self._socket = socket
        self._connection = connection
        self._wanted = asyncio.Event()  # the session wants to read, or there is nothing to read any more
        self._wanted.set()
        self._held = False  # the transport is not read, and it is this link that wants it so
        self._pong: bytes | None = None  # due
        self._ending: asyncio.Task[bool] | None = None  # the closing handshake
        self._gone = asyncio.Event()

    async def run(self, transport: asyncio.Transport) -> None:
        """Read until either side ends, then wait until the connection is gone.

        Left earlier, aiohttp would close it a second time, after which the standard library does not drop it any more.
        """
        session = self._begin(transport, self._listener.shown_on(transport))
        if session is None:
            transport.abort()
            return
        self._listener.links.add(self)
        try:
            await self._read(session)
        finally:
            session.hung_up()
            if self._ending is None:
                self._drop()  # the peer wants no more
        await self._gone.wait()

    def lost(self) -> None:
        """The connection is gone."""
        self._gone.set()
        self._wanted.set()
        self._listener.lost(self)
        super().lost()

    def set_reading(self, wanted: bool) -> None:
        """Read on, or leave what comes to the peer's own buffers, not to aiohttp's."""
        if wanted:
            self._wanted.set()
            if self._held:
                self._held = False
                self._connection.resume_reading()
        else:
            self._wanted.clear()
            if self._transport.is_reading():  # else aiohttp holds it, and lets it go when what it has was read
                self._held = True
                self._connection.pause_reading()

    def resume_writing(self) -> None:
        """The peer takes what it is sent again."""
        super().resume_writing()
        self._send_pong()

    def _framing(self, size: int) -> bytes:
        """A frame's head, and before it the pong that is due (RFC 6455 §5.2, §5.5.3)."""
        pong, self._pong = self._pong, None
        return (_framed(_FINAL_PONG, pong) if pong is not None else b"") + _frame_head(_FINAL_BINARY, size)

    def _finish(self) -> None:
        """Everything was sent: the closing handshake, and then the connection ends (RFC 6455 §7)."""
        self._ending = asyncio.get_running_loop().create_task(self._socket.close(drain=False))
        self.set_reading(True)

    async def _read(self, session: Session) -> None:
        turn = limits.WEBSOCKET_TURN_BYTES
        while True:
            await self._wanted.wait()
            if self._gone.is_set():
                return
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                session.receive(message.data)
            elif message.type is WSMsgType.PING:
                self._pong = message.data  # of several pings the last one's is enough (RFC 6455 §5.5.3)
                self._send_pong()
            elif message.type is WSMsgType.TEXT:
                await self._socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"binary frames only")
                return
            elif message.type is not WSMsgType.PONG:  # closed by either side, or broken
                return
            turn -= len(message.data) + _MESSAGE_OVERHEAD_BYTES
            if turn <= 0:  # what aiohttp has gathered is handed over without a pause: the other links' turn
                turn = limits.WEBSOCKET_TURN_BYTES
                await asyncio.sleep(0)

    def _send_pong(self) -> None:
        if self._pong is not None and not (self._blocked or self._over or self._transport.is_closing()):
            pong, self._pong = self._pong, None
            self._transport.write(_framed(_FINAL_PONG, pong))


def _frame_head(kind: bytes, size: int) -> bytes:
    """Of a frame as a server writes it, without a mask (RFC 6455 §5.2)."""
    if size < 126:
        return kind + size.to_bytes(1)
    if size < 1 << 16:
        return kind + b"\x7e" + size.to_bytes(2)
    return kind + b"\x7f" + size.to_bytes(8)


def _framed(kind: bytes, data: bytes) -> bytes:
    return _frame_head(kind, len(data)) + data


class _HttpConnection(RequestHandler):
    """A connection before, and if all goes well after, it has become a WebSocket."""

    __slots__ = ("_listener", "_received_bytes", "link")

    def __init__(self, listener: "WebSocketListener", server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = listener
        self._received_bytes = 0
        self.link: WebSocketLink | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.opened(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self.link is None:
            self._received_bytes += len(data)
            if self._received_bytes > limits.SESSION_BUFFER_MAX_BYTES and self.transport is not None:
                self.transport.abort()
                return
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.link is not None:
            self.link.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.link is not None:
            self.link.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.transport is not None:
            self._listener.upgraded(self.transport)  # no deadline for what is gone
        super().connection_lost(exc)
        if self.link is not None:
            self.link.lost()


class WebSocketListener(Listener):
    """Accepts WebSockets. `origins`: `scheme://host[:port]` of the pages that may connect."""

    def __init__(
        self,
        service: Service,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        spki_hashes: tuple[bytes, ...],
        origins: frozenset[str],
    ) -> None:
        super().__init__(service, host, port, context, spki_hashes)
        self._origins = origins
        self._http = web.Server(self._answer)
        self._not_upgraded: dict[asyncio.Transport, float | None] = {}  # and when a sweep first saw it

    def opened(self, transport: asyncio.Transport) -> None:
        """A connection that has yet to become a WebSocket. Where many have, one that takes long gives way."""
        if len(self._not_upgraded) >= limits.CONNECTIONS_NOT_UPGRADED_MAX:
            oldest, since_s = next(iter(self._not_upgraded.items()))
            if since_s is None:
                transport.abort()
                return
            oldest.abort()
            self.upgraded(oldest)
        self._not_upgraded[transport] = None

    def upgraded(self, transport: asyncio.BaseTransport) -> None:
        """It has, or it is gone."""
        self._not_upgraded.pop(cast(asyncio.Transport, transport), None)

    def sweep(self, clock: Clock) -> None:
        """Once a second: connections that never became WebSockets, and what every listener looks at."""
        super().sweep(clock)
        now_s = clock.monotonic_s()
        for transport, since_s in list(self._not_upgraded.items()):
            if since_s is None:
                self._not_upgraded[transport] = now_s
            elif now_s - since_s >= limits.LOGIN_DEADLINE_S:
                transport.abort()

    async def close(self, grace_s: float) -> None:
        """Wait until the links are gone, then drop those that are still there."""
        await super().close(grace_s)
        for transport in list(self._not_upgraded):
            transport.abort()
        await self._http.shutdown(limits.HTTP_STOP_GRACE_S)

    def _new_protocol(self) -> asyncio.Protocol:
        return _HttpConnection(
            self,
            self._http,
            loop=asyncio.get_running_loop(),
            access_log=None,
            lingering_time=0.0,
            read_bufsize=limits.READ_HIGH_WATER_BYTES,
        )

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
            autoping=False,  # pongs are counted and bounded with what else is sent
            compress=False,  # what is compressed tells its content by its length
            max_msg_size=limits.WEBSOCKET_MESSAGE_MAX_BYTES + 1,  # it refuses what reaches this size
            timeout=limits.LOGIN_DEADLINE_S,
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is not None:  # else the peer has gone
            self.upgraded(transport)
            connection = cast(_HttpConnection, request.protocol)
            connection.link = WebSocketLink(self, socket, connection)
            await connection.link.run(transport)
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
        if not self.service.has_room:
            return 503, "Too many are connected; try again later"
        return None
