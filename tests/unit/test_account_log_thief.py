# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stolen device and everything that it ever sponsored, against the account log: games by chance (B4, D4)."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from tests.oracle.account_log_model import HOUR_MS, RECOVERY, Limits
from tests.support.log_histories import START_MS, an_empty_log, limited
from tests.unit.test_account_log_mutations import make_wrong
from tmtp_core.crypto.account_log import Entry, LogRefused, LogState

FEW = Limits(devices=6, devices_by_recovery=9)
LIVE = ("full", "provisional")
SUSPENDED = ("full suspended", "provisional suspended")
MOVES = 40
REACHABLE = {
    "A suspended",
    "A contested",
    "T suspended by a contest",
    "all honest devices suspended",
    "covered by a suspension",
    "covered by a revocation",
    "revoked by the recovery key",
    "revoked by a majority",
    "resumed by a majority",
    "alone for 72 hours",
    "alone for a millisecond less",
    "of the thief, alone for 72 hours",
    "full by waiting",
    "device limit",
    "added beyond the device limit",
}
"""What the games must come to, or they show nothing: counted after each move."""


class StolenDevice:
    """A game, decided by `chance`. Of the full devices T is stolen; the others and the recovery key are the owner's.

    The thief signs with T and with all that it ever sponsored, in any mixture. The owner does what owners do, or might
    by mistake: but suspends no honest device, and neither confirms nor resumes a stolen one.
    """

    def __init__(self, chance: random.Random, honest: str, reached: Counter[str]) -> None:
        self.chance, self.reached = chance, reached
        self.log, self.time_ms = an_empty_log(), START_MS
        self.honest, self.stolen, self.recovery = set(honest), {"T"}, "R0"
        self.revoked_by_the_owner: set[str] = set()
        self.names = iter(range(1, 1_000))
        self.told: list[str] = []

    def play(self) -> None:
        """Raises AssertionError, with the game so far, as soon as something does not hold that should."""
        moves = {move: weight for move, weight in MOVES_WEIGHTED.items() if self.chance.random() < 0.8}  # a temper
        try:
            self.begin()
            self.check()
            for _ in range(MOVES):
                (move,) = self.chance.choices([*moves], [*moves.values()])
                move(self)
                self.check()
        except AssertionError as error:
            error.add_note("\n".join(self.told))
            raise

    # -- saying --------------------------------------------------------------------------------------------------
    def say(self, act: Any, *signers: str, log: LogState | None = None, **fields: str) -> bool:
        """Sign and append; whether it was taken. `log`: only to see what would be."""
        on = log or self.log
        try:
            on.apply(Entry(act, on.head_text, **fields), frozenset(signers), self.time_ms, b"")
        except LogRefused:
            return False
        if log is None:
            self.told.append(f"{self.time_ms - START_MS} ms: {'+'.join(signers)} {act} {' '.join(fields.values())}")
        return True

    def of(self, names: set[str], *standings: str, log: LogState | None = None) -> list[str]:
        """Those of them that stand so now (all that are devices still, when no standing is named)."""
        told = {name: (log or self.log).standing(name, self.time_ms) for name in sorted(names)}
        return [name for name, now in told.items() if (now in standings if standings else now != "revoked")]

    def devices(self) -> list[str]:
        return self.of(self.honest | self.stolen)

    def one_of(self, names: list[str]) -> str:
        """Nobody, where there is none: every entry about nobody is refused."""
        return self.chance.choice(names) if names else "nobody"

    def new(self, kind: str) -> str:
        return f"{kind}{next(self.names)}"

    def begin(self) -> None:
        """Full devices, one of which will be stolen; and maybe a provisional one, which the owner has added just now."""
        full = self.chance.sample(sorted(self.honest | self.stolen), len(self.honest | self.stolen))
        self.log.apply(
            Entry("genesis", "", device=full[0], recovery="R0"), frozenset({full[0], RECOVERY}), self.time_ms, b""
        )
        for other in full[1:]:
            self.say("add", self.chance.choice([full[0], RECOVERY]), other, device=other)
            self.say("confirm", RECOVERY, target=other)
        assert self.of(self.honest | self.stolen, "full") == sorted(full)
        if self.chance.random() < 0.5:
            self.honest.add("P")
            self.say("add", self.chance.choice(full), "P", device="P")

    def time_passes(self) -> None:
        self.time_ms += self.chance.choice([1, HOUR_MS, 72 * HOUR_MS - 1, 72 * HOUR_MS])

    # -- the thief -----------------------------------------------------------------------------------------------
    def the_thief_adds(self) -> None:
        new, count = self.new("T"), len(self.devices())
        sponsor = self.one_of([*self.of(self.stolen, "full"), *sorted(self.stolen)])
        free = self.of({sponsor}, "full") != []
        if self.say("add", sponsor, new, device=new):
            self.stolen.add(new)
        elif free:
            assert count >= FEW.devices
            self.reached["device limit"] += 1

    def the_thief_suspends_the_honest(self) -> None:
        self.say("suspend", self.one_of(self.of(self.stolen, "full")), target=self.one_of(self.of(self.honest, *LIVE)))

    def the_thief_suspends_its_own(self) -> None:
        self.say("suspend", self.one_of(self.of(self.stolen, "full")), target=self.one_of(self.of(self.stolen, *LIVE)))

    def the_thief_contests(self) -> None:
        self.say("contest", self.one_of(self.of(self.stolen, *SUSPENDED)))

    def the_thief_tries(self) -> None:
        """Whatever can be said, with any of its signatures; oftener what would help it."""
        own = sorted(self.stolen)
        signers = self.chance.sample(own, self.chance.choice([1, 1, len(own)]))
        act = self.chance.choice(["confirm", "resume", "suspend", "contest", "revoke", "rekey"])
        about = {"rekey": "recovery", "contest": ""}.get(act, "target")
        wanted = own if act in {"confirm", "resume"} else self.of(self.honest)
        whom = "of the thief" if act == "rekey" else self.one_of([*self.devices(), *wanted])
        fields: Any = {about: whom} if about else {}
        self.say(act, *signers, **fields)

    # -- the owner, with devices ---------------------------------------------------------------------------------
    def can_contest(self) -> list[str]:
        """Of the honest devices."""
        return [name for name in sorted(self.honest) if self.say("contest", name, log=self.log.copy())]

    def the_owner_contests(self) -> None:
        free = self.of({"T"}, "full")
        self.say("contest", self.one_of(self.can_contest()))
        self.reached["T suspended by a contest"] += free != self.of({"T"}, "full")

    def the_owner_suspends(self) -> None:
        self.say("suspend", self.one_of(self.of(self.honest, "full")), target=self.one_of(self.of(self.stolen, *LIVE)))

    def the_owner_adds(self) -> None:
        new = self.new("P")
        if self.say("add", self.one_of(self.of(self.honest, "full")), new, device=new):
            self.honest.add(new)

    def the_owner_confirms(self) -> None:
        signer = self.one_of([*self.of(self.honest, "full"), RECOVERY])
        self.say("confirm", signer, target=self.one_of(self.of(self.honest, "provisional")))

    def a_majority_of_the_owners_revokes(self) -> None:
        target = self.one_of(self.devices())
        if self.say("revoke", *self.of(self.honest - {target}, "full"), target=target):
            self.reached["revoked by a majority"] += 1
            self.revoked_by_the_owner.add(target)

    def a_majority_of_the_owners_resumes(self) -> None:
        target = self.one_of(self.of(self.honest, *SUSPENDED))
        self.reached["resumed by a majority"] += self.say("resume", *self.of(self.honest, "full"), target=target)

    # -- the owner, with the recovery key ------------------------------------------------------------------------
    def the_recovery_key_revokes(self) -> None:
        self.revoke(self.one_of(self.devices()))

    def the_recovery_key_leaves_one_alone(self) -> None:
        """The owner begins anew, or forgets one; and maybe needs the one that is left."""
        left = self.one_of(
            [*self.devices(), *self.of(self.honest | self.stolen, "provisional", "provisional suspended")]
        )
        for name in self.chance.sample(self.devices(), len(self.devices())):
            if name != left:
                self.revoke(name)
        if left in self.honest and self.chance.random() < 0.5:
            self.say("resume", RECOVERY, target=left)
            self.time_passes()

    def revoke(self, target: str) -> None:
        if self.say("revoke", RECOVERY, target=target):
            self.reached["revoked by the recovery key"] += 1
            self.revoked_by_the_owner.add(target)

    def the_recovery_key_resumes(self) -> None:
        self.say("resume", RECOVERY, target=self.one_of(self.of(self.honest, *SUSPENDED)))

    def the_recovery_key_adds(self) -> None:
        """But leaves room for one: an owner who has filled it alone need not be helped by a rule."""
        new, count = self.new("F"), len(self.devices())
        if count < FEW.devices_by_recovery - 1:
            assert self.say("add", RECOVERY, new, device=new)
            self.honest.add(new)
            self.reached["added beyond the device limit"] += count >= FEW.devices

    def the_recovery_key_is_replaced(self) -> None:
        self.recovery = self.new("R")
        assert self.say("rekey", RECOVERY, recovery=self.recovery)

    # -- what holds in every state -------------------------------------------------------------------------------
    def check(self) -> None:
        """All of it, and count what was reached."""
        self.nobody_took_the_account()
        self.whoever_contested_has_stopped_the_thief()
        self.the_thief_does_not_silence_the_owner_and_go_on()
        self.the_recovery_key_puts_everything_right()
        self.count_what_was_reached()

    def nobody_took_the_account(self) -> None:
        assert self.log.recovery == self.recovery
        assert self.honest <= {*self.of(self.honest), *self.revoked_by_the_owner}
        assert not self.of(self.stolen - {"T"}, "full", "full suspended")

    def whoever_contested_has_stopped_the_thief(self) -> None:
        for device in (self.log.devices[name] for name in self.of(self.honest, *SUSPENDED)):
            if device.suspended_by in self.stolen and device.contested and not device.covered:
                assert not self.of(self.stolen, *LIVE)

    def the_thief_does_not_silence_the_owner_and_go_on(self) -> None:
        """Where every honest device that can contest does."""
        log = self.log.copy()
        for name in self.can_contest():
            self.say("contest", name, log=log)
        if self.of(self.honest, "full suspended", log=log) and not self.of(self.honest, "full", log=log):
            assert not self.of(self.stolen, *LIVE, log=log)

    def the_recovery_key_puts_everything_right(self) -> None:
        log = self.log.copy()
        assert self.say("add", RECOVERY, "new", log=log, device="new")
        for name in self.of(self.stolen):
            assert self.say("revoke", RECOVERY, log=log, target=name)
        for name in self.of(self.honest, *SUSPENDED, log=log):
            assert self.say("resume", RECOVERY, log=log, target=name)
        devices = {device.key for device in log.unrevoked()}
        assert devices == {*self.of(self.honest), "new"}
        assert devices == set(self.of(devices, *LIVE, log=log))
        assert log.standing("new", self.time_ms) == "full"

    def count_what_was_reached(self) -> None:
        devices = list(self.log.unrevoked())
        alone_ms = self.time_ms - self.log.alone_since_ms if len(devices) == 1 else 0
        covered_by = [self.log.devices[str(device.sponsor)] for device in devices if device.covered]
        here = {
            "A suspended": self.of({"A"}, "full suspended") != [],
            "A contested": self.of({"A"}) != [] and self.log.devices["A"].contested,
            "all honest devices suspended": self.of(self.honest, *SUSPENDED) != [] == self.of(self.honest, *LIVE),
            "covered by a suspension": any(not sponsor.revoked for sponsor in covered_by),
            "covered by a revocation": any(sponsor.revoked for sponsor in covered_by),
            "alone for 72 hours": alone_ms >= 72 * HOUR_MS,
            "alone for a millisecond less": alone_ms == 72 * HOUR_MS - 1,
            "of the thief, alone for 72 hours": alone_ms >= 72 * HOUR_MS and devices[0].key in self.stolen - {"T"},
            "full by waiting": alone_ms >= 72 * HOUR_MS and not devices[0].full and not devices[0].suspended_by,
        }
        self.reached.update(name for name, is_here in here.items() if is_here)


