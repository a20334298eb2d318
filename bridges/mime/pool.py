# SPDX-License-Identifier: AGPL-3.0-or-later
"""A few worker processes; one that is late or dies is replaced, and costs only its own mail.

Nothing that a worker says is trusted further than a mail is: it names no path, and its answer has bounds.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec.structs import replace

from bridges import limits
from bridges.mime.letter import LENGTH_BYTES, READY, Answer, Attachment, Letter, Order, Reason, Unparsable

_BROKEN: Final = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_TICKS_AT: Final = (11, 12)  # utime and stime, after the name in /proc/PID/stat


class ParserFailed(Exception):
    """Ours, and temporary: no worker could be started, or the spool failed it, or this machine is too busy."""


class _Worker:
    """One process and how many mails it has read."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.orders = process.stdin
        self.answers = process.stdout
        self.mails = 0

    def cpu_s(self) -> float | None:
        """The CPU time that it has used; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return sum(int(fields[at]) for at in _TICKS_AT) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None


class ParserPool:
    """Up to `limits.PARSE_WORKERS` processes, started when needed."""

    def __init__(self) -> None:
        self._idle: asyncio.Queue[_Worker | None] = asyncio.Queue()
        for _ in range(limits.PARSE_WORKERS):
            self._idle.put_nowait(None)
        self._all: set[_Worker] = set()

    async def parse(self, path: Path, folder: Path) -> Letter:
        """Parse the mail at `path`, attachments into `folder`. Raises `Unparsable`, `ParserFailed`, `OSError`."""
        worker = await self._idle.get()
        try:
            if worker is None or worker.process.returncode is not None:
                worker = await self._start()
            answer = await self._ask(worker, path, folder)
            worker.mails += 1
            if worker.mails >= limits.WORKER_MAILS_MAX or answer.reason is Reason.MEMORY:
                await self._end(worker)
                worker = None
        except BaseException:
            if worker is not None:
                await self._end(worker)
            self._idle.put_nowait(None)
            raise
        self._idle.put_nowait(worker)
        if answer.letter is None:
            raise Unparsable(answer.reason, answer.wrong)
        return answer.letter

    async def stop(self) -> None:
        """End all workers."""
        for worker in list(self._all):
            await self._end(worker)

    async def _start(self) -> _Worker:
        """A process that inherits nothing: no descriptor, no environment, no folder."""
        try:
            worker = _Worker(
                await asyncio.create_subprocess_exec(
                    *(
                        sys.executable,
                        "-I",
                        "-m",
                        "bridges.mime.worker",
                    ),  # -I: no code from anywhere but the installation
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,  # a trace could hold what a mail says
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            )
        except OSError as error:
            raise ParserFailed(f"no parser could be started: {error}") from None
        self._all.add(worker)
        try:
            async with asyncio.timeout(limits.WORKER_START_S):
                ready = await worker.answers.readline() == READY
        except (TimeoutError, ValueError):
            ready = False
        except BaseException:
            await self._end(worker)
            raise
        if not ready:
            await self._end(worker)
            raise ParserFailed("the parser did not start")
        return worker

    async def _ask(self, worker: _Worker, path: Path, folder: Path) -> Answer:
        """Hand a mail in and take the answer out."""
        try:
            async with asyncio.timeout(limits.WORKER_PIPE_S):
                size = await _hand_in(worker, path)
            return await self._answer(worker, folder, size)
        except TimeoutError:
            raise ParserFailed("the parser does not read") from None
        except (ConnectionError, EOFError):
            code = await worker.process.wait()
            if code == -signal.SIGXCPU:
                raise Unparsable(Reason.TIME, "it takes more to read than a mail may") from None
            if -code in _BROKEN:
                raise Unparsable(Reason.MALFORMED, "it breaks what reads it") from None
            raise ParserFailed(f"the parser ended with code {code}") from None

    async def _answer(self, worker: _Worker, folder: Path, size: int) -> Answer:
        before, wall_s = worker.cpu_s(), limits.PARSE_WALL_S + limits.PARSE_WALL_MIB_S * (size >> 20)
        try:
            async with asyncio.timeout(wall_s):
                length = int.from_bytes(await worker.answers.readexactly(LENGTH_BYTES))
        except TimeoutError:
            after = worker.cpu_s()
            worked = before is None or after is None or after - before >= limits.PARSE_BUSY_SHARE * limits.PARSE_WALL_S
            if not worked:
                raise ParserFailed("this machine is too busy") from None
            raise Unparsable(Reason.TIME, f"it takes longer than {wall_s:.1f} s to read") from None
        if length > limits.ANSWER_MAX_BYTES:
            raise Unparsable(Reason.SIZE, "it unpacks to more than a mail may")
        async with asyncio.timeout(limits.WORKER_PIPE_S):
            encoded = await worker.answers.readexactly(length)
        try:
            answer = msgspec.json.decode(encoded, type=Answer)
        except msgspec.MsgspecError:
            raise ParserFailed("the parser does not answer as it should") from None
        if answer.letter is None:
            return answer
        written = [
            await _write(worker, attachment, folder / f"attachment-{number}")
            for number, attachment in enumerate(answer.letter.attachments)
        ]
        return replace(answer, letter=replace(answer.letter, attachments=tuple(written)))

    async def _end(self, worker: _Worker) -> None:
        self._all.discard(worker)
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        await worker.process.wait()
        worker.orders.close()


async def _hand_in(worker: _Worker, path: Path) -> int:
    """A mail from its file into the worker, piece by piece; how many octets it has."""
    file, piece = await asyncio.to_thread(_opened, path)
    with file:
        size = os.fstat(file.fileno()).st_size
        order = msgspec.json.encode(Order(size))
        worker.orders.write(len(order).to_bytes(LENGTH_BYTES) + order + piece)
        await worker.orders.drain()
        while len(piece) == limits.STREAM_CHUNK_BYTES:
            piece = await asyncio.to_thread(file.read, limits.STREAM_CHUNK_BYTES)
            worker.orders.write(piece)
            await worker.orders.drain()
    return size


def _opened(path: Path) -> tuple[BinaryIO, bytes]:
    """A file and its beginning, which most mails are no longer than."""
    file = path.open("rb")
    return file, file.read(limits.STREAM_CHUNK_BYTES)


async def _write(worker: _Worker, attachment: Attachment, path: Path) -> Attachment:
    """One attachment to its file, as it comes."""
    left = attachment.size
    with await asyncio.to_thread(path.open, "wb") as file:
        while left > 0:
            async with asyncio.timeout(limits.WORKER_PIPE_S):
                piece = await worker.answers.readexactly(min(left, limits.STREAM_CHUNK_BYTES))
            await asyncio.to_thread(file.write, piece)
            left -= len(piece)
    return replace(attachment, path=str(path))
