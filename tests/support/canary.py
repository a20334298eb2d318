# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks for plain text where none may be: in every file of a folder, and in the names of files."""

from collections.abc import Iterable
from pathlib import Path


def plain_text_in(folder: Path, canaries: Iterable[str]) -> list[tuple[str, str]]:
    """Where which canary was found: in UTF-8 or UTF-16, in a file's octets or in a path."""
    found = []
    for path in sorted(folder.rglob("*")):
        raw = path.read_bytes().lower() if path.is_file() else b""
        named = str(path.relative_to(folder)).lower()
        for canary in canaries:
            lower = canary.lower()
            if lower in named or any(lower.encode(code) in raw for code in ("utf-8", "utf-16-le", "utf-16-be")):
                found.append((canary, str(path.relative_to(folder))))
    return found
