# SPDX-License-Identifier: AGPL-3.0-or-later
"""The account log in the service: ops 13 and 14 of revision 2 (B4, D4).

Every change of an account's devices is an entry of its log, judged by `tmtp_core.crypto.account_log`. What an entry
does to devices, queues and links, and whom it is told to, is done here, in the same commit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tmtp_core import limits
from tmtp_core.crypto.account_log import Entry, LogRefused, LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import LogInvalid, Record, Signature, append, encode_record, parse_entry, verify
from tmtp_core.crypto.possession import Channel, registration_proved
from tmtp_core.crypto.signing import Signer
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import is_restricted, live_account
from tmtp_core.domain.acquaintance import may_post
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.fanout import Stamp, own_devices, send
from tmtp_core.domain.outcome import NO_DEVICE, Answer, Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Body, Device, Ledger, Role
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.messages import Acked
from tmtp_core.wire.revision2 import LogAppend, LogEvent, LogFetch, LogPage, Prekey

REVOKED: Final = "device revoked"
SUSPENDED: Final = "device suspended"
RESUMED: Final = "device resumed, log in again"
MOVED: Final = "log in with the device's key"
_LAST_ONE_GONE: Final = "the recipient's devices are gone"


@dataclass(frozen=True, slots=True)
class Signed:
    """An entry as somebody brings it: its text and who signed it."""

    entry: str
    sigs: tuple[Signature, ...]

    def read(self) -> Entry:
        """What it says. Raises `RequestRefused` when it is no entry."""
        try:
            return parse_entry(from_text(self.entry))
        except ValueError as error:
            raise RequestRefused(f"LogAppend: {error}") from None

    def proved(self, public: str, proof: str, channels: tuple[Channel, ...]) -> bool:
        """Whether the owner of a key shows on this link that the entry is his."""
        try:
            raw = from_text(self.entry)
        except ValueError:
            return False
        return any(registration_proved(public, proof, channel, raw) for channel in channels)


class DeviceLogs:
    """Judges entries and keeps them. `service` is the instance's own key, to which every log is bound."""

    def __init__(self, service: Signer) -> None:
        self._service = service

    def empty(self, uid: str) -> LogState:
        """The log of an account that has none."""
        return LogState.begin(self._service.public_key, uid)

    def judge(
        self,
        log: LogState,
        uid: str,
        signed: Signed,
        ledger: Ledger,
        moment: Moment,
        *,
        admitted: bool = False,
        leaving: Sequence[Device] = (),
    ) -> Record:
        """Judge one entry; `log` is changed when it is allowed. Raises `RequestRefused`.

        The keys of the devices that are `leaving` with it may be used again.
        """
        entry = signed.read()
        named = ledger.device_named(entry.device) if entry.device else None
        if named is not None and named[1] not in leaving:
            raise RequestRefused("LogAppend: this key is a device's already")
        try:
            return append(log, signed.entry, signed.sigs, moment.ms, uid=uid, service=self._service, admitted=admitted)
        except LogRefused as refusal:
            raise RequestRefused(f"LogAppend: {refusal}") from None

    def judge_again(self, log: LogState, uid: str, record: Record, ledger: Ledger) -> LogState:
        """The log with a record that this service has made before and does not know any more, since it was restored
        from a backup. `log` stays as it is. Raises `RequestRefused`.

        The stamp shows that it was made, in this very place of this log; all the rules are applied once more.
        """
        entry = Signed(record.entry, record.sigs).read()
        try:
            log.check_prev(entry)
        except LogRefused as refusal:
            raise RequestRefused(f"LogAppend: {refusal}") from None
        named = ledger.device_named(entry.device) if entry.device else None
        if named is not None and named[0].uid != uid:
            raise RequestRefused("LogAppend: this key is a device's already")
        try:
            return verify([record], uid=uid, service_key=self._service.public, known=log)
        except LogInvalid as invalid:
            raise RequestRefused(f"LogAppend: not as this service made it: {invalid}") from None

    def append(
        self, request: LogAppend, channels: tuple[Channel, ...], ledger: Ledger, asker: Asker, moment: Moment
    ) -> Outcome:
        """Op 13. From a password device, a genesis: the account moves to keys, and its passwords end."""
        account = live_account(ledger, asker)
        refuse_bridge(account)
        signed = Signed(request.entry, request.sigs)
        if asker.public is None:
            outcome = self._move_to_keys(request, signed, channels, account, ledger, asker, moment)
        else:
            if signed.read().act != "contest":  # the one right that a suspended device has
                quotas.count_log_append(ledger, account, asker, moment)  # also what is refused: it is work
            if account.log_damaged:
                raise RequestRefused("LogAppend: this account's log is damaged; an administrator resets the account")
            log, before = log_of(account), suspended(account)
            if request.stamp:
                record = Record(request.entry, request.sigs, request.time, request.stamp)
                log = self.judge_again(log, account.uid, record, ledger)
            else:
                record = self.judge(log, account.uid, signed, ledger, moment)
            outcome = keep(account, log, record, before, ledger, moment, asker)
        outcome.answers.insert(0, Acked(request.id, head=log_of(account).head_text))
        return outcome

    def _move_to_keys(
        self,
        request: LogAppend,
        signed: Signed,
        channels: tuple[Channel, ...],
        account: Account,
        ledger: Ledger,
        asker: Asker,
        moment: Moment,
    ) -> Outcome:
        """A genesis after a log-in by password: this device keeps its queue, the other nodes go.

        Both keys prove that they are here, as in op 1: nobody moves to keys that are somebody else's.
        """
        entry = signed.read()
        device = account.device(asker.device)
        if account.has_keys or device is None:
            raise RequestRefused("LogAppend: this account has moved to keys")
        proofs = ((entry.device, request.sig), (entry.recovery, request.recoverysig))
        if not all(signed.proved(public, proof, channels) for public, proof in proofs):
            raise RequestRefused("LogAppend: the keys' signatures for this link do not hold")
        log = self.empty(account.uid)
        record = self.judge(log, account.uid, signed, ledger, moment)
        ledger.device_gets_key(device, entry.device, entry.box)
        cuts = without(ledger, account, own_devices(account, but=asker.device))
        outcome = keep(account, log, record, frozenset(), ledger, moment, asker)
        outcome.cuts = {**cuts, asker.device: MOVED}
        return outcome


