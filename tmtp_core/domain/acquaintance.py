# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nobody reaches a person who has not agreed (A3, D3; docs/protocol.md, *Acquaintance* and *Blocks*).

`account.admits` holds who may post to an account: those it pinged or posted to, those an acquaintance introduced,
those with whom it shares an invitation. A block takes nothing away from it, so that a blocked sender is answered
exactly as before; what it sends is taken and hidden, after everything that an answer depends on.
"""

from collections.abc import Iterable
from itertools import combinations, islice

from tmtp_core import limits
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.policy import Acquaintance
from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.messages import Acked
from tmtp_core.wire.revision2 import BlockEdit, BlockEvent

NOT_ACQUAINTED = "not acquainted"


def may_post(sender: Account, recipient: Account, moment: Moment) -> bool:
    """Whether `sender` may post to `recipient`, blocks left aside."""
    if recipient.key == sender.key:
        return True
    everyone = moment.policy.acquaintance is Acquaintance.EVERYONE
    if everyone and recipient.role is Role.MEMBER and sender.role is Role.MEMBER:
        return True
    if sender.key not in recipient.admits:
        return False
    return recipient.agreed_to(sender.key) or moment.policy.acquaintance is not Acquaintance.PING


def check_posts(sender: Account, recipients: Iterable[Account], moment: Moment) -> None:
    """Raise `RequestRefused` unless every one of these may be posted to."""
    for recipient in recipients:
        if not may_post(sender, recipient, moment):
            raise RequestRefused(NOT_ACQUAINTED)


def hears(sender: Account, recipient: Account, moment: Moment, *, first_contact: bool) -> bool:
    """Whether something from `sender` is shown to `recipient` at all. No answer may depend on this.

    Nothing is from whom he blocks; and no posts from whom only those introduced whom he blocks. But a ping needs no
    introduction: with `first_contact` only the sender's own block counts.
    """
    if sender.key in recipient.blocked:
        return False
    if first_contact or moment.policy.acquaintance is not Acquaintance.INTRODUCTION:
        return True
    introducers = recipient.admits.get(sender.key)
    return not introducers or not introducers <= recipient.blocked


def reached_out(ledger: Ledger, sender: Account, recipients: Iterable[Account]) -> None:
    """Whoever is pinged or posted to may answer."""
    for recipient in recipients:
        if not sender.agreed_to(recipient.key):
            ledger.admit(sender, recipient.key)


def introduce(ledger: Ledger, introducer: Account, recipients: list[Account], moment: Moment) -> None:
    """A message to several acquaintances makes them acquainted, within limits and unless one of them minds.

    At most `limits.INTRODUCTIONS_PER_MESSAGE_MAX` new pairs a message and the policy's number a day: a message
    beyond that is posted all the same, and introduces fewer. Whom somebody blocks introduces to him as before, and he
    hears nothing of them.
    """
    if moment.policy.acquaintance is not Acquaintance.INTRODUCTION:
        return
    known = [one for one in recipients if one.introductions and one.role is Role.MEMBER and _knows(introducer, one)]
    if len(known) < 2:
        return
    left = moment.policy.quotas.introductions_per_day - quotas.used_today(
        ledger, introducer, quotas.INTRODUCTIONS, moment
    )
    left = min(left, limits.INTRODUCTIONS_PER_MESSAGE_MAX)
    made = 0
    for one, other in islice(combinations(known, 2), limits.INTRODUCTION_PAIRS_EXAMINED_MAX):
        if made >= left:
            break
        if _has_introduced(introducer, one, other) and _has_introduced(introducer, other, one):
            continue
        ledger.admit(one, other.key, introducer.key)
        ledger.admit(other, one.key, introducer.key)
        made += 1
    if made:
        quotas.count_today(ledger, introducer, quotas.INTRODUCTIONS, moment, made)


def acquaint(ledger: Ledger, one: Account, other: Account) -> None:
    """Both may post to one another from now on."""
    ledger.admit(one, other.key)
    ledger.admit(other, one.key)


def edit_block(request: BlockEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 16. Own devices hear of it; the other side hears nothing, ever."""
    account = active_account(ledger, asker)
    refuse_bridge(account)
    quotas.count_post(ledger, account, 0, moment)  # it is told to all own devices
    outcome = Outcome(answers=[Acked(request.id)])
    if request.act in {"introductions_off", "introductions_on"}:
        ledger.set_introductions(account, request.act == "introductions_on")
    else:
        other = ledger.account(request.uid)
        if other is None or other.status is Status.REMOVED or other.role is Role.BRIDGE or other.key == account.key:
            raise RequestRefused(f"BlockEdit: uid {request.uid} not found")
        if request.act == "block" and len(account.blocked) >= limits.BLOCKS_PER_ACCOUNT_MAX:
            raise RequestRefused(f"BlockEdit: Exceeds {limits.BLOCKS_PER_ACCOUNT_MAX} blocks")
        ledger.set_block(account, other.key, request.act == "block")
        if request.act == "block":
            outcome.hidden = (account.uid, other.uid)
    stamp = Stamp(ledger, asker, moment)
    number, message_id = stamp.id()
    event = BlockEvent(id=message_id, from_=asker.uid, posted=stamp.posted, datalen=0, act=request.act, uid=request.uid)
    send(ledger, outcome, number, None, own_devices(account, but=asker.device), event2=event)
    return outcome


def _knows(introducer: Account, other: Account) -> bool:
    """Acquainted both ways, and by their own doing: who was introduced introduces nobody to the same person."""
    return other.agreed_to(introducer.key) and other.key in introducer.admits


def _has_introduced(introducer: Account, one: Account, other: Account) -> bool:
    """Whether `introducer` need not introduce `other` to `one` any more."""
    return one.agreed_to(other.key) or introducer.key in one.admits.get(other.key, ())
