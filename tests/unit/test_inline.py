# SPDX-License-Identifier: AGPL-3.0-or-later
"""A file is shown where its octets are what its name says, and where showing it costs no more than a picture may."""

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tmtp_client import limits
from tmtp_client.api.inline import INLINE, PICTURES, head_bytes, why_not

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


def picture(media: str, width: int = 31, height: int = 17, **options: object) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(made, FORMATS[media], **options)
    return made.getvalue()


def sound() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8_000)
        out.writeframes(bytes(80))
    return made.getvalue()


REAL = {
    **{media: picture(media) for media in FORMATS},
    "audio/wav": sound(),
    "audio/flac": b"fLaC\0\0\0\x22",
    "audio/ogg": b"OggS\0\2",
    "audio/mpeg": b"ID3\4\0\0\0\0\0\0",
    "audio/mp4": b"\0\0\0\x1cftypM4A \0\0\2\0",
    "video/mp4": b"\0\0\0\x18ftypisom\0\0\2\0",
    "video/webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01",
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "text/plain": "Grüße, 你好\r\n\x0c".encode(),
    "text/csv": b"a;b\n1;2\n",
}
HOSTILE = [
    b"<svg xmlns='http://www.w3.org/2000/svg' onload=x />",
    b"<!doctype html><script>x</script>",
    b"MZ\x90\0\3",
    b"",
]


def test_each_type_that_is_shown_has_an_example_here() -> None:
    assert set(REAL) == INLINE
    assert set(FORMATS) == PICTURES


@pytest.mark.parametrize("media", sorted(INLINE))
def test_a_file_is_shown_as_what_it_is_and_as_nothing_else(media: str) -> None:
    assert why_not(media, len(REAL[media]), REAL[media]) is None
    texts = {"text/plain", "text/csv"}
    same = [{"audio/mp4", "video/mp4"}, texts]
    for other, octets in REAL.items():
        if other != media and not any({other, media} <= alike for alike in same) and not media.startswith("text/"):
            assert why_not(media, len(octets), octets), other
    if media not in texts:
        for octets in HOSTILE:
            assert why_not(media, len(octets), octets)


@pytest.mark.parametrize(
    "octets", [b"MZ\x90\0\3", "text".encode("utf-16"), REAL["image/png"], REAL["audio/wav"], b"\x7fELF\2\1"]
)
def test_what_people_cannot_read_is_no_text(octets: bytes) -> None:
    why = why_not("text/plain", len(octets), octets)
    assert why is not None
    assert why.status == 415


@pytest.mark.parametrize(
    ("media", "options"),
    [
        ("image/png", {}),
        ("image/gif", {}),
        ("image/jpeg", {}),
        ("image/jpeg", {"progressive": True}),
        ("image/jpeg", {"exif": b"Exif\0\0" + bytes(60_000), "icc_profile": bytes(150_000)}),
        ("image/webp", {}),
        ("image/webp", {"lossless": True}),
        ("image/webp", {"exif": b"Exif\0\0" + bytes(100)}),
    ],
)
@pytest.mark.parametrize("sides", [(1, 1), (300, 7), (2_049, 1_025)])
def test_sides_are_read_as_a_browser_does(
    monkeypatch: pytest.MonkeyPatch, media: str, options: dict[str, object], sides: tuple[int, int]
) -> None:
    """One pixel fewer than it has, and it is too large."""
    octets = picture(media, *sides, **options)
    head = octets[: head_bytes(media)]
    monkeypatch.setattr(limits, "PICTURE_SHOWN_MAX_PIXELS", sides[0] * sides[1])
    assert why_not(media, len(octets), head) is None
    monkeypatch.setattr(limits, "PICTURE_SHOWN_MAX_PIXELS", sides[0] * sides[1] - 1)
    why = why_not(media, len(octets), head)
    assert why is not None
    assert why.status == 413


def test_a_picture_that_unpacks_to_gigabytes_or_hides_how_large_it_is_is_not_shown() -> None:
    bomb = bytearray(picture("image/png"))
    bomb[16:24] = (60_000).to_bytes(4) * 2
    assert why_not("image/png", len(bomb), bytes(bomb)) is not None
    hidden = b"\xff\xd8\xff\xe1\xff\xff" + bytes(limits.SHOWN_HEAD_BYTES)
    assert why_not("image/jpeg", len(hidden), hidden[: limits.SHOWN_HEAD_BYTES]) is not None
    large = picture("image/png")
    assert why_not("image/png", limits.PICTURE_SHOWN_MAX_BYTES + 1, large) is not None


@given(media=st.sampled_from(sorted(INLINE)), octets=st.binary(max_size=200), cut=st.integers(0, 200))
def test_no_octets_are_too_odd(media: str, octets: bytes, cut: int) -> None:
    for head in (octets, (REAL[media][:cut] + octets)[: head_bytes(media)]):
        why = why_not(media, len(head), head)
        assert why is None or why.status in {413, 415}
