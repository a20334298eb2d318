# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: who changed what, in order, so that nobody takes an entry out or rewrites one unseen (C1).

Each entry's hash covers the entry and the hash before it. An act is written down before its effect and its outcome
before it is told; one that the service did not survive gets the outcome `failed` at the next start. Whoever can write
the database can write all hashes anew, or leave out the newest entries: who wants to notice that, too, keeps the last
hash elsewhere. The service's own log has each one (docs/decisions/0015).
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Connection, Row, delete, insert, select

from gateway.administration import models as m
from gateway.administration.database import AdministrationDatabase
from gateway.administration.tables import audit, begun
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.errors import ServiceUnavailable

log = structlog.get_logger()

_MINUTE_S: Final = 60.0
_HASH_BYTES: Final = 32
_BEFORE_THE_FIRST: Final = bytes(_HASH_BYTES)
_INTERRUPTED: Final = "the service ended before this was answered: look whether it was done"


class Act(msgspec.Struct, frozen=True):
    """What somebody wants to change. `target`: whom or what, in the instance."""

    actor: str
    operation: str
    instance: str
    target: str


class _Ended(msgspec.Struct, frozen=True):
    """How an act ended that was begun under `key`, or was not."""

    key: int | None
    at_ms: int
    act: Act
    outcome: m.Outcome
    detail: str


@dataclass(slots=True)
class _Denials:
    """How often an actor was denied something, in the minute that began then."""

    since_s: float
    count: int = 0


