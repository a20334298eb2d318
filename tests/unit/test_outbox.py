# SPDX-License-Identifier: AGPL-3.0-or-later
"""The outbox under any commands, and a death between any two steps: nothing lost, nothing twice, order kept (B3)."""

from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Connection, select

from tests.support.account_context import Clock, bare_context, memory_engine
from tmtp_client import limits
from tmtp_client.engine.sending import Job, Sending
from tmtp_client.store import changes, outbox
from tmtp_client.store.outbox import Content, File
from tmtp_client.store.tables import message
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Transfer

LANES = ("thread-a", "thread-b")


def content(number: int, lane: str = "thread-a") -> Content:
    return Content(to=(("2" * 32, 1),), names=("Bob Builder",), thread=lane, text=f"message {number}")


class Service:
    """What a service does with requests: it stores each id once, and says the same again."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[str, str]] = {}  # request id -> msgid, text; in the order of their coming

    def take(self, job: Job) -> m.Acked:
        name = job.entry.request_id
        said = job.body.text.decode()
        if name not in self.stored:
            self.stored[name] = (f"{len(self.stored) + 1:016x}", said)
        msgid, text = self.stored[name]
        assert text == said, "another message under the same id"
        return m.Acked(name, msgid, "2026-11-26T12:00:00.000Z")


class OutboxMachine(RuleBasedStateMachine):
    """A person, a sender that may die between any two of its transactions, and a service."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = memory_engine()
        self.clock = Clock()
        self.context = bare_context(self.clock)
        self.sending = Sending(self.context)
        self.service = Service()
        self.job: Job | None = None
        self.acked: m.Acked | None = None
        self.written: list[tuple[str, str, str]] = []  # request id, lane, text
        self.taken_back: set[str] = set()
        self.out_of_order: set[str] = set()  # scheduled, held, refused, or sent now by the person

    def teardown(self) -> None:
        self.engine.dispose()

    # -- the person --------------------------------------------------------------------------------------------------
    @rule(letters=st.lists(st.tuples(st.sampled_from(LANES), st.sampled_from((0, 10)), st.booleans()), max_size=5))
    def write(self, letters: list[tuple[str, int, bool]]) -> None:
        """Each with how long it can be undone, or is scheduled for."""
        now_ms = self.clock()
        for lane, delay_s, scheduled in letters:
            one = content(len(self.written), lane)
            due_ms = now_ms + 1000 * delay_s
            with self.engine.begin() as c:
                name = outbox.enqueue(c, "message", one, due_ms, now_ms, self.context.random_bytes, scheduled=scheduled)
            if scheduled and delay_s:
                self.out_of_order.add(name)
            self.written.append((name, lane, one.text))

    @precondition(lambda self: self.written)
    @rule(which=st.integers(0, 1_000), act=st.sampled_from(("undo", "drop", "now", "retry")))
    def act(self, which: int, act: Literal["undo", "now", "retry", "drop"]) -> None:
        name = self.written[which % len(self.written)][0]
        with suppress(KeyError, outbox.Conflict), self.engine.begin() as c:
            outbox.act(c, name, act, self.clock(), self.context.random_bytes)
            if act in {"undo", "drop"}:
                self.taken_back.add(name)
            else:
                self.out_of_order.add(name)

    @rule(by_s=st.sampled_from((1, 10, 60)))
    def wait(self, by_s: int) -> None:
        self.clock.now_ms += 1000 * by_s

    # -- the sender --------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.job is None)
    @rule()
    def begin(self) -> None:
        with self.engine.begin() as c:
            self.job = self.sending._begin(c, {})

    @precondition(lambda self: self.job is not None and self.acked is None)
    @rule()
    def say(self) -> None:
        assert self.job is not None
        self.acked = self.service.take(self.job)

    @precondition(lambda self: self.acked is not None)
    @rule()
    def note(self) -> None:
        assert self.job is not None
        assert self.acked is not None
        with self.engine.begin() as c:
            self.job = self.sending._sent(c, self.job, self.acked)
        self.acked = None

    @precondition(lambda self: self.acked is None)
    @rule()
    def send_what_is_due(self) -> None:
        if self.job is None:
            self.begin()
        while self.job is not None:
            self.say()
            self.note()

    @precondition(lambda self: self.job is not None and self.acked is None)
    @rule(for_good=st.booleans())
    def refuse(self, for_good: bool) -> None:
        assert self.job is not None
        name = self.job.entry.request_id
        if name in self.service.stored:
            return  # it says the same again
        with self.engine.begin() as c:
            if for_good:
                self.sending._refused(c, self.job.entry, "not acquainted")
                self.out_of_order.add(name)
            else:
                outbox.later(c, name, self.clock() + 30_000, "quota: posts; try again later")
        self.job = None

    @rule()
    def die(self) -> None:
        """And come back: whatever was in memory is gone."""
        self.job = self.acked = None
        self.sending = Sending(self.context)

    # -- what holds --------------------------------------------------------------------------------------------------
    @invariant()
    def nothing_is_lost_and_nothing_is_twice(self) -> None:
        with self.engine.begin() as c:
            kept = {row.text: row.id for row in c.execute(select(message.c.text, message.c.id))}
            waiting = {one.request: one for one in outbox.waiting(c)}
        assert len(kept) == len(set(kept.values()))
        for name, _, text in self.written:
            places = (name in waiting, text in kept, name in self.taken_back)
            assert sum(places) == 1, (name, places)
            if text in kept:
                assert self.service.stored[name][0] == kept[text]
            assert name not in self.taken_back or name not in self.service.stored, "taken back, and sent all the same"

    @invariant()
    def order_is_kept(self) -> None:
        place = {name: at for at, (name, _, _) in enumerate(self.written)}
        for lane in LANES:
            mine = {name for name, of, _ in self.written if of == lane} - self.out_of_order
            sent = [place[name] for name in self.service.stored if name in mine]
            assert sent == sorted(sent)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=settings.default.max_examples // 6, stateful_step_count=30)


