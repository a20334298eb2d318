# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service has taken becomes history, in the transaction in which it leaves the outbox."""

from collections.abc import Set

from sqlalchemy import Connection, delete

from tmtp_client.api import models
from tmtp_client.store import messages, outbox, threads
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.store.outbox import Content, Entry
from tmtp_client.store.tables import staged
from tmtp_core.wire.messages import TO_GROUP


def record(
    c: Connection, entry: Entry, msgid: str, posted: str, now_ms: int, uid: str, alias: str, own: Set[str], suite: int
) -> bool:
    """The service has `entry` as message `msgid`: into the history with it. False: it was known, or shows nowhere."""
    content = entry.content
    if outbox.ended(c, entry.request_id, msgid) is None:
        return False
    for one in content.files:
        c.execute(delete(staged).where(staged.c.file == one.file))
    if entry.kind not in outbox.SHOWN:
        return False
    thread_id = "" if entry.kind in {"ping", "invitation"} else content.thread or msgid
    new = NewMessage(
        id=msgid,
        kind=entry.kind,
        outgoing=True,
        author=uid,
        alias=alias,
        verified=True,
        to=((content.gid, TO_GROUP),) if entry.kind == "invitation" else content.to,
        thread=thread_id,
        subject=content.gid if entry.kind == "invitation" else content.subject,
        text=content.note if entry.kind == "note" else content.text,
        posted=posted,
        received_ms=now_ms,
        state="sent",
        seen=True,
        suite=suite,
        of=content.adds,
        attachments=_attachments(content),
    )
    is_new = messages.record(c, new, frozenset(own))
    if is_new and content.cc:
        readers = [models.Reader(one.whouid, one.who, one.byuid, one.note) for one in content.cc]
        threads.add_readers(c, thread_id, readers, posted)
    return is_new


def _attachments(content: Content) -> tuple[NewAttachment, ...]:
    return tuple(
        NewAttachment(one.kind, one.name, one.form, one.size, one.file, one.size, hash=one.hash)
        for one in content.files
    )
