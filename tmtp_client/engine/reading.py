# SPDX-License-Identifier: AGPL-3.0-or-later
"""A post's data as it comes: head, text, attachments into the vault's files; constant memory, and nothing left half."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from tmtp_client import limits
from tmtp_client.connection import Disconnected
from tmtp_client.engine.arrival import KINDS, ArrivedFile, safe_name
from tmtp_client.vault.files import Files, FileWriter, StoredFile
from tmtp_core.wire.payload import Attached, PostHead

Got = TypeVar("Got")


class Octets:
    """Takes exact numbers of octets from a payload."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = aiter(source)
        self._rest = b""

    def unread(self, data: bytes) -> None:
        """Put back what was taken last."""
        self._rest = data + self._rest

    async def take(self, size: int) -> bytes:
        """So many. Raises `Disconnected` when it ends before."""
        return b"".join([piece async for piece in self.pieces(size)])

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        """The same, as they come."""
        while size:
            if not self._rest:
                try:
                    self._rest = await anext(self._source)
                except StopAsyncIteration:
                    raise Disconnected("a message ended before its announced size") from None
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece


class Written:
    """A file that is being written, on threads, one call after the other. What is not finished is not there."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._writer: FileWriter | None = None

    async def write(self, data: bytes) -> None:
        """Further octets. Raises `OSError`."""
        await _done(lambda: self._write(data))

    async def finish(self) -> StoredFile:
        """All of it is here; durable when this returns. Raises `OSError`."""
        return await _done(self._finish)

    async def abandon(self) -> None:
        """There is to be no such file, unless it is finished."""
        await _done(self._abandon)

    def _write(self, data: bytes) -> None:
        if self._writer is None:
            self._writer = self._files.writer()
        self._writer.write(data)

    def _finish(self) -> StoredFile:
        self._write(b"")
        assert self._writer is not None
        stored = self._writer.finish()
        self._writer = None
        return stored

    def _abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


class Landing:
    """The files of one event: all of them are kept, or none. Leaving the block before `keep` removes them."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._writing: Written | None = None
        self._stored: list[str] = []

    async def __aenter__(self) -> "Landing":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drop()

    def keep(self) -> None:
        """They are named by somebody now."""
        self._stored.clear()

    async def drop(self) -> None:
        """Remove what was written so far."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing.abandon()
        while self._stored:
            await _done(partial(self._files.remove, self._stored.pop()))

    def begin(self) -> Written:
        """The next file; one at a time. One that was moved here goes on."""
        if self._writing is None:
            self._writing = Written(self._files)
        return self._writing

    def go_on(self, writing: Written) -> None:
        """A file that was begun elsewhere is the next one."""
        self._writing = writing

    async def end(self, attached: Attached) -> ArrivedFile:
        """It is whole."""
        assert self._writing is not None
        stored = await self._writing.finish()
        self._writing = None
        self._stored.append(stored.file)
        kind = KINDS.get(attached.name[:2], "file")
        return ArrivedFile(kind, safe_name(attached), attached.ffn, stored.file, stored.size, stored.hash)

    async def take(self, attached: Attached, pieces: AsyncIterable[bytes]) -> ArrivedFile:
        """A file of these octets."""
        writing = self.begin()
        async for piece in pieces:
            await writing.write(piece)
        return await self.end(attached)


class AsItCame:
    """What passed of a message so far: a little in memory, more in a file, until it is known what it is."""

    def __init__(self, files: Files, memory_max_bytes: int) -> None:
        self._files = files
        self._memory_max_bytes = memory_max_bytes
        self._held = bytearray()
        self._file: Written | None = None

    async def keep(self, piece: bytes) -> None:
        """Further octets. Raises `OSError`."""
        self._held += piece
        if self._file is None and len(self._held) <= self._memory_max_bytes:
            return
        if self._file is None:
            self._file = Written(self._files)
        octets, self._held = bytes(self._held), bytearray()
        await self._file.write(octets)

    async def move(self, landing: Landing) -> None:
        """They begin the landing's next file: `Landing.take` goes on with it. Raises `OSError`."""
        file, self._file = self._file or Written(self._files), None
        landing.go_on(file)
        await file.write(bytes(self._held))

    async def drop(self) -> None:
        """They are not needed any more."""
        file, self._file = self._file, None
        if file is not None:
            await file.abandon()


def check_head(head: PostHead) -> None:
    """Raise ValueError for a head that is out of bounds."""
    if len(head.attach) > limits.ATTACHMENTS_MAX or len(head.cc) > limits.RECIPIENTS_MAX:
        raise ValueError("the post has too many attachments or readers")
    if len(head.threadid or "") > limits.THREAD_ID_MAX_CHARACTERS:
        raise ValueError("the post names a thread that cannot be one")


async def remove(files: Files, names: Iterable[str]) -> None:
    """Files that nothing names any more. One that the disk does not let go of goes with the next sweep."""
    for name in names:
        with suppress(OSError):
            await asyncio.to_thread(files.remove, name)


async def to_its_end(work: Coroutine[Any, Any, Got]) -> Got:
    """Who is cancelled leaves when it is done, and nothing runs beside what follows."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # nobody waits for that any more
        raise


async def _done(work: Callable[[], Got]) -> Got:
    """On a thread, to its end."""
    return await to_its_end(asyncio.to_thread(work))
