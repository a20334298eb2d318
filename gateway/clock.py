# SPDX-License-Identifier: AGPL-3.0-or-later
"""The machine's clock, for the composition root to hand inside."""

import time


class SystemClock:
    """Implements `tmtp_core.clock.Clock`."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Seconds since some moment, never running back."""
        return time.monotonic()
