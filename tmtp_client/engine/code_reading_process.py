# SPDX-License-Identifier: AGPL-3.0-or-later
"""The process that reads QR codes: `python -m tmtp_client.engine.code_reading_process`. A picture on standard input,
JSON on standard output (`tmtp_client.engine.code_reading.Read`).

It gives up its rights before it looks at an octet. A photograph is made grey, and small; of several frames the first is
taken.
"""

import io
import sys
import warnings
from typing import Final

import msgspec
import zxingcpp
from PIL import Image, ImageOps, UnidentifiedImageError

from tmtp_client import limits

_QR: Final = zxingcpp.barcode_formats_from_str("QRCode")
_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
_LARGER: Final = (2, 3)  # a screenshot's modules may be a pixel or two wide: it is drawn larger, and looked at again


def main() -> None:
    """One picture."""
    _give_up_rights()
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = limits.CODE_PICTURE_MAX_PIXELS
    try:
        answer: dict[str, object] = {"codes": _codes(sys.stdin.buffer.read(limits.CODE_PICTURE_MAX_BYTES))}
    except UnidentifiedImageError:
        answer = {"wrong": "kind"}
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        answer = {"wrong": "pixels"}
    except MemoryError:
        answer = {"wrong": "memory"}
    except (OSError, ValueError, SyntaxError, RuntimeError):  # what Pillow and the reader raise for broken files
        answer = {"wrong": "broken"}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


def _codes(octets: bytes) -> list[str]:
    """What the QR codes say, each once, in the order in which they were found."""
    picture = _grey(octets)
    found = _read(picture)
    for times in _LARGER:
        width, height = picture.width * times, picture.height * times
        if not found and max(width, height) <= 2 * limits.CODE_PICTURE_EDGE_PIXELS:
            found = _read(picture.resize((width, height), Image.Resampling.BICUBIC))
    return found


def _read(picture: Image.Image) -> list[str]:
    read = zxingcpp.read_barcodes(picture, formats=_QR, text_mode=zxingcpp.TextMode.Plain)
    texts = dict.fromkeys(one.text[: limits.CODE_TEXT_MAX_CHARACTERS] for one in read)
    return list(texts)[: limits.CODES_MAX]


def _grey(octets: bytes) -> Image.Image:
    """The first frame, the right way up; what is transparent is white, as on the page that it was made for."""
    picture = Image.open(io.BytesIO(octets), formats=_FORMATS)
    edge = limits.CODE_PICTURE_EDGE_PIXELS
    picture.draft("L", (edge, edge))  # a JPEG is read small at once
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    grey = upright.convert("L")
    grey.thumbnail((edge, edge))
    return grey


def _give_up_rights() -> None:
    """No file, no process, no more memory and time than this, where the system knows such limits."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    bounds = {
        resource.RLIMIT_AS: limits.CODE_MEMORY_MAX_BYTES,
        resource.RLIMIT_CPU: limits.CODE_CPU_S,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


if __name__ == "__main__":
    main()
