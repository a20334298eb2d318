# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers that are of no one subject."""

from msgspec import Struct


class Done(Struct, frozen=True):
    """It is done, and durable."""

    done: bool = True


class Exported(Struct, frozen=True):
    """What was written where."""

    path: str
    messages: int
    files: int


class Rendered(Struct, frozen=True):
    """CommonMark as HTML of a short list of elements, with nothing in it that loads anything or runs (B6)."""

    html: str


class Renderings(Struct, frozen=True):
    """HTML by messages' ids. `left`: for these there was no room or time any more; ask for them again."""

    html: dict[str, str]
    left: tuple[str, ...]


class Text(Struct, frozen=True):
    """Plain text: CSV, or what a QR code says."""

    text: str
