# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the processes that serve one instance together keep in its database: who lives, who has which device's link,
and what of their caches is no longer true (docs/scaling.md).

A process has a slot, by a lease that it renews. Whoever changes what others keep in memory says so in a row of
`change`, in the same transaction, which no other transaction runs beside; every transaction begins by reading the
rows that are new to its process.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Integer, bindparam, delete, insert, select, text

from tmtp_core import limits
from tmtp_core.errors import ServiceUnavailable
from tmtp_core.store import tables as t

CHANNEL: Final = "tmtp"
"""Where all processes of an instance listen; each listens to `CHANNEL_<slot>` too."""

SLOTS_MAX: Final = 1_024
"""Processes of one instance. Message numbers are drawn in steps of so many, so that no two processes draw the same."""

LOCK_KEY: Final = int.from_bytes(b"tmtp")
"""Of the advisory locks: one that transactions take, and one a slot, that its process's bus holds while it lives."""

_NOW_MS = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
_LEASE_MS: Final = int(limits.LEASE_S * 1000)

# A process that hangs keeps its lock and lets its lease run out; one that was killed loses its lock at once. The lock
# is the bus's, which may be connecting anew just now: then it renews the lease with its first words.
# After a restart of the database all have lost their locks, and nobody could renew: nobody is dead for a while.
_DEAD = (
    f"(pg_postmaster_start_time() < clock_timestamp() - interval '{limits.LEASE_S} seconds'"
    f" AND (process.seen_ms < {_NOW_MS} - {_LEASE_MS} OR process.seen_ms < {_NOW_MS} - {int(limits.UNHEARD_S * 1000)}"
    " AND NOT EXISTS (SELECT 1 FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND l.classid = {LOCK_KEY} AND l.objid = process.slot AND l.objsubid = 2)))"
)

_REFRESH = text(
    "SELECT p.token, c.seq, c.slot, c.kind, c.key, c.text FROM (SELECT 1) AS one"
    " LEFT JOIN process AS p ON p.slot = :slot AND p.token = :token"
    " LEFT JOIN (SELECT * FROM change WHERE seq > :seen ORDER BY seq LIMIT :most) AS c ON true ORDER BY c.seq"
).bindparams(bindparam("seen", type_=BigInteger()), most=limits.CHANGES_READ_MAX + 1)

_NOTICE = text("SELECT pg_notify(:channel, :notice)")
_CHANGED: Final = '{"type":"changed"}'

# A device is taken over from a process whose lease has run out; that process is thereby evicted, and commits no more.
_HOLDER = text(
    f"SELECT link.slot, coalesce({_DEAD}, true) FROM link LEFT JOIN process USING (slot) WHERE device = :device"
).bindparams(bindparam("device", type_=BigInteger()))

# Its notice comes back to this process after those of all commits before it: from then on nothing is under way any more
# that the device has posted elsewhere.
_CLAIM = text(
    "WITH claimed AS (INSERT INTO link (device, slot) VALUES (:device, :slot)"
    " ON CONFLICT (device) DO UPDATE SET slot = excluded.slot)"
    """ SELECT pg_notify(:channel || '_' || :slot, '{"type":"entered","device":' || :device || '}')"""
).bindparams(bindparam("device", type_=BigInteger()), bindparam("slot", type_=Integer()), bindparam("channel", CHANNEL))

JOIN = text(
    f"INSERT INTO process (slot, token, seen_ms) SELECT free, :token, {_NOW_MS}"
    " FROM generate_series(0, :last) AS free WHERE free NOT IN (SELECT slot FROM process) ORDER BY free LIMIT 1"
    " RETURNING slot"
).bindparams(last=SLOTS_MAX - 1)

LIVE: Final = "SELECT pg_try_advisory_lock($1, $2)"
RENEW: Final = f"UPDATE process SET seen_ms = {_NOW_MS} WHERE slot = $1 AND token = $2 RETURNING slot"
ALIVE: Final = f"SELECT slot FROM process WHERE NOT {_DEAD}"
_THE_DEAD = text(f"SELECT slot FROM process WHERE {_DEAD}")


class Evicted(ServiceUnavailable):
    """Others have taken this process for dead: it commits nothing more under its slot."""


class NotAlone(Exception):
    """A decision wants to change what other processes keep in memory: it needs a transaction without others beside."""


class Changed(IntEnum):
    """What a row of `change` is about."""

    ACCOUNT = 0  # by key
    GROUP = 1  # by key
    EVERYTHING = 2
    CUT = 3  # the link of this device ends, with this text
    ADMITTED = 4  # an account lets another one post to it: its key, and by whom it was introduced


@dataclass(slots=True)
class News:
    """What others have changed since this process last looked. `everything`: nothing that is kept can be relied on."""

    everything: bool = False
    accounts: set[int] = field(default_factory=set)
    admitted: list[tuple[int, str]] = field(default_factory=list)
    groups: set[int] = field(default_factory=set)
    cuts: dict[int, str] = field(default_factory=dict)


