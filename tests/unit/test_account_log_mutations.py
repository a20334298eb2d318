# SPDX-License-Identifier: AGPL-3.0-or-later
"""Wrong rules of the account log: each of these must be caught by the comparison with the model (B4)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from tests.oracle.account_log_model import HOUR_MS, RECOVERY
from tests.support.log_histories import compare, random_history
from tmtp_core import limits
from tmtp_core.crypto import account_log
from tmtp_core.crypto.account_log import DeviceState, Entry, LogRefused, LogState

Replaced = tuple[Any, str, Any]
WRONG: dict[str, Replaced] = {}
"""By what is wrong with it: where it stands (`_JUDGES`, a class or a module), its name there, the wrong one."""


def wrong_judge(act: str, name: str) -> Callable[[Any], Any]:
    """Registers what judges an act wrongly."""
    return wrong(account_log._JUDGES, act, name)


def wrong(place: Any, attribute: str, name: str) -> Callable[[Any], Any]:
    """Registers a wrong method or function."""

    def register(mutant: Any) -> Any:
        WRONG[name] = (place, attribute, mutant)
        return mutant

    return register


@contextmanager
def pretending(thing: Any, **fields: Any) -> Iterator[None]:
    """A moment in which some of its fields are other than they are."""
    before = {name: getattr(thing, name) for name in fields}
    for name, value in fields.items():
        setattr(thing, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(thing, name, value)


def signing(log: LogState, signers: frozenset[str]) -> DeviceState:
    """The device of the (first) signer; a stranger has a state that nobody looks at."""
    signer = min(signers)
    return log.devices.get(signer) or DeviceState(signer, "", None, False, 0)


judge = dict(account_log._JUDGES)
standing, apply, plants_of = LogState.standing, LogState.apply, LogState.plants_of
set_suspended, add_device = account_log._set_suspended, account_log._add_device


# rules 1, 2 and 9
@wrong_judge("genesis", "a genesis without leave")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    return judge["genesis"](log, entry, signers, time_ms, True)


@wrong_judge("genesis", "a reset leaves the devices")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    judge["genesis"](log, entry, signers, time_ms, admitted)

    def change() -> None:
        add_device(log, entry, None, time_ms, full=True)
        account_log._set_recovery(log, entry)

    return change


@wrong_judge("genesis", "a reset frees the names of the devices")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(log, devices={}):
        return judge["genesis"](log, entry, signers, time_ms, admitted)


@wrong(LogState, "check_new_device", "a device comes back")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.device in self.recoveries:
        raise LogRefused(rule)


@wrong(LogState, "check_new_device", "a recovery key becomes a device")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.device in self.devices:
        raise LogRefused(rule)


@wrong(LogState, "check_new_device", "an earlier recovery key becomes a device")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.device in self.devices or entry.device == self.recovery:
        raise LogRefused(rule)


@wrong(LogState, "check_new_recovery", "a device becomes the recovery key")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.recovery in self.recoveries or entry.recovery == entry.device:
        raise LogRefused(rule)


@wrong(LogState, "check_new_recovery", "a revoked device becomes the recovery key")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.recovery in {*(device.key for device in self.unrevoked()), *self.recoveries, entry.device}:
        raise LogRefused(rule)


@wrong(LogState, "check_new_recovery", "an earlier recovery key comes back")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.recovery in {*self.devices, self.recovery, entry.device}:
        raise LogRefused(rule)


@wrong(LogState, "check_new_recovery", "a genesis has one key in both roles")
def _(self: LogState, entry: Entry, rule: str) -> None:
    if entry.recovery in self.devices or entry.recovery in self.recoveries:
        raise LogRefused(rule)


@wrong_judge("rekey", "anybody changes the recovery key")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    if signers != {RECOVERY}:
        log.one_that_acts(signers, time_ms, "9")
    return judge["rekey"](log, entry, frozenset({RECOVERY}), time_ms, admitted)


@wrong_judge("add", "ten times as many devices")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(limits, NODES_PER_ACCOUNT_MAX=10 * limits.NODES_PER_ACCOUNT_MAX):
        return judge["add"](log, entry, signers, time_ms, admitted)


@wrong_judge("add", "one device too many")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(limits, NODES_PER_ACCOUNT_MAX=1 + limits.NODES_PER_ACCOUNT_MAX):
        return judge["add"](log, entry, signers, time_ms, admitted)


@wrong_judge("add", "the recovery key is stopped where devices are")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(limits, RECOVERY_DEVICES_MAX=limits.NODES_PER_ACCOUNT_MAX):
        return judge["add"](log, entry, signers, time_ms, admitted)


@wrong_judge("add", "the recovery key adds for ever")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(limits, RECOVERY_DEVICES_MAX=10 * limits.RECOVERY_DEVICES_MAX):
        return judge["add"](log, entry, signers, time_ms, admitted)


@wrong(account_log, "_add_device", "what a device sponsors is full")
def _(log: LogState, entry: Entry, sponsor: str | None, time_ms: int, *, full: bool) -> None:
    add_device(log, entry, sponsor, time_ms, full=True)


@wrong(account_log, "_add_device", "what the recovery key adds is provisional")
def _(log: LogState, entry: Entry, sponsor: str | None, time_ms: int, *, full: bool) -> None:
    add_device(log, entry, sponsor, time_ms, full=entry.act == "genesis")


# rule 3
@wrong_judge("confirm", "a sponsor confirms")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(log.target(entry, "3"), sponsor=None):
        return judge["confirm"](log, entry, signers, time_ms, admitted)


@wrong_judge("confirm", "a suspended device is confirmed")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(log.target(entry, "3"), suspended_by=None):
        return judge["confirm"](log, entry, signers, time_ms, admitted)


# rule 4
@wrong_judge("suspend", "a suspension does not cover")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    judge["suspend"](log, entry, signers, time_ms, admitted)
    return lambda: set_suspended(log.devices[entry.target], min(signers))


@wrong_judge("suspend", "a suspended device is suspended anew")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    target = log.target(entry, "4")
    if target.suspended_by is None or target.key in signers:
        return judge["suspend"](log, entry, signers, time_ms, admitted)
    log.one_that_acts(signers, time_ms, "4")
    return lambda: set_suspended(target, min(signers))


@wrong_judge("suspend", "a device suspends itself")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    if signers == {entry.target} and log.standing(entry.target, time_ms) == "full":
        return lambda: account_log._suspend_with_plants(log, log.devices[entry.target], entry.target)
    return judge["suspend"](log, entry, signers, time_ms, admitted)


@wrong(LogState, "plants_of", "a device already suspended is covered anew")
def _(self: LogState, sponsor: DeviceState) -> Iterator[DeviceState]:
    return (device for device in self.unrevoked() if device.sponsor == sponsor.key and not device.full)


@wrong(LogState, "plants_of", "full devices are covered too")
def _(self: LogState, sponsor: DeviceState) -> Iterator[DeviceState]:
    of_it = (device for device in self.unrevoked() if device.sponsor == sponsor.key)
    return (device for device in of_it if device.suspended_by is None)


@wrong(LogState, "plants_of", "all provisional devices are covered")
def _(self: LogState, sponsor: DeviceState) -> Iterator[DeviceState]:
    return (device for device in self.unrevoked() if not device.full and device.suspended_by is None)


@wrong(LogState, "_acts", "provisional devices sign")
def _(self: LogState, key: str, time_ms: int) -> bool:
    return standing(self, key, time_ms) in {"full", "provisional"}


@wrong(LogState, "_acts", "suspended devices sign")
def _(self: LogState, key: str, time_ms: int) -> bool:
    return standing(self, key, time_ms) in {"full", "full suspended"}


# rule 5
@wrong_judge("contest", "covered devices contest")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(signing(log, signers), covered=False):
        return judge["contest"](log, entry, signers, time_ms, admitted)


@wrong_judge("contest", "a provisional device's contest reaches whoever suspended it")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    device = signing(log, signers)
    with pretending(device, sponsor=device.suspended_by):
        return judge["contest"](log, entry, signers, time_ms, admitted)


@wrong_judge("contest", "a provisional device does not contest what its sponsor did")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(signing(log, signers), sponsor=None):
        return judge["contest"](log, entry, signers, time_ms, admitted)


@wrong_judge("contest", "a full device contests only what its sponsor did")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(signing(log, signers), full=False):
        return judge["contest"](log, entry, signers, time_ms, admitted)


@wrong_judge("contest", "a contest spares the suspender")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    judge["contest"](log, entry, signers, time_ms, admitted)
    return lambda: setattr(signing(log, signers), "contested", True)


@wrong_judge("contest", "a contest's suspension does not cover")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["contest"](log, entry, signers, time_ms, admitted)

    def uncovering() -> None:
        with mock.patch.object(LogState, "plants_of", return_value=[]):
            change()

    return uncovering


@wrong_judge("contest", "a contest never ends")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    with pretending(signing(log, signers), contested=False):
        return judge["contest"](log, entry, signers, time_ms, admitted)


@wrong_judge("contest", "a contest's suspension cannot be contested in turn")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["contest"](log, entry, signers, time_ms, admitted)
    suspender = log.devices[str(signing(log, signers).suspended_by)]

    def final() -> None:
        change()
        suspender.contested = True

    return final


@wrong_judge("contest", "a contest suspends anew who is suspended")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["contest"](log, entry, signers, time_ms, admitted)
    device = signing(log, signers)
    suspender = log.devices[str(device.suspended_by)]

    def anew() -> None:
        change()
        if not suspender.revoked:
            set_suspended(suspender, device.key)

    return anew


@wrong_judge("contest", "who contests is free")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["contest"](log, entry, signers, time_ms, admitted)

    def freeing() -> None:
        change()
        signing(log, signers).suspended_by = None

    return freeing


@wrong_judge("contest", "a device contests once in its life")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    device = signing(log, signers)
    if device.box == "contested":  # the rules look at no box: it is a good place for a mark
        raise LogRefused("5")
    change = judge["contest"](log, entry, signers, time_ms, admitted)

    def marking() -> None:
        change()
        device.box = "contested"

    return marking


# rules 6, 7 and 8
@wrong_judge("resume", "the resumption of a sponsor lifts what it covered")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["resume"](log, entry, signers, time_ms, admitted)

    def lifting() -> None:
        change()
        for device in log.unrevoked():
            if device.covered and device.suspended_by == entry.target:
                device.suspended_by, device.covered = None, False

    return lifting


@wrong_judge("resume", "a covered device is not resumed")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    if log.target(entry, "6").covered:
        raise LogRefused("6")
    return judge["resume"](log, entry, signers, time_ms, admitted)


@wrong_judge("resume", "a resumption makes full")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["resume"](log, entry, signers, time_ms, admitted)

    def promoting() -> None:
        change()
        log.devices[entry.target].full = True

    return promoting


@wrong_judge("revoke", "a revocation does not cover")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    change = judge["revoke"](log, entry, signers, time_ms, admitted)

    def uncovering() -> None:
        with mock.patch.object(LogState, "plants_of", return_value=[]):
            change()

    return uncovering


@wrong_judge("revoke", "a suspended device is not revoked")
def _(log: LogState, entry: Entry, signers: frozenset[str], time_ms: int, admitted: bool) -> Any:
    if log.target(entry, "7").suspended_by is not None:
        raise LogRefused("7")
    return judge["revoke"](log, entry, signers, time_ms, admitted)


def majority(least: int, doubled: Callable[[int, int], bool], counts: Callable[[str], bool], own: bool = False) -> Any:
    """A `check_majority` that asks for at least so many, compares them so with those it counts, or counts the target."""

    def check(self: LogState, target: DeviceState, signers: frozenset[str], time_ms: int, rule: str) -> None:
        if signers == {RECOVERY}:
            return
        among = [device for device in self.unrevoked() if own or device is not target]
        counted = [device for device in among if counts(self.standing(device.key, time_ms))]
        if target.key in signers or not all(self._acts(signer, time_ms) for signer in signers):
            raise LogRefused(rule)
        if len(signers) < least or not doubled(2 * len(signers), len(counted)):
            raise LogRefused("8")

    return check


more: Callable[[int, int], bool] = int.__gt__
wrong(LogState, "check_majority", "half is a majority")(majority(2, int.__ge__, lambda told: told[:4] == "full"))
wrong(LogState, "check_majority", "one is a majority")(majority(1, more, lambda told: told[:4] == "full"))
wrong(LogState, "check_majority", "three are needed")(majority(3, more, lambda told: told[:4] == "full"))
wrong(LogState, "check_majority", "suspended devices do not count")(majority(2, more, lambda told: told == "full"))
wrong(LogState, "check_majority", "provisional devices count")(majority(2, more, lambda told: True))
wrong(LogState, "check_majority", "the target counts")(majority(2, more, lambda told: told[:4] == "full", own=True))


@wrong(LogState, "check_majority", "the target votes")
def _(self: LogState, target: DeviceState, signers: frozenset[str], time_ms: int, rule: str) -> None:
    majority(2, more, lambda told: told[:4] == "full")(
        self, DeviceState("", "", None, False, 0), signers, time_ms, rule
    )


# rule 10
@wrong(LogState, "_full_by_waiting", "waiting in company")
def _(self: LogState, device: DeviceState, time_ms: int) -> bool:
    return device.suspended_by is None and time_ms - self.alone_since_ms >= limits.LOG_ALONE_MS


@wrong(LogState, "_full_by_waiting", "waiting while suspended")
def _(self: LogState, device: DeviceState, time_ms: int) -> bool:
    alone = not any(other is not device for other in self.unrevoked())
    return alone and time_ms - self.alone_since_ms >= limits.LOG_ALONE_MS


@wrong(LogState, "_settle", "what waiting has made of a device is forgotten")
def _(self: LogState, time_ms: int) -> None:
    return


def not_counted_from(act: str) -> Any:
    """`apply`, where this act does not begin the 72 hours anew."""

    def mutant(self: LogState, entry: Entry, *rest: Any, **how: Any) -> None:
        before = self.alone_since_ms
        apply(self, entry, *rest, **how)
        if entry.act == act:
            self.alone_since_ms = before

    return mutant


wrong(LogState, "apply", "waiting does not begin with a resumption")(not_counted_from("resume"))
wrong(LogState, "apply", "waiting does not begin with a revocation")(not_counted_from("revoke"))


@wrong(LogState, "apply", "waiting begins anew with a change of the recovery key")
def _(self: LogState, entry: Entry, signers: frozenset[str], time_ms: int, raw: bytes, *, admitted: bool) -> None:
    apply(self, entry, signers, time_ms, raw, admitted=admitted)
    if entry.act == "rekey":
        self.alone_since_ms = time_ms


WRONG["71.5 hours alone"] = (limits, "LOG_ALONE_MS", 71 * HOUR_MS + HOUR_MS // 2)
WRONG["a millisecond too early alone"] = (limits, "LOG_ALONE_MS", 72 * HOUR_MS - 1)
WRONG["a millisecond too late alone"] = (limits, "LOG_ALONE_MS", 72 * HOUR_MS + 1)


# rule 11, and what holds for every entry
@wrong(LogState, "apply", "time runs back")
def _(self: LogState, entry: Entry, signers: frozenset[str], time_ms: int, raw: bytes, *, admitted: bool) -> None:
    before, self.time_ms = self.time_ms, min(self.time_ms, time_ms)
    try:
        apply(self, entry, signers, time_ms, raw, admitted=admitted)
    except LogRefused:
        self.time_ms = before
        raise


@wrong(LogState, "check_prev", "any head will do")
def _(self: LogState, entry: Entry) -> None:
    return


@wrong(LogState, "check_prev", "no head will do")
def _(self: LogState, entry: Entry) -> None:
    if entry.prev not in {"", self.head_text}:
        raise LogRefused("prev")


@wrong(LogState, "check_prev", "a reset continues the log")
def _(self: LogState, entry: Entry) -> None:
    if entry.prev != self.head_text:
        raise LogRefused("prev")


def applying_with(**changed: Callable[[], int]) -> Any:
    """`apply` under other limits."""

    def mutant(self: LogState, *entry: Any, **how: Any) -> None:
        with pretending(limits, **{name: value() for name, value in changed.items()}):
            apply(self, *entry, **how)

    return mutant


wrong(LogState, "apply", "devices fill the recovery key's room")(
    applying_with(LOG_RECORDS_ORDINARY_MAX=lambda: limits.LOG_RECORDS_MAX)
)
wrong(LogState, "apply", "the recovery key finds no room")(
    applying_with(LOG_RECORDS_MAX=lambda: limits.LOG_RECORDS_ORDINARY_MAX)
)
wrong(LogState, "apply", "the recovery key's room has no end")(
    applying_with(LOG_RECORDS_MAX=lambda: 10 * limits.LOG_RECORDS_MAX)
)


@wrong(LogState, "apply", "a full log refuses a reset")
def _(self: LogState, entry: Entry, signers: frozenset[str], time_ms: int, raw: bytes, *, admitted: bool) -> None:
    if self.count - self.began_at >= limits.LOG_RECORDS_MAX and entry.act == "genesis":
        raise LogRefused("11")
    apply(self, entry, signers, time_ms, raw, admitted=admitted)


@wrong(LogState, "apply", "a full log refuses a contest")
def _(self: LogState, entry: Entry, signers: frozenset[str], time_ms: int, raw: bytes, *, admitted: bool) -> None:
    if self.count - self.began_at >= limits.LOG_RECORDS_ORDINARY_MAX and entry.act == "contest":
        raise LogRefused("11")
    apply(self, entry, signers, time_ms, raw, admitted=admitted)


@wrong(LogState, "apply", "a reset does not make room")
def _(self: LogState, entry: Entry, signers: frozenset[str], time_ms: int, raw: bytes, *, admitted: bool) -> None:
    apply(self, entry, signers, time_ms, raw, admitted=admitted)
    self.began_at = 0


def make_wrong(patch: pytest.MonkeyPatch, name: str) -> None:
    """From now on the product has this wrong rule."""
    place, attribute, mutant = WRONG[name]
    if isinstance(place, dict):
        patch.setitem(place, attribute, mutant)
    else:
        patch.setattr(place, attribute, mutant)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make_wrong(monkeypatch, name)
    with pytest.raises(AssertionError):
        for seed in range(3_000):
            compare(*random_history(seed))
