# SPDX-License-Identifier: AGPL-3.0-or-later
"""`winmail.dat` unpacked (MS-OXTNEF): what Outlook wraps attachments in that nobody else can open."""

import logging
from typing import NamedTuple

from tnefparse import TNEF

logging.getLogger("tnefparse").addHandler(logging.NullHandler())  # what it says of strangers' files is nobody's news


class Unwrapped(NamedTuple):
    """What was inside: the text, plain and HTML, "" without one; files by name."""

    plain: str
    html: str
    files: list[tuple[str, bytes]]


def unwrapped(content: bytes) -> Unwrapped | None:
    """What is in such a file; None where it cannot be read."""
    try:
        inside = TNEF(content)
        files = [(_text(one.long_filename()), bytes(one.data or b"")) for one in inside.attachments]
        return Unwrapped(_text(inside.body), _text(inside.htmlbody), files)
    except MemoryError:
        raise
    except Exception:  # of whatever kind it is: the library trusts the lengths that are in the file
        return None


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        value = value[0] if value else b""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\x00")
    return value.rstrip("\x00") if isinstance(value, str) else ""
