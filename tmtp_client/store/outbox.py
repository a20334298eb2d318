# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is to be sent: durable before it leaves, under one request id for all its tries (B3).

States (`tmtp_client.api.models.OutboxState`): `undo` and `scheduled` until they are due; `waiting` for its turn or for
a connection; `sending` from the first try on, when nobody knows any more whether the service has it; `held` while keys
changed that the person has not seen; `refused`, with words. An entry ends in the history in the transaction that takes
it out of here: it is never in neither, and never in both.

Order: of what is due the lowest number goes first, and nothing overtakes an entry of its own *lane* (a thread, or the
same recipients) that waits. What is scheduled, held or refused stops nobody.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import changes, threads
from tmtp_client.store.tables import outbox
from tmtp_core.ids import RandomBytes
from tmtp_core.prepared import Prepared
from tmtp_core.wire.payload import Forwarded, Subscriber, Transfer

Kind = Literal["message", "ping", "invitation", "note", "part", "confirmation", "sync", "control"]

SHOWN: Final = ("message", "ping", "invitation", "note")
"""What a person sees waiting; the others are between clients."""

_WITH_FILES: Final = ("message", "confirmation", "part")

PLAIN: Final = b"plain"
"""`prepared` of what left in plain text: no later try is sealed, or cut into parts, under the same id."""

_GOES: Final = ("undo", "scheduled", "waiting", "sending")
_NEVER_MS: Final = 1 << 62  # of an entry whose parts go ahead: the last one's end says when
_STATES: Final = frozenset(("undo", "scheduled", "waiting", "sending", "held", "refused"))


class Conflict(Exception):
    """What was asked of an entry cannot be done with it any more; the text says why."""


class File(Struct, frozen=True, omit_defaults=True):
    """One attachment, in the vault's files. `kind`: file, form, filled. `transfer`: it goes ahead in parts."""

    name: str
    kind: Literal["file", "form", "filled"]
    file: str
    size: int
    hash: bytes  # BLAKE2b-256
    form: str = ""
    transfer: Transfer | None = None


class PartOf(Struct, frozen=True):
    """Which octets of which attachment of which entry a `part` carries."""

    request_id: str  # of the message that names the transfer
    file: int  # its place there
    place: int
    start: int
    size: int


class Content(Struct, frozen=True, omit_defaults=True):
    """What an entry says, as its person left it; nothing in it changes from try to try.

    `to`: uid or gid, and the type of recipient; of a ping and an invitation the alias, with type 0. `known`: of a note,
    who read the thread before; its `text` is the copy of the thread, and `note` what they are told. `adds`: of the note
    that follows the copy in a sealed thread, the copy. `confirms`: of a confirmation, the message, when it was posted,
    and the copy for whose readers it is confirmed. `text` of `sync` and `control` posts is JSON.
    """

    to: tuple[tuple[str, int], ...] = ()
    names: tuple[str, ...] = ()
    subject: str = ""
    thread: str = ""
    text: str = ""
    note: str = ""
    cc: tuple[Subscriber, ...] = ()
    files: tuple[File, ...] = ()
    forwarded: tuple[Forwarded, ...] = ()
    gid: str = ""
    known: tuple[tuple[str, int], ...] = ()
    adds: str = ""
    confirms: tuple[str, str, str] | None = None
    control: str = ""
    part: PartOf | None = None
    in_parts: bool = False  # files that are large have been looked at


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it stands."""

    number: int
    request_id: str
    kind: Kind
    state: models.OutboxState
    due_ms: int
    content: Content
    prepared: bytes
    error: str


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be sent now, or when to look again; neither: when something changes."""

    entry: Entry | None = None
    at_ms: int | None = None


_CONTENT: Final = msgspec.json.Decoder(Content)


class _Row(NamedTuple):
    """A row of the table."""

    number: int
    request_id: str
    kind: Kind
    state: str
    due_ms: int
    thread: str
    content: bytes
    prepared: bytes
    sent: int
    size: int
    error: str
    at_ms: int


