# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages before one is signed in: a one-time link, a passkey (C1, D4).

Opening a link uses nothing up, since programs that show previews open links, too; its button does. Tries that fail
are counted, and none says whether a name is known.
"""

from typing import Any

import msgspec
from aiohttp import web
from jinja2 import Environment

from gateway.console.guards import COOKIE, Attempts, Site
from gateway.console.pages.own import browser
from gateway.console.passkeys import Passkeys, passkeys_possible
from gateway.console.people import Method, People
from gateway.console.visits import form_of, html
from tmtp_core.errors import RequestRefused

_TOO_OFTEN = "That was too often. Wait a minute, and try again."
_LINK_OVER = "This link was used before, or its time is over. Ask for a new one."


class SignInWithPasskey(msgspec.Struct):
    """What a page says of the passkey that answered."""

    ceremony: str
    response: dict[str, Any]


class SigningIn:
    """Handlers of the pages."""

    def __init__(
        self, people: People, passkeys: Passkeys, templates: Environment, attempts: Attempts, site: Site
    ) -> None:
        self._people = people
        self._passkeys = passkeys
        self._templates = templates
        self._attempts = attempts
        self._site = site

    async def page(self, request: web.Request) -> web.Response:
        """Where everybody begins."""
        if await self._signed_in(request):
            return web.Response(status=303, headers={"Location": "/"})
        return self._page(request)

    async def link_page(self, request: web.Request) -> web.Response:
        """A one-time link, opened: the same page for every link, good or not."""
        return html(self._templates, "link.html", 200, {"title": "Sign in", "token": request.match_info["secret"]})

    async def use_link(self, request: web.Request) -> web.Response:
        """A one-time link, used."""
        secret = (await form_of(request)).text("token")
        person = await self._people.use_link(secret)
        if person is None:  # only who fails is counted: whoever shares an address with him gets in
            seldom = self._attempts.allow(request.remote or "")
            return self._page(request, _LINK_OVER, 403) if seldom else self._page(request, _TOO_OFTEN, 429)
        return await self._enter(request, person, "link", web.Response(status=303, headers={"Location": "/"}))

    async def begin_passkey(self, request: web.Request) -> web.Response:
        """What the browser's `get` wants."""
        if not self._attempts.allow(request.remote or ""):
            return web.json_response({"error": _TOO_OFTEN}, status=429)
        return web.json_response(self._passkeys.begin_signing_in(self._site.origin(request)))

    async def use_passkey(self, request: web.Request) -> web.Response:
        """A passkey's answer."""
        try:
            sent = msgspec.json.decode(await request.read(), type=SignInWithPasskey)
            person = await self._passkeys.sign_in(sent.ceremony, sent.response)
        except msgspec.DecodeError:
            return web.json_response({"error": "the browser's answer is not good; try again"}, status=400)
        except RequestRefused as refusal:
            return web.json_response({"error": refusal.text}, status=403)
        return await self._enter(request, person, "passkey", web.json_response({"href": "/"}))

    async def _enter(self, request: web.Request, person: str, method: Method, answer: web.Response) -> web.Response:
        """Begin a session under a new secret, whatever cookie came along."""
        secret = await self._people.begin(person, method, browser(request), request.cookies.get(COOKIE))
        answer.set_cookie(COOKIE, secret, secure=True, httponly=True, samesite="Strict", path="/")
        return answer

    async def _signed_in(self, request: web.Request) -> bool:
        secret = request.cookies.get(COOKIE)
        return secret is not None and await self._people.session(secret) is not None

    def _page(self, request: web.Request, wrong: str = "", status: int = 200) -> web.Response:
        context = {
            "title": "Sign in",
            "wrong": wrong,
            "passkeys_possible": passkeys_possible(self._site.origin(request)),
            "provider": "",
        }
        return html(self._templates, "sign_in.html", status, context)
