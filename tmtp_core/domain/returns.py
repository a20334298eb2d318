# SPDX-License-Identifier: AGPL-3.0-or-later
"""What cannot be delivered goes back and is deleted (A4; docs/protocol.md, *Returns*)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from tmtp_core import limits
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Ledger, Role, Stale, Status
from tmtp_core.errors import ProtocolError
from tmtp_core.ids import message_id_text
from tmtp_core.wire.messages import Delivery, InviteEvent, PingEvent
from tmtp_core.wire.revision2 import ReturnEvent, parse_event

TOO_LATE: Final = "no device took it in time"
NO_DEVICE_THERE: Final = "the recipient has no device"
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class GivenBack:
    """One look at what will not be delivered: how many messages were given up, and after which number to look on.

    `after` None: there is no more.
    """

    outcome: Outcome
    count: int
    after: int | None


def give_back(ledger: Ledger, moment: Moment, busy: frozenset[int], after: int = 0) -> GivenBack:
    """Give up some of what will not be delivered.

    That is what waited for an account's last device when that went; and what has waited longer than the policy allows.
    What waits for one of the `busy` devices is left alone: they are connected, or about to be, and may be taking it.
    """
    outcome = Outcome()
    count = limits.RETURNS_AT_ONCE_MAX
    queue = ledger.orphaned()
    if queue is not None:
        orphans = ledger.orphans(queue, count)
        for stale in orphans:
            ledger.give_up(stale)
            missed = [key for key in stale.waiting if key not in stale.taken]
            _tell(ledger, outcome, stale, missed, queue.reason, moment)
        return GivenBack(outcome, len(orphans), after)
    after_ms = moment.policy.return_after_ms
    if after_ms is None:
        return GivenBack(outcome, 0, None)
    looked_at = ledger.stale(after, moment.wall_ns - after_ms * 1_000_000, count)
    given_up = [left for stale in looked_at if (left := _without(stale, busy)).entries]
    for stale in given_up:
        ledger.give_up(stale)
        _tell(ledger, outcome, stale, _missed(ledger, stale), TOO_LATE, moment)
    more = len(looked_at) == count
    return GivenBack(outcome, len(given_up), looked_at[-1].number if more else None)


def give_back_at_once(
    ledger: Ledger,
    outcome: Outcome,
    stamp: Stamp,
    sender: Account,
    number: int,
    recipients: Iterable[Account],
    *,
    named: bool = True,
) -> None:
    """Nothing can wait for an account without a device: its sender hears so with the same commit.

    `number`: by which the sender knows the message; `named` False where it named an alias and learns no uid.
    """
    missed = tuple(one.uid for one in recipients if not one.devices and one.role is Role.MEMBER)
    if missed:
        _return(ledger, outcome, stamp, sender, number, missed if named else (), NO_DEVICE_THERE)


def _without(stale: Stale, busy: frozenset[int]) -> Stale:
    """The same for those accounts only none of whose devices is busy."""
    waiting = {key: devices for key, devices in stale.waiting.items() if busy.isdisjoint(devices)}
    if len(waiting) == len(stale.waiting):
        return stale
    devices = {device for of_one in waiting.values() for device in of_one}
    entries = tuple(entry for entry in stale.entries if entry[0] in devices)
    return replace(stale, waiting=waiting, entries=entries)


def _missed(ledger: Ledger, stale: Stale) -> list[int]:
    """The accounts none of whose devices took the message.

    A device that is not waiting for it has taken it: also one that came later, whose queue began as a copy.
    """
    return [
        key
        for key, waiting in stale.waiting.items()
        if key not in stale.taken and {device.key for device in ledger.account_by_key(key).devices} <= set(waiting)
    ]


def _tell(ledger: Ledger, outcome: Outcome, stale: Stale, missed: list[int], reason: str, moment: Moment) -> None:
    """`return` to the sender, if it is there still, and if somebody else than itself missed it."""
    missed = [key for key in missed if key != stale.sender]
    if stale.sender is None or not missed:
        return
    sender = ledger.account_by_key(stale.sender)
    if sender.status is Status.REMOVED:
        return
    stamp = Stamp(ledger, Asker(sender.key, 0, sender.uid), moment)
    _return(ledger, outcome, stamp, sender, stale.known_as, _uids(ledger, stale, missed, sender), reason)


def _return(
    ledger: Ledger, outcome: Outcome, stamp: Stamp, sender: Account, number: int, uids: tuple[str, ...], reason: str
) -> None:
    """Several of them where one header could not name all who missed it."""
    for first in range(0, len(uids) or 1, limits.RETURN_UIDS_MAX):
        own_number, message_id = stamp.id()
        event = ReturnEvent(
            id=message_id,
            from_=sender.uid,
            posted=stamp.posted,
            datalen=0,
            msgid=message_id_text(number),
            for_=uids[first : first + limits.RETURN_UIDS_MAX],
            reason=reason,
        )
        send(ledger, outcome, own_number, None, own_devices(sender), event2=event)


def _uids(ledger: Ledger, stale: Stale, missed: list[int], sender: Account) -> tuple[str, ...]:
    """Whom the sender named. Who pings an alias does not learn whose it is, not even so; and a bridge learns no uid."""
    if sender.role is Role.BRIDGE:
        return ()
    try:
        event = parse_event(stale.head[_DIGITS:])
    except ProtocolError:  # of an earlier release
        return ()
    if isinstance(event, PingEvent | InviteEvent):
        return ()
    uids: list[str] = []
    for key in missed:
        account = ledger.account_by_key(key)
        if account.role is Role.BRIDGE and isinstance(event, Delivery):  # it waited there for somebody outside
            ghost = ledger.ghost_at(account, event.to)
            uids += [ghost.uid] if ghost is not None else []
        else:
            uids.append(account.uid)
    return tuple(uids)
