# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who people are, and how one stands with them (A3, D1, D2): what events of the service say of it.

An alias counts when the service has verified it: it stands in the header of a ping, an invitation, a delivery or a
`member` event, and never in what a client wrote.
"""

import json
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection as Rows
from sqlalchemy import literal_column, select

from tmtp_client.engine.context import Context
from tmtp_client.store import groups, people
from tmtp_client.store.outbox import Content
from tmtp_client.store.people import KnownBy
from tmtp_client.store.tables import group, member, message
from tmtp_client.sync import handing_on, registers, state
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.messages import TO_UID

_NOT_ANSWERED: Final = frozenset({"stranger", "asks", "asked", "outside"})


# -- persons ---------------------------------------------------------------------------------------------------------
def learn(
    c: Rows, context: Context, uid: str, alias: str, known_by: KnownBy, now_ms: int, *, via: str = "", proof: str = ""
) -> None:
    """As `people.learn`; and of who is new here that holds which other devices have told of him already."""
    if people.learn(c, uid, alias, known_by, now_ms, via=via, proof=proof):
        state.applied_to(c, context.at(), "person", uid)


def first_contact(c: Rows, context: Context, event: m.PingEvent | m.InviteEvent, now_ms: int) -> None:
    """A ping, or an invitation to a group, of another account; or one that another of one's own devices sent."""
    known_by: KnownBy = "ping" if isinstance(event, m.PingEvent) else "invitation"
    if event.from_ == context.uid:
        asked = people.uid_of(c, event.to)
        if asked is not None and isinstance(event, m.PingEvent):
            pinged(c, asked)
        return
    learn(c, context, event.from_, event.alias, known_by, now_ms)
    wrote(c, event.from_, was_asked=_was_pinged(c, event.alias))


def pinged(c: Rows, uid: str) -> None:
    """This account has pinged somebody: asked him, or answered."""
    stands = stands_of(c, uid)
    if stands == "stranger":
        people.set_stands(c, uid, "asked")
    elif stands in {"asks", "ignored"}:
        people.set_stands(c, uid, "contact")


def wrote(c: Rows, uid: str, *, was_asked: bool = False) -> None:
    """Somebody has pinged, or written to this account itself."""
    stands = stands_of(c, uid)
    if stands == "asked" or (stands == "stranger" and was_asked):
        people.set_stands(c, uid, "contact")
    elif stands == "stranger":
        people.set_stands(c, uid, "asks")


def wrote_to(c: Rows, uids: Iterable[str]) -> None:
    """This account has written to these: whoever is written to is a contact."""
    for uid in uids:
        if stands_of(c, uid) in _NOT_ANSWERED:
            people.set_stands(c, uid, "contact")


def sent(c: Rows, context: Context, kind: str, content: Content, now_ms: int) -> None:
    """The service has what this device wrote: what follows for whom it was for."""
    if kind == "message":
        wrote_to(c, [name for name, type in content.to if type == TO_UID])
    elif kind == "invitation":
        founded(c, context, content.gid, context.identity.alias, now_ms)
    elif kind == "ping":
        for name, _ in content.to:
            asked = people.uid_of(c, name)
            if asked is not None:
                pinged(c, asked)


def stands_of(c: Rows, uid: str) -> str | None:
    """How this account stands with somebody; None: nobody of that uid is known."""
    return people.stands_of(c, uid)


def alias_of(c: Rows, uid: str) -> str:
    """The latest verified one; empty where none is known."""
    return people.alias_of(c, uid)


def _was_pinged(c: Rows, alias: str) -> bool:
    to = json.dumps([[alias, 0]], ensure_ascii=False)
    m_ = message.c
    pinged = select(m_.id).where(m_.kind == literal_column("'ping'"), m_.outgoing == literal_column("1"), m_.to == to)
    return c.scalar(pinged.limit(1)) is not None


def block(c: Rows, context: Context, event: m2.BlockEvent, now_ms: int) -> None:
    """Another of one's devices blocked or unblocked somebody, or said whether others may introduce people (op 16)."""
    if event.act in {"block", "unblock"} and event.uid:
        learn(c, context, event.uid, "", "introduction", now_ms)
        set_blocked(c, context, event.uid, event.act == "block")
    elif event.act in {"introductions_on", "introductions_off"}:
        set_introductions(c, context, event.act == "introductions_on")


def set_introductions(c: Rows, context: Context, wanted: bool) -> None:
    """As the service has it now."""
    name = handing_on.INTRODUCTIONS
    registers.set(c, context.at(), registers.HERE, name, {name: wanted})


