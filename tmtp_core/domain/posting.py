# SPDX-License-Identifier: AGPL-3.0-or-later
"""Posts, notes and pings: ops 7, 8 and 9 (wire.md §6, §7).

All recipients are resolved before anything is queued: one bad entry fails the whole request.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.bridging import refuse_bridge, resolve_routes
from tmtp_core.domain.fanout import Stamp, devices_of, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Body, Group, Ledger, MemberStatus, Posted, Role, Status
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import message_id_text, posted_text
from tmtp_core.wire.messages import (
    TO_GROUP_NOT_SELF,
    TO_UID,
    Acked,
    Delivery,
    Notify,
    Ping,
    PingEvent,
    Post,
    PostNotify,
    Recipient,
    Repeatable,
    repetition_key,
)

_UID_CHARACTERS: Final = re.compile(r"[A-Za-z0-9+%]*")


@dataclass(frozen=True, slots=True)
class Audience:
    """Accounts that get a message, the sender not counted, and whether the asking node is among the recipients."""

    others: tuple[int, ...]
    asking_node: bool

    def devices(self, ledger: Ledger, sender: Account, asker: Asker, *, own: bool = True) -> list[int]:
        """Device keys: everybody's, and the sender's own other nodes (and the asking one when addressed)."""
        mine: list[int] = []
        if self.asking_node:
            mine = own_devices(sender)
        elif own:
            mine = own_devices(sender, but=asker.device)
        return devices_of(ledger, self.others) + mine


def post(request: Post, body: Body, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 7."""
    sender = active_account(ledger, asker)
    repeated = repetition(ledger, asker, request)
    if repeated is not None:
        return repeated
    audience = resolve(ledger, sender, request.for_)
    outcome = Outcome()
    stamp = Stamp(ledger, asker, moment)
    number, message_id = stamp.id()
    event = Delivery(
        id=message_id,
        from_=asker.uid,
        posted=stamp.posted,
        datalen=body.size,
        datahead=request.datahead,
        datasum=request.datasum,
    )
    send(ledger, outcome, number, event, audience.devices(ledger, sender, asker), body)
    return answered(ledger, outcome, asker, request, number, stamp)


def post_notify(request: PostNotify, note: Body, body: Body, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 8: the delivery first, then the note that names it, with one date for both (wire.md §4.3)."""
    sender = active_account(ledger, asker)
    repeated = repetition(ledger, asker, request)
    if repeated is not None:
        return repeated
    audience = resolve(ledger, sender, request.for_)
    told = resolve(ledger, sender, (*request.for_, *request.notefor))
    outcome = Outcome()
    stamp = Stamp(ledger, asker, moment)
    number, message_id = stamp.id()
    delivery = Delivery(
        id=message_id,
        from_=asker.uid,
        posted=stamp.posted,
        datalen=body.size,
        datahead=request.datahead,
        datasum=request.datasum,
        notify=len(request.for_) + len(request.notefor) + (not request.fornotself),
    )
    send(
        ledger,
        outcome,
        number,
        delivery,
        audience.devices(ledger, sender, asker, own=not request.fornotself),
        body,
    )
    note_number, note_id = stamp.id()
    notify = Notify(
        id=note_id,
        from_=asker.uid,
        posted=stamp.posted,
        datalen=note.size,
        datahead=request.notehead,
        datasum=request.notesum,
        postid=message_id,
    )
    send(ledger, outcome, note_number, notify, told.devices(ledger, sender, asker), note)
    return answered(ledger, outcome, asker, request, number, stamp)


def ping(request: Ping, text: bytes, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 9: a first contact, at most 140 UTF-16 units of plain text (D2), already checked by the link."""
    sender = active_account(ledger, asker)
    refuse_bridge(sender)
    repeated = repetition(ledger, asker, request)
    if repeated is not None:
        return repeated
    if request.from_ not in sender.aliases:
        raise RequestRefused("from must identify sender")
    recipient = account_of_alias(ledger, request.to)
    if recipient is None:
        raise RequestRefused(f"Lookup: iAlias {request.to} not found")
    outcome = Outcome()
    stamp = Stamp(ledger, asker, moment)
    number, message_id = stamp.id()
    event = PingEvent(
        id=message_id,
        from_=asker.uid,
        posted=stamp.posted,
        datalen=len(text),
        alias=request.from_,
        to=request.to,
    )
    to_self = recipient.key == sender.key
    audience = Audience(() if to_self else (recipient.key,), asking_node=to_self)
    send(ledger, outcome, number, event, audience.devices(ledger, sender, asker), Body(len(text), text))
    return answered(ledger, outcome, asker, request, number, stamp)


def resolve(ledger: Ledger, sender: Account, entries: Iterable[Recipient]) -> Audience:
    """Turn `for` entries into accounts. Raises `RequestRefused` at the first that is bad.

    A bridge's entries name its routes, and nothing else is looked up for it (C2).
    """
    if sender.role is Role.BRIDGE:
        return Audience(tuple(resolve_routes(ledger, sender, entries)), asking_node=False)
    others: dict[int, None] = {}
    asking_node = False
    for entry in entries:
        if entry.type == TO_UID:
            account = account_of_uid(ledger, entry.id)
            asking_node = asking_node or account.key == sender.key
            others[account.key] = None
        else:
            group = _group_joined_by(ledger, sender, entry.id)
            asking_node = asking_node or entry.type != TO_GROUP_NOT_SELF
            others.update(dict.fromkeys(group.joined()))
    others.pop(sender.key, None)
    return Audience(tuple(others), asking_node)


def account_of_uid(ledger: Ledger, uid: str) -> Account:
    """The account behind a uid that a client wrote. Raises `RequestRefused` with wire.md §5's texts."""
    if not _UID_CHARACTERS.fullmatch(uid):
        raise RequestRefused(f"fetchUser: invalid string '{uid}'")
    account = ledger.account(uid)
    if account is None or account.status is Status.REMOVED or account.role is Role.BRIDGE:
        raise RequestRefused(f"OpenNodes: iUid {uid} not found")
    return account


def account_of_alias(ledger: Ledger, alias: str) -> Account | None:
    """Who holds an alias now; None for a free name, a group's name and a removed account's."""
    owner = ledger.name(alias)
    if owner is None or owner.account is None:
        return None
    account = ledger.account_by_key(owner.account)
    return None if account.status is Status.REMOVED else account


def repetition(ledger: Ledger, asker: Asker, request: Repeatable) -> Outcome | None:
    """The answer of a request that this node made before, with nothing sent again (*One id per post*)."""
    before = ledger.posted_before(asker.device, repetition_key(request))
    if before is None:
        return None
    return Outcome(answers=[Acked(request.id, message_id_text(before.number), posted_text(before.time_ms))])


def answered(ledger: Ledger, outcome: Outcome, asker: Asker, request: Repeatable, number: int, stamp: Stamp) -> Outcome:
    """Add the ack to an outcome, and remember it for a repetition of the request."""
    ledger.remember_post(asker.device, repetition_key(request), Posted(number, stamp.time_ms))
    outcome.answers.append(Acked(request.id, message_id_text(number), stamp.posted))
    return outcome


def _group_joined_by(ledger: Ledger, sender: Account, gid: str) -> Group:
    group = ledger.group(gid)
    if group is None:
        raise RequestRefused(f"GroupGetUsers: iGid {gid} not found")
    place = group.members.get(sender.key)
    if place is None or place.status is not MemberStatus.JOINED:
        raise RequestRefused(f"GroupGetUsers: iByUid {sender.uid} not a member")
    return group
