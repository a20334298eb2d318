# SPDX-License-Identifier: AGPL-3.0-or-later
"""The part of the port that is about names and groups (D1, A5)."""

from collections.abc import Sequence

from sqlalchemy import Connection, Table, insert, select, update

from tmtp_core.domain.port import Account, Group, Membership, MemberStatus, NameOwner, Role, Status
from tmtp_core.store import tables as t
from tmtp_core.store.sharing import Changed


class NamedRows:
    """Mixed into `SqlLedger`, whose connection and caches it uses."""

    _connection: Connection
    _names: dict[str, NameOwner]
    _groups: dict[str, Group]

    def _insert(self, table: Table, values: dict[str, object]) -> int:
        raise NotImplementedError

    def _changes(self, account: Account) -> None:
        raise NotImplementedError

    def _note(self, what: Changed, key: int = 0) -> None:
        raise NotImplementedError

    def name(self, name: str) -> NameOwner | None:
        """See the port."""
        cached = self._names.get(name)
        if cached is not None:
            return cached
        row = self._connection.execute(
            select(t.name.c.account, t.name.c.group).where(t.name.c.name == name)
        ).one_or_none()
        if row is None:
            return None
        self._names[name] = NameOwner(name, row[0], row[1])
        return self._names[name]

    def names_like(self, skeletons: frozenset[str]) -> list[NameOwner]:
        """See the port."""
        rows = self._connection.execute(
            select(t.name.c.name, t.name.c.account, t.name.c.group)
            .join(t.look_alike, t.look_alike.c.name == t.name.c.name)
            .where(t.look_alike.c.skeleton.in_(skeletons))
        )
        return [NameOwner(*row) for row in rows]

    def take_alias(self, account: Account, alias: str, skeletons: frozenset[str]) -> None:
        """See the port."""
        self._take_name(alias, skeletons, account=account.key, place=len(account.aliases))
        account.aliases.append(alias)
        self._changes(account)

    def group(self, gid: str) -> Group | None:
        """See the port."""
        cached = self._groups.get(gid)
        if cached is not None:
            return cached
        found = self._connection.execute(
            select(t.group.c.key, t.group.c.owner).where(t.group.c.gid == gid)
        ).one_or_none()
        if found is None:
            return None
        key, owner = found
        m = t.membership.c
        rows = self._connection.execute(select(m.account, m.alias, m.status, m.since_ms).where(m.group == key))
        members = {row[0]: Membership(row[0], row[1], MemberStatus(row[2]), row[3]) for row in rows}
        group = Group(key, gid, members, owner)
        self._cache_group(group)
        return group

    def create_group(self, gid: str, skeletons: frozenset[str], owner: int) -> Group:
        """See the port."""
        group = Group(self._insert(t.group, {"gid": gid, "owner": owner}), gid, owner=owner)
        self._take_name(gid, skeletons, group=group.key, place=0)
        self._cache_group(group)
        return group

    def set_owner(self, group: Group, owner: int) -> None:
        """See the port."""
        self._connection.execute(update(t.group).where(t.group.c.key == group.key).values(owner=owner))
        group.owner = owner
        self._note(Changed.GROUP, group.key)

    def share_group(self, one: Account, other: Account) -> bool:
        """See the port."""
        mine, theirs = t.membership.alias("mine"), t.membership.alias("theirs")
        both = (mine.c.account == one.key) & (theirs.c.account == other.key)
        joined = (mine.c.status == MemberStatus.JOINED) & (theirs.c.status == MemberStatus.JOINED)
        shared = select(mine.c.group).join(theirs, mine.c.group == theirs.c.group).where(both & joined)
        return self._connection.scalar(shared.limit(1)) is not None

    def owned_by(self, account: Account) -> list[Group]:
        """See the port."""
        gids = self._connection.scalars(select(t.group.c.gid).where(t.group.c.owner == account.key)).all()
        return [group for gid in gids if (group := self.group(gid)) is not None]

    def aliases_from(self, text: str, count: int) -> Sequence[str]:
        """See the port."""
        found = (
            select(t.name.c.name)
            .join(t.account, t.account.c.key == t.name.c.account)
            .where((t.account.c.status == Status.ACTIVE) & (t.account.c.role == Role.MEMBER))
            .where(t.name.c.name.istartswith(text, autoescape=True))
            .order_by(t.name.c.name)
            .limit(count)
        )
        return list(self._connection.scalars(found))

    def set_membership(self, group: Group, place: Membership) -> None:
        """See the port."""
        m = t.membership.c
        values = {"alias": place.alias, "status": place.status, "since_ms": place.since_ms}
        if place.account in group.members:
            where = (m.group == group.key) & (m.account == place.account)
            self._connection.execute(update(t.membership).where(where).values(values))
        else:
            self._connection.execute(insert(t.membership).values(group=group.key, account=place.account, **values))
        group.members[place.account] = place
        self._note(Changed.GROUP, group.key)

    def _take_name(self, name: str, skeletons: frozenset[str], **owner: int) -> None:
        self._connection.execute(insert(t.name).values(name=name, **owner))
        rows = [{"skeleton": skeleton, "name": name} for skeleton in skeletons]
        self._connection.execute(insert(t.look_alike), rows)

    def _cache_group(self, group: Group) -> None:
        self._groups[group.gid] = group
