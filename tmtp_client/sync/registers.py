# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person's devices agree about, field by field: the last writer wins, whoever hears of it when (decision 26).

A register is named by kind, key and field and has a JSON value; null is "taken away". Merging takes the greater of
(stamp, value): in any order, any number of times, the same comes out. What a register means here and now (a message is
seen, a thread archived) is `tmtp_client.sync.columns`' affair, and does not touch the register: so one about a message
that is not here yet, or of a kind that only a newer release knows, is kept, told to a new device, and served later.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.store import tables
from tmtp_client.sync import clock
from tmtp_client.sync.clock import Stamp
from tmtp_core.prepared import Prepared

HERE: Final = "here"
"""The kind of what is this device's alone: never told, and not taken from others."""

_UNTOLD, _TOLD, _REFUSED = 0, 1, 2

_r = tables.register.c
_KEY: Final = (_r.kind, _r.key, _r.field)
_READ_AT_ONCE: Final = 200  # registers, three variables each
_keeping = upsert(tables.register)
_KEEPING: Final = _keeping.on_conflict_do_update(
    index_elements=[*_KEY],
    set_={"value": _keeping.excluded.value, "stamp": _keeping.excluded.stamp, "told": _keeping.excluded.told},
)
_MARKING: Final = update(tables.register).where(
    *(column == bindparam(name) for column, name in zip((*_KEY, _r.stamp), "abcd", strict=True))
)
_GET: Final = Prepared(select(_r.value).where(*(column == bindparam(column.name) for column in _KEY)))
_ABOUT: Final = Prepared(select(_r.field).where(*(column == bindparam(column.name) for column in _KEY[:2])).limit(1))


@dataclass(frozen=True, slots=True)
class At:
    """Where and when something is done: `device` as `clock.device_name` has it."""

    device: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """A register as another device tells it: `value` is JSON, octet by octet as it was written."""

    kind: str
    key: str
    field: str
    value: str
    stamp: str


def set(c: Connection, at: At, kind: str, key: str, fields: Mapping[str, Any]) -> None:
    """A person's edit of one thing: its `fields` from now on. All of an edit has one stamp where it can."""
    set_many(c, at, [(kind, key, fields)])


