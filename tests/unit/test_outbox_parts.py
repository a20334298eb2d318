# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large files that go ahead of their message, when something stops them: nothing is lost, and nobody left to guess."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import Connection, insert

from tests.support.account_context import Clock, bare_context, memory_engine
from tmtp_client import limits
from tmtp_client.engine import parts
from tmtp_client.store import outbox
from tmtp_client.store.outbox import Content, Entry, File
from tmtp_client.store.tables import log_record
from tmtp_client.sync import state
from tmtp_core.wire.payload import Transfer

BOB = "2" * 32
SIZE, PARTS = 20, 3
FILE = File("film.mkv", "file", "f1", SIZE, b"h" * 32, transfer=Transfer("t", SIZE, "hash", PARTS))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def c() -> Iterator[Connection]:
    engine = memory_engine()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def begun(c: Connection, clock: Clock) -> tuple[str, Any]:
    """A message whose file goes ahead, and the chance of its device."""
    random_bytes = bare_context(clock).random_bytes
    whole = Content(to=((BOB, 1),), thread="thread-a", text="Look", files=(FILE,))
    name = outbox.enqueue(c, "message", whole, 0, clock(), random_bytes)
    outbox.go_in_parts(c, outbox.must_find(c, name), (FILE,), clock(), random_bytes)
    return name, random_bytes


def due(c: Connection, clock: Clock) -> Entry:
    entry = outbox.next_due(c, clock()).entry
    assert entry is not None
    return entry


def shown(c: Connection, name: str) -> tuple[str, str]:
    view = outbox.view(c, name)
    assert view is not None
    return view.state, view.error


def test_a_message_whose_part_was_refused_goes_on_with_that_part(c: Connection, clock: Clock) -> None:
    name, random_bytes = begun(c, clock)
    outbox.part_sent(c, due(c, clock), clock(), random_bytes)
    outbox.refused(c, due(c, clock).request_id, "not acquainted")
    outbox.act(c, name, "retry", clock(), random_bytes)
    for place in (1, 2):
        part = due(c, clock).content.part
        assert part is not None, "the message would leave, and name a file that is not there"
        assert part.place == place
        outbox.part_sent(c, due(c, clock), clock(), random_bytes)
    assert due(c, clock).request_id == name


def test_a_message_that_is_held_by_its_part_says_so(c: Connection, clock: Clock) -> None:
    name, random_bytes = begun(c, clock)
    outbox.held(c, due(c, clock).request_id, "Bob has a new device.")
    assert shown(c, name) == ("held", "Bob has a new device.")
    outbox.release_held(c, clock())
    assert shown(c, name) == ("waiting", "")
    for place in range(PARTS):
        part = due(c, clock).content.part
        assert part is not None
        assert part.place == place
        outbox.part_sent(c, due(c, clock), clock(), random_bytes)
    assert due(c, clock).request_id == name


def test_a_message_that_is_held_by_its_part_can_be_tried_again(c: Connection, clock: Clock) -> None:
    name, random_bytes = begun(c, clock)
    outbox.held(c, due(c, clock).request_id, "Bob has a new device.")
    outbox.act(c, name, "retry", clock(), random_bytes)
    assert len(outbox.parts_of(c, outbox.must_find(c, name))) == 1
    assert due(c, clock).content.part is not None


def test_a_part_that_has_to_wait_says_why_beside_its_message(c: Connection, clock: Clock) -> None:
    name, _ = begun(c, clock)
    outbox.later(c, due(c, clock).request_id, clock() + 30_000, "quota: octets; try again later")
    assert shown(c, name) == ("waiting", "quota: octets; try again later")


@pytest.mark.parametrize("then", ["later", "refused", "sent"])
def test_a_part_on_its_way_when_its_message_is_dropped_stops_nobody(c: Connection, clock: Clock, then: str) -> None:
    name, random_bytes = begun(c, clock)
    part = due(c, clock)
    outbox.begin(c, part.request_id)
    outbox.act(c, name, "drop", clock(), random_bytes)
    if then == "later":
        outbox.later(c, part.request_id, clock() + 30_000, "quota")
    elif then == "refused":
        outbox.refused(c, part.request_id, "not acquainted")
    else:
        outbox.part_sent(c, part, clock(), random_bytes)
    assert outbox.next_due(c, clock() + 60_000) == outbox.Next()


def test_a_clock_that_is_set_back_does_not_make_refusals_come_without_a_pause(c: Connection, clock: Clock) -> None:
    random_bytes = bare_context(clock).random_bytes
    name = outbox.enqueue(c, "message", Content(to=((BOB, 1),), text="x"), 0, clock(), random_bytes)
    clock.now_ms -= 86_400_000
    outbox.later(c, name, clock() + 30_000, "quota: posts; try again later")
    assert outbox.next_due(c, clock()) == outbox.Next(None, clock() + 30_000)


@pytest.mark.parametrize(
    ("size", "message_max_bytes"),
    [
        ((limits.UNFINISHED_GIB << 30) + 1, 1 << 30),
        (limits.UNFINISHED_GIB * limits.UNFINISHED_PARTS_A_GIB * 1_000 + 1, limits.PART_OVERHEAD_BYTES + 1_000),
    ],
)
def test_a_file_of_which_a_recipient_would_not_keep_all_parts_is_refused_in_words(
    c: Connection, clock: Clock, size: int, message_max_bytes: int
) -> None:
    context = bare_context(clock)
    at = context.at()
    context.identity = cast(Any, SimpleNamespace(uid=context.identity.uid, revision=2))
    c.execute(insert(log_record).values(uid=BOB, place=0, record=b"", head=""))
    file = File("film.mkv", "file", "f1", size, b"h" * 32)
    whole = Content(to=((BOB, 1),), thread="thread-a", text="Look", files=(file,))
    name = outbox.enqueue(c, "message", whole, 0, clock(), context.random_bytes)
    with pytest.raises(parts.TooLarge, match=r"film.*large_files_gib"):
        parts.are_due(c, context, outbox.must_find(c, name), message_max_bytes, {})
    state.set_setting(c, at, "large_files_gib", 2 * limits.UNFINISHED_GIB)
    assert parts.are_due(c, context, outbox.must_find(c, name), message_max_bytes, {})
