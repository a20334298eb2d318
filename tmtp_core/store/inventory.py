# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators look at (C1): read beside the writer, a page at a time, never a message's content.

Each function is one look inside a transaction of its own (`Store.read`), on any thread; where a hundred thousand
accounts are, or a million deliveries wait, it costs the writer nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from tmtp_core import limits
from tmtp_core.domain.administration import AccountSummary, InvitationSummary, Joiner
from tmtp_core.domain.port import MemberStatus, Role, Status
from tmtp_core.names import skeletons
from tmtp_core.store import reports
from tmtp_core.store import tables as t
from tmtp_core.store.persons import identities

_NS_PER_MS: Final = 1_000_000
_LINKED_ASKED_MAX: Final = 10_000  # devices in one question; PostgreSQL takes 32,767 parameters


@dataclass(frozen=True, slots=True)
class AccountsWanted:
    """Which accounts: of these whose uid comes after `after` in age, at most `limit`.

    `search`: the beginning of a uid, or a part of an alias, in any case, also of one that looks like it (D1), or of
    the address that a ghost stands for.
    """

    search: str = ""
    status: Status | None = None
    after: str | None = None
    limit: int = 500


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group; `owner` is a uid, `owner_alias` their first one: empty for nobody. Members are counted by standing."""

    gid: str
    owner: str
    owner_alias: str
    joined: int
    invited: int
    barred: int


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """One whom a group knows; `standing` as in `MemberStatus`, in small letters."""

    uid: str
    alias: str
    standing: str


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """What waits for one account: deliveries, their octets, when the eldest was posted (ms since 1970).

    Of more than `limits.OCTETS_COUNTED_MAX` deliveries, about how many octets they have.
    """

    uid: str
    alias: str
    deliveries: int
    octets: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Census:
    """How many there are; of invitations and reports those that are open. `oldest_ms`: when the message was posted
    that waits longest.
    """

    accounts: int
    barred: int
    invitations: int
    reports: int
    oldest_ms: int | None


class Share(NamedTuple):
    """What a member received, by SMTP from outside and from members; whom he is known as, or his uid."""

    alias: str
    smtp: int
    tmtp: int


Linked = frozenset[int]
"""Devices, by key."""


def accounts(connection: Connection, wanted: AccountsWanted, linked: Linked) -> list[AccountSummary] | None:
    """Accounts that were not removed, oldest first; None where nobody has the uid `after`.

    `linked`: devices whose links this process has.
    """
    a = t.account.c
    where = [a.status != Status.REMOVED if wanted.status is None else a.status == wanted.status]
    if wanted.after is not None:
        after = connection.scalar(select(a.key).where(a.uid == wanted.after))
        if after is None:
            return None
        where.append(a.key > after)
    if wanted.search:
        where.append(_sought(wanted.search))
    rows = connection.execute(
        select(a.key, a.uid, a.status, a.role, a.created_ms).where(*where).order_by(a.key).limit(wanted.limit)
    ).all()
    keys = [row.key for row in rows]
    aliases = _aliases(connection, keys)
    devices: dict[int, list[int]] = {key: [] for key in keys}
    d = t.device.c
    for key, device in connection.execute(select(d.account, d.key).where(d.account.in_(keys))):
        devices[key].append(device)
    waiting = _waiting(connection, keys)
    persons = identities(connection, keys)
    addresses = _addresses(connection, keys)
    linked |= linked_elsewhere(connection, [device for some in devices.values() for device in some])
    return [
        AccountSummary(
            uid=row.uid,
            aliases=tuple(aliases.get(row.key, ())),
            devices=len(devices[row.key]),
            status=Status(row.status).name.lower(),
            role=Role(row.role).name.lower(),
            queued=waiting.get(row.key, 0),
            created_ms=row.created_ms,
            connected=len(linked.intersection(devices[row.key])),
            identity=persons.get(row.key),
            address=addresses.get(row.key, ""),
        )
        for row in rows
    ]


def groups_of(connection: Connection, uid: str) -> list[str]:
    """The names of the groups that an account has joined."""
    m = t.membership.c
    joined = (
        select(t.group.c.gid)
        .join(t.membership, m.group == t.group.c.key)
        .join(t.account, t.account.c.key == m.account)
        .where((t.account.c.uid == uid) & (m.status == MemberStatus.JOINED))
        .order_by(t.group.c.gid)
    )
    return list(connection.scalars(joined))


def groups(connection: Connection, after: str, limit: int) -> list[GroupSummary]:
    """Groups in the order of their names, those behind `after`."""
    g = t.group.c
    rows = connection.execute(
        select(g.key, g.gid, g.owner, t.account.c.uid)
        .outerjoin(t.account, t.account.c.key == g.owner)
        .where(g.gid > after)
        .order_by(g.gid)
        .limit(limit)
    ).all()
    counted = _standings(connection, [row.key for row in rows])
    aliases = _first_aliases(connection, {row.owner for row in rows if row.owner is not None})
    return [
        GroupSummary(row.gid, row.uid or "", aliases.get(row.owner, ""), *counted.get(row.key, (0, 0, 0)))
        for row in rows
    ]


def group(connection: Connection, gid: str) -> tuple[GroupSummary, list[MemberSummary]] | None:
    """One group with everybody whom it knows (`limits.GROUP_MEMBERS_MAX` at most), or None."""
    g, m = t.group.c, t.membership.c
    found = connection.execute(
        select(g.key, g.owner, t.account.c.uid).outerjoin(t.account, t.account.c.key == g.owner).where(g.gid == gid)
    ).one_or_none()
    if found is None:
        return None
    rows = connection.execute(
        select(t.account.c.uid, m.alias, m.status)
        .join(t.account, t.account.c.key == m.account)
        .where(m.group == found.key)
        .order_by(m.alias)
    )
    members = [MemberSummary(row.uid, row.alias, MemberStatus(row.status).name.lower()) for row in rows]
    counted = _standings(connection, [found.key]).get(found.key, (0, 0, 0))
    alias = _first_aliases(connection, {found.owner} - {None}).get(found.owner, "")
    return GroupSummary(gid, found.uid or "", alias, *counted), members


def invitations(connection: Connection, now_ms: int, after: int, limit: int) -> list[InvitationSummary]:
    """Invitations that can still be used, oldest first, those with numbers above `after`."""
    i = t.invitation.c
    rows = connection.execute(
        select(i.key, i.uses_left, i.expires_ms, i.note, t.account.c.uid)
        .outerjoin(t.account, t.account.c.key == i.creator)
        .where(_open(now_ms), i.key > after)
        .order_by(i.key)
        .limit(limit)
    )
    return [InvitationSummary(row.key, row.uses_left, row.expires_ms, row.note, row.uid or "") for row in rows]


def invitations_noted(connection: Connection, now_ms: int, note: str) -> list[int]:
    """The numbers of the administrators' invitations with exactly this note that can still be used."""
    i = t.invitation.c
    mine = _open(now_ms) & i.creator.is_(None) & i.account.is_(None) & (i.note == note)
    return list(connection.scalars(select(i.key).where(mine).order_by(i.key)))


