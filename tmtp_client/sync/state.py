# SPDX-License-Identifier: AGPL-3.0-or-later
"""What registers mean here: the columns that follow from them, and the events for listeners, in the same transaction.

A column is made of its registers and of what is here, and of nothing else, so devices that have heard the same show the
same, in whichever order they heard it. What a register is about may come later: `arrived` makes up for it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, func, literal_column, select

from tmtp_client.api import models
from tmtp_client.store import changes, messages, threads
from tmtp_client.store.tables import tag, thread
from tmtp_client.sync import drafts, handing_on, registers, settings
from tmtp_client.sync.registers import At, Change

TAG: Final = "tag:"
"""Before a tag's name in the field of a thread's register: true, or taken away."""

_ZERO: Final[Any] = literal_column("0")  # in so many words: else SQLite does not know which index has all
_OF_TRUST: Final = ("encrypt", "presence_shown")
_ENCRYPTION: Final = ("off", "on", "shared")


# -- edits and changes -----------------------------------------------------------------------------------------------
def set(c: Connection, at: At, kind: str, key: str, fields: Mapping[str, Any]) -> None:
    """A person's edit of one thing, as `registers.set`, and what follows from it."""
    set_many(c, at, [(kind, key, fields)])


def set_many(c: Connection, at: At, edits: Collection[tuple[str, str, Mapping[str, Any]]]) -> None:
    """One act of a person on many things, as `registers.set_many`, and what follows from it."""
    registers.set_many(c, at, edits)
    _serve(c, at, [(kind, key) for kind, key, fields in edits if fields])


def apply(c: Connection, at: At, told: Iterable[Change]) -> None:
    """What another device tells (`journal.read`): merged, and what follows from it."""
    _serve(c, at, registers.merge(c, at, told))


def decides(one: Change) -> bool:
    """Whether a change says with whom one has to do, how it is sealed, or what a device is called (B4)."""
    return (
        one.kind in {handing_on.PERSON, handing_on.GROUP, handing_on.ACCOUNT, "device"}
        or (one.kind == "thread" and one.field == "encryption")
        or (one.kind == settings.KIND and (one.key in _OF_TRUST or one.key not in settings.BY_NAME))
    )


def applied_to(c: Connection, at: At, kind: str, key: str) -> None:
    """This thing is new here: what is known of it already follows now."""
    _serve(c, at, [(kind, key)])


def arrived(c: Connection, at: At, message: str, thread: str) -> None:
    """A message has been recorded: it may be seen already, its thread archived, muted, tagged before it came."""
    things = [("message", message), ("thread", thread), (drafts.KIND, thread)]
    if registers.is_about(c, [*things, (registers.HERE, drafts.here(thread))]):  # else it stands as it begins
        _serve(c, at, things, announce=False)


def set_setting(c: Connection, at: At, name: str, value: Any) -> None:
    """Change a setting of the account. Raises ValueError, with what would be right."""
    settings.check(name, value)
    set(c, at, settings.KIND, name, {settings.FIELD: value})


# -- read and unread -------------------------------------------------------------------------------------------------
def mark_seen(c: Connection, at: At, ids: Iterable[str], seen: bool) -> list[str]:
    """The person has seen these, or wants them unread again; those that were not so before."""
    return _told_seen(c, at, messages.mark_seen(c, ids, seen), seen)


def mark_thread_seen(c: Connection, at: At, id: str, upto: str, seen: bool) -> list[str]:
    """The same for a thread, up to and with the message `upto`, or all of it where that is empty."""
    return _told_seen(c, at, messages.mark_thread_seen(c, id, upto, seen), seen)


def _told_seen(c: Connection, at: At, ids: list[str], seen: bool) -> list[str]:
    registers.set_many(c, at, [("message", id, {"seen": seen}) for id in ids])
    return ids


# -- snoozed threads -------------------------------------------------------------------------------------------------
def next_wake_ms(c: Connection) -> int | None:
    """When the next snoozed thread comes back; None where none is snoozed."""
    until = thread.c.snoozed_until_ms
    earliest: int | None = c.scalar(select(func.min(until)).where(until > _ZERO))
    return earliest


def wake(c: Connection, now_ms: int) -> list[str]:
    """Bring back what was snoozed until now; which threads. Each device does so by itself: nothing is told."""
    until = thread.c.snoozed_until_ms
    woken = list(c.scalars(select(thread.c.id).where(until > _ZERO, until <= now_ms).order_by(until, thread.c.id)))
    for id in woken:
        threads.set_flags(c, id, snoozed_until_ms=0)
    return woken


# -- what follows ----------------------------------------------------------------------------------------------------
def _serve(c: Connection, at: At, things: Iterable[tuple[str, str]], *, announce: bool = True) -> None:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for kind, key in things:
        by_kind[kind].append(key)
    for kind, keys in by_kind.items():
        if kind == "message":
            _serve_messages(c, keys)
        elif serve := _SERVED.get(kind):
            for key in keys:
                serve(c, at, key, announce)


def _serve_messages(c: Connection, ids: list[str]) -> None:
    said: dict[bool, list[str]] = {True: [], False: []}
    for id, seen in registers.values(c, "message", ids, "seen").items():
        if isinstance(seen, bool):
            said[seen].append(id)
    for seen, some in said.items():
        if some:
            messages.mark_seen(c, some, seen)


def _serve_thread(c: Connection, at: At, id: str, announce: bool) -> None:
    last_posted = c.scalar(select(thread.c.last_posted).where(thread.c.id == id))
    if last_posted is None:
        return
    said = registers.fields(c, "thread", id)
    muted = said.get("muted") is True
    archived = said.get("archived")
    until = said.get("snoozed_until_ms")
    encryption = said.get("encryption")
    threads.set_flags(
        c,
        id,
        # Archived up to a message: a later one brings the thread back, unless the person wants to hear no more of it.
        archived=archived is True or (isinstance(archived, str) and (muted or last_posted <= archived)),
        muted=muted,
        snoozed_until_ms=until if type(until) is int and at.now_ms < until < 1 << 62 else 0,
        encryption=encryption if encryption in _ENCRYPTION else None,
    )
    tags = {field.removeprefix(TAG) for field, on in said.items() if field.startswith(TAG) and on is True}
    for name in tags ^ {*c.scalars(select(tag.c.name).where(tag.c.thread == id))}:
        threads.set_tag(c, id, name, name in tags)


def _serve_draft(c: Connection, at: At, key: str, announce: bool) -> None:
    draft = drafts.get(c, key)
    threads.set_flags(c, key, draft=draft is not None)
    if announce:
        changes.emit(c, "draft", models.DraftEvent(key, draft))


def _serve_person(c: Connection, at: At, uid: str, announce: bool) -> None:
    handing_on.serve_person(c, at, uid)


def _serve_group(c: Connection, at: At, gid: str, announce: bool) -> None:
    handing_on.serve_group(c, at, gid)


def _serve_setting(c: Connection, at: At, name: str, announce: bool) -> None:
    if name in settings.BY_NAME:
        changes.emit(c, "setting", models.SettingEvent(name, settings.get(c, name)))


_SERVED: Final[dict[str, Callable[[Connection, At, str, bool], None]]] = {
    "thread": _serve_thread,
    drafts.KIND: _serve_draft,
    handing_on.PERSON: _serve_person,
    handing_on.GROUP: _serve_group,
    settings.KIND: _serve_setting,
}
