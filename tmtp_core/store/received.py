# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many messages each member received a day, from outside and from members (C5): counts, and nothing of a message.

Counted in memory, where an instance has a bridge, and written about once a minute and at the end. Whoever kills the
process takes the last minute's counts with it; where nobody knows whether a commit is on the disk, they may be written
twice. Several processes add to the same rows.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, select, text

from tmtp_core import limits
from tmtp_core.domain.port import Status
from tmtp_core.store import tables as t

_MS_PER_DAY: Final = 86_400_000
_OUTSIDE, _MEMBERS = 0, 1
# Whoever is removed, perhaps by another process, is counted no more. Both databases speak this.
_ADD: Final = text(
    "INSERT INTO received (account, day, smtp, tmtp)"
    " SELECT key, CAST(:day AS INTEGER), CAST(:smtp AS BIGINT), CAST(:tmtp AS BIGINT)"
    " FROM account WHERE key = :account AND status <> :removed"
    " ON CONFLICT (account, day) DO UPDATE"
    " SET smtp = received.smtp + excluded.smtp, tmtp = received.tmtp + excluded.tmtp"
).bindparams(removed=int(Status.REMOVED))

_Place = tuple[int, int]
"""A day, and from where."""

_Counts = dict[_Place, dict[int, int]]
"""How many messages each account received."""


class Received:
    """The counts of one instance, used on the writer's thread.

    `counting`: whether there is a bridge; one without routes reaches nobody. An object of its own, beside the ledger:
    one that has more than some thirty attributes costs each of its uses more (CPython 3.11).
    """

    __slots__ = ("_before", "_counts", "_now", "counting")

    def __init__(self) -> None:
        self.counting = False
        self._counts: _Counts = {}  # committed, and not written
        self._now: list[tuple[_Place, Sequence[int]]] = []  # in this transaction
        self._before: _Counts | None = None  # what this transaction writes

    @property
    def waits(self) -> bool:
        """Whether something was counted that is not written. From any thread."""
        return bool(self._counts)

    def load(self, connection: Connection) -> None:
        """See whether there is a bridge."""
        self.counting = connection.scalar(select(t.route.c.account).limit(1)) is not None

    def count(self, accounts: Sequence[int], now_ms: int, *, outside: bool) -> None:
        """See `tmtp_core.domain.port.Receipts`."""
        self._now.append(((now_ms // _MS_PER_DAY, _OUTSIDE if outside else _MEMBERS), accounts))

    def write(self, connection: Connection) -> None:
        """Add what was counted to the rows, always in their order: no two processes wait for one another."""
        self._before, self._counts = self._counts, {}
        rows: dict[tuple[int, int], list[int]] = {}
        for counts in (self._before, _added({}, self._now)):
            for (day, where), known in counts.items():
                for account, count in known.items():
                    rows.setdefault((account, day), [0, 0])[where] += count
        self._now = []
        if rows:
            named = [
                {"account": account, "day": day, "smtp": smtp, "tmtp": tmtp}
                for (account, day), (smtp, tmtp) in sorted(rows.items())
            ]
            connection.execute(_ADD, named)

    def forget(self, connection: Connection, now_ms: int) -> None:
        """Forget what is older than it is kept."""
        before = now_ms // _MS_PER_DAY - limits.RECEIVED_KEPT_DAYS
        connection.execute(delete(t.received).where(t.received.c.day <= before))

    def committed(self) -> None:
        """The transaction is durable."""
        self._before = None
        if self._now:
            _added(self._counts, self._now)
            self._now = []

    def void(self) -> None:
        """The transaction is void: what it wrote waits again, what it stored was not received."""
        if self._before is not None:
            self._counts, self._before = self._before, None
        self._now = []


def _added(counts: _Counts, received: Sequence[tuple[_Place, Sequence[int]]]) -> _Counts:
    for place, accounts in received:
        known = counts.get(place)
        if known is None:
            known = counts[place] = {}
        for account in accounts:
            known[account] = known.get(account, 0) + 1
    return counts
