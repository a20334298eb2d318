# SPDX-License-Identifier: AGPL-3.0-or-later
"""An account's log in plain words (B4): what was done to which device, and by whom."""

from collections.abc import Mapping, Sequence
from typing import Final

from tmtp_client.api.models import LogLine
from tmtp_core.crypto.account_log import RECOVERY, Entry, LogState
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.log_records import Record, parse_entry

_KEY_CHARACTERS: Final = 8
STANDS: Final = {
    "full": "reads and writes, and decides about devices",
    "provisional": "reads and writes, and decides nothing until it is confirmed",
    "full suspended": "is suspended: it gets nothing, and may only contest that",
    "provisional suspended": "is suspended: it gets nothing",
    "revoked": "is gone for good",
}


def name_of(device: str, names: Mapping[str, str]) -> str:
    """What the person calls a device; else the beginning of its key."""
    return names.get(device) or f"device {device[:_KEY_CHARACTERS]}"


def lines(records: Sequence[Record], names: Mapping[str, str], first: int = 0) -> tuple[LogLine, ...]:
    """Verified records, the first of which has the number `first`, each in a line."""
    told = []
    for place, record in enumerate(records, first):
        entry = parse_entry(from_text(record.entry))
        by = tuple(sorted(signature.by for signature in record.sigs))
        text = _text(entry, by, names, place)
        told.append(LogLine(place, record.time, text, entry.act, entry.target or entry.device, by))
    return tuple(told)


def _text(entry: Entry, by: Sequence[str], names: Mapping[str, str], place: int) -> str:
    """One entry as a sentence."""
    signers = [one for one in by if one != entry.device]
    who = _joined([name_of(one, names) if one != RECOVERY else "the recovery key" for one in signers])
    who = who[:1].upper() + who[1:]
    device = name_of(entry.device, names) if entry.device else ""
    target = name_of(entry.target, names) if entry.target else ""
    if entry.act == "genesis" and place == 0:
        return f"The account began, with {device}."
    if entry.act == "genesis":
        return (
            f"An administrator of the service began the account anew, with {device} and a new recovery key; "
            "all devices from before are gone."
        )
    if entry.act == "add" and signers == [RECOVERY]:
        return f"The recovery key added {device}."
    return {
        "add": f"{who} added {device}: it reads and writes, and decides nothing until it is confirmed.",
        "confirm": f"{who} confirmed {target}: it decides about devices from now on.",
        "suspend": f"{who} suspended {target}: it gets nothing any more.",
        "contest": f"{who} contests its suspension: who suspended it is suspended, too.",
        "resume": f"{who} lifted the suspension of {target}: it reads and writes again.",
        "revoke": f"{who} revoked {target}, for good.",
        "rekey": "The recovery key was replaced by a new one.",
    }[entry.act]


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" and {names[-1]}"


# -- what is wrong with a log ----------------------------------------------------------------------------------------
def other_log(whose: str, why: str) -> str:
    """The service shows another log than the one that this device has checked."""
    return (
        f"The service shows another list of {whose} devices than this device has checked: {why}. "
        "It is not followed, and nothing is sealed to a key that stands only there. Ask who runs the service."
    )


def knows_less(whose: str, count: int) -> str:
    """The service has lost records, as after a restore from a backup, or keeps them back."""
    records = "1 change" if count == 1 else f"{count} changes"
    return (
        f"The service does not know of {records} of {whose} devices that this device has checked. It was restored from "
        "a backup, or holds them back; here they count all the same."
    )


UNKNOWN: Final = "is none of their devices"
SUSPENDED: Final = "was suspended"


def not_standing(log: LogState, device: str) -> str:
    """Why a device may not read or write, at this state of its log; empty: it may."""
    state = log.devices.get(device)
    if state is None:
        return UNKNOWN
    if state.revoked:
        return "was revoked"
    return SUSPENDED if state.suspended_by is not None else ""
