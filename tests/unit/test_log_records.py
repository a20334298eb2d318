# SPDX-License-Identifier: AGPL-3.0-or-later
"""Entries of the account log as bytes: signatures, heads, stamps, and what is forged (B4, D5)."""

import os
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import spell_out
from tests.oracle.account_log_model import RECOVERY
from tmtp_core import limits
from tmtp_core.crypto import account_log
from tmtp_core.crypto.account_log import Entry, LogRefused, LogState
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.log_records import (
    LogInvalid,
    Record,
    Signature,
    append,
    compose,
    decode_record,
    decode_records,
    genesis,
    parse_entry,
    replay,
    verify,
)
from tmtp_core.crypto.signing import Signer, signed_by

UID, OTHER_UID, BOX = "U" * 32, "V" * 32, to_text(bytes(range(32)))
SERVICE, OTHER_SERVICE, DEVICE, OTHER, THIRD, RECOVERY_KEY = (Signer(bytes([number]) * 32) for number in range(1, 7))
KEYS = {RECOVERY: RECOVERY_KEY, **{key.public: key for key in (DEVICE, OTHER, THIRD)}}


class Account:
    """A log and its records, as a service would keep them: the state at the service, and what it sends to watchers."""

    def __init__(self, *, uid: str = UID, service: Signer = SERVICE) -> None:
        self.uid, self.service = uid, service
        self.log = LogState.begin(service.public_key, uid)
        self.records: list[Record] = []

    def begin(self, time_ms: int = 1_000) -> "Account":
        """With a genesis of `DEVICE`."""
        said = genesis(DEVICE, RECOVERY_KEY, BOX, self.service.public_key)
        self.records.append(append(self.log, *said, time_ms, uid=self.uid, service=self.service))
        return self

    def say(self, act: Any, *signers: str, **fields: str) -> "Account":
        """One more record, a second later."""
        said = compose(
            Entry(act, self.log.head_text, **fields), {by: KEYS[by] for by in signers}, self.service.public_key
        )
        time_ms = self.log.time_ms + 1_000
        self.records.append(append(self.log, *said, time_ms, uid=self.uid, service=self.service))
        return self

    def verified(self, **how: Any) -> LogState:
        """What a watcher makes of the records."""
        about: dict[str, Any] = {"uid": self.uid, "service_key": self.service.public, **how}
        return verify(about.pop("records", self.records), **about)


def an_account(*, confirming: str = RECOVERY) -> Account:
    """Genesis, another device by the recovery key, a third by the first, and its confirmation by this one."""
    account = Account().begin().say("add", RECOVERY, OTHER.public, device=OTHER.public, box=BOX)
    account.say("add", DEVICE.public, THIRD.public, device=THIRD.public, box=BOX)
    return account.say("confirm", confirming, target=THIRD.public)


def altered(record: Record, **changes: Any) -> Record:
    return Record(**{**{name: getattr(record, name) for name in Record.__struct_fields__}, **changes})


def replayed(records: list[Record], *, uid: str = UID, service: Signer = SERVICE) -> LogState:
    return replay(records, uid=uid, service_key=service.public_key)


def test_what_the_service_judged_the_client_verifies() -> None:
    account = an_account()
    state = account.verified()
    assert state == account.log == replayed(account.records)
    assert state.standing(THIRD.public, 4_000) == "full"
    known = account.verified(records=account.records[:1])
    assert account.verified(records=account.records[1:], known=known) == state
    assert replayed([]) == account.verified(records=[]) == LogState.begin(SERVICE.public_key, UID)


def test_the_head_is_made_as_the_document_says() -> None:
    def hashed(content: bytes) -> bytes:
        return blake2b(content, digest_size=32, person=b"tmtp-log").digest()

    account = an_account()
    head = hashed(SERVICE.public_key + UID.encode())
    assert LogState.begin(SERVICE.public_key, UID).head == head
    for place, record in enumerate(account.records):
        signers = ",".join(sorted(signature.by for signature in record.sigs)).encode()
        head = hashed(head + record.time.to_bytes(8, "big") + signers + b"\0" + from_text(record.entry))
        assert account.verified(records=account.records[: place + 1]).head == head
        stamped = UID.encode() + place.to_bytes(4, "big") + head
        assert signed_by(SERVICE.public, record.stamp, b"tmtp-stamp", stamped)
        for signature in record.sigs:
            over = SERVICE.public_key + from_text(record.entry)
            assert signed_by(KEYS[signature.by].public, signature.sig, b"tmtp-log", over)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_forged_record_is_found(place: int) -> None:
    account = an_account()
    records = account.records
    true = records[place]
    raw = from_text(true.entry)
    other_sig = Signature(true.sigs[0].by, to_text(os.urandom(64)))
    forgeries = [
        altered(true, entry=to_text(raw.replace(b'"act"', b' "act"'))),
        altered(true, sigs=(other_sig, *true.sigs[1:])),
        altered(true, sigs=true.sigs[1:]),
        altered(true, sigs=(*true.sigs, true.sigs[0])),
        altered(true, time=true.time + 1),
        altered(true, time=true.time - 1),
        altered(true, stamp=OTHER_SERVICE.sign(b"tmtp-stamp", b"x")),
        altered(true, stamp=records[place - 1].stamp),
        altered(true, stamp=""),
        altered(true, entry="?"),
    ]
    for forged in forgeries:
        with pytest.raises(LogInvalid):
            account.verified(records=[*records[:place], forged, *records[place + 1 :]])
    if place < 3:
        with pytest.raises(LogInvalid):
            account.verified(records=[*records[:place], *records[place + 1 :], true])