def set_many(c: Connection, at: At, edits: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """One act of a person on many things: (kind, key, fields).

    It is later than everything that this device has done before, and than what each register has now, however far in
    the future the clock was that wrote that: so what a person does holds. Raises ValueError for a name or a value that
    is too long, and for a register that stands at the end of all times.
    """
    given = [(kind, key, field, value) for kind, key, fields in edits for field, value in fields.items()]
    if not given:
        return
    stamp = clock.tick(_latest(c), at.now_ms, at.device)
    _set_latest(c, stamp)
    holding = _Holding(c, [(kind, key, field) for kind, key, field, _ in given])
    for kind, key, field, value in given:
        text = _value(kind, key, field, value)
        present = clock.read_stamp(holding.stamp(kind, key, field))
        try:
            own = stamp if present is None or stamp > present else present.next_on(at.device)
        except OverflowError:
            raise ValueError(f"{kind} {field} of {key} was written at the end of all times") from None
        holding.take(Change(kind, key, field, text, own.text), told=kind == HERE)
    holding.keep()


def get(c: Connection, kind: str, key: str, field: str) -> Any:
    """A register's value; None where it has none, or what it had was taken away."""
    row = _GET(c, {"kind": kind, "key": key, "field": field}).fetchone()
    return None if row is None else msgspec.json.decode(row[0])


def is_about(c: Connection, things: Iterable[tuple[str, str]]) -> bool:
    """Whether anything is known of one of these (kind, key)."""
    return any(_ABOUT(c, {"kind": kind, "key": key}).fetchone() is not None for kind, key in things)


def values(c: Connection, kind: str, keys: Sequence[str], field: str) -> dict[str, Any]:
    """The same of many things: key and value, where there is one."""
    found: dict[str, Any] = {}
    for start in range(0, len(keys), _READ_AT_ONCE):
        where = (_r.kind == kind, _r.field == field, _r.key.in_(keys[start : start + _READ_AT_ONCE]))
        rows = c.execute(select(_r.key, _r.value).where(*where))
        found.update((key, msgspec.json.decode(value)) for key, value in rows)
    return found


def fields(c: Connection, kind: str, key: str) -> dict[str, Any]:
    """All that is known of one thing: field and value, without what was taken away."""
    rows = c.execute(select(_r.field, _r.value).where(_r.kind == kind, _r.key == key, _r.value != "null"))
    return {field: msgspec.json.decode(value) for field, value in rows}


def merge(c: Connection, at: At, changes: Iterable[Change]) -> dict[tuple[str, str], frozenset[str]]:
    """What another device tells; which fields of which (kind, key) are other ones now.

    A change that is none (its stamp, its names, its value) is left out: each device judges it alike, whatever its
    clock says. What is new here need not be told on: its post goes to all devices.
    """
    changed: dict[tuple[str, str], frozenset[str]] = {}
    latest = before = _latest(c)
    sound = [(change, stamp) for change in changes if (stamp := _sound(change)) is not None]
    holding = _Holding(c, [(change.kind, change.key, change.field) for change, _ in sound])
    for change, stamp in sound:
        latest = clock.heard(latest, stamp, at.now_ms)
        if holding.take(change, told=True):
            thing = (change.kind, change.key)
            changed[thing] = changed.get(thing, frozenset()) | {change.field}
    holding.keep()
    if latest is not None and latest != before:
        _set_latest(c, latest)
    return changed


def untold(c: Connection, limit: int) -> list[Change]:
    """What other devices are to be told, what was done first first."""
    rows = c.execute(select(*_KEY, _r.value, _r.stamp).where(_r.told == _UNTOLD).order_by(_r.stamp, *_KEY).limit(limit))
    return [Change(*row) for row in rows]


def is_untold(c: Connection) -> bool:
    """Whether there is anything to tell."""
    return c.scalar(select(1).where(_r.told == _UNTOLD).limit(1)) is not None


def mark_told(c: Connection, changes: Iterable[Change]) -> None:
    """These are on their way, under a promise: an entry of the outbox, in the same transaction."""
    _mark(c, changes, _TOLD)


def mark_refused(c: Connection, changes: Iterable[Change]) -> None:
    """These could not be told, and trying at once would not help. `retry_refused` has them told again."""
    _mark(c, changes, _REFUSED)


def retry_refused(c: Connection) -> None:
    """The account starts: what could not be told is to be told again."""
    c.execute(update(tables.register).where(_r.told == _REFUSED).values(told=_UNTOLD))


def call_told(c: Connection) -> None:
    """There is no other device to tell: a later one is told everything when it is added."""
    c.execute(update(tables.register).where(_r.told == _UNTOLD).values(told=_TOLD))


def tell_everything(c: Connection) -> None:
    """A new device has been added, by this one: tell all registers once more, those too that mean nothing here."""
    c.execute(update(tables.register).where(_r.kind != HERE).values(told=_UNTOLD))


def forget(c: Connection, kind: str, key: str) -> None:
    """Drop what is this device's alone. Only of kind `HERE`: what others know would come back."""
    c.execute(delete(tables.register).where(_r.kind == HERE, _r.kind == kind, _r.key == key))


def _mark(c: Connection, changes: Iterable[Change], told: int) -> None:
    rows = [{"a": one.kind, "b": one.key, "c": one.field, "d": one.stamp} for one in changes]
    if rows:
        c.execute(_MARKING.values(told=told), rows)


class _Holding:
    """What registers have, while some of them are changed: read together, and written together by `keep`.

    In one transaction, which nobody else writes beside: what was read is what is there.
    """

    def __init__(self, c: Connection, names: Sequence[tuple[str, str, str]]) -> None:
        self._c = c
        self._present: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._changed: dict[tuple[str, str, str], dict[str, Any]] = {}
        for start in range(0, len(names), _READ_AT_ONCE):
            some = tuple_(*_KEY).in_(names[start : start + _READ_AT_ONCE])
            for kind, key, field, value, stamp in c.execute(select(*_KEY, _r.value, _r.stamp).where(some)):
                self._present[kind, key, field] = (stamp, value)

    def stamp(self, kind: str, key: str, field: str) -> str:
        """Of when it was written; "" where it never was."""
        return self._present.get((kind, key, field), ("", ""))[0]

    def take(self, change: Change, *, told: bool) -> bool:
        """The greater of this and what is there; whether this is it, and is another value than before."""
        name = (change.kind, change.key, change.field)
        before = self._present.get(name)
        now = (change.stamp, change.value)
        if before is not None and now <= before:
            return False
        self._present[name] = now
        kind, key, field = name
        row = {"kind": kind, "key": key, "field": field, "value": change.value, "stamp": change.stamp}
        self._changed[name] = {**row, "told": _TOLD if told else _UNTOLD}
        return before is None or before[1] != change.value

    def keep(self) -> None:
        """Write what has changed."""
        if self._changed:
            self._c.execute(_KEEPING, list(self._changed.values()))


def _sound(change: Change) -> Stamp | None:
    """A change's stamp; None where the change is none."""
    names = (change.kind, change.key, change.field)
    if change.kind == HERE or any(len(name) > limits.REGISTER_NAME_MAX_CHARACTERS for name in names):
        return None
    try:
        if len(change.value.encode()) > limits.REGISTER_VALUE_MAX_BYTES:
            return None
        msgspec.json.decode(change.value)
        "".join(names).encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return clock.read_stamp(change.stamp)


def _value(kind: str, key: str, field: str, value: Any) -> str:
    """A value as JSON. Raises ValueError for what no register takes."""
    if any(len(name) > limits.REGISTER_NAME_MAX_CHARACTERS for name in (kind, key, field)):
        raise ValueError(f"a name of a register has {limits.REGISTER_NAME_MAX_CHARACTERS} characters at most")
    text = msgspec.json.encode(value, order="deterministic")
    if len(text) > limits.REGISTER_VALUE_MAX_BYTES:
        raise ValueError(f"{field} is too long: {len(text)} octets of {limits.REGISTER_VALUE_MAX_BYTES}")
    return text.decode()


def _latest(c: Connection) -> Stamp | None:
    return clock.read_stamp(c.scalar(select(tables.stamp.c.latest)) or "")


def _set_latest(c: Connection, stamp: Stamp) -> None:
    if c.execute(update(tables.stamp).values(latest=stamp.text)).rowcount == 0:
        c.execute(insert(tables.stamp).values(latest=stamp.text))
