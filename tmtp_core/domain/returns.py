# SPDX-License-Identifier: AGPL-3.0-or-later
"""What cannot be delivered goes back and is deleted (A4; docs/protocol.md, *return*)."""

from typing import Final

from tmtp_core import limits
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.port import Ledger, Stale, Status
from tmtp_core.ids import message_id_text
from tmtp_core.wire.revision2 import ReturnEvent

REASON: Final = "no device took it in time"


def give_up_stale(ledger: Ledger, moment: Moment) -> Outcome:
    """Take out of all queues what has waited longer than the policy allows, some of it at a time.

    The sender of a post, ping or invitation is told for whom none of the devices took it. A device that
    merely lags behind the others of its account is no reason to return anything.
    """
    outcome = Outcome()
    after_ms = moment.policy.return_after_ms
    if after_ms is None:
        return outcome
    before = moment.wall_ns - after_ms * 1_000_000
    for stale in ledger.stale(before, limits.RETURNS_AT_ONCE_MAX):
        ledger.give_up(stale.number)
        _tell(ledger, outcome, stale, moment)
    return outcome


def _tell(ledger: Ledger, outcome: Outcome, stale: Stale, moment: Moment) -> None:
    if stale.sender is None:
        return
    sender = ledger.account_by_key(stale.sender)
    missed = _missed(ledger, stale)
    if sender.status is Status.REMOVED or not missed:
        return
    stamp = Stamp(ledger, Asker(sender.key, 0, sender.uid), moment)
    number, message_id = stamp.id()
    event = ReturnEvent(
        id=message_id,
        from_=sender.uid,
        posted=stamp.posted,
        datalen=0,
        msgid=message_id_text(stale.number),
        for_=missed,
        reason=REASON,
    )
    send(ledger, outcome, number, None, own_devices(sender), event2=event)


def _missed(ledger: Ledger, stale: Stale) -> tuple[str, ...]:
    """Uids of the accounts none of whose devices took the message: those that were there when it was posted."""
    missed: list[str] = []
    posted_ms = stale.number // 1_000_000
    for key, waiting in stale.waiting.items():
        account = ledger.account_by_key(key)
        there = {device.key for device in account.devices if device.created_ms <= posted_ms}
        if key != stale.sender and there <= set(waiting):
            missed.append(account.uid)
    return tuple(missed[: limits.OHI_EDIT_MAX])
