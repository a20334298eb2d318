# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many senders still write by SMTP, day by day, and where the line goes (C5): a plot like the others."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from bridges.smtp.control.models import ReportDay
from gateway.console.plots import HEIGHT, WIDTH, Line, Moment, Plot, nice_top, number

_WEEK_DAYS: Final = 7
_AHEAD_MOST: Final = 1.0  # the future has at most as much room as the past
_WEEKS_SHOWN_MIN: Final = 4


def senders_plot(days: Sequence[ReportDay], zero_date: str | None) -> Plot:
    """Distinct proven senders of each day; the second line goes from the last week's mean to `zero_date`.

    `days`: without a gap, the oldest first, at least one. A zero date that is further off than the past is long is told
    in words, and its line leaves the picture.
    """
    first, last = date.fromisoformat(days[0].day), date.fromisoformat(days[-1].day)
    zero = date.fromisoformat(zero_date) if zero_date is not None else None
    past = max((last - first).days, _WEEKS_SHOWN_MIN * _WEEK_DAYS)
    first = last - timedelta(past)
    ahead = 0 if zero is None else min((zero - last).days, int(past * _AHEAD_MOST))
    ahead = max(ahead, 0)
    end = last + timedelta(ahead)
    top = nice_top(max(one.senders for one in days))

    def x(day: date) -> float:
        return round((day - first).days / max((end - first).days, 1) * WIDTH, 1)

    def y(value: float) -> float:
        return round(HEIGHT - value / top * HEIGHT, 1)

    points = [(x(date.fromisoformat(one.day)), y(one.senders)) for one in days]
    path = "L".join(f"{px} {py}" for px, py in points)
    lines = [Line("Senders a day", f"M{path}", f"M{points[0][0]} {HEIGHT}L{path}V{HEIGHT}Z")]
    mean = sum(one.senders for one in days[-_WEEK_DAYS:]) / len(days[-_WEEK_DAYS:])
    if zero is not None and ahead:
        left = max(0.0, mean * (1 - ahead / (zero - last).days))
        lines.append(Line("Where the line goes", f"M{x(last)} {y(mean)}L{x(end)} {y(left)}", ""))
    width = round(WIDTH / max((end - first).days, 1), 1)
    return Plot(
        title="Distinct senders",
        unit="a day",
        now=f"{number(round(mean, 1))} a day in the last week",
        summary=_summary(days, mean, zero_date),
        scale=(number(top), number(top / 2), "0"),
        span=_span(first, last, end),
        lines=tuple(lines),
        moments=tuple(
            Moment(round(px - width / 2, 1), width, f"{one.day}: {one.senders} senders, {one.messages} messages")
            for (px, _), one in zip(points, days, strict=True)
        ),
        rows=_weeks(days, len(lines)),
    )


def _summary(days: Sequence[ReportDay], mean: float, zero_date: str | None) -> str:
    highest = max(one.senders for one in days)
    goes = f"the line reaches none on {zero_date}" if zero_date is not None else "the line does not reach none"
    return f"{number(round(mean, 1))} a day in the last week, highest {highest} a day; {goes}"


def _span(first: date, last: date, end: date) -> tuple[str, ...]:
    """What stands under the picture. Where it goes on into the future, today is in the middle or right of it."""
    if end == last:
        return (first.isoformat(), (first + (last - first) / 2).isoformat(), "today")
    return (first.isoformat(), end.isoformat())


def _weeks(days: Sequence[ReportDay], columns: int) -> tuple[tuple[str, ...], ...]:
    """The same by weeks, the newest first: the mean of its days, and nothing known of the future."""
    rows = []
    for at in range(len(days), 0, -_WEEK_DAYS):
        week = days[max(0, at - _WEEK_DAYS) : at]
        mean = sum(one.senders for one in week) / len(week)
        rows.append((f"{week[0].day} to {week[-1].day}", number(round(mean, 1)), *["–"] * (columns - 1)))
    return tuple(rows)
