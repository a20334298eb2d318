# SPDX-License-Identifier: AGPL-3.0-or-later
"""The account log: which devices an account has, and who may change that (B4; docs/protocol.md, *The account log*).

The rules alone: signatures are `tmtp_core.crypto.log_records`'s business. The service judges an entry before storing
it, clients judge the same records again: one code, one result. Pure; times are milliseconds since 1970 and come with
the records. Rule numbers are the document's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, Literal

from msgspec import Struct

from tmtp_core import limits
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.signing import HASH_BYTES

HEAD: Final = b"tmtp-log"
RECOVERY: Final = "recovery"
"""`by` of the recovery key's signature."""

ActName = Literal["genesis", "add", "confirm", "suspend", "contest", "resume", "revoke", "rekey"]


Change = Callable[[], None]
"""What an entry that was allowed does to the state."""


class LogRefused(ValueError):
    """The rules do not allow this entry; the text says which one and why."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is signed. Fields beyond `act` and `prev` as the act has them."""

    act: ActName
    prev: str
    device: str = ""
    box: str = ""
    recovery: str = ""
    target: str = ""


@dataclass(slots=True)
class DeviceState:
    """A device that was ever added. `sponsor` None: genesis, or added by the recovery key.

    `suspended_by` is a device: the one that suspended it, or for a covered one its sponsor.
    """

    key: str
    box: str
    sponsor: str | None
    full: bool
    added_ms: int
    suspended_by: str | None = None
    covered: bool = False
    contested: bool = False
    revoked: bool = False


