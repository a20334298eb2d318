# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names of attachments that are only names (D2): no folder, nothing that steers, not too long, never empty, unique."""

import mimetypes
import re
from typing import Final

from bridges import limits
from bridges.mime.readable import one_line

_DIRECTIONS: Final = re.compile("[\u200c-\u200f]")  # joiners and marks are good in a text, and only deceive in a name
_SPECIAL: Final = re.compile(r'[<>:"|?*]')
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # of Windows
_SUFFIX_MAX_CHARACTERS: Final = 10


def safe_name(given: str, kind: str) -> str:
    """The name of an attachment of content type `kind` that calls itself `given`."""
    name = re.split(r"[/\\]", _DIRECTIONS.sub("", one_line(given)))[-1].strip(" .")
    name = _SPECIAL.sub("_", name)
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    while len(name.encode()) > limits.FILE_NAME_MAX_BYTES:
        stem, dot, suffix = name.rpartition(".")
        keep = dot and stem and len(suffix) <= _SUFFIX_MAX_CHARACTERS
        name = stem[:-1] + dot + suffix if keep else name[:-1]
    if name:
        return name
    if kind == "message/rfc822":
        return "message.eml"
    return "attachment" + (mimetypes.guess_extension(kind) or ".bin")


class UniqueNames:
    """Gives each name once, in any case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str) -> str:
        """The name itself, or the same with a number."""
        stem, dot, suffix = name.rpartition(".")
        candidate = name
        while candidate.casefold() in self._taken:
            count = self._next[name.casefold()] = self._next.get(name.casefold(), 1) + 1
            candidate = f"{stem}-{count}.{suffix}" if dot and stem else f"{name}-{count}"
        self._taken.add(candidate.casefold())
        return candidate