# What each message asks and writes.
_o = outbox.c
_ROW: Final = tuple(_o[name] for name in _Row._fields)
_KEEP: Final = Prepared(insert(outbox), *(column.name for column in _o if column.name != "number"))
_FIND: Final = Prepared(select(*_ROW).where(_o.request_id == bindparam("request_id")))
_NUMBERED: Final = Prepared(select(*_ROW).where(_o.number == bindparam("number")))
_REMOVE: Final = Prepared(delete(outbox).where(_o.number == bindparam("number")))
_GOING: Final = Prepared(
    select(_o.number, _o.state, _o.due_ms, _o.at_ms, _o.lane, _o.error)
    .where(or_(*(_o.state == state for state in _GOES)))
    .order_by(_o.number)
)


@lru_cache
def _setting(*names: str) -> Prepared:
    """Sets these columns of the entry `entry`."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return Prepared(update(outbox).where(_o.number == bindparam("entry")).values(values))


def enqueue(
    c: Connection,
    kind: Kind,
    content: Content,
    due_ms: int,
    now_ms: int,
    random_bytes: RandomBytes,
    *,
    scheduled: bool = False,
    request_id: str = "",
) -> str:
    """Keep what is to be sent, not before `due_ms`; its request id.

    `scheduled`: the person chose the time; else the time until then is there to take it back. `request_id`: of an entry
    that may be asked for twice; the second time nothing is kept.
    """
    name = request_id or random_bytes(limits.REQUEST_ID_BYTES).hex()
    if request_id and find(c, request_id) is not None:
        return request_id
    state = "waiting" if due_ms <= now_ms else "scheduled" if scheduled else "undo"
    row = {
        "request_id": name,
        "kind": kind,
        "state": state,
        "due_ms": max(due_ms, 0),
        "thread": content.thread if kind in SHOWN else "",  # which counts what waits
        "lane": _lane(kind, content),
        "content": msgspec.json.encode(content),
        "prepared": b"",
        "sent": 0,
        "size": _size(content),
        "error": "",
        "at_ms": now_ms,
    }
    _KEEP(c, row)
    _changed(c, name, kind, content.thread)
    return name


def next_due(c: Connection, now_ms: int) -> Next:
    """The next entry to send. What was begun before a crash comes first, and again."""
    next_ms: int | None = None
    blocked: set[str] = set()
    with closing(_GOING(c, {})) as rows:
        for number, state, asked_ms, at_ms, lane, error in rows:
            if lane in blocked:
                continue
            due_ms = _due_ms(state, asked_ms, at_ms, error, now_ms)
            if due_ms <= now_ms:
                return Next(_entry(_Row(*_NUMBERED(c, {"number": number}).fetchone())))
            if due_ms < _NEVER_MS:
                next_ms = due_ms if next_ms is None else min(next_ms, due_ms)
            if state != "scheduled":
                blocked.add(lane)
    return Next(None, next_ms)


def _due_ms(state: str, due_ms: int, at_ms: int, error: str, now_ms: int) -> int:
    """When it is due. A clock that was set back keeps nobody's words for longer than was asked."""
    if state == "sending":
        return 0
    if state == "scheduled" or due_ms == _NEVER_MS or now_ms >= at_ms:
        return due_ms
    if error:  # after a refusal for now: no pause is longer than the longest, and none is left out
        return min(due_ms, now_ms + int(1000 * limits.REFUSED_AGAIN_LONGEST_S))
    return min(due_ms, now_ms + max(0, due_ms - at_ms))


def begin(c: Connection, request_id: str, prepared: bytes = b"") -> None:
    """The first try begins, or a further one: from now on it cannot be taken back. `prepared` is for all tries."""
    values: dict[str, object] = {"state": "sending", "error": ""}
    if prepared:
        values["prepared"] = prepared
    entry = must_find(c, request_id)
    _set(c, entry, **values)


