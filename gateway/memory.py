# SPDX-License-Identifier: AGPL-3.0-or-later
"""Memory that closed links leave behind, given back to the system.

A link that has ended is a knot of objects that refer to one another, and some 20 KB of TLS beside it that Python's
collector does not count: it would wait for millions of objects before it looks at the oldest ones. What it frees then
lies in holes of the C library's heap, which are not given back unless somebody asks. Without either, a service grew
by 25 MB each time that 1,500 devices came back.
"""

import contextlib
import ctypes
import gc

from tmtp_core import limits


class Tidying:
    """Collects when enough links have ended: so many that looking at those that stand is little beside it."""

    def __init__(self) -> None:
        self._ended = 0

    def look(self, ended: int, standing: int) -> bool:
        """Collect if it is time to. `ended`: how many links ended since the start. True when it collected."""
        if ended - self._ended < max(limits.ENDED_LINKS_KEPT, standing // 4):
            return False
        self._ended = ended
        gc.collect()
        give_back()
        return True


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library can."""
    with contextlib.suppress(AttributeError, OSError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)