MOVES_WEIGHTED: dict[Callable[[StolenDevice], None], int] = {
    StolenDevice.time_passes: 6,
    StolenDevice.the_thief_adds: 10,
    StolenDevice.the_thief_suspends_the_honest: 6,
    StolenDevice.the_thief_suspends_its_own: 3,
    StolenDevice.the_thief_contests: 6,
    StolenDevice.the_thief_tries: 6,
    StolenDevice.the_owner_contests: 6,
    StolenDevice.the_owner_suspends: 3,
    StolenDevice.the_owner_adds: 3,
    StolenDevice.the_owner_confirms: 3,
    StolenDevice.a_majority_of_the_owners_revokes: 1,
    StolenDevice.a_majority_of_the_owners_resumes: 6,
    StolenDevice.the_recovery_key_revokes: 2,
    StolenDevice.the_recovery_key_leaves_one_alone: 1,
    StolenDevice.the_recovery_key_resumes: 6,
    StolenDevice.the_recovery_key_adds: 3,
    StolenDevice.the_recovery_key_is_replaced: 1,
}


def games(honest: str, count: int) -> Counter[str]:
    """Play so many, with these honest full devices; how many states of each kind were reached."""
    reached: Counter[str] = Counter()
    with limited(FEW):
        for seed in range(count):
            StolenDevice(random.Random(seed), honest, reached).play()
    return reached


