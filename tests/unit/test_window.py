# SPDX-License-Identifier: AGPL-3.0-or-later
"""The delivery window (wire.md §8): against a plain model of a device's queue, nothing lost, doubled or out of order."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tmtp_core import limits
from tmtp_core.domain.port import Body, Message, Rank, without_content
from tmtp_core.domain.window import DeliveryWindow


def a_message(number: int, rank: Rank = Rank.ORDINARY, size: int = 10) -> Message:
    return Message(number, rank, b"head", Body(size, b"x" * size if size < 1_000 else b""))


def test_an_overdue_delivery_comes_again_once_each_time() -> None:
    window = DeliveryWindow(4)
    window.page([a_message(1), a_message(2)], complete=True)
    assert [one.number for one in window.take(0.0)] == [1, 2]
    assert window.overdue(limits.REDELIVERY_S - 1) == []
    assert [one.number for one in window.overdue(limits.REDELIVERY_S)] == [1, 2]
    assert window.overdue(limits.REDELIVERY_S + 1) == []
    assert window.acknowledge(1) is not None
    assert [one.number for one in window.overdue(2 * limits.REDELIVERY_S)] == [2]


def test_bytes_bound_the_window_but_one_always_fits() -> None:
    window = DeliveryWindow(16)
    big = limits.DELIVERY_WINDOW_BYTES + 1
    window.page([a_message(1, size=big), a_message(2)], complete=True)
    assert [one.number for one in window.take(0.0)] == [1]
    window.acknowledge(1)
    assert [one.number for one in window.take(0.0)] == [2]


def test_what_has_not_left_yet_is_not_late() -> None:
    window = DeliveryWindow(4)
    window.page([a_message(1)], complete=True)
    window.take(0.0)
    window.restart_timers(limits.REDELIVERY_S)
    assert window.overdue(limits.REDELIVERY_S + 1) == []
    assert [one.number for one in window.overdue(2 * limits.REDELIVERY_S)] == [1]


def test_what_was_interrupted_goes_first() -> None:
    window = DeliveryWindow(4, frozenset({2}))
    window.page([a_message(3, Rank.USER), a_message(1), a_message(2)], complete=True)
    assert [one.number for one in window.take(0.0)] == [2, 3, 1]


def test_user_messages_wait_behind_what_was_interrupted() -> None:
    window = DeliveryWindow(4, frozenset({2}))
    window.page([a_message(1), a_message(2)], complete=True)
    window.offer(a_message(3, Rank.USER))
    assert [one.number for one in window.take(0.0)] == [2, 3, 1]


def test_a_user_message_does_not_overtake_those_that_are_in_the_store_only() -> None:
    window = DeliveryWindow(4)
    window.page_requested()
    window.offer(a_message(2, Rank.USER))
    assert window.take(0.0) == []
    window.page([a_message(1, Rank.USER), a_message(2, Rank.USER)], complete=True)
    assert [one.number for one in window.take(0.0)] == [1, 2]


def test_what_waits_in_memory_is_bounded_in_number_and_in_bytes() -> None:
    window = DeliveryWindow(1)
    window.page([], complete=True)
    for number in range(10 * limits.DELIVERY_READY_MAX):
        window.offer(a_message(number, Rank.USER))
    assert len(window._ready) == limits.DELIVERY_READY_MAX
    body = bytes(limits.PAYLOAD_INLINE_MAX_BYTES)
    large = [Message(number, Rank.ORDINARY, b"head", Body(len(body), body)) for number in range(60)]
    window = DeliveryWindow(1)
    window.page(large, complete=True)
    assert sum(len(one.body.inline) for one in window._ready) <= limits.DELIVERY_WINDOW_BYTES
    assert len(window.take(0.0)) == 1
    assert not window.wants_page  # before what is ready has gone
    while window.take(0.0) or window.in_flight:
        window.acknowledge(min(window.in_flight))
    assert window.wants_page


def test_nothing_is_fetched_beside_what_fills_the_window() -> None:
    """A page would hold that and nothing new: again and again, until the ack is there."""
    window = DeliveryWindow(16)
    window.page([a_message(1, size=limits.DELIVERY_WINDOW_BYTES + 1)], complete=False)
    assert len(window.take(0.0)) == 1
    assert not window.wants_page
    window.acknowledge(1)
    assert window.wants_page


def hidden(number: int) -> Message:
    return without_content(a_message(number))


def test_what_is_hidden_is_taken_in_its_place() -> None:
    window = DeliveryWindow(1)
    window.page([hidden(1), a_message(2), hidden(3), a_message(4), hidden(5)], complete=True)
    assert window.take_hidden(heard=True) == []
    assert [one.number for one in window.take(0.0)] == [2]
    assert window.in_flight == {1, 2, 3}
    assert window.take_hidden(heard=False) == []
    assert window.acknowledge(1) is None  # nobody can take what was never sent
    assert window.overdue(limits.REDELIVERY_S)[0].number == 2
    assert len(window.overdue(2 * limits.REDELIVERY_S)) == 1
    assert [one.number for one in window.take_hidden(heard=True)] == [1]
    assert window.take_hidden(heard=True) == []
    window.acknowledge(2)
    assert [one.number for one in window.take_hidden(heard=True)] == [3]
    assert [one.number for one in window.take(0.0)] == [4]
    assert window.take_hidden(heard=True) == []
    window.acknowledge(4)
    assert [one.number for one in window.take_hidden(heard=True)] == [5]
    assert window.in_flight == frozenset()


def test_many_hidden_messages_hold_nobody_up_and_take_no_memory() -> None:
    window, count = DeliveryWindow(1), 3 * limits.HIDDEN_IN_FLIGHT_MAX
    window.page([a_message(0)], complete=True)
    assert len(window.take(0.0)) == 1
    taken = 0
    for number in range(1, count + 1):
        window.offer(hidden(number))
        assert window.take(0.0) == []
        taken += len(window.take_hidden(heard=False))
    assert taken == count - limits.HIDDEN_IN_FLIGHT_MAX
    assert len(window.in_flight) == 1 + limits.HIDDEN_IN_FLIGHT_MAX
    window.offer(a_message(count + 1))
    window.acknowledge(0)
    assert [one.number for one in window.take(0.0)] == [count + 1]


def test_a_stray_ack_is_nothing() -> None:
    assert DeliveryWindow(1).acknowledge(7) is None


class WindowMachine(RuleBasedStateMachine):
    """A store, a window and a device. `stored` is the truth: rank and number of what was committed, not acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.window = DeliveryWindow(3)
        self.stored: dict[int, Message] = {}
        self.unacked: list[int] = []  # acknowledged to the window, and not yet with the store
        self.sent: list[int] = []
        self.hidden: set[int] = set()
        self.snapshot: tuple[list[Message], bool] | None = None
        self.number = 0

    def _queue(self) -> list[Message]:
        return sorted(self.stored.values(), key=lambda one: (one.rank, one.number))

    @precondition(lambda self: self.snapshot is None)
    @rule(
        rank=st.sampled_from([Rank.ORDINARY] * 4 + [Rank.USER]),
        count=st.integers(1, 90),
        unseen=st.sets(st.integers(0, 9)),
    )
    def commit(self, rank: Rank, count: int, unseen: set[int]) -> None:
        """A batch is committed and its copies are offered.

        None is between a page's reading and its arrival: what was committed before the reading was offered before the
        page comes, since both ride in one batch, and what is committed after it is offered after.
        """
        for _ in range(count):
            self.number += 1
            message = a_message(self.number, rank)
            if self.number % 10 in unseen:
                message = without_content(message)
                self.hidden.add(self.number)
            self.stored[message.number] = message
            self.window.offer(message)

    @precondition(lambda self: self.window.wants_page)
    @rule()
    def ask_for_a_page(self) -> None:
        """The writer forgets what was acknowledged before, then reads the page."""
        size = self.window.page_size
        self.window.page_requested()
        self._store_acks()
        queue = self._queue()
        self.snapshot = (queue[:size], len(queue) < size)

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def the_page_comes(self) -> None:
        """It is as old as its reading: what it holds may have been acknowledged since."""
        assert self.snapshot is not None
        messages, complete = self.snapshot
        self.snapshot = None
        self.window.page(messages, complete=complete)

    @rule()
    def send(self) -> None:
        """The link takes what the window allows, in the order of the queue (wire.md §8.2)."""
        for message in self.window.take(0.0):
            assert message.number not in self.sent, "sent twice"
            waiting = (one for one in self._queue() if one.number not in {*self.sent, *self.hidden})
            assert message == next(waiting), "out of order"
            self.sent.append(message.number)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        """The device acknowledges something, not always in order, and sometimes nonsense."""
        number = data.draw(st.integers(0, self.number + 1))
        flying = self.window.acknowledge(number)
        assert (flying is not None) == (number in self.sent and number in self.stored and number not in self.unacked)
        if flying is not None:
            self.unacked.append(number)

    @rule()
    def hear(self) -> None:
        """The device says anything."""
        for message in self.window.take_hidden(heard=True):
            assert message.number in self.hidden
            earlier = [one for one in self._queue() if one.rank == message.rank and one.number < message.number]
            assert {one.number for one in earlier} <= {*self.unacked}, "taken before what stands before it"
            self.unacked.append(message.number)

    @rule()
    def store_acks(self) -> None:
        """The writer commits."""
        self._store_acks()

    def _store_acks(self) -> None:
        for number in self.unacked:
            del self.stored[number]
        self.unacked = []

    @invariant()
    def never_more_than_the_window(self) -> None:
        assert len(self.window.in_flight - self.hidden) <= 3

    @invariant()
    def memory_does_not_grow_with_the_backlog(self) -> None:
        assert len(self.window._ready) <= limits.DELIVERY_READY_MAX

    def teardown(self) -> None:
        """Whatever happened, a patient device gets everything, in order."""
        for _ in range(10_000):
            self.send()
            self.hear()
            for number in list(self.sent):
                if number in self.stored and number not in self.unacked and self.window.acknowledge(number):
                    self.unacked.append(number)
            if self.snapshot is not None:
                self.the_page_comes()
            elif self.window.wants_page:
                self.ask_for_a_page()
            elif len(self.unacked) == len(self.stored):
                break
        assert set(self.sent) == set(range(1, self.number + 1)) - self.hidden, "something was never sent"
        assert len(self.unacked) == len(self.stored), "something was never taken"


TestWindow = WindowMachine.TestCase
TestWindow.settings = settings(max_examples=settings.default.max_examples, stateful_step_count=30, deadline=None)
