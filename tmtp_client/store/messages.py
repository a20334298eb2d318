# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was written, sent and received (B1, B3). With each message all that follows from it: its thread's counts, the
search index, the event for listeners; in the caller's transaction, so that after a crash they agree.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, delete, insert, literal, literal_column, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import changes, index, outbox, threads, views
from tmtp_client.store.tables import answer, attachment, message
from tmtp_client.store.words import mentions
from tmtp_core.prepared import Prepared

_KEEP: Final = Prepared(
    upsert(message).on_conflict_do_nothing(index_elements=["id"]).returning(message.c.number),
    *(column.name for column in message.c if column is not message.c.number),
)
GROUP_TYPES: Final = frozenset({2, 3})  # of an entry of `for` (wire.md §6)


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """A file or form of a message. `file`: in the vault's files; "" until all its octets are here; `have`: how many."""

    kind: Literal["file", "form", "filled"]
    name: str
    form: str
    size: int
    file: str
    have: int
    transfer: str = ""
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it is kept: the columns of `message`. `thread` empty: it begins one of its own id.

    `to`: (uid or gid, type) as far as this device knows; of an invitation its group.
    """

    id: str
    kind: models.MessageKind
    outgoing: bool
    author: str
    alias: str
    verified: bool
    to: tuple[tuple[str, int], ...]
    thread: str
    subject: str
    text: str
    posted: str
    received_ms: int
    state: models.MessageState
    seen: bool
    suite: int = 0
    sealed: str = ""
    confirms: str = ""
    of: str = ""
    attachments: tuple[NewAttachment, ...] = ()


# -- keeping ---------------------------------------------------------------------------------------------------------
def record(connection: Connection, new: NewMessage, own: Set[str]) -> bool:
    """Keep a message; False when it was here already. `own`: this account's aliases, whose mention counts."""
    row: dict[str, Any] = {
        "id": new.id,
        "kind": new.kind,
        "outgoing": int(new.outgoing),
        "author": new.author,
        "alias": new.alias,
        "verified": int(new.verified),
        "to": json.dumps(new.to, ensure_ascii=False),
        "thread": new.thread or new.id,
        "subject": new.subject,
        "text": new.text,
        "posted": new.posted,
        "received_ms": new.received_ms,
        "state": new.state,
        "seen": int(new.seen),
        "mentions": int(not new.outgoing and mentions(new.text, own)),
        "suite": new.suite,
        "sealed": new.sealed,
        "confirms": new.confirms,
        "of": new.of,
    }
    kept = _KEEP(connection, row).fetchone()
    if kept is None:
        return False
    number = kept[0]
    _keep_attachments(connection, new.id, new.attachments)
    gid = next((name for name, type in new.to if type in GROUP_TYPES and new.kind == "message"), "")
    topic, renamed = threads.count_in(connection, row, files=len(new.attachments), gid=gid)
    index.put(connection, number, row, new.attachments, topic)
    if renamed:
        index.put_thread(connection, row["thread"])
    changes.touch(connection, "message", new.id, new=True)
    return True


def _keep_attachments(connection: Connection, id: str, attachments: Sequence[NewAttachment]) -> None:
    if attachments:
        rows = [
            {
                "message": id,
                "place": place,
                "kind": one.kind,
                "name": one.name,
                "form": one.form,
                "size": one.size,
                "file": one.file,
                "have": one.have,
                "hash": one.hash,
                "transfer": one.transfer,
            }
            for place, one in enumerate(attachments)
        ]
        connection.execute(insert(attachment), rows)


def change(connection: Connection, id: str, **fields: Any) -> bool:
    """Columns of `message` have other values now; False when it is not here. Not for what `replace_content` does."""
    before = connection.execute(select(message.c.number, message.c.thread).where(message.c.id == id)).one_or_none()
    if before is None:
        return False
    connection.execute(update(message).where(message.c.id == id).values(fields))
    _follow(connection, before.number, before.thread, fields.get("thread", before.thread))
    changes.touch(connection, "message", id)
    return True


