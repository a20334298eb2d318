# SPDX-License-Identifier: AGPL-3.0-or-later
"""A ledger that is older than a journal hears what the journal knows (`tmtp_core.domain.facts`).

Each fact is told so that hearing it twice changes nothing, and one that no longer fits is left out and reported: a
journal may begin in the middle of what the ledger knows already.
"""

from collections.abc import Callable, Iterable
from functools import singledispatchmethod

from tmtp_core.crypto.account_log import LogRefused
from tmtp_core.crypto.log_records import LogInvalid, decode_record
from tmtp_core.domain import facts as f
from tmtp_core.domain.administration import BRIDGE, Register
from tmtp_core.domain.device_log import DeviceLogs, bring_about, suspended
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Account, Device, Identity, Membership, MemberStatus, Role, Status
from tmtp_core.errors import RequestRefused
from tmtp_core.names import skeletons

_BARRED_DEVICE = "the recipient's device was barred"


class Retelling:
    """Tells facts to one ledger, in one transaction. `unfit` hears of each that did not fit, in words without names."""

    def __init__(self, ledger: Register, logs: DeviceLogs, moment: Moment, unfit: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._logs = logs
        self._moment = moment
        self._unfit = unfit

    def tell(self, facts: Iterable[f.Fact]) -> int:
        """How many facts the ledger did not know."""
        return sum(self._tell(fact) for fact in facts)

    @singledispatchmethod
    def _tell(self, fact: f.Fact) -> bool:
        raise TypeError(fact)

    @_tell.register
    def _(self, fact: f.AccountOpened) -> bool:
        if self._ledger.account(fact.uid) is not None:
            return False
        self._ledger.create_account(fact.uid, Role(fact.role), fact.time_ms)
        return True

    @_tell.register
    def _(self, fact: f.GhostMade) -> bool:
        if self._ledger.account(fact.uid) is not None:
            return False
        bridge = self._ledger.account(fact.bridge)
        if bridge is None:
            return self._does_not_fit("a ghost whose bridge is not known")
        self._ledger.create_ghost(bridge, fact.uid, fact.address, self._moment.ms)
        return True

    @_tell.register
    def _(self, fact: f.StatusSet) -> bool:
        account, status = self._account(fact.uid), Status(fact.status)
        if account is None or account.status is Status.REMOVED:
            return False
        if account.status is status:
            self._ledger.set_signed_out(account, 0)  # it is no longer a bar that a sign-in lifts, unless told next
            return False
        self._ledger.set_status(account, status)
        return True

    @_tell.register
    def _(self, fact: f.BlockSet) -> bool:
        account, other = self._account(fact.uid), self._account(fact.other)
        if account is None or other is None or (other.key in account.blocked) is fact.blocked:
            return False
        self._ledger.set_block(account, other.key, fact.blocked)
        return True

    @_tell.register
    def _(self, fact: f.IntroductionsSet) -> bool:
        account = self._account(fact.uid)
        if account is None or account.introductions is fact.wanted:
            return False
        self._ledger.set_introductions(account, fact.wanted)
        return True

    @_tell.register
    def _(self, fact: f.InvitationLeft) -> bool:
        """One that was made after the backup is not there, and so good for nothing."""
        invitation = self._ledger.invitation(fact.token_hash)
        if invitation is None or invitation.uses_left <= fact.uses_left:
            return False
        by = self._ledger.account(fact.by) if fact.by else None
        if fact.uses_left == 0 and by is None:
            self._ledger.revoke_invitation(invitation)
            return True
        for _ in range(invitation.uses_left - fact.uses_left - 1):
            self._ledger.use_invitation(invitation)
        self._ledger.use_invitation(invitation, by)
        return True

    @_tell.register
    def _(self, fact: f.RecordAppended) -> bool:
        account = self._account(fact.uid)
        if account is None:
            return False
        log = account.log if account.log is not None else self._logs.empty(account.uid)
        if account.log_damaged or fact.place < log.count:
            return False
        try:
            record = decode_record(fact.record)
            after = self._logs.judge_again(log, account.uid, record, self._ledger)
        except (LogInvalid, LogRefused, RequestRefused):
            return self._does_not_fit("a record of an account's log that does not continue it")
        bring_about(account, after, record, suspended(account), self._ledger, self._moment)
        return True

    @_tell.register
    def _(self, fact: f.LogDropped) -> bool:
        account = self._account(fact.uid)
        if account is None or not account.log_damaged:
            return False
        for device in list(account.devices):
            self._ledger.remove_device(account, device, _BARRED_DEVICE)
        self._ledger.drop_log(account)
        return True

    @_tell.register
    def _(self, fact: f.PasswordDeviceAdded) -> bool:
        account = self._account(fact.uid)
        if account is None or account.has_keys or self._device(account, fact.credential) is not None:
            return False
        self._ledger.add_device(account, fact.credential, fact.time_ms, label=fact.label)
        return True

    @_tell.register
    def _(self, fact: f.PasswordDeviceGone) -> bool:
        account = self._account(fact.uid)
        device = self._device(account, fact.credential)
        if account is None or device is None:
            return False
        self._ledger.remove_device(account, device, _BARRED_DEVICE)
        return True

    @_tell.register
    def _(self, fact: f.PasswordGaveWay) -> bool:
        account = self._account(fact.uid)
        device = self._device(account, fact.credential)
        if device is None or self._ledger.device_named(fact.public) is not None:
            return False
        self._ledger.device_gets_key(device, fact.public, fact.box)
        return True

    @_tell.register
    def _(self, fact: f.AliasTaken) -> bool:
        account = self._account(fact.uid)
        if account is None or self._ledger.name(fact.alias) is not None:
            return False
        self._ledger.take_alias(account, fact.alias, skeletons(fact.alias))
        return True

    @_tell.register
    def _(self, fact: f.GroupFounded) -> bool:
        owner = self._account(fact.owner)
        if owner is None or self._ledger.name(fact.gid) is not None:
            return False
        self._ledger.create_group(fact.gid, skeletons(fact.gid), owner.key)
        return True

    @_tell.register
    def _(self, fact: f.OwnerSet) -> bool:
        group, owner = self._ledger.group(fact.gid), self._account(fact.owner)
        if group is None or owner is None or group.owner == owner.key:
            return False
        self._ledger.set_owner(group, owner.key)
        return True

    @_tell.register
    def _(self, fact: f.MemberSet) -> bool:
        group, account = self._ledger.group(fact.gid), self._account(fact.uid)
        if group is None or account is None or account.status is Status.REMOVED:
            return False
        place = Membership(account.key, fact.alias, MemberStatus(fact.status), fact.since_ms)
        if group.members.get(account.key) == place:
            return False
        self._ledger.set_membership(group, place)
        return True

    @_tell.register
    def _(self, fact: f.IdentityBound) -> bool:
        account = self._account(fact.uid)
        if account is None or account.status is Status.REMOVED:
            return False
        known = self._ledger.accounts_of(fact.issuer, fact.subject, fact.session)
        if account.key in known and self._ledger.signed_in_s(account) >= fact.since_s:
            return False
        self._ledger.bind(account, Identity(fact.issuer, fact.subject, fact.session), fact.since_s)
        return True

    @_tell.register
    def _(self, fact: f.SignedOutSet) -> bool:
        account = self._account(fact.uid)
        if account is None or self._ledger.signed_out_s(account) == fact.since_s:
            return False
        self._ledger.set_signed_out(account, fact.since_s)
        return True

    @_tell.register
    def _(self, fact: f.UsedOnce) -> bool:
        if self._ledger.used_until_ms(fact.once) >= fact.until_ms:
            return False
        self._ledger.use_until(fact.once, fact.until_ms)
        return True

    @_tell.register
    def _(self, fact: f.BridgeNamed) -> bool:
        account = self._account(fact.uid)
        if account is None or self._ledger.counter(BRIDGE + fact.name) == account.key:
            return False
        self._ledger.set_counter(BRIDGE + fact.name, account.key)
        return True

    def _account(self, uid: str) -> Account | None:
        return self._ledger.account(uid)

    def _device(self, account: Account | None, credential: bytes) -> Device | None:
        """A device of revision 1, by its secret's hash."""
        devices = account.devices if account is not None else []
        return next((one for one in devices if one.public is None and one.credential == credential), None)

    def _does_not_fit(self, what: str) -> bool:
        self._unfit(what)
        return False