class Sharing:
    """One process's part. Used by the ledger, inside transactions, but for `slot` and `token`."""

    def __init__(self, slot: int, token: str) -> None:
        self.slot = slot
        self.token = token
        self._seen = 0
        self._anew = False  # nothing that is kept can be relied on
        self._in_doubt = False  # what this process wrote last may be durable, and it does not know
        self._rows: dict[tuple[int, int, str], None] = {}
        self._claims: Counter[int] = Counter()  # of a device's link: a new one may enter before the old one is let go
        self._claimed: Counter[int] = Counter()  # by this transaction

    # -- what is no longer true --------------------------------------------------------------------------------------
    def load(self, connection: Connection) -> None:
        """From now on: the caches are empty."""
        self._seen = connection.scalar(select(t.change.c.seq).order_by(t.change.c.seq.desc()).limit(1)) or 0

    def begin_anew(self) -> None:
        """The next transaction is over another connection: what was read over the last one may never have been."""
        self._anew = True

    def refresh(self, connection: Connection) -> News:
        """What others have changed. Raises `Evicted`."""
        self._rows.clear()
        rows = connection.execute(_REFRESH, {"slot": self.slot, "token": self.token, "seen": self._seen}).all()
        if rows[0].token is None:
            raise Evicted("this process was taken for dead; nothing was stored, try again")
        news = News(everything=self._anew)
        if rows[0].seq is not None:
            self._read(rows, news)
        if self._anew:  # the links that end were read; where rows begin again below what was seen, that is known now
            self._anew = False
            self.load(connection)
        return news

    def _read(self, rows: Sequence[Any], news: News) -> None:
        # A gap is left by a transaction that failed, or by rows that were removed before this process looked.
        news.everything |= rows[0].seq != self._seen + 1 or len(rows) > limits.CHANGES_READ_MAX
        for row in rows:
            if row.slot == self.slot and not self._in_doubt:
                continue
            if row.kind == Changed.CUT:
                news.cuts[row.key] = row.text
            elif row.kind == Changed.ACCOUNT:
                news.accounts.add(row.key)
            elif row.kind == Changed.ADMITTED:
                news.admitted.append((row.key, row.text))
            elif row.kind == Changed.GROUP:
                news.groups.add(row.key)
            else:
                news.everything = True
        self._seen = rows[-1].seq
        self._in_doubt = False

    def note(self, kind: Changed, key: int = 0, words: str = "") -> None:
        """This transaction changes what others may keep, or ends a link that they may have."""
        self._rows[int(kind), key, words] = None

    def flush(self, connection: Connection) -> None:
        """Tell the others, with the commit."""
        if self._rows:
            rows = [{"slot": self.slot, "kind": kind, "key": key, "text": words} for kind, key, words in self._rows]
            connection.execute(insert(t.change), rows)
            connection.execute(_NOTICE, {"channel": CHANNEL, "notice": _CHANGED})
            self._rows.clear()

    def forget_old(self, connection: Connection) -> None:
        """Rows that are so old that who has not read them reads everything anew."""
        newest = connection.scalar(select(t.change.c.seq).order_by(t.change.c.seq.desc()).limit(1)) or 0
        connection.execute(delete(t.change).where(t.change.c.seq <= newest - limits.CHANGES_KEPT_MAX))

    # -- links -------------------------------------------------------------------------------------------------------
    def claim(self, connection: Connection, device: int) -> int | None:
        """Take a device's link for this process; or the slot of the living process that has it."""
        held = connection.execute(_HOLDER, {"device": device}).first()
        if held is not None and held[0] != self.slot:
            if not held[1]:
                return int(held[0])
            self.bury(connection, [held[0]])
        connection.execute(_CLAIM, {"device": device, "slot": self.slot})
        self._claimed[device] += 1
        return None

    def release(self, connection: Connection, device: int) -> None:
        """One link less of the device here; with the last one it is free."""
        self._claimed[device] -= 1
        if self._claims[device] + self._claimed[device] <= 0:
            connection.execute(delete(t.link).where((t.link.c.device == device) & (t.link.c.slot == self.slot)))

    def disown(self, connection: Connection, device: int) -> None:
        """Another process has been told that this one has the device: unless it has, nobody is to be told so again."""
        if self._claims[device] + self._claimed[device] <= 0:
            self.release(connection, device)
            self._claimed[device] += 1

    def committed(self) -> None:
        """The transaction is durable."""
        self._claims.update(self._claimed)
        for device in self._claimed:
            if self._claims[device] <= 0:
                del self._claims[device]
        self._claimed.clear()

    def rolled_back(self) -> None:
        """The transaction is void, or nobody knows."""
        self._in_doubt = True
        self._claimed.clear()
        self._rows.clear()

    def linked_elsewhere(self, connection: Connection) -> frozenset[int]:
        """The devices whose links other processes have."""
        return frozenset(connection.scalars(select(t.link.c.device).where(t.link.c.slot != self.slot)))

    # -- processes ---------------------------------------------------------------------------------------------------
    def bury(self, connection: Connection, slots: Iterable[int]) -> None:
        """These processes are dead, or will learn that they are: their devices are free."""
        for slot in slots:
            connection.execute(delete(t.process).where(t.process.c.slot == slot))
            connection.execute(delete(t.link).where(t.link.c.slot == slot))

    def dead(self, connection: Connection) -> list[int]:
        """Slots of the processes that live no more."""
        return list(connection.scalars(_THE_DEAD))

    def leave(self, connection: Connection) -> None:
        """This process ends in good order."""
        self.bury(connection, [self.slot])


def join(connection: Connection, token: str) -> int:
    """A slot for a new process, whose token nobody knows; those of the dead are free. Raises `ServiceUnavailable`."""
    slots = list(connection.scalars(_THE_DEAD))
    if slots:
        connection.execute(delete(t.process).where(t.process.c.slot.in_(slots)))
        connection.execute(delete(t.link).where(t.link.c.slot.in_(slots)))
    slot = connection.scalar(JOIN, {"token": token})
    if slot is None:
        raise ServiceUnavailable(f"{SLOTS_MAX} processes serve this instance already")
    return int(slot)
