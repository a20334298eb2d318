# SPDX-License-Identifier: AGPL-3.0-or-later
"""A few bounded processes that look at untrusted octets; one that is late or dies is replaced.

Each reads one JSON order a line and writes one JSON answer a line; it says `READY` first.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

from bridges import limits

READY: Final = b"ready\n"
_ENVIRONMENT: Final = ("PYTHONPATH",)  # where the code is; nothing else of ours is a worker's business


class WorkerOvertaxed(Exception):
    """The order took more CPU or memory than it may: the fault of what it is about."""


class WorkerFailed(Exception):
    """Ours, and temporary: no process could be started, it had no turn in time, or it fell for another reason."""


def leave_signals_to_parent() -> None:
    """In a worker: Ctrl-C, and systemd's word to all of a unit, are for the parent, which finishes its mails first."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)


def allow_cpu(seconds: int) -> None:
    """In a worker: so much more CPU time from now on; beyond it the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, resource.RLIM_INFINITY))


class Workers:
    """Up to `count` processes of one module, started when needed; an answer comes within `wall_s`."""

    def __init__(self, module: str, count: int, wall_s: float) -> None:
        self._module = module
        self._wall_s = wall_s
        self._idle: asyncio.Queue[Process | None] = asyncio.Queue()
        for _ in range(count):
            self._idle.put_nowait(None)
        self._all: set[Process] = set()
        self._turns: set[asyncio.Task[bytes]] = set()

    async def ask(self, order: bytes) -> bytes:
        """The answer to one line. Raises `WorkerOvertaxed` or `WorkerFailed`.

        Who no longer waits for it gives up his turn, or leaves the worker to finish: a new one costs more than most
        answers, and clients that hang up should not cost more than those that wait.
        """
        turn = asyncio.create_task(self._turn(await self._idle.get(), order))
        self._turns.add(turn)
        turn.add_done_callback(self._over)
        return await asyncio.shield(turn)

    def _over(self, turn: asyncio.Task[bytes]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # whoever still waits has it

    async def _turn(self, worker: Process | None, order: bytes) -> bytes:
        try:
            if worker is None or worker.returncode is not None:
                worker = await self._start()
            answer = await self._ask(worker, order)
        except BaseException:
            if worker is not None:
                await self._end(worker)
            self._idle.put_nowait(None)
            raise
        self._idle.put_nowait(worker)
        return answer

    async def stop(self) -> None:
        """End all of them."""
        for turn in self._turns:
            turn.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)
        for worker in list(self._all):
            await self._end(worker)

    async def _start(self) -> Process:
        try:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # no code from the folder that this was started in
                "-m",
                self._module,
                stdin=PIPE,
                stdout=PIPE,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                cwd="/",
                start_new_session=True,
                limit=limits.WORKER_ANSWER_MAX_BYTES,
            )
        except OSError as error:
            raise WorkerFailed(f"no {self._module} could be started: {error}") from None
        self._all.add(worker)
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(limits.WORKER_START_S):
                ready = await worker.stdout.readline() == READY
        except TimeoutError:
            ready = False
        if not ready:
            await self._end(worker)
            raise WorkerFailed(f"{self._module} did not start")
        return worker

    async def _ask(self, worker: Process, order: bytes) -> bytes:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(order + b"\n")
            async with asyncio.timeout(self._wall_s):
                line = await worker.stdout.readline()
        except TimeoutError:
            raise WorkerFailed(f"{self._module} did not answer within {self._wall_s:g} s") from None
        except (ConnectionError, ValueError) as error:
            raise WorkerFailed(f"{self._module} is gone: {error}") from None
        if not line:
            code = await worker.wait()
            if code == -signal.SIGXCPU:  # any other signal is somebody else's doing
                raise WorkerOvertaxed("it takes more than a mail may")
            raise WorkerFailed(f"{self._module} ended with code {code}")
        return line

    async def _end(self, worker: Process) -> None:
        self._all.discard(worker)
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
        if worker.stdin is not None:
            worker.stdin.close()
