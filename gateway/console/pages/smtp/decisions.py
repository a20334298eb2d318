# SPDX-License-Identifier: AGPL-3.0-or-later
"""The intake's own log: each decision with the steps that led to it, and whether the log is whole (C2)."""

from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from bridges.smtp.control import models as s
from bridges.smtp.control.evidence import ActDone, Decided, decoded
from gateway.console.pages.smtp.intake import ask, href, of_intake, page
from gateway.console.pages.smtp.words import OUTCOMES
from gateway.console.paging import address
from gateway.console.visits import Visit
from tmtp_core import limits

_ROWS: Final = 50
_HISTORY_ROWS: Final = 20
_ACTS: Final = {
    "senders.vet": "Vetted",
    "senders.suspend": "Suspended",
    "senders.resume": "Let in again",
    "senders.withdraw": "Withdrawn",
    "held.decide": "Decided on a held mail",
    "held.expire": "A held mail expired",
    "spool.deliver": "Delivered from our disk",
    "decisions.cut": "Older entries cut off",
    "correspondents.move": "Moved",
    "correspondents.invited": "Invited",
    "correspondents.joined": "Joined",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry in words. `by`: who did it, "" for what the intake decided by its rules."""

    number: int
    at_ms: int
    title: str
    about: str
    by: str
    detail: str
    facts: tuple[tuple[str, str], ...]
    decided: tuple[Decided, ...]
    hash: str


@of_intake
async def decisions(visit: Visit) -> web.Response:
    """Entries, newest first, those that a search finds; and whether the log is as it was written."""
    search, before = visit.asked("search").strip(), visit.asked_number("before")
    found: s.DecisionPage = await ask(visit, "decisions.list", search=search, before=before, limit=_ROWS)
    verdict: s.DecisionVerdict | None = None
    if visit.asked("check"):
        verdict = await ask(visit, "decisions.verify")
    filters = {"search": search}
    here = href(visit, "decisions")
    return await page(
        visit,
        "smtp_decisions.html",
        tab="decisions",
        title="Decisions",
        entries=[_shown(one) for one in found.entries],
        outcomes=OUTCOMES,
        verdict=verdict,
        search=search,
        before=before,
        check_href=address(here, {**filters, "check": "1"}),
        first_href=address(here, filters),
        next_href=address(here, {**filters, "before": str(found.next)}) if found.next else "",
    )


async def entries_about(visit: Visit, whom: str) -> list[Shown]:
    """The newest entries that name somebody."""
    search = whom[: limits.CONSOLE_NAME_MAX_CHARACTERS * 2]
    found: s.DecisionPage = await ask(visit, "decisions.list", search=search, limit=_HISTORY_ROWS)
    return [_shown(one) for one in found.entries]


def _shown(one: s.DecisionEntry) -> Shown:
    try:
        entry = decoded(one.body)
    except msgspec.MsgspecError:
        return Shown(one.number, one.at_ms, "Not as it was written", "", "", "", (), (), one.hash)
    if isinstance(entry, ActDone):
        title = _ACTS.get(entry.act, entry.act)
        return Shown(one.number, one.at_ms, title, entry.target, entry.by, entry.detail, (), entry.decided, one.hash)
    known = entry.evidence
    said = [f"{f.method.upper()} {f.domain}: {f.state}{'' if f.aligned else ', not aligned'}" for f in known.found]
    facts = (
        ("Came from", known.peer or "this machine"),
        ("Envelope", known.mail_from or "empty"),
        ("Looked at", "; ".join(said) or ("nothing passed" if known.looked else "not looked at")),
        ("Notes", "; ".join((*known.notes, *known.unsure))),
        ("Not readable", known.unreadable),
    )
    return Shown(
        number=one.number,
        at_ms=one.at_ms,
        title="Mail",
        about=known.author or "nobody named",
        by="",
        detail="",
        facts=tuple((name, text) for name, text in facts if text),
        decided=entry.decided,
        hash=one.hash,
    )
