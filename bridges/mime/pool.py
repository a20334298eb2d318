# SPDX-License-Identifier: AGPL-3.0-or-later
"""A few worker processes; one that is late or dies is replaced, and costs only its own mail."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import msgspec

from bridges import limits
from bridges.mime.letter import READY, Answer, Letter, Order, Unparsable


class ParserFailed(Exception):
    """Ours, and temporary: no worker could be started, or the spool failed it."""


class ParserPool:
    """Up to `limits.PARSE_WORKERS` processes, started when needed."""

    def __init__(self) -> None:
        self._idle: asyncio.Queue[Process | None] = asyncio.Queue()
        for _ in range(limits.PARSE_WORKERS):
            self._idle.put_nowait(None)
        self._all: set[Process] = set()

    async def parse(self, path: Path, folder: Path) -> Letter:
        """Parse the mail at `path`, attachments into `folder`. Raises `Unparsable` or `ParserFailed`."""
        worker = await self._idle.get()
        try:
            if worker is None or worker.returncode is not None:
                worker = await self._start()
            answer = await self._ask(worker, Order(str(path), str(folder)))
        except BaseException:
            if worker is not None:
                await self._end(worker)
            self._idle.put_nowait(None)
            raise
        self._idle.put_nowait(worker)
        if answer.letter is None:
            raise Unparsable(answer.wrong)
        return answer.letter

    async def stop(self) -> None:
        """End all workers."""
        for worker in list(self._all):
            await self._end(worker)

    async def _start(self) -> Process:
        try:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # no code from the folder that this was started in
                "-m",
                "bridges.mime.worker",
                stdin=PIPE,
                stdout=PIPE,
                limit=limits.WORKER_ANSWER_MAX_BYTES,
            )
        except OSError as error:
            raise ParserFailed(f"no parser could be started: {error}") from None
        self._all.add(worker)
        assert worker.stdout is not None
        try:
            async with asyncio.timeout(limits.WORKER_START_S):
                ready = await worker.stdout.readline() == READY
        except TimeoutError:
            ready = False
        if not ready:
            await self._end(worker)
            raise ParserFailed("the parser did not start")
        return worker

    async def _ask(self, worker: Process, order: Order) -> Answer:
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(msgspec.json.encode(order) + b"\n")
            async with asyncio.timeout(limits.PARSE_WALL_S):
                line = await worker.stdout.readline()
        except TimeoutError:
            raise Unparsable(f"it takes longer than {limits.PARSE_WALL_S:g} s to read") from None
        except (ConnectionError, ValueError) as error:
            raise ParserFailed(f"the parser is gone: {error}") from None
        if not line:
            code = await worker.wait()
            if code < 0:  # ended by the kernel for its CPU or memory
                raise Unparsable("it takes more to read than a mail may")
            raise ParserFailed(f"the parser ended with code {code}")
        return msgspec.json.decode(line, type=Answer)

    async def _end(self, worker: Process) -> None:
        self._all.discard(worker)
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
        if worker.stdin is not None:
            worker.stdin.close()