def unprepared(c: Connection, request_id: str) -> None:
    """What it was prepared as does not hold any more. The service may have it all the same: it cannot be taken back."""
    _set(c, must_find(c, request_id), prepared=b"")


def held(c: Connection, request_id: str, why: str) -> None:
    """Somebody's keys changed, and the person has not seen it. Of a part, the message stands where he sees it."""
    entry = must_find(c, request_id)
    _set(c, entry, state="held", error=why)
    whole = _whole_of(c, entry)
    if whole is not None:
        _set(c, whole, state="held", error=why)


def refused(c: Connection, request_id: str, why: str) -> None:
    """It will not be sent, until the person does something about it. Parts take their message with them."""
    entry = find(c, request_id)
    if entry is None:
        return
    if entry.content.part is not None:
        _remove(c, entry)
        whole = _whole_of(c, entry)
        if whole is not None:
            _set(c, whole, state="refused", due_ms=0, error=why)
        return
    if entry.kind not in SHOWN:
        _remove(c, entry)  # nobody would ever see it
        return
    _set(c, entry, state="refused", error=why)


def later(c: Connection, request_id: str, due_ms: int, why: str) -> None:
    """The service takes it only later: it goes again then, under the same id; a part of what is there no more never."""
    entry = find(c, request_id)
    if entry is None:
        return
    whole = _whole_of(c, entry)
    if entry.content.part is not None and whole is None:
        _remove(c, entry)
        return
    _set(c, entry, state="waiting", due_ms=due_ms, error=why)
    if whole is not None:
        _set(c, whole, error=why)


def release_held(c: Connection, now_ms: int) -> int:
    """Changed keys were seen: what was held is tried again. How many there were."""
    names = c.scalars(select(outbox.c.request_id).where(outbox.c.state == "held").order_by(outbox.c.number)).all()
    for name in names:
        entry = must_find(c, name)
        due_ms = _NEVER_MS if parts_of(c, entry) else now_ms
        _set(c, entry, state="waiting", due_ms=due_ms, error="")
    return len(names)


def ended(c: Connection, request_id: str, message: str) -> Entry | None:
    """The service has it, as `message`: take it out. None: it was out already. Whoever calls this puts it elsewhere."""
    entry = find(c, request_id)
    if entry is not None:
        _remove(c, entry, message)
    return entry


def take_out(c: Connection, request_id: str) -> None:
    """Its person has taken it back, while the service surely has not all of it."""
    entry = find(c, request_id)
    if entry is not None:
        _remove(c, entry)


def act(
    c: Connection,
    request_id: str,
    act: Literal["undo", "now", "retry", "drop"],
    now_ms: int,
    random_bytes: RandomBytes,
) -> Entry:
    """What a person does with an entry, which is given as it was. Raises KeyError (there is none) and `Conflict` (too
    late, or no sense). What was sealed and refused is tried again as a new request: its seal was for the old one.
    """
    entry = find(c, request_id)
    if entry is None or entry.kind not in SHOWN:
        raise KeyError(request_id)
    if act in {"undo", "drop"}:
        if entry.state == "sending":
            raise Conflict("it is being sent: the service may have it already")
        _remove(c, entry)
    elif act == "now":
        if entry.state not in {"undo", "scheduled"}:
            raise Conflict("it waits for nothing that you could spare it")
        _set(c, entry, state="waiting", due_ms=now_ms)
    else:
        if entry.state not in {"held", "refused"}:
            raise Conflict("it was not refused: it goes out by itself")
        name = random_bytes(limits.REQUEST_ID_BYTES).hex() if entry.prepared not in {b"", PLAIN} else request_id
        if name != request_id:
            changes.emit(c, "outbox", models.OutboxEvent(request_id))
        _set(c, entry, state="waiting", due_ms=now_ms, error="", prepared=b"", request_id=name)
        if entry.content.in_parts:
            _go_on(c, must_find(c, name), now_ms, random_bytes)
    return entry


