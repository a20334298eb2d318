# SPDX-License-Identifier: AGPL-3.0-or-later
"""Groups this account is in, was in or is invited to, and who is in them (A6)."""

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, true, update
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.api import models
from tmtp_client.store import changes, views
from tmtp_client.store.tables import group, member

Stands = Literal["invited", "joined", "left", "barred"]


def put(connection: Connection, gid: str, stands: Stands, alias: str, by: str, now_ms: int) -> bool:
    """How this account stands in a group, under which alias, and who invited it. True when the group was not known."""
    row = {"gid": gid, "stands": stands, "alias": alias, "by": by, "since_ms": now_ms}
    new = connection.execute(upsert(group).values(row).on_conflict_do_nothing()).rowcount == 1
    if not new:
        values = {"stands": stands, **({"alias": alias} if alias else {}), **({"by": by} if by else {})}
        connection.execute(update(group).where(group.c.gid == gid).values(values))
    changes.touch(connection, "group", gid)
    return new


def set_member(
    connection: Connection, gid: str, uid: str, alias: str, stands: Literal["invited", "joined", "barred"], owner: bool
) -> None:
    """How somebody stands in a group."""
    row = {"gid": gid, "uid": uid, "alias": alias, "stands": stands, "owner": int(owner)}
    known = upsert(member).values(row)
    kept = {name: row[name] for name in ("alias", "stands", "owner")}
    connection.execute(known.on_conflict_do_update(index_elements=["gid", "uid"], set_=kept))
    changes.touch(connection, "group", gid)


def drop_member(connection: Connection, gid: str, uid: str) -> bool:
    """He is in it no more. False where he was not."""
    gone = delete(member).where(member.c.gid == gid, member.c.uid == uid)
    dropped = bool(connection.execute(gone).rowcount)
    if dropped:
        changes.touch(connection, "group", gid)
    return dropped


def replace_members(connection: Connection, gid: str, members: Iterable[models.Member]) -> None:
    """Who has joined, as the service has it: who is invited or barred it does not tell, so that stays."""
    members = list(members)
    there = member.c.uid.in_([one.uid for one in members])
    connection.execute(delete(member).where(member.c.gid == gid, (member.c.stands == "joined") | there))
    rows = [
        {"gid": gid, "uid": one.uid, "alias": one.alias, "stands": one.stands, "owner": int(one.owner)}
        for one in members
    ]
    if rows:
        connection.execute(insert(member), rows)
    changes.touch(connection, "group", gid)


def view(connection: Connection, gid: str) -> models.Group | None:
    """One, with its members."""
    found = views.groups_by_gid(connection, [gid])
    return found[0] if found else None


def listed(connection: Connection) -> list[models.Group]:
    """All, by name."""
    return views.groups_where(connection, true())


def joined(connection: Connection, gid: str) -> list[str]:
    """The uids of its joined members."""
    m = member.c
    return list(connection.scalars(select(m.uid).where(m.gid == gid, m.stands == "joined").order_by(m.uid)))
