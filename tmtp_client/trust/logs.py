# SPDX-License-Identifier: AGPL-3.0-or-later
"""Account logs as this device has verified them: its own and those of its contacts (B4).

A record is kept once its signatures, the chain, the rules and the service's stamp hold. What was kept is never given up
for another log: whoever shows one is noticed. A service that shows an earlier state of a log has lost records, as one
does that was restored from a backup, or holds them back: what is known here goes on to count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import lru_cache
from threading import Lock
from typing import Final

from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.store import tables as t
from tmtp_core.crypto.account_log import LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import LogInvalid, Record, decode_record, encode_record, replay, verify
from tmtp_core.prepared import Prepared

_STATES_KEPT: Final = 1_024  # in memory: the logs of who is written to just now
_of = t.log_record.c
_LAST: Final = Prepared(
    select(_of.place, _of.head).where(_of.uid == bindparam("uid")).order_by(_of.place.desc()).limit(1)
)


class Shown(Enum):
    """What the service showed of a log, held against what is known of it."""

    SAME = "the same"
    GROWN = "grown"
    LOST = "it knows less"
    OTHER = "another log"


@dataclass(frozen=True, slots=True)
class KeptLog:
    """A verified log: its state after the last record, and its head after each. `state` is not to be changed."""

    uid: str
    state: LogState
    heads: tuple[str, ...]

    @property
    def head(self) -> str:
        """After its last record."""
        return self.heads[-1]

    def place_of(self, head: str) -> int | None:
        """The number of the record after which this was the head; None where it never was. -1: before the first."""
        if not head:
            return -1
        try:
            return self.heads.index(head)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of what the service showed. `first`: the log was not known before."""

    shown: Shown
    log: KeptLog | None
    added: int = 0
    first: bool = False
    why: str = ""  # of another log


@dataclass(frozen=True, slots=True)
class Standing:
    """One row of `trust`: how an account's keys stand with the person."""

    uid: str
    seen_head: str = ""
    compared_head: str = ""
    trouble: str = ""
    other_head: str = ""
    trouble_seen: bool = False
    behind: int = 0
    asked_ms: int = 0


