# SPDX-License-Identifier: AGPL-3.0-or-later
"""One turn of the work with one server: clients come, post, receive everything, and leave."""

import asyncio
import itertools
import math
import resource
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from bench.load import latency
from bench.member import Tally
from bench.peers.process import PeerServer
from bench.peers.work import PATIENCE_S, Client, Outcome, Part, Used, Work

_CONNECTING_AT_ONCE: Final = 20
_WARM_UP_S: Final = 1.0
_QUIET_S: Final = 20.0  # when nothing came for so long, nothing will
_SCHEDULE_S: Final = 0.002  # between looks at what is to be posted


async def online(server: PeerServer, work: Work, *, count_syncs: bool = False) -> Outcome:
    """Everybody posts and receives. Raises OSError, TimeoutError, or a group of them, where somebody cannot log in."""
    turn = _Turn(server, everybody_online(work))
    everybody = list(turn.clients.values())
    await turn.come(everybody)
    for client in everybody:
        client.address(turn.clients)
    begin, before = time.monotonic_ns(), server.usage()
    with server.syncs(count=count_syncs) as syncs:
        await turn.post(everybody, work)
        await _until(turn.missing)
    after = server.usage()
    await turn.go(everybody)
    return turn.outcome(work, (before, after), begin, syncs.count())


async def away_and_killed(server: PeerServer, work: Work) -> Outcome:
    """Recipients are away; at the last ack the server is killed; it starts again, and they come back for everything.

    What was acknowledged and does not come has been kept in memory only. Raises as `online` does.
    """
    posters, recipients = half_away(work)
    turn = _Turn(server, [*posters, *recipients])
    away = [turn.clients[part.number] for part in recipients]
    here = [turn.clients[part.number] for part in posters]
    await turn.come(away)
    await turn.go(away)
    await turn.come(here)
    for client in here:
        client.address(turn.clients)
    before = server.usage()
    await turn.post(here, work)
    after = server.usage()
    await turn.go(here)
    server.kill()
    server.start()
    begin = time.monotonic_ns()
    await turn.come(away)
    await _until(turn.missing)
    await turn.go(away)
    return turn.outcome(work, (before, after), begin, None)


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


class _Turn:
    """The clients of one turn, in this process, and the tally that they share."""

    def __init__(self, server: PeerServer, parts: Iterable[Part]) -> None:
        self.tally = Tally()
        self.clients: dict[int, Client] = {part.number: server.client(part, self.tally) for part in parts}

    async def come(self, clients: Sequence[Client]) -> None:
        """They log in, the first one alone: what a server does once for all it may do badly for many at once."""
        for some in (clients[:1], clients[1:]):
            await _each(some, lambda client: client.open())

    async def go(self, clients: Iterable[Client]) -> None:
        """They leave."""
        await _each(clients, lambda client: client.close())

    async def post(self, posters: Sequence[Client], work: Work) -> None:
        """Post until the time is over, and everything is acknowledged that will be."""
        begin = time.monotonic_ns()
        end = begin + int((_WARM_UP_S + work.seconds) * 1e9)
        self.tally.window = (begin + int(_WARM_UP_S * 1e9), end)
        used: list[float] = []
        async with asyncio.TaskGroup() as group:
            if work.rate is None:
                _in_a_closed_loop(posters, end)
            else:
                group.create_task(_at_a_rate(posters, work.rate, end))
            for moment in self.tally.window:
                await asyncio.sleep(max(0, moment - time.monotonic_ns()) / 1e9)
                usage = resource.getrusage(resource.RUSAGE_SELF)
                used.append(usage.ru_utime + usage.ru_stime)
        self.tally.busy = (used[1] - used[0]) / work.seconds
        await _until(lambda: sum(client.posted - client.acked for client in posters))

    def missing(self) -> int:
        """Deliveries of acknowledged posts that have not come."""
        owed = sum(client.acked * len(client.part.to) for client in self.clients.values())
        return owed - sum(client.seen.count - client.seen.doubled for client in self.clients.values())

    def outcome(self, work: Work, used: tuple[Used, Used], since_ns: int, syncs: int | None) -> Outcome:
        """All of it, summed up."""
        tally, clients = self.tally, self.clients.values()
        posts = sum(client.acked for client in clients)
        came = sum(client.seen.count for client in clients)
        last_ns = max(client.last_ns for client in clients)
        before, after = used
        return Outcome(
            posts_per_s=tally.posts / work.seconds,
            through_per_s=came * 1e9 / (last_ns - since_ns) if came else 0.0,
            ack_ms=latency([tally.ack_ns]),
            delivery_ms=latency([tally.delivery_ns]),
            acknowledged=posts,
            lost=sum(
                client.seen.lost(poster, self.clients[poster].acked)
                for client in clients
                for poster in client.part.hears
            ),
            doubled=sum(client.seen.doubled for client in clients),
            reordered=sum(client.seen.reordered for client in clients),
            cpu_us_per_post=(after.cpu_s - before.cpu_s) * 1e6 / posts if posts else math.nan,
            written_per_post=(after.written - before.written) / posts if posts else math.nan,
            rss_mib=after.rss / (1 << 20),
            syncs_per_post=syncs / posts if syncs is not None and posts else None,
            bench_cpu=tally.busy,
            problems=tally.problems,
        )


def _in_a_closed_loop(posters: Sequence[Client], end: int) -> None:
    """Each posts, and posts again when that is acknowledged."""

    def go_on(client: Client) -> None:
        if time.monotonic_ns() < end:
            client.post()

    for client in posters:
        client.on_ack = go_on
        client.post()


async def _at_a_rate(posters: Sequence[Client], rate: float, end: int) -> None:
    """Post in turns, whatever comes back."""
    turn = itertools.cycle(posters)
    due = float(time.monotonic_ns())
    while due < end:
        while due <= time.monotonic_ns() and due < end:
            next(turn).post()
            due += 1e9 / rate
        await asyncio.sleep(_SCHEDULE_S)


async def _each(clients: Iterable[Client], act: Callable[[Client], Awaitable[None]]) -> None:
    """Do this with all of them, not too many at once."""
    waiting = iter(clients)

    async def some() -> None:
        for client in waiting:
            async with asyncio.timeout(PATIENCE_S):
                await act(client)

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTING_AT_ONCE):
            group.create_task(some())


async def _until(missing: Callable[[], int]) -> None:
    """Wait until nothing is missing, or until nothing comes any more."""
    before, quiet_since = missing(), time.monotonic()
    while before > 0 and time.monotonic() - quiet_since < _QUIET_S:
        await asyncio.sleep(0.02)
        if (now := missing()) != before:
            before, quiet_since = now, time.monotonic()
