# SPDX-License-Identifier: AGPL-3.0-or-later
"""One mail or a refusal, whatever stands for the end of data and however it is cut (C2, SMTP smuggling).

What is proved of all words over CR, LF, dot and a letter of up to 8 octets, in all their cuts, and how:

1. The line guard and the reader of a mail's octets are state machines. After every word in two chunks, wherever it is
   cut, each is in the very state that it is in after the whole word. So it is after any chunks: by induction the last
   chunk comes to a machine in the state that the octets before it make in one piece, and those two are two chunks.
2. So in one piece every word stands for all its cuts. There the guard passes exactly what is well-formed, and the
   reader ends the mail where RFC 5321 does.
3. What is left is how the session joins them to aiosmtpd: every word of up to `LENGTH` octets goes through all of it in
   one piece; shorter ones octet by octet, and in the same piece as DATA; what is known to smuggle, in all its cuts.
"""

import asyncio
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.smtp.line.data import MailData
from bridges.smtp.line.guard import LineGuard, LineViolation
from tests.support.smtp_session import BEGIN, END, SMUGGLED, WELL_FORMED, check, right, spoken

LENGTH = int(os.environ.get("TMTP_SESSION_WORDS", "6"))
LONGEST = 8
KNOWN_TO_SMUGGLE = [
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\n\n.\r\n",
    b"\r\r\n.\r\n",
    b"\r\n.\r\r\n",
    b"\r\n.\r\n",
]


def words(longest: int) -> Iterator[bytes]:
    """All of up to so many octets."""
    for length in range(1, longest + 1):
        for letters in itertools.product(b"\r\n.x", repeat=length):
            yield bytes(letters)


def guarded(*chunks: bytes) -> Any:
    """The whole state of a guard after these, or that it ended the session."""
    guard = LineGuard()
    try:
        for chunk in chunks:
            guard.check(chunk)
    except LineViolation:
        return None
    return vars(guard)


def read(*chunks: bytes, size_max: int = 100) -> Any:
    """The whole state of a reader after these, and what came after the end of the mail, None before that."""
    mail = MailData(size_max)
    following: bytes | None = None
    for chunk in chunks:
        following = mail.feed(chunk) if following is None else following + chunk
    return vars(mail), following


@pytest.mark.slow
def test_a_guard_is_in_one_state_after_a_word_however_it_is_cut() -> None:
    for word in words(LONGEST):
        whole = guarded(word)
        assert (whole is not None) == (WELL_FORMED.fullmatch(word.removesuffix(b"\r")) is not None), word
        for cut in range(1, len(word)):
            assert guarded(word[:cut], word[cut:]) == whole, (word, cut)


@pytest.mark.slow
def test_a_reader_is_in_one_state_after_a_word_however_it_is_cut() -> None:
    """Also of words that the guard does not let through."""
    for word in words(LONGEST):
        whole = read(word)
        state, following = whole
        end = END.search(word)
        assert (following is None) == (end is None), word
        if end is not None:
            assert following == word[end.end() :]
            assert state["content"] == re.sub(rb"(\A|(?<=\r\n))\.", b"", word[: end.start()]), word
        for cut in range(1, len(word)):
            assert read(word[:cut], word[cut:]) == whole, (word, cut)


@pytest.mark.parametrize("size_max", range(8))
def test_a_mail_that_is_too_long_ends_where_it_would_have(size_max: int) -> None:
    for word in words(6):
        _, wanted = read(word)
        content = right(word + b"\r\n.\r\n")
        for cut in range(len(word)):
            state, following = read(word[:cut], word[cut:], size_max=size_max)
            assert following == wanted, (word, cut)
            end = END.search(word)
            if end is not None:
                assert (state["content"] is None) == (end.start() > size_max), (word, cut)
    assert content is None or len(content) <= 8


async def through_a_session(chunks: list[bytes], data: bytes, **options: Any) -> None:
    taken, said = await spoken(chunks, **options)
    check(data, taken, said)


@pytest.mark.slow
async def test_every_word_goes_through_a_session_as_one_mail_or_none() -> None:
    for word in [b"", *words(LENGTH)]:
        data = b"x\r\n" + word + SMUGGLED
        await through_a_session([data], data)


@pytest.mark.slow
async def test_every_word_goes_through_a_session_octet_by_octet() -> None:
    for word in words(LENGTH - 1):
        data = b"x\r\n" + word + SMUGGLED
        edge = len(data) - len(SMUGGLED)
        await through_a_session([data[at : at + 1] for at in range(edge)] + [SMUGGLED], data)


@pytest.mark.slow
async def test_what_comes_in_one_piece_with_data_is_the_same_mail() -> None:
    """Nobody may say so much ahead (RFC 2920 §3.1), but what he says is not commands."""
    for word in words(LENGTH - 2):
        data = b"x\r\n" + word + SMUGGLED
        begin, _, _ = BEGIN.rpartition(b"DATA\r\n")
        taken, said = await spoken([b"DATA\r\n" + data], begin=begin)
        check(data, taken, said)


@pytest.mark.parametrize("end", KNOWN_TO_SMUGGLE)
async def test_the_known_ways_to_smuggle_in_all_their_cuts(end: bytes) -> None:
    data = b"Subject: x\r\n\r\ntext" + end + SMUGGLED
    before, after = data.index(end), data.index(end) + len(end)
    wanted = right(data)
    for cuts in itertools.product([False, True], repeat=len(end) + 1):
        edges = [0, *(before + at for at, cut in enumerate(cuts) if cut), len(data)]
        taken, said = await spoken([data[a:b] for a, b in itertools.pairwise(edges)])
        if end == b"\r\n.\r\n":
            check(data, taken, said)
        else:
            assert after
            assert wanted is None
            assert (taken, said[:9]) == ([], b"554 5.6.0"), cuts


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\x00"]), max_size=12),
    st.sets(st.integers(1, 20), max_size=8),
)
def test_whatever_stands_for_the_end_of_data(parts: list[bytes], cuts: set[int]) -> None:
    """Longer words, NUL among them."""
    data = b"x\r\n" + b"".join(parts) + SMUGGLED
    edges = [0, *(cut for cut in sorted(cuts) if cut < len(data)), len(data)]
    asyncio.run(through_a_session([data[a:b] for a, b in itertools.pairwise(edges)], data))