# -- what the machine does not reach ---------------------------------------------------------------------------------
@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def c():  # type: ignore[no-untyped-def]
    engine = memory_engine()
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def add(c: Connection, clock: Clock, number: int, delay_s: int = 0, lane: str = "thread-a") -> str:
    random_bytes = bare_context(clock, seed=number).random_bytes
    due_ms = clock() + 1000 * delay_s
    return outbox.enqueue(c, "message", content(number, lane), due_ms, clock(), random_bytes)


def test_a_message_that_can_be_undone_holds_back_what_follows_it_in_its_thread(c: Connection, clock: Clock) -> None:
    first = add(c, clock, 1, delay_s=10)
    add(c, clock, 2)
    other = add(c, clock, 3, lane="thread-b")
    due = outbox.next_due(c, clock())
    assert due.entry is not None
    assert due.entry.request_id == other
    outbox.ended(c, other, "m1")
    assert outbox.next_due(c, clock()) == outbox.Next(None, clock() + 10_000)
    clock.now_ms += 10_000
    due = outbox.next_due(c, clock())
    assert due.entry is not None
    assert due.entry.request_id == first


def test_a_clock_that_is_set_back_does_not_keep_a_message_for_a_year(c: Connection, clock: Clock) -> None:
    first = add(c, clock, 1, delay_s=10)
    clock.now_ms -= 365 * 86_400_000
    due = outbox.next_due(c, clock())
    assert due.at_ms is not None
    assert due.at_ms - clock() <= 10_000
    assert outbox.view(c, first) is not None


def test_what_is_being_sent_cannot_be_taken_back(c: Connection, clock: Clock) -> None:
    name = add(c, clock, 1)
    outbox.begin(c, name)
    for act in ("undo", "drop"):
        with pytest.raises(outbox.Conflict, match="may have it already"):
            outbox.act(c, name, act, clock(), bare_context(clock).random_bytes)  # type: ignore[arg-type]


def test_what_was_sealed_and_refused_is_tried_again_as_another_request(c: Connection, clock: Clock) -> None:
    name = add(c, clock, 1)
    outbox.begin(c, name, b"sealed for this request")
    outbox.refused(c, name, "not acquainted")
    outbox.act(c, name, "retry", clock(), bare_context(clock, seed=9).random_bytes)
    (again,) = outbox.waiting(c)
    assert (again.state, again.request != name) == ("waiting", True)
    entry = outbox.find(c, again.request)
    assert entry is not None
    assert entry.prepared == b""


