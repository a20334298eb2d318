# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices that prove themselves by key: ops 1, 2 and 19 of revision 2, and bridges' accounts (B4, D4, D5).

The service keeps public keys only. What their log says is `tmtp_core.domain.device_log`'s.
"""

from typing import Final

from tmtp_core import limits
from tmtp_core.crypto.account_log import RECOVERY, Entry
from tmtp_core.crypto.log_records import decode_record
from tmtp_core.crypto.possession import Channel, login_proved
from tmtp_core.crypto.signing import Signer, check_box_key, signed_by
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import LOGIN_OK, active_account
from tmtp_core.domain.admission import NO_ALIAS, Admission, Admissions, redeem
from tmtp_core.domain.device_log import DeviceLogs, Signed, keep, log_of, suspended, without
from tmtp_core.domain.outcome import NO_DEVICE, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.domain.sign_in import AUTHENTICATION_REQUIRED, SignedIn, sign_in_again
from tmtp_core.errors import LoginRefused, RequestRefused, ServiceUnavailable
from tmtp_core.ids import RandomBytes, new_uid
from tmtp_core.wire.messages import Acked, Info, Registered
from tmtp_core.wire.revision2 import KeyEdit, LoginByKey, RegisterKeys, prekey_signed

_GONE: Final = "login failed"


class Devices:
    """Opens accounts with keys and lets their devices in. `service` is the instance's own key."""

    def __init__(self, service: Signer, logs: DeviceLogs, random_bytes: RandomBytes, admissions: Admissions) -> None:
        self._service = service
        self._logs = logs
        self._random_bytes = random_bytes
        self._admissions = admissions

    def register(
        self,
        request: RegisterKeys,
        channels: tuple[Channel, ...],
        ledger: Ledger,
        moment: Moment,
        signed_in: SignedIn | None = None,
    ) -> Outcome:
        """Op 1: a new account with its genesis, or by an administrator's invitation an old one's new beginning.

        The same genesis again, from a device that lost the answer, is answered again and opens nothing. Raises
        `LoginRefused`, which ends the link; then nothing was changed.
        """
        signed = Signed(request.entry, request.sigs)
        try:
            entry = signed.read()
            if entry.device != request.device or not signed.proved(request.device, request.sig, channels):
                raise LoginRefused("the device's signature does not hold")
            if entry.act != "genesis" or not signed.proved(entry.recovery, request.recoverysig, channels):
                raise LoginRefused("the recovery key's signature does not hold")
            repeated = self._repeated(request, ledger)
            return repeated if repeated is not None else self._open(request, signed, entry, ledger, moment, signed_in)
        except RequestRefused as refusal:
            raise LoginRefused(refusal.text) from None

    def recognise(self, request: LoginByKey, channels: tuple[Channel, ...], ledger: Ledger, moment: Moment) -> Asker:
        """Op 2, first half: whose device this is, or whose recovery key. Changes nothing.

        Raises `LoginRefused`, the same for every reason; or `ServiceUnavailable` where it is a device of an account
        whose log is damaged.
        """
        account, asker = self._proved(request, channels, ledger)
        if account.status is not Status.ACTIVE:
            raise LoginRefused(AUTHENTICATION_REQUIRED if ledger.signed_out_s(account) else _GONE)
        if account.log is None:
            raise ServiceUnavailable("the log of this account is damaged; an administrator resets the account")
        return asker

    def come_back(
        self, request: LoginByKey, channels: tuple[Channel, ...], signed_in: SignedIn, ledger: Ledger
    ) -> None:
        """Op 2 of a device whose account the provider has signed out: the person signed in again. Else it does nothing.

        Raises `LoginRefused`.
        """
        account, _ = self._proved(request, channels, ledger)
        if account.status is not Status.ACTIVE:
            sign_in_again(ledger, account, signed_in)

    def _proved(self, request: LoginByKey, channels: tuple[Channel, ...], ledger: Ledger) -> tuple[Account, Asker]:
        """Whose device, or recovery key, has signed; of an account that may be barred. Raises `LoginRefused`."""
        account = ledger.account(request.uid)
        if account is None or account.status is Status.REMOVED:
            raise LoginRefused(_GONE)
        if request.device == RECOVERY and account.role is Role.MEMBER and account.log is not None:
            key, public = NO_DEVICE, account.log.recovery
        else:
            device = next((one for one in account.devices if one.public == request.device), None)
            if device is None:
                raise LoginRefused(_GONE)
            key, public = device.key, request.device
        if not any(login_proved(public, request.sig, channel, request.uid) for channel in channels):
            raise LoginRefused(_GONE)
        return account, Asker(account.key, key, account.uid, public)

    def edit_key(self, request: KeyEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
        """Op 19. Raises `RequestRefused` unless the device signed its prekey, for this service and about now."""
        account = active_account(ledger, asker)
        quotas.count_post(ledger, account, 0, moment)  # also what is refused: signatures are checked
        device = account.device(asker.device)
        if device is None or device.public is None:
            raise RequestRefused("KeyEdit: this device has no key")
        try:
            key = check_box_key(request.key)
        except ValueError as error:
            raise RequestRefused(f"KeyEdit: key: {error}") from None
        if abs(request.time - moment.ms) > limits.PREKEY_CLOCK_SKEW_MS:
            raise RequestRefused(
                f"KeyEdit: time is {request.time}, and here it is {moment.ms}: set this device's clock"
            )
        what = prekey_signed(self._service.public_key, account.uid, request.time, key)
        if not signed_by(device.public, request.sig, *what):
            raise RequestRefused("KeyEdit: the device's signature does not hold")
        ledger.set_prekey(device, request.key, request.time, request.sig)
        return Outcome(answers=[Acked(request.id)])

    # -- bridges -----------------------------------------------------------------------------------------------------
    def open_bridge(self, genesis: Signed, ledger: Ledger, moment: Moment) -> Account:
        """An account with the role bridge, whose device has this key (C2). Raises `RequestRefused`."""
        if moment.policy.members:
            raise RequestRefused("a members instance has no bridges (A1, C2)")
        uid = new_uid(self._random_bytes)
        log = self._logs.empty(uid)
        record = self._logs.judge(log, uid, genesis, ledger, moment)
        account = ledger.create_account(uid, Role.BRIDGE, moment.ms)
        keep(account, log, record, frozenset(), ledger, moment, None)
        return account

    def renew_bridge(self, account: Account, genesis: Signed, ledger: Ledger, moment: Moment) -> Outcome:
        """A bridge whose keys were lost begins anew; its old device is revoked."""
        return self._begin_anew(account, genesis, ledger, moment)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _open(
        self,
        request: RegisterKeys,
        signed: Signed,
        entry: Entry,
        ledger: Ledger,
        moment: Moment,
        signed_in: SignedIn | None,
    ) -> Outcome:
        """A new account, or with an administrator's leave a new beginning of an old one."""
        admission = self._admissions.admit(ledger, request, moment, signed_in)
        account = self._to_reset(ledger, admission)
        if account is not None:
            outcome = self._begin_anew(account, signed, ledger, moment)
            error = self._admissions.name(ledger, account, admission)
            ledger.revoke_resets(account)  # an earlier one in the wrong hands is good for nothing more
        else:
            uid = new_uid(self._random_bytes)
            log = self._logs.empty(uid)
            record = self._logs.judge(log, uid, signed, ledger, moment)
            account = ledger.create_account(uid, Role.MEMBER, moment.ms)
            self._admissions.use(ledger, account, admission)
            error = self._admissions.name(ledger, account, admission)
            outcome = keep(account, log, record, frozenset(), ledger, moment, None)
            redeem(ledger, outcome, account, admission, moment)
        device = next(one for one in account.devices if one.public == request.device)
        ledger.label_device(device, request.newnode[: limits.LABEL_MAX_CHARACTERS])
        registered = Registered(account.uid, error=error, device=request.device)
        outcome.answers = [registered, Info(LOGIN_OK, head=log_of(account).head_text)]
        outcome.enters = Asker(account.key, device.key, account.uid, device.public)
        return outcome

    def _begin_anew(self, account: Account, genesis: Signed, ledger: Ledger, moment: Moment) -> Outcome:
        """Every device that there was goes; one new one is there. A log that is damaged is replaced."""
        log = account.log if account.log is not None else self._logs.empty(account.uid)
        before = suspended(account)
        leaving = [device for device in account.devices if device.public is None or account.log_damaged]
        record = self._logs.judge(log, account.uid, genesis, ledger, moment, admitted=True, leaving=leaving)
        cuts = without(ledger, account, leaving)  # before the new device is there, which has nothing of their queues
        if account.log_damaged:
            ledger.drop_log(account)
        outcome = keep(account, log, record, before, ledger, moment, None)
        outcome.cuts = {**outcome.cuts, **cuts}
        return outcome

    def _repeated(self, request: RegisterKeys, ledger: Ledger) -> Outcome | None:
        """The answer to a registration that was answered before; the device logs in by op 2 then.

        It may ask for another alias this time, which no invitation vouches for any more.
        """
        named = ledger.device_named(request.device)
        if named is None:
            return None
        account, _ = named
        known = account.status is Status.ACTIVE and account.log is not None and _began(account, request, ledger)
        if not known:
            raise LoginRefused("this key is a device's already")
        alias = None if request.newalias == NO_ALIAS else request.newalias
        error = self._admissions.name(ledger, account, Admission(alias))
        return Outcome(answers=[Registered(account.uid, error=error, device=request.device)])

    def _to_reset(self, ledger: Ledger, admission: Admission) -> Account | None:
        """The account whose devices an administrator resets, if that is what the invitation is for."""
        if admission.reset is None:
            return None
        account = ledger.account_by_key(admission.reset)
        if account.status is not Status.ACTIVE:
            raise LoginRefused(_GONE)
        return account


def _began(account: Account, request: RegisterKeys, ledger: Ledger) -> bool:
    """Whether this very entry stands in the account's log."""
    place, more = 0, True
    while more:
        records, more = ledger.log_records(account, place, limits.LOG_PAGE_MAX_BYTES)
        if any(decode_record(one).entry == request.entry for one in records):
            return True
        place += len(records)
    return False
