# SPDX-License-Identifier: AGPL-3.0-or-later
"""What cannot be delivered goes back and is deleted (A4; docs/protocol.md, *Returns*)."""

from typing import Final

from tmtp_core import limits
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.port import Ledger, Role, Stale, Status
from tmtp_core.errors import ProtocolError
from tmtp_core.ids import message_id_text
from tmtp_core.wire.messages import Delivery, InviteEvent, PingEvent
from tmtp_core.wire.revision2 import ReturnEvent, parse_event

TOO_LATE: Final = "no device took it in time"
_DIGITS: Final = 4


def give_back(ledger: Ledger, moment: Moment, under_way: frozenset[int]) -> tuple[Outcome, bool]:
    """Give up some of what will not be delivered, and whether there may be more of it.

    That is what has waited longer than the policy allows, unless it is on its way to a device right now, and what
    waited for an account's last device when that went.
    """
    outcome = Outcome()
    count = limits.RETURNS_AT_ONCE_MAX
    queue = ledger.orphaned()
    if queue is not None:
        for stale in ledger.orphans(queue, count):
            ledger.give_up(stale)
            missed = [key for key in stale.waiting if key not in stale.taken]
            _tell(ledger, outcome, stale, missed, queue.reason, moment)
        return outcome, True
    after_ms = moment.policy.return_after_ms
    if after_ms is None:
        return outcome, False
    given_up = ledger.stale(moment.wall_ns - after_ms * 1_000_000, count, under_way)
    for stale in given_up:
        ledger.give_up(stale)
        _tell(ledger, outcome, stale, _missed(ledger, stale), TOO_LATE, moment)
    return outcome, len(given_up) == count


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
    """`return` to the sender, if it is there still, and if somebody else than itself missed it.

    There are several of them where one header could not name all who missed it.
    """
    missed = [key for key in missed if key != stale.sender]
    if stale.sender is None or not missed:
        return
    sender = ledger.account_by_key(stale.sender)
    if sender.status is Status.REMOVED:
        return
    stamp = Stamp(ledger, Asker(sender.key, 0, sender.uid), moment)
    uids = _uids(ledger, stale, missed)
    for first in range(0, len(uids) or 1, limits.RETURN_UIDS_MAX):
        number, message_id = stamp.id()
        event = ReturnEvent(
            id=message_id,
            from_=sender.uid,
            posted=stamp.posted,
            datalen=0,
            msgid=message_id_text(stale.known_as),
            for_=uids[first : first + limits.RETURN_UIDS_MAX],
            reason=reason,
        )
        send(ledger, outcome, number, None, own_devices(sender), event2=event)


def _uids(ledger: Ledger, stale: Stale, missed: list[int]) -> tuple[str, ...]:
    """Whom the sender named. Who pings an alias does not learn whose it is, not even so."""
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
