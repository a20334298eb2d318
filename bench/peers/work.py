# SPDX-License-Identifier: AGPL-3.0-or-later
"""The work that is the same for every server: who posts to whom, how long, and what is checked of what arrives.

A client posts its next message when its last one is acknowledged, or all post in turns at a given rate. Each message
goes to the same number of recipients, who take it off the server. A message carries its poster, its number and its
time, so that latency, loss, doubles and order show in whatever protocol it came by.
"""

import abc
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.load import Latency
from bench.member import STAMP_BYTES, Member, Tally

PATIENCE_S: Final = 60.0  # for one answer
_STAMP: Final = struct.Struct(">IIQ")  # as bench.member has it


@dataclass(frozen=True, slots=True)
class Work:
    """What is done: so many clients, each with one message in flight, for so many seconds after a warm-up.

    `rate`: where it is given, they post so many a second together instead, in turns.
    """

    clients: int = 50
    rate: float | None = None
    size: int = 1024
    recipients: int = 2
    seconds: float = 6.0


@dataclass(frozen=True, slots=True)
class Part:
    """One client's share of the work: to whom it posts, and who posts to it."""

    number: int
    to: tuple[int, ...]
    hears: tuple[int, ...]
    size: int


class Seen:
    """What has come to one recipient, checked: each post of each poster once, and in order."""

    def __init__(self) -> None:
        self.count = self.doubled = self.reordered = 0
        self._next: dict[int, int] = {}
        self._missing: dict[int, set[int]] = {}

    def take(self, poster: int, number: int) -> None:
        """The post of this number has come."""
        self.count += 1
        following = self._next.get(poster, 0)
        missing = self._missing.setdefault(poster, set())
        if number >= following:
            missing.update(range(following, number))
            self._next[poster] = number + 1
        elif number in missing:
            missing.remove(number)
            self.reordered += 1
        else:
            self.doubled += 1

    def lost(self, poster: int, acknowledged: int) -> int:
        """How many acknowledged posts of this poster have not come."""
        late = sum(number < acknowledged for number in self._missing.get(poster, ()))
        return late + max(0, acknowledged - self._next.get(poster, 0))


class Client(abc.ABC):
    """One simulated user of a server. `on_ack` is called after each answered post."""

    def __init__(self, part: Part, tally: Tally) -> None:
        self.part = part
        self.tally = tally
        self.seen = Seen()
        self.posted = 0
        self.acked = 0
        self.last_ns = 0  # when something came last
        self.on_ack: Callable[[Client], None] | None = None

    @abc.abstractmethod
    async def open(self) -> None:
        """Be there and receive; the first time, with a new account where there must be one."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Leave, as a program that ends does."""

    @abc.abstractmethod
    def send(self, stamp: bytes, due_ns: int) -> None:
        """Put a message that begins with this stamp on its way; `acknowledged(due_ns)` follows."""

    def address(self, everybody: "dict[int, Client]") -> None:  # noqa: B027 - where addresses are not known beforehand
        """Learn the addresses of the others, who have all been there once."""

    def post(self) -> None:
        """Post the next one."""
        now, number = time.monotonic_ns(), self.posted
        self.posted += 1
        self.send(Member.stamp(self.part.number, number, now), now)

    def acknowledged(self, due_ns: int) -> None:
        """The server has taken the responsibility for what was due then."""
        now = time.monotonic_ns()
        if self.tally.counts(now):
            self.tally.posts += 1
            self.tally.ack_ns.append(now - due_ns)
        self.go_on()

    def go_on(self) -> None:
        """One more post has been answered."""
        self.acked += 1
        if self.on_ack is not None:
            self.on_ack(self)

    def took(self, stamp: bytes) -> None:
        """A message with this stamp has come."""
        poster, number, posted_ns = _STAMP.unpack(stamp[:STAMP_BYTES])
        self.seen.take(poster, number)
        now = time.monotonic_ns()
        self.tally.deliveries += self.tally.counts(now)
        if self.tally.counts(posted_ns):  # whenever it comes: a server that falls behind must not look fast
            self.tally.delivery_ns.append(now - posted_ns)
        self.last_ns = now

    def problem(self, text: str) -> None:
        """Note what must not happen."""
        self.tally.problem(f"client {self.part.number}: {text}")


@dataclass(frozen=True, slots=True)
class Used:
    """What all processes of a server have used so far: CPU seconds, memory now (RSS, octets), octets written."""

    cpu_s: float
    rss: int
    written: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one turn showed. `problems` are its clients'; `bench_cpu`: cores that they used.

    Of acknowledged posts: deliveries lost; of all that came: doubled, out of order. The costs are those of the whole
    turn, until the last delivery, for each acknowledged post: what a server puts off it has to do all the same.
    `through_per_s`: deliveries a second from the first post until the last delivery: what the server can sustain. Where
    recipients were away, from when they came back.
    """

    posts_per_s: float
    through_per_s: float
    ack_ms: Latency
    delivery_ms: Latency
    acknowledged: int
    lost: int
    doubled: int
    reordered: int
    cpu_us_per_post: float
    written_per_post: float
    rss_mib: float
    syncs_per_post: float | None
    bench_cpu: float
    problems: list[str]

    @property
    def broken(self) -> bool:
        """Whether something happened that must not."""
        return bool(self.lost or self.doubled or self.reordered or self.problems)