def test_two_watchers_who_are_shown_other_times_have_other_heads() -> None:
    assert Account().begin(1_000).verified().head != Account().begin(1_001).verified().head


def test_two_watchers_who_are_shown_other_signers_have_other_heads() -> None:
    """Of the same entry, which either may sign."""
    one, other = an_account(confirming=RECOVERY), an_account(confirming=OTHER.public)
    assert one.records[:3] == other.records[:3]
    assert (one.records[3].entry, one.records[3].time) == (other.records[3].entry, other.records[3].time)
    assert one.verified().devices == other.verified().devices
    assert one.verified().head != other.verified().head


def test_no_record_serves_at_another_service_or_account() -> None:
    account = an_account()
    for uid, service in [(OTHER_UID, SERVICE), (UID, OTHER_SERVICE)]:
        with pytest.raises(LogInvalid):
            account.verified(uid=uid, service_key=service.public)
        with pytest.raises(LogInvalid):
            replayed(account.records, uid=uid, service=service)
        elsewhere = Account(uid=uid, service=service).begin()
        with pytest.raises(LogInvalid):
            elsewhere.verified(records=account.records[1:], known=elsewhere.log)
        second = account.records[1]
        with pytest.raises(LogRefused, match="moved on"):
            append(elsewhere.log, second.entry, second.sigs, 2_000, uid=uid, service=service)
    first, empty = account.records[0], LogState.begin(OTHER_SERVICE.public_key, UID)
    with pytest.raises(LogRefused, match="does not hold"):
        append(empty, first.entry, first.sigs, 1_000, uid=UID, service=OTHER_SERVICE)


TAMPERED: dict[str, Callable[[list[Record]], list[Record]]] = {
    "a space": lambda r: [*r[:3], altered(r[3], entry=to_text(from_text(r[3].entry) + b" "))],
    "a space before": lambda r: [r[0], altered(r[1], entry=to_text(b" " + from_text(r[1].entry))), *r[2:]],
    "other signers, whom the rules allow": lambda r: [*r[:3], altered(r[3], sigs=(Signature(OTHER.public, ""),))],
    "other signers, in an earlier record": lambda r: [*r[:2], altered(r[2], sigs=an_add_by_recovery(r[2])), r[3]],
    "fewer signers": lambda r: [*r[:2], altered(r[2], sigs=r[2].sigs[:1]), r[3]],
    "another time": lambda r: [*r[:2], altered(r[2], time=r[2].time + 1), r[3]],
    "another order": lambda r: [r[0], r[2], r[1], r[3]],
    "one dropped": lambda r: [*r[:2], r[3]],
    "the first dropped": lambda r: r[1:],
    "one twice": lambda r: [*r, r[3]],
    "an earlier stamp": lambda r: [*r[:3], altered(r[3], stamp=r[2].stamp)],
    "no stamp": lambda r: [*r[:3], altered(r[3], stamp="")],
    "no text": lambda r: [r[0], altered(r[1], entry="?"), *r[2:]],
    "no entry": lambda r: [r[0], altered(r[1], entry=to_text(b"[]")), *r[2:]],
}


def an_add_by_recovery(record: Record) -> tuple[Signature, ...]:
    return tuple(Signature(RECOVERY if one.by == DEVICE.public else one.by, one.sig) for one in record.sigs)


@pytest.mark.parametrize("how", TAMPERED)
def test_a_stored_record_that_was_tampered_with_is_found(how: str) -> None:
    """By a service that reads its database. A log cut short is none of these: its last stamp is a true one."""
    records = an_account().records
    with pytest.raises(LogInvalid):
        replayed(TAMPERED[how](records))
    assert replayed(records[:2]).count == 2


def test_verifying_leaves_what_was_known_alone() -> None:
    account = an_account()
    known = account.verified(records=account.records[:2])
    before = known.copy()
    assert account.verified(records=account.records[2:], known=known).count == 4
    assert known == before
    with pytest.raises(LogInvalid):  # the first of these is good, and must not be kept
        account.verified(records=[account.records[2], altered(account.records[3], stamp="")], known=known)
    assert known == before
    account.say("suspend", OTHER.public, target=THIRD.public).say("contest", THIRD.public)
    known = account.verified(records=account.records[:4])
    assert account.verified(records=account.records[4:], known=known).devices != known.devices
    assert known == an_account().log


