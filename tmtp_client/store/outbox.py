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
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import changes, threads
from tmtp_client.store.tables import outbox
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.payload import Forwarded, Subscriber, Transfer

Kind = Literal["message", "ping", "invitation", "note", "part", "confirmation", "sync", "control"]

SHOWN: Final = ("message", "ping", "invitation", "note")
"""What a person sees waiting; the others are between clients."""

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
    of: str = ""
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
    c.execute(
        insert(outbox).values(
            request_id=name,
            kind=kind,
            state=state,
            due_ms=max(due_ms, 0),
            thread=content.thread if kind in SHOWN else "",  # which counts what waits
            lane=_lane(kind, content),
            content=msgspec.json.encode(content),
            prepared=b"",
            sent=0,
            size=_size(content),
            error="",
            at_ms=now_ms,
        )
    )
    _changed(c, name, kind, content.thread)
    return name


def next_due(c: Connection, now_ms: int) -> Next:
    """The next entry to send. What was begun before a crash comes first, and again."""
    columns = (outbox.c.number, outbox.c.state, outbox.c.due_ms, outbox.c.at_ms, outbox.c.lane, outbox.c.kind)
    at_ms: int | None = None
    blocked: set[str] = set()
    rows = c.execute(select(*columns).where(outbox.c.state.in_(_GOES)).order_by(outbox.c.number))
    for row in rows:
        if row.lane in blocked:
            continue
        due_ms = _due_ms(row, now_ms)
        if due_ms <= now_ms:
            rows.close()
            return Next(_entry(c.execute(select(outbox).where(outbox.c.number == row.number)).one()))
        if due_ms < _NEVER_MS:
            at_ms = due_ms if at_ms is None else min(at_ms, due_ms)
        if row.state != "scheduled":
            blocked.add(row.lane)
    return Next(None, at_ms)


def _due_ms(row: Any, now_ms: int) -> int:
    """When it is due. A clock that was set back keeps nobody's words for longer than was asked."""
    state, due_ms, at_ms = str(row.state), int(row.due_ms), int(row.at_ms)
    if state == "sending":
        return 0
    if state == "scheduled" or due_ms == _NEVER_MS or now_ms >= at_ms:
        return due_ms
    return min(due_ms, now_ms + max(0, due_ms - at_ms))


def begin(c: Connection, request_id: str, prepared: bytes = b"") -> None:
    """The first try begins, or a further one: from now on it cannot be taken back. `prepared` is for all tries."""
    values: dict[str, object] = {"state": "sending", "error": ""}
    if prepared:
        values["prepared"] = prepared
    entry = _must_find(c, request_id)
    _set(c, entry, **values)


def unprepared(c: Connection, request_id: str) -> None:
    """What it was prepared as does not hold any more. The service may have it all the same: it cannot be taken back."""
    _set(c, _must_find(c, request_id), prepared=b"")


def held(c: Connection, request_id: str, why: str) -> None:
    """Somebody's keys changed, and the person has not seen it."""
    _set(c, _must_find(c, request_id), state="held", error=why)


def refused(c: Connection, request_id: str, why: str) -> None:
    """It will not be sent, until the person does something about it. Parts take their message with them."""
    entry = _must_find(c, request_id)
    if entry.content.part is not None:
        _remove(c, entry)
        whole = find(c, entry.content.part.request_id)
        if whole is not None:
            _set(c, whole, state="refused", due_ms=0, error=why)
        return
    if entry.kind not in SHOWN:
        _remove(c, entry)  # nobody would ever see it
        return
    _set(c, entry, state="refused", error=why)


def later(c: Connection, request_id: str, due_ms: int, why: str) -> None:
    """The service takes it only later: it goes again then, under the same id."""
    _set(c, _must_find(c, request_id), state="waiting", due_ms=due_ms, error=why)


def release_held(c: Connection, now_ms: int) -> int:
    """Changed keys were seen: what was held is tried again. How many there were."""
    names = c.scalars(select(outbox.c.request_id).where(outbox.c.state == "held").order_by(outbox.c.number)).all()
    for name in names:
        _set(c, _must_find(c, name), state="waiting", due_ms=now_ms, error="")
    return len(names)


def ended(c: Connection, request_id: str, message: str) -> Entry | None:
    """The service has it, as `message`: take it out. None: it was out already. Whoever calls this puts it elsewhere."""
    entry = find(c, request_id)
    if entry is not None:
        _remove(c, entry, message)
    return entry


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
        name = random_bytes(limits.REQUEST_ID_BYTES).hex() if entry.prepared else request_id
        if name != request_id:
            changes.emit(c, "outbox", models.OutboxEvent(request_id))
        _set(c, entry, state="waiting", due_ms=now_ms, error="", prepared=b"", request_id=name)
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
    transfers = [place for place, one in enumerate(files) if one.transfer is not None]
    due_ms = _NEVER_MS if transfers else entry.due_ms
    _set(c, entry, state="waiting", due_ms=due_ms, content=msgspec.json.encode(content), sent=0)
    if transfers:
        _enqueue_part(c, content, entry.request_id, transfers[0], 0, now_ms, random_bytes)