def drop_confirmation(c: Connection, message: str, copy: str) -> None:
    """Another of one's devices has confirmed this message to who got this copy."""
    for row in c.execute(select(outbox).where(outbox.c.kind == "confirmation", outbox.c.state != "sending")).all():
        entry = _entry(row)
        if entry.content.confirms is not None and entry.content.confirms[::2] == (message, copy):
            _remove(c, entry)


# -- large files -----------------------------------------------------------------------------------------------------
def go_in_parts(c: Connection, entry: Entry, files: Sequence[File], now_ms: int, random_bytes: RandomBytes) -> None:
    """These files, some with transfers, go ahead: the entry waits for the last part, and nothing of its lane passes."""
    content = msgspec.structs.replace(entry.content, files=tuple(files), in_parts=True)
    _set(c, entry, state="waiting", content=msgspec.json.encode(content), sent=0)
    _go_on(c, must_find(c, entry.request_id), now_ms, random_bytes)


def part_sent(c: Connection, part: Entry, now_ms: int, random_bytes: RandomBytes) -> None:
    """A part is with the service: the next one is due, or the message itself."""
    of = part.content.part
    if of is None or ended(c, part.request_id, "") is None:
        return
    whole = find(c, of.request_id)
    if whole is None:  # taken back meanwhile
        return
    sent = c.scalar(select(outbox.c.sent).where(outbox.c.number == whole.number)) or 0
    _set(c, whole, sent=sent + of.size, error="")
    if whole.state in {"waiting", "held"}:  # a refused one goes on when its person says so
        _go_on(c, whole, now_ms, random_bytes)


def _go_on(c: Connection, whole: Entry, now_ms: int, random_bytes: RandomBytes) -> None:
    """Whatever the service has not of the files that go ahead: the next part; and after the last the entry itself."""
    held_back = parts_of(c, whole)
    if held_back:
        _set(c, whole, due_ms=_NEVER_MS)
        for one in held_back:
            _set(c, one, state="waiting", due_ms=now_ms, error="")
        return
    sent = c.scalar(select(outbox.c.sent).where(outbox.c.number == whole.number)) or 0
    part = _part_at(whole, sent)
    _set(c, whole, due_ms=_NEVER_MS if part is not None else now_ms)
    if part is not None:
        content = whole.content
        of_part = Content(to=content.to, thread=content.thread, files=(content.files[part.file],), part=part)
        enqueue(c, "part", of_part, now_ms, now_ms, random_bytes)


