# SPDX-License-Identifier: AGPL-3.0-or-later
"""A report as files for others (C5): JSON as a whole, or CSV (RFC 4180), one file for each of its tables."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import msgspec

from bridges.smtp.control import models as m

ReportTable = Literal["summary", "windows", "days", "residue", "members"]
TABLES: Final[tuple[ReportTable, ...]] = get_args(ReportTable)

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
Cell = str | int | float | None


def as_json(report: m.Report) -> bytes:
    """All of it, indented, with a line end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def as_csv(report: m.Report, table: ReportTable) -> str:
    """One of its tables, with a line of names, as UTF-8 is to be written.

    Times are UTC, as 2026-11-26 09:30:00, which spreadsheets take for times. What a stranger chose and a spreadsheet
    would take for a formula has an apostrophe in front.
    """
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    for row in _ROWS[table](report):
        writer.writerow([_cell(cell) for cell in row])
    return written.getvalue()


def _cell(value: Cell) -> Cell:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _summary(report: m.Report) -> Iterable[Sequence[Cell]]:
    yield "what", "value"
    yield "made at", _moment(report.at_ms)
    for state, count in report.states.items():
        yield f"correspondents: {state}", count
    yield "invited, ever", report.invited
    yield "joined, ever", report.joined
    yield "of those invited have joined", report.joined_rate
    yield "days from invitation to joining, median", report.median_days
    yield "projected end of SMTP", report.zero_date


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _table(row: type[msgspec.Struct], rows: Iterable[msgspec.Struct]) -> Iterable[Sequence[Cell]]:
    """A line of names, which lose the unit that times are no more in; then a line for each row."""
    names = [field.name for field in msgspec.structs.fields(row)]
    yield [name.removesuffix("_ms") for name in names]
    for one in rows:
        values = zip(names, msgspec.structs.astuple(one), strict=True)
        yield [_moment(value) if name.endswith("_ms") else value for name, value in values]


_ROWS: Final[dict[ReportTable, Callable[[m.Report], Iterable[Sequence[Cell]]]]] = {
    "summary": _summary,
    "windows": lambda report: _table(m.ReportWindow, report.windows),
    "days": lambda report: _table(m.ReportDay, report.days),
    "residue": lambda report: _table(m.Residue, report.residue),
    "members": lambda report: _table(m.ReportMember, report.members),
}
