# SPDX-License-Identifier: AGPL-3.0-or-later
"""What pages on an intake are made of: plots of senders, pages of lists, words for proofs, the form of a record (C5, C2)."""

from datetime import date, timedelta

import pytest

from bridges.smtp.control import models as s
from gateway.console.pages.smtp import records
from gateway.console.pages.smtp.words import SERVICE, attention, in_words, short
from gateway.console.paging import rows_of
from gateway.console.plots import HEIGHT, WIDTH
from gateway.console.shown import KeptReports
from gateway.console.trends import daily_plot, weekly_plot
from tmtp_core import limits

TODAY = date(2026, 11, 26)


def days(*senders: int) -> list[s.ReportDay]:
    first = TODAY - timedelta(len(senders) - 1)
    return [
        s.ReportDay(day=str(first + timedelta(place)), messages=2 * count, senders=count)
        for place, count in enumerate(senders)
    ]


def points(path: str) -> list[tuple[float, float]]:
    pairs = [pair.split() for pair in path.removeprefix("M").split("L")]
    return [(float(x), float(y)) for x, y in pairs]


# -- plots -----------------------------------------------------------------------------------------------------------
def test_days_go_from_the_left_to_today() -> None:
    plot = daily_plot(days(0, 4, 2))
    assert points(plot.lines[0].line) == [(0.0, 100.0), (300.0, 0.0), (600.0, 50.0)]
    assert plot.now == "2 today"
    assert plot.span == ("2026-11-24", "today")
    assert plot.rows[0] == ("2026-11-26", "2")
    assert "highest 4 a day" in plot.summary
    assert plot.moments[1].text == "2026-11-25: 4 senders, 8 messages"


def test_a_straight_fall_is_drawn_through_its_points_to_its_day() -> None:
    """Four weeks that fall by ten each: 30 days after the middle of the first, the line is where the figures are."""
    weekly = [10, 20, 30, 40]
    zero = TODAY - timedelta(3) + timedelta(7)  # the middle of this week had ten
    plot = weekly_plot(weekly, TODAY, str(zero))
    senders, fall = (points(line.line) for line in plot.lines)
    assert fall[0] == pytest.approx(senders[0], abs=0.2)
    assert fall[-1][1] == HEIGHT
    assert fall[-1][0] == WIDTH
    (x0, y0), (x1, y1) = fall
    for x, y in senders:
        assert y == pytest.approx(y0 + (y1 - y0) * (x - x0) / (x1 - x0), abs=0.2)
    assert plot.rows[0] == ("2026-11-20 to 2026-11-26", "10", "–")
    assert f"falls to none on {zero}" in plot.summary


@pytest.mark.parametrize("zero_date", [None, "2026-11-26", "2026-11-01", "2126-01-01"])
@pytest.mark.parametrize("weekly", [[0], [3], [5, 5, 5, 5], [0, 0, 9]])
def test_no_weeks_leave_the_picture(weekly: list[int], zero_date: str | None) -> None:
    plot = weekly_plot(weekly, TODAY, zero_date)
    for line in plot.lines:
        for x, y in points(line.line.partition("h")[0]):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert len(plot.rows[0]) == 1 + len(plot.lines)


# -- lists -----------------------------------------------------------------------------------------------------------
def test_a_page_knows_whether_another_follows() -> None:
    whole = rows_of([1, 2, 3], 3, "/here", lambda one: one)
    assert (whole.shown, whole.first_href, whole.next_href) == ([1, 2, 3], "/here", "")
    part = rows_of([1, 2, 3], 2, "/here", lambda one: one, {"search": "a&b", "state": ""})
    assert part.shown == [1, 2]
    assert part.first_href == "/here?search=a%26b"
    assert part.next_href == "/here?search=a%26b&after=2"


# -- words -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("proof", "named", "strong"),
    [
        (s.Proof(dkim="partner.example"), "DKIM partner.example", True),
        (s.Proof(spf="aligned"), "SPF", False),
        (s.Proof(network="192.0.2.0/24"), "network 192.0.2.0/24", False),
        (s.Proof(client_certificate="sha256:" + "A" * 43), "certificate", False),
    ],
)
def test_a_proof_says_what_it_shows_and_what_not(proof: s.Proof, named: str, strong: bool) -> None:
    words = in_words(proof)
    assert (short(proof), words.strong) == (named, strong)
    assert words.shows.endswith(".")
    assert words.not_shown.endswith(".")
    assert records.name_of(proof).split()[0] in s.Proof.__struct_fields__


def test_what_needs_looking_at_leads_to_where_it_is_mended() -> None:
    now = s.Status(
        name="intake",
        connected=False,
        sessions=0,
        spooled=0,
        spooled_bytes=0,
        held=1,
        held_bytes=10,
        senders_active=1,
        senders_suspended=1,
        outgoing=0,
        attention=["the service does not answer: refused", "record 12, a@b.example, is suspended: it failed"],
    )
    assert attention(now) == [
        ("The service does not answer: refused.", SERVICE, "See the service"),
        ("Record 12, a@b.example, is suspended: it failed.", "senders/12", "Look at it"),
        ("1 mail waits for your decision.", "held", "Decide"),
    ]


def test_what_the_intake_says_against_a_record_stands_at_its_field() -> None:
    assert records.refused("routes[0]: there is no route for x@y: one of z@y") == {
        "routes": "There is no route for x@y: one of z@y."
    }
    assert records.refused("expires_ms: that day is over: a later one, or none").keys() == {"expires"}
    assert records.refused("a@b.example has record 3 already: withdraw that first").keys() == {"form"}


def test_a_report_is_kept_for_some_minutes() -> None:
    reports = KeptReports()
    assert reports.look("intake", 1_000) is None
    reports.keep("intake", "made", 1_000)
    assert reports.look("intake", 1_000 + limits.CONSOLE_REPORT_KEPT_MS - 1) == "made"
    assert reports.look("intake", 1_000 + limits.CONSOLE_REPORT_KEPT_MS) is None
    assert reports.look("intake", 999) is None  # the clock was turned back
    assert reports.look("quiet", 1_000) is None
