# SPDX-License-Identifier: AGPL-3.0-or-later
"""Plots of an instance's history as the server draws them: SVG without a script, and the same figures as a table.

The picture is stretched to the room there is; axes and units are text beside it, which stays readable at 360 px.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.administration.models import Sample

WIDTH: Final = 600
HEIGHT: Final = 100
_POINTS_MAX: Final = 120
_ROWS_MAX: Final = 12
_GAP_STEPS: Final = 3.5  # a hole in the samples longer than that is a hole in the line
_STEPS: Final = (1, 2, 4, 10)  # of the scale: each has a half that is a plain number


@dataclass(frozen=True, slots=True)
class Series:
    """One line: what a sample says, or None where it says nothing."""

    name: str
    value: Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """A strip of the picture that says its figures when pointed at."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A series as drawn: paths of SVG, empty where there is nothing."""

    name: str
    line: str
    area: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What the template needs. `scale`: top, middle, bottom; `span`: from left to right."""

    title: str
    unit: str
    now: str
    summary: str
    scale: tuple[str, str, str]
    span: tuple[str, ...]
    lines: tuple[Line, ...]
    moments: tuple[Moment, ...]
    rows: tuple[tuple[str, ...], ...]


_Point = tuple[int, list[float | None]]


def plot(
    title: str,
    unit: str,
    series: Sequence[Series],
    samples: Sequence[Sample],
    *,
    now_ms: int,
    span_s: int,
    span: tuple[str, ...],
) -> Plot:
    """The last `span_s` seconds of these series, in `unit`."""
    start_ms = now_ms - span_s * 1000
    seen = [one for one in samples if start_ms <= one.at_ms <= now_ms]
    points = _folded(series, seen, _POINTS_MAX)
    top = nice_top(max((value for _, values in points for value in values if value is not None), default=0.0))

    def x(at_ms: int) -> float:
        return round((at_ms - start_ms) / (span_s * 1000) * WIDTH, 1)

    def y(value: float) -> float:
        return round(HEIGHT - value / top * HEIGHT, 1)

    step_ms = span_s * 1000 / _POINTS_MAX
    lines = tuple(_line(one.name, index, points, x, y, step_ms) for index, one in enumerate(series))
    width = round(WIDTH / _POINTS_MAX, 1)
    moments = tuple(
        Moment(round(x(at_ms) - width / 2, 1), width, f"{_before(at_ms, now_ms)}: {_figures(series, values, unit)}")
        for at_ms, values in points
    )
    last = points[-1][1] if points else [None for _ in series]
    return Plot(
        title=title,
        unit=unit,
        now=_figures(series, last, unit),
        summary=_summary(series, points, unit),
        scale=(number(top), number(top / 2), "0"),
        span=span,
        lines=lines,
        moments=moments,
        rows=tuple(
            (_before(at_ms, now_ms), *("–" if value is None else number(value) for value in values))
            for at_ms, values in reversed(_folded(series, seen, _ROWS_MAX))
        ),
    )


def _folded(series: Sequence[Series], samples: Sequence[Sample], most: int) -> list[_Point]:
    """At most `most` points; each has the highest of the samples that it stands for: peaks are what one looks for."""
    each = max(1, math.ceil(len(samples) / most))
    points: list[_Point] = []
    for end in range(len(samples), 0, -each):  # from now back, so that the newest point stands for as many as any
        some = samples[max(0, end - each) : end]
        highest = [max((v for v in map(one.value, some) if v is not None), default=None) for one in series]
        points.append((some[-1].at_ms, highest))
    return points[::-1]


def _line(
    name: str,
    index: int,
    points: Sequence[_Point],
    x: Callable[[int], float],
    y: Callable[[float], float],
    step_ms: float,
) -> Line:
    runs: list[list[tuple[float, float]]] = []
    before_ms: int | None = None
    for at_ms, values in points:
        value = values[index]
        if value is None:
            before_ms = None
            continue
        if before_ms is None or at_ms - before_ms > _GAP_STEPS * step_ms:
            runs.append([])
        runs[-1].append((x(at_ms), y(value)))
        before_ms = at_ms
    line = "".join("M" + "L".join(f"{px} {py}" for px, py in run) + ("h0.1" if len(run) == 1 else "") for run in runs)
    area = "".join(f"M{run[0][0]} {HEIGHT}L" + "L".join(f"{px} {py}" for px, py in run) + f"V{HEIGHT}Z" for run in runs)
    return Line(name, line, area)


def nice_top(highest: float) -> float:
    """The smallest end of a scale that is not below `highest`: 1, 2, 4 or 10 times a power of ten."""
    if highest <= 0:
        return 2.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in _STEPS if step * power >= highest * 0.999)


def number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:.3g} M"
    if value >= 10_000:
        return f"{value / 1_000:.3g} k"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _figures(series: Sequence[Series], values: Sequence[float | None], unit: str) -> str:
    if len(series) == 1:
        return "no figure" if values[0] is None else f"{number(values[0])} {unit}"
    return ", ".join(
        f"{one.name} {'–' if value is None else number(value)}" for one, value in zip(series, values, strict=True)
    )


def _summary(series: Sequence[Series], points: Sequence[_Point], unit: str) -> str:
    """In words what the picture shows."""
    said = []
    for index, one in enumerate(series):
        values = [value for _, all_values in points if (value := all_values[index]) is not None]
        if values:
            said.append(f"{one.name}: now {number(values[-1])}, highest {number(max(values))} {unit}")
    return "; ".join(said) or "no figures yet"


def _before(at_ms: int, now_ms: int) -> str:
    seconds = max(0, now_ms - at_ms) // 1000
    if seconds < 90:
        return f"{seconds} s ago"
    minutes = round(seconds / 60)
    return f"{minutes} min ago" if minutes < 120 else f"{minutes / 60:.1f} h ago"
