# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where administrators' programs and browsers connect: few connections at once, none that idles for long (C1).

Handshakes are bounded as they are where clients connect.
"""

import asyncio
import contextlib
import ssl
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.listeners.accepting import Acceptor
from tmtp_core import limits

_SWEEP_S: Final = 1.0
_YOUNG_S: Final = 1.0  # who has just come does not give way to the next


class AdministrationListener(Acceptor):
    """Serves one application on one address; `context` None: without TLS, on loopback."""

    def __init__(self, app: web.Application, host: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, context)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=limits.HTTP_STOP_GRACE_S)
        self._idle: dict[asyncio.Transport, float] = {}  # since when, longest first
        self._all: set[asyncio.Transport] = set()
        self._sweeping: asyncio.Task[None] | None = None
        app.middlewares.append(self._noting)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        await self._runner.setup()
        try:
            await super().start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_forever())

    async def stop(self) -> None:
        """Take no more, give requests that are being answered a moment, drop the rest. Idempotent."""
        if self._sweeping is None:
            return
        self.stop_accepting()
        self._sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sweeping
        self._sweeping = None
        await self.entered()
        await self._runner.cleanup()
        for transport in list(self._all):
            transport.abort()
        await asyncio.sleep(0)  # they hear of it

    def opened(self, transport: asyncio.Transport) -> None:
        """One more connection: where there are many, the one that idles longest gives way, or this one does."""
        self._all.add(transport)
        if len(self._all) > limits.API_CONNECTIONS_MAX:
            oldest = next(iter(self._idle), None)
            now_s = asyncio.get_running_loop().time()
            gives_way = oldest if oldest is not None and now_s - self._idle[oldest] >= _YOUNG_S else transport
            self.gone(gives_way)
            gives_way.abort()
            if gives_way is transport:
                return
        self._idle[transport] = asyncio.get_running_loop().time()

    def gone(self, transport: asyncio.Transport) -> None:
        """A connection has ended."""
        self._all.discard(transport)
        self._idle.pop(transport, None)

    def _close_deadline_s(self) -> float:
        return limits.HTTP_STOP_GRACE_S

    def _has_room(self) -> bool:
        """There is always room to shake hands: who idles gives way then."""
        return True

    def _new_protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return _Connection(
            self,
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=limits.API_REQUEST_DEADLINE_S,
            lingering_time=0.0,
        )

    @web.middleware
    async def _noting(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """While a request is being answered, its connection does not idle: from when its body is there to its end.

        A handler runs as soon as the head is there. Whoever never sends the rest keeps no place with that.
        """
        transport = request.transport
        answering = True

        def whole() -> None:
            if answering and transport is not None:
                self._idle.pop(transport, None)

        if transport is not None and self._idle.pop(transport, None) is not None:
            self._idle[transport] = asyncio.get_running_loop().time()
        if request.content.is_eof():
            whole()
        else:
            request.content.on_eof(whole)
        try:
            answer: web.StreamResponse = await handler(request)
            return answer
        finally:
            answering = False
            if transport is not None and transport in self._all:
                self._idle[transport] = asyncio.get_running_loop().time()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.go_on_accepting()
            before_s = asyncio.get_running_loop().time() - limits.API_REQUEST_DEADLINE_S
            for transport in [one for one, since_s in self._idle.items() if since_s < before_s]:
                self.gone(transport)
                transport.abort()


class _Connection(RequestHandler):
    """Tells its listener when it begins and ends."""

    __slots__ = ("_kept", "_listener")

    def __init__(self, listener: AdministrationListener, server: Any, **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = listener
        self._kept: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._kept = cast(asyncio.Transport, transport)
        self._listener.opened(self._kept)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._kept is not None:
            self._listener.gone(self._kept)