@dataclass(slots=True)
class LogState:
    """What a log says so far. `apply` changes it, or raises and leaves it as it was. `begin` makes an empty one."""

    service_key: bytes
    head: bytes
    devices: dict[str, DeviceState] = field(default_factory=dict)
    recovery: str = ""
    count: int = 0
    time_ms: int = 0
    recoveries: set[str] = field(default_factory=set)
    alone_since_ms: int = 0
    began_at: int = 0  # the place of the last genesis

    @classmethod
    def begin(cls, service_key: bytes, uid: str) -> "LogState":
        """An empty log: of this account, at this service."""
        return cls(service_key, _hashed(service_key + uid.encode()))

    def copy(self) -> "LogState":
        """The same, for itself."""
        return replace(
            self,
            devices={key: replace(device) for key, device in self.devices.items()},
            recoveries=set(self.recoveries),
        )

    # -- what it says ------------------------------------------------------------------------------------------------
    @property
    def head_text(self) -> str:
        """What the next entry's `prev` must be."""
        return to_text(self.head) if self.count else ""

    def standing(self, key: str, time_ms: int) -> str:
        """`unknown`, `revoked`, or `full` or `provisional`, followed by ` suspended` where it is."""
        device = self.devices.get(key)
        if device is None:
            return "unknown"
        if device.revoked:
            return "revoked"
        full = device.full or self._full_by_waiting(device, time_ms)
        return ("full" if full else "provisional") + (" suspended" if device.suspended_by is not None else "")

    def unrevoked(self) -> Iterator[DeviceState]:
        """The devices of the account."""
        return (device for device in self.devices.values() if not device.revoked)

    def plants_of(self, sponsor: DeviceState) -> Iterator[DeviceState]:
        """The provisional devices that it sponsored and that are not suspended: whom it covers."""
        return (
            device
            for device in self.unrevoked()
            if device.sponsor == sponsor.key and not device.full and device.suspended_by is None
        )

    # -- the rules ---------------------------------------------------------------------------------------------------
    def apply(self, entry: Entry, signers: frozenset[str], time_ms: int, raw: bytes, *, admitted: bool = False) -> None:
        """Judge an entry whose signatures hold, and add it. Raises `LogRefused`.

        `raw` are the entry's bytes; `admitted` lets a later genesis in (an administrator's reset).
        """
        self.check_prev(entry)
        if not self.time_ms <= time_ms <= limits.LOG_TIME_MAX_MS:
            raise LogRefused("time runs back")
        most = limits.LOG_RECORDS_MAX if RECOVERY in signers else limits.LOG_RECORDS_ORDINARY_MAX
        if self.count - self.began_at >= most and entry.act not in {"genesis", "contest"}:
            raise LogRefused("11: the log is full")
        if self.count == 0 and entry.act != "genesis":
            raise LogRefused("1: a log begins with genesis")
        change = _JUDGES[entry.act](self, entry, signers, time_ms, admitted)
        self._settle(time_ms)
        change()
        self.head = next_head(self.head, time_ms, signers, raw)
        self.count += 1
        self.time_ms = time_ms

    def check_prev(self, entry: Entry) -> None:
        """Raise `LogRefused` unless the entry continues this log as it is now."""
        if entry.prev != ("" if entry.act == "genesis" else self.head_text):  # who begins anew knows no head
            raise LogRefused("the log has moved on: fetch it, look, and sign again")

    def _full_by_waiting(self, device: DeviceState, time_ms: int) -> bool:
        """Rule 10."""
        return (
            device.suspended_by is None
            and not any(other is not device for other in self.unrevoked())
            and time_ms - self.alone_since_ms >= limits.LOG_ALONE_MS
        )

    def _settle(self, time_ms: int) -> None:
        """Write down what waiting has made of a device, before a record changes the circumstances."""
        for device in self.unrevoked():
            device.full = device.full or self._full_by_waiting(device, time_ms)

    def _acts(self, key: str, time_ms: int) -> bool:
        return self.standing(key, time_ms) == "full"

    def one_that_acts(self, signers: frozenset[str], time_ms: int, rule: str) -> str:
        if len(signers) != 1:
            raise LogRefused(f"{rule}: exactly one signature is due")
        (signer,) = signers
        if not self._acts(signer, time_ms):
            raise LogRefused(f"{rule}: the signer is not a full device that is not suspended")
        return signer

    def target(self, entry: Entry, rule: str) -> DeviceState:
        device = self.devices.get(entry.target)
        if device is None or device.revoked:
            raise LogRefused(f"{rule}: the account has no such device")
        return device

    def check_new_device(self, entry: Entry, rule: str) -> None:
        """A key that ever stood in the log, in whatever part, is not new."""
        if entry.device in self.devices or entry.device in self.recoveries:
            raise LogRefused(f"{rule}: this key stood in the log before")

    def check_new_recovery(self, entry: Entry, rule: str) -> None:
        if entry.recovery in self.devices or entry.recovery in self.recoveries or entry.recovery == entry.device:
            raise LogRefused(f"{rule}: this key stood in the log before")

    def check_majority(self, target: DeviceState, signers: frozenset[str], time_ms: int, rule: str) -> None:
        """Rule 8, or the recovery key alone."""
        if signers == {RECOVERY}:
            return
        counted = [d.key for d in self.unrevoked() if d is not target and self.standing(d.key, time_ms)[:4] == "full"]
        if target.key in signers or not all(self._acts(signer, time_ms) for signer in signers):
            raise LogRefused(f"{rule}: a signer may not vote on this")
        if len(signers) < 2 or 2 * len(signers) <= len(counted):
            raise LogRefused(f"8: {len(signers)} of {len(counted)} full devices are no majority of at least two")


