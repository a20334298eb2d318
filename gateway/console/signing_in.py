# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages before one is signed in: a one-time link, a passkey, an identity provider (C1, D4).

Opening a link uses nothing up, since programs that show previews open links, too; its button does. Tries that fail
are counted, and none says whether a name is known.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from gateway.administration.audit import Act
from gateway.bodies import body_of
from gateway.console.guards import COOKIE, Attempts
from gateway.console.pages.own import browser
from gateway.console.passkeys import PasskeyCopied, passkeys_possible
from gateway.console.people import Method
from gateway.console.rendering import sentence
from gateway.console.shown import Notice
from gateway.console.visits import Rooms, form_of, html
from tmtp_core import limits
from tmtp_core.errors import RequestRefused, ServiceUnavailable

if TYPE_CHECKING:  # it takes 4 MB: loaded where there is a provider
    from gateway.console.provider import ByProvider

_WAY: Final = "__Host-tmtp-console-way"
_TOO_OFTEN: Final = "That was too often. Wait a minute, and try again."
_ADD_PASSKEY: Final = "You are signed in. Add a passkey under your name: then you need no link next time."
_LINK_OVER: Final = "This link was used before, or its time is over. Ask for a new one."


class SignInWithPasskey(msgspec.Struct):
    """What a page says of the passkey that answered."""

    ceremony: str
    response: dict[str, Any]


class SigningIn:
    """Handlers of the pages."""

    def __init__(self, rooms: Rooms, by_provider: "ByProvider | None", attempts: Attempts) -> None:
        self._rooms = rooms
        self._by_provider = by_provider
        self._attempts = attempts

    async def page(self, request: web.Request) -> web.Response:
        """Where everybody begins."""
        if await self._signed_in(request):
            return web.Response(status=303, headers={"Location": "/"})
        return self._page(request)

    async def link_page(self, request: web.Request) -> web.Response:
        """A one-time link, opened: the same page for every link, good or not."""
        context = {"title": "Sign in", "token": request.match_info["secret"]}
        return html(self._rooms.templates, "link.html", 200, context)

    async def use_link(self, request: web.Request) -> web.Response:
        """A one-time link, used."""
        secret = (await form_of(request)).text("token")
        person = await self._rooms.people.use_link(secret)
        if person is None:
            return self._failed(request, _LINK_OVER)
        return await self._enter(request, person, "link", web.Response(status=303, headers={"Location": "/"}))

    async def begin_passkey(self, request: web.Request) -> web.Response:
        """What the browser's `get` wants."""
        return web.json_response(self._rooms.passkeys.begin_signing_in(self._rooms.site.origin(request)))

    async def use_passkey(self, request: web.Request) -> web.Response:
        """A passkey's answer."""
        try:
            sent = msgspec.json.decode(await body_of(request, limits.CONSOLE_PASSKEY_MAX_BYTES), type=SignInWithPasskey)
            person = await self._rooms.passkeys.sign_in(sent.ceremony, sent.response)
        except (msgspec.DecodeError, RecursionError):
            return self._not_good("the browser's answer is not good; try again", request, 400)
        except RequestRefused as refusal:
            if isinstance(refusal, PasskeyCopied):
                act = Act(f"console:{refusal.person}", "console.sign_in", "", refusal.person)
                await self._rooms.administration.audit.end(None, act, "refused", f"by passkey: {refusal.text}")
            return self._not_good(refusal.text, request, 403)
        return await self._enter(request, person, "passkey", web.json_response({"href": "/"}))

    def _not_good(self, text: str, request: web.Request, status: int) -> web.Response:
        """A passkey's answer that is not good, which is counted as `_failed` does, and told to a script."""
        if not self._attempts.allow(request.remote or ""):
            return web.json_response({"error": _TOO_OFTEN}, status=429)
        return web.json_response({"error": text}, status=status)

    async def to_provider(self, request: web.Request) -> web.Response:
        """Off to the identity provider."""
        if self._by_provider is None:
            return self._page(request, "", 404)
        try:
            url, way = await self._by_provider.begin()
        except ServiceUnavailable:
            return self._page(request, f"{self._by_provider.label} does not answer at present. Use another way.", 503)
        answer = web.Response(status=303, headers={"Location": url})
        # Lax: the way back is a link of another site, with which no browser sends a strict cookie.
        answer.set_cookie(_WAY, way, secure=True, httponly=True, samesite="Lax", path="/")
        return answer

    async def from_provider(self, request: web.Request) -> web.Response:
        """Back from it."""
        if self._by_provider is None:
            return self._page(request, "", 404)
        try:
            person, role = await self._by_provider.finish(request.cookies.get(_WAY, ""), request.query)
        except RequestRefused as refusal:
            answer = self._failed(request, sentence(refusal.text))
        except ServiceUnavailable:
            answer = self._page(request, f"{self._by_provider.label} does not answer at present. Try again.", 503)
        else:
            await self._ensure(person, role, self._by_provider.label)
            # A page that goes on by itself, not a redirect: the session's cookie is sent with what our own pages ask.
            answer = html(self._rooms.templates, "entered.html", 200, {"title": "You are signed in", "href": "/"})
            answer = await self._enter(request, person, "provider", answer)
        answer.del_cookie(_WAY, secure=True, httponly=True, samesite="Lax")
        return answer

    async def _ensure(self, person: str, role: str, provider: str) -> None:
        """Know a person whom the provider vouches for, with the role that it gives now."""
        people = self._rooms.people
        known = await people.role_of(person)
        if known == role:
            return
        act = Act(f"console:{person}", "console.person.add" if known is None else "console.person.role", "", person)
        told = f"{provider} says: {role}" if known is None else f"{provider} says: {role}, no longer {known}"
        await self._rooms.administration.recorded(act, partial(people.ensure, person, role), told)

    async def _enter(self, request: web.Request, person: str, method: Method, answer: web.Response) -> web.Response:
        """Begin a session under a new secret, whatever cookie came along. It is in the audit log before it begins."""
        act = Act(f"console:{person}", "console.sign_in", "", person)
        people = self._rooms.people
        told = f"by {method}, as {await people.role_of(person)}"
        await self._rooms.administration.audit.end(None, act, "done", told)
        secret, number = await people.begin(person, method, browser(request), request.cookies.get(COOKIE))
        possible = passkeys_possible(self._rooms.site.origin(request))
        if method == "link" and possible and not await self._rooms.passkeys.of(person):
            self._rooms.notices.say(number, Notice(_ADD_PASSKEY, "good"))
        answer.set_cookie(COOKIE, secret, secure=True, httponly=True, samesite="Strict", path="/")
        return answer

    def _failed(self, request: web.Request, wrong: str) -> web.Response:
        """A try that failed. Only those are counted: who shares an address with one gets in."""
        if not self._attempts.allow(request.remote or ""):
            return self._page(request, _TOO_OFTEN, 429)
        return self._page(request, wrong, 403)

    async def _signed_in(self, request: web.Request) -> bool:
        secret = request.cookies.get(COOKIE)
        return secret is not None and await self._rooms.people.session(secret) is not None

    def _page(self, request: web.Request, wrong: str = "", status: int = 200) -> web.Response:
        context = {
            "title": "Sign in",
            "wrong": wrong,
            "passkeys_possible": passkeys_possible(self._rooms.site.origin(request)),
            "provider": "" if self._by_provider is None else self._by_provider.label,
        }
        return html(self._rooms.templates, "sign_in.html", status, context)
