# SPDX-License-Identifier: AGPL-3.0-or-later
"""Following account logs: fetched, pushed, held against what is known (B4, B9; docs/protocol.md, *The account log*).

Of each log there is one copy, and it only grows. Whatever the service shows beside it is noticed and told: as what it
may be, a service that has lost records, or as what it must be, one that shows two logs of one account.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import Final

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tmtp_client import limits
from tmtp_client.api.models import KeysEvent
from tmtp_client.connection import Refused
from tmtp_client.store import changes
from tmtp_client.store import tables as t
from tmtp_client.trust import logs as kept
from tmtp_client.trust import words
from tmtp_client.trust.logs import KeptLog, Logs, Shown, Standing, Taken
from tmtp_client.trust.ports import Asker, Kept, NowMs, Own
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.log_records import LogInvalid, Record, decode_record, decode_records
from tmtp_core.wire import revision2 as m2

OWN: Final = "this account's"


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look at a log came to. `log` None: the service shows none, and none is known."""

    shown: Shown
    log: KeptLog | None
    prekeys: tuple[m2.Prekey, ...] = ()


class Following:
    """The logs of one account and its contacts."""

    def __init__(self, own: Own, logs: Logs, clock: NowMs) -> None:
        self._own = own
        self._logs = logs
        self._clock = clock
        self._numbers = count(1)

    # -- what the service shows --------------------------------------------------------------------------------------
    async def look(self, asker: Asker, database: Kept, uid: str) -> Looked:
        """Fetch what is new of a log, and keep it. Raises `Refused` where the service shows none to this account, and
        none is known; `Disconnected`, TimeoutError.
        """
        page: m2.LogPage
        met = await database.read(lambda c: not self._logs.length(c, uid) and not kept.standing(c, uid).seen_head)
        for _ in range(limits.LOG_PAGES_MAX):
            since = await database.read(lambda c: self._logs.length(c, uid))
            answer, data = await asker.inquire(m2.LogFetch(self._request_id(), uid, since))
            assert isinstance(answer, m2.LogPage)
            page = answer
            records = _decoded(data)
            taken = await database.write(partial(self._take, uid=uid, since=since, records=records, page=page, met=met))
            if not page.more or records is None or taken.shown in {Shown.OTHER, Shown.LOST}:
                return Looked(taken.shown, taken.log, page.prekeys)
        return Looked(taken.shown, taken.log, page.prekeys)

    async def settle(self, asker: Asker, database: Kept, head: str = "") -> Shown:
        """One's own log: the shorter of the two copies is brought up to the longer one. Nothing is asked where the
        service's has this `head` and that is the copy's.

        Raises `Refused`, `Disconnected`, TimeoutError.
        """
        uid = self._own.uid
        log = await database.read(lambda c: self._logs.kept(c, uid))
        if log is not None and head == log.head:
            await database.write(lambda c: self._note(c, Taken(Shown.SAME, log)))
            return Shown.SAME
        shown = Shown.SAME
        for _ in range(limits.LOG_TRIES_MAX):
            looked = await self.look(asker, database, uid)
            shown = looked.shown
            if shown is not Shown.LOST or await self._hand_over(asker, database):
                break
        return shown

    def heard(self, c: Rows, event: m2.LogEvent, data: bytes) -> bool:
        """A record that the service pushed; False where it has to be looked at, since others are missing before it."""
        records = _decoded_one(data)
        known = self._logs.length(c, event.uid)
        if event.place > known or (known == 0 and event.place > 0):
            return False
        if records is None:
            self._note(c, Taken(Shown.OTHER, self._logs.kept(c, event.uid), why=_NONE), event.uid, event.head)
            return True
        taken = self._logs.take(c, event.uid, event.place, records)
        if taken.log is not None and taken.shown is not Shown.OTHER:
            place = taken.log.place_of(event.head)
            if place != event.place:  # the record is right, and the head that it is said to lead to is not
                taken = Taken(Shown.OTHER, taken.log, taken.added, taken.first, why=_HEAD)
        self._note(c, taken, event.uid, event.head)
        return True

    # -- what is kept of it ------------------------------------------------------------------------------------------
    def _take(
        self, c: Rows, *, uid: str, since: int, records: list[Record] | None, page: m2.LogPage, met: bool
    ) -> Taken:
        """One page; of who is just `met`, nothing of it is a change. What is no page at all is another log."""
        if records is None:
            taken = Taken(Shown.OTHER, self._logs.kept(c, uid), why=_NONE)
        elif not records and page.more:
            taken = Taken(Shown.OTHER, self._logs.kept(c, uid), why="there should be more of it, and there is not")
        else:
            taken = self._logs.take(c, uid, since, records, None if page.more else page.head)
        if met and taken.log is not None:
            taken = replace(taken, first=True)
            kept.keep(c, kept.standing(c, uid), seen_head="")
        return self._note(c, taken, uid, page.head)

    def _note(self, c: Rows, taken: Taken, uid: str = "", head: str = "") -> Taken:
        """How the account's keys stand with the person, after this look; watchers hear what is new about it."""
        uid = uid or self._own.uid
        before = kept.standing(c, uid)
        after = kept.keep(c, before, **self._follow(c, uid, before, taken, head))
        news = taken.added and not taken.first
        if news or (after.trouble and after.trouble != before.trouble) or after.behind > before.behind:
            self.tell(c, uid)
        elif taken.first and taken.added and uid != self._own.uid:
            changes.touch(c, "person", uid)  # who had no keys as far as was known has some
        return taken

    def _follow(self, c: Rows, uid: str, before: Standing, taken: Taken, head: str) -> dict[str, object]:
        found: dict[str, object] = {"asked_ms": self._clock()}
        if taken.first and taken.log is not None and not before.seen_head:
            found["seen_head"] = taken.log.head  # who is met for the first time has changed nothing
        if taken.shown is Shown.OTHER:
            found["trouble"] = words.other_log(self._whose(c, uid), taken.why)
            found["other_head"] = head
            found["trouble_seen"] = before.trouble_seen and before.other_head == head
        elif taken.shown is Shown.LOST and taken.log is not None:
            place = taken.log.place_of(head)
            found["behind"] = len(taken.log.heads) - 1 - (place if place is not None else -1)
        else:
            found["behind"] = 0
            if before.trouble_seen:
                found |= {"trouble": "", "other_head": "", "trouble_seen": False}
        return found

    async def _hand_over(self, asker: Asker, database: Kept) -> bool:
        """The records that the service has lost, as it has made them. False when another device was faster."""
        records = await database.read(self._lost)
        for record in records:
            again = m2.LogAppend(self._request_id(), record.entry, record.sigs, time=record.time, stamp=record.stamp)
            try:
                await asker.ask(again)
            except Refused as refused:
                if MOVED_ON in str(refused):
                    return False
                raise
        await database.write(lambda c: kept.keep(c, kept.standing(c, self._own.uid), behind=0))
        return True

    def _lost(self, c: Rows) -> list[Record]:
        behind = kept.standing(c, self._own.uid).behind
        return self._logs.records(c, self._own.uid, self._logs.length(c, self._own.uid) - behind)

    # -- telling -----------------------------------------------------------------------------------------------------
    def tell(self, c: Rows, uid: str) -> None:
        """Watchers hear how an account's keys stand."""
        one = kept.standing(c, uid)
        alias = c.scalar(select(t.person.c.alias).where(t.person.c.uid == uid)) or ""
        changes.emit(c, "keys", KeysEvent(uid, alias, self.unseen(c, uid), self.trouble(c, one), self.shown(c, uid)))

    def shown(self, c: Rows, uid: str) -> str:
        """Names what is shown of an account's keys just now, log and trouble: the person has seen this, and no more."""
        log = self._logs.kept(c, uid)
        one = kept.standing(c, uid)
        return (log.head if log is not None else "") + (TROUBLE + trouble_name(one) if one.trouble else "")

    def unseen(self, c: Rows, uid: str) -> tuple[str, ...]:
        """What changed and was not seen, in plain words."""
        log = self._logs.kept(c, uid)
        if log is None:
            return ()
        place = log.place_of(kept.standing(c, uid).seen_head)
        since = place + 1 if place is not None else 0
        if since >= len(log.heads):
            return ()
        return tuple(line.text for line in words.lines(self._logs.records(c, uid, since), self.names(c, uid), since))

    def trouble(self, c: Rows, one: Standing) -> str:
        """What is wrong with what the service shows, in plain words; empty: nothing."""
        if one.trouble:
            return one.trouble
        return words.knows_less(self._whose(c, one.uid), one.behind) if one.behind else ""

    def names(self, c: Rows, uid: str) -> Mapping[str, str]:
        """What the person calls the devices of an account: of his own, what he chose."""
        return device_names(c) if uid == self._own.uid else {}

    def _whose(self, c: Rows, uid: str) -> str:
        if uid == self._own.uid:
            return OWN
        alias = c.scalar(select(t.person.c.alias).where(t.person.c.uid == uid))
        return f"{alias}'s" if alias else f"{uid}'s"

    def _request_id(self) -> str:
        """Of a request on this connection."""
        return f"log {next(self._numbers)}"


MOVED_ON: Final = "moved on"
TROUBLE: Final = "!"


def trouble_name(one: Standing) -> str:
    """Which trouble it is: another log than that is another trouble."""
    return to_text(blake2b(f"{one.other_head} {one.trouble}".encode(), digest_size=16).digest())


_NONE: Final = "what it sent is no record"
_HEAD: Final = "it ends with a head that none of its records has"
NAME: Final = "device "
"""A setting that begins so names a device: its key follows."""


def device_names(c: Rows) -> Mapping[str, str]:
    """What the person calls his devices: settings, which all of them have."""
    rows = c.execute(
        select(t.register.c.key, t.register.c.value).where(
            t.register.c.kind == "setting", t.register.c.key.startswith(NAME)
        )
    )
    return {row.key.removeprefix(NAME): name for row in rows if (name := _text(row.value))}


def _text(value: str) -> str:
    """A register's value, where it is a text."""
    text = msgspec.json.decode(value)
    return text if isinstance(text, str) else ""


def _decoded(data: bytes) -> list[Record] | None:
    try:
        return decode_records(data)
    except LogInvalid:
        return None


def _decoded_one(data: bytes) -> Sequence[Record] | None:
    try:
        return [decode_record(data)]
    except LogInvalid:
        return None
