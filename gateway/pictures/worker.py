# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker process: `python -m gateway.pictures.worker logo|backdrop`. A picture in, the same picture made anew out.

Nothing of the file's own bytes survives but its colours: no metadata, no second frame, nothing appended. It runs with
bounds on memory and time, since decoders of pictures are where hostile files strike. Exit code 1, and why on standard
error, for what it will not take.
"""

import io
import resource
import sys
import warnings
from typing import Final, NoReturn

from PIL import Image, ImageOps, UnidentifiedImageError

from tmtp_core import limits

_MEMORY_BYTES: Final = 768 << 20
_CPU_S: Final = 10
_PIXELS_MAX: Final = 40_000_000
_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_LOGO_EDGE_MAX: Final = 512
_BACKDROP_EDGE_MAX: Final = 1920
_QUALITIES: Final = (85, 75, 65, 50, 35)
_SHRINK: Final = 0.75


def main() -> None:
    """Standard input to standard output."""
    for kind, bound in ((resource.RLIMIT_AS, _MEMORY_BYTES), (resource.RLIMIT_CPU, _CPU_S), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (bound, bound))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nothing is written but the answer
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = _PIXELS_MAX
    octets = sys.stdin.buffer.read(limits.PICTURE_FILE_MAX_BYTES + 1)
    if len(octets) > limits.PICTURE_FILE_MAX_BYTES:
        _refuse(f"it is larger than {limits.PICTURE_FILE_MAX_BYTES >> 20} MiB")
    try:
        picture = _opened(octets)
        made = _as_png(picture) if sys.argv[1] == "logo" else _as_jpeg(picture)
    except UnidentifiedImageError:
        _refuse("it is no PNG, JPEG or WebP picture")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        _refuse(f"it has more than {_PIXELS_MAX // 1_000_000} million pixels")
    except MemoryError:
        _refuse("it takes more memory to read than a picture may")
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken files
        _refuse(f"it is broken: {error}")
    sys.stdout.buffer.write(made)


def _opened(octets: bytes) -> Image.Image:
    """The first frame, the right way up, in plain colours."""
    picture = Image.open(io.BytesIO(octets), formats=_FORMATS)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits of grey, of which Pillow would keep the low ones
        upright = upright.convert("I").point(lambda value: value / 256).convert("L")
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    colours = upright.convert("RGBA")
    nothing = Image.new("RGBA", colours.size)  # what cannot be seen is not passed on either
    return Image.composite(colours, nothing, colours.getchannel("A").point(lambda alpha: 255 if alpha else 0))


def _as_png(picture: Image.Image) -> bytes:
    """A logo: small, and transparent where it was."""
    edge = _LOGO_EDGE_MAX
    while True:
        picture.thumbnail((edge, edge))
        made = _saved(picture, "PNG", optimize=True)
        if len(made) <= limits.LOOK_PICTURE_MAX_BYTES:
            return made
        edge = int(edge * _SHRINK)


def _as_jpeg(picture: Image.Image) -> bytes:
    """A backdrop: as good as fits. What was transparent becomes white."""
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    edge = _BACKDROP_EDGE_MAX
    while True:
        picture.thumbnail((edge, edge))
        for quality in _QUALITIES:
            made = _saved(picture, "JPEG", quality=quality, optimize=True, progressive=True)
            if len(made) <= limits.LOOK_PICTURE_MAX_BYTES:
                return made
        edge = int(edge * _SHRINK)


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    """Without metadata: only what a fresh picture of these pixels has."""
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    out = io.BytesIO()
    bare.save(out, form, **options)
    return out.getvalue()


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(why)
    sys.exit(1)


if __name__ == "__main__":
    main()
