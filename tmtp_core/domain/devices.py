# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices that prove themselves by key, and the account's log: ops 1, 2, 13, 14 and 19 of revision 2 (B4, D4, D5).

The service keeps public keys only. Every change of an account's devices is an entry of its log, judged by
`tmtp_core.crypto.account_log`; what an entry does to devices, queues and links is done here, in the same commit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tmtp_core import limits
from tmtp_core.crypto.account_log import RECOVERY, Entry, LogRefused, LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import Record, Signature, append, encode_record, parse_entry
from tmtp_core.crypto.possession import Channel, login_proved, registration_proved
from tmtp_core.crypto.signing import Signer, signed_by
from tmtp_core.domain.accounts import LOGIN_OK, SUSPENDED, active_account, is_restricted, live_account
from tmtp_core.domain.acquaintance import may_post
from tmtp_core.domain.admission import Admission, Admissions, redeem
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import NO_DEVICE, Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Body, Device, Ledger, Role, Status
from tmtp_core.errors import LoginRefused, RequestRefused
from tmtp_core.ids import RandomBytes, new_uid
from tmtp_core.wire.messages import Acked, Info, Registered
from tmtp_core.wire.revision2 import (
    PREKEY,
    KeyEdit,
    LogAppend,
    LogEvent,
    LogFetch,
    LoginByKey,
    LogPage,
    Prekey,
    RegisterKeys,
)

REVOKED: Final = "device revoked"
RESUMED: Final = "device resumed, log in again"
MOVED: Final = "log in with the device's key"


@dataclass(frozen=True, slots=True)
class Genesis:
    """The first entry of a log, with its signatures, from somebody who stands beside the service (a bridge)."""

    entry: str
    sigs: tuple[Signature, ...]

    @property
    def device(self) -> str:
        """The device that it names. Raises `RequestRefused` when it is no entry."""
        return _read(self.entry).device


