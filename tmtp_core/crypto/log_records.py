# SPDX-License-Identifier: AGPL-3.0-or-later
"""Entries of the account log as bytes, their signatures and the service's stamp (B4; docs/protocol.md).

The rules are `tmtp_core.crypto.account_log`'s. `append` is the service's part, `verify` the client's.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from tmtp_core import limits
from tmtp_core.crypto.account_log import RECOVERY, Entry, LogRefused, LogState
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import PUBLIC_KEY_BYTES, Signer, check_box_key, check_public_key, signed_by

ENTRY: Final = b"tmtp-log"
STAMP: Final = b"tmtp-stamp"


class LogInvalid(ValueError):
    """These records are no log: a signature, the chain or a rule does not hold."""


class Signature(Struct, frozen=True):
    """One signature over an entry: `by` a device, or `RECOVERY`."""

    by: str
    sig: str


class Record(Struct, frozen=True):
    """An entry as the service stored it: its bytes as text, who signed it, when it came, and the service's stamp."""

    entry: str
    sigs: tuple[Signature, ...]
    time: int
    stamp: str


_FIELDS: Final[dict[str, frozenset[str]]] = {
    "genesis": frozenset({"device", "box", "recovery"}),
    "add": frozenset({"device", "box"}),
    "confirm": frozenset({"target"}),
    "suspend": frozenset({"target"}),
    "contest": frozenset(),
    "resume": frozenset({"target"}),
    "revoke": frozenset({"target"}),
    "rekey": frozenset({"recovery"}),
}
_SIGNATURES: Final = {
    "genesis": 2,
    "add": 2,
    "resume": limits.RECOVERY_DEVICES_MAX,
    "revoke": limits.RECOVERY_DEVICES_MAX,
}
"""How many an act may carry, where that is not one."""
_OPTIONAL: Final = ("device", "box", "recovery", "target")
_ENTRIES: Final = msgspec.json.Decoder(Entry)
_NAMES: Final = json.JSONDecoder(object_pairs_hook=lambda pairs: [name for name, _ in pairs])


def parse_entry(raw: bytes) -> Entry:
    """An entry from its bytes, with keys that are keys. Raises `LogRefused`."""
    entry = _decoded(raw)
    for name in _OPTIONAL:
        text = getattr(entry, name)
        try:
            if text and name == "box":
                check_box_key(text)
            elif text:
                check_public_key(text)
        except ValueError as error:
            raise LogRefused(f"{name} is no key: {error}") from None
    return entry


def _decoded(raw: bytes) -> Entry:
    """An entry from its bytes, with exactly the fields of its act, none of them twice."""
    if len(raw) > limits.LOG_ENTRY_MAX_BYTES:
        raise LogRefused(f"an entry has at most {limits.LOG_ENTRY_MAX_BYTES} bytes")
    try:
        entry = _ENTRIES.decode(raw)
        names = _NAMES.decode(raw.decode())
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise LogRefused(f"this is no entry: {error}") from None
    if len(set(names)) != len(names):  # whoever takes the first of two would read another entry
        raise LogRefused("a name stands twice in this entry")
    wanted = _FIELDS[entry.act]
    for name in _OPTIONAL:
        text = getattr(entry, name)
        if bool(text) is not (name in wanted):
            raise LogRefused(f"{entry.act} {'lacks' if not text else 'has no'} {name}")
    return entry


def signers_of(log: LogState, entry: Entry, raw: bytes, sigs: Sequence[Signature]) -> frozenset[str]:
    """Who signed an entry. Raises `LogRefused` when one of the signatures does not hold, or one stands twice."""
    if len(sigs) > _SIGNATURES.get(entry.act, 1):  # before any is checked, which costs
        raise LogRefused(f"{entry.act} does not take {len(sigs)} signatures")
    by = [signature.by for signature in sigs]
    if len(set(by)) != len(by):
        raise LogRefused("a signer stands twice")
    for signature in sigs:
        public = signature.by
        if public == RECOVERY:
            public = entry.recovery if entry.act == "genesis" else log.recovery
        elif public not in log.devices and public != entry.device:
            raise LogRefused("a signer is not a device of this account")
        if not signed_by(public, signature.sig, ENTRY, log.service_key, raw):
            raise LogRefused("a signature does not hold")
    return frozenset(by)


def encode_entry(entry: Entry) -> bytes:
    """An entry's bytes, to be signed."""
    return msgspec.json.encode(entry)


