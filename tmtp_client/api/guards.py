# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which requests the local server takes, and what its answers tell browsers.

A server on loopback is reached by every page that the person's browser shows, and by every user of the machine. So:
- `Host` is one of three names with the server's port: a name of another site that was made to point here (DNS
  rebinding) is refused before anything else.
- A request by another site's page is refused, whether it says so by `Origin` or by `Sec-Fetch-Site`. A page that
  changes something or opens a WebSocket has to say its `Origin`.
- Everything but the door needs the cookie or the key (`tmtp_client.api.entrance`).
- On Linux a connection of another user of the machine is refused (`tmtp_client.api.neighbours`).
- Nothing that is served runs, loads, is framed or guessed, unless whoever serves it says otherwise.
"""

import asyncio
import html
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tmtp_client.api.dispatcher import INTERNAL, to_stderr
from tmtp_client.api.entrance import Entrance
from tmtp_client.api.frames import ErrorCode, Problem
from tmtp_client.api.neighbours import Whose, whose

DOOR: Final = "/enter"
SANDBOX: Final = "default-src 'none'; sandbox; frame-ancestors 'none'"
SHOWN: Final = {
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
}
"""Of a file that one of this server's own pages shows in a frame: it is of no origin there, and loads nothing."""
_NOT_ALLOWED: Final = (
    "accelerometer autoplay camera display-capture encrypted-media geolocation gyroscope hid idle-detection"
    " magnetometer microphone midi payment picture-in-picture publickey-credentials-get screen-wake-lock serial"
    " usb xr-spatial-tracking"
)
"""Of browsers' abilities (W3C Permissions Policy): none is needed, and so no attachment in a frame has it either."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{one}=()" for one in _NOT_ALLOWED.split()),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_WORDS: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    '<meta name="viewport" content="width=device-width"><title>TMTP</title><h1>TMTP</h1><p>{text}.</p>{way_on}</html>'
)
_WAY_ON: Final = '<p><a href="/">Go to your messages</a></p>'
_NOT_FOUND: Final = 404
_SAFE: Final = frozenset({"GET", "HEAD"})
_OWN_PAGES: Final = frozenset({"same-origin", "none"})  # none: the person typed or clicked it outside of any page


class Guard:
    """Stands before all handlers of the server at a port. `admit`: a connection has shown that it may ask."""

    def __init__(self, entrance: Entrance, port: int, admit: Callable[[asyncio.BaseProtocol], None]) -> None:
        self._entrance = entrance
        self._admit = admit
        self._port = port
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self._whose: WeakKeyDictionary[asyncio.BaseTransport, Whose] = WeakKeyDictionary()
        self.cookie = f"tmtp-{port}"
        """Its name. Not `__Host-`, which needs `Secure`, which not all browsers take over loopback's plain http. The
        port keeps it apart from another home's server: cookies know no ports."""

    def middleware(self) -> Middleware:
        """As aiohttp calls it."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = await self._refusal(request)
            if refusal is not None:
                answer = in_words(request, refusal)
                answer.force_close()
                return answer
            if request.path != DOOR:
                self._admit(request.protocol)
            try:
                return await handler(request)
            except web.HTTPException as error:  # a path or method that is not there
                nothing = refused(error.status, "not_found", f"{request.method} {request.path[:80]} is not there")
                return in_words(request, nothing)
            except ConnectionError:  # whoever asked is gone
                raise
            except Exception as error:
                to_stderr(f"{request.method} {request.match_info.route.resource}", error)
                if request.transport is not None:
                    request.transport.abort()  # an answer may have begun
                return refused(500, "internal", INTERNAL)

        return guarded

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """To every answer, unless its handler has said otherwise."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.pop("Server", None)

    async def _refusal(self, request: web.Request) -> web.Response | None:  # noqa: PLR0911 - rule by rule
        """Why a request is not taken."""
        if len(request.headers.getall("Host", [])) != 1 or request.host.lower() not in self._hosts:
            return refused(421, "refused", "this server has another name")
        if await self._neighbour(request):
            return refused(403, "refused", "this server is another person's")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host.lower()}":
            return refused(403, "refused", "another site's page asks for this")
        if request.path == DOOR:
            return None
        if self._entrance.has_key(request.headers.get("Authorization", "")):
            return None
        if request.headers.get("Sec-Fetch-Site", "none") not in _OWN_PAGES:
            return refused(403, "refused", "another site's page asks for this")
        if origin is None and (request.method not in _SAFE or "Upgrade" in request.headers):
            return refused(403, "refused", "a page has to say its Origin")
        if not self._entrance.knows(request.cookies.get(self.cookie, "")):
            return refused(401, "refused", "open this page anew by the program, which knows the way in: tmtp open")
        return None

    async def _neighbour(self, request: web.Request) -> bool:
        """Whether another user of this machine asks. Looked up once for each connection."""
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        own = transport.get_extra_info("sockname") if transport is not None else None
        if transport is None or not peer or not own:
            return True
        if transport not in self._whose:
            self._whose[transport] = await asyncio.to_thread(whose, peer, own)
        return self._whose[transport] == "other"


def in_words(request: web.Request, refusal: web.Response) -> web.Response:
    """The same as a page, for a person who opened the address in a browser: its own words, and a way on."""
    if request.headers.get("Sec-Fetch-Dest") != "document":
        return refusal
    assert isinstance(refusal.body, bytes)
    text = msgspec.json.decode(refusal.body, type=Problem).text
    way_on = _WAY_ON if refusal.status == _NOT_FOUND else ""
    page = _WORDS.format(text=html.escape(text[:1].upper() + text[1:]), way_on=way_on)
    return web.Response(status=refusal.status, text=page, content_type="text/html")


def refused(status: int, code: ErrorCode, text: str, field: str = "") -> web.Response:
    """A problem as HTTP says it."""
    body = msgspec.json.encode(Problem(code, text, field))
    return web.Response(status=status, body=body, content_type="application/problem+json")
