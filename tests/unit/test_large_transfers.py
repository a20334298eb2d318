# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files that come in parts: bounded, their author's alone, and ended when nothing comes any more (D3)."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, func, select

from tests.support.account_context import memory_engine
from tmtp_client import limits
from tmtp_client.store import messages, transfers
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.store.tables import part
from tmtp_core.wire.payload import Part, Transfer

ADA, BOB = "1" * 32, "2" * 32
WHOLE = Transfer("film", 25, "hash", 3)  # parts of 9, 9 and 7 octets


@pytest.fixture
def c() -> Iterator[Connection]:
    engine = memory_engine()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def come(c: Connection, place: int, size: int, author: str = ADA, now_ms: int = 0, *, own: bool = False) -> bool:
    return transfers.arrived(c, author, own, Part("film", place, 25, 3), f"{author[0]}-{place}", size, now_ms)


def named(c: Connection, author: str = ADA) -> None:
    have = transfers.named(c, author, WHOLE, 0)
    file = NewAttachment("file", "film.mkv", "", 25, "", have, transfers.key(author, "film"))
    new = NewMessage(
        "m1",
        "message",
        False,
        author,
        "Ada",
        True,
        (),
        "",
        "",
        "Look",
        "2026",
        0,
        "partial",
        False,
        attachments=(file,),
    )
    assert messages.record(c, new, frozenset())


def test_a_file_is_whole_when_all_parts_and_the_message_are_here_in_any_order(c: Connection) -> None:
    assert come(c, 2, 7)
    named(c)
    assert come(c, 0, 9)
    assert transfers.progress(c, f"{ADA} film") == (transfers.Progress("m1", 0, 16, 25),)
    assert transfers.whole(c) == ()
    assert come(c, 1, 9)
    assert transfers.whole(c) == (transfers.Whole(f"{ADA} film", 25, "hash", ("1-0", "1-1", "1-2")),)
    transfers.put_together(c, f"{ADA} film", "whole")
    view = messages.view(c, "m1")
    assert view is not None
    assert (view.state, view.attachments[0].have) == ("received", 25)
    assert c.scalar(select(func.count()).select_from(part)) == 0


def test_a_part_that_is_told_again_or_is_no_part_is_not_kept(c: Connection) -> None:
    assert come(c, 0, 9)
    assert not come(c, 0, 9)
    assert not come(c, 1, 8)
    assert not come(c, 2, 9)
    assert not come(c, 3, 0)
    assert not transfers.arrived(c, ADA, False, Part("film", 1, 26, 3), "f", 9, 0)
    assert not transfers.arrived(c, ADA, False, Part("x" * 200, 0, 25, 3), "f", 9, 0)


def test_nobody_puts_a_part_into_anothers_file(c: Connection) -> None:
    for place, size in ((0, 9), (1, 9), (2, 7)):
        assert come(c, place, size, BOB)
    named(c, ADA)
    assert transfers.whole(c) == ()


def test_one_author_may_have_so_much_unfinished_and_no_more(c: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNFINISHED_MAX_BYTES", 20)
    assert come(c, 0, 9)
    assert come(c, 1, 9)
    assert not come(c, 2, 7)
    assert come(c, 0, 9, BOB)
    monkeypatch.setattr(limits, "UNFINISHED_OF_ALL_MAX_BYTES", 30)
    assert not come(c, 1, 9, BOB)
    assert come(c, 2, 7, own=True)


def test_what_does_not_come_for_days_is_given_up_and_the_message_says_so(c: Connection) -> None:
    assert come(c, 0, 9, now_ms=1_000)
    named(c)
    assert transfers.expire(c, 1_000) == 0
    assert transfers.expire(c, 1_001) == 1
    view = messages.view(c, "m1")
    assert view is not None
    assert (view.state, view.attachments[0].have) == ("partial", 0)
    assert c.scalar(select(func.count()).select_from(part)) == 0
