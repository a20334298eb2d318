# SPDX-License-Identifier: AGPL-3.0-or-later
"""A million messages that wait for devices which are away: what they cost everybody else, and how they leave.

A queued message is one message of 1 KB, with a header and a body of its own, that waits for one device. They are put
there by the store's own code, a large transaction at a time, since a million posts over the wire take minutes; whatever
is measured goes over the wire.
"""

import os
import sqlite3
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import Crowd, Figures, measure
from bench.member import Member
from bench.scale import MIB, Result, Scale
from bench.server import BenchFailed, BenchServer, usage
from tmtp_core.domain.port import Body, Message, Rank
from tmtp_core.ids import message_id_text, posted_text
from tmtp_core.store.database import Database
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.wire import messages as m

_BATCH: Final = 10_000  # messages of one transaction
_SIZE: Final = 1_024
_POSTER: Final = 0  # of all that waits: the first of those who are away
_COLD: Final = range(2)  # devices whose messages are read from the disk, as after the machine's own start
_WARM: Final = range(2, 5)  # and from the system's memory, as where they were posted since
_PROBES: Final = len(_COLD) + len(_WARM)  # all with the same queue on both sides


@dataclass(frozen=True, slots=True)
class _Filled:
    """A server with messages that wait. `waiting`: how many for each of the members who are away."""

    server: BenchServer
    present: Crowd
    away: Crowd
    waiting: dict[int, int]
    start_s: float
    fill_s: float
    data_bytes: int

    def drain(self, numbers: Sequence[int]) -> tuple[int, float, float]:
        """These come and take theirs: how many deliveries, in which time, the server's CPU seconds."""
        before, begin = usage(self.server.pid).cpu_s, time.monotonic()
        shares = [[number for number in numbers if number in share] for share in self.away.numbers]
        self.away.ask("come_back", [(share,) for share in shares])
        tallies = self.away.ask("expect", [({n: {_POSTER: self.waiting[n]} for n in share},) for share in shares])
        seconds, cpu_s = time.monotonic() - begin, usage(self.server.pid).cpu_s - before
        problems = [problem for tally in tallies for problem in tally.problems]
        if problems:
            raise BenchFailed("; ".join(problems))
        return sum(self.waiting[number] for number in numbers), seconds, cpu_s


