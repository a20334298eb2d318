# SPDX-License-Identifier: AGPL-3.0-or-later
"""JSON of which nobody can make two things: no name twice, nothing that is not JSON (RFC 8725 §2.4)."""

import json
from typing import Any, NoReturn


def strict_json(raw: bytes) -> Any:
    """What it says. Raises ValueError."""
    try:
        return _DECODER.decode(raw.decode())
    except RecursionError:
        raise ValueError("JSON that nests too deep") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("JSON with a name twice")
    return named


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse)
