# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is present, and who is told (op 4, A6; wire.md §6 *OhiEdit*).

The edit is decided in the ledger (its uids must exist, own nodes hear of it); the lists themselves live in
memory and only as long as a link of the account that edited them.
"""

from tmtp_core import limits
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.acquaintance import may_post
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import Asker, Moment, Outcome, PresenceEdit
from tmtp_core.domain.port import Account, Ledger
from tmtp_core.domain.posting import account_of_uid
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.messages import Acked, OhiEdit, OhiEditEvent, OhiEntry

ON, OFF = 1, 2
"""`status` of an `ohi` message."""


def edit(request: OhiEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 4. One unknown uid fails the whole request; `init` is not told to own nodes."""
    account = active_account(ledger, asker)
    refuse_bridge(account)
    if len(request.for_) > limits.OHI_EDIT_MAX:
        raise RequestRefused(f"OhiEdit: Exceeds {limits.OHI_EDIT_MAX} uids")
    quotas.count_post(ledger, account, 0, moment)  # it is told to all own devices, and to those whom it names
    others = [account_of_uid(ledger, entry.id) for entry in request.for_]
    outcome = Outcome(answers=[Acked(request.id)])
    shown = tuple(other.uid for other in others if request.type == "drop" or _may_see(account, other, moment))
    outcome.presence = PresenceEdit(request.type, shown)
    if request.type != "init":
        stamp = Stamp(ledger, asker, moment)
        number, message_id = stamp.id()
        event = OhiEditEvent(
            id=message_id,
            from_=asker.uid,
            posted=stamp.posted,
            datalen=0,
            for_=tuple(OhiEntry(entry.id) for entry in request.for_),
            type=request.type,
        )
        send(ledger, outcome, number, event, own_devices(account))
    return outcome


def _may_see(account: Account, other: Account, moment: Moment) -> bool:
    """Presence goes to acquaintances (A3), and never where one of the two blocks the other. Nobody is told why."""
    blocked = other.key in account.blocked or account.key in other.blocked
    return not blocked and (other.key == account.key or may_post(account, other, moment))


class PresenceBoard:
    """The lists of all accounts that are present. Pure: each call returns whom to tell what."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}  # account -> the uids that are told of its presence
        self._listed_by: dict[str, set[str]] = {}  # uid -> the accounts that tell it
        self._editors: dict[str, set[object]] = {}  # account -> its links that did an edit

    def present_for(self, uid: str) -> tuple[str, ...]:
        """The accounts that are present now and have `uid` in their list, sorted."""
        return tuple(sorted(self._listed_by.get(uid, ())))

    def told_by(self, uid: str) -> tuple[str, ...]:
        """Whom an account tells of its presence."""
        return tuple(self._told.get(uid, ()))

    def edit(self, uid: str, link: object, change: PresenceEdit) -> list[tuple[str, int]]:
        """Apply one edit; (uid, status) for each entry that changed."""
        self._editors.setdefault(uid, set()).add(link)
        told = self._told.setdefault(uid, set())
        changed: list[tuple[str, int]] = []
        for other in dict.fromkeys(change.uids):
            if change.kind == "drop" and other in told:
                self._forget(uid, other)
                changed.append((other, OFF))
            elif change.kind != "drop" and other not in told and len(told) < limits.OHI_LIST_MAX:
                told.add(other)
                self._listed_by.setdefault(other, set()).add(uid)
                changed.append((other, ON))
        return changed

    def link_closed(self, uid: str, link: object) -> list[tuple[str, int]]:
        """Forget a link; when it was the account's last that did an edit, its list ends: (uid, off) for each entry."""
        editors = self._editors.get(uid)
        if editors is None or link not in editors:
            return []
        editors.discard(link)
        if editors:
            return []
        del self._editors[uid]
        gone = sorted(self._told.get(uid, ()))
        for other in gone:
            self._forget(uid, other)
        self._told.pop(uid, None)
        return [(other, OFF) for other in gone]

    def hide(self, uid: str, other: str) -> list[tuple[str, str, int]]:
        """Two accounts show one another no presence any more: (whose, to whom, off) for each that did."""
        changed: list[tuple[str, str, int]] = []
        for one, two in ((uid, other), (other, uid)):
            if two in self._told.get(one, ()):
                self._forget(one, two)
                changed.append((one, two, OFF))
        return changed

    def _forget(self, uid: str, other: str) -> None:
        self._told[uid].discard(other)
        listed_by = self._listed_by[other]
        listed_by.discard(uid)
        if not listed_by:
            del self._listed_by[other]
