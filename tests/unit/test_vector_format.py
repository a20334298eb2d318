# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wire vectors name every part of the wire's description, and their reader knows what it reads."""

import re
from pathlib import Path

import google_crc32c
import pytest

from tests.vectors.reference import canonical_header, head_sum
from tests.vectors.runner import read_vectors

_FOLDER = Path(__file__).parent.parent / "vectors" / "wire"

# Parts that a client can observe, by section and sentence; what each says stands in the vectors' headings.
PARTS = [
    *(f"1.{n}" for n in range(1, 10)),
    "2",
    *(f"3.{n}" for n in range(1, 11)),
    *(f"4.{n}" for n in range(1, 8)),
    "5",
    "6",
    "7",
    *(f"8.{n}" for n in range(1, 8)),
    "9",
    "10",
]
SUBJECTS_OF_6 = [
    "UserEdit newalias",
    "UserEdit newnode",
    "OhiEdit",
    "Ping",
    "Ping data",
    "GroupInvite",
    "GroupInvite data",
    "GroupEdit join",
    "GroupEdit alias",
    "GroupEdit drop",
    "member messages",
    "Post",
    "PostNotify",
]


def headings() -> list[str]:
    return [vector.proves for file in sorted(_FOLDER.glob("*.vec")) for vector in read_vectors(file)]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_vector(part: str) -> None:
    assert any(re.search(rf"§{re.escape(part)}(?![\d.])", heading) for heading in headings())


@pytest.mark.parametrize("subject", SUBJECTS_OF_6)
def test_every_request_has_a_vector(subject: str) -> None:
    assert any(re.search(rf"§6 {subject}(?! data)", heading) for heading in headings())


def test_there_are_many() -> None:
    assert len(headings()) >= 230


def test_a_vector_must_say_what_it_proves(tmp_path: Path) -> None:
    file = tmp_path / "x.vec"
    file.write_text("== lonely\nalice connect\n", "utf-8")
    with pytest.raises(ValueError, match=r"x\.vec:1: a vector names what it proves"):
        list(read_vectors(file))
    file.write_text("alice connect\n", "utf-8")
    with pytest.raises(ValueError, match=r"x\.vec:1: a line before the first vector"):
        list(read_vectors(file))


def test_the_reference_writes_as_the_existing_server_does() -> None:
    head = {"op": "ack", "id": "<&>\u2028\b\f\n", "error": "é"}
    assert (
        canonical_header(head)
        == b'{"error":"\xc3\xa9","id":"\\u003c\\u0026\\u003e\\u2028\\u0008\\u000c\\n","op":"ack"}'
    )
    framed = b'0022{"headsum":1,"id":"0","op":"login"}'
    assert head_sum(framed) == head_sum(framed.replace(b"1,", b"2,"))


def test_crc32c_by_its_published_check_value() -> None:
    """CRC-32C of "123456789" is e3069283 (RFC 3720 appendix B.4 uses the same polynomial)."""
    assert google_crc32c.value(b"123456789") == 0xE3069283
