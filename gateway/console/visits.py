# SPDX-License-Identifier: AGPL-3.0-or-later
"""One request of somebody who is signed in, and what a page answers it with."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from aiohttp import web

from gateway.administration import ROLES, Actor, Administration, Scope
from gateway.administration.audit import Act
from gateway.bodies import BodyRefused, fields_of
from gateway.console.guards import Site
from gateway.console.passkeys import Passkeys
from gateway.console.people import People, Session
from gateway.console.shown import KeptReports, Notice, Notices, ShownOnce
from tmtp_core import limits
from tmtp_core.crypto.encoding import to_text

if TYPE_CHECKING:  # see gateway.console.rendering
    from jinja2 import Environment

T = TypeVar("T")
Templates = Callable[[], "Environment"]
"""Loads them when they are first wanted."""

_DIGITS_MAX: Final = 15  # exact in every number that is on its way


@dataclass(frozen=True, slots=True)
class Place:
    """An instance, as pages name it."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Rooms:
    """What all visits share."""

    administration: Administration
    site: Site
    people: People
    passkeys: Passkeys
    places: tuple[Place, ...]
    templates: Templates
    shown: ShownOnce
    notices: Notices
    reports: KeptReports


class FormRefused(Exception):
    """A form that did not come from the page it belongs to."""


class Visit:
    """A request of a session."""

    def __init__(self, request: web.Request, session: Session, rooms: Rooms) -> None:
        self.request = request
        self.session = session
        self.rooms = rooms
        self.scopes: frozenset[Scope] = ROLES.get(session.role, frozenset())
        self.csrf = csrf_of(session.secret)
        named = request.match_info.get("instance")
        places = rooms.places
        self.place = next((one for one in places if one.name == named), places[0])

    @property
    def origin(self) -> str:
        """The origin of the page."""
        return self.rooms.site.origin(self.request)

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self.rooms.people.now_ms()

    @property
    def base(self) -> str:
        """Where the pages of the chosen instance begin."""
        return f"/i/{self.place.name}"

    def may(self, scope: Scope) -> bool:
        """Whether the person's role has a scope. The dispatcher decides again."""
        return scope in self.scopes

    def named(self, what: str) -> str:
        """A part of the address."""
        return self.request.match_info[what]

    def asked(self, what: str) -> str:
        """A part of the address's query, or nothing."""
        return self.request.query.get(what, "")[: limits.CONSOLE_NAME_MAX_CHARACTERS * 2]

    def asked_number(self, what: str) -> int | None:
        """A part of the query that is a number from 1 on."""
        return whole_number(self.asked(what)) or None

    async def ask(self, operation: str, body: Any = None, **arguments: Any) -> Any:
        """Have an operation done in the name of this person. Raises what the dispatcher raises."""
        actor = Actor(f"console:{self.session.person}", self.scopes)
        given = {name: value for name, value in arguments.items() if value not in (None, "")}
        return await self.rooms.administration.perform(actor, operation, given, body)

    async def ask_here(self, operation: str, body: Any = None, **arguments: Any) -> Any:
        """The same, of the chosen instance."""
        return await self.ask(operation, body, instance=self.place.name, **arguments)

    async def recorded(self, operation: str, target: str, work: Callable[[], Awaitable[T]]) -> T:
        """Have something done that is this person's own, with its entry in the audit log."""
        return await self.rooms.administration.recorded(self.act(operation, target), work)

    def act(self, operation: str, target: str, instance: str = "") -> Act:
        """Something that this person does, as the audit log calls it."""
        return Act(f"console:{self.session.person}", operation, instance, target)

    async def form(self) -> "Form":
        """The form that was sent. `FormRefused` where it lacks the session's own token."""
        form = await form_of(self.request)
        if not hmac.compare_digest(form.text("csrf").encode(), self.csrf.encode()):
            raise FormRefused
        return form

    # -- answers -----------------------------------------------------------------------------------------------------
    def page(self, template: str, *, title: str, here: str, status: int = 200, **context: Any) -> web.Response:
        """A page. `here` names the entry of the navigation that it belongs to."""
        shared: dict[str, Any] = {
            "title": title,
            "here": here,
            "person": self.session.person,
            "role": self.session.role,
            "csrf": self.csrf,
            "now_ms": self.now_ms,
            "chosen": self.place,
            "instances": [self._switch(one, here) for one in self.rooms.places],
            "nav": self._nav(),
            "notices": self.rooms.notices.take(self.session.number),
            "crumbs": (),
            "base": self.base,
            "given": {},
            "wrong": {},
        }
        return html(self.rooms.templates, template, status, shared | context)

    def fragment(self, template: str, **context: Any) -> web.Response:
        """A part of a page, without what belongs to whole ones."""
        return html(self.rooms.templates, template, 200, {"chosen": self.place, **context})

    def go(self, path: str, text: str = "", kind: Literal["good", "bad"] = "good") -> web.Response:
        """See another page, which says what became of it (303: loading that page again repeats nothing)."""
        if text:
            self.rooms.notices.say(self.session.number, Notice(text, kind))
        return web.Response(status=303, headers={"Location": path})

    def _switch(self, place: Place, here: str) -> dict[str, str]:
        pages = {one[0]: one[3] for one in _OF_INSTANCE}
        return {"name": place.name, "title": place.title, "href": f"/i/{place.name}{pages.get(here, '')}"}

    def _nav(self) -> list[dict[str, Any]]:
        of_instance = [
            {"name": name, "title": title, "icon": icon, "href": self.base + path}
            for name, title, icon, path, scope in _OF_INSTANCE
            if self.may(scope)
        ]
        of_service = [
            {"name": name, "title": title, "icon": icon, "href": path}
            for name, title, icon, path, scope in _OF_SERVICE
            if self.may(scope)
        ]
        title = self.place.title if len(self.rooms.places) == 1 else ""  # else the switcher says it
        groups = [{"title": title, "items_": of_instance}, {"title": "Service", "items_": of_service}]
        return [group for group in groups if group["items_"]]


