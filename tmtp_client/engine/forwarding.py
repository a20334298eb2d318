# SPDX-License-Identifier: AGPL-3.0-or-later
"""People who are asked into a thread: the copy they get, the note that all readers get, and the confirmations by which
each author stands up for his own messages (wire.md §11; docs/protocol.md, *What clients say to each other*).

A copy is only what its sender says. Its messages are kept apart, as unconfirmed, under names that no message of the
service can have, so that nothing that was really written is ever taken for known because a copy claimed its id.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import literal_column, select

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import posting, thread_copy
from tmtp_client.engine.arrival import Arrival
from tmtp_client.engine.context import Context
from tmtp_client.store import messages, outbox, threads
from tmtp_client.store.messages import NewMessage
from tmtp_client.store.outbox import Content, Entry, File
from tmtp_client.store.tables import attachment, message, reader
from tmtp_core.wire.messages import TO_GROUP_NOT_SELF, TO_UID
from tmtp_core.wire.payload import Attached, Subscriber

_NOTHING: Final[Any] = literal_column("''")  # in so many words: else SQLite does not know which index has all


# -- asking people in ------------------------------------------------------------------------------------------------
def copy_of(c: Rows, thread: str, own: str) -> str:
    """The thread as it is here, without attachments' octets, and without what the `own` account wrote to some of its
    readers only. Raises ValueError where it is too long.
    """
    rows = c.execute(
        select(message)
        .where(
            message.c.thread == thread, message.c.kind == "message", message.c.state.not_in(("sealed", "unreadable"))
        )
        .order_by(message.c.posted, message.c.id)
    ).all()
    people = c.execute(select(reader).where(reader.c.thread == thread, reader.c.subscribed == 1)).all()
    rows = [row for row in rows if not _is_aside(row, people, own)]
    if len(rows) > limits.COPIED_MAX:
        raise ValueError(f"the thread has more than {limits.COPIED_MAX} messages: forward those that matter")
    copied = [
        thread_copy.Copied(
            row.confirms or (row.of if row.state == "unconfirmed" else "") or row.id,
            row.author,
            row.alias,
            row.posted,
            row.subject,
            row.text,
            tuple(
                Attached(posting.PREFIXES[one.kind] + one.name, one.size, one.form) for one in _attachments(c, row.id)
            ),
        )
        for row in rows
    ]
    readers = [Subscriber(one.alias, one.uid, "", one.by, one.posted, one.note, subscribe=True) for one in people]
    return thread_copy.write(thread, copied, readers).decode()


def goes_on(c: Rows, context: Context, entry: Entry, msgid: str, *, sealed: bool) -> bool:
    """The copy of a sealed thread is with the service: next comes the note, for all readers. False for all else."""
    content = entry.content
    if entry.kind != "note" or not sealed or content.adds:
        return False
    outbox.ended(c, entry.request_id, "")
    now_ms = context.clock()
    rest = msgspec.structs.replace(content, text="", adds=msgid, to=content.to + content.known, known=())
    outbox.enqueue(c, "note", rest, now_ms, now_ms, context.random_bytes)
    return True


def asked_in(c: Rows, context: Context, entry: Entry, msgid: str) -> None:
    """The note is with the service: this account confirms what it wrote itself."""
    if entry.kind == "note":
        newcomers = tuple(one for one in entry.content.cc if one.whouid != context.uid)
        _confirm_own(c, context, entry.content.thread, entry.content.adds or msgid, newcomers, delay_ms=0)


# -- being asked in, and hearing of it -------------------------------------------------------------------------------
def copied(c: Rows, context: Context, arrival: Arrival, *, believed: bool = True) -> int:
    """A copy of a thread came. How many messages are new here.

    Raises ValueError for what is no copy, or is none that its sender may put into a thread that is here; so is one
    whose sender is not `believed`.
    """
    event, head = arrival.event, arrival.head
    thread = head.threadid or ""
    if not believed:
        raise ValueError("it is the copy of an encrypted conversation, and nobody is known to have signed it")
    found, readers = thread_copy.read(arrival.text.encode())
    if not thread or (threads.readers(c, thread) and not threads.reads(c, thread, event.from_)):
        raise ValueError("who sent the copy does not read this thread")
    new = 0
    for place, one in enumerate(found):
        if _knows(c, thread, one.id, one.author):
            continue
        new += messages.record(
            c,
            NewMessage(
                id=f"{event.id}-{place}",
                kind="message",
                outgoing=False,
                author=one.author,
                alias=one.alias,
                verified=False,
                to=(),
                thread=thread,
                subject=one.subject,
                text=one.text,
                posted=_dated(one.posted, event.posted),
                received_ms=arrival.received_ms,
                state="unconfirmed",
                seen=False,
                suite=arrival.suite,
                of=one.id,
            ),
            context.aliases,
        )
    threads.add_readers(c, thread, _as_readers(readers), event.posted)
    return new


def noted(c: Rows, context: Context, arrival: Arrival, note_id: str) -> tuple[Subscriber, ...] | None:
    """People were asked into a thread: they read it from now on, and this account confirms to them what it wrote.

    None where who says so does not read the thread himself: then nothing follows from it. `note_id`: of the copy.
    """
    event, head = arrival.event, arrival.head
    thread = head.threadid or ""
    if not thread or not threads.reads(c, thread, event.from_):
        return None
    threads.add_readers(c, thread, _as_readers(head.cc), event.posted)
    if event.from_ != context.uid:  # else the device that asked them in confirms
        delay_ms = int(1000 * limits.CONFIRM_WITHIN_S * int.from_bytes(context.random_bytes(4)) / 2**32)
        newcomers = tuple(one for one in head.cc if one.whouid != context.uid)
        _confirm_own(c, context, thread, note_id, newcomers, delay_ms)
    return head.cc


def confirmed(c: Rows, context: Context, arrival: Arrival, new: NewMessage) -> tuple[NewMessage | None, list[str]]:
    """An author confirms what a copy said, or says it differently: his words count. The message to keep, if any, and
    the copies that are to go once it is kept: their thread, of which they may be all there is, stays with its readers.
    What came before its copy is confirmed before that is here.
    """
    event, head = arrival.event, arrival.head
    if event.from_ == context.uid:  # another of one's devices was faster
        outbox.drop_confirmation(c, head.confirmid, head.confirmfor)
        return None, []
    thread = head.threadid or ""
    if _has_said(c, thread, head.confirmid, event.from_):
        return None, []
    copies = _copies(c, thread, head.confirmid, event.from_)
    if not copies and not _may_be_copied(c, arrival):
        return new, []
    dates = {row.posted for row in copies}
    posted = head.confirmposted if head.confirmposted in dates else new.posted
    return replace(new, posted=posted, confirms=head.confirmid), [row.id for row in copies]


def confirmed_late(c: Rows, context: Context, arrival: Arrival) -> list[str]:
    """What was kept as a message of its own, since nobody could say yet who signed it, is the confirmation that it says
    it is; or one of what is confirmed already. Files that nothing needs any more.
    """
    event, head = arrival.event, arrival.head
    if event.from_ == context.uid:
        outbox.drop_confirmation(c, head.confirmid, head.confirmfor)
        return messages.remove(c, [event.id])
    thread = head.threadid or ""
    if _has_said(c, thread, head.confirmid, event.from_):
        return messages.remove(c, [event.id])
    copies = _copies(c, thread, head.confirmid, event.from_)
    if copies or _may_be_copied(c, arrival):
        dates = {row.posted for row in copies}
        posted = head.confirmposted if head.confirmposted in dates else event.posted
        messages.confirm(c, event.id, head.confirmid, posted)
    return messages.remove(c, [row.id for row in copies])


# -- inside ----------------------------------------------------------------------------------------------------------
def _copies(c: Rows, thread: str, id: str, author: str) -> Sequence[Any]:
    """What copies say here that an author wrote in a thread under this id."""
    m = message.c
    mine = (m.of == id, m.of != _NOTHING, m.thread == thread, m.author == author, m.state == "unconfirmed")
    return c.execute(select(m.id, m.posted).where(*mine)).all()


def _may_be_copied(c: Rows, arrival: Arrival) -> bool:
    """Whether a copy may say of this confirmation's author that he wrote something: he reads the thread, or it is not
    here yet and he has signed. Else what a service makes up would stand in the place of what he signs.
    """
    thread = arrival.head.threadid or ""
    if threads.readers(c, thread):
        return threads.reads(c, thread, arrival.event.from_)
    return arrival.opened is not None


def _confirm_own(
    c: Rows, context: Context, thread: str, copy: str, newcomers: tuple[Subscriber, ...], delay_ms: int
) -> None:
    """Post this account's own messages of a thread again, to the newcomers, each under an entry of its own."""
    to = tuple((one.whouid, TO_GROUP_NOT_SELF if one.who == one.whouid else TO_UID) for one in newcomers)
    if not to:
        return
    now_ms = context.clock()
    rows = c.execute(
        select(message)
        .where(message.c.thread == thread, message.c.outgoing == 1, message.c.kind == "message")
        .order_by(message.c.posted, message.c.id)
    ).all()
    people = c.execute(select(reader).where(reader.c.thread == thread, reader.c.subscribed == 1)).all()
    for row in rows:
        if _is_aside(row, people, context.uid):
            continue
        files = tuple(
            File(one.name, one.kind, one.file, one.size, one.hash, one.form)
            for one in _attachments(c, row.id)
            if one.file
        )
        content = Content(
            to=to,
            names=tuple(one.who for one in newcomers),
            subject=row.subject,
            thread=thread,
            text=row.text,
            files=files,
            confirms=(row.confirms or row.id, row.posted, copy),
        )
        outbox.enqueue(c, "confirmation", content, now_ms + delay_ms, now_ms, context.random_bytes, scheduled=True)


