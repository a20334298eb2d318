# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tags of threads: a register for each, so that two devices that tag the same thread do not undo one another."""

import unicodedata
from typing import Final

from sqlalchemy import Connection, func, select

from tmtp_client import limits
from tmtp_client.api.models import Tag
from tmtp_client.store import tables
from tmtp_client.sync import registers
from tmtp_client.sync.registers import At

PREFIX: Final = "tag:"
"""Of a field of a thread's registers: behind it stands the tag's name; its value is true, or it was taken away."""

_r = tables.register.c


def name_of(text: str) -> str:
    """A tag's name as it is kept: NFC, blanks trimmed and collapsed. Raises ValueError for what is none."""
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name:
        raise ValueError("a tag needs a name")
    if len(name) > limits.TAG_MAX_CHARACTERS:
        raise ValueError(f"a tag has {limits.TAG_MAX_CHARACTERS} characters at most")
    if not name.isprintable():
        raise ValueError("a tag has printable characters only")
    return name


def tag(c: Connection, at: At, thread: str, text: str) -> None:
    """Put a tag on a thread. Raises ValueError for what is none, or one too many."""
    name = name_of(text)
    present = of(c, thread)
    if name in present:
        return
    if len(present) >= limits.TAGS_PER_THREAD_MAX:
        raise ValueError(f"a thread has {limits.TAGS_PER_THREAD_MAX} tags at most")
    registers.set(c, at, "thread", thread, {PREFIX + name: True})


def untag(c: Connection, at: At, thread: str, text: str) -> None:
    """Take it off again; nothing where it is not on it."""
    name = name_of(text)
    if name in of(c, thread):
        registers.set(c, at, "thread", thread, {PREFIX + name: None})


def of(c: Connection, thread: str) -> tuple[str, ...]:
    """A thread's tags, in the order of their names."""
    rows = c.scalars(select(_r.field).where(_r.kind == "thread", _r.key == thread, _is_tag(), _r.value == "true"))
    return tuple(sorted(field.removeprefix(PREFIX) for field in rows))


def all_in_use(c: Connection) -> list[Tag]:
    """Every tag of the threads that are here, and on how many it is."""
    threads = select(tables.thread.c.id)
    where = (_r.kind == "thread", _is_tag(), _r.value == "true", _r.key.in_(threads))
    rows = c.execute(select(_r.field, func.count()).where(*where).group_by(_r.field).order_by(_r.field))
    return [Tag(field.removeprefix(PREFIX), count) for field, count in rows]


def threads_with(c: Connection, name: str) -> list[str]:
    """Ids of the threads that have a tag."""
    return list(c.scalars(select(_r.key).where(_r.kind == "thread", _r.field == PREFIX + name, _r.value == "true")))


def _is_tag() -> object:
    return _r.field.startswith(PREFIX, autoescape=True)
