# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line of those who wait for room: everybody has his turn, whoever else asks for how much (D3). No clock, no socket."""

from collections import deque
from collections.abc import Callable

import pytest

from tmtp_core import limits
from tmtp_core.room import Room
from tmtp_core.store.payloads import Backlog

FULL = 100


class Place:
    """A service as far as room goes: turns of the loop, and what is decided in the order in which it was asked for."""

    def __init__(self) -> None:
        self.turns: deque[Callable[[], None]] = deque()
        self.room = Room(Backlog(), self.turns.append)
        self.asked: deque[tuple[str, int]] = deque()

    def decide(self) -> str:
        """The oldest request; then the loop has its turn."""
        name, size = self.asked.popleft()
        self.room.hold(-size)
        for _ in range(len(self.turns)):
            self.turns.popleft()()
        return name


class Poster:
    """Asks for as much as it may, `at_once` requests in a turn."""

    def __init__(self, place: Place, name: str, wants: int, size: int = 10, at_once: int = 4) -> None:
        self._place, self._name, self._size, self._at_once = place, name, size, at_once
        self.wants = wants

    def proceed(self) -> None:
        for _ in range(self._at_once):
            if not self.wants or self._place.room.must_wait(self):
                return
            self.wants -= 1
            self._place.asked.append((self._name, self._size))
            self._place.room.hold(self._size)
        if self.wants:
            self._place.turns.append(self.proceed)


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SERVICE_PENDING_BYTES_MAX", FULL)


def test_everybody_has_his_turn_however_much_the_others_ask_for() -> None:
    place = Place()
    floods = [Poster(place, f"flood {number}", wants=500) for number in range(5)]
    for one in floods:
        one.proceed()
    assert place.room.full
    modest = Poster(place, "modest", wants=1)
    modest.proceed()
    assert modest.wants == 1
    before = 0
    while place.decide() != "modest":
        before += 1
    assert before <= FULL // 10 + len(floods) * 4  # what was asked for already, and a turn of each


def test_who_comes_while_others_wait_goes_to_the_end_of_the_line() -> None:
    place = Place()
    Poster(place, "flood", wants=FULL // 10, at_once=FULL).proceed()
    first, second = (Poster(place, name, wants=1) for name in ("first", "second"))
    first.proceed()
    place.room.hold(-10)  # there is room, and it is promised already
    second.proceed()
    assert (first.wants, second.wants) == (1, 1)
    place.room.hold(10)
    decided = [place.decide() for _ in range(FULL // 10 + 2)]
    assert decided[-2:] == ["first", "second"]


def test_nobody_is_forgotten() -> None:
    place = Place()
    posters = [Poster(place, f"{number}", wants=30, size=1 + number) for number in range(20)]
    for one in posters:
        one.proceed()
    decided = 0
    while place.asked:
        place.decide()
        decided += 1
    assert decided == 20 * 30
    assert not place.room.full


def test_who_has_gone_is_not_called() -> None:
    place = Place()
    Poster(place, "flood", wants=FULL // 10, at_once=FULL).proceed()
    gone = Poster(place, "gone", wants=1)
    gone.proceed()
    place.room.leave(gone)
    for _ in range(FULL // 10):
        place.decide()
    assert gone.wants == 1
