# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report as one table, for spreadsheets: a row for each figure, named by what it is of (C5)."""

import csv
import io
from collections.abc import Iterator

import msgspec

from bridges.smtp.control.models import Report

_HEADER = ("about", "of", "figure", "value")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def report_csv(made: Report) -> str:
    """The whole report. What a spreadsheet could take for a formula has an apostrophe before it: names and addresses
    are strangers' (OWASP, CSV injection).
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_HEADER)
    for row in _rows(made):
        writer.writerow([_plain(cell) for cell in row])
    return out.getvalue()


def _rows(made: Report) -> Iterator[tuple[str, object, str, object]]:
    for name in ("at_ms", "invited", "joined", "joined_rate", "median_days", "zero_date"):
        yield "report", "", name, getattr(made, name)
    for state, count in made.states.items():
        yield "state", state, "correspondents", count
    for number, senders in enumerate(made.weekly):
        yield "week", f"{number} weeks ago", "senders", senders
    parts = (("window", "days", made.windows), ("day", "day", made.days), ("member", "alias", made.members))
    for about, key, some in (*parts, ("residue", "address", made.residue)):
        for one in some:
            values = msgspec.structs.asdict(one)
            of = values.pop(key)
            for figure, value in values.items():
                yield about, of, figure, value


def _plain(cell: object) -> str:
    if cell is None:
        return ""
    text = str(cell)
    return f"'{text}" if isinstance(cell, str) and text.startswith(_FORMULA) else text
