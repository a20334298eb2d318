# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process full of members, which does what `bench.load` tells it by a pipe.

Several of them share a load where one process would be the bottleneck; each says how much CPU it used.
"""

import asyncio
import itertools
import random
import resource
import signal
import ssl
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import uvloop

from bench.member import STAMP_BYTES, BenchFailed, Member, Tally
from gateway.descriptors import raise_descriptors_max
from tmtp_core.wire import messages as m

_CONNECTING_AT_ONCE: Final = 50
_SCHEDULE_S: Final = 0.002  # between looks at what an open loop has to post
_PULSE_S: Final = 30.0
_QUIET_S: Final = 60.0  # when nothing came for so long, nothing will


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is."""

    host: str
    port: int
    tls: bool = True

    def context(self) -> ssl.SSLContext | None:
        """The bench trusts whom it measures."""
        if not self.tls:
            return None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class Load:
    """What the members of one process do in one run. Times are of the monotonic clock, in nanoseconds.

    `to`: whom each of them posts to. `in_flight`: posts of one member that await their acks, in a closed loop; `rate`:
    posts a second of all members here, in an open loop, whatever comes back. `aside`: whose latencies do not count;
    `stalled`: it reads nothing until the load is over.
    """

    to: dict[int, tuple[m.Recipient, ...]]
    size: int
    window: tuple[int, int]
    begin: int
    in_flight: int = 1
    rate: float | None = None
    aside: int | None = None
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How members came back: nanoseconds from the beginning until each was in, and how often they were refused, why."""

    in_ns: "array[int]"
    refused: Counter[str]
    busy: float  # CPU seconds a second of this process


class Worker:
    """The members of one process, and what can be asked of them."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._context = place.context()
        self._tally = Tally()
        self._members: dict[int, Member] = {}

    async def register(self, numbers: range, name: str) -> dict[int, str]:
        """New accounts, connected; their uids."""

        async def one(number: int) -> None:
            member = self._members[number] = Member(number, self._tally)
            await member.connect(self._place.host, self._place.port, self._context)
            await member.register(f"{name} {number:06d}")

        await self._for_each(numbers, one)
        return {number: self._members[number].uid for number in numbers}

    async def leave(self) -> None:
        """All links end."""
        for member in self._members.values():
            member.leave()
        await asyncio.sleep(0.1)

    async def come_back(self, numbers: Iterable[int] | None = None, at_once: int = _CONNECTING_AT_ONCE) -> Arrivals:
        """All log in again, or these, as fast as they can. Who is refused tries again after about a second.

        Raises `BenchFailed` when somebody does not get in for a minute.
        """
        begin, used = time.monotonic_ns(), _cpu_s()
        arrivals = Arrivals(array("q"), Counter(), 0.0)

        async def one(number: int) -> None:
            while True:
                try:
                    await self._members[number].connect(self._place.host, self._place.port, self._context)
                    await self._members[number].log_in()
                except (BenchFailed, OSError) as failed:
                    self._members[number].leave()
                    arrivals.refused[str(failed) or type(failed).__name__] += 1
                    if time.monotonic_ns() - begin > _QUIET_S * 1e9:
                        raise BenchFailed(f"member {number} does not get in: {failed}") from None
                    await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - so that they do not all come at once
                else:
                    arrivals.in_ns.append(time.monotonic_ns() - begin)
                    return

        await self._for_each(self._members if numbers is None else numbers, one, at_once)
        busy = (_cpu_s() - used) / ((time.monotonic_ns() - begin) / 1e9)
        return replace(arrivals, busy=busy)

    async def request(self, requests: list[tuple[int, bytes, str]]) -> None:
        """Make requests, (member, frame, id), one after another."""
        for number, frame, request_id in requests:
            await self._members[number].request(frame, request_id)

    async def pulse(self) -> float:
        """Everybody says that he is there, and the last one posts to himself: seconds until that is acknowledged."""
        begin = time.monotonic()
        last = next(reversed(self._members.values()))
        heard = asyncio.Event()
        last.address((m.Recipient(last.uid, m.TO_UID),), STAMP_BYTES)
        last.on_ack = lambda member: heard.set()
        for member in self._members.values():
            member.pulse()
        last.post()
        async with asyncio.timeout(_QUIET_S):
            await heard.wait()
        return time.monotonic() - begin

    async def alive(self) -> int:
        """How many links stand."""
        return sum(member.connected for member in self._members.values())

    async def post(self, load: Load) -> dict[int, int]:
        """Run a load; how much each member has posted so far, in all runs. Raises `BenchFailed`."""
        posters = [self._members[number] for number in load.to]
        for member in posters:
            member.address(load.to[member.number], load.size)
        aside = self._members.get(load.aside) if load.aside is not None else None
        if aside is not None:
            aside.aside = True
            aside.stall(load.stalled)
        self._tally.window = load.window
        await asyncio.sleep(max(0, load.begin - time.monotonic_ns()) / 1e9)
        begin, used = time.monotonic(), _cpu_s()
        if load.rate is None:
            await self._closed_loop(posters, load)
        else:
            await self._open_loop(posters, load.rate, load.window[1])
        self._tally.busy = (_cpu_s() - used) / (time.monotonic() - begin)
        if aside is not None:
            aside.stall(False)
        await self._until(lambda: sum(member.posted - member.acked for member in posters), "acks")
        return {number: member.posted for number, member in self._members.items()}

    async def expect(self, everything: dict[int, dict[int, int]]) -> Tally:
        """Wait until each member has, of each poster, as many posts as named; what was seen in the measured window."""
        await self._until(
            lambda: sum(
                count - self._members[number].expected.get(poster, 0)
                for number, posters in everything.items()
                for poster, count in posters.items()
            ),
            "deliveries",
        )
        tally, self._tally = self._tally, Tally()
        for member in self._members.values():
            member.tally = self._tally
        return tally

    async def _closed_loop(self, posters: list[Member], load: Load) -> None:
        end = load.window[1]

        def go_on(member: Member) -> None:
            if time.monotonic_ns() < end:
                member.post()

        for member in posters:
            member.on_ack = go_on
        for member in posters:
            for _ in range(load.in_flight):
                member.post()
        await asyncio.sleep(max(0, end - time.monotonic_ns()) / 1e9)
        for member in posters:
            member.on_ack = None

    async def _open_loop(self, posters: list[Member], rate: float, end: int) -> None:
        turn = itertools.cycle(posters)
        step = 1e9 / rate
        due = float(time.monotonic_ns())
        while due < end:
            now = time.monotonic_ns()
            while due <= now and due < end:
                next(turn).post(int(due))
                due += step
            await asyncio.sleep(_SCHEDULE_S)

    async def _for_each(self, numbers: Any, act: Any, at_once: int = _CONNECTING_AT_ONCE) -> None:
        """Do this for everybody, not too many at once; meanwhile those who are in pulse, lest they count as gone."""
        waiting = iter(numbers)

        async def pulse() -> None:
            while True:
                await asyncio.sleep(_PULSE_S)
                for member in self._members.values():
                    member.pulse()

        async def some() -> None:
            for number in waiting:
                await act(number)

        pulsing = asyncio.create_task(pulse())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(some())
        finally:
            pulsing.cancel()

    async def _until(self, missing: Any, what: str) -> None:
        """Wait until nothing is missing, or nothing comes any more: then it is lost, and that is noted."""
        before, quiet_since = missing(), time.monotonic()
        while before > 0:
            await asyncio.sleep(0.02)
            now = missing()
            if now != before:
                before, quiet_since = now, time.monotonic()
            elif time.monotonic() - quiet_since > _QUIET_S:
                self._tally.problem(f"{now} {what} never came")
                return


def run(pipe: Pipe, place: Place) -> None:
    """Answer what the pipe asks, (method, arguments), until it says None. Ctrl-C is for who holds its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_descriptors_max()
    uvloop.run(_serve(pipe, Worker(place)))


async def _serve(pipe: Pipe, worker: Worker) -> None:
    loop = asyncio.get_running_loop()
    while (asked := await loop.run_in_executor(None, _received, pipe)) is not None:
        method, arguments = asked
        try:
            answer = await getattr(worker, method)(*arguments)
        except* (BenchFailed, OSError, TimeoutError) as failed:
            pipe.send(BenchFailed(str(_first(failed))))
        else:
            pipe.send(answer)


def _received(pipe: Pipe) -> Any:
    try:
        return pipe.recv()
    except EOFError:  # who asked is gone
        return None


def _cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the errors in a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
