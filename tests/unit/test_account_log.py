# SPDX-License-Identifier: AGPL-3.0-or-later
"""The account log (B4): against a literal model of its rules, against a thief, and against forged bytes."""

import copy
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.oracle.account_log_model import RECOVERY, Model, Said
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
    encode_entry,
    genesis,
    parse_entry,
    replay,
    verify,
)
from tmtp_core.crypto.signing import Signer

DEVICES = ["A", "B", "C", "D", "E", "F"]
RECOVERIES = ["R0", "R1", "R2"]
ACTS = ["add", "add", "confirm", "suspend", "contest", "resume", "revoke", "rekey", "genesis"]
HOURS = [0, 0, 0, 1, 24, 71, 72, 100]
HOUR_MS = 3_600_000

said = st.builds(
    lambda act, signers, device, target, recovery, hours, admitted: (
        act,
        frozenset(signers),
        device,
        target,
        recovery,
        hours,
        admitted,
    ),
    st.sampled_from(ACTS),
    st.lists(st.sampled_from([*DEVICES, RECOVERY]), min_size=1, max_size=4),
    st.sampled_from(DEVICES),
    st.sampled_from(DEVICES),
    st.sampled_from(RECOVERIES),
    st.sampled_from(HOURS),
    st.booleans(),
)


def entry_of(one: Said, head: str) -> Entry:
    """The same for the product, with the fields that the act has."""
    device = one.device if one.act in {"genesis", "add"} else ""
    target = one.target if one.act in {"confirm", "suspend", "resume", "revoke"} else ""
    recovery = one.recovery if one.act in {"genesis", "rekey"} else ""
    return Entry(one.act, "" if one.act == "genesis" else head, device=device, target=target, recovery=recovery)  # type: ignore[arg-type]


def judged(log: LogState, one: Said) -> bool:
    """Whether the product takes it; it is part of the log then."""
    before = repr(log)
    try:
        log.apply(entry_of(one, log.head_text), one.signers, one.time, b"", admitted=one.admitted)
    except LogRefused:
        assert repr(log) == before  # a refusal changes nothing
        return False
    return True


def likely(log: LogState, drawn: Any, time_ms: int, choose: Callable[[int], int]) -> Said:
    """What was drawn, bent so that about half of all entries have the signers they need."""
    act, signers, device, target, recovery, _, admitted = drawn
    able = [one for one in DEVICES if log.standing(one, time_ms) == "full"]
    if choose(4) and able:
        if act == "add":
            signers = {able[choose(len(able))], device}
        elif act in {"confirm", "suspend"}:
            signers = {able[choose(len(able))]}
        elif act == "contest":
            held = [one for one in DEVICES if log.standing(one, time_ms).endswith("suspended")]
            signers = {held[choose(len(held))]} if held else signers
        elif act in {"resume", "revoke"} and choose(3):
            others = sorted(set(able) - {target})
            size = min(len(others), 2 + choose(3))
            signers = {others[(choose(7) + place) % len(others)] for place in range(size)} or signers
        elif act == "rekey":
            signers = {RECOVERY}
    if act == "genesis":
        signers = {device, RECOVERY} if choose(3) else signers
        admitted = admitted and not choose(4)  # resets are rare
    return Said(act, frozenset(signers), time_ms, device, target, recovery, admitted)


def begun(*acts: tuple[str, str, str]) -> list[Said]:
    """A beginning: genesis of A, then (act, signers, whom), all in the first moment."""
    history = [Said("genesis", frozenset({"A", RECOVERY}), 1_000_000, device="A", recovery="R0")]
    for act, by, whom in acts:
        signers = frozenset(by.split("+")) | ({whom} if act == "add" else set())
        about = {"device": whom} if act == "add" else {"target": whom}
        history.append(Said(act, signers, 1_000_000, **about))
    return history


PRELUDES = [
    begun(),
    begun(*(("add", RECOVERY, name) for name in "BCDE")),  # five full devices: four count where one is the target
    begun(*(("add", RECOVERY, name) for name in "BCDE"), ("suspend", "A", "E"), ("suspend", "B", "D")),
    begun(("add", "A", "B"), ("revoke", RECOVERY, "A")),  # one provisional device, alone
    begun(("add", "A", "B"), ("suspend", "A", "B"), ("revoke", RECOVERY, "A")),  # and suspended
]


