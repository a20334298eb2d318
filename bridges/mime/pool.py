# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail into letters, by closed workers (`bridges/workers.py`): a mail that is too much for one costs only itself."""

import asyncio
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from bridges import limits
from bridges.mime.letter import Answer, Attachment, Letter, Reason, Unparsable
from bridges.workers import AnswerTooLong, Worker, WorkerBroke, WorkerFailed, WorkerLate, WorkerOvertaxed, Workers

_DECODER: Final = msgspec.json.Decoder(Answer)

ParserFailed = WorkerFailed
"""Ours, and temporary: no worker could be started, or this machine is too busy."""


class ParserPool:
    """Up to `limits.PARSE_WORKERS` processes, started when needed."""

    def __init__(self) -> None:
        self._workers = Workers("bridges.mime.worker", limits.PARSE_WORKERS)

    async def parse(self, mail: bytes, folder: Path) -> Letter:
        """The letter of a mail; its attachments, if any, are in `folder`, then made.

        Raises `Unparsable`, `ParserFailed`, and `OSError` where a file cannot be written.
        """
        kept = _Kept(folder)
        try:
            answer = await self._workers.use(lambda worker: _exchange(worker, mail, kept))
        except asyncio.CancelledError:
            await kept.give_up()
            raise
        except WorkerOvertaxed:
            raise Unparsable(Reason.TIME, "it takes more to read than a mail may") from None
        except WorkerBroke:
            raise Unparsable(Reason.MALFORMED, "it breaks what reads it") from None
        except AnswerTooLong:
            raise Unparsable(Reason.SIZE, "it unpacks to more than a mail may") from None
        except WorkerLate as late:
            if late.cpu_s is not None and late.cpu_s < limits.PARSE_BUSY_SHARE * limits.PARSE_WALL_S:
                raise ParserFailed("this machine is too busy") from None
            raise Unparsable(Reason.TIME, f"it takes longer than {late.wall_s:.1f} s to read") from None
        if kept.error is not None:
            raise kept.error
        if answer.letter is None:
            raise Unparsable(answer.reason, answer.wrong)
        return answer.letter

    async def stop(self) -> None:
        """End all workers."""
        await self._workers.stop()


class _Kept:
    """The files of one letter's attachments, while somebody wants them. `error`: why the disk did not do its part."""

    def __init__(self, folder: Path) -> None:
        self.error: OSError | None = None
        self._folder = folder
        self._wanted = True
        self._writing = asyncio.Lock()

    async def give_up(self) -> None:
        """Nobody waits any more: when this returns, nothing is written, and whoever has the folder can remove it."""
        self._wanted = False
        async with self._writing:
            pass

    async def write(self, number: int, octets: bytes, *, begins: bool) -> str:
        """An attachment's beginning, or more of it; the file's path. What cannot be written is passed over."""
        path = self._folder / f"attachment-{number}"
        async with self._writing:
            if self._wanted and self.error is None:
                try:
                    await asyncio.to_thread(self._write, path, octets, "wb" if begins else "ab")
                except OSError as error:
                    self.error = error
        return str(path)

    def _write(self, path: Path, octets: bytes, mode: Literal["wb", "ab"]) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with path.open(mode) as file:
            file.write(octets)


async def _exchange(worker: Worker, mail: bytes, kept: _Kept) -> Answer:
    """Hand a mail in and take the answer out, to its end, whoever waits for it: then the worker is fit for the next."""
    wall_s = limits.PARSE_WALL_S + limits.PARSE_WALL_MIB_S * (len(mail) >> 20)
    said = await worker.ask(b"", mail, wall_s, limits.ANSWER_MAX_BYTES)
    try:
        answer = _DECODER.decode(said)
    except msgspec.MsgspecError:
        raise ParserFailed("the parser does not answer as it should") from None
    worker.retired = answer.reason is Reason.MEMORY
    if answer.letter is None or not answer.letter.attachments:
        return answer
    attachments = [await _taken(worker, one, number, kept) for number, one in enumerate(answer.letter.attachments)]
    return replace(answer, letter=replace(answer.letter, attachments=tuple(attachments)))


async def _taken(worker: Worker, attachment: Attachment, number: int, kept: _Kept) -> Attachment:
    """One attachment to its file, as it comes."""
    left = attachment.size
    while True:
        piece = await worker.read(min(left, limits.STREAM_CHUNK_BYTES))
        path = await kept.write(number, piece, begins=left == attachment.size)
        left -= len(piece)
        if not left:
            return replace(attachment, path=path)