class Logs:
    """Of one account at one service. All methods work on a database connection; states are cached by their head."""

    def __init__(self, service_key: str) -> None:
        self._service_key = service_key
        self._cached: dict[str, KeptLog] = {}
        self._guard = Lock()
        self._state_at = lru_cache(maxsize=_STATES_KEPT)(self._replayed)

    def kept(self, c: Rows, uid: str) -> KeptLog | None:
        """What is known of an account's log; None: nothing, or nothing that can be read any more."""
        row = t.log_record.c
        latest = _LAST(c, {"uid": uid}).fetchone()
        if latest is None:
            return None
        cached = self._cached.get(uid)
        if cached is not None and (len(cached.heads) - 1, cached.head) == tuple(latest):
            return cached
        heads = tuple(c.scalars(select(row.head).where(row.uid == uid).order_by(row.place)))
        try:
            state = replay(self.records(c, uid), uid=uid, service_key=from_text(self._service_key))
        except (LogInvalid, ValueError):  # this device's disk
            return None
        return self._cache(KeptLog(uid, state, heads)) if state.head_text == heads[-1] else None

    def records(self, c: Rows, uid: str, since: int = 0, until: int | None = None) -> list[Record]:
        """Those from place `since` on, up to and without `until`. Raises `LogInvalid`."""
        wanted = select(t.log_record.c.record).where(t.log_record.c.uid == uid, t.log_record.c.place >= since)
        if until is not None:
            wanted = wanted.where(t.log_record.c.place < until)
        return [decode_record(raw) for raw in c.scalars(wanted.order_by(t.log_record.c.place))]

    def at(self, c: Rows, uid: str, head: str) -> LogState | None:
        """The state of a log when this was its head; None where it never was, as far as is known. Not to be changed."""
        log = self.kept(c, uid)
        place = log.place_of(head) if log is not None and head else None
        if log is None or place is None:
            return None
        if place == len(log.heads) - 1:
            return log.state
        return self._state_at(uid, tuple(self.records(c, uid, 0, place + 1)))

    def take(self, c: Rows, uid: str, since: int, shown: Sequence[Record], head: str | None = None) -> Taken:
        """What the service shows from place `since` on, and as the present `head` (None: it did not say).

        What continues the log is kept. Whatever is another log is not followed.
        """
        log = self.kept(c, uid)
        if log is None:
            self.forget(c, uid)  # what cannot be read: begin again; what the person has seen stays
        count = len(log.heads) if log is not None else 0
        if since > count:
            raise ValueError("records are missing in between: fetch them")
        known = self.records(c, uid, since, since + len(shown))
        if any(one != other for one, other in zip(known, shown, strict=False)):
            return Taken(Shown.OTHER, log, why="a record that this device has checked is another one now")
        grown, new = log, shown[len(known) :]
        why = ""
        if new:
            grown, why = self._extended(c, uid, log, new)
        if why:
            added = (len(grown.heads) if grown is not None else 0) - count
            return Taken(Shown.OTHER, grown, added, log is None and grown is not None, why)
        added = len(new)
        if head is not None and (grown is None or head != grown.head):
            earlier = grown is not None and head in grown.heads
            return Taken(Shown.LOST if earlier else Shown.OTHER, grown, added, log is None, "" if earlier else _HEAD)
        return Taken(Shown.GROWN if added else Shown.SAME, grown, added, log is None and grown is not None)

    def forget(self, c: Rows, uid: str) -> None:
        """Drop the records of a log."""
        c.execute(delete(t.log_record).where(t.log_record.c.uid == uid))
        with self._guard:
            self._cached.pop(uid, None)

    def known(self, c: Rows) -> list[str]:
        """Whose logs are kept."""
        return list(c.scalars(select(t.log_record.c.uid).distinct().order_by(t.log_record.c.uid)))

    def length(self, c: Rows, uid: str) -> int:
        """How many records are known of a log."""
        log = self.kept(c, uid)
        return len(log.heads) if log is not None else 0

    def _extended(self, c: Rows, uid: str, log: KeptLog | None, new: Sequence[Record]) -> tuple[KeptLog | None, str]:
        """With further records, each checked, and kept; up to the first that does not hold, and why."""
        state = log.state if log is not None else None
        heads = list(log.heads) if log is not None else []
        rows = []
        why = ""
        for place, record in enumerate(new, len(heads)):
            try:
                state = verify([record], uid=uid, service_key=self._service_key, known=state)
            except LogInvalid as invalid:
                why = str(invalid)
                break
            heads.append(state.head_text)
            rows.append({"uid": uid, "place": place, "record": encode_record(record), "head": state.head_text})
        if not rows or state is None:
            return log, why
        c.execute(insert(t.log_record), rows)
        return self._cache(KeptLog(uid, state, tuple(heads))), why

    def _replayed(self, uid: str, records: tuple[Record, ...]) -> LogState:
        return replay(records, uid=uid, service_key=from_text(self._service_key))

    def _cache(self, log: KeptLog) -> KeptLog:
        with self._guard:  # several look at a database at once, each on a thread
            while len(self._cached) >= _STATES_KEPT:
                self._cached.pop(next(iter(self._cached)))
            self._cached[log.uid] = log
        return log


_HEAD: Final = "it ends with a head that none of its records has"


# -- how keys stand with the person ----------------------------------------------------------------------------------
def standing(c: Rows, uid: str) -> Standing:
    """How an account's keys stand; as nobody has looked at them yet where there is nothing."""
    row = _STANDING(c, {"uid": uid}).fetchone()
    if row is None:
        return Standing(uid)
    one = Standing(*row)
    return replace(one, trouble_seen=bool(one.trouble_seen))


_STANDING: Final = Prepared(
    select(*(t.trust.c[field.name] for field in fields(Standing))).where(t.trust.c.uid == bindparam("uid"))
)


def keep(c: Rows, one: Standing, **changes: object) -> Standing:
    """Write down how an account's keys stand, with these changes."""
    changed = replace(one, **changes)  # type: ignore[arg-type]
    values = {
        "uid": changed.uid,
        "seen_head": changed.seen_head,
        "compared_head": changed.compared_head,
        "trouble": changed.trouble,
        "other_head": changed.other_head,
        "trouble_seen": int(changed.trouble_seen),
        "behind": changed.behind,
        "asked_ms": changed.asked_ms,
    }
    c.execute(upsert(t.trust).values(values).on_conflict_do_update(index_elements=["uid"], set_=values))
    return changed