def compare(history: list[Any], choices: list[int]) -> tuple[int, int]:
    """Play one history to both; how many entries were taken, and how many refused."""
    log, model, time_ms = LogState(), Model(), 1_000_000
    taken = refused = 0
    numbers = iter(choices * 1_000)

    def choose(count: int) -> int:
        return next(numbers) % count

    for drawn in [*PRELUDES[choices[0] % len(PRELUDES)], *history]:
        if isinstance(drawn, Said):
            one = drawn
        else:
            time_ms += drawn[5] * HOUR_MS
            one = likely(log, drawn, time_ms, choose)
        expected = model.allows(one)
        assert judged(log, one) is expected, (one, model.history)
        if expected:
            model.accept(one)
            taken += 1
        else:
            refused += 1
        for device in DEVICES:
            for later in (0, 72 * HOUR_MS):
                told = log.standing(device, one.time + later)
                assert told == model.standing(device, one.time + later), (device, later, model.history)
    return taken, refused


@given(st.lists(said, max_size=25), st.lists(st.integers(0, 1_000), min_size=3, max_size=12))
def test_the_product_judges_as_the_model_does(history: list[Any], choices: list[int]) -> None:
    compare(history, choices)


def random_history(seed: int) -> tuple[list[Any], list[int]]:
    """A history from a seed, without Hypothesis: for counting, and for the mutations below."""
    chance = random.Random(seed)
    history = [
        (
            chance.choice(ACTS),
            frozenset(chance.choices([*DEVICES, RECOVERY], k=chance.randint(1, 3))),
            chance.choice(DEVICES),
            chance.choice(DEVICES),
            chance.choice(RECOVERIES),
            chance.choice(HOURS),
            chance.random() < 0.5,
        )
        for _ in range(25)
    ]
    return history, [chance.randrange(1_000) for _ in range(97)]


def test_generated_histories_say_yes_and_no() -> None:
    """A comparison that only ever refuses compares nothing."""
    counts = [compare(*random_history(seed)) for seed in range(150)]
    taken, refused = (sum(column) for column in zip(*counts, strict=True))
    assert taken > 600
    assert refused > 600


