# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is under way to one connected device (wire.md §8).

A window of deliveries awaits acks; behind it a few committed messages wait in memory; everything beyond
that is in the store only and comes in pages. Pure: the caller passes the time, sends what `take` and
`overdue` return, and fetches a page when `wants_page` says so.
"""

from collections.abc import Sequence
from itertools import islice, takewhile

import msgspec

from tmtp_core import limits
from tmtp_core.domain.port import Message, Rank


class Flight(msgspec.Struct):
    """A message that awaits its ack, and when it was sent last."""

    message: Message
    sent_s: float


class DeliveryWindow:
    """Order: `user` messages ahead of what is not in flight, then by number. At most `count` are in flight,
    and about `limits.DELIVERY_WINDOW_BYTES` of them, but always one.

    Hidden messages have their place in that order. They are never sent and take no room: a device takes them when it is
    heard of and has taken everything before them, as it would if they were shown (D3).

    `interrupted` are numbers that were in flight when the device's last link ended: they go first again.
    """

    def __init__(self, count: int, interrupted: frozenset[int] = frozenset()) -> None:
        self._count = count
        self._interrupted = interrupted
        self._in_flight: dict[int, Flight] = {}
        self._flight_bytes = 0
        self.hidden = 0  # of those in flight, hidden messages
        self._ready: list[Message] = []  # not a deque: most windows are empty, and an empty deque takes 760 octets
        self._ready_bytes = 0
        self._behind = True  # the store may hold more than `_ready` …
        self._users_behind = True  # … and `user` messages among it
        self._acked_meanwhile: set[int] | None = None  # since a page was asked for; None: none is being fetched
        self._announced = False  # the store got more since then

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to take, hidden or not, nor to fetch."""
        return not (self._ready or self._behind or self.hidden)

    @property
    def wants_page(self) -> bool:
        """Whether to fetch the first messages of this device's queue from the store now."""
        if not self._behind or self._acked_meanwhile is not None or self._ready:
            return False
        return self._flight_bytes < limits.DELIVERY_WINDOW_BYTES  # else a page might hold nothing new

    @property
    def page_size(self) -> int:
        """How many messages to fetch: enough to fill the window beside what is in flight."""
        return limits.DELIVERY_READY_MAX + len(self._in_flight)

    @property
    def in_flight(self) -> frozenset[int]:
        """Numbers of the deliveries that await their acks."""
        return frozenset(self._in_flight)

    def page_requested(self) -> None:
        """A page is being fetched; until it comes, nothing else is asked of the store."""
        self._acked_meanwhile = set()

    def page(self, messages: Sequence[Message], *, complete: bool) -> None:
        """The first messages of the queue, in order. `complete`: the store holds no others."""
        acked, self._acked_meanwhile = self._acked_meanwhile or (), None
        self._behind = not complete
        # The queue begins with its `user` messages: a page that holds another kind too holds them all.
        self._users_behind = not complete and all(message.rank is Rank.USER for message in messages)
        if self._announced:
            self._announced = False
            self.behind()
        known = {message.number for message in self._ready}
        for message in sorted(messages, key=lambda message: message.number not in self._interrupted):
            number = message.number
            if number in self._in_flight or number in known or number in acked:
                continue
            self._insert(len(self._ready), message)
        self._keep_few()

    def behind(self) -> None:
        """The store may hold more than is known here: another process has queued something."""
        self._behind = self._users_behind = True
        self._announced = self._acked_meanwhile is not None

    def offer(self, message: Message) -> None:
        """A message was just committed for this device. It waits in the store where others do that go before it."""
        if message.rank is not Rank.USER and not self._behind:
            self._ready.append(message)
            self._ready_bytes += _held_bytes(message)
        elif message.rank is Rank.USER and not self._users_behind:
            self._insert(self._first_ordinary(), message)
        self._keep_few()

    def take(self, now_s: float) -> list[Message]:
        """The messages to send now; they count as in flight from now on."""
        taken: list[Message] = []
        while self._ready and (self._ready[0].hidden or self._has_room_for(self._ready[0])):
            message = self._ready.pop(0)
            self._ready_bytes -= _held_bytes(message)
            self._in_flight[message.number] = Flight(message, now_s)
            if message.hidden:
                self.hidden += 1
            else:
                self._flight_bytes += message.size
                taken.append(message)
        return taken

    def take_hidden(self, *, heard: bool) -> list[Message]:
        """The hidden messages that the device takes now.

        Those are, where the device was `heard` of, the ones before which nothing is in flight; and else the first of
        more than `limits.HIDDEN_IN_FLIGHT_MAX`.
        """
        taken: list[Message] = []
        if heard and self.hidden:
            taken = list(takewhile(lambda one: one.hidden, (flight.message for flight in self._in_flight.values())))
        surplus = self.hidden - len(taken) - limits.HIDDEN_IN_FLIGHT_MAX
        if surplus > 0:
            hidden = (flight.message for flight in self._in_flight.values() if flight.message.hidden)
            taken = list(islice(hidden, len(taken) + surplus))
        for message in taken:
            del self._in_flight[message.number]
            self.hidden -= 1
            if self._acked_meanwhile is not None:
                self._acked_meanwhile.add(message.number)
        return taken

    def acknowledge(self, number: int) -> Flight | None:
        """The flight that this ack ends, or None for a stray one."""
        flight = self._in_flight.get(number)
        if flight is None or flight.message.hidden:
            return None
        del self._in_flight[number]
        self._flight_bytes -= flight.message.size
        if self._acked_meanwhile is not None:
            self._acked_meanwhile.add(number)
        return flight

    def overdue(self, now_s: float) -> list[Message]:
        """What was sent `limits.REDELIVERY_S` ago and not acknowledged: to be sent again now."""
        late: list[Message] = []
        for flight in self._in_flight.values():
            if not flight.message.hidden and now_s - flight.sent_s >= limits.REDELIVERY_S:
                flight.sent_s = now_s
                late.append(flight.message)
        return late

    def restart_timers(self, now_s: float) -> None:
        """Count the time for acks anew: what was sent has not left yet."""
        for flight in self._in_flight.values():
            flight.sent_s = now_s

    def _has_room_for(self, message: Message) -> bool:
        sent = len(self._in_flight) - self.hidden
        if sent >= self._count:
            return False
        return not sent or self._flight_bytes + message.size <= limits.DELIVERY_WINDOW_BYTES

    def _insert(self, place: int, message: Message) -> None:
        self._ready.insert(place, message)
        self._ready_bytes += _held_bytes(message)

    def _first_ordinary(self) -> int:
        """The place behind other `user` messages and behind what was interrupted, ahead of everything else."""
        for place, message in enumerate(self._ready):
            if message.rank is not Rank.USER and message.number not in self._interrupted:
                return place
        return len(self._ready)

    def _keep_few(self) -> None:
        """What is more than memory should hold for one device waits in the store, the last first."""
        while len(self._ready) > limits.DELIVERY_READY_MAX or (
            len(self._ready) > 1 and self._ready_bytes > limits.DELIVERY_WINDOW_BYTES
        ):
            message = self._ready.pop()
            self._ready_bytes -= _held_bytes(message)
            self._behind = True
            self._users_behind = self._users_behind or message.rank is Rank.USER


def _held_bytes(message: Message) -> int:
    """What a message takes in memory; a payload in a file takes nothing."""
    return len(message.head) + len(message.head2) + len(message.body.inline)
