# SPDX-License-Identifier: AGPL-3.0-or-later
"""Posts, notes and pings: ops 7, 8 and 9 (wire.md §6, §7).

All recipients are resolved before anything is queued: one bad entry fails the whole request.
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.acquaintance import check_posts, hears, introduce, reached_out
from tmtp_core.domain.bridging import (
    check_shows_origin,
    ghost_for,
    outside_address,
    refuse_bridge,
    resolve_routes,
    via,
)
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Body, Device, Group, Ledger, MemberStatus, Posted, Role, Status
from tmtp_core.domain.returns import give_back_at_once
from tmtp_core.domain.shares import note_received
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes, message_id_text, posted_text
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


class Audience(Struct, frozen=True):
    """Accounts that get a message, the sender not counted, and whether the asking node is among the recipients.

    `direct` were named by uid, which needs consent; `joined` are reached through a group that the sender shares.
    `first_contact`: it needs none, it is a ping.
    """

    direct: tuple[Account, ...]
    joined: tuple[Account, ...]
    asking_node: bool
    first_contact: bool = False

    def devices(self, sender: Account, asker: Asker, moment: Moment, *, own: bool = True) -> "Addressed":
        """Everybody's devices, and the sender's own other ones (and the asking one when addressed).

        From those of who blocks the sender it is hidden; no answer depends on that any more.
        """
        mine: list[Device] = []
        if self.asking_node:
            mine = own_devices(sender)
        elif own:
            mine = own_devices(sender, but=asker.device)
        addressed = Addressed.directly(sender, self.direct, moment, first_contact=self.first_contact)
        return Addressed(
            addressed.shown + [device for one in self.joined for device in one.devices] + mine, addressed.hidden
        )

    @property
    def others(self) -> tuple[Account, ...]:
        """All of them."""
        return (*self.direct, *self.joined)

    def ghosts(self) -> list[Account]:
        """Those outside who are written to."""
        return [one for one in self.direct if one.role is Role.GHOST]


class Addressed(Struct, frozen=True):
    """The devices that a message goes to, and those that take it without showing it."""

    shown: list[Device]
    hidden: list[Device]

    @classmethod
    def directly(
        cls, sender: Account, recipients: Iterable[Account], moment: Moment, *, first_contact: bool = False
    ) -> "Addressed":
        """The devices of accounts that are named themselves."""
        shown: list[Device] = []
        hidden: list[Device] = []
        for one in recipients:
            (shown if hears(sender, one, moment, first_contact=first_contact) else hidden).extend(one.devices)
        return cls(shown, hidden)

    @property
    def some_speak_2(self) -> bool:
        """Whether a header of revision 2 is needed."""
        return any(device.speaks == 2 for device in (*self.shown, *self.hidden))


class _Voice(Struct, frozen=True):
    """Who speaks in a message: uid and verified alias."""

    uid: str
    alias: str


class Posting:
    """Op 7 on one instance: bridges speak for people outside, whose accounts are made as they turn up."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes

    def post(self, request: Post, body: Body, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
        """Op 7."""
        sender = active_account(ledger, asker)
        repeated = repetition(ledger, asker, request)
        if repeated is not None:
            return repeated
        if sender.role is Role.BRIDGE:
            return self._post_for_outsider(request, body, ledger, asker, sender, moment)
        voice = _Voice(asker.uid, _alias_of(sender, request.from_))
        audience = resolve(ledger, sender, request.for_)
        _check_consent(ledger, sender, audience, body.size, moment)
        outcome, stamp = Outcome(), Stamp(ledger, asker, moment)
        number = stamp.number()
        event = _delivery(request, body, voice, message_id_text(number), stamp)
        addressed = audience.devices(sender, asker, moment)
        second = replace(event, alias=voice.alias) if addressed.some_speak_2 else None
        send(
            ledger,
            outcome,
            number,
            event,
            addressed.shown,
            body,
            event2=second,
            hidden=addressed.hidden,
            sender=sender.key,
        )
        give_back_at_once(ledger, outcome, stamp, sender, number, audience.others)
        for ghost in audience.ghosts():
            _deliver_outside(ledger, outcome, stamp, request, body, voice, ghost, sender, number)
        _note_contact(ledger, sender, audience, moment)
        if ledger.received.counting:
            note_received(ledger, sender, audience.direct, moment, audience.joined)
        return answered(ledger, outcome, asker, request, number, stamp)

    def _post_for_outsider(
        self, request: Post, body: Body, ledger: Ledger, asker: Asker, bridge: Account, moment: Moment
    ) -> Outcome:
        """A bridge reaches its routes' recipients, and members who wrote to the ghost: as that ghost, and with its own
        mark (C2, D1).
        """
        if request.as_ is None:
            raise RequestRefused("a bridge names in `as` for whom it speaks")
        address = outside_address(request.as_, moment)
        reached = [ledger.account_by_key(key) for key in resolve_routes(ledger, bridge, address, request.for_)]
        check_shows_origin(reached)
        quotas.count_post(ledger, bridge, body.size * max(1, len(reached)), moment)
        ghost = ghost_for(ledger, bridge, address, self._random_bytes, moment)
        if ghost.status is not Status.ACTIVE:
            raise RequestRefused(f"{address} is barred here")
        voice = _Voice(ghost.uid, address)
        outcome, stamp = Outcome(), Stamp(ledger, asker, moment)
        number = stamp.number()
        event = replace(
            _delivery(request, body, voice, message_id_text(number), stamp),
            alias=address,
            via=via(ledger, bridge, address, request.as_.proof),
        )
        addressed = Addressed.directly(ghost, reached, moment)
        send(
            ledger,
            outcome,
            number,
            None,
            addressed.shown,
            body,
            event2=event,
            hidden=addressed.hidden,
            sender=bridge.key,
        )
        give_back_at_once(ledger, outcome, stamp, bridge, number, reached, named=False)
        reached_out(ledger, ghost, reached)
        if ledger.received.counting:
            note_received(ledger, ghost, reached, moment)
        return answered(ledger, outcome, asker, request, number, stamp)


def post_notify(request: PostNotify, note: Body, body: Body, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 8: the delivery first, then the note that names it, with one date for both (wire.md §4.3)."""
    sender = active_account(ledger, asker)
    refuse_bridge(sender)
    repeated = repetition(ledger, asker, request)
    if repeated is not None:
        return repeated
    alias = _alias_of(sender, request.from_)
    audience = resolve(ledger, sender, request.for_)
    told = resolve(ledger, sender, (*request.for_, *request.notefor))
    if told.ghosts():
        raise RequestRefused("who is outside cannot be notified")
    _check_consent(ledger, sender, told, body.size + note.size, moment)
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
    to = audience.devices(sender, asker, moment, own=not request.fornotself)
    second = replace(delivery, alias=alias) if to.some_speak_2 else None
    send(ledger, outcome, number, delivery, to.shown, body, event2=second, hidden=to.hidden, sender=sender.key)
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
    to = told.devices(sender, asker, moment)
    second_note = replace(notify, alias=alias) if to.some_speak_2 else None
    send(
        ledger,
        outcome,
        note_number,
        notify,
        to.shown,
        note,
        event2=second_note,
        hidden=to.hidden,
        sender=sender.key,
        known_as=number,
    )
    give_back_at_once(ledger, outcome, stamp, sender, number, told.others)
    _note_contact(ledger, sender, told, moment)
    if ledger.received.counting:
        note_received(ledger, sender, told.direct, moment, told.joined)
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
    quotas.check_ping(ledger, sender, moment)
    recipient = account_of_alias(ledger, request.to)
    if recipient is None:
        quotas.ping_failed(ledger, sender, moment)
        raise RequestRefused(f"Lookup: iAlias {request.to} not found")
    quotas.ping_reached(ledger, sender, recipient, moment)
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
    audience = Audience(() if to_self else (recipient,), (), asking_node=to_self, first_contact=True)
    to = audience.devices(sender, asker, moment)
    send(ledger, outcome, number, event, to.shown, Body(len(text), text), hidden=to.hidden, sender=sender.key)
    give_back_at_once(ledger, outcome, stamp, sender, number, audience.direct, named=False)
    reached_out(ledger, sender, audience.direct)
    if ledger.received.counting:
        note_received(ledger, sender, audience.direct, moment, first_contact=True)
    return answered(ledger, outcome, asker, request, number, stamp)


def resolve(ledger: Ledger, sender: Account, entries: Iterable[Recipient]) -> Audience:
    """Turn `for` entries into accounts. Raises `RequestRefused` at the first that is bad."""
    direct: dict[int, None] = {}
    joined: dict[int, None] = {}
    asking_node = False
    for entry in entries:
        if entry.type == TO_UID:
            account = account_of_uid(ledger, entry.id)
            asking_node = asking_node or account.key == sender.key
            direct[account.key] = None
        else:
            group = _group_joined_by(ledger, sender, entry.id)
            asking_node = asking_node or entry.type != TO_GROUP_NOT_SELF
            joined.update(dict.fromkeys(group.joined()))
    direct.pop(sender.key, None)
    joined.pop(sender.key, None)
    return Audience(
        tuple(ledger.account_by_key(key) for key in direct),
        tuple(ledger.account_by_key(key) for key in joined),
        asking_node,
    )


def account_of_uid(ledger: Ledger, uid: str) -> Account:
    """The account behind a uid that a client wrote. Raises `RequestRefused` with wire.md §5's texts."""
    account = ledger.account(uid)
    if account is None or account.status is Status.REMOVED or account.role is Role.BRIDGE:
        if not _UID_CHARACTERS.fullmatch(uid):
            raise RequestRefused(f"fetchUser: invalid string '{uid}'")
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


def _alias_of(sender: Account, wanted: str) -> str:
    """The alias that a message carries: the one asked for, if it is the sender's; else the sender's first."""
    if wanted and wanted not in sender.aliases:
        raise RequestRefused("from must identify sender")
    return wanted or (sender.aliases[0] if sender.aliases else "")


def _check_consent(ledger: Ledger, sender: Account, audience: Audience, octets: int, moment: Moment) -> None:
    """Everything an answer depends on, before anything is written (A3, D3)."""
    check_posts(sender, audience.direct, moment)
    for ghost in audience.ghosts():
        bridge = ledger.account_by_key(ledger.ghost(ghost).bridge)
        if bridge.status is not Status.ACTIVE or not ledger.takes_replies(bridge):
            raise RequestRefused(f"{ledger.ghost(ghost).address} cannot be answered by way of this bridge")
    quotas.count_post(ledger, sender, octets * max(1, len(audience.others)), moment)


def _note_contact(ledger: Ledger, sender: Account, audience: Audience, moment: Moment) -> None:
    """Whoever was written to may answer, and those who were written to together are introduced."""
    reached_out(ledger, sender, audience.direct)
    introduce(ledger, sender, [*audience.direct], moment)


def _delivery(request: Post, body: Body, voice: _Voice, message_id: str, stamp: Stamp) -> Delivery:
    return Delivery(
        id=message_id,
        from_=voice.uid,
        posted=stamp.posted,
        datalen=body.size,
        datahead=request.datahead,
        datasum=request.datasum,
    )


def _deliver_outside(
    ledger: Ledger,
    outcome: Outcome,
    stamp: Stamp,
    request: Post,
    body: Body,
    voice: _Voice,
    ghost: Account,
    sender: Account,
    known_as: int,
) -> None:
    """What is written to a ghost goes to the bridge that owns it, under an id of its own, with the address in `to`."""
    owner = ledger.ghost(ghost)
    number, message_id = stamp.id()
    event = replace(_delivery(request, body, voice, message_id, stamp), alias=voice.alias, to=owner.address)
    devices = ledger.account_by_key(owner.bridge).devices
    send(ledger, outcome, number, None, devices, body, event2=event, sender=sender.key, known_as=known_as)