@pytest.mark.parametrize("honest", ["A", "AB"])
def test_a_thief_can_at_worst_freeze_the_account(honest: str) -> None:
    count = settings().max_examples * 5 // 6
    reached = games(honest, count)
    assert min(reached[state] for state in REACHABLE) > count / 50, reached


ATTACKS = {
    "anybody changes the recovery key": "AB",
    "ten times as many devices": "AB",
    "the recovery key is stopped where devices are": "AB",
    "what a device sponsors is full": "AB",
    "a sponsor confirms": "AB",
    "a suspension does not cover": "AB",
    "full devices are covered too": "AB",
    "provisional devices sign": "AB",
    "suspended devices sign": "AB",
    "covered devices contest": "A",
    "a provisional device's contest reaches whoever suspended it": "AB",
    "a full device contests only what its sponsor did": "AB",
    "a contest spares the suspender": "AB",
    "a contest's suspension does not cover": "AB",
    "the resumption of a sponsor lifts what it covered": "AB",
    "a covered device is not resumed": "AB",
    "a revocation does not cover": "AB",
    "a suspended device is not revoked": "AB",
    "waiting in company": "AB",
    "waiting while suspended": "AB",
    "one is a majority": "A",
}
"""Wrong rules by which a thief gains something, and against whom: the games must show it without the model."""


@pytest.mark.parametrize(("name", "honest"), ATTACKS.items())
def test_a_thief_profits_from_a_wrong_rule(monkeypatch: pytest.MonkeyPatch, name: str, honest: str) -> None:
    make_wrong(monkeypatch, name)
    with pytest.raises(AssertionError):
        games(honest, 1_000)
