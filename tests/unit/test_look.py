# SPDX-License-Identifier: AGPL-3.0-or-later
"""A service's look (B2, B6): only what is on the list, readable, with pictures that are made anew."""

import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway import pictures
from gateway.pictures import PictureRefused, made_anew
from tmtp_core import limits
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire.look import (
    CONTRAST_MIN,
    Look,
    LookInvalid,
    Palette,
    Picture,
    contrast,
    encode_look,
    parse_look,
    picture_type,
    weak_pairs,
)

LIGHT = Palette("#f6f7f9", "#ffffff", "#1c1e21", "#5b6470", "#0b57d0", "#ffffff")
DARK = Palette("#131417", "#1d1f24", "#e8eaed", "#a3abb6", "#8ab4f8", "#0c1b33")
LOOK = Look(LIGHT, DARK, font="serif", corners="round")
COLOURS = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")


def png(size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(out, "PNG")
    return out.getvalue()


# -- what a look may say ---------------------------------------------------------------------------------------------
def test_a_look_comes_back_as_it_was() -> None:
    look = msgspec.structs.replace(LOOK, logo=Picture("image/png", to_text(png())))
    assert parse_look(encode_look(look)) == look


def test_a_client_leaves_alone_what_it_does_not_know() -> None:
    data = msgspec.json.decode(encode_look(LOOK))
    data["style"] = "body { background: url(https://tracker.example/) }"
    data["light"]["glow"] = "#ffffff"
    assert parse_look(msgspec.json.encode(data)) == LOOK


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("font", "Comic Sans, url(https://tracker.example/font.woff)"),
        ("corners", "50%"),
        ("version", 2),
        ("light", {**msgspec.structs.asdict(LIGHT), "text": "red"}),
        ("light", {**msgspec.structs.asdict(LIGHT), "text": "#1c1e21; background: url(x)"}),
        ("light", {**msgspec.structs.asdict(LIGHT), "text": "#1C1E21\n"}),
        ("dark", {**msgspec.structs.asdict(DARK), "muted": "#333333"}),
        ("logo", {"type": "image/svg+xml", "data": to_text(b"<svg onload='alert(1)'/>")}),
        ("logo", {"type": "image/png", "data": to_text(b"<svg onload='alert(1)'/>")}),
        ("logo", {"type": "image/jpeg", "data": to_text(png())}),
        ("logo", {"type": "image/png", "data": "https://tracker.example/logo.png"}),
        (
            "backdrop",
            {"type": "image/png", "data": to_text(b"\x89PNG\r\n\x1a\n" + bytes(limits.LOOK_PICTURE_MAX_BYTES))},
        ),
    ],
)
def test_a_client_takes_nothing_else(field: str, value: object) -> None:
    data = msgspec.json.decode(encode_look(LOOK)) | {field: value}
    with pytest.raises(LookInvalid):
        parse_look(msgspec.json.encode(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_look_or_are_refused(data: bytes) -> None:
    with pytest.raises(LookInvalid):
        parse_look(data)


def test_a_look_is_bounded() -> None:
    with pytest.raises(LookInvalid, match="at most"):
        parse_look(b" " * (limits.LOOK_MAX_BYTES + 1))


# -- contrast --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),  # famous for just failing
        ("#767676", "#ffffff", 4.54),  # and for just passing
        ("#ff0000", "#ffffff", 4.00),
        ("#123456", "#123456", 1.0),
    ],
)
def test_contrast_is_the_one_of_wcag(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == contrast(other, one) == pytest.approx(expected, abs=0.005)


@given(COLOURS, COLOURS, COLOURS)
def test_the_mend_that_is_named_mends(text: str, surface: str, accent: str) -> None:
    palette = Palette(surface, surface, text, text, accent, accent)
    for weak in weak_pairs(palette):
        assert weak.contrast < CONTRAST_MIN
        assert contrast(weak.better, getattr(palette, weak.lower)) >= CONTRAST_MIN


# -- pictures --------------------------------------------------------------------------------------------------------
def written(tmp_path: Path, octets: bytes) -> Path:
    path = tmp_path / "picture"
    path.write_bytes(octets)
    return path


def test_sixteen_bits_of_grey_stay_what_they_are(tmp_path: Path) -> None:
    grey = Image.new("I;16", (64, 64), 0x8000)
    out = io.BytesIO()
    grey.save(out, "PNG")
    for purpose in ("logo", "backdrop"):
        octets = made_anew(written(tmp_path, out.getvalue()), purpose)  # type: ignore[arg-type]
        with Image.open(io.BytesIO(octets)) as made:
            assert made.convert("L").getpixel((32, 32)) == pytest.approx(0x80, abs=2)


def test_what_cannot_be_seen_is_not_passed_on(tmp_path: Path) -> None:
    """Colours under full transparency could carry anything."""
    source = Image.new("RGBA", (16, 16), (200, 100, 50, 0))
    source.putpixel((3, 3), (1, 2, 3, 255))
    out = io.BytesIO()
    source.save(out, "PNG")
    with Image.open(io.BytesIO(made_anew(written(tmp_path, out.getvalue()), "logo"))) as made:
        assert made.getpixel((0, 0)) == (0, 0, 0, 0)
        assert made.getpixel((3, 3)) == (1, 2, 3, 255)


def test_no_code_of_the_present_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text("import os\nos._exit(7)\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert picture_type(made_anew(written(tmp_path, png()), "logo")) == "image/png"


def test_a_logo_is_made_anew(tmp_path: Path) -> None:
    """Small, transparent where it was, and with nothing of the file but its pixels."""
    source = Image.new("RGBA", (2000, 1000), (10, 200, 30, 128))
    out = io.BytesIO()
    source.save(out, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0", xmp=b"<x>canary</x>")
    octets = made_anew(written(tmp_path, out.getvalue() + b"canary appended"), "logo")
    assert b"canary" not in octets
    assert picture_type(octets) == "image/png"
    with Image.open(io.BytesIO(octets)) as logo:
        assert logo.size == (512, 256)
        assert logo.mode == "RGBA"
        assert not logo.info


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_the_worst_backdrop_fits(tmp_path: Path, mode: str) -> None:
    octets = made_anew(written(tmp_path, png((2100, 1400), mode)), "backdrop")  # noise, which nothing compresses
    assert picture_type(octets) == "image/jpeg"
    assert len(octets) <= limits.LOOK_PICTURE_MAX_BYTES


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG or WebP"),
        (b"GIF89a" + bytes(100), "no PNG, JPEG or WebP"),
        (png()[:60], "broken"),
        (b"x" * (limits.PICTURE_FILE_MAX_BYTES + 1), "larger than 16 MiB"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, octets: bytes, why: str) -> None:
    with pytest.raises(PictureRefused, match=why) as refused:
        made_anew(written(tmp_path, octets), "logo")
    assert refused.value.purpose == "logo"


def test_a_machine_that_has_no_time_is_not_laid_to_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_PATIENCE_S", 0.0)
    with pytest.raises(PictureRefused, match="this machine has too much else to do; try again"):
        made_anew(written(tmp_path, png()), "logo")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    """Few bytes that say they are 900 million pixels."""
    out = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(out, "PNG")
    with pytest.raises(PictureRefused, match="million pixels"):
        made_anew(written(tmp_path, out.getvalue()), "backdrop")
