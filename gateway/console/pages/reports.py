# SPDX-License-Identifier: AGPL-3.0-or-later
"""What members report of somebody, and how that is closed (D2, D3)."""

from typing import Any, Final, cast, get_args

from aiohttp import web

from gateway.administration import models as m
from gateway.console.paging import rows_of
from gateway.console.rendering import sentence
from gateway.console.visits import Visit
from tmtp_core import limits
from tmtp_core.domain.reports import Closing
from tmtp_core.errors import NotFound, RequestRefused

_ROWS: Final = 50
_STATES: Final = {"open": "Open", "closed": "Closed"}
_OUTCOMES: Final[dict[Closing, str]] = {
    "acted": "Something was done about it",
    "no_action": "It is so, and nothing needs to be done",
    "unfounded": "It is not so",
}


async def reports(visit: Visit) -> web.Response:
    """The open ones, or those that were closed."""
    after, state = visit.asked_number("after"), visit.asked("state")
    state = state if state in _STATES else "open"
    found: list[m.Report] = await visit.ask_here("reports.list", state=state, after=after, limit=_ROWS + 1)
    filters = {"state": state} if state != "open" else {}
    return visit.page(
        "reports.html",
        title="Reports",
        here="reports",
        base=_href(visit),
        rows=rows_of(found, _ROWS, _href(visit), lambda one: one.report, filters),
        after=after,
        state=state,
        states=[(name, title, f"{_href(visit)}?state={name}") for name, title in _STATES.items()],
        outcomes=_OUTCOMES,
        kept_days=limits.REPORTS_CLOSED_KEPT_DAYS,
        may_write=visit.may("reports:write"),
        may_bar=visit.may("accounts:write"),
        may_members=visit.may("accounts:read"),
    )


async def ask_close(visit: Visit) -> web.Response:
    """How is it to be closed?"""
    return await _ask(visit, {"outcome": "acted", "note": ""})


async def close(visit: Visit) -> web.Response:
    """It is dealt with."""
    form = await visit.form()
    number = int(visit.named("report"))
    given = {"outcome": form.text("outcome"), "note": form.text("note")}
    if given["outcome"] not in get_args(Closing):
        return await _ask(visit, given, "say what became of it", 409)
    try:
        body = m.CloseReport(outcome=cast(Closing, given["outcome"]), note=given["note"])
        await visit.ask_here("reports.close", body, report=number)
    except NotFound as gone:
        return visit.go(_href(visit), sentence(gone.text), "bad")
    except RequestRefused as refusal:
        return await _ask(visit, given, refusal.text, 409)
    return visit.go(_href(visit), f"Report {number} is closed.")


async def _ask(visit: Visit, given: dict[str, Any], wrong: str = "", status: int = 200) -> web.Response:
    number = int(visit.named("report"))
    found: list[m.Report] = await visit.ask_here("reports.list", after=max(number - 1, 0) or None, limit=1)
    if not found or found[0].report != number:
        raise NotFound(f"no open report has the number {number}")
    return visit.page(
        "report_close.html",
        title="Close a report",
        here="reports",
        status=status,
        crumbs=(("Reports", _href(visit)),),
        question=f"What became of the report about {found[0].reported_alias or found[0].reported}?",
        consequences=("Neither who made it nor who it is about hears of this.",),
        act="Close",
        action=f"{_href(visit)}/{number}/close",
        back=_href(visit),
        mild=True,
        one=found[0],
        outcomes=_OUTCOMES,
        note_max=limits.REPORT_NOTE_MAX_CHARACTERS,
        given=given,
        wrong={"form": wrong},
    )


def _href(visit: Visit) -> str:
    return f"{visit.base}/reports"
