# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way out of SMTP, as far as it has come: figures, plots, and the same as files (C5)."""

from datetime import date
from typing import Final

import msgspec
from aiohttp import web

from bridges.smtp.control import models as s
from bridges.smtp.control.report_csv import report_csv
from gateway.console.pages.smtp.intake import ask, href, of_intake, page
from gateway.console.pages.smtp.words import MACHINES, STEP_NAMES, STEPS, STRENGTHS
from gateway.console.plots import Plot
from gateway.console.trends import daily_plot, weekly_plot
from gateway.console.visits import Visit

_MEMBERS: Final = 100
_RESIDUE: Final = 100
_WEEKS_MIN: Final = 2


@of_intake
async def report(visit: Visit) -> web.Response:
    """All of it, to be read."""
    made: s.Report = await ask(visit, "report")
    month = next((one for one in made.windows if one.days == 30), None)
    return await page(
        visit,
        "smtp_report.html",
        tab="report",
        title="Report",
        report=made,
        month=month,
        zero_month=date.fromisoformat(made.zero_date).strftime("%b %Y") if made.zero_date else "",
        plots=_plots(made),
        steps=[(name, title, says, made.states.get(name, 0)) for name, title, says in STEPS],
        most=max(made.states.values(), default=0),
        members=made.members[:_MEMBERS],
        members_more=len(made.members[_MEMBERS:]),
        residue=made.residue[:_RESIDUE],
        residue_more=len(made.residue[_RESIDUE:]),
        names=STEP_NAMES,
        machines=MACHINES,
        strengths=STRENGTHS,
        here_href=href(visit, "report"),
    )


def _plots(made: s.Report) -> list[Plot]:
    """By weeks as far as whole ones are known, and by days; none while nobody has written."""
    if not any(one.senders for one in made.days):
        return []
    today = date.fromisoformat(made.days[-1].day)
    by_weeks = [weekly_plot(made.weekly, today, made.zero_date)] if len(made.weekly) >= _WEEKS_MIN else []
    return [*by_weeks, *([daily_plot(made.days)] if len(made.days) > 1 else [])]


@of_intake
async def as_json(visit: Visit) -> web.Response:
    """All of it, for programs."""
    made: s.Report = await ask(visit, "report")
    body = msgspec.json.format(msgspec.json.encode(made), indent=2)
    return _file(visit, body, "application/json", "json")


@of_intake
async def as_csv(visit: Visit) -> web.Response:
    """All of it, for a spreadsheet."""
    made: s.Report = await ask(visit, "report")
    return _file(visit, report_csv(made).encode(), "text/csv", "csv")


def _file(visit: Visit, body: bytes, kind: str, ending: str) -> web.Response:
    name = f"smtp-report-{visit.named('bridge')}.{ending}"
    kept_as = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=kept_as)
