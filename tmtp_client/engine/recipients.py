# SPDX-License-Identifier: AGPL-3.0-or-later
"""To whom something goes: names that a person writes, as the uids and gids of `for`."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from tmtp_client import limits
from tmtp_client.store.tables import alias, group, log_record, member, person, reader
from tmtp_core.wire.messages import TO_GROUP, TO_GROUP_NOT_SELF, TO_UID

To = tuple[tuple[str, int], ...]
"""uid or gid, and the type of recipient (wire.md §6)."""


class Unknown(Exception):
    """Nobody of this name is known here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """To whom, and how they are called here."""

    to: To
    names: tuple[str, ...]

    @property
    def people(self) -> tuple[tuple[str, str], ...]:
        """Name and uid (or gid) of each."""
        return tuple((name, one) for name, (one, _) in zip(self.names, self.to, strict=True))


def resolve(c: Connection, names: Sequence[str]) -> Recipients:
    """Find everybody. Raises `Unknown`, and ValueError for none, or too many."""
    if not names:
        raise ValueError("to: a message needs somebody to go to")
    if len(names) > limits.RECIPIENTS_MAX:
        raise ValueError(f"to: at most {limits.RECIPIENTS_MAX} recipients; make a group")
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        one, kind, called = _find(c, name)
        found[one] = (kind, called)
    return Recipients(
        tuple((one, kind) for one, (kind, _) in found.items()), tuple(called for _, called in found.values())
    )


def of_uids(c: Connection, ids: Sequence[str]) -> Recipients:
    """The same for uids and gids that are known to be some, such as a thread's readers."""
    to = tuple((one, TO_GROUP_NOT_SELF if _is_group(c, one) else TO_UID) for one in ids)
    return Recipients(to, tuple(name_of(c, one) for one in ids))


def readers_of(c: Connection, thread_id: str, own: str) -> tuple[str, ...]:
    """Who reads a thread besides oneself: uids and gids, in the order in which they came to it."""
    rows = select(reader.c.uid).where(reader.c.thread == thread_id, reader.c.subscribed == 1, reader.c.uid != own)
    return tuple(c.scalars(rows.order_by(reader.c.posted, reader.c.uid)))


def uids_of(c: Connection, to: To, own: str) -> tuple[str, ...]:
    """Everybody whom a post reaches besides oneself; of groups whoever has joined, as far as this device knows."""
    uids: dict[str, None] = {}
    for one, kind in to:
        if kind in {TO_GROUP, TO_GROUP_NOT_SELF}:
            joined = select(member.c.uid).where(member.c.gid == one, member.c.stands == "joined")
            uids.update(dict.fromkeys(c.scalars(joined.order_by(member.c.uid))))
        else:
            uids[one] = None
    uids.pop(own, None)
    return tuple(uids)


def has_keys(c: Connection, uid: str) -> bool:
    """Whether the account's log is here, verified: its clients speak revision 2."""
    return c.execute(select(log_record.c.place).where(log_record.c.uid == uid).limit(1)).one_or_none() is not None


def name_of(c: Connection, one: str) -> str:
    """How somebody is called here; a group, or somebody who has no name yet, as he is."""
    return c.scalar(select(person.c.alias).where(person.c.uid == one)) or one


def _find(c: Connection, name: str) -> tuple[str, int, str]:
    uid = c.scalar(select(person.c.uid).where(person.c.uid == name))  # first: anybody may take an alias like a uid
    if uid is None:
        uid = c.scalar(select(alias.c.uid).where(alias.c.alias == name))
    if uid is None:  # a ghost's name is its address
        uid = c.scalar(select(person.c.uid).where(person.c.alias == name).limit(1))
    if uid is not None:
        return uid, TO_UID, name_of(c, uid)
    if _is_group(c, name):
        return name, TO_GROUP_NOT_SELF, name
    raise Unknown(f"nobody called {name} is known here: ping them first")


def _is_group(c: Connection, name: str) -> bool:
    return c.scalar(select(group.c.gid).where(group.c.gid == name)) is not None