def introductions(c: Rows) -> bool:
    """Whether others may introduce people to this account, as far as this device has heard; at first they may."""
    return handing_on.introductions(c)


def set_blocked(c: Rows, context: Context, uid: str, blocked: bool) -> None:
    """As the service has it now."""
    handing_on.heard_of_block(c, context.at(), uid)
    if people.set_blocked(c, uid, blocked) and not blocked and context.trust is not None:
        context.trust.unblocked(c, uid)


# -- groups ----------------------------------------------------------------------------------------------------------
def invited(c: Rows, context: Context, event: m.InviteEvent, now_ms: int) -> None:
    """Into a group: this account, or somebody whom another of one's own devices has invited."""
    if event.from_ == context.uid:
        founded(c, context, event.gid, event.alias, now_ms)
    elif group_stands(c, event.gid) != "joined":
        groups.put(c, event.gid, "invited", event.to, event.from_, now_ms)


def founded(c: Rows, context: Context, gid: str, alias: str, now_ms: int) -> None:
    """This account has invited somebody: a group that it was not in begins with it as its owner."""
    if group_stands(c, gid) != "joined":
        groups.put(c, gid, "joined", alias, "", now_ms)
        groups.set_member(c, gid, context.uid, alias, "joined", owner=True)


def membership(c: Rows, context: Context, event: m.MemberEvent, now_ms: int) -> bool:
    """A `member` event. Whether this account has just joined, so that the service is to be asked who else has."""
    if event.act == "invite":
        _invited_other(c, context, event)
    elif event.act == "join":
        return _joined(c, context, event, event.alias, now_ms)
    elif event.act == "alias" and event.newalias:
        _joined(c, context, event, event.newalias, now_ms)
    elif event.act == "drop":
        _dropped(c, context, event, now_ms)
    return False


def group_stands(c: Rows, gid: str) -> str | None:
    """How this account stands in a group; None: it is not known here."""
    stands: str | None = c.scalar(select(group.c.stands).where(group.c.gid == gid))
    return stands


def _invited_other(c: Rows, context: Context, event: m.MemberEvent) -> None:
    uid = people.uid_of(c, event.alias)
    if uid is None or uid == context.uid or group_stands(c, event.gid) != "joined":
        return
    if _member_stands(c, event.gid, uid) != "joined":
        groups.set_member(c, event.gid, uid, event.alias, "invited", owner=False)


def _joined(c: Rows, context: Context, event: m.MemberEvent, alias: str, now_ms: int) -> bool:
    """Somebody joined, or goes by another alias: the service names both uid and alias."""
    own = event.from_ == context.uid
    before = group_stands(c, event.gid)
    if own:
        people.learn(c, context.uid, "", "self", now_ms)
        groups.put(c, event.gid, "joined", alias, "", now_ms)
    else:
        learn(c, context, event.from_, alias, "group", now_ms)
    groups.set_member(c, event.gid, event.from_, alias, "joined", owner=_is_owner(c, event.gid, event.from_))
    return own and before != "joined"


def _dropped(c: Rows, context: Context, event: m.MemberEvent, now_ms: int) -> None:
    """Who leaves may come again; whom another drops is barred (wire.md §6)."""
    m_ = member.c
    named = select(m_.uid).where(m_.gid == event.gid, m_.alias == event.alias)
    own_alias = c.scalar(select(group.c.alias).where(group.c.gid == event.gid))
    own = event.alias in context.aliases or event.alias == own_alias
    uid = context.uid if own else c.scalar(named.limit(1)) or people.uid_of(c, event.alias)
    by_himself = uid == event.from_
    if own:
        groups.put(c, event.gid, "left" if by_himself else "barred", "", "", now_ms)
        groups.drop_member(c, event.gid, context.uid)
    elif uid is not None and by_himself:
        groups.drop_member(c, event.gid, uid)
    elif uid is not None:
        groups.set_member(c, event.gid, uid, event.alias, "barred", owner=False)
    if uid is not None and context.trust is not None:
        context.trust.left(c, uid, event.id)


def _member_stands(c: Rows, gid: str, uid: str) -> str | None:
    stands: str | None = c.scalar(select(member.c.stands).where(member.c.gid == gid, member.c.uid == uid))
    return stands


def _is_owner(c: Rows, gid: str, uid: str) -> bool:
    return bool(c.scalar(select(member.c.owner).where(member.c.gid == gid, member.c.uid == uid)))
