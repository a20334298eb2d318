# SPDX-License-Identifier: AGPL-3.0-or-later
"""A service's look (B2): what the data of a `skin` answer may say, and nothing else (docs/protocol.md, *The look*).

Named colours, one of a few fonts, spacing and corners, two raster pictures. No style sheet, no vector graphics, no
address: a look can neither run anything nor make a client fetch anything (B6). Services encode one, clients parse it.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Struct

from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text

Font = Literal["system", "sans", "humanist", "rounded", "serif", "slab", "mono"]
Spacing = Literal["compact", "normal", "wide"]
Corners = Literal["square", "soft", "round"]
PictureType = Literal["image/png", "image/jpeg"]

VERSION: Final = 1
CONTRAST_MIN: Final = 4.5  # WCAG 2.2, 1.4.3 (AA) for text of any size
_COLOUR: Final = re.compile(r"#[0-9a-f]{6}")
_SIGNATURES: Final[dict[str, bytes]] = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


class LookInvalid(ValueError):
    """These bytes are no look; the text says why."""


class Palette(Struct, frozen=True):
    """Colours by what they are for, as `#rrggbb` in lower case.

    `text` and `muted` stand on `background` and `surface` (panes and cards), and so do links in `accent`; `on_accent`
    stands on `accent` (buttons).
    """

    background: str
    surface: str
    text: str
    muted: str
    accent: str
    on_accent: str


class Picture(Struct, frozen=True):
    """A raster picture: `data` is base64url of a PNG or JPEG of at most `limits.LOOK_PICTURE_MAX_BYTES`."""

    type: PictureType
    data: str


class Look(Struct, frozen=True, omit_defaults=True):
    """The whole look. A client leaves alone what it does not know."""

    light: Palette
    dark: Palette
    version: int = VERSION
    font: Font = "system"
    headings: Font = "system"
    spacing: Spacing = "normal"
    corners: Corners = "soft"
    logo: Picture | None = None
    backdrop: Picture | None = None


class WeakPair(NamedTuple):
    """Two colours of a palette that do not stand out from each other, and a `better` value for the upper one."""

    upper: str
    lower: str
    contrast: float
    better: str


FONTS: Final[tuple[str, ...]] = get_args(Font)
_PAIRS: Final = (
    *((upper, lower) for lower in ("background", "surface") for upper in ("text", "muted", "accent")),
    ("on_accent", "accent"),
)
_DECODER: Final = msgspec.json.Decoder(Look)


def encode_look(look: Look) -> bytes:
    """The data of a `skin` answer, as it is signed. Raises `LookInvalid` for what no client would take."""
    check_look(look)
    return msgspec.json.encode(look, order="deterministic")


def parse_look(data: bytes) -> Look:
    """A look from the data of a `skin` answer, whose signature the caller has verified. Raises `LookInvalid`."""
    if len(data) > limits.LOOK_MAX_BYTES:
        raise LookInvalid(f"a look has at most {limits.LOOK_MAX_BYTES} bytes")
    try:
        look = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LookInvalid(f"this is no look: {error}") from None
    check_look(look)
    return look


def check_look(look: Look) -> None:
    """Raise `LookInvalid` for colours that are none, text that cannot be read, and pictures that are none."""
    if look.version != VERSION:
        raise LookInvalid(f"version {look.version} of looks is not known here")
    for name, palette in (("light", look.light), ("dark", look.dark)):
        for field in Palette.__struct_fields__:
            if not _COLOUR.fullmatch(getattr(palette, field)):
                raise LookInvalid(f"{name}.{field} is no colour: #rrggbb is one")
        for weak in weak_pairs(palette):
            raise LookInvalid(f"{name}.{weak.upper} on {weak.lower} has a contrast of {weak.contrast:.2f}:1 only")
    for name, picture in (("logo", look.logo), ("backdrop", look.backdrop)):
        if picture is not None:
            _check_picture(name, picture)


def picture_type(octets: bytes) -> PictureType | None:
    """What kind of picture begins like this."""
    return next((kind for kind in get_args(PictureType) if octets.startswith(_SIGNATURES[kind])), None)


def weak_pairs(palette: Palette) -> Iterator[WeakPair]:
    """The pairs of colours whose contrast is below `CONTRAST_MIN`."""
    for upper, lower in _PAIRS:
        above, below = getattr(palette, upper), getattr(palette, lower)
        found = contrast(above, below)
        if found < CONTRAST_MIN:
            yield WeakPair(upper, lower, found, _readable(above, below))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 (the same) to 21 (black and white): WCAG 2.2, *contrast ratio*."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.2, *relative luminance*."""
    red, green, blue = (_linear(part / 255) for part in bytes.fromhex(colour[1:]))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _readable(colour: str, ground: str) -> str:
    """The nearest mixture of a colour with black or white that can be read on `ground`."""
    goal = max("#000000", "#ffffff", key=lambda extreme: contrast(extreme, ground))
    mixtures = (_mixed(colour, goal, step / 64) for step in range(1, 65))
    return next(mixture for mixture in mixtures if contrast(mixture, ground) >= CONTRAST_MIN)


def _mixed(one: str, other: str, share: float) -> str:
    parts = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in parts).hex()


def _check_picture(name: str, picture: Picture) -> None:
    try:
        octets = from_text(picture.data)
    except ValueError as error:
        raise LookInvalid(f"{name}: {error}") from None
    if len(octets) > limits.LOOK_PICTURE_MAX_BYTES:
        raise LookInvalid(f"{name} has {len(octets)} bytes; {limits.LOOK_PICTURE_MAX_BYTES} are the most")
    if picture_type(octets) != picture.type:
        raise LookInvalid(f"{name} is no {picture.type}")