# -- mutations: each of these wrong rules must be caught -------------------------------------------------------------
def _mutant(name: str) -> dict[str, Any]:
    state = LogState
    original_standing = state.standing

    def sponsor_confirms(log: Any, entry: Any, signers: Any, time_ms: int, admitted: bool) -> Any:
        target = log.target(entry, "3")
        if log.standing(target.key, time_ms) != "provisional":
            raise LogRefused("3")
        if signers != {RECOVERY}:
            log.one_that_acts(signers, time_ms, "3")
        return lambda: setattr(target, "full", True)

    def contest_spares(log: Any, entry: Any, signers: Any, time_ms: int, admitted: bool) -> Any:
        change = account_log._contest(log, entry, signers, time_ms, admitted)
        device = log.devices[next(iter(signers))]
        return (lambda: setattr(device, "contested", True)) if change else None

    def contest_for_ever(log: Any, entry: Any, signers: Any, time_ms: int, admitted: bool) -> Any:
        device = log.devices.get(next(iter(signers)))
        if device is not None:
            device.contested = False
        return account_log._contest(log, entry, signers, time_ms, admitted)

    def half_is_enough(self: Any, target: Any, signers: Any, time_ms: int, rule: str) -> None:
        if signers == {RECOVERY}:
            return
        counted = [d for d in self.unrevoked() if d is not target and self.standing(d.key, time_ms)[:4] == "full"]
        if target.key in signers or not all(self._acts(signer, time_ms) for signer in signers):
            raise LogRefused(rule)
        if len(signers) < 2 or 2 * len(signers) < len(counted):
            raise LogRefused("8")

    def one_is_enough(self: Any, target: Any, signers: Any, time_ms: int, rule: str) -> None:
        if signers == {RECOVERY}:
            return
        counted = [d for d in self.unrevoked() if d is not target and self.standing(d.key, time_ms)[:4] == "full"]
        if target.key in signers or not all(self._acts(signer, time_ms) for signer in signers):
            raise LogRefused(rule)
        if 2 * len(signers) <= len(counted):
            raise LogRefused("8")

    def suspended_do_not_count(self: Any, target: Any, signers: Any, time_ms: int, rule: str) -> None:
        if signers == {RECOVERY}:
            return
        counted = [d for d in self.unrevoked() if d is not target and self.standing(d.key, time_ms) == "full"]
        if target.key in signers or not all(self._acts(signer, time_ms) for signer in signers):
            raise LogRefused(rule)
        if len(signers) < 2 or 2 * len(signers) <= len(counted):
            raise LogRefused("8")

    def provisional_signs(self: Any, key: str, time_ms: int) -> bool:
        return original_standing(self, key, time_ms) in {"full", "provisional"}

    def suspended_sign(self: Any, key: str, time_ms: int) -> bool:
        return original_standing(self, key, time_ms) in {"full", "full suspended"}

    def waits_in_company(self: Any, device: Any, time_ms: int) -> bool:
        return device.suspended_by is None and time_ms - self.alone_since_ms >= limits.LOG_ALONE_MS

    def suspended_waits(self: Any, device: Any, time_ms: int) -> bool:
        alone = not any(other is not device for other in self.unrevoked())
        return alone and time_ms - self.alone_since_ms >= limits.LOG_ALONE_MS

    def anybody_rekeys(log: Any, entry: Any, signers: Any, time_ms: int, admitted: bool) -> Any:
        if signers != {RECOVERY}:
            log.one_that_acts(signers, time_ms, "9")
        log.check_new_recovery(entry, "9")
        return lambda: account_log._set_recovery(log, entry)

    def again(self: Any, entry: Any, rule: str) -> None:
        return

    def unadmitted(log: Any, entry: Any, signers: Any, time_ms: int, admitted: bool) -> Any:
        return account_log._genesis(log, entry, signers, time_ms, True)

    judges, methods = account_log._JUDGES, LogState
    return {
        "a sponsor confirms": (judges, "confirm", sponsor_confirms),
        "a contest spares the suspender": (judges, "contest", contest_spares),
        "a contest never ends": (judges, "contest", contest_for_ever),
        "anybody changes the recovery key": (judges, "rekey", anybody_rekeys),
        "a genesis without leave": (judges, "genesis", unadmitted),
        "half is a majority": (methods, "check_majority", half_is_enough),
        "one is a majority": (methods, "check_majority", one_is_enough),
        "suspended devices do not count": (methods, "check_majority", suspended_do_not_count),
        "provisional devices sign": (methods, "_acts", provisional_signs),
        "suspended devices sign": (methods, "_acts", suspended_sign),
        "waiting in company": (methods, "_full_by_waiting", waits_in_company),
        "waiting while suspended": (methods, "_full_by_waiting", suspended_waits),
        "a device comes back": (methods, "check_new_device", again),
    }[name]  # type: ignore[return-value]


@pytest.mark.parametrize(
    "name",
    [
        "a sponsor confirms",
        "a contest spares the suspender",
        "a contest never ends",
        "anybody changes the recovery key",
        "a genesis without leave",
        "half is a majority",
        "one is a majority",
        "suspended devices do not count",
        "provisional devices sign",
        "suspended devices sign",
        "waiting in company",
        "waiting while suspended",
        "a device comes back",
    ],
)
def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    place, key, wrong = _mutant(name)
    if isinstance(place, dict):
        monkeypatch.setitem(place, key, wrong)
    else:
        monkeypatch.setattr(place, key, wrong)
    with pytest.raises(AssertionError):
        for seed in range(3_000):
            compare(*random_history(seed))


