# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations: their counts, who reads them, and their lists (B1, B2).

A thread's row follows from its messages, from the registers that devices agree about (archived, muted, snoozed, tags,
draft, encryption) and from the outbox (waiting). Whoever changes those says so here, in the same transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import changes, views
from tmtp_client.store.tables import attachment, member, message, outbox, reader, tag, thread
from tmtp_core.prepared import Prepared

Of = Literal["inbox", "archived", "snoozed", "unseen", "tag", "all"]

_OF_REGISTERS: Final = {"archived": 0, "muted": 0, "snoozed_until_ms": 0, "encryption": "off", "draft": 0, "waiting": 0}

_ZERO: Final[ColumnElement[int]] = literal_column(
    "0"
)  # in so many words: else SQLite does not know which index has all
_FOLLOWS: Final = (  # from its messages
    *("subject", "gid", "last_posted", "last_message", "last_text", "last_alias"),
    *("messages", "unseen", "mentions", "files"),
)
_LOOK: Final = Prepared(select(*(thread.c[name] for name in _FOLLOWS)).where(thread.c.id == bindparam("id")))
_IS_KNOWN: Final = Prepared(select(thread.c.id).where(thread.c.id == bindparam("id")))
_BEGIN: Final = Prepared(insert(thread), *(column.name for column in thread.c))
_GO_ON: Final = Prepared(
    update(thread).where(thread.c.id == bindparam("thread")).values({name: bindparam(name) for name in _FOLLOWS})
)


@dataclass(frozen=True, slots=True)
class Totals:
    """What an account's badge shows: unseen messages, those of them that name one's alias, unseen first contacts."""

    unseen: int
    mentions: int
    pings: int


# -- lists -----------------------------------------------------------------------------------------------------------
def view(connection: Connection, id: str) -> models.Thread | None:
    """One thread, with tags and readers."""
    found = views.threads_by_id(connection, [id])
    return found[0] if found else None


def is_known(connection: Connection, id: str) -> bool:
    """Whether there is such a thread."""
    return _IS_KNOWN(connection, {"id": id}).fetchone() is not None


def list_page(
    connection: Connection, of: Of, *, now_ms: int, tag_name: str = "", after: str = "", limit: int = 50
) -> models.Page:
    """Threads, the latest first. `after`: what `Page.next` said; the same serves for all accounts of a home."""
    limit = max(1, min(limit, limits.PAGE_MAX))
    rows = connection.execute(asked(of, now_ms=now_ms, tag_name=tag_name, after=after).limit(limit + 1)).all()
    shown = rows[:limit]
    return models.Page(tuple(views.threads_of(connection, shown)), _cursor(shown[-1]) if len(rows) > limit else "")


def asked(of: Of, *, now_ms: int, tag_name: str = "", after: str = "") -> Select[Any]:
    """The rows of a list, the latest first."""
    t = thread.c
    statement = select(thread).where(*_which(of, now_ms, tag_name)).order_by(t.last_posted.desc(), t.id.desc())
    if after:
        posted, _, id = after.partition(" ")
        statement = statement.where(tuple_(t.last_posted, t.id) < tuple_(literal(posted), literal(id)))
    return statement


def _which(of: Of, now_ms: int, tag_name: str) -> list[ColumnElement[bool]]:
    t = thread.c
    match of:
        case "inbox":
            return [t.archived == 0, t.snoozed_until_ms <= now_ms]
        case "archived":
            return [t.archived == 1]
        case "snoozed":
            return [t.snoozed_until_ms > _ZERO, t.snoozed_until_ms > now_ms]
        case "unseen":
            return [t.unseen > _ZERO]
        case "tag":
            return [t.id.in_(select(tag.c.thread).where(tag.c.name == tag_name))]
        case "all":
            return []


def _cursor(one: Any) -> str:
    return f"{one.last_posted} {one.id}"


def merged(pages: Sequence[models.Page], limit: int) -> models.Page:
    """One page of the pages that several accounts gave for the same `after` and `limit`."""
    every = sorted((one for page in pages for one in page.threads), key=_order, reverse=True)
    shown = tuple(every[:limit])
    more = len(every) > limit or any(page.next for page in pages)
    return models.Page(shown, _cursor(shown[-1]) if shown and more else "")


def _order(one: models.Thread) -> tuple[str, str]:
    return one.last_posted, one.id


