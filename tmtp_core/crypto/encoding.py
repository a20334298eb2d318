# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keys, signatures and hashes as revision 2 writes them: base64url without padding (protocol.md, *Revision 2*)."""

import base64
import binascii
import re
from typing import Final

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


def to_text(data: bytes) -> str:
    """Bytes as the wire writes them."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str, size: int | None = None) -> bytes:
    """Undo `to_text`. Raises ValueError for anything that `to_text` would not have written, or not of `size` bytes."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url without padding") from None
    if to_text(data) != text:  # one text for each value, or a key would have several names
        raise ValueError("not the shortest form")
    if size is not None and len(data) != size:
        raise ValueError(f"{len(data)} bytes where {size} are due")
    return data
