# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person is told of now (B1): not what is muted, snoozed, put away, ignored, his own, or seen elsewhere."""

from typing import Final, NamedTuple

from sqlalchemy import Connection as Rows
from sqlalchemy import bindparam, select

from tmtp_client.api import models
from tmtp_client.engine.context import Context
from tmtp_client.store import changes
from tmtp_client.store.tables import message, person, thread
from tmtp_client.sync import settings
from tmtp_core.prepared import Prepared

_TEXT_CHARACTERS: Final = 200
_SOMETHING: Final = "A new message"
_SEALED: Final = "An encrypted message, whose key is still being asked for"


class _Came(NamedTuple):
    """What is looked at of a message that came."""

    outgoing: int
    seen: int
    state: str
    mentions: int
    alias: str
    thread: str
    subject: str
    text: str
    muted: int
    archived: int
    snoozed_until_ms: int
    blocked: int | None
    stands: str | None


_TABLES: Final = (message, thread, person)
_CAME: Final = Prepared(
    select(*(next(table.c[name] for table in _TABLES if name in table.c) for name in _Came._fields))
    .join_from(message, thread, thread.c.id == message.c.thread)
    .outerjoin(person, person.c.uid == message.c.author)
    .where(message.c.id == bindparam("id"))
)


def message_came(c: Rows, context: Context, id: str) -> None:
    """A message was kept and all that devices agree about was applied to it: whether anybody is told, and what."""
    found = _CAME(c, {"id": id}).fetchone()
    if found is None:
        return
    row = _Came(*found)
    if row.outgoing or row.seen or row.state == "unconfirmed":
        return
    if row.muted or row.archived or row.snoozed_until_ms > context.clock() or row.blocked or row.stands == "ignored":
        return
    wanted = settings.get(c, "notifications")
    if wanted == "none" or (wanted == "mentions" and not row.mentions):
        return
    text = _SEALED if row.state == "sealed" else row.text.strip() or row.subject or _SOMETHING
    if not settings.get(c, "notification_text"):
        text = _SOMETHING
    tell(c, context, row.alias, text, thread_id=row.thread, message_id=id)


def came_back(c: Rows, context: Context, id: str) -> None:
    """A snoozed thread is there again."""
    row = c.execute(select(thread).where(thread.c.id == id)).one_or_none()
    if row is None or row.muted or settings.get(c, "notifications") == "none":
        return
    shown = settings.get(c, "notification_text")
    title = (row.subject if shown else "") or "A conversation is back"
    tell(c, context, title, row.last_text if shown else "", thread_id=id)


def tell(c: Rows, context: Context, title: str, text: str, *, thread_id: str = "", message_id: str = "") -> None:
    """One event for listeners, in the transaction of what it is about."""
    service = context.identity.service
    event = models.NotificationEvent(service, title, text[:_TEXT_CHARACTERS], thread_id, message_id)
    changes.emit(c, "notification", event)
