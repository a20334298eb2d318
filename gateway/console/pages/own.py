# SPDX-License-Identifier: AGPL-3.0-or-later
"""One's own passkeys and sessions."""

import hmac
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.bodies import body_of
from gateway.console.guards import COOKIE
from gateway.console.passkeys import Passkey, passkeys_possible
from gateway.console.visits import FormRefused, Visit
from tmtp_core import limits
from tmtp_core.errors import RequestRefused

_METHODS: Final = {"link": "one-time link", "passkey": "passkey", "provider": "provider"}
_HERE: Final = "/me"
_GONE: Final = "That passkey is gone already."


class RegisterPasskey(msgspec.Struct):
    """What a page says of a passkey that its browser made."""

    ceremony: str
    response: dict[str, Any]


async def me(visit: Visit) -> web.Response:
    """Passkeys and sessions."""
    person = visit.session.person
    sessions = await visit.rooms.people.sessions_of(person)
    return visit.page(
        "me.html",
        title="Your sign-in",
        here="me",
        passkeys=await visit.rooms.passkeys.of(person),
        passkeys_possible=passkeys_possible(visit.origin),
        by_provider=visit.session.method == "provider",
        name_max=limits.CONSOLE_NAME_MAX_CHARACTERS,
        sessions=[
            {
                "number": one.number,
                "browser": one.browser,
                "method": _METHODS[one.method],
                "created_ms": one.created_ms,
                "seen_ms": one.seen_ms,
                "current": one.number == visit.session.number,
            }
            for one in sessions
        ],
        idle_minutes=limits.CONSOLE_IDLE_MS // 60_000,
        absolute_hours=limits.CONSOLE_SESSION_MS // 3_600_000,
    )


async def begin_passkey(visit: Visit) -> web.Response:
    """What the browser's `create` wants."""
    _check_header(visit)
    if visit.session.method == "provider":
        raise RequestRefused("whom the provider lets in has no passkey here: the provider is asked each time")
    return web.json_response(await visit.rooms.passkeys.begin_registering(visit.session.person, visit.origin))


async def register_passkey(visit: Visit) -> web.Response:
    """Keep the passkey that the browser made."""
    _check_header(visit)
    try:
        sent = msgspec.json.decode(await body_of(visit.request, limits.CONSOLE_PASSKEY_MAX_BYTES), type=RegisterPasskey)
    except (msgspec.DecodeError, RecursionError):
        raise RequestRefused("the browser's answer is not good; try again") from None
    name = browser(visit.request)
    add = partial(visit.rooms.passkeys.register, visit.session.person, sent.ceremony, sent.response, name)
    await visit.recorded("console.passkey.add", name, add)
    visit.go(_HERE, "The passkey is there. Next time, use it to sign in.")
    return web.json_response({"href": _HERE})


async def rename_passkey(visit: Visit) -> web.Response:
    """Another name."""
    name = (await visit.form()).text("name")[: limits.CONSOLE_NAME_MAX_CHARACTERS]
    if not name:
        return visit.go(_HERE, "A passkey needs a name.", "bad")
    before = await _passkey(visit)
    if before is None:
        return visit.go(_HERE, _GONE, "bad")
    rename = partial(visit.rooms.passkeys.rename, visit.session.person, before.number, name)
    await visit.recorded("console.passkey.rename", f"{before.number} {before.name} / {name}", rename)
    return visit.go(_HERE, f"The passkey is called {name} now.")


async def ask_remove_passkey(visit: Visit) -> web.Response:
    """Before a passkey is removed."""
    passkey = await _passkey(visit)
    if passkey is None:
        return visit.go(_HERE, _GONE, "bad")
    return visit.page(
        "confirm.html",
        title="Are you sure?",
        here="me",
        crumbs=(("Your sign-in", _HERE),),
        question=f"Remove the passkey {passkey.name}?",
        consequences=("It signs nobody in any more. Your device may go on offering it; delete it there, too.",),
        act="Remove",
        action=f"{_HERE}/passkeys/{passkey.number}/remove",
        back=_HERE,
    )


async def remove_passkey(visit: Visit) -> web.Response:
    """It signs nobody in any more."""
    await visit.form()
    passkey = await _passkey(visit)
    if passkey is None:
        return visit.go(_HERE, _GONE, "bad")
    remove = partial(visit.rooms.passkeys.remove, visit.session.person, passkey.number)
    await visit.recorded("console.passkey.remove", f"{passkey.number} {passkey.name}", remove)
    return visit.go(_HERE, "The passkey is removed.")


async def end_session(visit: Visit) -> web.Response:
    """End one of one's sessions."""
    await visit.form()
    number = int(visit.named("number"))
    sessions = await visit.rooms.people.sessions_of(visit.session.person)
    session = next((one for one in sessions if one.number == number), None)
    if session is None:
        return visit.go(_HERE, "That session has ended already.", "bad")
    end = partial(visit.rooms.people.end, visit.session.person, number)
    await visit.recorded("console.session.end", f"{number} {session.browser}", end)
    if number == visit.session.number:
        return _signed_out()
    return visit.go(_HERE, "That session is ended.")


async def sign_out(visit: Visit) -> web.Response:
    """End this session."""
    await visit.form()
    end = partial(visit.rooms.people.end, visit.session.person, visit.session.number)
    await visit.recorded("console.sign_out", visit.session.person, end)
    return _signed_out()


async def _passkey(visit: Visit) -> Passkey | None:
    """The one of this person that the address names."""
    number = int(visit.named("number"))
    return next((one for one in await visit.rooms.passkeys.of(visit.session.person) if one.number == number), None)


def _signed_out() -> web.Response:
    answer = web.Response(status=303, headers={"Location": "/sign-in"})
    answer.del_cookie(COOKIE, secure=True, httponly=True, samesite="Strict")
    return answer


def browser(request: web.Request) -> str:
    """What kind of browser asks, in two words; the rest of what it says of itself is not kept."""
    agent = request.headers.get("User-Agent", "")
    kinds = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    systems = (
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    )
    kind = next((name for sign, name in kinds if sign in agent), "Browser")
    system = next((name for sign, name in systems if sign in agent), "")
    return f"{kind} on {system}" if system else kind


def _check_header(visit: Visit) -> None:
    """Scripts send the session's token in a header."""
    if not hmac.compare_digest(visit.request.headers.get("X-Console-Token", "").encode(), visit.csrf.encode()):
        raise FormRefused
