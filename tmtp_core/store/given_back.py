# SPDX-License-Identifier: AGPL-3.0-or-later
"""The part of the port that is about what goes back to its sender: stale messages and orphaned queues (A4)."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, literal, select

from tmtp_core.domain.port import Account, Device, Orphaned, Stale
from tmtp_core.store import tables as t
from tmtp_core.store.sharing import Changed
from tmtp_core.store.statements import Statements


class GivenBackRows:
    """Mixed into `SqlLedger`, whose connection and queue it uses."""

    _connection: Connection
    _any_taken: bool
    _hot: Statements

    def acknowledge(self, entries: Sequence[tuple[int, int, int]]) -> None:
        """Remove queue entries (device, rank, message)."""
        raise NotImplementedError

    def _flush_queue(self) -> None:
        raise NotImplementedError

    def _note(self, what: Changed, key: int = 0) -> None:
        raise NotImplementedError

    def note_taken(self, account: Account, device: Device) -> None:
        """Before a device goes: what it has taken, and the others of its account have yet to take, is delivered."""
        others = [other.key for other in account.devices if other.key != device.key]
        q, own = t.queue.c, t.queue.alias("own")
        has_it_waiting = select(own.c.message).where(
            (own.c.device == device.key) & (own.c.rank == q.rank) & (own.c.message == q.message)
        )
        known = select(t.taken.c.message).where((t.taken.c.message == q.message) & (t.taken.c.account == account.key))
        delivered = (
            select(q.message, literal(account.key))
            .distinct()
            .where(q.device.in_(others) & ~has_it_waiting.exists() & ~known.exists())
        )
        if self._connection.execute(insert(t.taken).from_select(["message", "account"], delivered)).rowcount:
            self._any_taken = True
            self._note(Changed.EVERYTHING)

    def stale(self, after: int, before: int, count: int) -> list[Stale]:
        """See the port."""
        self._flush_queue()
        n = t.message.c
        rows = self._connection.execute(
            select(n.number, n.known_as, n.sender, n.head)
            .where((n.number > after) & (n.number < before))
            .order_by(n.number)
            .limit(count)
        ).all()
        if not rows:
            return []
        entries: dict[int, list[tuple[int, int, int]]] = {row.number: [] for row in rows}
        for number, account, device, rank in self._hot.entries_between(self._connection, after, rows[-1].number):
            if number in entries:
                entries[number].append((account, device, rank))
        taken = self._taken([row.number for row in rows])
        return [_stale(row, entries[row.number], taken) for row in rows]

    def orphaned(self) -> Orphaned | None:
        """See the port."""
        row = self._connection.execute(select(t.orphaned).order_by(t.orphaned.c.device).limit(1)).one_or_none()
        return None if row is None else Orphaned(row.device, row.account, row.reason)

    def orphans(self, queue: Orphaned, count: int) -> list[Stale]:
        """See the port."""
        self._flush_queue()
        n, q = t.message.c, t.queue.c
        rows = self._connection.execute(
            select(n.number, n.known_as, n.sender, n.head, q.rank)
            .join(t.queue, q.message == n.number)
            .where(q.device == queue.device)
            .order_by(q.rank, q.message)
            .limit(count)
        ).all()
        if not rows:
            self._connection.execute(delete(t.orphaned).where(t.orphaned.c.device == queue.device))
        taken = self._taken([row.number for row in rows])
        return [_stale(row, [(queue.account, queue.device, row.rank)], taken) for row in rows]

    def give_up(self, stale: Stale) -> None:
        """See the port."""
        self.acknowledge([(device, rank, stale.number) for device, rank in stale.entries])

    def _taken(self, numbers: Iterable[int]) -> set[tuple[int, int]]:
        if not self._any_taken:
            return set()
        c = t.taken.c
        rows = self._connection.execute(select(c.message, c.account).where(c.message.in_(list(numbers))))
        return {(row[0], row[1]) for row in rows}


def _stale(row: Any, entries: list[tuple[int, int, int]], taken: set[tuple[int, int]]) -> Stale:
    """One message that is given up, from its row, its entries (account, device, rank) and what is known as taken."""
    waiting: dict[int, tuple[int, ...]] = {}
    for account, device, _ in entries:
        waiting[account] = (*waiting.get(account, ()), device)
    return Stale(
        number=row.number,
        known_as=row.known_as if row.known_as is not None else row.number,
        sender=row.sender,
        head=row.head,
        waiting=waiting,
        entries=tuple((device, rank) for _, device, rank in entries),
        taken=frozenset(account for account in waiting if (row.number, account) in taken),
    )
