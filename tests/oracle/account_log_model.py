# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of docs/protocol.md, *The account log*, read aloud: slow, and nothing is remembered but what was said.

Every question is answered by walking through the whole history from its beginning. Devices and keys are names.
Written from the document's numbered rules alone, in another manner than the product, so that the two err apart.
"""

from dataclasses import dataclass, field

HOUR = 3_600_000
RECOVERY = "recovery"


@dataclass(frozen=True)
class Said:
    """One entry: who signed, when, and what about. `admitted`: an administrator lets a later genesis in."""

    act: str
    signers: frozenset[str]
    time: int
    device: str = ""
    target: str = ""
    recovery: str = ""
    admitted: bool = False


@dataclass
class Model:
    """What was said and accepted, in order."""

    history: list[Said] = field(default_factory=list)

    def accept(self, said: Said) -> None:
        """It is part of the log from now on."""
        self.history.append(said)

    def allows(self, said: Said) -> bool:
        """Whether the rules let this entry in."""
        return _allowed(self.history, said)

    def standing(self, device: str, time: int) -> str:
        """As the service would tell it at that time."""
        past = self.history
        if not any(one.device == device for one in past if one.act in ("genesis", "add")):
            return "unknown"
        if not _is_device(past, device):
            return "revoked"
        kind = "full" if _is_full(past, device, time) else "provisional"
        return kind + (" suspended" if _suspended_by(past, device) else "")


def _since_genesis(past: list[Said]) -> list[Said]:
    """Rule 1: a later genesis leaves nothing of what was before."""
    begins = max(place for place, one in enumerate(past) if one.act == "genesis")
    return past[begins:]


def _is_device(past: list[Said], device: str) -> bool:
    """Whether it was added and not revoked."""
    if not past:
        return False
    now = _since_genesis(past)
    was_added = any(one.device == device for one in now if one.act in ("genesis", "add"))
    return was_added and not any(one.act == "revoke" and one.target == device for one in now)


def _all_devices(past: list[Said]) -> list[str]:
    names = [one.device for one in past if one.act in ("genesis", "add")]
    return [name for name in names if _is_device(past, name)]


def _sponsor(past: list[Said], device: str) -> str:
    for one in past:
        if one.act == "add" and one.device == device:
            (sponsor,) = one.signers - {device}
            return sponsor
    return ""


def _suspended_by(past: list[Said], device: str) -> str:
    """Who suspended it, if it is suspended still."""
    return _suspension(past, device)[0]


def _suspension(past: list[Said], device: str) -> tuple[str, bool]:
    """(by whom, contested already) of a device's present suspension; ("", False) where there is none."""
    by, contested = "", False
    for place, one in enumerate(past):
        before = past[:place]
        if one.act == "genesis":
            by, contested = "", False
        elif one.act == "suspend" and one.target == device:
            (by,) = one.signers
            contested = False
        elif one.act == "resume" and one.target == device:
            by, contested = "", False
        elif one.act == "contest":
            (contesting,) = one.signers
            if contesting == device:
                contested = True
            elif _suspended_by(before, contesting) == device and not by and _is_device(before, device):
                by, contested = contesting, False
    return by, contested


def _is_full(past: list[Said], device: str, time: int) -> bool:
    """Rules 1, 2, 3 and 10."""
    for one in _since_genesis(past):
        if one.act == "genesis" and one.device == device:
            return True
        if one.act == "add" and one.device == device and RECOVERY in one.signers:
            return True
        if one.act == "confirm" and one.target == device:
            return True
    return any(
        _has_waited_alone(past[:place], device, at)
        for place, at in [*((place, one.time) for place, one in enumerate(past)), (len(past), time)]
    )


def _has_waited_alone(past: list[Said], device: str, time: int) -> bool:
    """Rule 10, between the last record of `past` and `time`."""
    if _all_devices(past) != [device] or _suspended_by(past, device):
        return False
    counts_from = max(one.time for one in past if one.act in ("genesis", "add", "revoke", "resume"))
    return time - counts_from >= 72 * HOUR


def _may_act(past: list[Said], device: str, time: int) -> bool:
    """Full and not suspended."""
    return _is_device(past, device) and _is_full(past, device, time) and not _suspended_by(past, device)


def _is_majority(past: list[Said], said: Said) -> bool:
    """Rule 8."""
    if said.target in said.signers or not all(_may_act(past, one, said.time) for one in said.signers):
        return False
    full = [one for one in _all_devices(past) if one != said.target and _is_full(past, one, said.time)]
    return len(said.signers) >= 2 and len(said.signers) > len(full) / 2


def _keys_so_far(past: list[Said]) -> set[str]:
    devices = {one.device for one in past if one.act in ("genesis", "add")}
    return devices | {one.recovery for one in past if one.act in ("genesis", "rekey")}


def _allowed(past: list[Said], said: Said) -> bool:
    if not past and said.act != "genesis":
        return False
    if past and said.time < past[-1].time:
        return False
    alone = next(iter(said.signers)) if len(said.signers) == 1 else ""
    by_recovery = said.signers == {RECOVERY}
    target_is_there = _is_device(past, said.target)
    match said.act:
        case "genesis":
            fresh = not {said.device, said.recovery} & _keys_so_far(past) and said.device != said.recovery
            return (not past or said.admitted) and said.signers == {said.device, RECOVERY} and fresh
        case "add":
            sponsors = said.signers - {said.device}
            if said.device not in said.signers or len(sponsors) != 1 or said.device in _keys_so_far(past):
                return False
            (sponsor,) = sponsors
            return (sponsor == RECOVERY or _may_act(past, sponsor, said.time)) and len(_all_devices(past)) < 100
        case "confirm":
            if not target_is_there or _is_full(past, said.target, said.time) or _suspended_by(past, said.target):
                return False
            return by_recovery or (_may_act(past, alone, said.time) and alone != _sponsor(past, said.target))
        case "suspend":
            return (
                target_is_there
                and _may_act(past, alone, said.time)
                and alone != said.target
                and not _suspended_by(past, said.target)
            )
        case "contest":
            by, contested = _suspension(past, alone) if _is_device(past, alone) else ("", False)
            return by != "" and not contested
        case "resume":
            suspended = target_is_there and _suspended_by(past, said.target) != ""
            return suspended and (by_recovery or _is_majority(past, said))
        case "revoke":
            return target_is_there and (by_recovery or _is_majority(past, said))
        case "rekey":
            return by_recovery and said.recovery not in _keys_so_far(past)
    return False
