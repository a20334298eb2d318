# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on files, and the files of messages as the local server hands them out (B1, B8)."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection as Rows
from sqlalchemy import select

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import NO_MESSAGE, Handlers, Rooms, absolute, found
from tmtp_client.api.transfers import Download, Upload
from tmtp_client.engine import staging
from tmtp_client.engine.context import Context
from tmtp_client.store import export, messages, views
from tmtp_client.store.tables import attachment

_NO_ATTACHMENT: Final = "the message has no such attachment"
_CLOSED: Final = "the history was closed meanwhile: nothing of this was kept; unlock it, and ask once more"
_TRIES_MAX: Final = 1_000  # of names for a file that is saved


class OnFiles:
    """Their handlers; and `FileRoom` of the local server."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "files.stage": self.stage,
            "files.drop": self.drop,
            "files.save": self.save,
            "history.export": self.export,
        }

    # -- operations --------------------------------------------------------------------------------------------------
    async def stage(self, p: o.Stage) -> m.Staged:
        """Take in a file of this device."""
        return await staging.stage(self._rooms.context(p.account), absolute(p.path, "path"))

    async def drop(self, p: o.OfStaged) -> m.Done:
        """Forget one that was taken in."""
        await staging.drop(self._rooms.context(p.account), p.file)
        return m.Done()

    async def save(self, p: o.SaveFile) -> m.Exported:
        """Under its name, or one beside it; never over another file, and never to be run."""
        context = self._rooms.context(p.account)
        folder = absolute(p.folder, "folder")
        row = await _attached(context, p.message, p.place)
        pieces = export.WhileOpen(context.files, context.closing).read(row.file)
        try:
            path = await asyncio.to_thread(_write_beside, folder, _visible(row.name), pieces)
        except export.Stopped:
            raise problems.not_now(_CLOSED) from None
        except OSError as error:
            raise problems.usage(f"{folder}: {error.strerror}", "folder") from None
        return m.Exported(str(path), 0, 1)

    async def export(self, p: o.Export) -> m.Exported:
        """Everything, in plain text. Whoever asked and has gone gets none of it."""
        context = self._rooms.context(p.account)
        path = absolute(p.path, "path")
        loop = asyncio.get_running_loop()
        gone = threading.Event()
        files = export.WhileOpen(context.files, context.closing, gone)

        def progress(have: int, size: int) -> None:
            files.check()
            loop.call_soon_threadsafe(context.tell, "progress", m.ProgressEvent(str(path), have, size))

        write = export.to_mbox if p.format == "mbox" else export.to_json
        try:
            return await context.database.read(lambda c: write(c, files, path, progress))
        except asyncio.CancelledError:
            gone.set()
            raise
        except export.Stopped:
            raise problems.not_now(_CLOSED) from None
        except FileExistsError:
            raise problems.ProblemError("conflict", f"there is something at {path} already", "path") from None
        except OSError as error:
            raise problems.usage(f"{path}: {error.strerror or error}", "path") from None

    # -- the local server --------------------------------------------------------------------------------------------
    async def upload(self, account: str, name: str) -> Upload:
        """See `FileRoom`."""
        return await staging.Upload.begin(self._rooms.context(account), name)

    async def find(self, account: str, message: str, place: int) -> Download:
        """See `FileRoom`. An attachment's octets never change; the vault's name of them is theirs alone."""
        row = await _attached(self._rooms.context(account), message, place)
        return Download(staging.file_name(row.name), views.media_of(row.name), row.size, row.file)

    async def read(self, account: str, message: str, place: int, start: int) -> AsyncGenerator[bytes, None]:
        """See `FileRoom`. Ends with a problem when the home is locked, or the account was left, meanwhile."""
        context = self._rooms.context(account)
        row = await _attached(context, message, place)
        pieces = context.files.read(row.file, start)
        while piece := await asyncio.to_thread(next, pieces, b""):
            if self._rooms.context(account) is not context:
                raise problems.not_now("the account was opened anew meanwhile")
            yield piece


async def _attached(context: Context, message: str, place: int) -> Any:
    """The attachment's row, all of which is here. Raises `ProblemError`."""

    def find(c: Rows) -> Any:
        id = found(messages.named(c, message), NO_MESSAGE, "message")
        a = attachment.c
        return c.execute(select(attachment).where(a.message == id, a.place == place)).one_or_none()

    row = found(await context.database.read(find), _NO_ATTACHMENT, "place")
    if not row.file:
        raise problems.not_now(
            f"{row.name} is not here yet: {row.have} of {row.size} bytes are, the rest is on its way"
        )
    return row


def _visible(name: str) -> str:
    """No hidden file: programs take orders from those."""
    return staging.file_name(name).lstrip(".") or "attachment"


def _write_beside(folder: Path, name: str, pieces: Iterator[bytes]) -> Path:
    """A new file with these octets; on the disk when this returns. What cannot be finished is taken away again."""
    path, descriptor = _new_file(folder, name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    return path


def _new_file(folder: Path, name: str) -> tuple[Path, int]:
    stem, dot, ending = name.rpartition(".")
    for number in range(1, _TRIES_MAX):
        beside = name if number == 1 else f"{stem} ({number}).{ending}" if stem and dot else f"{name} ({number})"
        try:
            return folder / beside, os.open(folder / beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
    raise FileExistsError(0, "it is full of files of this name")
