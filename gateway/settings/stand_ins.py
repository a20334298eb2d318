# SPDX-License-Identifier: AGPL-3.0-or-later
"""Settings with mistakes of form, made whole as far as can be: what contradicts the rest is found in the same pass."""

from copy import deepcopy
from typing import Any, Final

from pydantic import ValidationError

from gateway.settings.models import Settings
from gateway.settings.yaml_source import Path

_ROUNDS_MAX: Final = 50  # each takes out what the one before brought to light
_ADDRESS: Final = "127.0.0.1:0"  # which is never taken twice
_STAND_INS: Final[dict[str, Any]] = {
    "policy": "public",
    "instance": "stand-in",
    "address": "stand@in.example",
    "proof": [{"network": "127.0.0.0/8"}],
    "network": "127.0.0.0/8",
    "senders": [],
    "routes": [],
    "recipient": "stand@in.example",
    "to": "Stand In",
    "issuer": "https://stand-in.example",
    "client_id": "stand-in",
    "provider": {"issuer": "https://stand-in.example", "client_id": "stand-in"},
    "claim": "stand-in",
    "any_of": ["stand-in"],
}


def made_whole(data: Any) -> tuple[Settings | None, list[Path]]:
    """The settings without their mistakes, and where those were; None when too little is left.

    What is wrong is taken out, and what is missing is stood in for: nothing that is found at such a place, or below it,
    is worth telling.
    """
    rest, wrong = deepcopy(data), list[Path]()
    for _ in range(_ROUNDS_MAX):
        try:
            return Settings.model_validate(rest), wrong
        except ValidationError as error:
            for detail in error.errors():
                place: Path = tuple(detail["loc"])
                wrong.append(place)
                if not _mended(rest, place, missing=detail["type"] == "missing"):
                    return None, wrong
    return None, wrong


def _mended(data: Any, place: Path, *, missing: bool) -> bool:
    """Take one mistake out. False where nothing can be done about it."""
    stand_in = _stand_in(place) if missing else None
    holders = [data]
    for part in place[:-1]:
        try:
            holders.append(holders[-1][part])
        except (KeyError, IndexError, TypeError):
            return True  # it went with another one
    if stand_in is not None:
        holders[-1][place[-1]] = stand_in
        return True
    if missing:
        place, holders = place[:-1], holders[:-1]
    while place and not (isinstance(holders[-1], dict) and place[-1] in holders[-1]):  # an entry of a list: all of it
        place, holders = place[:-1], holders[:-1]
    if not place:
        return False
    del holders[-1][place[-1]]
    return True


def _stand_in(place: Path) -> Any:
    """Something for a setting that is missing and has no default."""
    key = place[-1]
    if key == "name":
        return f"stand-in-{place[-2]}"
    if key == "listen":
        return [{"tls": _ADDRESS}] if place[0] == "instances" else _ADDRESS
    return deepcopy(_STAND_INS.get(str(key)))
