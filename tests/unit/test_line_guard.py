# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line guard (C2): nothing but CR LF ends a line, whatever the cuts (SMTP smuggling)."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges import limits
from bridges.smtp.line.guard import LineGuard, LineViolation

_WELL_FORMED = re.compile(rb"(?:[^\r\n\x00]|\r\n)*\r?")


def passes(chunks: list[bytes]) -> bool:
    guard = LineGuard()
    try:
        for chunk in chunks:
            guard.check(chunk)
    except LineViolation as violation:
        assert violation.reply[:1] == "5"
        return False
    return True


def test_every_short_stream_and_every_cut() -> None:
    for length in range(1, 7):
        for letters in itertools.product(b"\r\n.a", repeat=length):
            stream = bytes(letters)
            right = _WELL_FORMED.fullmatch(stream) is not None
            for cut in range(length):
                assert passes([stream[:cut], stream[cut:]] if cut else [stream]) == right, (stream, cut)


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"text", b"\x00"]), max_size=8), st.data())
def test_cuts_mean_nothing(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert passes([piece for piece in pieces if piece]) == (_WELL_FORMED.fullmatch(stream) is not None)


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\r\n\x00.\r\n"])
def test_smuggled_ends_of_data(end: bytes) -> None:
    assert not passes([b"Subject: x\r\n\r\ntext" + end + b"MAIL FROM:<evil@x.example>\r\n"])


def test_long_lines_end_the_session_before_they_are_buffered() -> None:
    assert passes([b"x" * limits.DATA_LINE_MAX_BYTES, b"\r\n"][:1])
    assert not passes([b"x" * 1_000] * (limits.DATA_LINE_MAX_BYTES // 1_000 + 1))
