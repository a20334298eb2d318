# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the settings of an instance's skin to the bytes that clients get, signed by the service (B2)."""

from pathlib import Path

from gateway.pictures import Purpose, made_anew
from gateway.settings import Skin
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire.look import Look, Picture, encode_look, picture_type


def encoded(skin: Skin | None) -> bytes:
    """The look that these settings describe; nothing for None. Blocks while pictures are made anew.

    Raises `PictureRefused`.
    """
    if skin is None:
        return b""
    pictures = {purpose: _picture(path, purpose) for purpose, path in skin.pictures()}
    look = Look(
        light=skin.light.palette,
        dark=skin.dark.palette,
        font=skin.font,
        headings=skin.headings,
        spacing=skin.spacing,
        corners=skin.corners,
        logo=pictures.get("logo"),
        backdrop=pictures.get("backdrop"),
    )
    return encode_look(look)


def _picture(path: Path, purpose: Purpose) -> Picture:
    octets = made_anew(path, purpose)
    kind = picture_type(octets)
    assert kind is not None
    return Picture(kind, to_text(octets))