def part_sent(c: Connection, part: Entry, now_ms: int, random_bytes: RandomBytes) -> None:
    """A part is with the service: the next one is due, or the message itself."""
    of = part.content.part
    if of is None or ended(c, part.request_id, "") is None:
        return
    whole = find(c, of.request_id)
    if whole is None:  # taken back meanwhile
        return
    sent = c.scalar(select(outbox.c.sent).where(outbox.c.number == whole.number)) or 0
    _set(c, whole, sent=sent + of.size)
    transfer = whole.content.files[of.file].transfer
    if transfer is not None and of.place + 1 < transfer.parts:
        _enqueue_part(c, whole.content, whole.request_id, of.file, of.place + 1, now_ms, random_bytes)
        return
    for place in range(of.file + 1, len(whole.content.files)):
        if whole.content.files[place].transfer is not None:
            _enqueue_part(c, whole.content, whole.request_id, place, 0, now_ms, random_bytes)
            return
    _set(c, whole, due_ms=now_ms)


def _enqueue_part(
    c: Connection, content: Content, request_id: str, file: int, place: int, now_ms: int, random_bytes: RandomBytes
) -> None:
    one = content.files[file]
    if one.transfer is None:
        raise ValueError("the file does not go in parts")
    octets = -(-one.size // one.transfer.parts)
    start = place * octets
    part = PartOf(request_id, file, place, start, min(octets, one.size - start))
    of_part = Content(to=content.to, thread=content.thread, files=(one,), part=part)
    enqueue(c, "part", of_part, now_ms, now_ms, random_bytes)


# -- looking ---------------------------------------------------------------------------------------------------------
def find(c: Connection, request_id: str) -> Entry | None:
    """An entry."""
    row = c.execute(select(outbox).where(outbox.c.request_id == request_id)).one_or_none()
    return _entry(row) if row is not None else None


def waiting(c: Connection, thread_id: str | None = None) -> tuple[models.Waiting, ...]:
    """What waits, of all or of one thread, in its order; for a person."""
    query = select(outbox).where(outbox.c.kind.in_(SHOWN))
    if thread_id is not None:
        query = query.where(outbox.c.thread == thread_id)
    return tuple(_view(row) for row in c.execute(query.order_by(outbox.c.number)))


def view(c: Connection, request_id: str) -> models.Waiting | None:
    """One entry, for a person."""
    query = select(outbox).where(outbox.c.request_id == request_id, outbox.c.kind.in_(SHOWN))
    row = c.execute(query).one_or_none()
    return _view(row) if row is not None else None


def count(c: Connection) -> int:
    """How many wait that a person sees."""
    return c.scalar(select(func.count()).select_from(outbox).where(outbox.c.kind.in_(SHOWN))) or 0


def files(c: Connection) -> Iterator[str]:
    """The vault's files that something still to be sent needs."""
    for content in c.scalars(select(outbox.c.content)):
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
    c.execute(update(outbox).where(outbox.c.number == entry.number).values(**values))
    _changed(c, str(values.get("request_id", entry.request_id)), entry.kind, entry.content.thread)


def _remove(c: Connection, entry: Entry, message: str = "") -> None:
    """With the parts that go ahead of it."""
    c.execute(delete(outbox).where(outbox.c.number == entry.number))
    if entry.content.in_parts:
        for row in c.execute(select(outbox).where(outbox.c.kind == "part")).all():
            part = _CONTENT.decode(row.content).part
            if part is not None and part.request_id == entry.request_id:
                c.execute(delete(outbox).where(outbox.c.number == row.number))
    _changed(c, entry.request_id, entry.kind, entry.content.thread, message)


def _changed(c: Connection, request_id: str, kind: str, thread_id: str, message: str = "") -> None:
    """Tell who watches, and keep the thread's count."""
    if kind not in SHOWN:
        return
    if thread_id:
        threads.recount_waiting(c, thread_id)
    changes.emit(c, "outbox", models.OutboxEvent(request_id, view(c, request_id), message))


def _must_find(c: Connection, request_id: str) -> Entry:
    entry = find(c, request_id)
    if entry is None:
        raise KeyError(request_id)
    return entry


def _entry(row: Row[Any]) -> Entry:
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


def _view(row: Row[Any]) -> models.Waiting:
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
    )
