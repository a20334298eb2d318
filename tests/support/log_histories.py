# SPDX-License-Identifier: AGPL-3.0-or-later
"""Histories of account logs, by chance, played to the product and to the model of the rules (B4)."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

from hypothesis import strategies as st

from tests.oracle.account_log_model import HOUR_MS, RECOVERY, Limits, Model, Said
from tmtp_core import limits
from tmtp_core.crypto.account_log import Entry, LogRefused, LogState
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.log_records import (
    encode_entry,
)

NAMES = [*"ABCDEFGH", "R", "S"]  # one pool: each is tried as a device and as a recovery key; R is the first of these
ACTS = [*["add"] * 3, *["suspend", "contest", "confirm"] * 2, "resume", "revoke", "rekey", "genesis"]
WAITS_MS = [0, 0, 0, 0, 1, HOUR_MS, 71 * HOUR_MS, 72 * HOUR_MS - 1, 72 * HOUR_MS, 72 * HOUR_MS + 1]
SLIPS = [*[""] * 12, "clock", "stale head", "head of another log", "no head"]
LIMITS = [Limits(), Limits(devices=4, devices_by_recovery=6), Limits(records=7, records_by_recovery=9)]
START_MS = 1_000_000 * HOUR_MS


class Drawn(NamedTuple):
    """What chance proposes for one entry; `likely` makes an entry of it."""

    act: str
    signers: frozenset[str]
    device: str
    target: str
    recovery: str
    wait_ms: int
    slip: str
    admitted: bool


drawn_entries = st.builds(
    Drawn,
    st.sampled_from(ACTS),
    st.frozensets(st.sampled_from([*NAMES, RECOVERY]), min_size=1, max_size=4),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(NAMES),
    st.sampled_from(WAITS_MS),
    st.sampled_from(SLIPS),
    st.booleans(),
)


@contextmanager
def limited(most: Limits) -> Iterator[None]:
    """The product under the limits that the model has."""
    with mock.patch.multiple(
        limits,
        NODES_PER_ACCOUNT_MAX=most.devices,
        RECOVERY_DEVICES_MAX=most.devices_by_recovery,
        LOG_RECORDS_ORDINARY_MAX=most.records,
        LOG_RECORDS_MAX=most.records_by_recovery,
    ):
        yield


def an_empty_log() -> LogState:
    return LogState.begin(bytes(32), "U" * 32)


def entry_of(one: Said, heads: list[str]) -> Entry:
    """The same for the product, with the fields that the act has. `heads` are those after each record so far."""
    device = one.device if one.act in {"genesis", "add"} else ""
    target = one.target if one.act in {"confirm", "suspend", "resume", "revoke"} else ""
    recovery = one.recovery if one.act in {"genesis", "rekey"} else ""
    prev = heads[one.prev] if one.prev < len(heads) else to_text(b"another log's head".ljust(32))
    return Entry(one.act, prev, device=device, target=target, recovery=recovery)  # type: ignore[arg-type]


def judged(log: LogState, entry: Entry, one: Said) -> bool:
    """Whether the product takes it; it is part of the log then."""
    before = log.copy()
    try:
        log.apply(entry, one.signers, one.time, encode_entry(entry), admitted=one.admitted)
    except LogRefused:
        assert log == before  # a refusal changes nothing
        return False
    return True


def likely(model: Model, drawn: Drawn, time_ms: int, choose: Callable[[int], int]) -> Said:
    """What was drawn, bent so that about half of all entries name whom they can, and have the signers they need."""
    act, signers, device, target, recovery, _, slip, admitted = drawn
    standings = {name: model.standing(name, time_ms) for name in NAMES}
    able = [name for name, told in standings.items() if told == "full"]
    waiting = [name for name, told in standings.items() if told == "provisional"]
    held = [name for name, told in standings.items() if told.endswith(" suspended")]
    there = model.devices() or NAMES
    unused = [name for name, told in standings.items() if told == "unknown" and name not in model.recoveries()]

    def one_of(names: list[str]) -> str:
        return names[choose(len(names))]

    if len(unused) > 1 and choose(2):
        first = choose(len(unused))
        device, recovery = unused[first], unused[first - 1]
    elif model.history and not choose(6):
        device = recovery = one_of(model.recoveries())
    if model.history and choose(4):
        target = one_of({"confirm": waiting, "resume": held}.get(act) or there)
        signer = one_of(there if not able or not choose(5) else able)
        if act in {"add", "confirm", "rekey"} and not choose(3):
            signer = RECOVERY
        if act == "add":
            signers = frozenset({signer, device})
        elif act in {"confirm", "suspend", "rekey"}:
            signers = frozenset({signer})
        elif act == "contest" and held:
            signers = frozenset({one_of(held)})
        elif act in {"resume", "revoke"}:
            others = sorted(set(able) - {target})
            size, first = min(len(others), 2 + choose(3)), choose(7)
            voting = frozenset(others[(first + place) % len(others)] for place in range(size))
            signers = voting if choose(3) and voting else frozenset({RECOVERY})
    if act == "genesis":
        recovery = recovery if choose(4) else device
        signers = frozenset({device, RECOVERY}) if choose(3) else signers
        admitted = admitted and not choose(3)  # resets are rare
    so_far = len(model.history)
    heads = {"stale head": max(so_far - 1, 0), "head of another log": 1_000, "no head": 0}
    right = 0 if act == "genesis" else so_far
    time_ms -= HOUR_MS if slip == "clock" else 0
    return Said(act, signers, time_ms, heads.get(slip, right), device, target, recovery, admitted)


def begun(*acts: str) -> list[Said]:
    """A beginning: genesis of A, then acts such as `A adds B`, `R suspends B`, all in the first moment.

    `R` stands for the recovery key where it signs, `A+B` for both; who contests has nobody to name.
    """
    history = [Said("genesis", frozenset({"A", RECOVERY}), START_MS, 0, device="A", recovery="R")]
    for text in acts:
        by, act, *whom = text.split()
        signers = frozenset(RECOVERY if name == "R" else name for name in by.split("+"))
        act = act.removesuffix("s")
        if act == "add":
            history.append(Said(act, signers | {whom[0]}, START_MS, len(history), device=whom[0]))
        else:
            history.append(Said(act, signers, START_MS, len(history), target="".join(whom)))
    return history


PRELUDES = [
    begun(),
    begun("R adds B", "R adds C", "R adds D", "R adds E"),  # five full devices: four count where one is the target
    begun("R adds B", "R adds C", "R adds D", "R adds E", "A suspends E", "B suspends D"),
    begun("A adds B", "R revokes A"),  # one provisional device, alone and covered
    begun("A adds B", "R revokes A", "R resumes B"),  # alone, and waiting
    begun("A adds B", "R adds C", "R revokes A", "R resumes B"),  # alone, as soon as C is revoked
    begun("R adds B", "R adds C", "A suspends B", "B contests", "R resumes B"),  # B may contest what is done next
    begun("R adds B", "A adds C", "A adds D", "B suspends A"),  # two are covered
    begun("R adds B", "A adds C", "A suspends C", "A adds D", "B suspends A"),  # C is not: it was suspended before
    begun("R adds B", "A adds C", "B suspends C", "C contests", "A adds D", "B suspends A"),  # C cannot contest
    begun("R adds B", "A adds C", "A adds D", "A suspends B"),  # B's contest will cover two
    begun("R adds B", "A adds C", "B confirms C", "A adds D", "B suspends A", "R resumes A"),  # D stays suspended
]


class Compared(NamedTuple):
    """Of one history: how many entries were taken, and how many refused, by act."""

    taken: Counter[str]
    refused: Counter[str]


def compare(history: list[Drawn], choices: list[int]) -> Compared:
    """Play one history to both."""
    most = LIMITS[choices[1] % len(LIMITS)]
    log, model, time_ms, heads = an_empty_log(), Model(most), START_MS, [""]
    counts = Compared(Counter(), Counter())
    numbers = iter(choices * 1_000)

    def choose(count: int) -> int:
        return next(numbers) % count

    with limited(most):
        steps: list[Said | Drawn] = [*PRELUDES[choices[0] % len(PRELUDES)], *history]
        for drawn in steps:
            if isinstance(drawn, Said):
                one = drawn
            else:
                time_ms += drawn.wait_ms
                one = likely(model, drawn, time_ms, choose)
            expected = model.allows(one)
            assert judged(log, entry_of(one, heads), one) is expected, (one, model.history)
            (counts.taken if expected else counts.refused)[one.act] += 1
            if expected:
                model.accept(one)
                heads.append(log.head_text)
            for device in NAMES:
                for later_ms in (0, 72 * HOUR_MS - 1, 72 * HOUR_MS):
                    told = log.standing(device, time_ms + later_ms)
                    assert told == model.standing(device, time_ms + later_ms), (device, later_ms, model.history)
    return counts


def random_history(seed: int) -> tuple[list[Drawn], list[int]]:
    """A history from a seed, without Hypothesis: for counting, and for the mutations below."""
    chance = random.Random(seed)
    history = [
        Drawn(
            chance.choice(ACTS),
            frozenset(chance.choices([*NAMES, RECOVERY], k=chance.randint(1, 3))),
            chance.choice(NAMES),
            chance.choice(NAMES),
            chance.choice(NAMES),
            chance.choice(WAITS_MS),
            chance.choice(SLIPS),
            chance.random() < 0.5,
        )
        for _ in range(25)
    ]
    return history, [chance.randrange(1_000) for _ in range(97)]
