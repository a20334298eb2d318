# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many senders still write by SMTP, and where the line goes (C5): plots like the others, of days and weeks."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from bridges.smtp.control.models import ReportDay
from gateway.console.plots import HEIGHT, WIDTH, Line, Moment, Plot, nice_top, number

_WEEK: Final = 7
_WEEKS_SHOWN: Final = 13  # as many rows as the table has


def daily_plot(days: Sequence[ReportDay]) -> Plot:
    """Distinct proven senders of each day; `days` are without a gap, the oldest first, at least two."""
    first, last = date.fromisoformat(days[0].day), date.fromisoformat(days[-1].day)
    picture = _Picture(first, last, max(one.senders for one in days))
    points = [picture.at(date.fromisoformat(one.day), one.senders) for one in days]
    now, highest = days[-1].senders, max(one.senders for one in days)
    return Plot(
        title="Senders a day",
        unit="a day",
        now=f"{number(now)} today",
        summary=f"{number(now)} today, highest {number(highest)} a day, since {first}",
        scale=picture.scale,
        span=(str(first), "today"),
        lines=(_line("Senders", points),),
        moments=tuple(
            picture.moment(x, 1, f"{one.day}: {one.senders} senders, {one.messages} messages")
            for (x, _), one in zip(points, days, strict=True)
        ),
        rows=tuple((one.day, number(one.senders)) for one in reversed(days[-2 * _WEEK :])),
    )


def weekly_plot(weekly: Sequence[int], today: date, zero_date: str | None) -> Plot:
    """Distinct proven senders of each of the last weeks, the newest first, at least one; and the straight line through
    them to `zero_date`, where it falls.

    What lies further ahead than the past is long leaves the picture.
    """
    middles = [today - timedelta(_WEEK * place + _WEEK // 2) for place in range(len(weekly))]
    zero = date.fromisoformat(zero_date) if zero_date is not None else None
    past_days = _WEEK * len(weekly)
    end = today if zero is None else min(max(zero, today), today + timedelta(past_days))
    picture = _Picture(today - timedelta(past_days), end, max(weekly))
    points = [picture.at(day, senders) for day, senders in zip(middles, weekly, strict=True)][::-1]
    lines = [_line("Senders", points)]
    goes = "the line does not fall to none"
    if zero is not None and zero >= today:
        goes = f"the line falls to none on {zero_date}"
        lines.append(_fall(picture, middles, weekly, zero, end))
    return Plot(
        title="Senders a week",
        unit="a week",
        now=f"{number(weekly[0])} in the last 7 days",
        summary=f"{number(weekly[0])} in the last 7 days, highest {number(max(weekly))} a week; {goes}",
        scale=picture.scale,
        span=(str(picture.first), "today") if end == today else (str(picture.first), str(end)),
        lines=tuple(lines),
        moments=tuple(
            picture.moment(x, _WEEK, f"{_week(today, place)}: {senders} senders")
            for place, ((x, _), senders) in enumerate(zip(reversed(points), weekly, strict=True))
        ),
        rows=tuple(
            (_week(today, place), number(senders), *["–"] * (len(lines) - 1))
            for place, senders in enumerate(weekly[:_WEEKS_SHOWN])
        ),
    )


class _Picture:
    """From a day to a day, and from none to the highest."""

    def __init__(self, first: date, last: date, highest: float) -> None:
        self.first = first
        self._days = max((last - first).days, 1)
        self.top = nice_top(highest)
        self.scale = (number(self.top), number(self.top / 2), "0")

    def at(self, day: date, value: float) -> tuple[float, float]:
        """A point; also one that lies outside."""
        x = (day - self.first).days / self._days * WIDTH
        return round(x, 1), round(HEIGHT - value / self.top * HEIGHT, 1)

    def moment(self, x: float, days: int, text: str) -> Moment:
        """A strip around a point."""
        width = round(days / self._days * WIDTH, 1)
        return Moment(round(x - width / 2, 1), width, text)


def _line(name: str, points: Sequence[tuple[float, float]]) -> Line:
    path = "L".join(f"{x} {y}" for x, y in points)
    area = f"M{points[0][0]} {HEIGHT}L{path}L{points[-1][0]} {HEIGHT}Z"
    return Line(name, f"M{path}" + ("h0.1" if len(points) == 1 else ""), area)


def _fall(picture: _Picture, middles: Sequence[date], weekly: Sequence[int], zero: date, end: date) -> Line:
    """The straight line: it goes through the middle of all points, and to none on its day."""
    middle = sum(day.toordinal() for day in middles) / len(middles)
    a_day = sum(weekly) / len(weekly) / (zero.toordinal() - middle)  # by so much it falls
    first = middles[-1]
    if a_day:  # not above the picture
        first = max(first, zero - timedelta(int(picture.top / a_day)))
    points = [picture.at(day, a_day * (zero - day).days) for day in (first, min(zero, end))]
    return Line("Where the line goes", "M" + "L".join(f"{x} {y}" for x, y in points), "")


def _week(today: date, place: int) -> str:
    last = today - timedelta(_WEEK * place)
    return f"{last - timedelta(_WEEK - 1)} to {last}"
