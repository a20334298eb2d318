# SPDX-License-Identifier: AGPL-3.0-or-later
"""A few closed processes that look at untrusted octets; one that is late or dies is replaced, and costs only its own.

Each inherits nothing: no descriptor, no environment but where the code is, no folder; and gives up the rest by itself
(`confined.py`). Nothing that it says is trusted further than a mail is: it names no path, and its answer has bounds.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from bridges import limits
from bridges.confined import ANSWER_LENGTH, ORDER_LENGTHS, READY

_ENVIRONMENT: Final = ("PYTHONPATH",)  # where the code is; nothing else of ours is a worker's business
_CLOSED: Final = ("-P", "-s")  # no code from the folder that this was started in, nor from a person's own
_BROKEN: Final = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_CPU_CLOCK: Final = 2  # of a process: clock_getcpuclockid(3) makes it from the process's id

Got = TypeVar("Got")


class WorkerOvertaxed(Exception):
    """The order took more CPU than it may: the fault of what it is about."""


class WorkerFailed(Exception):
    """Ours, and temporary: no process could be started, it had no turn in time, or it fell for another reason."""


class WorkerBroke(WorkerFailed):
    """A fault of the processor's ended it: what it looked at may have done that."""


class WorkerLate(WorkerFailed):
    """No answer in time. `cpu_s`: what it has used of the CPU meanwhile; None where the system does not tell."""

    def __init__(self, wall_s: float, cpu_s: float | None) -> None:
        super().__init__(f"the worker did not answer within {wall_s:g} s")
        self.wall_s = wall_s
        self.cpu_s = cpu_s


class AnswerTooLong(WorkerFailed):
    """It began to say more than it may."""


class Worker:
    """One process, how many orders it has had, and whether it is to have no other. Nothing here waits for ever."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.orders = 0
        self.retired = False
        self._in = process.stdin
        self._out = process.stdout

    async def ready(self) -> bool:
        """Whether it has started in time."""
        try:
            async with asyncio.timeout(limits.WORKER_START_S):
                return await self._out.readline() == READY
        except (TimeoutError, ValueError):
            return False

    async def ask(self, order: bytes, octets: bytes, wall_s: float, answer_max_bytes: int) -> bytes:
        """Its answer to an order, without what follows it. Raises `WorkerLate`, `AnswerTooLong`, `WorkerFailed`."""
        self.orders += 1
        try:
            async with asyncio.timeout(limits.WORKER_PIPE_S):
                await self._hand_in(order, octets)
        except TimeoutError:
            raise WorkerFailed("the worker does not read") from None
        before = self._cpu_s()
        try:
            async with asyncio.timeout(wall_s):
                length = ANSWER_LENGTH.unpack(await self._out.readexactly(ANSWER_LENGTH.size))[0]
        except TimeoutError:
            after = self._cpu_s()
            used = after - before if before is not None and after is not None else None
            raise WorkerLate(wall_s, used) from None
        if length > answer_max_bytes:
            raise AnswerTooLong(f"the worker says more than {answer_max_bytes} bytes")
        return await self.read(length)

    async def read(self, size: int) -> bytes:
        """So many of the octets that follow. Raises `WorkerFailed`."""
        try:
            async with asyncio.timeout(limits.WORKER_PIPE_S):
                return await self._out.readexactly(size)
        except TimeoutError:
            raise WorkerFailed("the worker does not go on") from None

    async def end(self) -> None:
        """Kill it, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()
        self._in.close()

    async def ended(self) -> int | None:
        """The code that it ends with. What it still says is passed over: asyncio waits for the end of that, too."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.WORKER_PIPE_S):
                while await self._out.read(limits.STREAM_CHUNK_BYTES):
                    pass
                await self.process.wait()
        return self.process.returncode

    async def _hand_in(self, order: bytes, octets: bytes) -> None:
        """Piece by piece, as it reads: what waits to be written is copied."""
        lengths = ORDER_LENGTHS.pack(len(order), len(octets))
        self._in.write(lengths + order + octets[: limits.STREAM_CHUNK_BYTES])
        await self._in.drain()
        for at in range(limits.STREAM_CHUNK_BYTES, len(octets), limits.STREAM_CHUNK_BYTES):
            self._in.write(octets[at : at + limits.STREAM_CHUNK_BYTES])
            await self._in.drain()

    def _cpu_s(self) -> float | None:
        try:
            return time.clock_gettime(~self.process.pid << 3 | _CPU_CLOCK)
        except OSError:
            return None


class Workers:
    """Up to `count` processes of one module, started when needed."""

    def __init__(self, module: str, count: int) -> None:
        self._module = module
        self._idle: asyncio.Queue[Worker | None] = asyncio.Queue()
        for _ in range(count):
            self._idle.put_nowait(None)
        self._all: set[Worker] = set()
        self._turns: set[asyncio.Task[Any]] = set()

    async def use(self, exchange: Callable[[Worker], Awaitable[Got]]) -> Got:
        """What comes of an exchange with one of them; an exchange that raises costs the worker.

        Raises what it raises, `WorkerOvertaxed` or `WorkerFailed`. Who no longer waits gives up his turn, or leaves the
        worker to finish: a new one costs more than most answers, and clients that hang up should not cost more than
        those that wait.
        """
        turn = asyncio.create_task(self._turn(await self._idle.get(), exchange))
        self._turns.add(turn)
        turn.add_done_callback(self._over)
        return await asyncio.shield(turn)

    async def ask(self, order: bytes, octets: bytes, wall_s: float, answer_max_bytes: int) -> bytes:
        """The answer to one order, which nothing follows; see `use`."""
        return await self.use(lambda worker: worker.ask(order, octets, wall_s, answer_max_bytes))

    async def stop(self) -> None:
        """End all of them."""
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)
        for worker in list(self._all):
            await self._end(worker)

    def _over(self, turn: asyncio.Task[Any]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # whoever still waits has it

    async def _turn(self, worker: Worker | None, exchange: Callable[[Worker], Awaitable[Got]]) -> Got:
        try:
            if worker is None or worker.process.returncode is not None:
                worker = await self._start()
            try:
                got = await exchange(worker)
            except (ConnectionError, EOFError):
                raise self._fallen(await worker.ended()) from None
            if worker.retired or worker.orders >= limits.WORKER_MAILS_MAX:
                await self._end(worker)
                worker = None
        except BaseException:
            if worker is not None:
                await self._end(worker)
            self._idle.put_nowait(None)
            raise
        self._idle.put_nowait(worker)
        return got

    async def _start(self) -> Worker:
        try:
            worker = Worker(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, *_CLOSED, "-m", self._module),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,  # a trace could hold what a mail says
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    cwd="/",
                    start_new_session=True,
                )
            )
        except OSError as error:
            raise WorkerFailed(f"no {self._module} could be started: {error}") from None
        self._all.add(worker)
        try:
            ready = await worker.ready()
        except BaseException:
            await self._end(worker)
            raise
        if not ready:
            await self._end(worker)
            raise WorkerFailed(f"{self._module} did not start")
        return worker

    def _fallen(self, code: int | None) -> Exception:
        """Whose fault it is that a worker has ended: most signals are somebody else's doing."""
        if code is None:
            return WorkerFailed(f"{self._module} does not end")
        if code == -signal.SIGXCPU:
            return WorkerOvertaxed("it takes more than a mail may")
        if -code in _BROKEN:
            return WorkerBroke(f"{self._module} broke with code {code}")
        return WorkerFailed(f"{self._module} ended with code {code}")

    async def _end(self, worker: Worker) -> None:
        self._all.discard(worker)
        await worker.end()
