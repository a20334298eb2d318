# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of docs/protocol.md, *The account log*, read aloud: slow, and nothing is kept but what was said.

Every question is answered by walking through the whole history from its beginning. Devices and keys are names.
Written from the document's numbered rules alone, in another manner than the product, so that the two err apart.
`lru_cache` remembers answers, never states: a history that is asked twice gives the same answer twice.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

HOUR_MS = 3_600_000
RECOVERY = "recovery"


@dataclass(frozen=True, eq=False)  # no two are the same: histories are then compared, and hashed, quickly
class Said:
    """One entry: who signed, when (milliseconds), and what about.

    `prev` counts the records of the log that it continues: 0 stands for the `""` of a genesis, and a number that the
    log never had for a head of some other log. `admitted`: an administrator lets a later genesis in.
    """

    act: str
    signers: frozenset[str]
    time: int
    prev: int
    device: str = ""
    target: str = ""
    recovery: str = ""
    admitted: bool = False


Past = tuple[Said, ...]


class Limits(NamedTuple):
    """Rules 2 and 11."""

    devices: int = 100
    devices_by_recovery: int = 120
    records: int = 1_500
    records_by_recovery: int = 2_000


class Suspension(NamedTuple):
    """Of one device: the record that suspended it (a place in the history), by whom; `covered` with its sponsor."""

    place: int
    by: str
    covered: bool


