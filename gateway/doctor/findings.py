# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an examination finds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warn", "fail"]
"""`fail`: something does not work, or soon will not, or is not safe. `warn`: it is not as it should be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `about`: what it belongs to; `text`: what was found; `mend`: a command or a sentence, where something is to be done;
    `repair`: does it, where that can harm nothing (disk; raises OSError).
    """

    level: Level
    about: str
    text: str
    mend: str = ""
    repair: Callable[[], None] | None = field(default=None, compare=False, repr=False)


def ok(about: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", about, text)


def warn(about: str, text: str, mend: str, repair: Callable[[], None] | None = None) -> Finding:
    """It is not as it should be."""
    return Finding("warn", about, text, mend, repair)


def fail(about: str, text: str, mend: str, repair: Callable[[], None] | None = None) -> Finding:
    """It does not work, or is not safe."""
    return Finding("fail", about, text, mend, repair)