def _is_aside(row: Any, people: Sequence[Any], own: str) -> bool:
    """Whether one's own message went to some only of those who read the thread then: it is not for who comes later."""
    to = {name for name, _ in msgspec.json.decode(row.to, type=list[tuple[str, int]])}
    then = {one.uid for one in people if one.posted <= row.posted} - {own}
    return bool(row.outgoing and to and then - to)


def _attachments(c: Rows, id: str) -> list:  # type: ignore[type-arg]
    return list(c.execute(select(attachment).where(attachment.c.message == id).order_by(attachment.c.place)).all())


def _dated(claimed: str, came: str) -> str:
    """The date of a message of a copy, where it is one, and before the copy: else it would be the latest for ever."""
    try:
        datetime.fromisoformat(claimed)
    except ValueError:
        return came
    return claimed if len(claimed) == len(came) and claimed <= came else came


def _knows(c: Rows, thread: str, id: str, author: str) -> bool:
    """Whether what somebody wrote in a thread is here: itself, confirmed, or as a copy says it. What another confirms
    under this id, or a copy says that he wrote, says nothing of it.
    """
    return _has_said(c, thread, id, author) or bool(_copies(c, thread, id, author))


def _has_said(c: Rows, thread: str, id: str, author: str) -> bool:
    """The same, by himself."""
    m = message.c
    ways = ((m.id == id,), (m.confirms == id, m.confirms != _NOTHING, m.author == author))
    return any(c.scalar(select(m.id).where(*way, m.thread == thread).limit(1)) is not None for way in ways)


def _as_readers(entries: tuple[Subscriber, ...]) -> list[models.Reader]:
    return [models.Reader(one.whouid, one.who, one.byuid, one.note) for one in entries if one.subscribe and one.whouid]