class Model:
    """What was said and accepted, in order."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.history: Past = ()
        self.limits = limits or Limits()

    def accept(self, said: Said) -> None:
        """It is part of the log from now on."""
        self.history = (*self.history, said)

    def allows(self, said: Said) -> bool:
        """Whether the rules let this entry in."""
        return _allowed(self.history, said, self.limits)

    def standing(self, device: str, time: int) -> str:
        """As the service would tell it at that time."""
        past = self.history
        if device not in _ever_devices(past):
            return "unknown"
        if not _is_device(past, device):
            return "revoked"
        kind = "full" if _is_full(past, device, time) else "provisional"
        return kind + (" suspended" if _suspension(past, device) else "")

    def devices(self) -> list[str]:
        """Those that are not revoked."""
        return _all_devices(self.history)

    def recoveries(self) -> list[str]:
        """The recovery keys that there were; the last one is the present one."""
        return _ever_recoveries(self.history)


# -- devices ---------------------------------------------------------------------------------------------------------
def _ever_devices(past: Past) -> list[str]:
    return [one.device for one in past if one.act in ("genesis", "add")]


def _ever_recoveries(past: Past) -> list[str]:
    return [one.recovery for one in past if one.act in ("genesis", "rekey")]


def _ever_keys(past: Past) -> set[str]:
    """Rules 2 and 9: whatever stood in the log, as a device or as a recovery key."""
    return {*_ever_devices(past), *_ever_recoveries(past)}


def _is_device(past: Past, device: str) -> bool:
    """Whether it was added, and not revoked: by its name, or with all others in a reset (rule 1)."""
    is_there = False
    for one in past:
        if one.act == "genesis":
            is_there = one.device == device
        elif one.act == "add" and one.device == device:
            is_there = True
        elif one.act == "revoke" and one.target == device:
            is_there = False
    return is_there


@lru_cache(10_000)
def _all_devices(past: Past) -> list[str]:
    return [name for name in _ever_devices(past) if _is_device(past, name)]


def _sponsor(past: Past, device: str) -> str:
    """Who signed its `add` with it; nobody did for the device of a genesis."""
    for one in past:
        if one.act == "add" and one.device == device:
            (sponsor,) = one.signers - {device}
            return sponsor
    return ""


@lru_cache(100_000)
def _is_full(past: Past, device: str, time: int) -> bool:
    """Whether it is at `time`, or ever was before: a full device stays so."""
    if not past:
        return False
    before, last = past[:-1], past[-1]
    if last.act == "genesis" and last.device == device:  # rule 1
        return True
    if last.act == "add" and last.device == device and RECOVERY in last.signers:  # rule 2
        return True
    if last.act == "confirm" and last.target == device:  # rule 3
        return True
    return _has_waited_alone(past, device, time) or _is_full(before, device, last.time)


def _has_waited_alone(past: Past, device: str, time: int) -> bool:
    """Rule 10, between the last record of `past` and `time`."""
    if _all_devices(past) != [device] or _suspension(past, device):
        return False
    (*_, counts_from) = (one.time for one in past if one.act in ("genesis", "add", "revoke", "resume"))
    return time - counts_from >= 72 * HOUR_MS


# -- suspensions -----------------------------------------------------------------------------------------------------
@lru_cache(100_000)
def _suspension(past: Past, device: str) -> Suspension | None:
    """The suspension that it is under, were it a device or not."""
    if not past:
        return None
    before, last = past[:-1], past[-1]
    if last.act == "genesis" or (last.act == "resume" and last.target == device):
        return None
    held = _suspension(before, device)
    if held:  # neither suspended nor covered a second time
        return held
    place = len(before)
    struck = _struck(before, last)
    if not struck:
        return None
    if struck == device and last.act != "revoke":
        (by,) = last.signers
        return Suspension(place, by, False)
    is_provisional = _is_device(before, device) and not _is_full(before, device, last.time)
    if is_provisional and _sponsor(before, device) == struck:
        return Suspension(place, struck, True)
    return None


def _struck(before: Past, last: Said) -> str:
    """Whom a record suspends or revokes, so that what it sponsored is covered (rules 4, 5 and 7)."""
    if last.act in ("suspend", "revoke"):
        return last.target
    if last.act == "contest":
        (contesting,) = last.signers
        held = _suspension(before, contesting)
        if held and _is_device(before, held.by) and not _suspension(before, held.by):
            return held.by
    return ""


def _has_contested(past: Past, device: str) -> bool:
    """Rule 5: once for each suspension."""
    held = _suspension(past, device)
    return held is not None and any(one.act == "contest" and one.signers == {device} for one in past[held.place + 1 :])


# -- who may sign ----------------------------------------------------------------------------------------------------
def _may_act(past: Past, device: str, time: int) -> bool:
    """Full and not suspended."""
    return _is_device(past, device) and _is_full(past, device, time) and not _suspension(past, device)


def _may_contest(past: Past, device: str, time: int) -> bool:
    """Rule 5."""
    held = _suspension(past, device)
    if not _is_device(past, device) or not held or held.covered or _has_contested(past, device):
        return False
    return _is_full(past, device, time) or held.by == _sponsor(past, device)


def _is_majority(past: Past, said: Said) -> bool:
    """Rule 8."""
    if said.target in said.signers or not all(_may_act(past, one, said.time) for one in said.signers):
        return False
    full = [one for one in _all_devices(past) if one != said.target and _is_full(past, one, said.time)]
    return len(said.signers) >= 2 and len(said.signers) > len(full) / 2


# -- the acts --------------------------------------------------------------------------------------------------------
def _has_room(past: Past, said: Said, limits: Limits) -> bool:
    """Rule 11."""
    if said.act in ("genesis", "contest"):
        return True
    last_genesis = max(place for place, one in enumerate(past) if one.act == "genesis")
    records = len(past[last_genesis:])
    return records < (limits.records_by_recovery if RECOVERY in said.signers else limits.records)


def _allowed(past: Past, said: Said, limits: Limits) -> bool:
    if not past and said.act != "genesis":
        return False
    if past and said.time < past[-1].time:
        return False
    if said.prev != (0 if said.act == "genesis" else len(past)):
        return False
    return _has_room(past, said, limits) and _act_allowed(past, said, limits)


def _act_allowed(past: Past, said: Said, limits: Limits) -> bool:
    alone = next(iter(said.signers)) if len(said.signers) == 1 else ""
    by_recovery = said.signers == {RECOVERY}
    target_is_there = _is_device(past, said.target)
    target_is_suspended = _suspension(past, said.target) is not None
    match said.act:
        case "genesis":
            fresh = not {said.device, said.recovery} & _ever_keys(past) and said.device != said.recovery
            return (not past or said.admitted) and said.signers == {said.device, RECOVERY} and fresh
        case "add":
            sponsors = said.signers - {said.device}
            if said.device not in said.signers or len(sponsors) != 1 or said.device in _ever_keys(past):
                return False
            (sponsor,) = sponsors
            if sponsor == RECOVERY:
                return len(_all_devices(past)) < limits.devices_by_recovery
            return _may_act(past, sponsor, said.time) and len(_all_devices(past)) < limits.devices
        case "confirm":
            if not target_is_there or target_is_suspended or _is_full(past, said.target, said.time):
                return False
            return by_recovery or (_may_act(past, alone, said.time) and alone != _sponsor(past, said.target))
        case "suspend":
            if not target_is_there or target_is_suspended or alone == said.target:
                return False
            return _may_act(past, alone, said.time)
        case "contest":
            return _may_contest(past, alone, said.time)
        case "resume":
            return target_is_there and target_is_suspended and (by_recovery or _is_majority(past, said))
        case "revoke":
            return target_is_there and (by_recovery or _is_majority(past, said))
        case "rekey":
            return by_recovery and said.recovery not in _ever_keys(past)
    return False
