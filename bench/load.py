# SPDX-License-Identifier: AGPL-3.0-or-later
"""Load a TMTP service, check that every post arrives once and in order, and say how fast that was.

    python -m bench.load HOST PORT --clients 200 --in-flight 1       # closed loop: the next post follows the ack
    python -m bench.load HOST PORT --clients 200 --rate 1000         # open loop: 1,000 posts a second, come what may
    python -m bench.load HOST PORT --clients 200 --groups-of 100     # each post to a group

It makes accounts of its own by revision 1, so the service must let everybody register. Latencies in an open loop
count from when a post was due, not from when it could be sent. With `--pid` (a process on this machine) the server's
CPU, memory and writes are measured too. Exit code 1 when a promise was broken.
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final, Self

from bench.member import STAMP_BYTES, BenchFailed, Tally
from bench.server import Usage, usage
from bench.worker import Load, Place, run
from tmtp_core.wire import messages as m

_HEAD_START_S: Final = 0.3  # until every worker has its orders
_WORKERS_MAX: Final = 4
_BUSY: Final = 0.9  # of a core: beyond it the bench may be what was measured
HUB: Final = 0  # the member to whom everybody posts, where a load has one


def fitting_workers() -> int:
    """How many processes should make a load here: half the cores, since the server has two threads that are busy."""
    return max(1, min(_WORKERS_MAX, len(os.sched_getaffinity(0)) // 2))


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a load. `rate` None: a closed loop with `in_flight` posts of each client; `groups_of` 0: to single people.

    `hub`: every post goes to member 0 as well, who posts nothing itself and whose latencies do not count; `stalled`: it
    reads nothing until the load is over.
    """

    clients: int = 200
    in_flight: int = 1
    rate: float | None = None
    size: int = 1024
    recipients: int = 2
    groups_of: int = 0
    seconds: float = 10.0
    warm_up_s: float = 1.0
    hub: bool = False
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds."""

    p50: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a load cost the server: CPU microseconds and octets written to the disk a post; its memory at the end and
    at most since its start; how many cores it used.
    """

    cpu_us_per_post: float
    written_per_post: float
    rss_mib: float
    rss_max_mib: float
    cores: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run measured. `bench_cpu`: cores that the load's processes used; at 1.0 they are what is measured."""

    posts_per_s: float
    deliveries_per_s: float
    ack_ms: Latency
    delivery_ms: Latency
    cost: Cost | None = None
    bench_cpu: tuple[float, ...] = ()
    problems: list[str] = field(default_factory=list)

    @property
    def bench_is_the_limit(self) -> bool:
        """Whether a process of the bench was busy all the time: then it was measured, and not the server."""
        return max(self.bench_cpu, default=0.0) >= _BUSY

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {**asdict(self), "bench_cpu": list(self.bench_cpu), "bench_is_the_limit": self.bench_is_the_limit}


