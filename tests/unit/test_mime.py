# SPDX-License-Identifier: AGPL-3.0-or-later
"""Untrusted MIME (C2): understood or refused with a reason, within bounds, never a crash."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.mime import ParserPool, Unparsable
from bridges.mime.letter import Letter
from bridges.mime.parse import parse_mail

FROM = b"From: Orders <orders@partner.example>\r\n"


def parse(raw: bytes, tmp_path: Path) -> Letter:
    return parse_mail(raw, tmp_path)


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"From: a@b.example", "a@b.example"),
        (b"From: <a@b.example>", "a@b.example"),
        (b"From: Ann Example <a@b.example>", "a@b.example"),
        (b'From: "Ann, \\"the\\" Example" <a@b.example>', "a@b.example"),
        (b"From: =?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@b.example>", "a@b.example"),
        (b"From: a@b.example (Ann)", "a@b.example"),
        (b"FROM:\r\n Ann\r\n <a@b.example>", "a@b.example"),
        ("From: Grüße <a@b.example>".encode(), "a@b.example"),
    ],
)
def test_one_sender(header: bytes, sender: str, tmp_path: Path) -> None:
    assert parse(header + b"\r\n\r\nx", tmp_path).sender == sender


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: none",
        b"From: a@b.example\r\nFrom: a@b.example",
        b"From: a@b.example, c@d.example",
        b"From: a@b.example <c@d.example>",
        b"From: <a@b.example> <c@d.example>",
        b"From: a@b.example)<c@d.example>",
        b"From: group: a@b.example;",
        b"From: nobody",
        b"From: @b.example",
        b"From: <a@b@c.example>",
        b'From: "a@b.example" c@d.example',
        b"From: " + b"(" * 2_000 + b"a@b.example",
    ],
)
def test_no_sender_or_two_ways_to_read_one(header: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unparsable):
        parse(header + b"\r\n\r\nx", tmp_path)


def test_plain_is_preferred_and_attachments_keep_their_order(tmp_path: Path) -> None:
    raw = FROM + (
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n"
        b"--i\r\nContent-Type: text/plain\r\n\r\nplain\r\n--i\r\nContent-Type: text/html\r\n\r\n<p>rich</p>\r\n--i--\r\n"
        b"--o\r\nContent-Disposition: attachment; filename=one.txt\r\n\r\n1\r\n"
        b"--o\r\nContent-Disposition: attachment; filename=ONE.txt\r\n\r\n2\r\n"
        b"--o\r\nContent-Type: message/rfc822\r\n\r\nFrom: x@y.example\r\n\r\ninner\r\n--o--\r\n"
    )
    letter = parse(raw, tmp_path)
    assert letter.text == "plain"
    assert [one.name for one in letter.attachments] == ["one.txt", "ONE-2.txt", "message.eml"]
    assert Path(letter.attachments[0].path).read_bytes().strip() == b"1"
    assert b"inner" in Path(letter.attachments[2].path).read_bytes()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (b'filename="../../etc/passwd"', "passwd"),
        (b'filename="C:\\\\temp\\\\a.txt"', "a.txt"),
        (b"filename*=utf-8''Rechnung%20%C3%BC.pdf", "Rechnung ü.pdf"),
        (b'filename="=?utf-8?b?w7wucGRm?="', "ü.pdf"),
        (b'filename="  .. "', "attachment.txt"),
        (b'filename="evil\xe2\x80\xaetxt.exe"', "eviltxt.exe"),
    ],
)
def test_file_names_are_only_names(name: bytes, safe: str, tmp_path: Path) -> None:
    raw = FROM + b"Content-Type: text/plain\r\nContent-Disposition: attachment; " + name + b"\r\n\r\nx"
    assert parse(raw, tmp_path).attachments[0].name == safe


def test_unknown_charsets_and_broken_encodings_are_read_as_well_as_can_be(tmp_path: Path) -> None:
    raw = (
        FROM
        + b"Content-Type: text/plain; charset=x-unknown\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ=!\r\n"
    )
    assert parse(raw, tmp_path).text == "Grüße"


def test_too_many_parts_too_deep_too_long_a_header(tmp_path: Path) -> None:
    parts = b"--b\r\n\r\nx\r\n" * 1_100
    with pytest.raises(Unparsable, match="more than 1000 parts"):
        parse(FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n", tmp_path)
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(40))
    with pytest.raises(Unparsable, match="deeper than 20"):
        parse(FROM + nested + b"\r\nx", tmp_path)
    with pytest.raises(Unparsable, match="header is longer"):
        parse(FROM + b"X: " + b"x" * 70_000 + b"\r\n\r\nx", tmp_path)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"Content-Type: multipart/mixed; boundary=b\r\n", b"Subject: =?"])
)
def test_anything_is_a_letter_or_unparsable(tmp_path_factory: pytest.TempPathFactory, tail: bytes, head: bytes) -> None:
    folder = Path(tmp_path_factory.getbasetemp())
    try:
        parse(FROM + head + tail, folder)
    except Unparsable as unparsable:
        assert str(unparsable)


async def test_three_killers_cost_only_themselves(tmp_path: Path) -> None:
    """100,000 parts, a 1,000-deep nest, deeply nested comments: refused in bounded time, and the next mail is read."""
    nest = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(1_000))
    killers = [
        FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000,
        FROM + nest,
        b"From: a@b.example\r\nTo: " + b"(" * 30_000 + b"\r\n\r\nx",
        FROM + b"To: " + b"(" * 30_000 + b"\r\nContent-Type: " + b"(" * 20_000 + b"\r\n\r\nx",
    ]
    pool = ParserPool()
    path = tmp_path / "mail"
    try:
        for killer in killers[:2]:
            await asyncio.to_thread(path.write_bytes, killer)
            with pytest.raises(Unparsable):
                await pool.parse(path, tmp_path)
        for odd in killers[2:]:
            await asyncio.to_thread(path.write_bytes, odd)
            assert (await pool.parse(path, tmp_path)).sender
        await asyncio.to_thread(path.write_bytes, FROM + b"\r\nstill here")
        assert (await pool.parse(path, tmp_path)).text == "still here"
    finally:
        await pool.stop()
