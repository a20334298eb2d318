# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a signed body can be read in one way only where the signature leaves Content-Type out (D1).

Google's signatures do, so that is no reason to refuse a mail. But then whoever has a signed mail can write another
Content-Type over it: a boundary that makes a part out of a few quoted lines and hides the rest, or another charset.
"""

from email.message import Message
from typing import Final

from bridges.mime.charsets import decoded
from bridges.mime.headers import parameters

_PREAMBLE: Final = b"This is a multi-part message in MIME format.\r\n"  # of old; no reader shows it
_ASCII: Final = bytes(range(0x20, 0x7F))


def two_ways(value: bytes, body: bytes) -> str:
    """Why a body under this Content-Type, which nobody signed, could be read in another way than it was sent in, or "".

    Plain text and HTML in a charset that reads ASCII as such are fine; so is a multipart that begins and ends with the
    body, which the body then shows by itself.
    """
    text = value.decode("utf-8", "replace").replace("\r\n", "")
    kind, options = parameters(text)
    if not kind.startswith("multipart/"):
        if kind not in ("text/plain", "text/html"):
            return f"it does not cover the Content-Type, which is {kind[:40] or 'none'}"
        same = decoded(_ASCII, options.get("charset", ""))[0].encode() == _ASCII
        return "" if same else "it does not cover the Content-Type, whose charset is not read as ASCII"
    message: Message[str, str] = Message()
    message["Content-Type"] = text.strip()
    boundary = message.get_boundary()  # by the library that will take the mail apart
    if not boundary or not boundary.isascii() or not _is_all(boundary.encode(), body):
        return "it does not cover the Content-Type, whose parts are not all of the body"
    return ""


def _is_all(boundary: bytes, body: bytes) -> bool:
    """Whether the parts begin where the body begins, and end where it ends."""
    parts = body.removeprefix(_PREAMBLE).lstrip(b"\r\n") if body.startswith(_PREAMBLE) else body
    first, _, rest = parts.partition(b"\r\n")
    if first.rstrip(b" \t") != b"--" + boundary:
        return False
    _, end, after = rest.partition(b"\r\n--" + boundary + b"--")
    return bool(end) and not after.strip(b" \t\r\n")