@pytest.mark.parametrize("time_ms", [-1, 2**53, 2**63, 2**64, 2**70])
def test_a_time_that_is_none_is_refused(time_ms: int) -> None:
    """Also where everything else is as it should be, as far as 8 bytes go."""
    account = Account().begin()
    genesis_ = account.records[0]
    raw, signers = from_text(genesis_.entry), frozenset(one.by for one in genesis_.sigs)
    if 0 <= time_ms < 2**64:
        head = account_log.next_head(LogState.begin(SERVICE.public_key, UID).head, time_ms, signers, raw)
        stamp = SERVICE.sign(b"tmtp-stamp", UID.encode() + bytes(4) + head)
        genesis_ = altered(genesis_, stamp=stamp)
    records = [altered(genesis_, time=time_ms)]
    with pytest.raises(LogInvalid):
        account.verified(records=records)
    with pytest.raises(LogInvalid):
        replayed(records)


def test_the_last_millisecond_is_a_time() -> None:
    assert Account().begin(2**53 - 1).verified().time_ms == 2**53 - 1


A_KEY = DEVICE.public.encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no entry"),
        (b"[]", "no entry"),
        (b"[" * 1_000, "no entry"),
        (b'{"act":"add"}', "no entry"),
        (b'{"act":"explode","prev":""}', "no entry"),
        (b'{"act":"contest","prev":"","more":1}', "no entry"),
        (b'{"act":"contest","prev":"","target":"x"}', "has no target"),
        (b'{"act":"suspend","prev":""}', "lacks target"),
        (b'{"act":"suspend","prev":"","target":"x"}', "target is no key"),
        (b'{"act":"suspend","prev":"","target":"' + b"A" * 43 + b'"}', "target is no key"),  # small order
        (b'{"act":"contest","prev":"' + b"x" * 2_000 + b'"}', "at most"),
        (b'{"act":"add","prev":"","device":"' + A_KEY + b'","box":"AAAA"}', "box is no key"),
        (b'{"act":"add","prev":"","device":"' + A_KEY + b'","box":"' + b"A" * 43 + b'"}', "box is no key"),  # zero
        (b'{"act":"add","prev":"","device":"' + A_KEY + b'","box":"AQ' + b"A" * 41 + b'"}', "box is no key"),  # one
        (b'{"act":"contest","act":"contest","prev":""}', "stands twice"),
        (b'{"act":"contest","prev":"x","prev":""}', "stands twice"),
        (b'{"act":"contest","prev":"x","pr\\u0065v":""}', "stands twice"),
        (b'{"act":"suspend","prev":"","target":"","target":"' + A_KEY + b'"}', "stands twice"),
        (b'{"act":"contest","prev":"","target":"","target":""}', "stands twice"),
    ],
)
def test_what_is_no_entry(raw: bytes, why: str) -> None:
    with pytest.raises(LogRefused, match=why):
        parse_entry(raw)


def test_deep_nesting_is_no_record() -> None:
    nested = b"[" * 8_000 + b"]" * 8_000
    for decode, raw in ((decode_record, b'{"x":%b}'), (decode_records, b'[{"x":%b}]')):
        with pytest.raises(LogInvalid):
            decode(raw % nested)


@given(st.binary(max_size=300))
def test_any_bytes_are_judged_without_surprise(raw: bytes) -> None:
    log = LogState.begin(SERVICE.public_key, UID)
    with pytest.raises(LogRefused):
        append(log, to_text(raw), (), 0, uid=UID, service=SERVICE)
    with pytest.raises(LogInvalid):
        decode_records(raw) if raw != b"[]" else verify([Record("", (), 0, "")], uid=UID, service_key=SERVICE.public)
    assert log == LogState.begin(SERVICE.public_key, UID)


def test_a_full_log_leaves_room_for_the_recovery_key(monkeypatch: pytest.MonkeyPatch) -> None:
    account = an_account()
    monkeypatch.setattr(limits, "LOG_RECORDS_ORDINARY_MAX", len(account.records))
    with pytest.raises(LogRefused, match="11"):
        account.say("suspend", DEVICE.public, target=OTHER.public)
    account.say("revoke", RECOVERY, target=OTHER.public)
    assert account.verified().standing(OTHER.public, account.log.time_ms) == "revoked"


def test_a_terminal_does_not_do_what_a_strangers_name_says() -> None:
    event = spell_out(None, "info", {"event": "x", "sender": "a\u009b31m\x1b[2J\u202e\n@x.example", "count": 1})
    assert event == {"event": "x", "sender": "a\\u009b31m\\u001b[2J\\u202e\\n@x.example", "count": 1}
