# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local API's server: HTTP and a WebSocket on 127.0.0.1, and nowhere else (B1).

`/enter?token=…` lets a browser in; `POST /tokens` makes such a token for a program that has the key; `/api/1` is the
WebSocket; `/files` and `/codes` have what frames are too small for; `/` and the rest are the client's pages.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from tmtp_client import limits
from tmtp_client.api.daemon_file import API, HOST
from tmtp_client.api.dispatcher import Dispatcher
from tmtp_client.api.doorkeeper import Doorkeeper
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.events import Source
from tmtp_client.api.guards import DOOR, Guard, in_words, refused
from tmtp_client.api.models import Event, HomeEvent
from tmtp_client.api.pages import Pages
from tmtp_client.api.pictures import Pictures
from tmtp_client.api.socket import Socket
from tmtp_client.api.transfers import FileRoom, Transfers

TOKENS: Final = "/tokens"

# A page and not a redirect: what follows is then asked for by this site, and a Strict cookie goes along.
_COME_IN: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<title>TMTP</title><p><a href="/">Come in</a></html>'
)


class Token(msgspec.Struct, frozen=True):
    """What `POST /tokens` answers: where a browser comes in, once."""

    url: str


class Server:
    """Runs while the `listening` block lasts; `port` is known then."""

    def __init__(self, dispatcher: Dispatcher, source: Source, room: FileRoom, entrance: Entrance) -> None:
        self._dispatcher = dispatcher
        self._source = source
        self._transfers = Transfers(room, dispatcher)
        self._pictures = Pictures(dispatcher)
        self._pages = Pages()
        self._entrance = entrance
        self._sockets: set[Socket] = set()
        self._left: set[asyncio.Task[None]] = set()  # requests of sockets that have gone
        self.port = 0

    @staticmethod
    def bound(port: int = 0) -> socket.socket:
        """A port of 127.0.0.1, or one that the system chooses. Raises OSError when it is taken."""
        return socket.create_server((HOST, port))

    @asynccontextmanager
    async def listening(self, listener: socket.socket) -> AsyncIterator["Server"]:
        """Serve there."""
        self.port = listener.getsockname()[1]
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=limits.API_CLOSE_TIMEOUT_S,
            max_line_size=limits.API_HEADERS_MAX_BYTES,
            max_field_size=limits.API_HEADERS_MAX_BYTES,
            keepalive_timeout=limits.API_KEEP_ALIVE_S,
        )
        await runner.setup()
        assert runner.server is not None
        doorkeeper = self._doorkeeper = Doorkeeper(runner.server)
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(doorkeeper, sock=listener, backlog=doorkeeper.BACKLOG)
        unlisten = self._source.listen(self._hear)
        try:
            yield self
        finally:
            unlisten()
            listening.close()
            doorkeeper.close()
            await asyncio.gather(*(one.close() for one in self._sockets))
            await runner.cleanup()
            await self._end_what_is_left()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.port}"

    def way_in(self) -> str:
        """Where a browser comes in, once and soon."""
        return f"{self.url}{DOOR}?token={self._entrance.issue()}"

    def _application(self) -> web.Application:
        guard = Guard(self._entrance, self.port, self._admit)
        self._guard = guard
        application = web.Application(middlewares=[guard.middleware()])
        application.on_response_prepare.append(guard.add_headers)
        application.router.add_get(DOOR, self._enter, allow_head=False)
        application.router.add_post(TOKENS, self._make_token)
        application.router.add_get(API, self._converse, allow_head=False)
        application.router.add_post("/files/{account}", self._transfers.take_in)
        application.router.add_get(r"/files/{account}/{message}/{place:\d{1,6}}", self._transfers.hand_out)
        application.router.add_post("/codes", self._pictures.read)
        self._pages.add_to(application.router)
        return application

    def _admit(self, protocol: asyncio.BaseProtocol) -> None:
        """This connection may stay."""
        self._doorkeeper.admit(protocol)

    async def _enter(self, request: web.Request) -> web.Response:
        session = self._entrance.redeem(request.query.get("token", ""))
        if session is None:
            used = refused(403, "refused", "this link is used, or too old; let the program open another: tmtp open")
            answer = in_words(request, used)
            answer.force_close()
            return answer
        self._admit(request.protocol)
        answer = web.Response(text=_COME_IN, content_type="text/html")
        answer.set_cookie(self._guard.cookie, session, path="/", httponly=True, samesite="Strict")
        return answer

    async def _make_token(self, request: web.Request) -> web.Response:
        if not self._entrance.has_key(request.headers.get("Authorization", "")):
            return refused(403, "refused", "a page that is in needs no further token")
        return web.Response(body=msgspec.json.encode(Token(self.way_in())), content_type="application/json")

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= limits.API_SOCKETS_MAX:
            return refused(503, "not_now", "too many windows and programs are open; close one")
        if len(self._left) >= limits.API_REQUESTS_LEFT_MAX:
            return refused(503, "not_now", "what windows asked for that are closed now is still being done; try again")
        one = Socket(self._dispatcher, self._source)
        self._sockets.add(one)
        try:
            return await one.serve(request)
        except ConnectionError:  # whoever asked has gone before it began
            return refused(503, "not_now", "the connection has ended")
        finally:
            self._sockets.discard(one)
            for task in one.unanswered:
                self._left.add(task)
                task.add_done_callback(self._left.discard)

    def _hear(self, event: Event | None) -> None:
        """Once the home is locked, nothing of an account leaves, not even what is on its way."""
        if event is not None and isinstance(event.data, HomeEvent) and event.data.home.locked:
            self._transfers.locked()
            for one in self._sockets:
                one.locked()

    async def _end_what_is_left(self) -> None:
        """Requests whose sockets have gone: as long as it takes a person to notice, then no longer."""
        left = set(self._left)
        if left:
            await asyncio.wait(left, timeout=limits.API_CLOSE_TIMEOUT_S)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
