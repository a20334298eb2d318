# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log of decisions: what became of each mail and why, and who changed what, in order (C2, C5).

It can only be added to. Each entry's hash covers the entry and the hash before it, so that nobody changes, takes out or
puts in one unseen; of what is older than `decisions_kept_days` the beginning is cut off, which is an entry itself.
Whoever can write the file can write all hashes anew, or leave out the newest entries, and nothing in the file shows
that: who wants to notice it keeps a hash elsewhere. The service's own log has each one (docs/decisions/0022).
"""

import hashlib
import hmac
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, LargeBinary, Row, String, cast, delete, func, insert, select, text

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.evidence import ActDone, Entry
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.tables import decision, decision_begin
from tmtp_core.clock import Clock
from tmtp_core.prepared import Prepared

log = structlog.get_logger()

_HASH_BYTES: Final = 32
_DAY_MS: Final = 86_400_000
_CUT: Final = "decisions.cut"

_encoded: Final = msgspec.json.Encoder().encode
_LAST: Final = Prepared(select(decision.c.number, decision.c.hash).order_by(decision.c.number.desc()).limit(1))
_ADD: Final = Prepared(insert(decision), "number", "at_ms", "kind", "body", "hash")
# As it is stored: whoever has changed it may have put something else than octets there.
_STORED: Final = text(
    "SELECT number, at_ms, kind, body, hash FROM decision WHERE number > :after ORDER BY number LIMIT :count"
)
_BEGIN: Final = text("SELECT number, hash FROM decision_begin ORDER BY number DESC LIMIT 1")


class _Place(NamedTuple):
    """An entry's number and hash."""

    number: int
    hash: bytes


_BEFORE_THE_FIRST: Final = _Place(0, bytes(_HASH_BYTES))


class Span(NamedTuple):
    """The entries of the time that is counted: after this number, up to that one; when the log's first one was made."""

    after: int
    head: int
    first_ms: int


class Decisions:
    """In the intake's file. All coroutines raise `OSError`."""

    def __init__(self, database: BridgeDatabase, clock: Clock, kept_days: int) -> None:
        self._database = database
        self._clock = clock
        self._kept_days = kept_days

    def append(self, connection: Connection, entry: Entry, at_ms: int) -> int:
        """Add an entry within a change of others: it is there exactly when they are. Its number.

        The last one is read each time: only the file knows which of the entries before it were undone.
        """
        kind: Literal["mail", "act"] = "act" if isinstance(entry, ActDone) else "mail"
        body = _encoded(entry)
        before = _last(connection)
        number = before.number + 1
        digest = _hash(before.hash, number, at_ms, kind, body)
        _ADD(connection, {"number": number, "at_ms": at_ms, "kind": kind, "body": body, "hash": digest})
        self._database.afterwards(partial(log.info, "decided", number=number, kind=kind, hash=digest.hex()))
        return number

    async def page(self, before: int | None, limit: int, search: str = "") -> m.DecisionPage:
        """Entries, newest first, those with numbers below `before` in which `search` stands, ASCII letters in any case.

        Of a search so many are looked at (`limits.DECISIONS_SEARCHED_MAX`): a page may have fewer, and more may follow.
        """
        found: list[Row[Any]] = []
        looked_at = 0
        while True:
            some = await self._database.read(partial(_some, before=before, search=search))
            looked_at += limits.DECISIONS_AT_ONCE
            found += some.found[: limit - len(found)]
            before = found[-1].number if len(found) == limit else some.last
            if some.last is None or len(found) == limit or looked_at >= limits.DECISIONS_SEARCHED_MAX:
                break
        more = before is not None and (await self._first()) < before
        return m.DecisionPage(entries=[_shown(row) for row in found], next=before if more else None)

    async def verify(self) -> m.DecisionVerdict:
        """Whether each entry is as it was written, none is missing between the first and the last, and the first is the
        one up to which the log says that it was cut off; a part at a time, beside what is written meanwhile.
        """
        begin = await self._database.read(_begin)
        first, at, cut = begin.number + 1, begin, _BEFORE_THE_FIRST
        entries = 0
        while True:
            part = await self._database.read(partial(_part, after=at.number))
            if part.begin.number > at.number:  # it was cut off meanwhile, beyond what was looked at
                first, at, entries = part.begin.number + 1, part.begin, 0
                continue
            for row in part.rows:
                if not _is_next(at, row):
                    return _verdict(entries, first, at, broken=at.number + 1)
                at = _Place(row.number, row.hash)
                cut = _cut_up_to(row) or cut
                entries += 1
            if not part.rows:
                known = part.begin == cut
                entries -= part.begin.number + 1 - first  # that were cut off behind us
                first = part.begin.number + 1
                return _verdict(entries, first, at, broken=None if known else first)

    async def cut_off(self) -> int:
        """Take out what is older than it is kept, from the beginning and without a gap, some at a time; how many."""
        before_ms = self._now_ms() - self._kept_days * _DAY_MS
        total = 0
        while True:
            count = await self._database.write(partial(self._cut_some, before_ms))
            total += count
            if count < limits.DECISIONS_AT_ONCE:
                return total

    def _cut_some(self, before_ms: int, connection: Connection) -> int:
        d = decision.c
        wanted = select(d.number, d.at_ms, d.hash).order_by(d.number).limit(limits.DECISIONS_AT_ONCE)
        last: _Place | None = None
        count = 0
        for row in connection.execute(wanted):
            if row.at_ms >= before_ms:
                break
            last, count = _Place(row.number, row.hash), count + 1
        if last is None:
            return 0
        # First, so that there is always an entry, from whose number the next one follows.
        act = ActDone("rule: decisions_kept_days", _CUT, str(last.number), last.hash.hex())
        self.append(connection, act, self._now_ms())
        connection.execute(delete(decision).where(d.number <= last.number))
        connection.execute(delete(decision_begin))
        connection.execute(insert(decision_begin).values(number=last.number, hash=last.hash))
        return count

    async def _first(self) -> int:
        return (await self._database.read(_begin)).number + 1

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def span(connection: Connection, since_ms: int) -> Span:
    """Which entries were made since then."""
    d = decision.c
    head = connection.scalar(select(func.max(d.number))) or 0
    first_ms = connection.scalar(select(func.min(d.at_ms)))
    begin = connection.scalar(select(func.min(d.number)).where(d.at_ms >= since_ms))
    if first_ms is None or begin is None:
        return Span(head, head, since_ms)
    return Span(begin - 1, head, first_ms)