def _genesis(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 1."""
    if log.count and not admitted:
        raise LogRefused("1: the log has begun")
    if signers != {entry.device, RECOVERY}:
        raise LogRefused("1: the device and the new recovery key sign")
    log.check_new_device(entry, "1")
    log.check_new_recovery(entry, "1")

    def change() -> None:
        for device in log.devices.values():
            device.revoked = True
        log.began_at = log.count
        _add_device(log, entry, None, time_ms, full=True)
        _set_recovery(log, entry)

    return change


def _add(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 2."""
    log.check_new_device(entry, "2")
    sponsors = signers - {entry.device}
    if entry.device not in signers:
        raise LogRefused("2: the new device signs too")
    sponsor = None if sponsors == {RECOVERY} else log.one_that_acts(sponsors, time_ms, "2")
    most = limits.RECOVERY_DEVICES_MAX if sponsor is None else limits.NODES_PER_ACCOUNT_MAX
    if sum(1 for _ in log.unrevoked()) >= most:
        raise LogRefused(f"2: an account has at most {most} devices")
    return lambda: _add_device(log, entry, sponsor, time_ms, full=sponsor is None)


def _confirm(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 3."""
    target = log.target(entry, "3")
    if log.standing(target.key, time_ms) != "provisional":
        raise LogRefused("3: only a provisional device that is not suspended is confirmed")
    if signers != {RECOVERY} and log.one_that_acts(signers, time_ms, "3") == target.sponsor:
        raise LogRefused("3: a device's sponsor does not confirm it")

    def change() -> None:
        target.full = True

    return change


def _suspend(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 4."""
    target = log.target(entry, "4")
    signer = log.one_that_acts(signers, time_ms, "4")
    if signer == target.key:
        raise LogRefused("4: no device suspends itself")
    if target.suspended_by is not None:
        raise LogRefused("4: the device is suspended already")
    return lambda: _suspend_with_plants(log, target, signer)


def _contest(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 5."""
    device = log.devices.get(next(iter(signers))) if len(signers) == 1 else None
    if device is None or device.revoked or device.suspended_by is None:
        raise LogRefused("5: a suspended device contests its own suspension")
    if device.covered:
        raise LogRefused("5: the device is suspended with its sponsor, and that is not its to contest")
    if not log.standing(device.key, time_ms).startswith("full") and device.sponsor != device.suspended_by:
        raise LogRefused("5: a provisional device contests only what its sponsor did")
    if device.contested:
        raise LogRefused("5: this suspension was contested before")
    suspender = log.devices[device.suspended_by]

    def change() -> None:
        device.contested = True
        if not suspender.revoked and suspender.suspended_by is None:
            _suspend_with_plants(log, suspender, device.key)

    return change


def _resume(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 6."""
    target = log.target(entry, "6")
    if target.suspended_by is None:
        raise LogRefused("6: the device is not suspended")
    log.check_majority(target, signers, time_ms, "6")

    def change() -> None:
        target.suspended_by, target.covered, target.contested = None, False, False
        log.alone_since_ms = time_ms

    return change


def _revoke(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 7."""
    target = log.target(entry, "7")
    log.check_majority(target, signers, time_ms, "7")

    def change() -> None:
        target.revoked = True
        for plant in list(log.plants_of(target)):
            _set_suspended(plant, target.key, covered=True)
        log.alone_since_ms = time_ms

    return change


def _rekey(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Change:
    """Rule 9."""
    if signers != {RECOVERY}:
        raise LogRefused("9: the old recovery key signs, and nobody else")
    log.check_new_recovery(entry, "9")
    return lambda: _set_recovery(log, entry)


_JUDGES: Final = {
    "genesis": _genesis,
    "add": _add,
    "confirm": _confirm,
    "suspend": _suspend,
    "contest": _contest,
    "resume": _resume,
    "revoke": _revoke,
    "rekey": _rekey,
}


def _add_device(log: LogState, entry: Entry, sponsor: str | None, time_ms: int, *, full: bool) -> None:
    log.devices[entry.device] = DeviceState(entry.device, entry.box, sponsor, full, time_ms)
    log.alone_since_ms = time_ms


def _set_recovery(log: LogState, entry: Entry) -> None:
    log.recovery = entry.recovery
    log.recoveries.add(entry.recovery)


def _suspend_with_plants(log: LogState, device: DeviceState, by: str) -> None:
    """A device, and what it has planted: or each plant would pull down one of those who find it."""
    _set_suspended(device, by)
    for plant in list(log.plants_of(device)):
        _set_suspended(plant, device.key, covered=True)


def _set_suspended(device: DeviceState, by: str, *, covered: bool = False) -> None:
    device.suspended_by, device.covered, device.contested = by, covered, False


def next_head(head: bytes, time_ms: int, signers: frozenset[str], raw: bytes) -> bytes:
    """The head after a record: of what was said, when and by whom."""
    return _hashed(head + time_ms.to_bytes(8) + ",".join(sorted(signers)).encode() + b"\0" + raw)


def _hashed(content: bytes) -> bytes:
    return blake2b(content, digest_size=HASH_BYTES, person=HEAD).digest()