# -- a thief ---------------------------------------------------------------------------------------------------------
class StolenDevice(RuleBasedStateMachine):
    """One full device is stolen. The thief signs with it and with all that it ever sponsored, whenever it likes.

    The owner has one other full device, which only ever suspends and contests, and the recovery key in a drawer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log = LogState()
        self.time_ms = 0
        self.stolen = {"T"}
        self.count = 0

    @initialize()
    def begin(self) -> None:
        self.say(Entry("genesis", "", device="A", recovery="R"), {"A", RECOVERY})
        self.say(Entry("add", self.log.head_text, device="T"), {"A", "T"})
        self.say(Entry("confirm", self.log.head_text, target="T"), {RECOVERY})

    def say(self, entry: Entry, signers: set[str]) -> None:
        self.log.apply(entry, frozenset(signers), self.time_ms, b"")

    def attempt(self, act: str, signers: set[str], **fields: str) -> None:
        try:
            self.say(Entry(act, self.log.head_text, **fields), signers)  # type: ignore[arg-type]
        except LogRefused:
            return

    @rule(hours=st.sampled_from([1, 24, 72, 1_000]))
    def wait(self, hours: int) -> None:
        self.time_ms += hours * HOUR_MS

    @rule(data=st.data())
    def the_thief_adds(self, data: st.DataObject) -> None:
        new = f"T{self.count}"
        self.count += 1
        sponsor = data.draw(st.sampled_from(sorted(self.stolen)))
        self.attempt("add", {sponsor, new}, device=new)
        if new in self.log.devices:
            self.stolen.add(new)

    @rule(
        data=st.data(),
        act=st.sampled_from(["confirm", "suspend", "contest", "resume", "revoke", "rekey"]),
    )
    def the_thief_says(self, data: st.DataObject, act: str) -> None:
        signers = data.draw(st.sets(st.sampled_from(sorted(self.stolen)), min_size=1, max_size=4))
        fields = (
            {"target": data.draw(st.sampled_from(sorted(self.log.devices)))} if act not in {"contest", "rekey"} else {}
        )
        if act == "rekey":
            fields = {"recovery": "of the thief"}
        self.attempt(act, signers, **fields)

    @rule(data=st.data())
    def the_owner_suspends_or_contests(self, data: st.DataObject) -> None:
        self.attempt("contest", {"A"})
        self.attempt("suspend", {"A"}, target=data.draw(st.sampled_from(sorted(self.stolen))))

    @invariant()
    def nobody_took_the_account(self) -> None:
        if not self.log.count:
            return
        assert self.log.recovery == "R"
        assert not self.log.devices["A"].revoked
        for name in self.stolen - {"T"}:
            assert not self.log.standing(name, self.time_ms).startswith("full")
        if self.log.devices["A"].suspended_by is not None:  # frozen, at worst: the thief may have lost its voice too
            contested = self.log.devices["A"].contested
            assert not contested or self.log.devices["T"].suspended_by is not None

    @invariant()
    def the_recovery_key_puts_everything_right(self) -> None:
        if not self.log.count:
            return
        log = copy.deepcopy(self.log)

        def say(act: Any, **fields: str) -> None:
            log.apply(Entry(act, log.head_text, **fields), frozenset({RECOVERY}), self.time_ms, b"")

        for device in [device.key for device in log.unrevoked() if device.key != "A"]:
            say("revoke", target=device)
        if log.devices["A"].suspended_by is not None:
            say("resume", target="A")
        assert log.standing("A", self.time_ms) == "full"
        assert [device.key for device in log.unrevoked()] == ["A"]


TestStolenDevice = StolenDevice.TestCase
TestStolenDevice.settings = settings(max_examples=100, stateful_step_count=30)


# -- bytes and signatures --------------------------------------------------------------------------------------------
UID, BOX = "U" * 32, to_text(bytes(range(32)))
SERVICE, DEVICE, OTHER, RECOVERY_KEY = (Signer(bytes([number]) * 32) for number in range(1, 5))


def a_log() -> list[Record]:
    """Genesis, another device, its confirmation."""
    log = LogState()
    records = [append(log, *genesis(DEVICE, RECOVERY_KEY, BOX), 1_000, uid=UID, service=SERVICE)]
    entry = Entry("add", log.head_text, device=OTHER.public, box=BOX)
    signed = compose(entry, {DEVICE.public: DEVICE, OTHER.public: OTHER})
    records.append(append(log, *signed, 2_000, uid=UID, service=SERVICE))
    signed = compose(Entry("confirm", log.head_text, target=OTHER.public), {RECOVERY: RECOVERY_KEY})
    records.append(append(log, *signed, 3_000, uid=UID, service=SERVICE))
    return records


def test_what_the_service_judged_the_client_verifies() -> None:
    records = a_log()
    state = verify(records, uid=UID, service_key=SERVICE.public)
    assert state == replay(records)
    assert state.standing(OTHER.public, 3_000) == "full"
    known = verify(records[:1], uid=UID, service_key=SERVICE.public)
    assert verify(records[1:], uid=UID, service_key=SERVICE.public, known=known) == state


def altered(record: Record, **changes: Any) -> Record:
    return Record(**{**{name: getattr(record, name) for name in Record.__struct_fields__}, **changes})


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_forged_record_is_found(place: int) -> None:
    records = a_log()
    true = records[place]
    stranger = Signer(os.urandom(32))
    raw = from_text(true.entry)
    other_sig = Signature(true.sigs[0].by, to_text(os.urandom(64)))
    forgeries = [
        altered(true, entry=to_text(raw.replace(b'"act"', b' "act"'))),
        altered(true, sigs=(other_sig, *true.sigs[1:])),
        altered(true, sigs=true.sigs[1:]),
        altered(true, sigs=(*true.sigs, true.sigs[0])),
        altered(true, time=true.time + 1),
        altered(true, time=0),
        altered(true, stamp=stranger.sign(b"tmtp-stamp", b"x")),
        altered(true, stamp=""),
        altered(true, entry="?"),
    ]
    for forged in forgeries:
        if forged.time == 0 and place == 0:
            continue
        with pytest.raises(LogInvalid):
            verify([*records[:place], forged, *records[place + 1 :]], uid=UID, service_key=SERVICE.public)
    with pytest.raises(LogInvalid):
        verify(records, uid="V" * 32, service_key=SERVICE.public)
    with pytest.raises(LogInvalid):
        verify(records, uid=UID, service_key=stranger.public)
    if place == 1:
        with pytest.raises(LogInvalid):
            verify([*records[:place], *records[place + 1 :], true], uid=UID, service_key=SERVICE.public)


def test_a_service_cannot_show_two_histories_to_who_compares_heads() -> None:
    one = verify(a_log(), uid=UID, service_key=SERVICE.public)
    log = LogState()
    records = [append(log, *genesis(DEVICE, RECOVERY_KEY, BOX), 1_001, uid=UID, service=SERVICE)]
    assert verify(records, uid=UID, service_key=SERVICE.public).head != one.head
    assert log.head != verify(a_log()[:1], uid=UID, service_key=SERVICE.public).head


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no entry"),
        (b"[]", "no entry"),
        (b'{"act":"add"}', "no entry"),
        (b'{"act":"explode","prev":""}', "no entry"),
        (b'{"act":"contest","prev":"","more":1}', "no entry"),
        (b'{"act":"contest","prev":"","target":"x"}', "has no target"),
        (b'{"act":"suspend","prev":""}', "lacks target"),
        (b'{"act":"suspend","prev":"","target":"x"}', "target is no key"),
        (b'{"act":"suspend","prev":"","target":"' + b"A" * 43 + b'"}', "target is no key"),  # small order
        (b'{"act":"contest","prev":"' + b"x" * 2_000 + b'"}', "at most"),
        (b'{"act":"add","prev":"","device":"' + DEVICE.public.encode() + b'","box":"AAAA"}', "box is no key"),
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
    log = LogState()
    with pytest.raises(LogRefused):
        append(log, to_text(raw), (), 0, uid=UID, service=SERVICE)
    with pytest.raises(LogInvalid):
        decode_records(raw) if raw != b"[]" else verify([Record("", (), 0, "")], uid=UID, service_key=SERVICE.public)
    assert log == LogState()


def test_a_full_log_leaves_room_for_the_recovery_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_RECORDS_ORDINARY_MAX", 3)
    log = replay(a_log())
    entry = Entry("suspend", log.head_text, target=OTHER.public)
    with pytest.raises(LogRefused, match="11"):
        append(log, *compose(entry, {DEVICE.public: DEVICE}), 4_000, uid=UID, service=SERVICE)
    entry = Entry("revoke", log.head_text, target=OTHER.public)
    append(log, *compose(entry, {RECOVERY: RECOVERY_KEY}), 4_000, uid=UID, service=SERVICE)
    assert encode_entry(entry)