def compose(entry: Entry, signers: Mapping[str, Signer], service_key: bytes) -> tuple[str, tuple[Signature, ...]]:
    """`entry` and `sigs` of op 1 or 13: an entry for this service, signed by these keys; the names are devices', or
    `RECOVERY`.
    """
    raw = encode_entry(entry)
    return to_text(raw), tuple(Signature(by, key.sign(ENTRY, service_key, raw)) for by, key in signers.items())


def genesis(device: Signer, recovery: Signer, box: str, service_key: bytes) -> tuple[str, tuple[Signature, ...]]:
    """The first entry of a new account's log at this service, signed."""
    entry = Entry("genesis", "", device=device.public, box=box, recovery=recovery.public)
    return compose(entry, {device.public: device, RECOVERY: recovery}, service_key)


def encode_record(record: Record) -> bytes:
    """A record as JSON: the data of a `log` message, and one of those in a `logpage`."""
    return msgspec.json.encode(record)


def decode_record(raw: bytes) -> Record:
    """Undo `encode_record`. Raises `LogInvalid`."""
    try:
        return msgspec.json.decode(raw, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LogInvalid(f"this is no record: {error}") from None


def decode_records(raw: bytes) -> list[Record]:
    """The data of a `logpage`. Raises `LogInvalid`."""
    try:
        return msgspec.json.decode(raw, type=list[Record])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LogInvalid(f"these are no records: {error}") from None


# -- the service's part ----------------------------------------------------------------------------------------------
def append(
    log: LogState,
    entry_text: str,
    sigs: Sequence[Signature],
    now_ms: int,
    *,
    uid: str,
    service: Signer,
    admitted: bool = False,
) -> Record:
    """Judge an entry, add it to the log, stamp it. Raises `LogRefused`; then the log is as before."""
    try:
        raw = from_text(entry_text)
    except ValueError as error:
        raise LogRefused(f"entry: {error}") from None
    entry = parse_entry(raw)
    log.check_prev(entry)  # before signatures are checked, which cost more
    signers = signers_of(log, entry, raw, sigs)
    time_ms = max(now_ms, log.time_ms)
    log.apply(entry, signers, time_ms, raw, admitted=admitted)
    stamp = service.sign(STAMP, _stamped(uid, log.count - 1, log.head))
    return Record(entry_text, tuple(sigs), time_ms, stamp)


def replay(records: Iterable[Record], *, uid: str, service_key: bytes) -> LogState:
    """The state after records that this service judged before. Raises `LogInvalid` when they are not those.

    The last record's stamp stands for all of them, since the head that it signs covers everything said and who said it:
    whoever can write the database, and has not the service's key, adds nothing to a log.
    """
    log = LogState.begin(service_key, uid)
    stamp = ""
    for record in records:
        try:
            raw = from_text(record.entry)
            signers = frozenset(signature.by for signature in record.sigs)
            log.apply(_decoded(raw), signers, record.time, raw, admitted=True)
        except (LogRefused, ValueError) as error:
            raise LogInvalid(f"record {log.count}: {error}") from None
        stamp = record.stamp
    if log.count and not signed_by(to_text(service_key), stamp, STAMP, _stamped(uid, log.count - 1, log.head)):
        raise LogInvalid("the last record's stamp does not hold")
    return log


# -- the client's part -----------------------------------------------------------------------------------------------
def verify(records: Iterable[Record], *, uid: str, service_key: str, known: LogState | None = None) -> LogState:
    """The state that these records lead to, continuing `known`, which stays as it is. Raises `LogInvalid`.

    A genesis after the first is accepted: the service stamped it. Whoever watches shows it to the person.
    """
    try:
        log = known.copy() if known is not None else LogState.begin(from_text(service_key, PUBLIC_KEY_BYTES), uid)
    except ValueError as error:
        raise LogInvalid(f"the service's key: {error}") from None
    for record in records:
        place = log.count
        try:
            raw = from_text(record.entry)
            entry = parse_entry(raw)
            signers = signers_of(log, entry, raw, record.sigs)
            log.apply(entry, signers, record.time, raw, admitted=True)
        except (LogRefused, ValueError) as error:
            raise LogInvalid(f"record {place}: {error}") from None
        if not signed_by(service_key, record.stamp, STAMP, _stamped(uid, place, log.head)):
            raise LogInvalid(f"record {place}: the service's stamp does not hold")
    return log


def _stamped(uid: str, place: int, head: bytes) -> bytes:
    return uid.encode() + place.to_bytes(4) + head