def test_parts_go_ahead_one_by_one_and_nothing_passes_their_message(c: Connection, clock: Clock) -> None:
    size = 2 * 8 + 3
    file = File("film.mkv", "file", "f1", size, b"h" * 32, transfer=Transfer("t", size, "hash", 3))
    random_bytes = bare_context(clock).random_bytes
    whole = Content(to=(("2" * 32, 1),), names=("Bob",), thread="thread-a", text="Look", files=(file,))
    name = outbox.enqueue(c, "message", whole, 0, clock(), random_bytes)
    add(c, clock, 2)
    entry = outbox.find(c, name)
    assert entry is not None
    outbox.go_in_parts(c, entry, (file,), clock(), random_bytes)
    seen = []
    for _ in range(3):
        due = outbox.next_due(c, clock()).entry
        assert due is not None
        assert due.content.part is not None
        seen.append((due.content.part.place, due.content.part.start, due.content.part.size))
        outbox.begin(c, due.request_id)
        outbox.part_sent(c, due, clock(), random_bytes)
        outbox.part_sent(c, due, clock(), random_bytes)  # an answer that came twice counts once
    assert seen == [(0, 0, 7), (1, 7, 7), (2, 14, 5)]
    due = outbox.next_due(c, clock()).entry
    assert due is not None
    assert due.request_id == name
    view = outbox.view(c, name)
    assert view is not None
    assert view.sent == size


def test_a_message_that_is_taken_back_takes_its_parts_along(c: Connection, clock: Clock) -> None:
    file = File("film.mkv", "file", "f1", 20, b"h" * 32, transfer=Transfer("t", 20, "hash", 3))
    random_bytes = bare_context(clock).random_bytes
    whole = Content(to=(("2" * 32, 1),), thread="thread-a", text="Look", files=(file,))
    name = outbox.enqueue(c, "message", whole, 0, clock(), random_bytes)
    entry = outbox.find(c, name)
    assert entry is not None
    outbox.go_in_parts(c, entry, (file,), clock(), random_bytes)
    outbox.act(c, name, "undo", clock(), random_bytes)
    assert outbox.next_due(c, clock()) == outbox.Next()
    assert list(outbox.files(c)) == []


def test_a_refused_part_refuses_its_message(c: Connection, clock: Clock) -> None:
    file = File("film.mkv", "file", "f1", 20, b"h" * 32, transfer=Transfer("t", 20, "hash", 3))
    random_bytes = bare_context(clock).random_bytes
    whole = Content(to=(("2" * 32, 1),), thread="thread-a", text="Look", files=(file,))
    name = outbox.enqueue(c, "message", whole, 0, clock(), random_bytes)
    entry = outbox.find(c, name)
    assert entry is not None
    outbox.go_in_parts(c, entry, (file,), clock(), random_bytes)
    due = outbox.next_due(c, clock()).entry
    assert due is not None
    outbox.refused(c, due.request_id, "not acquainted: ping Bob first")
    view = outbox.view(c, name)
    assert view is not None
    assert (view.state, view.error) == ("refused", "not acquainted: ping Bob first")
    assert outbox.next_due(c, clock()) == outbox.Next()


def test_an_entry_that_may_be_asked_for_twice_is_kept_once(c: Connection, clock: Clock) -> None:
    random_bytes = bare_context(clock).random_bytes
    for _ in range(2):
        outbox.enqueue(c, "control", Content(text="{}", control="x"), 0, clock(), random_bytes, request_id="once")
    assert outbox.find(c, "once") is not None
    assert outbox.waiting(c) == ()
    assert outbox.count(c) == 0


def test_watchers_hear_of_every_change_of_an_entry(c: Connection, clock: Clock) -> None:
    name = add(c, clock, 1)
    outbox.begin(c, name)
    outbox.ended(c, name, "m1")
    said = [one.data for one in changes.since(c, "test", 0, limits.CHANGES_MAX)]
    assert [(one.request, one.waiting and one.waiting.state, one.message) for one in said] == [
        (name, "waiting", ""),
        (name, "sending", ""),
        (name, None, "m1"),
    ]
