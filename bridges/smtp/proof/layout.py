# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a signed body can be read in one way only where the signature leaves out how it is to be read (D1).

Google's signatures leave Content-Type and Content-Transfer-Encoding out, Microsoft's the latter, so that is no reason
to refuse a mail. But then whoever has a signed mail can write others over it: a boundary that makes a part out of a few
quoted lines and hides the rest, another charset, or an encoding by which those lines are other words, or no quote.
"""

import binascii
import re
import string
from collections.abc import Callable, Iterable
from email.message import Message
from typing import Final

from bridges.mime.charsets import decoded
from bridges.mime.headers import parameters
from bridges.mime.readable import readable
from bridges.mime.transfer import encoding_of

_PREAMBLE: Final = b"This is a multi-part message in MIME format.\r\n"  # of old; no reader shows it
_ASCII: Final = bytes(range(0x20, 0x7F))
_BASE64: Final = (string.ascii_letters + string.digits + "+/\r\n").encode()
_HIDDEN_TAG: Final = re.compile(rb"=3[CE]", re.IGNORECASE)

Fields = Iterable[tuple[bytes, bytes]]
"""Of a header, as dkimpy has it."""


class Layout:
    """How one mail is to be read, as far as its header says so."""

    def __init__(self, fields: Fields, body: bytes) -> None:
        self._types = [value for name, value in fields if name.lower() == b"content-type"]
        self._encodings = [value for name, value in fields if name.lower() == b"content-transfer-encoding"]
        self._body = body
        self._wrong: dict[str, str] = {}

    def wrong(self, covered: Iterable[bytes]) -> str:
        """Why what a signature leaves out could make another mail of the body, or ""; `covered`: in lower case."""
        covered = tuple(covered)
        why = ""
        if b"content-type" not in covered:
            why = self._once("type", lambda: next(filter(None, (two_ways(one, self._body) for one in self._types)), ""))
        if not why and b"content-transfer-encoding" not in covered:
            why = self._once("encoding", self._encoding_wrong)
        return why

    def _once(self, what: str, look: Callable[[], str]) -> str:
        """Of each it is looked at once, however many signatures there are."""
        if what not in self._wrong:
            self._wrong[what] = look()
        return self._wrong[what]

    def _encoding_wrong(self) -> str:
        kind = self._types[0] if self._types else b"text/plain"
        return next(filter(None, (encoded_two_ways(one, kind, self._body) for one in self._encodings)), "")


def two_ways(value: bytes, body: bytes) -> str:
    """Why a body under this Content-Type, which nobody signed, could be read in another way than it was sent in, or "".

    Plain text and HTML in a charset that reads ASCII as such are fine; so is a multipart that begins and ends with the
    body, which the body then shows by itself.
    """
    text = _text(value)
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


def encoded_two_ways(value: bytes, content_type: bytes, body: bytes) -> str:
    """Why a body under this Content-Transfer-Encoding, which nobody signed, could be read in another way than it was
    sent in, or "".

    Base64 is fine where all of the body is that, so that it was sent as that. Quoted-printable is fine where it makes
    no lines of a text but those that the body has, or all of them, and no tags of HTML: no encoder mixes those. Of a
    multipart nobody takes it away, and without it what was encoded is seen to be.
    """
    encoding = encoding_of(_text(value))
    kind, options = parameters(_text(content_type))
    if kind.startswith(("multipart/", "message/")):
        return ""
    wrong = False
    if encoding == "base64":
        wrong = bool(body.rstrip(b"\r\n=").translate(None, _BASE64))
    elif encoding == "quoted-printable":
        wrong = bool(_HIDDEN_TAG.search(body)) if kind == "text/html" else _has_hidden_lines(body, options)
    elif encoding in ("x-uuencode", "uuencode", "uue", "x-uue"):
        wrong = True
    return f"it does not cover the Content-Transfer-Encoding, by which {encoding} could be other words" if wrong else ""


def _has_hidden_lines(body: bytes, options: dict[str, str]) -> bool:
    """Whether some lines of a quoted-printable text end in the open, and others where that is encoded."""
    body = body.rstrip(b"\r\n")
    open_ends = body.count(b"\r\n") - body.count(b"=\r\n")
    ends = readable(decoded(binascii.a2b_qp(body), options.get("charset", ""))[0]).count("\n")
    return 0 < open_ends != ends


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").replace("\r\n", "")


def _is_all(boundary: bytes, body: bytes) -> bool:
    """Whether the parts begin where the body begins, and end where it ends."""
    parts = body.removeprefix(_PREAMBLE).lstrip(b"\r\n") if body.startswith(_PREAMBLE) else body
    first, _, rest = parts.partition(b"\r\n")
    if first.rstrip(b" \t") != b"--" + boundary:
        return False
    _, end, after = rest.partition(b"\r\n--" + boundary + b"--")
    return bool(end) and not after.strip(b" \t\r\n")
