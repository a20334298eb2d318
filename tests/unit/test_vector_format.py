# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wire vectors name every part of the wire's description, and their reader knows what it reads."""

import json
import re
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from tests.vectors.reference import canonical_header, head_sum
from tests.vectors.runner import Frame, VectorFailed, VectorLink, check_form, read_vectors

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


ANSWER = b'0015{"id":"1","op":"ack"}'
PING_HEAD = {
    "alias": "Alice Liddell",
    "datalen": 5,
    "from": "%+12345678%+12345678%+12345678%+",
    "headsum": 0,
    "id": "18d75b8423f30000",
    "op": "ping",
    "posted": "2026-09-21T14:13:20.000Z",
    "to": "Bob Builder",
}


def framed(**changed: Any) -> bytes:
    """A ping's framed header, right in all that `changed` does not spoil."""
    head = PING_HEAD | changed
    raw = canonical_header(head)
    head["headsum"] = head_sum(b"%04x%b" % (len(raw), raw))
    raw = canonical_header(head)
    return b"%04x%b" % (len(raw), raw)


class Records:
    """Stands for a `RecordLink`: the plaintext of these records, one after the other."""

    def __init__(self, *records: bytes) -> None:
        self._records = list(records)

    async def read(self) -> bytes | None:
        return self._records.pop(0) if self._records else None


def link_that_reads(*records: bytes) -> VectorLink:
    link = VectorLink("a", byte_by_byte=False)
    link._records = Records(*records)  # type: ignore[assignment]
    return link


@pytest.mark.parametrize(
    ("records", "count"),
    [
        ([framed() + b"hello"], 1),
        ([framed() + b"he", b"llo"], 2),
        ([framed(), b"hello"], 2),
        ([framed()[:4], framed()[4:] + b"hello"], 2),
        ([ANSWER + framed(), b"hello"], 2),
        ([framed(), b"hel", b"lo"], 3),
    ],
    ids=["one", "data cut", "head apart", "digits apart", "behind another", "three"],
)
async def test_a_frame_knows_its_records(records: list[bytes], count: int) -> None:
    link = link_that_reads(*records)
    frame = await link.read()
    while frame is not None and frame.head["op"] != "ping":
        frame = await link.read()
    assert frame is not None
    assert (frame.data, frame.records) == (b"hello", count)
    assert await link.read() is None


@pytest.mark.parametrize("cut", [1, 4, 20, len(framed()), len(framed()) + 4])
async def test_a_frame_cut_short_is_a_failure(cut: int) -> None:
    with pytest.raises(VectorFailed, match="in the middle of a frame"):
        await link_that_reads((framed() + b"hello")[:cut]).read()


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (framed().upper()[:4] + framed()[4:], "not lower case"),
        (framed().replace(b":5,", b": 5,", 1), "lower case|compact"),
        (framed(id="18D75B8423F30000"), "16 lower-case hex"),
        (framed(id="18d75b8423f3000"), "16 lower-case hex"),
        (framed(posted="2026-09-21T14:13:20Z"), "posted has not the form"),
        (framed(**{"from": "A" * 32}), "from has not the form"),
        (framed().replace(b'"headsum":', b'"headsum":1', 1), "lower case|headsum"),
    ],
)
def test_what_is_checked_for_every_frame(raw: bytes, wrong: str) -> None:
    with pytest.raises(VectorFailed, match=wrong):
        check_form(Frame(json.loads(raw[4:]), raw, b"hello", 1))


def test_a_right_frame_passes_in_one_record_only() -> None:
    check_form(Frame(json.loads(framed()[4:]), framed(), b"hello", 1))
    with pytest.raises(VectorFailed, match="came in 2 TLS records"):
        check_form(Frame(json.loads(framed()[4:]), framed(), b"hello", 2))