class Crowd:
    """Members, spread over several processes.

    Whatever is asked raises `BenchFailed` when the server did not do as it must. `workers` None: as many as fit here.
    """

    def __init__(self, place: Place | Sequence[Place], workers: int | None = None) -> None:
        """`place`: where the server is; of several places each process has one, in turns."""
        places = [place] if isinstance(place, Place) else place
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes = []
        for number in range(workers or fitting_workers()):
            ours, theirs = context.Pipe()
            process = context.Process(target=run, args=(theirs, places[number % len(places)]), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self.uids: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # it has died
                pipe.send(None)
        for process in self._processes:
            process.join(5)
            process.kill()

    @property
    def numbers(self) -> list[range]:
        """Which members each process has."""
        shares = len(self._pipes)
        total = len(self.uids)
        return [range(total * share // shares, total * (share + 1) // shares) for share in range(shares)]

    def register(self, clients: int) -> None:
        """New accounts, under names that nobody has."""
        self.uids = dict.fromkeys(range(clients), "")
        name = f"Bench {os.urandom(4).hex()}"
        for uids in self.ask("register", [(numbers, name) for numbers in self.numbers]):
            self.uids.update(uids)
        self._name = name

    def found_groups(self, of: int) -> list[str]:
        """Groups of so many members, in their order; their names."""
        gids = [f"{self._name} group {number:05d}" for number in range(math.ceil(len(self.uids) / of))]
        requests: dict[int, list[tuple[int, bytes, str]]] = {}
        joins: dict[int, list[tuple[int, bytes, str]]] = {}
        for number in self.uids:
            gid, owner, me = gids[number // of], number // of * of, f"{self._name} {number:06d}"
            if number != owner:
                request_id = f"invite {number}"
                invite = m.GroupInvite(request_id, gid, f"{self._name} {owner:06d}", me)
                requests.setdefault(owner, []).append((owner, m.encode_head(invite), request_id))
                join = m.GroupEdit("join", "join", gid, newalias=me)
                joins.setdefault(number, []).append((number, m.encode_head(join), "join"))
        for some in (requests, joins):
            self.ask("request", [([one for n in share for one in some.get(n, ())],) for share in self.numbers])
        return gids

    def ask(self, method: str, arguments: Sequence[tuple[Any, ...]] | None = None) -> list[Any]:
        """Have all processes do something, each with its own arguments; their answers."""
        self.begin(method, arguments)
        return self.finish()

    def begin(self, method: str, arguments: Sequence[tuple[Any, ...]] | None = None) -> None:
        """Have all processes begin something."""
        for number, pipe in enumerate(self._pipes):
            pipe.send((method, arguments[number] if arguments is not None else ()))

    def finish(self) -> list[Any]:
        """Wait for what was begun."""
        try:
            answers = [pipe.recv() for pipe in self._pipes]
        except (EOFError, ConnectionError):
            raise BenchFailed("a process of the bench has died") from None
        for answer in answers:
            if isinstance(answer, BenchFailed):
                raise answer
        return answers


def measure(crowd: Crowd, shape: Shape, server: int | Callable[[], Usage] | None = None) -> Figures:
    """Run a load with all in the crowd, who have posted nothing yet or to the same people. Raises `BenchFailed`.

    `server`: its process, or what tells how much its processes have used.
    """
    used_by = partial(usage, server) if isinstance(server, int) else server
    audiences, recipients = _audiences(crowd, shape)
    begin = time.monotonic_ns() + int(_HEAD_START_S * 1e9)
    window = (begin + int(shape.warm_up_s * 1e9), begin + int((shape.warm_up_s + shape.seconds) * 1e9))
    posters = [[number for number in numbers if number in recipients] for numbers in crowd.numbers]
    total = sum(map(len, posters))
    crowd.begin(
        "post",
        [
            (
                Load(
                    to={number: recipients[number] for number in share},
                    size=max(shape.size, STAMP_BYTES),
                    window=window,
                    begin=begin,
                    in_flight=shape.in_flight,
                    rate=shape.rate * len(share) / total if shape.rate is not None else None,
                    aside=HUB if shape.hub else None,
                    stalled=shape.stalled,
                ),
            )
            for share in posters
        ],
    )
    used = []
    for moment in window:
        time.sleep(max(0, moment - time.monotonic_ns()) / 1e9)
        used.append(used_by() if used_by is not None else None)
    posted = {number: count for answer in crowd.finish() for number, count in answer.items()}
    everything: dict[int, dict[int, int]] = {number: {} for number in crowd.uids}
    for poster, audience in audiences.items():
        for number in audience:
            everything[number][poster] = posted[poster]
    expectations = [({number: everything[number] for number in share},) for share in crowd.numbers]
    tallies: list[Tally] = crowd.ask("expect", expectations)
    return _figures(tallies, shape.seconds, [moment for moment in used if moment is not None])


def _audiences(crowd: Crowd, shape: Shape) -> tuple[dict[int, list[int]], dict[int, tuple[m.Recipient, ...]]]:
    """Of each poster: who gets its posts, and whom it names for that."""
    count = len(crowd.uids)
    audiences: dict[int, list[int]] = {}
    recipients: dict[int, tuple[m.Recipient, ...]] = {}
    gids = crowd.found_groups(shape.groups_of) if shape.groups_of else []
    for number in range(count):
        if gids:
            first = number // shape.groups_of * shape.groups_of
            members = range(first, min(first + shape.groups_of, count))
            audiences[number] = [other for other in members if other != number]
            recipients[number] = (m.Recipient(gids[number // shape.groups_of], m.TO_GROUP_NOT_SELF),)
        else:
            step = max(1, count // (shape.recipients + 1))  # over all processes
            audiences[number] = [(number + step * (other + 1)) % count for other in range(shape.recipients)]
            if shape.hub and HUB not in audiences[number]:
                audiences[number].append(HUB)
            recipients[number] = tuple(m.Recipient(crowd.uids[other], m.TO_UID) for other in audiences[number])
    if shape.hub:
        del audiences[HUB], recipients[HUB]
    return audiences, recipients


def _figures(tallies: list[Tally], seconds: float, used: list[Usage]) -> Figures:
    posts = sum(tally.posts for tally in tallies)
    return Figures(
        posts_per_s=posts / seconds,
        deliveries_per_s=sum(tally.deliveries for tally in tallies) / seconds,
        ack_ms=latency([tally.ack_ns for tally in tallies]),
        delivery_ms=latency([tally.delivery_ns for tally in tallies]),
        cost=_cost(used[0], used[-1], posts, seconds) if used and posts else None,
        bench_cpu=tuple(round(tally.busy, 2) for tally in tallies),
        problems=[problem for tally in tallies for problem in tally.problems],
    )


def _cost(before: Usage, after: Usage, posts: int, seconds: float) -> Cost:
    cpu_s = after.cpu_s - before.cpu_s
    return Cost(
        cpu_us_per_post=cpu_s * 1e6 / posts,
        written_per_post=(after.written - before.written) / posts,
        rss_mib=after.rss / (1 << 20),
        rss_max_mib=after.rss_max / (1 << 20),
        cores=cpu_s / seconds,
    )


def latency(samples: "Sequence[array[int]]") -> Latency:
    """The usual quantiles of nanoseconds."""
    together = sorted(value for some in samples for value in some)
    if not together:
        return Latency(math.nan, math.nan, math.nan)
    return Latency(*(together[min(len(together) - 1, int(len(together) * q))] / 1e6 for q in (0.5, 0.99, 0.999)))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description="Load a TMTP service by revision 1, and check that every post arrives once and in order.",
        epilog="Example: python -m bench.load 127.0.0.1 4434 --clients 200 --in-flight 5 --seconds 20",
    )
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--clients", type=int, default=200, help="members, each with a link (default: 200)")
    parser.add_argument("--in-flight", type=int, default=1, help="posts of each that await their acks (default: 1)")
    parser.add_argument("--rate", type=float, help="posts a second of all together, instead: an open loop")
    parser.add_argument("--size", type=int, default=1024, help="octets of a post (default: 1024)")
    parser.add_argument("--recipients", type=int, default=2, help="of a post (default: 2)")
    parser.add_argument("--groups-of", type=int, default=0, help="post to groups of so many, instead of to people")
    parser.add_argument("--seconds", type=float, default=10.0, help="that are measured (default: 10)")
    parser.add_argument("--workers", type=int, help="processes that make the load (default: half the cores, at most 4)")
    parser.add_argument("--pid", type=int, help="of the server, when it runs here")
    parser.add_argument("--no-tls", action="store_true", help="plain TCP, to a listener of loopback")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    given = parser.parse_args()
    shape = Shape(
        clients=given.clients,
        in_flight=given.in_flight,
        rate=given.rate,
        size=given.size,
        recipients=given.recipients,
        groups_of=given.groups_of,
        seconds=given.seconds,
    )
    try:
        with Crowd(Place(given.host, given.port, tls=not given.no_tls), given.workers) as crowd:
            crowd.register(shape.clients)
            figures = measure(crowd, shape, given.pid)
    except BenchFailed as failed:
        print(f"bench.load: {failed}", file=sys.stderr)
        raise SystemExit(1) from None
    print(json.dumps(figures.as_dict(), indent=2) if given.json else described(figures))
    raise SystemExit(1 if figures.problems else 0)


def described(figures: Figures) -> str:
    """The figures, for people."""
    lines = [
        f"{figures.posts_per_s:,.0f} posts/s, {figures.deliveries_per_s:,.0f} deliveries/s",
        f"ack       p50 {figures.ack_ms.p50:.2f}  p99 {figures.ack_ms.p99:.2f}  p99.9 {figures.ack_ms.p999:.2f} ms",
        f"delivery  p50 {figures.delivery_ms.p50:.2f}  p99 {figures.delivery_ms.p99:.2f}"
        f"  p99.9 {figures.delivery_ms.p999:.2f} ms",
    ]
    if figures.cost is not None:
        cost = figures.cost
        lines.append(
            f"server    {cost.cpu_us_per_post:.0f} µs CPU and {cost.written_per_post:,.0f} octets written a post,"
            f" {cost.rss_mib:.0f} MiB (at most {cost.rss_max_mib:.0f}), {cost.cores:.2f} cores"
        )
    lines.append(f"bench     {', '.join(f'{busy:.0%}' for busy in figures.bench_cpu)} of a core")
    if figures.bench_is_the_limit:
        lines.append("          it had no more: the bench was measured, and not the server; try more --workers")
    lines += [f"BROKEN    {problem}" for problem in figures.problems] or ["every post arrived once and in order"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