def totals(connection: Connection) -> Totals:
    """Over all threads."""
    t = thread.c
    sums = select(func.coalesce(func.sum(t.unseen), 0), func.coalesce(func.sum(t.mentions), 0)).where(t.unseen > _ZERO)
    unseen, mentions = connection.execute(sums).one()
    m = message.c
    first = and_(m.seen == _ZERO, m.kind.in_(("ping", "invitation")))
    return Totals(unseen, mentions, connection.scalar(select(func.count()).select_from(message).where(first)) or 0)


def tags(connection: Connection) -> list[models.Tag]:
    """All tags in use, by name."""
    asked = select(tag.c.name, func.count()).group_by(tag.c.name).order_by(tag.c.name)
    return [models.Tag(name, threads) for name, threads in connection.execute(asked)]


# -- what is known of a thread otherwise ----------------------------------------------------------------------------
def set_flags(
    connection: Connection,
    id: str,
    *,
    archived: bool | None = None,
    muted: bool | None = None,
    snoozed_until_ms: int | None = None,
    encryption: Literal["off", "on", "shared"] | None = None,
    draft: bool | None = None,
) -> bool:
    """What is given is set. False where there is no such thread, or nothing changed."""
    given = {
        "archived": archived,
        "muted": muted,
        "snoozed_until_ms": snoozed_until_ms,
        "encryption": encryption,
        "draft": draft,
    }
    values = {name: int(value) if isinstance(value, bool) else value for name, value in given.items()}
    return _set(connection, id, {name: value for name, value in values.items() if value is not None})


def set_tag(connection: Connection, id: str, name: str, on: bool) -> bool:
    """Tag it, or take the tag away. False where there is no such thread, or nothing changed."""
    if not is_known(connection, id):
        return False
    if on:
        changed = connection.execute(upsert(tag).values(name=name, thread=id).on_conflict_do_nothing()).rowcount
    else:
        changed = connection.execute(delete(tag).where(tag.c.name == name, tag.c.thread == id)).rowcount
    if changed:
        changes.touch(connection, "thread", id)
    return bool(changed)


def recount_waiting(connection: Connection, id: str) -> bool:
    """The outbox has changed: what waits in this thread. False where there is no such thread, or nothing changed."""
    waiting = connection.scalar(select(func.count()).select_from(outbox).where(outbox.c.thread == id)) or 0
    return _set(connection, id, {"waiting": waiting})


def _set(connection: Connection, id: str, values: dict[str, Any]) -> bool:
    if not values:
        return False
    differs = or_(*(thread.c[name] != value for name, value in values.items()))
    changed = connection.execute(update(thread).where(thread.c.id == id, differs).values(values)).rowcount
    if changed:
        changes.touch(connection, "thread", id)
    return bool(changed)


# -- readers ---------------------------------------------------------------------------------------------------------
def add_readers(connection: Connection, id: str, readers: Iterable[models.Reader], posted: str) -> list[str]:
    """These read it from now on; the uids of those who did not before. Who asked somebody in first stays."""
    added = []
    for one in readers:
        row = {"thread": id, "uid": one.uid, "alias": one.alias, "by": one.by, "note": one.note, "posted": posted}
        if _READS(connection, {**row, "subscribed": 1}).rowcount:
            added.append(one.uid)
    if added:
        changes.touch(connection, "thread", id)
    return added


_SUBSCRIBED: Final = reader.c.subscribed == 1
_reads = upsert(reader)
_READS: Final = Prepared(
    _reads.on_conflict_do_update(
        index_elements=["thread", "uid"], set_={"subscribed": _reads.excluded.subscribed}, where=~_SUBSCRIBED
    ),
    *(column.name for column in reader.c),
)


def drop_reader(connection: Connection, id: str, uid: str) -> bool:
    """He reads it no more. False where he did not."""
    r = reader.c
    gone = update(reader).where(r.thread == id, r.uid == uid, _SUBSCRIBED).values(subscribed=0)
    dropped = connection.execute(gone).rowcount
    if dropped:
        changes.touch(connection, "thread", id)
    return bool(dropped)


def reads(connection: Connection, id: str, uid: str) -> bool:
    """Whether somebody reads a thread: is named, or has joined a group that is, as far as this device knows."""
    r, m = reader.c, member.c
    mine = select(r.uid).where(r.thread == id, _SUBSCRIBED)
    joined = mine.join(member, m.gid == r.uid).where(m.uid == uid, m.stands == "joined")
    return any(connection.scalar(one.limit(1)) is not None for one in (mine.where(r.uid == uid), joined))