def _part_at(whole: Entry, sent: int) -> PartOf | None:
    """The part that begins when so many octets of all parts have been sent; None: there are no more."""
    for file, one in enumerate(whole.content.files):
        if one.transfer is None:
            continue
        if sent < one.size:
            octets = -(-one.size // one.transfer.parts)
            return PartOf(whole.request_id, file, sent // octets, sent, min(octets, one.size - sent))
        sent -= one.size
    return None


# -- looking ---------------------------------------------------------------------------------------------------------
def find(c: Connection, request_id: str) -> Entry | None:
    """An entry."""
    row = _FIND(c, {"request_id": request_id}).fetchone()
    return _entry(_Row(*row)) if row is not None else None


def waiting(c: Connection, thread_id: str | None = None) -> tuple[models.Waiting, ...]:
    """What waits, of all or of one thread, in its order; for a person."""
    query = select(outbox).where(outbox.c.kind.in_(SHOWN))
    if thread_id is not None:
        query = query.where(outbox.c.thread == thread_id)
    return tuple(_view(row) for row in c.execute(query.order_by(outbox.c.number)))


def view(c: Connection, request_id: str) -> models.Waiting | None:
    """One entry, for a person."""
    found = _FIND(c, {"request_id": request_id}).fetchone()
    row = None if found is None else _Row(*found)
    return _view(row) if row is not None and row.kind in SHOWN else None


def count(c: Connection) -> int:
    """How many wait that a person sees."""
    return c.scalar(select(func.count()).select_from(outbox).where(outbox.c.kind.in_(SHOWN))) or 0


def files(c: Connection) -> Iterator[str]:
    """The vault's files that something still to be sent needs."""
    for content in c.scalars(select(outbox.c.content).where(outbox.c.kind.in_(_WITH_FILES))):
        yield from (one.file for one in _CONTENT.decode(content).files)


# -- inside ----------------------------------------------------------------------------------------------------------
def _lane(kind: Kind, content: Content) -> str:
    if kind == "part":
        return ""  # its message stands in the lane, and waits for it
    if kind in {"sync", "control", "confirmation"}:
        return kind
    return content.thread or " ".join(sorted(one for one, _ in content.to))


def _size(content: Content) -> int:
    if content.part is not None:
        return content.part.size
    return len(content.text.encode()) + sum(one.size for one in content.files)


def _set(c: Connection, entry: Entry, **values: object) -> None:
    _setting(*values)(c, {**values, "entry": entry.number})
    _changed(c, str(values.get("request_id", entry.request_id)), entry.kind, entry.content.thread)


def _whole_of(c: Connection, part: Entry) -> Entry | None:
    """The message of a part."""
    return find(c, part.content.part.request_id) if part.content.part is not None else None


def parts_of(c: Connection, entry: Entry) -> list[Entry]:
    """The parts that go ahead of it now."""
    if not entry.content.in_parts:
        return []
    parts = [_entry(row) for row in c.execute(select(outbox).where(outbox.c.kind == "part"))]
    return [one for one in parts if one.content.part is not None and one.content.part.request_id == entry.request_id]


def _remove(c: Connection, entry: Entry, message: str = "") -> None:
    """With the parts that go ahead of it; of one that is being sent the service says what became of it."""
    for part in parts_of(c, entry):
        if part.state != "sending":
            _REMOVE(c, {"number": part.number})
    _REMOVE(c, {"number": entry.number})
    _changed(c, entry.request_id, entry.kind, entry.content.thread, message)


def _changed(c: Connection, request_id: str, kind: str, thread_id: str, message: str = "") -> None:
    """Tell who watches, and keep the thread's count."""
    if kind not in SHOWN:
        return
    if thread_id:
        threads.recount_waiting(c, thread_id)
    changes.emit(c, "outbox", models.OutboxEvent(request_id, view(c, request_id), message))


def must_find(c: Connection, request_id: str) -> Entry:
    """An entry. Raises KeyError."""
    entry = find(c, request_id)
    if entry is None:
        raise KeyError(request_id)
    return entry


def _entry(row: Any) -> Entry:
    state = str(row.state)
    if state not in _STATES:
        raise ValueError(f"the outbox has an entry in the state {state!r}")
    return Entry(
        row.number,
        row.request_id,
        cast(Kind, row.kind),
        cast(models.OutboxState, state),
        row.due_ms,
        _CONTENT.decode(row.content),
        row.prepared,
        row.error,
    )


def _view(row: Any) -> models.Waiting:
    entry = _entry(row)
    content = entry.content
    return models.Waiting(
        request=entry.request_id,
        kind=cast(Literal["message", "ping", "invitation", "note"], entry.kind),
        state=entry.state,
        to=content.names,
        thread=content.thread,
        subject=content.subject,
        text=content.note if entry.kind == "note" else content.text,
        files=tuple(one.name for one in content.files),
        due_ms=entry.due_ms if entry.state in {"undo", "scheduled"} else 0,
        at_ms=row.at_ms,
        sent=row.sent,
        size=row.size,
        error=entry.error,
        filled=next((one.form for one in content.files if one.kind == "filled"), ""),
    )
