# SPDX-License-Identifier: AGPL-3.0-or-later
"""Strangers' text on a terminal: nothing that could steer it (D2)."""

import unicodedata
from typing import Final

_STEERING: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Text with every control and format character spelled out: no escape sequence, no reversed direction."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _STEERING
        else f"\\u{ord(character):04x}"
        for character in text
    )