def joiners(connection: Connection, invitations: Sequence[int]) -> list[Joiner]:
    """Who has joined by these of the administrators' invitations."""
    j, a, i = t.joined.c, t.account.c, t.invitation.c
    rows = connection.execute(
        select(j.invitation, i.note, j.account, a.uid, a.created_ms)
        .join(t.account, a.key == j.account)
        .join(t.invitation, i.key == j.invitation)
        .where(j.invitation.in_(invitations))
        .order_by(j.invitation, j.account)
    ).all()
    aliases = _aliases(connection, [row.account for row in rows])
    return [
        Joiner(row.invitation, row.note, row.uid, next(iter(aliases.get(row.account, ())), ""), row.created_ms)
        for row in rows
    ]


def queues(connection: Connection, limit: int) -> list[QueueSummary]:
    """The accounts for which something waits, those first whose eldest delivery waits longest.

    All queues are counted, in the order in which they are stored; some messages are read of those that are shown.
    """
    d, q = t.device.c, t.queue.c
    queued = select(q.device, func.count().label("deliveries"), func.min(q.message).label("oldest"))
    by_device = queued.group_by(q.device).subquery()
    oldest = func.min(by_device.c.oldest).label("oldest")
    rows = connection.execute(
        select(d.account, func.sum(by_device.c.deliveries).label("deliveries"), oldest)
        .join(by_device, by_device.c.device == d.key)
        .group_by(d.account)
        .order_by(oldest)
        .limit(limit)
    ).all()
    keys = [row.account for row in rows]
    a = t.account.c
    uids = {row.key: row.uid for row in connection.execute(select(a.key, a.uid).where(a.key.in_(keys)))}
    aliases = _first_aliases(connection, keys)
    return [
        QueueSummary(
            uids[row.account],
            aliases.get(row.account, ""),
            int(row.deliveries),
            _octets(connection, row.account, int(row.deliveries)),
            row.oldest // _NS_PER_MS,
        )
        for row in rows
    ]


def _octets(connection: Connection, account: int, deliveries: int) -> int:
    """Of what waits for an account; of many deliveries some are looked at, and the others taken to be like these."""
    d, q, n = t.device.c, t.queue.c, t.message.c
    own = select(d.key).where(d.account == account)
    size = case((q.hidden == 0, n.size + func.length(n.head)), else_=0).label("size")
    some = select(size).join(t.message, n.number == q.message).where(q.device.in_(own)).limit(limits.OCTETS_COUNTED_MAX)
    counted, octets = connection.execute(select(func.count(), func.sum(some.subquery().c.size))).one()
    return int(octets) * deliveries // counted if counted else 0


def octets_queued(connection: Connection, after: int) -> tuple[int, int | None]:
    """Of messages that wait for somebody, each counted once: of some with numbers above `after`, and the last of these.

    None instead of the last where there are none. A part at a time: while somebody reads, the log cannot be emptied.
    """
    n = t.message.c
    some = (
        select(n.number, (n.size + func.length(n.head)).label("size"))
        .where(n.number > after)
        .order_by(n.number)
        .limit(limits.OCTETS_COUNTED_AT_ONCE)
        .subquery()
    )
    octets, last = connection.execute(select(func.sum(some.c.size), func.max(some.c.number))).one()
    return int(octets or 0), last


