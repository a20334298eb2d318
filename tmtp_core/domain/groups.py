# SPDX-License-Identifier: AGPL-3.0-or-later
"""The life of a group: invite, join, alias, drop (ops 5 and 6; A6; wire.md §6)."""

import msgspec

from tmtp_core import limits
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.acquaintance import reached_out
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.fanout import Stamp, announce_member, own_devices, send
from tmtp_core.domain.naming import check_free_for_group, check_size
from tmtp_core.domain.outcome import Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Body, Group, Ledger, Membership, MemberStatus
from tmtp_core.domain.posting import Addressed, account_of_alias, answered, repetition
from tmtp_core.domain.returns import give_back_at_once
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.messages import Acked, GroupEdit, GroupInvite, InviteEvent
from tmtp_core.wire.revision2 import GroupInfo, Listing, MemberListed


def invite(request: GroupInvite, text: bytes, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 5. A group that does not exist yet is made, with the sender joined under the alias it speaks as."""
    sender = active_account(ledger, asker)
    refuse_bridge(sender)
    repeated = repetition(ledger, asker, request)
    if repeated is not None:
        return repeated
    check_size("gid", request.gid)
    if request.from_ not in sender.aliases:
        raise RequestRefused(f"GroupInvite: iByAlias {request.from_} not for iByUid {sender.uid}")
    quotas.check_ping(ledger, sender, moment)  # an invitation counts as a ping
    invitee = account_of_alias(ledger, request.to)
    if invitee is None:
        quotas.ping_failed(ledger, sender, moment)
        raise RequestRefused(f"GroupInvite: iAlias {request.to} not found")
    group = _group_to_invite_into(ledger, sender, invitee, request, moment)
    quotas.ping_reached(ledger, sender, invitee, moment)
    ledger.set_membership(group, Membership(invitee.key, request.to, MemberStatus.INVITED, moment.ms))

    outcome = Outcome()
    stamp = Stamp(ledger, asker, moment)
    number, message_id = stamp.id()
    event = InviteEvent(
        id=message_id,
        from_=asker.uid,
        posted=stamp.posted,
        datalen=len(text),
        gid=request.gid,
        alias=request.from_,
        to=request.to,
    )
    to = Addressed.directly(sender, (invitee,), moment, first_contact=True)
    devices = to.shown + own_devices(sender, but=asker.device)
    send(ledger, outcome, number, event, devices, Body(len(text), text), hidden=to.hidden, sender=sender.key)
    give_back_at_once(ledger, outcome, stamp, sender, number, (invitee,), named=False)
    reached_out(ledger, sender, (invitee,))
    announce_member(ledger, outcome, stamp, sender, group, act="invite", alias=request.to)
    return answered(ledger, outcome, asker, request, number, stamp)


def found(ledger: Ledger, owner: Account, gid: str, forms: frozenset[str], asker: Asker, moment: Moment) -> Outcome:
    """A new group under a free name with these skeletons; its owner has joined it and is told."""
    group = ledger.create_group(gid, forms, owner.key)
    ledger.set_membership(group, Membership(owner.key, owner.aliases[0], MemberStatus.JOINED, moment.ms))
    outcome = Outcome()
    announce_member(ledger, outcome, Stamp(ledger, asker, moment), owner, group, act="join", alias=owner.aliases[0])
    return outcome


def edit(request: GroupEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 6."""
    sender = active_account(ledger, asker)
    refuse_bridge(sender)
    quotas.count_post(ledger, sender, 0, moment)  # it is told to everybody in the group
    act = {"join": _join, "alias": _change_alias, "drop": _drop}[request.act]
    outcome = Outcome(answers=[Acked(request.id)])
    act(ledger, outcome, Stamp(ledger, asker, moment), sender, request, moment)
    return outcome


def info(request: GroupInfo, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 20: who has joined, for those who have."""
    sender = active_account(ledger, asker)
    refuse_bridge(sender)
    quotas.count_post(ledger, sender, 0, moment)  # a list of thousands, for a request of a line
    group = _existing(ledger, "GroupInfo", request.gid)
    if not group.has_joined(sender.key):
        raise RequestRefused(f"GroupInfo: iUid {sender.uid} not a member")
    joined = [
        MemberListed(ledger.account_by_key(key).uid, group.members[key].alias, key == group.owner)
        for key in group.joined()
    ]
    data = msgspec.json.encode(joined)
    return Outcome(answers=[Answer(Listing(request.id, len(data)), data)])


def _group_to_invite_into(
    ledger: Ledger, sender: Account, invitee: Account, request: GroupInvite, moment: Moment
) -> Group:
    group = ledger.group(request.gid)
    if group is None:
        forms = check_free_for_group(ledger, request.gid)
        if invitee.key == sender.key:
            raise RequestRefused(f"GroupInvite: iAlias {request.to} is your own")
        group = ledger.create_group(request.gid, forms, sender.key)
        ledger.set_membership(group, Membership(sender.key, request.from_, MemberStatus.JOINED, moment.ms))
        return group
    if not group.has_joined(sender.key):
        raise RequestRefused(f"GroupInvite: iByUid {sender.uid} not a member")
    place = group.members.get(invitee.key)
    if place is not None and place.status is MemberStatus.JOINED:
        raise RequestRefused(f"GroupInvite: iAlias {request.to} already joined")
    if place is not None and place.status is MemberStatus.BARRED and not _moderates(sender, group, moment):
        raise RequestRefused("GroupInvite: only the owner lifts a bar")
    if place is None and len(group.members) >= limits.GROUP_MEMBERS_MAX:
        raise RequestRefused(f"GroupInvite: Exceeds {limits.GROUP_MEMBERS_MAX} members")
    return group


def _join(ledger: Ledger, outcome: Outcome, stamp: Stamp, sender: Account, request: GroupEdit, moment: Moment) -> None:
    group = _existing(ledger, "GroupJoin", request.gid)
    place = group.members.get(sender.key)
    if place is None or place.status is MemberStatus.BARRED:
        raise RequestRefused(f"GroupJoin: iUid {sender.uid} not invited")
    if request.newalias is not None and request.newalias not in sender.aliases:
        raise RequestRefused(f"GroupJoin: iNewAlias {request.newalias} not for iUid {sender.uid}")
    alias = request.newalias or place.alias or next(iter(sender.aliases), "")
    if not alias:  # a member must have a name by which it can be told apart, and barred
        raise RequestRefused(f"GroupJoin: iNewAlias {alias} not for iUid {sender.uid}")
    since_ms = place.since_ms if place.status is MemberStatus.JOINED else moment.ms
    ledger.set_membership(group, Membership(sender.key, alias, MemberStatus.JOINED, since_ms))
    if not group.has_joined(group.owner):  # its owner left while nobody had joined
        ledger.set_owner(group, sender.key)
    announce_member(ledger, outcome, stamp, sender, group, act="join", alias=alias)


def _change_alias(
    ledger: Ledger, outcome: Outcome, stamp: Stamp, sender: Account, request: GroupEdit, moment: Moment
) -> None:
    group = _existing(ledger, "GroupAlias", request.gid)
    place = group.members.get(sender.key)
    if place is None or place.status is not MemberStatus.JOINED:
        raise RequestRefused(f"GroupAlias: iUid {sender.uid} not a member")
    newalias = request.newalias or ""
    if newalias not in sender.aliases:
        raise RequestRefused(f"GroupAlias: iNewAlias {newalias} not for iUid {sender.uid}")
    old = place.alias
    ledger.set_membership(group, Membership(sender.key, newalias, MemberStatus.JOINED, place.since_ms))
    announce_member(ledger, outcome, stamp, sender, group, act="alias", alias=old, newalias=newalias)


def _drop(ledger: Ledger, outcome: Outcome, stamp: Stamp, sender: Account, request: GroupEdit, moment: Moment) -> None:
    """Oneself: invited again. Another: barred, by any joined member. A bar cannot be lifted by dropping oneself."""
    group = _existing(ledger, "GroupQuit", request.gid)
    alias = request.to or ""
    target = group.on_record(alias)
    if target is None:
        raise RequestRefused(f"GroupQuit: iAlias {alias} not a member")
    own = group.members.get(sender.key)
    if own is None or own.status is MemberStatus.BARRED:
        raise RequestRefused(f"GroupQuit: iByUid {sender.uid} not a member")
    if target.account == sender.key:
        status = MemberStatus.INVITED
    elif own.status is MemberStatus.JOINED:
        if not _moderates(sender, group, moment):
            raise RequestRefused("GroupQuit: only the owner drops others")
        status = MemberStatus.BARRED
    else:
        raise RequestRefused(f"GroupQuit: iByUid {sender.uid} not a member")
    told = _hears_of_drop(ledger, sender, target, status)
    ledger.set_membership(group, Membership(target.account, alias, status, moment.ms))
    if target.account == group.owner:
        pass_on(ledger, group)
    announce_member(
        ledger, outcome, stamp, sender, group, act="drop", alias=alias, also=(target.account,) if told else ()
    )


def pass_on(ledger: Ledger, group: Group) -> None:
    """A group whose owner leaves passes to its eldest member; where there is none, to the first who joins."""
    heir = group.eldest(but=group.owner)
    if heir is not None:
        ledger.set_owner(group, heir)


def _hears_of_drop(ledger: Ledger, sender: Account, target: Membership, status: MemberStatus) -> bool:
    """Whether the dropped one is told: once for each change, and by nobody whose invitation it never saw (A3)."""
    if target.account == sender.key or target.status is MemberStatus.JOINED:
        return True
    return target.status is not status and sender.key not in ledger.account_by_key(target.account).blocked


def _moderates(sender: Account, group: Group, moment: Moment) -> bool:
    """Whether this joined member may bar others, and lift bars (`groups: {moderation: …}`)."""
    return not moment.policy.owners_moderate or group.owner == sender.key


def _existing(ledger: Ledger, step: str, gid: str) -> Group:
    group = ledger.group(gid)
    if group is None:
        raise RequestRefused(f"{step}: iGid {gid} not found")
    return group
