# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person does to threads: archive, mute, snooze, tag, encrypt. Each is a register, the same on all devices.

A tag is a register of its own, so that two devices that tag the same thread do not undo one another.
"""

import unicodedata
from typing import Any, Literal

from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.store import tables
from tmtp_client.sync import state
from tmtp_client.sync.registers import At


def tag_name(text: str) -> str:
    """A tag's name as it is kept: NFC, blanks trimmed and collapsed. Raises ValueError for what is none."""
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name:
        raise ValueError("tag: it needs a name")
    if len(name) > limits.TAG_MAX_CHARACTERS:
        raise ValueError(f"tag: a name has {limits.TAG_MAX_CHARACTERS} characters at most")
    if not name.isprintable():
        raise ValueError("tag: a name has printable characters only")
    return name


def mark_thread(
    c: Connection,
    at: At,
    id: str,
    *,
    archived: bool | None = None,
    muted: bool | None = None,
    snoozed_until_ms: int | None = None,
    tag: str = "",
    untag: str = "",
    encryption: Literal["off", "on", "shared"] | None = None,
) -> None:
    """What is given is set, what is null stays. Raises KeyError where there is no such thread, ValueError with the
    name of what makes no sense.

    A thread is archived up to its latest message: the next one brings it back, unless it is muted.
    """
    last_posted = c.scalar(select(tables.thread.c.last_posted).where(tables.thread.c.id == id))
    if last_posted is None:
        raise KeyError(id)
    if snoozed_until_ms is not None and not 0 <= snoozed_until_ms <= limits.STAMP_MAX_MS:
        raise ValueError("snoozed_until_ms: milliseconds since 1970, or 0: not snoozed")
    fields: dict[str, Any] = {}
    if archived is not None:
        fields["archived"] = last_posted if archived else None
    if muted is not None:
        fields["muted"] = muted or None
    if snoozed_until_ms is not None:
        fields["snoozed_until_ms"] = snoozed_until_ms or None
    if encryption is not None:
        fields["encryption"] = encryption
    if tag:
        fields[state.TAG + _new_tag(c, id, tag)] = True
    if untag:
        fields[state.TAG + tag_name(untag)] = None
    state.set(c, at, "thread", id, fields)


def _new_tag(c: Connection, id: str, text: str) -> str:
    name = tag_name(text)
    present = set(c.scalars(select(tables.tag.c.name).where(tables.tag.c.thread == id)))
    if len(present | {name}) > limits.TAGS_PER_THREAD_MAX:
        raise ValueError(f"tag: a thread has {limits.TAGS_PER_THREAD_MAX} at most")
    return name