_Entry = tuple[str, str, str, str, Scope]

_OF_INSTANCE: Final[tuple[_Entry, ...]] = (
    ("overview", "Overview", "overview", "", "overview:read"),
    ("members", "Members", "people", "/members", "accounts:read"),
    ("invitations", "Invitations", "ticket", "/invitations", "invitations:read"),
    ("groups", "Groups", "group", "/groups", "groups:read"),
    ("reports", "Reports", "flag", "/reports", "reports:read"),
    ("queues", "Queues", "queue", "/queues", "queues:read"),
)
_OF_SERVICE: Final[tuple[_Entry, ...]] = (
    ("smtp", "SMTP", "bridge", "/smtp", "bridges:read"),
    ("audit", "Audit log", "audit", "/audit", "audit:read"),
    ("settings", "Settings", "settings", "/settings", "settings:read"),
    ("tokens", "Tokens", "token", "/tokens", "tokens:write"),
    ("people", "Administrators", "shield", "/people", "console:write"),
)


class Form:
    """Fields of a form, each a text or several."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """One field without blanks around it; nothing where it is not given."""
        return self._fields.get(name, [""])[0].strip()

    def texts(self, name: str) -> list[str]:
        """All fields of a name."""
        return self._fields.get(name, [])

    def number(self, name: str) -> int:
        """A field that is a whole number, or 0."""
        return whole_number(self.text(name))


async def form_of(request: web.Request) -> Form:
    """The form that a request carries. `FormRefused` where it is none; `BodyRefused`: too large, too slow."""
    try:
        fields = await fields_of(request, limits.CONSOLE_FORM_MAX_BYTES)
    except BodyRefused as refused:
        if refused.status == 400:
            raise FormRefused from None
        raise
    return Form(fields)


def whole_number(text: str) -> int:
    """What was written in digits, or 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0


def csrf_of(secret: str) -> str:
    """The token that forms of a session carry: made from its secret, which no page shows."""
    return to_text(hmac.digest(secret.encode(), b"tmtp console form", "sha256"))


def html(templates: Templates, template: str, status: int, context: Mapping[str, Any]) -> web.Response:
    """A page as an answer."""
    text = templates().get_template(template).render(context)
    return web.Response(text=text, status=status, content_type="text/html")
