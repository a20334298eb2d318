# SPDX-License-Identifier: AGPL-3.0-or-later
"""Aliases and group names: what may be one, and which look alike (D1, wire.md §4.5, UTS #39)."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Final

import msgspec

from tmtp_core import limits

_BLANKS: Final = re.compile(" +")
_ADDRESS: Final = re.compile(r"\S@\S")
_ESCAPED: Final = re.compile(r'[<>&"\\]')
_LRM: Final = "\u200e"  # frames right-to-left entries in the data


class _Confusable(msgspec.Struct, gc=False):
    """A text that looks like another. What else the data says of it would take five times as much memory."""

    c: str


class NameRefused(ValueError):
    """This text cannot be a name; `reason` is "too short", "invalid", "too long" or "address form"."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def check_name(name: str) -> None:
    """Raise `NameRefused` unless `name` may be an alias or a group's name.

    8 bytes of UTF-8 or more, 255 at most in escaped form, and 64 characters at most (a name carries no letter, D2);
    every character printable and none of them U+FFFD, no blanks but U+0020; and never of the form of an address, so
    that no member can be taken for somebody who writes by SMTP, nor the reverse.
    """
    if len(name.encode()) < limits.NAME_MIN_BYTES:
        raise NameRefused("too short", f"{name} is shorter than {limits.NAME_MIN_BYTES} bytes")
    if not name.strip():
        raise NameRefused("invalid", "the name is nothing but blanks")
    if not name.isprintable() or "\ufffd" in name:
        raise NameRefused("invalid", "the name has characters that cannot be printed")
    if len(_ESCAPED.sub("......", name).encode()) > limits.NAME_MAX_BYTES:
        raise NameRefused("too long", f"the name is longer than {limits.NAME_MAX_BYTES} bytes")
    if len(name) > limits.NAME_MAX_CHARACTERS:
        raise NameRefused("too long", f"the name is longer than {limits.NAME_MAX_CHARACTERS} characters")
    if has_address_form(name):
        raise NameRefused("address form", f"{name} has the form of an address")


def has_address_form(name: str) -> bool:
    """Whether a person could read this as an e-mail address."""
    return _ADDRESS.search(unicodedata.normalize("NFKC", name)) is not None


def skeletons(name: str) -> frozenset[str]:
    """The forms under which a name is compared: two names that share one look alike.

    NFKC, trimmed, blanks collapsed, then two skeletons of UTS #39: of the case-folded name (so that ALICE is
    alice), and of the name as written, folded afterwards (so that a capital I is an l).
    """
    plain = _BLANKS.sub(" ", unicodedata.normalize("NFKC", name)).strip(" ")
    return frozenset({_prototypes_of(plain.casefold()), _prototypes_of(_prototypes_of(plain).casefold())})


def _prototypes_of(text: str) -> str:
    """UTS #39's skeleton: NFD, every character by its prototype, NFD."""
    prototypes = _prototypes()
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFD", "".join(prototypes.get(character, character) for character in decomposed))


@cache
def _prototypes() -> dict[str, str]:
    """Character to prototype, from the data of confusable-homoglyphs, read once.

    The data pairs each character with what it can be confused with; characters that are connected by pairs
    form a class, and one text stands for all of them: ASCII before others, several characters before one (m is
    written "rn", since "rn" cannot be found again in a text that has both), then the first in code point order.
    """
    source = resources.files("confusable_homoglyphs").joinpath("confusables.json")
    data = msgspec.json.decode(source.read_bytes(), type=dict[str, list[_Confusable]])
    classes = _Classes()
    for text, confused in data.items():
        for entry in confused:
            classes.join(text.replace(_LRM, ""), entry.c.replace(_LRM, ""))
    prototypes: dict[str, str] = {}
    for members in classes.groups():
        plainest = min(members, key=lambda text: (not text.isascii(), -len(text), text))
        prototypes.update({text: plainest for text in members if len(text) == 1 and text != plainest})
    return prototypes


class _Classes:
    """Disjoint sets of texts."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def join(self, one: str, other: str) -> None:
        """Put two texts into one class."""
        self._parents[self._root(one)] = self._root(other)

    def groups(self) -> Iterable[list[str]]:
        """The classes."""
        groups: dict[str, list[str]] = {}
        for text in list(self._parents):
            groups.setdefault(self._root(text), []).append(text)
        return groups.values()

    def _root(self, text: str) -> str:
        root = text
        while self._parents.setdefault(root, root) != root:
            root = self._parents[root]
        while self._parents[text] != root:
            self._parents[text], text = root, self._parents[text]
        return root
