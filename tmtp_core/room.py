# SPDX-License-Identifier: AGPL-3.0-or-later
"""The memory that the requests of all links together may hold, and the line of those who wait for some of it (D3).

Each link has a bound of its own; many links, each within it, could still be too much. When that is so nobody is read
any more, and as there is room again they go on one after the other, who waits longest first, each for a link's turn.
Who comes meanwhile goes to the end of the line: whoever asks for much cannot keep those who ask for little from theirs.
"""

from collections.abc import Callable
from typing import Protocol

from tmtp_core import limits
from tmtp_core.store.payloads import Backlog


class Waiting(Protocol):
    """Who can be held back: a session."""

    def proceed(self) -> None:
        """Go on, for no more than a link's turn."""
        ...


class Room:
    """`backlog` counts uploads that are not yet with the disk. What waits for a peer instead, a post half read, is not
    among what is counted, or slow peers would stop the others; each link has little of that.
    """

    def __init__(self, backlog: Backlog, in_loop: Callable[[Callable[[], None]], None]) -> None:
        self._backlog = backlog
        self._in_loop = in_loop
        self._held_bytes = 0
        self._line: dict[Waiting, None] = {}
        self._on_turn: Waiting | None = None
        self._relieving = False

    @property
    def full(self) -> bool:
        """Whether requests that are not decided fill their share of memory."""
        return self._held_bytes + self._backlog.size >= limits.SERVICE_PENDING_BYTES_MAX

    def hold(self, size: int) -> None:
        """A link's requests hold this much more until they are decided; negative: less."""
        self._held_bytes += size
        if self._line:
            self.relieve()

    def must_wait(self, one: Waiting) -> bool:
        """Whether somebody may ask for nothing more before there is room, and before others have had their turn."""
        if not self.full and (not self._line or one is self._on_turn):
            return False
        self._line[one] = None
        return True

    def leave(self, one: Waiting) -> None:
        """Somebody waits no more."""
        self._line.pop(one, None)

    def relieve(self) -> None:
        """Let those in the line go on, in the loop's next turn, if there is room again."""
        if self._line and not self._relieving and not self.full:
            self._relieving = True
            self._in_loop(self._let_go_on)

    def _let_go_on(self) -> None:
        self._relieving = False
        for one in list(self._line):
            if self.full:
                break
            self._line.pop(one, None)
            self._on_turn = one
            try:
                one.proceed()
            finally:
                self._on_turn = None
                self.relieve()  # for those after it, also where this one fails