class Devices:
    """Opens accounts with keys and lets their devices in. `service` is the instance's own key."""

    def __init__(self, service: Signer, random_bytes: RandomBytes, admissions: Admissions) -> None:
        self._service = service
        self._random_bytes = random_bytes
        self._admissions = admissions

    # -- entering ----------------------------------------------------------------------------------------------------
    def register(self, request: RegisterKeys, channels: tuple[Channel, ...], ledger: Ledger, moment: Moment) -> Outcome:
        """Op 1: a new account with its genesis, or an old one's new beginning.

        Raises `LoginRefused`, which ends the link; then nothing was changed.
        """
        try:
            entry = _read(request.entry)
            if entry.device != request.device or not _proved(request.device, request.sig, channels, request.entry):
                raise LoginRefused("the device's signature does not hold")
            return self._open(request, entry, channels, ledger, moment)
        except RequestRefused as refusal:
            raise LoginRefused(refusal.text) from None

    def recognise(self, request: LoginByKey, channels: tuple[Channel, ...], ledger: Ledger, moment: Moment) -> Asker:
        """Op 2, first half: whose device this is, or whose recovery key. Changes nothing.

        Raises `LoginRefused`, the same for every reason.
        """
        account = ledger.account(request.uid)
        if account is None or account.status is not Status.ACTIVE or account.log is None:
            raise LoginRefused("login failed")
        if request.device == RECOVERY and account.role is Role.MEMBER:
            key, public = NO_DEVICE, account.log.recovery
        else:
            device = next((one for one in account.devices if one.public == request.device), None)
            if device is None:
                raise LoginRefused("login failed")
            key, public = device.key, request.device
        if not any(login_proved(public, request.sig, channel, request.uid) for channel in channels):
            raise LoginRefused("login failed")
        return Asker(account.key, key, account.uid, public)

    # -- the log -----------------------------------------------------------------------------------------------------
    def append(self, request: LogAppend, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
        """Op 13. From a password device, a genesis: the account moves to keys, and its passwords end."""
        account = live_account(ledger, asker)
        refuse_bridge(account)
        if asker.public is None:
            outcome = self._move_to_keys(request, account, ledger, asker, moment)
        else:
            log, before = log_of(account), _suspended(account)
            record = self._judged(log, account.uid, request.entry, request.sigs, moment)
            outcome = _stored(account, log, record, before, ledger, moment, asker)
        outcome.answers.insert(0, Acked(request.id, head=log_of(account).head_text))
        return outcome

    def open_bridge(self, genesis: Genesis, ledger: Ledger, moment: Moment) -> Account:
        """An account with the role bridge, whose device has this key (C2). Raises `RequestRefused`."""
        if moment.policy.members:
            raise RequestRefused("a members instance has no bridges (A1, C2)")
        log, uid = LogState(), new_uid(self._random_bytes)
        record = self._judged(log, uid, genesis.entry, genesis.sigs, moment)
        account = ledger.create_account(uid, Role.BRIDGE, moment.ms)
        _stored(account, log, record, frozenset(), ledger, moment, None)
        return account

    def renew_bridge(self, account: Account, genesis: Genesis, ledger: Ledger, moment: Moment) -> Outcome:
        """A bridge whose keys were lost begins anew; its old device is revoked."""
        log = account.log if account.log is not None else LogState()
        before, passwords = _suspended(account), [device for device in account.devices if device.public is None]
        record = self._judged(log, account.uid, genesis.entry, genesis.sigs, moment, admitted=True)
        outcome = _stored(account, log, record, before, ledger, moment, None)
        return _without(ledger, outcome, account, passwords)

    def _judged(
        self,
        log: LogState,
        uid: str,
        entry: str,
        sigs: tuple[Signature, ...],
        moment: Moment,
        *,
        admitted: bool = False,
    ) -> Record:
        """Judge one entry; `log` is changed when it is allowed. Raises `RequestRefused`."""
        try:
            return append(log, entry, sigs, moment.ms, uid=uid, service=self._service, admitted=admitted)
        except LogRefused as refusal:
            raise RequestRefused(f"LogAppend: {refusal}") from None

    def _open(
        self, request: RegisterKeys, entry: Entry, channels: tuple[Channel, ...], ledger: Ledger, moment: Moment
    ) -> Outcome:
        """A new account, or with an administrator's leave a new beginning of an old one."""
        if entry.act != "genesis" or not _proved(entry.recovery, request.recoverysig, channels, request.entry):
            raise LoginRefused("the recovery key's signature does not hold")
        admission = self._admissions.admit(ledger, request, moment)
        account = self._to_reset(ledger, admission)
        uid = account.uid if account is not None else new_uid(self._random_bytes)
        log = account.log if account is not None and account.log is not None else LogState()
        before = _suspended(account) if account is not None else frozenset()
        record = self._judged(log, uid, request.entry, request.sigs, moment, admitted=account is not None)
        self._admissions.use(ledger, admission)
        error = ""
        if account is None:
            account = ledger.create_account(uid, Role.MEMBER, moment.ms)
            error = self._admissions.name(ledger, account, admission, moment)
        passwords = [device for device in account.devices if device.public is None]
        outcome = _stored(account, log, record, before, ledger, moment, None)
        _without(ledger, outcome, account, passwords)
        redeem(ledger, outcome, account, admission, moment)
        return self._entered(outcome, request, account, ledger, error)

    def _entered(
        self, outcome: Outcome, request: RegisterKeys, account: Account, ledger: Ledger, error: str
    ) -> Outcome:
        """The device that registered is logged in on its link."""
        device = next(one for one in account.devices if one.public == request.device)
        ledger.label_device(device, request.newnode[: limits.LABEL_MAX_CHARACTERS])
        registered = Registered(account.uid, error=error, device=request.device)
        outcome.answers = [registered, Info(LOGIN_OK, head=log_of(account).head_text)]
        outcome.enters = Asker(account.key, device.key, account.uid, device.public)
        return outcome

    def _to_reset(self, ledger: Ledger, admission: Admission) -> Account | None:
        """The account whose devices an administrator resets, if that is what the invitation is for."""
        if admission.reset is None:
            return None
        account = ledger.account_by_key(admission.reset)
        if account.status is not Status.ACTIVE:
            raise LoginRefused("login failed")
        return account

    def _move_to_keys(
        self, request: LogAppend, account: Account, ledger: Ledger, asker: Asker, moment: Moment
    ) -> Outcome:
        """A genesis after a log-in by password: this device keeps its queue, the other nodes go."""
        entry = _read(request.entry)
        device = account.device(asker.device)
        if account.log is not None or device is None:
            raise RequestRefused("LogAppend: this account has moved to keys")
        log = LogState()
        record = self._judged(log, account.uid, request.entry, request.sigs, moment)
        ledger.device_gets_key(device, entry.device, entry.box)
        others = own_devices(account, but=asker.device)
        for other in others:
            ledger.remove_device(account, other)
        outcome = _stored(account, log, record, frozenset(), ledger, moment, asker)
        outcome.cuts = {other.key: REVOKED for other in others} | {asker.device: MOVED}
        return outcome


def fetch_log(request: LogFetch, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 14: one's own log, or an acquaintance's, with the devices' present prekeys."""
    account = live_account(ledger, asker)
    refuse_bridge(account)
    other = ledger.account(request.uid)
    if is_restricted(account, asker) and other is not account:
        raise RequestRefused("LogFetch: only this account's own log is for you")
    if other is None or other.log is None or not (may_post(account, other, moment) or may_post(other, account, moment)):
        raise RequestRefused(f"LogFetch: no log of {request.uid} for you")
    records, more = ledger.log_records(other, request.since, limits.LOG_PAGE_MAX_BYTES)
    data = b"[" + b",".join(records) + b"]"
    prekeys = tuple(
        Prekey(device.public, *device.prekey)
        for device in other.devices
        if device.public is not None and device.prekey is not None
    )
    page = LogPage(
        request.id, other.uid, request.since, other.log.head_text, more=more, prekeys=prekeys, datalen=len(data)
    )
    return Outcome(answers=[Answer(page, data)])


def edit_key(request: KeyEdit, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 19. Raises `RequestRefused` unless the device signed its prekey."""
    account = active_account(ledger, asker)
    device = account.device(asker.device)
    if device is None or device.public is None:
        raise RequestRefused("KeyEdit: this device has no key")
    try:
        key = from_text(request.key, limits.BOX_KEY_BYTES)
    except ValueError as error:
        raise RequestRefused(f"KeyEdit: key: {error}") from None
    if not signed_by(device.public, request.sig, PREKEY, key):
        raise RequestRefused("KeyEdit: the device's signature does not hold")
    ledger.set_prekey(device, request.key, request.sig)
    return Outcome(answers=[Acked(request.id)])


def log_of(account: Account) -> LogState:
    """The log of an account that has keys."""
    assert account.log is not None
    return account.log


def _read(entry_text: str) -> Entry:
    """An entry, or `RequestRefused`."""
    try:
        return parse_entry(from_text(entry_text))
    except ValueError as error:
        raise RequestRefused(f"LogAppend: {error}") from None


def _proved(public: str, proof: str, channels: tuple[Channel, ...], entry: str) -> bool:
    return any(registration_proved(public, proof, channel, from_text(entry)) for channel in channels)


def _suspended(account: Account) -> frozenset[str]:
    """Keys of the account's devices that are suspended."""
    if account.log is None:
        return frozenset()
    return frozenset(device.key for device in account.log.unrevoked() if device.suspended_by is not None)


def _without(ledger: Ledger, outcome: Outcome, account: Account, devices: list[Device]) -> Outcome:
    """Password devices of an account that begins anew with keys go."""
    for device in devices:
        ledger.remove_device(account, device)
    outcome.cuts = {**outcome.cuts, **{device.key: REVOKED for device in devices}}
    return outcome


def _stored(
    account: Account,
    log: LogState,
    record: Record,
    before: frozenset[str],
    ledger: Ledger,
    moment: Moment,
    asker: Asker | None,
) -> Outcome:
    """Keep a record that was judged, and bring devices, queues and links into line with it.

    `before` are the devices that were suspended until now.
    """
    account.log = log
    ledger.append_log(account, record)
    outcome = Outcome()
    entry = _read(record.entry)
    after = _suspended(account)
    cuts: dict[int, str] = {}
    for device in list(account.devices):
        if device.public is None:
            continue
        if log.devices[device.public].revoked:
            ledger.remove_device(account, device)
            cuts[device.key] = REVOKED
        elif device.public in after - before:
            cuts[device.key] = SUSPENDED
        elif device.public in before - after:
            cuts[device.key] = RESUMED  # its narrow link ends; it comes back as it was
    outcome.cuts = cuts
    if entry.act in {"genesis", "add"} and all(device.public != entry.device for device in account.devices):
        added = ledger.add_device(account, b"", moment.ms, public=entry.device, box=entry.box)
        sponsor = log.devices[entry.device].sponsor
        for device in account.devices:
            if sponsor is not None and device.public == sponsor:
                ledger.copy_queue(device.key, added.key)
    _push(account, record, ledger, outcome, moment, asker, entry.device if asker is None else None)
    return outcome


def _push(
    account: Account,
    record: Record,
    ledger: Ledger,
    outcome: Outcome,
    moment: Moment,
    asker: Asker | None,
    enters: str | None,
) -> None:
    """`log` to the account's own devices and to its acquaintances' (B4: contacts are told).

    The device that asked, or that enters with this record, knows it already.
    """
    log = log_of(account)
    stamp = Stamp(ledger, asker or Asker(account.key, 0, account.uid), moment)
    number, message_id = stamp.id()
    data = encode_record(record)
    event = LogEvent(
        id=message_id,
        from_=account.uid,
        posted=stamp.posted,
        datalen=len(data),
        uid=account.uid,
        place=log.count - 1,
        head=log.head_text,
    )
    own = own_devices(account, but=asker.device if asker is not None else None)
    devices = [device for device in own if device.public != enters]
    devices += [device for other in _contacts(account, ledger) for device in other.devices]
    send(ledger, outcome, number, None, devices, Body(len(data), data), event2=event)


def _contacts(account: Account, ledger: Ledger) -> Iterable[Account]:
    """Who is acquainted with an account both ways; nobody whom one of the two blocks."""
    for key in ledger.admitting(account):
        other = ledger.account_by_key(key)
        blocked = other.key in account.blocked or account.key in other.blocked
        if key in account.admits and other.role is Role.MEMBER and not blocked:
            yield other