class AuditLog:
    """In the administrators' database, which it shares with others."""

    def __init__(self, database: AdministrationDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._owed: dict[int | None, _Ended] = {}  # that could not be written; by key, as long as nothing more is begun
        self._denials: dict[str, _Denials] = {}  # by actor

    async def begin(self, act: Act) -> int:
        """An act is about to be done; its key, for `end`."""
        values = {"at_ms": self._now_ms(), **msgspec.to_builtins(_bounded(act))}
        await self.settle()

        def add(connection: Connection) -> int:
            key = connection.execute(insert(begun).values(values)).inserted_primary_key
            assert key is not None
            return int(key[0])

        return await self._database.run(add)

    async def end(self, key: int | None, act: Act, outcome: m.Outcome, detail: str) -> None:
        """How an act ended: durable when this returns. `key` None: it was not begun.

        Where it cannot be written now, it is kept until it can: nothing further is begun before.
        """
        ended = _Ended(key, self._now_ms(), act, outcome, detail)
        if key is None:
            _tell(await self._database.run(lambda connection: _append(connection, ended)))
            return
        self._owed[key] = ended
        await self.settle()

    async def deny(self, act: Act, detail: str) -> None:
        """Somebody asked for what he may not do, which has no effect.

        `limits.AUDIT_DENIALS_PER_MINUTE` of each actor are entries of their own, durable when this returns; how many
        more there were is one entry when the minute is over. The log only grows, and asking costs nothing.
        """
        now_s = self._clock.monotonic_s()
        if act.actor in self._denials and now_s - self._denials[act.actor].since_s >= _MINUTE_S:
            await self.fold()
        denials = self._denials.setdefault(act.actor, _Denials(now_s))
        denials.count += 1
        if denials.count <= limits.AUDIT_DENIALS_PER_MINUTE:
            await self.end(None, act, "denied", detail)

    async def fold(self, *, all_of_them: bool = False) -> None:
        """Write down how many more were denied in the minutes that are over. Raises `ServiceUnavailable`."""
        now_s = self._clock.monotonic_s()
        for actor, denials in list(self._denials.items()):
            if not all_of_them and now_s - denials.since_s < _MINUTE_S:
                continue
            if self._denials.pop(actor, None) is None:  # another one writes it
                continue
            more = denials.count - limits.AUDIT_DENIALS_PER_MINUTE
            if more > 0:
                try:
                    await self.end(None, Act(actor, "several", "", ""), "denied", f"{more} more within a minute")
                except ServiceUnavailable:
                    self._denials.setdefault(actor, denials)
                    raise

    async def settle(self) -> None:
        """Write down how those acts ended of which that was not possible when they did. Raises `ServiceUnavailable`."""
        owed = list(self._owed.values())
        if not owed:
            return

        def add(connection: Connection) -> list[m.AuditEntry]:
            return [
                _append(connection, one)
                for one in owed
                if connection.execute(delete(begun).where(begun.c.key == one.key)).rowcount  # else it is written
            ]

        for entry in await self._database.run(add):
            _tell(entry)
        for one in owed:
            self._owed.pop(one.key, None)

    async def end_interrupted(self) -> None:
        """At start: what was begun and has no outcome, under the time at which it was begun."""

        def add(connection: Connection) -> list[m.AuditEntry]:
            entries = []
            for row in connection.execute(select(begun).order_by(begun.c.key)).all():
                act = Act(row.actor, row.operation, row.instance, row.target)
                entries.append(_append(connection, _Ended(row.key, row.at_ms, act, "failed", _INTERRUPTED)))
            connection.execute(delete(begun))
            return entries

        for entry in await self._database.run(add):
            _tell(entry)

    async def page(self, before: int | None, limit: int) -> m.AuditPage:
        """Entries, newest first, those with numbers below `before`."""
        wanted = select(audit).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.number < before)
        rows = await self._database.run(lambda connection: connection.execute(wanted).all())
        more = len(rows) == limit and rows[-1].number > 1
        return m.AuditPage(entries=[_entry(row) for row in rows], next=rows[-1].number if more else None)

    async def verify(self) -> m.AuditVerdict:
        """Whether each entry is as it was written and none is missing before the last; a part at a time."""
        number, head = 0, _BEFORE_THE_FIRST
        while True:
            wanted = select(audit).where(audit.c.number > number).order_by(audit.c.number)
            some = wanted.limit(limits.AUDIT_VERIFIED_AT_ONCE)
            rows = await self._database.run(lambda connection, some=some: connection.execute(some).all())  # type: ignore[misc]
            for row in rows:
                if not hmac.compare_digest(row.hash, _hash(head, _entry(row))):  # which covers its number, too
                    return m.AuditVerdict(entries=number, intact=False, first_broken=number + 1, head=head.hex())
                number, head = row.number, row.hash
            if not rows:
                return m.AuditVerdict(entries=number, intact=True, first_broken=None, head=head.hex())

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def _append(connection: Connection, ended: "_Ended") -> m.AuditEntry:
    last = connection.execute(
        select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    ).one_or_none()
    number, head = (last.number + 1, last.hash) if last is not None else (1, _BEFORE_THE_FIRST)
    bounded = _bounded(ended.act)
    entry = m.AuditEntry(
        number=number,
        at_ms=ended.at_ms,
        actor=bounded.actor,
        operation=bounded.operation,
        instance=bounded.instance,
        target=bounded.target,
        outcome=ended.outcome,
        detail=_short(ended.detail),
        hash="",
    )
    digest = _hash(head, entry)
    connection.execute(insert(audit).values({**msgspec.to_builtins(entry), "hash": digest}))
    return msgspec.structs.replace(entry, hash=digest.hex())


def _hash(before: bytes, entry: m.AuditEntry) -> bytes:
    """Of the hash before and the entry, as a JSON array without blanks."""
    fields = [
        entry.number,
        entry.at_ms,
        entry.actor,
        entry.operation,
        entry.instance,
        entry.target,
        entry.outcome,
        entry.detail,
    ]
    hashed = hashlib.blake2b(before, digest_size=_HASH_BYTES, person=b"tmtp-audit")
    hashed.update(msgspec.json.encode(fields))
    return hashed.digest()


def _entry(row: Row[Any]) -> m.AuditEntry:
    values = {**row._mapping, "hash": row.hash.hex()}
    return m.AuditEntry(**values)


def _tell(entry: m.AuditEntry) -> None:
    log.info("audited", number=entry.number, operation=entry.operation, outcome=entry.outcome, hash=entry.hash)


def _bounded(act: Act) -> Act:
    return Act(*(_short(text) for text in msgspec.structs.astuple(act)))


def _short(text: str) -> str:
    """A text that the log can hold; arguments that were refused may be long, or no text at all."""
    whole = text.encode("utf-8", "replace").decode()
    most = limits.AUDIT_TEXT_MAX_CHARACTERS
    return whole if len(whole) <= most else whole[: most - 1] + "…"
