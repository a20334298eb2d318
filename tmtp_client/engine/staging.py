# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files that are to be sent: copied into the vault when they are handed over, so that the original may change or vanish
and every try sends the same octets.
"""

import asyncio
import os
import stat
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

from sqlalchemy import Connection as Rows
from sqlalchemy import delete, insert, select

from tmtp_client import limits
from tmtp_client.api import models, problems
from tmtp_client.engine.context import Context
from tmtp_client.engine.reading import remove
from tmtp_client.store import outbox
from tmtp_client.store.outbox import File
from tmtp_client.store.tables import staged
from tmtp_client.sync import drafts
from tmtp_client.vault.files import FileWriter


def file_name(name: str) -> str:
    """A name as it is told to others: without folders, and without characters that do not show."""
    bare = PurePosixPath(PureWindowsPath(name.removeprefix("u:")).as_posix()).name
    shown = "".join(char if char.isprintable() and unicodedata.category(char) != "Cf" else "_" for char in bare)
    stem, dot, ending = shown.strip(" ").rpartition(".")
    stem, ending = (stem, dot + ending) if stem and len(ending) <= limits.FILE_ENDING_MAX_CHARACTERS else (shown, "")
    while stem and len((stem + ending).encode()) > limits.FILE_NAME_MAX_BYTES:
        stem = stem[:-1]
    return (stem + ending).strip(" ") or "attachment"


class Upload:
    """A file on its way into the vault, piece by piece; `finish` or `abandon` it."""

    def __init__(self, context: Context, name: str, writer: FileWriter) -> None:
        self._context = context
        self._name = file_name(name)
        self._writer = writer

    @classmethod
    async def begin(cls, context: Context, name: str) -> "Upload":
        """Raises OSError."""
        return cls(context, name, await asyncio.to_thread(context.files.writer))

    async def write(self, data: bytes) -> None:
        """The next octets. Raises OSError."""
        await asyncio.to_thread(self._writer.write, data)

    async def finish(self) -> models.Staged:
        """All of it is here: durable, and known to the outbox. Raises OSError."""
        stored = await asyncio.to_thread(self._writer.finish)
        row = {
            "file": stored.file,
            "name": self._name,
            "size": stored.size,
            "hash": stored.hash,
            "at_ms": self._context.clock(),
        }
        await self._context.database.write(lambda c: c.execute(insert(staged).values(row)) and None)
        return models.Staged(stored.file, self._name, stored.size)

    async def abandon(self) -> None:
        """It will not be sent. Idempotent."""
        await asyncio.to_thread(self._writer.abandon)


async def stage(context: Context, path: Path) -> models.Staged:
    """Take in a file of this device. Raises `ProblemError`."""
    try:
        descriptor = await asyncio.to_thread(_opened, path)
    except OSError as error:
        raise problems.usage(f"{path.name}: {error.strerror}", "path") from None
    with open(descriptor, "rb") as source:  # noqa: ASYNC230, PTH123 - opened on a thread already
        upload = await Upload.begin(context, path.name)
        try:
            while piece := await asyncio.to_thread(source.read, limits.FILE_READ_BYTES):
                await upload.write(piece)
            return await upload.finish()
        except BaseException:
            await upload.abandon()
            raise


def _opened(path: Path) -> int:
    """A file and nothing else: a pipe would be waited for, for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no file")
    return descriptor


async def drop(context: Context, file: str) -> None:
    """Forget a file that was staged. Raises `ProblemError` where it is part of something that waits to be sent."""
    if not await context.database.write(lambda c: _dropped(c, file)):
        raise problems.not_found("no such file was taken in", "file")
    await remove(context.files, [file])


def _dropped(c: Rows, file: str) -> bool:
    if file in set(outbox.files(c)):
        raise problems.refused("a message that waits to be sent needs this file", "file")
    return bool(c.execute(delete(staged).where(staged.c.file == file)).rowcount)


def expire(c: Rows, now_ms: int) -> int:
    """Forget what was handed over long ago, and is neither to be sent nor in a draft; how many. The files go with the
    next sweep.
    """
    needed = drafts.files_in_use(c) | set(outbox.files(c))
    before_ms = now_ms - limits.STAGED_DAYS * 86_400_000
    gone = [one for one in c.scalars(select(staged.c.file).where(staged.c.at_ms < before_ms)) if one not in needed]
    for file in gone:
        c.execute(delete(staged).where(staged.c.file == file))
    return len(gone)


def taken(c: Rows, files: tuple[str, ...]) -> tuple[File, ...]:
    """Staged files as attachments, each under a name of its own. Raises `ProblemError`."""
    if len(files) > limits.ATTACHMENTS_MAX:
        raise problems.usage(f"at most {limits.ATTACHMENTS_MAX} files go with one message", "files")
    found = []
    for file in dict.fromkeys(files):
        row = c.execute(select(staged).where(staged.c.file == file)).one_or_none()
        if row is None:
            raise problems.not_found(f"no file {file} was taken in", "files")
        found.append(File(row.name, "file", row.file, row.size, row.hash))
    return named_apart(found)


def named_apart(files: list[File]) -> tuple[File, ...]:
    """The same with names that no two share (wire.md §11)."""
    names: set[tuple[str, str]] = set()
    result = []
    for one in files:
        name, number = one.name, 1
        while (one.kind, name) in names:
            number += 1
            stem, dot, ending = one.name.rpartition(".")
            name = f"{stem} ({number}).{ending}" if stem and dot else f"{one.name} ({number})"
        names.add((one.kind, name))
        result.append(File(name, one.kind, one.file, one.size, one.hash, one.form))
    return tuple(result)
