# SPDX-License-Identifier: AGPL-3.0-or-later
"""The report as files (C5): read back, they say what it says, and a spreadsheet runs nothing of them."""

import csv
import io

import msgspec
import pytest

from bridges.smtp.control import models as m
from bridges.smtp.control.export import TABLES, as_csv, as_json

REPORT = m.Report(
    at_ms=1_790_000_000_000,
    windows=[
        m.ReportWindow(
            days=7, senders=1, messages=2, delivered=3, held=4, refused=5, human=6, machine=7, weak=8, unproved=9
        )
    ],
    days=[m.ReportDay(day="2026-09-21", messages=3, senders=2)],
    states={"seen": 1, "vetted": 0, "invited": 2, "joined": 1, "refused": 0},
    invited=4,
    joined=3,
    joined_rate=0.75,
    median_days=2.5,
    residue=[
        m.Residue(
            address='=cmd|"/c calc"!a0@x.example',
            state="vetted",
            machine="",
            proof="strong",
            messages=3,
            last_seen_ms=1_790_000_000_000,
        )
    ],
    zero_date=None,
    members=[m.ReportMember(alias='Ann, "the" one', smtp=3, tmtp=9)],
)


def rows(table: str, report: m.Report = REPORT) -> list[list[str]]:
    return list(csv.reader(io.StringIO(as_csv(report, table), newline="")))  # type: ignore[arg-type]


def test_json_is_the_report() -> None:
    assert msgspec.json.decode(as_json(REPORT), type=m.Report) == REPORT
    assert as_json(REPORT).endswith(b"}\n")


def test_each_table_is_a_file() -> None:
    assert rows("windows") == [
        ["days", "senders", "messages", "delivered", "held", "refused", "human", "machine", "weak", "unproved"],
        ["7", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    ]
    assert rows("days") == [["day", "messages", "senders"], ["2026-09-21", "3", "2"]]
    assert rows("members") == [["alias", "smtp", "tmtp"], ['Ann, "the" one', "3", "9"]]
    assert rows("residue")[0] == ["address", "state", "machine", "proof", "messages", "last_seen"]
    assert rows("residue")[1][1:] == ["vetted", "", "strong", "3", "2026-09-21 14:13:20"]
    summary = dict(rows("summary"))
    assert summary["made at"] == "2026-09-21 14:13:20"
    assert (summary["correspondents: invited"], summary["invited, ever"]) == ("2", "4")
    assert (summary["of those invited have joined"], summary["projected end of SMTP"]) == ("0.75", "")
    assert as_csv(REPORT, "days").endswith("\r\n")
    assert all(as_csv(REPORT, table) for table in TABLES)


@pytest.mark.parametrize("alias", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_stranger_chose_is_no_formula(alias: str) -> None:
    """An address, or an alias; also where a spreadsheet would leave out what stands before it."""
    report = msgspec.structs.replace(REPORT, members=[m.ReportMember(alias=alias, smtp=1, tmtp=2)])
    assert rows("members", report)[1][0] == f"'{alias}"
    assert rows("residue")[1][0] == '\'=cmd|"/c calc"!a0@x.example'