def census(connection: Connection, now_ms: int) -> Census:
    """How many accounts, open invitations and open reports there are."""
    a = t.account.c
    counted = {row[0]: row[1] for row in connection.execute(select(a.status, func.count()).group_by(a.status))}
    invited = connection.scalar(select(func.count()).select_from(t.invitation).where(_open(now_ms))) or 0
    active, barred = counted.get(Status.ACTIVE, 0), counted.get(Status.BARRED, 0)
    return Census(active + barred, barred, invited, reports.open_count(connection), oldest_ms(connection))


def shares(connection: Connection, since_day: int) -> list[Share]:
    """What members received from that day on (since 1970, UTC), those first who received most by SMTP."""
    r, a = t.received.c, t.account.c
    smtp, tmtp = func.sum(r.smtp).label("smtp"), func.sum(r.tmtp).label("tmtp")
    rows = connection.execute(
        select(a.key, a.uid, smtp, tmtp)
        .join(t.received, r.account == a.key)
        .where(r.day >= since_day)
        .group_by(a.key, a.uid)
        .order_by(smtp.desc(), tmtp.desc(), a.key)
        .limit(limits.RECEIVED_SHOWN_MAX)
    ).all()
    aliases = _aliases(connection, [row.key for row in rows])
    return [Share(next(iter(aliases.get(row.key, ())), row.uid), int(row.smtp), int(row.tmtp)) for row in rows]


def oldest_ms(connection: Connection) -> int | None:
    """When the message was posted that waits longest: a number is about the time of its post, in nanoseconds."""
    number = connection.scalar(select(func.min(t.message.c.number)))
    return number // _NS_PER_MS if number is not None else None


def linked_elsewhere(connection: Connection, devices: Sequence[int]) -> Linked:
    """Which of these devices have links, as other processes say that share the database."""
    found: set[int] = set()
    for start in range(0, len(devices), _LINKED_ASKED_MAX):
        some = devices[start : start + _LINKED_ASKED_MAX]
        found.update(connection.scalars(select(t.link.c.device).where(t.link.c.device.in_(some))))
    return frozenset(found)


def _sought(text: str) -> ColumnElement[bool]:
    by_uid = t.account.c.uid.startswith(text.upper(), autoescape=True)  # they have no small letters; PostgreSQL minds
    address = func.lower(t.ghost.c.address).contains(text.lower(), autoescape=True)
    by_address = t.account.c.key.in_(select(t.ghost.c.account).where(address))
    forms = [form for form in skeletons(text) if form]
    if not forms:
        return or_(by_uid, by_address)
    like = [t.look_alike.c.skeleton.contains(form, autoescape=True) for form in forms]
    by_alias = (
        select(t.name.c.account)
        .join(t.look_alike, t.look_alike.c.name == t.name.c.name)
        .where(t.name.c.account.is_not(None), or_(*like))
    )
    return or_(by_uid, by_address, t.account.c.key.in_(by_alias))


def _addresses(connection: Connection, keys: Collection[int]) -> dict[int, str]:
    """For whom outside the ghosts among accounts stand."""
    g = t.ghost.c
    rows = connection.execute(select(g.account, g.address).where(g.account.in_(keys)))
    return {row.account: row.address for row in rows}


def _first_aliases(connection: Connection, keys: Collection[int]) -> dict[int, str]:
    return {key: names[0] for key, names in _aliases(connection, keys).items()}


def _aliases(connection: Connection, keys: Collection[int]) -> dict[int, list[str]]:
    n = t.name.c
    found: dict[int, list[str]] = {}
    for key, name in connection.execute(select(n.account, n.name).where(n.account.in_(keys)).order_by(n.place)):
        found.setdefault(key, []).append(name)
    return found


def _waiting(connection: Connection, keys: Sequence[int]) -> dict[int, int]:
    d = t.device.c
    rows = connection.execute(
        select(d.account, func.count())
        .join(t.queue, t.queue.c.device == d.key)
        .where(d.account.in_(keys))
        .group_by(d.account)
    )
    return {row[0]: row[1] for row in rows}


def _standings(connection: Connection, keys: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """By group: how many have joined, are invited, are barred."""
    m = t.membership.c
    counted: dict[int, dict[int, int]] = {}
    rows = connection.execute(
        select(m.group, m.status, func.count()).where(m.group.in_(keys)).group_by(m.group, m.status)
    )
    for key, status, count in rows:
        counted.setdefault(key, {})[status] = count
    order = (MemberStatus.JOINED, MemberStatus.INVITED, MemberStatus.BARRED)
    return {key: tuple(by.get(status, 0) for status in order) for key, by in counted.items()}  # type: ignore[misc]


def _open(now_ms: int) -> ColumnElement[bool]:
    i = t.invitation.c
    return (i.uses_left > 0) & (i.expires_ms.is_(None) | (i.expires_ms > now_ms))
