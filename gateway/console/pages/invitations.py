# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invitations: one for a person, many from a list, with codes to photograph and sheets to print (A1, C1)."""

import asyncio
from typing import Any, Final

from aiohttp import web

from gateway.administration import models as m
from gateway.console.codes import qr
from gateway.console.paging import rows_of
from gateway.console.visits import Form, Visit
from tmtp_core import limits
from tmtp_core.errors import RequestRefused

_DAY_MS: Final = 24 * 3600 * 1000
_DAYS_MAX: Final = 3650
_ROWS: Final = 100


async def invitations(visit: Visit) -> web.Response:
    """Those that can still be used."""
    after = visit.asked_number("after")
    found: list[m.Invitation] = await visit.ask_here("invitations.list", after=after, limit=_ROWS + 1)
    rows = rows_of(found, _ROWS, _href(visit), lambda one: one.invitation)
    return visit.page(
        "invitations.html",
        title="Invitations",
        here="invitations",
        base=_href(visit),
        rows=rows,
        after=after,
        may_write=visit.may("invitations:write"),
    )


async def new(visit: Visit) -> web.Response:
    """The form for one."""
    return _form(visit, {"note": "", "uses": 1, "expires": "7"})


async def create(visit: Visit) -> web.Response:
    """Make one, and show it."""
    form = await visit.form()
    given = {"note": form.text("note"), "uses": form.text("uses"), "expires": form.text("expires")}
    try:
        body = m.CreateInvitation(uses=form.number("uses"), expires_ms=expiry_ms(visit, form), note=given["note"])
        made: m.NewInvitation = await visit.ask_here("invitations.create", body)
    except RequestRefused as refusal:
        return _form(visit, given, refusal.text, 409)
    return reveal(visit, [made], "Your invitation to", _href(visit))


async def new_many(visit: Visit) -> web.Response:
    """The form for many."""
    return _many(visit, {"people": "", "expires": "7"})


async def create_many(visit: Visit) -> web.Response:
    """Make one for each line, and show them."""
    form = await visit.form()
    given = {"people": form.text("people"), "expires": form.text("expires")}
    try:
        body = m.CreateInvitations(notes=_notes(given["people"]), expires_ms=expiry_ms(visit, form))
        made: list[m.NewInvitation] = await visit.ask_here("invitations.create_many", body)
    except RequestRefused as refusal:
        return _many(visit, given, refusal.text, 409)
    return reveal(visit, made, "Your invitation to", _href(visit))


async def made(visit: Visit) -> web.Response:
    """What was just made, to give away or to print."""
    kept = visit.rooms.shown.look(visit.session.number, visit.named("name"), visit.now_ms)
    if kept is None:
        return visit.go(_href(visit), "That page is gone: links are shown for some minutes only. Make new ones.", "bad")
    some: list[m.NewInvitation] = kept["made"]
    codes = await asyncio.to_thread(lambda: [qr(one.link, "QR code of the invitation's link") for one in some])
    return visit.page(
        "invited.html",
        title="Invitation made" if len(some) == 1 else f"{len(some)} invitations made",
        here="invitations",
        made=[
            {"link": one.link, "note": one.note, "expires_ms": one.expires_ms, "why": kept["why"], "code": code}
            for one, code in zip(some, codes, strict=True)
        ],
        minutes=limits.CONSOLE_SHOWN_MS // 60_000,
        done=kept["done"],
    )


async def ask_revoke(visit: Visit) -> web.Response:
    """Before one is revoked."""
    number = visit.named("invitation")
    return visit.page(
        "confirm.html",
        title="Are you sure?",
        here="invitations",
        crumbs=(("Invitations", _href(visit)),),
        question=f"Revoke invitation {number}?",
        consequences=("Nobody can join with it any more. Who has joined already stays.",),
        act="Revoke",
        action=f"{_href(visit)}/{number}/revoke",
        back=_href(visit),
    )


async def revoke(visit: Visit) -> web.Response:
    """Nobody can use it any more."""
    await visit.form()
    number = int(visit.named("invitation"))
    await visit.ask_here("invitations.revoke", invitation=number)
    return visit.go(_href(visit), f"Invitation {number} is revoked.")


def reveal(visit: Visit, some: list[m.NewInvitation], why: str, done: str) -> web.Response:
    """Go to the page that shows these links, once made."""
    name = visit.rooms.shown.keep(visit.session.number, {"made": some, "why": why, "done": done}, visit.now_ms)
    return visit.go(f"{_href(visit)}/made/{name}")


def expiry_ms(visit: Visit, form: Form) -> int | None:
    """When something ends whose form says after how many days; None: never, which the form says, too.

    `RequestRefused`: it says neither.
    """
    said = form.texts("expires")
    if said == [""]:
        return None
    days = form.number("expires")
    if len(said) != 1 or not 0 < days <= _DAYS_MAX:
        raise RequestRefused(f"good for how many days? A whole number from 1 to {_DAYS_MAX}, or nothing for no end")
    return visit.now_ms + days * _DAY_MS


def _notes(text: str) -> list[str]:
    """A note for each line that says something; columns of a table are parted by commas. `RequestRefused`: too many."""
    notes = [note for line in text.splitlines() if (note := " ".join(line.replace("\t", ", ").split()))]
    too_long = next((at for at, one in enumerate(notes, 1) if len(one) > limits.INVITATION_NOTE_MAX_CHARACTERS), None)
    if not notes:
        raise RequestRefused("write a line for each person")
    if len(notes) > limits.CONSOLE_INVITATIONS_MAX:
        raise RequestRefused(f"{len(notes)} lines are too many; {limits.CONSOLE_INVITATIONS_MAX} at once, at most")
    if too_long is not None:
        raise RequestRefused(f"line {too_long} is too long; {limits.INVITATION_NOTE_MAX_CHARACTERS} characters at most")
    return notes


def _form(visit: Visit, given: dict[str, Any], wrong: str = "", status: int = 200) -> web.Response:
    return visit.page(
        "invite.html",
        title="Invite someone",
        here="invitations",
        status=status,
        crumbs=(("Invitations", _href(visit)),),
        base=_href(visit),
        given=given,
        wrong={"note": "", "form": wrong},
        note_max=limits.INVITATION_NOTE_MAX_CHARACTERS,
        uses_max=limits.INVITATION_USES_MAX,
    )


def _many(visit: Visit, given: dict[str, Any], wrong: str = "", status: int = 200) -> web.Response:
    return visit.page(
        "invite_many.html",
        title="Invite many",
        here="invitations",
        status=status,
        crumbs=(("Invitations", _href(visit)),),
        base=_href(visit),
        given=given,
        wrong={"form": wrong},
        many_max=limits.CONSOLE_INVITATIONS_MAX,
    )


def _href(visit: Visit) -> str:
    return f"{visit.base}/invitations"
