# SPDX-License-Identifier: AGPL-3.0-or-later
"""The way out of SMTP, as far as it has come: figures, plots, and the same as files (C5)."""

from datetime import date
from typing import Final

from aiohttp import web

from bridges.smtp.control import models as s
from bridges.smtp.control.export import TABLES, ReportTable, as_csv, as_json
from gateway.console.pages.smtp.intake import href, new_report, of_intake, page
from gateway.console.pages.smtp.words import MACHINES, STEP_NAMES, STEPS, STRENGTHS
from gateway.console.plots import Plot
from gateway.console.trends import daily_plot, weekly_plot
from gateway.console.visits import Visit
from tmtp_core.errors import NotFound

_MEMBERS: Final = 100
_RESIDUE: Final = 100
_WEEKS_MIN: Final = 2
_TABLES: Final[dict[str, ReportTable]] = {table: table for table in TABLES}
_FILES: Final = (
    ("summary", "Summary"),
    ("windows", "What came"),
    ("days", "Each day"),
    ("members", "Members"),
    ("residue", "Who is left"),
)


@of_intake
async def report(visit: Visit) -> web.Response:
    """All of it, to be read."""
    made = await new_report(visit)
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
        files=[(title, f"{href(visit, 'report')}/{table}.csv") for table, title in _FILES],
        whole_href=f"{href(visit, 'report')}.json",
    )


def _plots(made: s.Report) -> list[Plot]:
    """By weeks as far as whole ones are known, and by days; none while nobody has written."""
    if not any(one.senders for one in made.days):
        return []
    today = date.fromisoformat(made.days[-1].day)
    by_weeks = [weekly_plot(made.weekly, today, made.zero_date)] if len(made.weekly) >= _WEEKS_MIN else []
    return [*by_weeks, *([daily_plot(made.days)] if len(made.days) > 1 else [])]


@of_intake
async def file_of_all(visit: Visit) -> web.Response:
    """All of it, for programs."""
    made = await new_report(visit)
    return _file(visit, as_json(made), "application/json", "report.json")


@of_intake
async def file_of_table(visit: Visit) -> web.Response:
    """One of its tables, for a spreadsheet."""
    table = _TABLES.get(visit.named("table"))
    if table is None:
        raise NotFound(f"the report has no such table; there are: {', '.join(TABLES)}")
    made = await new_report(visit)
    return _file(visit, as_csv(made, table).encode(), "text/csv", f"{table}.csv")


def _file(visit: Visit, body: bytes, kind: str, name: str) -> web.Response:
    kept_as = {"Content-Disposition": f'attachment; filename="smtp-{visit.named("bridge")}-{name}"'}
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=kept_as)
