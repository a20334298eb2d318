# SPDX-License-Identifier: AGPL-3.0-or-later
"""The work that is the same for every server: who posts to whom, how long, and what is checked of what arrives.

A client posts its next message when its last one is acknowledged. Each message goes to the same number of recipients,
who take it off the server. A message carries its poster, its number and its time, so that latency, loss, doubles and
order show in whatever protocol it came by.
"""

import abc
import asyncio
import itertools
import resource
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bench.load import Cost, Figures, latency
from bench.member import STAMP_BYTES, Member, Tally

if TYPE_CHECKING:
    from bench.peers.process import PeerServer

CONNECTING_AT_ONCE: Final = 20
PATIENCE_S: Final = 60.0  # for one answer
_WARM_UP_S: Final = 1.0
_QUIET_S: Final = 20.0  # when nothing came for so long, nothing will
_STAMP: Final = struct.Struct(">IIQ")  # as bench.member has it


@dataclass(frozen=True, slots=True)
class Work:
    """What is done: so many clients, each with one message in flight, for so many seconds after a warm-up."""

    clients: int = 50
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
        if self.tally.counts(now):
            self.tally.deliveries += 1
            self.tally.delivery_ns.append(now - posted_ns)

    def problem(self, text: str) -> None:
        """Note what must not happen."""
        self.tally.problem(f"client {self.part.number}: {text}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one turn showed. Of acknowledged posts: deliveries lost, and of all that came: doubled, out of order.

    `drained_per_s`: deliveries a second to recipients who come back; 0.0 where they were there all the time.
    """

    figures: Figures
    lost: int
    doubled: int
    reordered: int
    syncs_per_post: float | None = None
    drained_per_s: float = 0.0
    acknowledged: int = 0


@dataclass(slots=True)
class _Run:
    """Clients in this process, and the tally that they share."""

    server: "PeerServer"
    clients: dict[int, Client] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def admit(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self.clients[part.number] = self.server.client(part, self.tally)

    async def each(self, clients: Iterable[Client], act: Callable[[Client], Awaitable[None]]) -> None:
        """Do this with all of them, not too many at once."""
        waiting = iter(clients)

        async def some() -> None:
            for client in waiting:
                async with asyncio.timeout(PATIENCE_S):
                    await act(client)

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTING_AT_ONCE):
                group.create_task(some())

    async def until(self, missing: Callable[[], int]) -> None:
        """Wait until nothing is missing, or until nothing comes any more."""
        before, quiet_since = missing(), time.monotonic()
        while before > 0 and time.monotonic() - quiet_since < _QUIET_S:
            await asyncio.sleep(0.02)
            if (now := missing()) != before:
                before, quiet_since = now, time.monotonic()

    async def post(self, posters: Sequence[Client], seconds: float, *, count_syncs: bool) -> tuple[Cost | None, float]:
        """Run the closed loop. What it cost the server, and its syncs within the window (0 unless counted)."""
        begin = time.monotonic_ns()
        end = begin + int((_WARM_UP_S + seconds) * 1e9)
        self.tally.window = (begin + int(_WARM_UP_S * 1e9), end)

        def go_on(client: Client) -> None:
            if time.monotonic_ns() < end:
                client.post()

        used, busy = [], []
        with self.server.syncs(count=count_syncs) as syncs:
            for client in posters:
                client.on_ack = go_on
                client.post()
            for moment in self.tally.window:
                await asyncio.sleep(max(0, moment - time.monotonic_ns()) / 1e9)
                used.append(self.server.usage())
                busy.append(resource.getrusage(resource.RUSAGE_SELF))
                syncs.mark()
        for client in posters:
            client.on_ack = None
        self.tally.busy = (busy[1].ru_utime + busy[1].ru_stime - busy[0].ru_utime - busy[0].ru_stime) / seconds
        posts = self.tally.posts
        cost = None
        if posts:
            cost = Cost(
                cpu_us_per_post=(used[1].cpu_s - used[0].cpu_s) * 1e6 / posts,
                written_per_post=(used[1].written - used[0].written) / posts,
                rss_mib=used[1].rss / (1 << 20),
            )
        await self.until(lambda: sum(client.posted - client.acked for client in posters))
        return cost, float(syncs.between_marks())

    def outcome(self, seconds: float, cost: Cost | None, syncs: float | None, drained_per_s: float = 0.0) -> Outcome:
        """All of it, summed up."""
        tally = self.tally
        seen = [client.seen for client in self.clients.values()]
        return Outcome(
            figures=Figures(
                posts_per_s=tally.posts / seconds,
                deliveries_per_s=tally.deliveries / seconds,
                ack_ms=latency([tally.ack_ns]),
                delivery_ms=latency([tally.delivery_ns]),
                cost=cost,
                bench_cpu=(round(tally.busy, 2),),
                problems=tally.problems,
            ),
            lost=sum(
                client.seen.lost(poster, self.clients[poster].acked)
                for client in self.clients.values()
                for poster in client.part.hears
            ),
            doubled=sum(one.doubled for one in seen),
            reordered=sum(one.reordered for one in seen),
            syncs_per_post=syncs / tally.posts if syncs is not None and tally.posts else None,
            drained_per_s=drained_per_s,
            acknowledged=sum(client.acked for client in self.clients.values()),
        )

    def missing(self) -> int:
        """Deliveries of acknowledged posts that have not come."""
        owed = sum(client.acked * len(client.part.to) for client in self.clients.values())
        return owed - sum(client.seen.count - client.seen.doubled for client in self.clients.values())


def everybody_online(work: Work) -> list[Part]:
    """Everybody posts, and everybody receives."""
    count = work.clients
    step = max(1, count // (work.recipients + 1))
    to = {n: tuple((n + step * (other + 1)) % count for other in range(work.recipients)) for n in range(count)}
    hears = {n: tuple(poster for poster, audience in to.items() if n in audience) for n in range(count)}
    return [Part(n, to[n], hears[n], work.size) for n in range(count)]


def half_away(work: Work) -> tuple[list[Part], list[Part]]:
    """Those who post, and those, as many, who will come later."""
    count = work.clients
    parts = everybody_online(work)
    posters = [Part(part.number, tuple(n + count for n in part.to), (), work.size) for part in parts]
    recipients = [Part(part.number + count, (), part.hears, work.size) for part in parts]
    return posters, recipients


async def online(server: "PeerServer", work: Work, *, count_syncs: bool = False) -> Outcome:
    """Everybody is there. Raises OSError, TimeoutError, or an exception group of them, where somebody cannot log in."""
    run = _Run(server)
    run.admit(everybody_online(work))
    clients = list(run.clients.values())
    await run.each(clients, lambda client: client.open())
    for client in clients:
        client.address(run.clients)
    cost, syncs = await run.post(clients, work.seconds, count_syncs=count_syncs)
    await run.until(run.missing)
    await run.each(clients, lambda client: client.close())
    return run.outcome(work.seconds, cost, syncs if count_syncs else None)


async def away_and_killed(server: "PeerServer", work: Work) -> Outcome:
    """Recipients are away; at the last ack the server is killed; it starts again, and they come back for everything.

    What was acknowledged and does not come has been kept in memory only. Raises as `online` does.
    """
    run = _Run(server)
    posters, recipients = half_away(work)
    run.admit(itertools.chain(posters, recipients))
    away = [run.clients[part.number] for part in recipients]
    here = [run.clients[part.number] for part in posters]
    await run.each(away, lambda client: client.open())
    await run.each(away, lambda client: client.close())
    await run.each(here, lambda client: client.open())
    for client in here:
        client.address(run.clients)
    cost, _ = await run.post(here, work.seconds, count_syncs=False)
    await run.each(here, lambda client: client.close())
    server.kill()
    server.start()
    begin = time.monotonic()
    await run.each(away, lambda client: client.open())
    last = begin

    def missing() -> int:
        nonlocal last, came
        if (now := sum(client.seen.count for client in away)) != came:
            came, last = now, time.monotonic()
        return run.missing()

    came = 0
    await run.until(missing)
    await run.each(away, lambda client: client.close())
    return run.outcome(work.seconds, cost, None, came / (last - begin) if came else 0.0)
