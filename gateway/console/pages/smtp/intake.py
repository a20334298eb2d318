# SPDX-License-Identifier: AGPL-3.0-or-later
"""The intakes of the service, what all pages of one have in common, and the first of them (C2)."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

from aiohttp import web

from bridges.smtp.control import models as s
from gateway.administration import models as m
from gateway.console.pages.smtp.words import SERVICE, STEPS, attention
from gateway.console.rendering import part
from gateway.console.visits import Visit
from tmtp_core.errors import NotFound, ServiceUnavailable

HOME: Final = "/smtp"
_TABS: Final = (
    ("overview", "Overview", "", "smtp:read"),
    ("held", "Held mail", "/held", "smtp:hold"),
    ("senders", "Senders", "/senders", "smtp:read"),
    ("correspondents", "Correspondents", "/correspondents", "smtp:read"),
    ("report", "Report", "/report", "smtp:read"),
    ("decisions", "Decisions", "/decisions", "smtp:read"),
)

Page = Callable[[Visit], Awaitable[web.Response]]


def href(visit: Visit, *parts: str | int) -> str:
    """Where a page of the intake is that the visit is about."""
    return "/".join((HOME, part(visit.named("bridge")), *(part(str(one)) for one in parts)))


async def ask(visit: Visit, operation: str, body: Any = None, **arguments: Any) -> Any:
    """Have an operation on the intake done. Raises what the dispatcher raises."""
    return await visit.ask(f"smtp.{operation}", body, bridge=visit.named("bridge"), **arguments)


async def new_report(visit: Visit) -> s.Report:
    """The report of now, for which the intake reads its log."""
    made: s.Report = await ask(visit, "report")
    visit.rooms.reports.keep(visit.named("bridge"), made, visit.now_ms)
    return made


def of_intake(page: Page) -> Page:
    """A page that says so where the intake does not answer: it may be a process of its own."""

    @wraps(page)
    async def shown(visit: Visit) -> web.Response:
        try:
            return await page(visit)
        except ServiceUnavailable as trouble:
            one = await _bridge(visit)
            return visit.page(
                "smtp_away.html",
                title=one.name,
                here="smtp",
                status=503,
                **_frame(visit, "", await _bridges(visit), None),
                text=str(trouble),
                is_change=visit.request.method == "POST",
            )

    return shown


async def page(visit: Visit, template: str, *, tab: str, title: str, status: int = 200, **context: Any) -> web.Response:
    """A page of the intake, under its tabs."""
    now: s.Status = await ask(visit, "status")
    framed = _frame(visit, tab, await _bridges(visit), now)
    return visit.page(template, title=title, here="smtp", status=status, **framed, **context)


async def intakes(visit: Visit) -> web.Response:
    """The ways in from SMTP; where there is one, it is what one came for."""
    found = await _bridges(visit)
    if len(found) == 1 and visit.may("smtp:read"):
        return visit.go(f"{HOME}/{part(found[0].name)}")
    return visit.page("bridges.html", title="SMTP", here="smtp", bridges=found, may_open=visit.may("smtp:read"))


@of_intake
async def overview(visit: Visit) -> web.Response:
    """How the intake does, and what an administrator should look at."""
    now: s.Status = await ask(visit, "status")
    report: s.Report = visit.rooms.reports.look(now.name, visit.now_ms) or await new_report(visit)
    here, bridge = href(visit), await _bridge(visit)
    return visit.page(
        "smtp_overview.html",
        title=now.name,
        here="smtp",
        **_frame(visit, "overview", await _bridges(visit), now),
        bridge=bridge,
        figures=now,
        attention=[
            (text, f"/i/{part(bridge.instance)}" if path == SERVICE else f"{here}/{path}", says)
            for text, path, says in attention(now)
        ],
        report=report,
        month=next((one for one in report.windows if one.days == 30), None),
        steps=[(name, title, report.states.get(name, 0)) for name, title, _ in STEPS],
        may_write=visit.may("smtp:write"),
        may_hold=visit.may("smtp:hold"),
    )


def _frame(visit: Visit, tab: str, bridges: list[m.Bridge], now: s.Status | None) -> dict[str, Any]:
    """What every page of an intake needs: its tabs, and the other intakes."""
    here, chosen = href(visit), visit.named("bridge")
    return {
        "intake": chosen,
        "at": here,
        "tab": tab,
        "tabs": [
            (name, title, here + path, now.held if now is not None and name == "held" else 0)
            for name, title, path, scope in _TABS
            if scope in visit.scopes
        ],
        "intakes": [(one.name, f"{HOME}/{part(one.name)}") for one in bridges],
    }


async def _bridges(visit: Visit) -> list[m.Bridge]:
    found: list[m.Bridge] = await visit.ask("bridges.list")
    return found


async def _bridge(visit: Visit) -> m.Bridge:
    """The chosen one, as the file has it. Raises `NotFound`."""
    name = visit.named("bridge")
    for one in await _bridges(visit):
        if one.name == name:
            return one
    raise NotFound(f"there is no intake {name}")
