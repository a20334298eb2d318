# SPDX-License-Identifier: AGPL-3.0-or-later
"""Transfer encodings undone (RFC 2045 §6), also broken ones: what can be read of a part is read, in linear time."""

import binascii
import re
import string
from email.message import Message
from typing import Any, Final

from bridges.mime.headers import field

_BASE64: Final = (string.ascii_letters + string.digits + "+/").encode()
_NOT_BASE64: Final = bytes(set(range(256)) - set(_BASE64))
_UU_BEGIN: Final = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,255})\r?$", re.MULTILINE)
_UU_END: Final = re.compile(rb"^end[ \t]*\r?$", re.MULTILINE)
_UU_LINE_MAX_BYTES: Final = 45
_AS_IT_STANDS: Final = frozenset({"", "7bit", "8bit", "binary"})
_BROKEN: Final = "its transfer encoding is broken; some of it may be wrong or missing"


class Part(Message):
    """A part whose content can be had as it came; the standard library's own reader guesses a charset first.

    `raw` has surrogates for octets that are not ASCII; it is None where the part has parts of its own.
    """

    raw: str | None = None

    def set_payload(self, payload: Any, charset: Any = None) -> None:
        """Called by the standard library's parser."""
        self.raw = payload if isinstance(payload, str) else None
        super().set_payload(payload, charset)


def encoding_of(value: str) -> str:
    """What a Content-Transfer-Encoding field names, as it is read here."""
    return re.sub(r"[\s;].*", "", value.strip().lower()).strip('"')


def octets_of(part: Part) -> tuple[bytes, str]:
    """A part's content without its transfer encoding, and a note where that was broken or is not known."""
    raw = (part.raw or "").encode("utf-8", "surrogateescape")
    encoding = encoding_of(field(part, "Content-Transfer-Encoding"))
    if encoding in _AS_IT_STANDS:
        return raw, ""
    if encoding == "quoted-printable":
        return binascii.a2b_qp(raw), ""
    if encoding == "base64":
        return _base64(raw)
    if encoding in ("x-uuencode", "uuencode", "uue", "x-uue"):
        files, _ = uuencoded(raw)
        return (files[0][1], "") if files else (raw, _BROKEN)
    return raw, "its transfer encoding is not known here; it stands as it came"


def _base64(raw: bytes) -> tuple[bytes, str]:
    """Pieces that were padded on their own and then put together are all read; strange characters are left out."""
    pieces = [piece.translate(None, _NOT_BASE64) for piece in raw.split(b"=")]
    broken = any(len(piece) % 4 == 1 for piece in pieces)
    clean = (piece[: len(piece) - (len(piece) % 4 == 1)] for piece in pieces)
    return b"".join(binascii.a2b_base64(piece + b"=" * (-len(piece) % 4)) for piece in clean), _BROKEN if broken else ""


def uuencoded(raw: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """The files that a text carries in uuencode, each with its name, and the text without them."""
    files: list[tuple[str, bytes]] = []
    rest: list[bytes] = []
    position = 0
    while (begin := _UU_BEGIN.search(raw, position)) is not None:
        end = _UU_END.search(raw, begin.end())
        if end is None:
            break
        content = _uu_lines(raw[begin.end() : end.start()])
        rest.append(raw[position : begin.start() if content is not None else end.end()])
        if content is not None:
            files.append((begin[1].decode("utf-8", "replace"), content))
        position = end.end()
    return files, b"".join([*rest, raw[position:]])


def _uu_lines(body: bytes) -> bytes | None:
    """The octets of such lines; None where one of them is none."""
    out: list[bytes] = []
    for line in body.splitlines():
        if not line.strip() or line in (b"`", b" "):
            continue
        length = (line[0] - 32) & 63
        if line[0] < 32 or line[0] > 96 or length > _UU_LINE_MAX_BYTES:
            return None
        try:
            out.append(binascii.a2b_uu(line[: 1 + (length + 2) // 3 * 4]))  # some encoders pad further
        except binascii.Error:
            return None
    return b"".join(out) if out else None