def replace_content(
    connection: Connection,
    id: str,
    *,
    subject: str,
    text: str,
    attachments: Sequence[NewAttachment],
    own: Set[str],
    **fields: Any,
) -> bool:
    """What a message says is known only now, or anew: it was sealed, or is confirmed. `fields`: further columns that
    change with it (state, suite, sealed, alias …). False when it is not here.
    """
    row = connection.execute(select(message).where(message.c.id == id)).one_or_none()
    if row is None:
        return False
    named = int(not row.outgoing and mentions(text, own))
    content = {**fields, "subject": subject, "text": text, "mentions": named}
    connection.execute(update(message).where(message.c.id == id).values(content))
    connection.execute(delete(attachment).where(attachment.c.message == id))
    _keep_attachments(connection, id, attachments)
    _follow(connection, row.number, row.thread, fields.get("thread", row.thread))
    changes.touch(connection, "message", id)
    return True


def confirm(connection: Connection, id: str, confirms: str, posted: str) -> None:
    """A message that is here confirms a forwarded one: it stands where that one was written."""
    m = message.c
    row = connection.execute(select(m.number, m.thread).where(m.id == id)).one_or_none()
    if row is not None:
        connection.execute(update(message).where(m.id == id).values(confirms=confirms, posted=posted))
        _follow(connection, row.number, row.thread, row.thread)
        changes.touch(connection, "message", id)