def readers(connection: Connection, id: str) -> list[models.Reader]:
    """Who reads it, those of the first message first."""
    r = reader.c
    asked = select(reader).where(r.thread == id, _SUBSCRIBED).order_by(r.posted, r.uid)
    return [models.Reader(row.uid, row.alias, row.by, row.note) for row in connection.execute(asked)]


# -- counts, kept by tmtp_client.store.messages ----------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Topic:
    """What the search index keeps of a thread with each of its messages."""

    subject: str
    gid: str


def begin(connection: Connection, id: str, like: str) -> None:
    """A thread for messages that were in the thread `like` until now; to be recounted."""
    gid = connection.scalar(select(thread.c.gid).where(thread.c.id == like)) or ""
    names = ("subject", "last_posted", "last_message", "last_text", "last_alias")
    counts = dict.fromkeys(("messages", "unseen", "mentions", "files"), 0)
    row = {"id": id, "gid": gid, **dict.fromkeys(names, ""), **counts, **_OF_REGISTERS}
    connection.execute(upsert(thread).values(row).on_conflict_do_nothing())


def count_in(connection: Connection, row: dict[str, Any], *, files: int, gid: str) -> tuple[Topic, bool]:
    """A message (its row) is new. Its thread's topic, and whether that changed for messages that were here before."""
    before = _LOOK(connection, {"id": row["thread"]}).fetchone()
    unseen = 1 - row["seen"]
    last = {
        "last_posted": row["posted"],
        "last_message": row["id"],
        "last_text": row["text"][: limits.THREAD_TEXT_CHARS],
        "last_alias": row["alias"],
    }
    now = {
        "id": row["thread"],
        "subject": row["subject"],
        "gid": gid,
        "messages": 1,
        "unseen": unseen,
        "mentions": unseen * row["mentions"],
        "files": files,
        **last,
    }
    if before is None:
        _BEGIN(connection, {**now, **_OF_REGISTERS})
        return Topic(row["subject"], gid), False
    was = dict(zip(_FOLLOWS, before, strict=True))
    for name in ("messages", "unseen", "mentions", "files"):
        now[name] += was[name]
    now["gid"] = was["gid"] or gid
    if not row["subject"] or (was["subject"] and row["id"] != row["thread"]):
        now["subject"] = was["subject"]
    if (row["posted"], row["id"]) < (was["last_posted"], was["last_message"]):
        now |= {name: was[name] for name in last}
    _GO_ON(connection, {**now, "thread": row["thread"]})
    topic_now = Topic(now["subject"], now["gid"])
    return topic_now, topic_now != Topic(was["subject"], was["gid"])


def count_seen(connection: Connection, id: str, unseen: int, mentions: int) -> None:
    """So many more messages are unseen, and name one's alias; fewer where they are negative."""
    t = thread.c
    more = {"unseen": t.unseen + unseen, "mentions": t.mentions + mentions}
    connection.execute(update(thread).where(t.id == id).values(more))


def recount(connection: Connection, id: str) -> bool:
    """All that follows from its messages, made again; the thread is gone with its last one. Whether its subject
    changed: it is that of the first message, else the one that came first.
    """
    m = message.c
    mine = m.thread == id
    unseen = 1 - m.seen
    counts = select(func.count(), func.sum(unseen), func.sum(unseen * m.mentions)).where(mine)
    messages, unseen_now, mentions = connection.execute(counts).one()
    if not messages:
        for table, column in ((thread, thread.c.id), (reader, reader.c.thread), (tag, tag.c.thread)):
            connection.execute(delete(table).where(column == id))
        return False
    last = connection.execute(select(message).where(mine).order_by(m.posted.desc(), m.id.desc()).limit(1)).one()
    titled = select(m.subject).where(mine, m.subject != "").order_by(m.id != id, m.number).limit(1)
    subject = connection.scalar(titled) or ""
    files = select(func.count()).select_from(attachment).join(message, m.id == attachment.c.message).where(mine)
    before = connection.scalar(select(thread.c.subject).where(thread.c.id == id))
    values = {
        "subject": subject,
        "last_posted": last.posted,
        "last_message": last.id,
        "last_text": last.text[: limits.THREAD_TEXT_CHARS],
        "last_alias": last.alias,
        "messages": messages,
        "unseen": unseen_now,
        "mentions": mentions,
        "files": connection.scalar(files) or 0,
    }
    connection.execute(update(thread).where(thread.c.id == id).values(values))
    return bool(before != subject)