def backlog(scale: Scale) -> Result:
    """1,000,000 messages wait for 1,000 devices: the start, a post and a delivery against 1,000; then a drain."""
    few, many = min(scale.few, scale.queued), scale.queued
    with ExitStack() as stack:
        small = _filled(scale, stack, [few // _PROBES] * _PROBES)
        others = max(1, scale.offline - _PROBES)
        rest = [(many - few) * (n + 1) // others - (many - few) * n // others for n in range(others)]
        large = _filled(scale, stack, [few // _PROBES] * _PROBES + rest)
        rss = usage(large.server.pid).rss
        posts: dict[str, list[Figures]] = {"few": [], "many": []}
        for _ in range(scale.rounds):
            for name, side in (("few", small), ("many", large)):
                posts[name].append(measure(side.present, scale.shape(), side.server.pid))
        costs = {name: _cost_per_post(figures) for name, figures in posts.items()}
        sides = (("few", small), ("many", large))
        cold = {name: _cost_per_delivery(side, _COLD) for name, side in sides}
        for _, side in sides:
            _have_cached(side.server.database)
        warm = {name: _cost_per_delivery(side, _WARM) for name, side in sides}
        count, seconds, cpu_s = large.drain(range(_PROBES, _PROBES + min(others, scale.drained)))
        after = usage(large.server.pid)
        large.server.stop()
        return {
            "queued": sum(large.waiting.values()),
            "queued_few": sum(small.waiting.values()),
            "fill_s": large.fill_s,
            "start_s": large.start_s,
            "start_few_s": small.start_s,
            "cpu_us_per_post": costs,
            "cpu_us_per_delivery": warm,
            "cpu_us_per_delivery_from_the_disk": cold,
            "ratios": {
                "post": costs["many"] / costs["few"],
                "delivery": warm["many"] / warm["few"],
                "delivery_from_the_disk": cold["many"] / cold["few"],
                "posts_per_s": _posts_per_s(posts["many"]) / _posts_per_s(posts["few"]),
            },
            "drained": count,
            "drained_per_s": count / seconds,
            "drain_cpu_us_per_delivery": cpu_s * 1e6 / count,
            "rss_start_mib": rss / MIB,
            "rss_end_mib": after.rss / MIB,
            "rss_max_mib": after.rss_max / MIB,
            "file_mib": large.data_bytes / MIB,
            "file_after_mib": large.server.data_bytes / MIB,
            "file_after_free_share": _free_share(large.server.database),
            "problems": [problem for figures in posts.values() for one in figures for problem in one.problems],
        }


def _filled(scale: Scale, stack: ExitStack, queue_lengths: Sequence[int]) -> _Filled:
    """A running server with so many messages for each of those who are away, and members who are there."""
    server = stack.enter_context(BenchServer())
    present, away = stack.enter_context(scale.crowd(server)), stack.enter_context(scale.crowd(server))
    present.register(scale.clients)
    away.register(len(queue_lengths))
    for crowd in (present, away):
        crowd.ask("leave")
    server.stop()
    begin = time.monotonic()
    waiting = dict(enumerate(queue_lengths))
    _fill(server.database, [(away.uids[number], count) for number, count in waiting.items()])
    fill_s = time.monotonic() - begin
    _forget_cached(server.database)
    start_s = server.start()
    present.ask("come_back")
    return _Filled(server, present, away, waiting, start_s, fill_s, server.data_bytes)


def _fill(path: Path, queues: Sequence[tuple[str, int]]) -> None:
    """Queue messages for (uid, how many), everybody's among the others', as they would have come."""
    database = Database(path)
    ledger = SqlLedger(database, b"", _damaged)
    try:
        with database.transaction() as connection:
            ledger.load(connection)
            ledger.begin(connection)
            accounts = [(ledger.account(uid), count) for uid, count in queues]
        poster = accounts[_POSTER][0]
        assert poster is not None
        devices = [(account.devices[0].key, count) for account, count in accounts if account is not None]
        wanted = [
            (device, number) for number in range(max(c for _, c in devices)) for device, c in devices if number < c
        ]
        filler = bytes(_SIZE - len(Member.stamp(0, 0, 0)))
        for start in range(0, len(wanted), _BATCH):
            now_ns = time.time_ns()
            posted = posted_text(now_ns // 1_000_000)
            with database.transaction() as connection:
                ledger.begin(connection)
                for device, place in wanted[start : start + _BATCH]:
                    number = ledger.next_number(now_ns)
                    event = m.Delivery(id=message_id_text(number), from_=poster.uid, posted=posted, datalen=_SIZE)
                    body = Body(_SIZE, Member.stamp(_POSTER, place, 0) + filler)
                    message = Message(number, Rank.ORDINARY, m.encode_stored(event), body, sender=poster.key)
                    ledger.enqueue(message, (device,))
                ledger.flush()
            ledger.committed()
        database.checkpoint()
    finally:
        database.close()


def _damaged(event: str, fields: dict[str, object]) -> None:
    raise BenchFailed(f"{event}: {fields}")


def _cost_per_post(rounds: Sequence[Figures]) -> float:
    return statistics.median(one.cost.cpu_us_per_post for one in rounds if one.cost is not None)


def _posts_per_s(rounds: Sequence[Figures]) -> float:
    return statistics.median(one.posts_per_s for one in rounds)


def _cost_per_delivery(side: _Filled, numbers: Sequence[int]) -> float:
    """CPU microseconds of the server for one message that waited, the log-in of its device included; one after another,
    so that each is found by itself.
    """
    drained = [side.drain([number]) for number in numbers]
    return sum(cpu_s for _, _, cpu_s in drained) * 1e6 / sum(count for count, _, _ in drained)


def _forget_cached(path: Path) -> None:
    """Have the system read the file from the disk, as after the machine's own start."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _have_cached(path: Path) -> None:
    """Have the system read the whole file into its memory, where it has as much."""
    with path.open("rb", buffering=0) as file:
        while file.read(16 * MIB):
            pass


def _free_share(path: Path) -> float:
    """How much of a database's file is free for what comes."""
    with closing(sqlite3.connect(path)) as database:
        free, whole = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
    return float(free / whole)