def remove(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Take messages out of the history, as an unconfirmed copy whose author has spoken; the vault's files that were
    theirs alone, to be removed after the commit.
    """
    m, a = message.c, attachment.c
    rows = connection.execute(select(m.id, m.number, m.thread).where(views.among(m.id, ids))).all()
    gone = [row.id for row in rows]
    files = set(connection.scalars(select(a.file).where(views.among(a.message, gone), a.file != "")))
    for table in (attachment, answer):
        connection.execute(delete(table).where(views.among(table.c.message, gone)))
    connection.execute(delete(message).where(views.among(m.id, gone)))
    index.remove(connection, [row.number for row in rows])
    left = {}
    for id in {row.thread for row in rows}:
        if threads.recount(connection, id):
            index.put_thread(connection, id)
        left[id] = threads.is_known(connection, id)
        changes.touch(connection, "thread", id)
    for row in rows:
        changes.emit(connection, "removed", models.RemovedEvent(row.id, row.thread, thread_gone=not left[row.thread]))
    if files:
        files -= set(connection.scalars(select(a.file).where(views.among(a.file, files))))
        files -= set(outbox.files(connection))
    return sorted(files)


def _follow(connection: Connection, number: int, before: str, now: str) -> None:
    """A message has changed: so do its thread, the one it was in, and the index."""
    if now != before:
        threads.begin(connection, now, before)
    for id in {before, now}:
        if threads.recount(connection, id):
            index.put_thread(connection, id)
    index.put_again(connection, [number])


def set_attachment(
    connection: Connection, id: str, place: int, *, have: int, file: str = "", hash: bytes = b""
) -> bool:
    """More of a large file is here: `have` octets, and once all are, where, and their hash. With the last one the
    message is whole.

    False when there is no such attachment.
    """
    a = attachment.c
    mine = (a.message == id, a.place == place)
    if not connection.execute(update(attachment).where(*mine).values(have=have, file=file, hash=hash)).rowcount:
        return False
    lacking = select(a.place).where(a.message == id, a.file == "").limit(1)
    if connection.scalar(lacking) is None:
        whole = update(message).where(message.c.id == id, message.c.state == "partial").values(state="received")
        connection.execute(whole)
    changes.touch(connection, "message", id)
    return True


# -- seen ------------------------------------------------------------------------------------------------------------
def mark_seen(connection: Connection, ids: Iterable[str], seen: bool) -> list[str]:
    """The person has seen these, or wants them unread again; those of them that were not so before."""
    return _mark(connection, seen, views.among(message.c.id, ids))


def mark_thread_seen(connection: Connection, id: str, upto: str, seen: bool) -> list[str]:
    """The same for everything in a thread, up to and with the message `upto`, or all of it where that is empty."""
    m = message.c
    where = [m.thread == id]
    if upto:
        last = connection.execute(select(m.posted, m.id).where(m.id == upto, m.thread == id)).one_or_none()
        if last is None:
            return []
        where.append(tuple_(m.posted, m.id) <= tuple_(literal(last.posted), literal(last.id)))
    return _mark(connection, seen, *where)


def _mark(connection: Connection, seen: bool, *where: Any) -> list[str]:
    m = message.c
    marking = update(message).where(*where, m.outgoing == 0, m.seen == int(not seen)).values(seen=int(seen))
    rows = connection.execute(marking.returning(m.id, m.thread, m.mentions)).all()
    counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for row in rows:
        unseen, named = counts[row.thread]
        counts[row.thread] = (unseen + 1, named + row.mentions)
        changes.touch(connection, "message", row.id)
    sign = -1 if seen else 1
    for id, (unseen, named) in counts.items():
        threads.count_seen(connection, id, sign * unseen, sign * named)
    return [row.id for row in rows]


# -- looking ---------------------------------------------------------------------------------------------------------
def view(connection: Connection, id: str) -> models.Message | None:
    """One message."""
    found = views.messages_by_id(connection, [id])
    return found[0] if found else None


def note_of(connection: Connection, copy: str) -> models.Message | None:
    """One's own note that goes with this copy of a sealed thread, which is shown nowhere itself."""
    m = message.c
    mine = select(m.id).where(m.of == copy, m.of != literal_column("''"), m.kind == "note", m.outgoing == 1)
    id = connection.scalar(mine.limit(1))
    return None if id is None else view(connection, id)


def named(connection: Connection, text: str) -> str | None:
    """The id of the message that is called so, or whose id alone ends so."""
    m = message.c
    if connection.scalar(select(m.id).where(m.id == text)) is not None:
        return text
    rows = connection.scalars(select(m.id).where(m.id.endswith(text, autoescape=True)).limit(2)).all()
    return rows[0] if len(rows) == 1 else None


def unopened(connection: Connection, suite: int) -> Sequence[Any]:
    """What is sealed so and waits for its key: `id`, `author` and `thread` of each, the latest first."""
    m = message.c
    waiting = select(m.id, m.author, m.thread).where(m.state == literal_column("'sealed'"), m.suite == suite)
    return connection.execute(waiting.order_by(m.posted.desc(), m.id)).all()


def latest(connection: Connection, limit: int) -> list[models.Message]:
    """The latest messages, whichever thread, newest last."""
    m = message.c
    asked = select(message).order_by(m.posted.desc(), m.id.desc()).limit(max(1, min(limit, limits.PAGE_MAX)))
    return views.messages_of(connection, connection.execute(asked).all()[::-1])


def page(
    connection: Connection, thread_id: str, *, before: str = "", around: str = "", limit: int = 50
) -> models.Messages | None:
    """A thread's latest messages, oldest of them first; None where there is no such thread. `before`: as
    `Messages.before` said, for those before. `around`: the page with this message in its middle.
    """
    of = threads.view(connection, thread_id)
    if of is None:
        return None
    limit = max(1, min(limit, limits.PAGE_MAX))
    m = message.c
    mine = select(message).where(m.thread == thread_id)
    place = tuple_(m.posted, m.id)
    latest_first = (m.posted.desc(), m.id.desc())
    later: Sequence[Any] = ()
    if before:
        posted, _, id = before.partition(" ")
        mine = mine.where(place < tuple_(literal(posted), literal(id)))
    elif around:
        middle = connection.execute(select(m.posted, m.id).where(m.id == around, m.thread == thread_id)).one_or_none()
        if middle is not None:
            at = tuple_(literal(middle.posted), literal(middle.id))
            later = connection.execute(mine.where(place > at).order_by(m.posted, m.id).limit(limit // 2)).all()
            mine, limit = mine.where(place <= at), limit - len(later)
    rows = connection.execute(mine.order_by(*latest_first).limit(limit + 1)).all()
    shown = [*rows[:limit][::-1], *later]
    return models.Messages(
        of, tuple(views.messages_of(connection, shown)), (), _cursor(shown[0]) if len(rows) > limit else ""
    )


def _cursor(row: Any) -> str:
    return f"{row.posted} {row.id}"
