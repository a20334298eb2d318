# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console: its pages on an HTTP application, each behind the same guards (C1).

In this order: the name that is asked for, who asks for a change, the session, what its role may, the page. Every
answer, also a refusal, has the same headers.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from gateway.administration import Administration, Denied
from gateway.bodies import BodyRefused, body_of
from gateway.console.access import Access
from gateway.console.guards import COOKIE, HEADERS, REPORTS, STRICT_TRANSPORT, Attempts, Site
from gateway.console.passkeys import Passkeys
from gateway.console.people import People
from gateway.console.rendering import assets, sentence, templates
from gateway.console.routes import ROUTES, Route
from gateway.console.shown import KeptReports, Notices, ShownOnce
from gateway.console.signing_in import SigningIn
from gateway.console.visits import FormRefused, Place, Rooms, Visit, html
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.errors import NotFound, RequestRefused, ServiceUnavailable
from tmtp_core.ids import RandomBytes

if TYPE_CHECKING:  # it takes 4 MB: loaded where there is a provider
    from gateway.console.provider import ByProvider

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What an error page says: what happened, and what to do."""

    status: int
    title: str
    text: str
    mend: str


_DENIED: Final = _Trouble(
    403,
    "Not for your role",
    "Your role does not allow this.",
    "Who runs the gateway can give you another role: with a new sign-in link.",
)
_FORM: Final = _Trouble(
    403,
    "This form is out of date",
    "It does not belong to your present session, so nothing was changed.",
    "Go back, load the page again, and send it once more.",
)
_FOREIGN: Final = _Trouble(
    403,
    "This did not come from the console",
    "Another site, or a program, asked for a change in your name. Nothing was changed.",
    "Open the console by yourself and do it there; programs use the API with a token.",
)
_MISSING: Final = _Trouble(
    404,
    "There is nothing here",
    "The address is wrong, or what it named is gone.",
    "Look for it from the overview.",
)
_REFUSED: Final = _Trouble(409, "That cannot be done", "", "Nothing was changed. Go back, and look at it again.")
_NOT_READ: Final = _Trouble(400, "That could not be read", "", "Nothing was changed. Load the page again, and send it.")
_BROKEN: Final = _Trouble(
    500,
    "The console failed",
    "This is a mistake in the program, and the gateway's log says where.",
    "Look at the audit log before you do it again: a change may have been done.",
)
_AWAY: Final = _Trouble(
    503,
    "The service is busy or stopping",
    "It could not do this now. Nothing was changed that you were not told of.",
    "Wait a moment, and load the page again. If it stays away, look at the gateway's log and at free room on its disk.",
)


class Console:
    """The pages, for one application. `places`: instances and their titles; `url`: where it is for browsers."""

    def __init__(
        self,
        administration: Administration,
        places: Mapping[str, str],
        site: Site,
        url: Callable[[], str],
        clock: Clock,
        random_bytes: RandomBytes,
        by_provider: "ByProvider | None" = None,
    ) -> None:
        self._site = site
        self._assets = assets()
        self._templates = cache(partial(templates, self._assets))
        self.people = People(administration.database, clock, random_bytes)
        passkeys = Passkeys(administration.database, clock, random_bytes)
        self._rooms = Rooms(
            administration=administration,
            site=site,
            people=self.people,
            passkeys=passkeys,
            places=tuple(Place(name, title) for name, title in places.items()),
            templates=self._templates,
            shown=ShownOnce(random_bytes),
            notices=Notices(),
            reports=KeptReports(),
        )
        self._signing_in = SigningIn(self._rooms, by_provider, Attempts(clock))
        self._reported = 0
        self.reports: deque[bytes] = deque(maxlen=limits.CONSOLE_REPORTS_KEPT)
        administration.let_in_by(Access(self.people, url))

    def add_to(self, app: web.Application) -> None:
        """Put the pages on an application."""
        enter = self._signing_in
        public: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/sign-in", enter.page),
            ("GET", "/sign-in/link/{secret}", enter.link_page),
            ("POST", "/sign-in/link", enter.use_link),
            ("POST", "/sign-in/passkey/begin", enter.begin_passkey),
            ("POST", "/sign-in/passkey", enter.use_passkey),
            ("GET", "/sign-in/provider", enter.to_provider),
            ("GET", "/sign-in/provider/back", enter.from_provider),
            ("GET", "/static/{hash}/{name}", self._asset),
            ("POST", REPORTS, self._report),
        )
        for method, path, handler in public:
            app.router.add_route(method, path, self._guarded(handler))
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._guarded(self._for_sessions(route)))
        app.router.add_get("/", self._guarded(self._home))
        app.router.add_route("*", r"/{rest:(?!api(?:/|$)).*}", self._guarded(self._nothing))

    # -- guards ------------------------------------------------------------------------------------------------------
    def _guarded(self, handler: Handler) -> Handler:
        """A handler that refuses what it must, and whose answers all have the headers."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            answer = await self._answer(request, handler)
            for name, value in HEADERS.items():
                answer.headers.setdefault(name, value)
            if request.secure:
                answer.headers["Strict-Transport-Security"] = STRICT_TRANSPORT
            return answer

        return guarded

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._site.allows(request):
            names = ", ".join(sorted(self._site.hosts))
            return web.Response(status=421, text=f"The console is not under this name. It is at: {names}.\n")
        if request.method == "POST" and not self._site.from_own_page(request):
            return self._trouble(_FOREIGN)
        try:
            return await handler(request)
        except (FormRefused, RequestRefused, ServiceUnavailable) as error:
            return self._failed(request, error)
        except BodyRefused as refused:
            return self._trouble(replace(_NOT_READ, status=refused.status, text=sentence(str(refused))))
        except Exception:
            log.exception("console_failed", page=_page_of(request))
            return self._trouble(_BROKEN)

    def _failed(self, request: web.Request, error: Exception) -> web.StreamResponse:
        if isinstance(error, Denied):
            return self._trouble(_DENIED)
        if isinstance(error, RequestRefused) and request.content_type == "application/json":
            return web.json_response({"error": error.text}, status=409)
        if isinstance(error, NotFound):
            return self._trouble(replace(_MISSING, text=sentence(error.text)))
        if isinstance(error, RequestRefused):
            return self._trouble(replace(_REFUSED, text=sentence(error.text)))
        return self._trouble(_FORM if isinstance(error, FormRefused) else _AWAY)

    def _for_sessions(self, route: Route) -> Handler:
        """A page for who is signed in and may open it."""

        async def handler(request: web.Request) -> web.StreamResponse:
            secret = request.cookies.get(COOKIE)
            session = await self.people.session(secret) if secret else None
            if session is None:
                return self._way_in(request)
            visit = Visit(request, session, self._rooms)
            if "instance" in request.match_info and visit.place.name != request.match_info["instance"]:
                return self._trouble(_MISSING)
            if route.scope is not None and not visit.may(route.scope):
                if route.method == "POST":
                    named = request.match_info.get("instance", "")
                    act = visit.act("console.form", request.path, named)
                    denied = f"the role {session.role} may not do this: it takes {route.scope}"
                    await self._rooms.administration.audit.deny(act, denied)
                return self._trouble(_DENIED)
            return await route.page(visit)

        return handler

    def _way_in(self, request: web.Request) -> web.StreamResponse:
        """To sign in; but who follows a link from elsewhere may be signed in: no browser sends a strict cookie then."""
        if request.method == "GET" and request.headers.get("Sec-Fetch-Site") == "cross-site":
            return html(self._templates, "entered.html", 200, {"title": "One moment", "href": request.path_qs})
        return web.Response(status=303, headers={"Location": "/sign-in"})

    # -- answers -----------------------------------------------------------------------------------------------------
    async def _home(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=303, headers={"Location": f"/i/{self._rooms.places[0].name}"})

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        return self._trouble(_MISSING)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        asset = self._assets.get(request.match_info["name"])
        if asset is None or asset.path != request.path:
            return self._trouble(_MISSING)
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        return web.Response(body=asset.content, content_type=asset.type, charset="utf-8", headers=kept)

    async def _report(self, request: web.Request) -> web.StreamResponse:
        """A browser refused to load something: a page of ours is wrong, or was tampered with on its way."""
        self.reports.append(await body_of(request, limits.CONSOLE_REPORT_MAX_BYTES))
        self._reported += 1
        if self._reported.bit_count() == 1:  # each time that it has doubled: anybody can send reports
            log.warning("console_refused_by_browser", reports=self._reported)
        return web.Response(status=204)

    def _trouble(self, trouble: _Trouble) -> web.Response:
        context = {"title": trouble.title, "text": trouble.text, "mend": trouble.mend}
        return html(self._templates, "error.html", trouble.status, context)


def _page_of(request: web.Request) -> str:
    """Which page it is, without what its address holds: that of a one-time link is a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""
