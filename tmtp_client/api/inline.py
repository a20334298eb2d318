# SPDX-License-Identifier: AGPL-3.0-or-later
"""What of others' files a page may show: of a type on a list, which their own first octets bear out (B6, D2).

A name says what a file wants to be taken for; its octets say what it is. Where the two differ, or where showing it
would cost more than a picture may, it is to be kept and not to be shown (docs/decisions/0028-attachments-shown.md).
"""

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tmtp_client import limits

TEXTS: Final = frozenset({"text/plain", "text/csv"})
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})

ALONE: Final = frozenset({"application/pdf"})
"""Types that come in no frame: browsers show them by a viewer that the answer's sandbox does not reach, and one click
on a link in it would lead the page around it away."""

_STEERS: Final = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")  # in no text that is read by people
_JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # ISO/IEC 10918-1, table B.1: SOF0 to SOF15
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_RIFF_HEAD_BYTES: Final = 12


class Why(NamedTuple):
    """Why a file is not shown: in a word for pages, as a status of HTTP, and in words for people."""

    word: Literal["other", "large"]
    status: int
    text: str


_OTHER: Final = Why("other", 415, "the file is not what its name says; it can be kept, and is not shown")
_LARGE: Final = Why("large", 413, "the picture is too large to be shown; it can be kept")


def why_not(media: str, size: int, head: bytes) -> Why | None:
    """Why a file of this type (one of `INLINE`) is not shown; None: it may be.

    `size`: of all of it, in octets. `head`: the first `head_bytes(media)` of them, or all.
    """
    if not _IS[media](head):
        return _OTHER
    if media not in PICTURES:
        return None
    if size > limits.PICTURE_SHOWN_MAX_BYTES:
        return _LARGE
    sides = _SIDES[media](head)
    if sides is None:
        return _OTHER
    width, height = sides
    return _LARGE if width * height > limits.PICTURE_SHOWN_MAX_PIXELS else None


def head_bytes(media: str) -> int:
    """How much of a file has to be read to know whether it is of this type."""
    return limits.SHOWN_HEAD_BYTES if media in PICTURES or media in TEXTS else limits.SHOWN_MAGIC_BYTES


# -- what begins like this ------------------------------------------------------------------------------------------
def _begins(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:_RIFF_HEAD_BYTES] == form


def _is_mp4(head: bytes) -> bool:
    """ISO/IEC 14496-12 §4.3: the first box says of which brand the file is."""
    return head[4:8] == b"ftyp"


def _is_mpeg_audio(head: bytes) -> bool:
    """ID3v2, or the sync word of a frame with a layer (ISO/IEC 11172-3 §2.4.2.3)."""
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and bool(head[1] & 6))


def _is_text(head: bytes) -> bool:
    return not _STEERS.search(head)


_IS: Final[dict[str, Callable[[bytes], bool]]] = {
    "image/png": _begins(b"\x89PNG\r\n\x1a\n"),
    "image/jpeg": _begins(_JPEG_START),
    "image/gif": _begins(b"GIF87a", b"GIF89a"),
    "image/webp": _riff(b"WEBP"),
    "audio/mpeg": _is_mpeg_audio,
    "audio/ogg": _begins(b"OggS"),
    "audio/wav": _riff(b"WAVE"),
    "audio/flac": _begins(b"fLaC"),
    "audio/mp4": _is_mp4,
    "video/mp4": _is_mp4,
    "video/webm": _begins(b"\x1aE\xdf\xa3"),
    "application/pdf": _begins(b"%PDF-"),
    "text/plain": _is_text,
    "text/csv": _is_text,
}
INLINE: Final = frozenset(_IS)
"""Types that run nothing, or like PDF only in a viewer of the browser's own. SVG and HTML are none."""


# -- how large a picture is -----------------------------------------------------------------------------------------
Sides = tuple[int, int]


def _png_sides(head: bytes) -> Sides | None:
    """W3C PNG §11.2.1: IHDR is the first chunk."""
    if head[12:16] != b"IHDR" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _gif_sides(head: bytes) -> Sides | None:
    """GIF89a §18: the logical screen."""
    return (int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")) if len(head) >= 10 else None


def _webp_sides(head: bytes) -> Sides | None:
    """RFC 9649 §2.5 to §2.7: lossy, lossless, extended."""
    kind = head[12:16]
    if len(head) < 30:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _jpeg_sides(head: bytes) -> Sides | None:
    """ISO/IEC 10918-1 §B.2.2: segment by segment to the frame header."""
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(head[at + 7 : at + 9]), int.from_bytes(head[at + 5 : at + 7])
        if marker == 0xFF:  # a fill octet
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(head[at + 2 : at + 4]))
    return None


_SIDES: Final[dict[str, Callable[[bytes], Sides | None]]] = {
    "image/png": _png_sides,
    "image/jpeg": _jpeg_sides,
    "image/gif": _gif_sides,
    "image/webp": _webp_sides,
}