def read_some(connection: Connection, after: int, head: int) -> Sequence[Row[Any, Any, Any, Any]]:
    """The next entries up to `head`: number, at_ms, kind, body. Where there are none, these were all."""
    d = decision.c
    wanted = (
        select(d.number, d.at_ms, d.kind, d.body)
        .where(d.number > after, d.number <= head)
        .order_by(d.number)
        .limit(limits.DECISIONS_AT_ONCE)
    )
    return connection.execute(wanted).all()


class _Some(NamedTuple):
    """What was found among some entries, and the last that was looked at; None: there are no more."""

    found: Sequence[Row[Any]]
    last: int | None


class _Part(NamedTuple):
    """The next entries, and where the log begins, at one moment."""

    rows: Sequence[Row[Any]]
    begin: _Place


def _last(connection: Connection) -> _Place:
    row = _LAST(connection, {}).fetchone()
    return _Place(*row) if row is not None else _begin(connection)


def _begin(connection: Connection) -> _Place:
    """The last entry that was cut off."""
    row = connection.execute(_BEGIN).first()
    if row is None:
        return _BEFORE_THE_FIRST
    return _Place(row.number, row.hash if isinstance(row.hash, bytes) else b"")


def _some(connection: Connection, before: int | None, search: str) -> _Some:
    d = decision.c
    below = select(d.number).order_by(d.number.desc()).limit(limits.DECISIONS_AT_ONCE)
    if before is not None:
        below = below.where(d.number < before)
    numbers = list(connection.scalars(below))
    if not numbers:
        return _Some((), None)
    body, digest = (cast(column, LargeBinary).label(column.name) for column in (d.body, d.hash))
    wanted = (
        select(d.number, d.at_ms, d.kind, body, digest)
        .where(d.number.between(numbers[-1], numbers[0]))
        .order_by(d.number.desc())
    )
    if search:
        written = _encoded(search)[1:-1].decode()  # as JSON has it
        wanted = wanted.where(func.instr(func.lower(cast(d.body, String)), _ascii_lower(written)) > 0)
    return _Some(connection.execute(wanted).all(), numbers[-1])


def _part(connection: Connection, after: int) -> _Part:
    rows = connection.execute(_STORED, {"after": after, "count": limits.DECISIONS_AT_ONCE}).all()
    return _Part(rows, _begin(connection))


def _is_next(before: _Place, row: Row[Any]) -> bool:
    """Whether this is what was written after that, which the hash says of its number, too."""
    if not isinstance(row.body, bytes) or not isinstance(row.hash, bytes):
        return False
    expected = _hash(before.hash, row.number, row.at_ms, row.kind, row.body)
    return row.number == before.number + 1 and hmac.compare_digest(row.hash, expected)


def _hash(before: bytes, number: int, at_ms: int, kind: str, body: bytes) -> bytes:
    """Of the hash before and the entry, as a JSON array without blanks."""
    hashed = hashlib.blake2b(before, digest_size=_HASH_BYTES, person=b"tmtp-smtp")
    hashed.update(_encoded((number, at_ms, kind, msgspec.Raw(body))))
    return hashed.digest()


def _cut_up_to(row: Row[Any]) -> _Place | None:
    """Of an entry that says that the log was cut off: up to where."""
    try:
        act = msgspec.json.decode(row.body, type=ActDone)
        return _Place(int(act.target), bytes.fromhex(act.detail)) if act.act == _CUT else None
    except (msgspec.MsgspecError, ValueError):  # a mail, or written by somebody else, who has made the hashes, too
        return None


def _verdict(entries: int, first: int, head: _Place, *, broken: int | None) -> m.DecisionVerdict:
    return m.DecisionVerdict(
        entries=entries, first=first, intact=broken is None, first_broken=broken, head=head.hash.hex()
    )


def _shown(row: Row[Any]) -> m.DecisionEntry:
    try:
        msgspec.json.decode(row.body)
        body = row.body
    except msgspec.DecodeError:  # it is not what was written, and shown all the same
        body = _encoded(row.body.decode(errors="replace"))
    return m.DecisionEntry(
        number=row.number, at_ms=row.at_ms, kind=row.kind, body=msgspec.Raw(body), hash=row.hash.hex()
    )


def _ascii_lower(text: str) -> str:
    """As SQLite's `lower`."""
    return text.encode().lower().decode()