def fetch_log(request: LogFetch, ledger: Ledger, asker: Asker, moment: Moment) -> Outcome:
    """Op 14: one's own log; or that of somebody who agreed to hear from one, or is in a group with one.

    A block changes nothing here, or the blocked one could tell.
    """
    account = live_account(ledger, asker)
    refuse_bridge(account)
    other = ledger.account(request.uid)
    if is_restricted(account, asker, moment) and other is not account:
        raise RequestRefused("LogFetch: only this account's own log is for you")
    if other is None or other.log is None or not _shows_its_log(other, account, ledger, moment):
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


def log_of(account: Account) -> LogState:
    """The log of an account that has keys."""
    assert account.log is not None
    return account.log


def suspended(account: Account) -> frozenset[str]:
    """Keys of the account's devices that are suspended."""
    if account.log is None:
        return frozenset()
    return frozenset(device.key for device in account.log.unrevoked() if device.suspended_by is not None)


def without(ledger: Ledger, account: Account, devices: list[Device]) -> dict[int, str]:
    """These devices go; what their links are told."""
    for device in devices:
        ledger.remove_device(account, device, _LAST_ONE_GONE)
    return {device.key: REVOKED for device in devices}


def keep(
    account: Account,
    log: LogState,
    record: Record,
    before: frozenset[str],
    ledger: Ledger,
    moment: Moment,
    asker: Asker | None,
) -> Outcome:
    """Store a record that was judged, and bring devices, queues and links into line with it.

    `before` are the devices that were suspended until now; `asker` None: the record's new device enters with it.
    """
    added, cuts = bring_about(account, log, record, before, ledger, moment)
    outcome = Outcome(cuts=cuts)
    enters = added.public if added is not None and asker is None else None
    _tell(account, record, ledger, outcome, moment, asker, enters)
    return outcome


def bring_about(
    account: Account, log: LogState, record: Record, before: frozenset[str], ledger: Ledger, moment: Moment
) -> tuple[Device | None, dict[int, str]]:
    """`keep`, and nobody is told; the device that it added, and what the links are told that end."""
    account.log = log
    ledger.append_log(account, record)
    entry = Signed(record.entry, record.sigs).read()
    added = None
    if entry.act == "add":  # before anything is revoked: no queue may end while there is a device to have it
        added = _admit(account, entry, ledger, moment)
    cuts = _carry_out(account, log, before, ledger)
    if entry.act == "genesis" and all(device.public != entry.device for device in account.devices):
        added = ledger.add_device(account, b"", moment.ms, public=entry.device, box=entry.box)
    return added, cuts


def _admit(account: Account, entry: Entry, ledger: Ledger, moment: Moment) -> Device:
    """A further device, whose queue begins as a copy of its sponsor's: or of all, where the recovery key adds it."""
    sponsor = log_of(account).devices[entry.device].sponsor
    sources = [device.key for device in account.devices if sponsor is None or device.public == sponsor]
    added = ledger.add_device(account, b"", moment.ms, public=entry.device, box=entry.box)
    ledger.copy_queue(sources, added.key)
    return added


def _carry_out(account: Account, log: LogState, before: frozenset[str], ledger: Ledger) -> dict[int, str]:
    """Devices that were revoked go; the links of those that were suspended or resumed end. What they are told."""
    after = suspended(account)
    cuts: dict[int, str] = {}
    for device in list(account.devices):
        if device.public is None:
            continue
        state = log.devices.get(device.public)
        if state is None or state.revoked:  # none: of a log that this one has replaced
            ledger.remove_device(account, device, _LAST_ONE_GONE)
            cuts[device.key] = REVOKED
        elif device.public in after - before:
            cuts[device.key] = SUSPENDED
        elif device.public in before - after:
            cuts[device.key] = RESUMED  # its narrow link ends; it comes back as it was
    return cuts


def _tell(
    account: Account,
    record: Record,
    ledger: Ledger,
    outcome: Outcome,
    moment: Moment,
    asker: Asker | None,
    enters: str | None,
) -> None:
    """`log` to the account's own devices and to its contacts' (B4: contacts are told).

    The device that asked, or that enters with this record, knows it already.
    """
    log = log_of(account)
    stamp = Stamp(ledger, asker or Asker(account.key, NO_DEVICE, account.uid), moment)
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
    devices += [device for other in _contacts(account, ledger, moment) for device in other.devices]
    send(ledger, outcome, number, None, devices, Body(len(data), data), event2=event)


def _contacts(account: Account, ledger: Ledger, moment: Moment) -> Iterable[Account]:
    """With whom an account has had to do, and who may write to one another: but nobody who blocks it."""
    for key in dict.fromkeys([*ledger.admitting(account), *account.admits]):
        other = ledger.account_by_key(key)
        both = may_post(account, other, moment) and may_post(other, account, moment)
        if both and other.role is Role.MEMBER and account.key not in other.blocked:
            yield other


def _shows_its_log(other: Account, account: Account, ledger: Ledger, moment: Moment) -> bool:
    """Who agreed to hear from an account, or is in a group with it, shows it whose keys it writes to."""
    return may_post(account, other, moment) or ledger.share_group(account, other)
