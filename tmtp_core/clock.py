# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service needs to know of time. The clock itself is given from outside (style.md, habit 2)."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that people read and that may step, one for waiting that never does."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment, never running back."""
        ...
