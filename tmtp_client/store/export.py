# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole history of an account in plain text, in a new file or folder: what somebody wrote keeps nobody here.

mbox as its readers agree (mboxrd: "From " at a line's beginning is quoted, and can be restored), a message each with
its attachments as MIME; or a folder with `history.json` and the files. Message by message and piece by piece: memory
does not grow with the history. What is written gets its name once all of it is on the disk, and never an old one's.
"""

import base64
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.header import Header
from email.utils import encode_rfc2231, format_datetime, formataddr
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec
from sqlalchemy import Connection, Row, func, select, true

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.store import tables, views
from tmtp_client.store.tables import attachment, message, thread
from tmtp_client.vault.disk import sync_folder
from tmtp_client.vault.files import FileDamaged

Progress = Callable[[int, int], None]
"""Messages that are written, of how many. What it raises ends the export, and nothing is left of it."""

FORMAT_VERSION: Final = 1
_LINE_BYTES: Final = 57  # that make one line of base64
_TEXT_LINE_MAX: Final = 998  # octets; RFC 5322 §2.1.1
_QUOTED: Final = re.compile(rb"^(?=>*From )", re.MULTILINE)
_NOT_IN_HEADERS: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_NOT_IN_NAMES: Final = re.compile(r"[^\w.\- ]+")


class Files(Protocol):
    """Where the octets of attachments are: tmtp_client.vault.files.Files."""

    def read(self, file: str, start: int = 0) -> Iterator[bytes]: ...


class Stopped(Exception):
    """The history is being closed: nobody waits for what takes long."""


class WhileOpen:
    """Files that can be read until one of `closing` is set: then `Stopped` is raised, within a piece."""

    def __init__(self, files: Files, *closing: threading.Event) -> None:
        self._files = files
        self._closing = closing

    def read(self, file: str, start: int = 0) -> Iterator[bytes]:
        """As `Files` does."""
        for piece in self._files.read(file, start):
            self.check()
            yield piece

    def check(self) -> None:
        """Raises `Stopped`, where it is time."""
        if any(one.is_set() for one in self._closing):
            raise Stopped


class _Unreadable(Exception):
    """A file is not here, or is damaged."""


def to_mbox(connection: Connection, files: Files, path: Path, progress: Progress) -> models.Exported:
    """Everything as one mbox. Raises FileExistsError where there is something of that name, `OSError`."""
    host = connection.scalar(select(tables.identity.c.host)) or "unknown"
    domain = re.sub(r"[^a-z0-9.-]+", "-", host.lower()) + ".tmtp.invalid"  # whoever answers by mail reaches nobody
    with _new_file(path) as out:
        messages = complete = 0
        for one, text_of in _messages(connection, progress):
            complete += _Letter(connection, files, one, domain).write(out, text_of)
            messages += 1
    return models.Exported(str(path), messages, complete)


def to_json(connection: Connection, files: Files, path: Path, progress: Progress) -> models.Exported:
    """Everything as a folder: `history.json`, in which each person, group, thread and message has a line of its own,
    and `files`. Raises FileExistsError where there is something of that name, `OSError`.
    """
    with _new_folder(path) as folder:
        kept = folder / "files"
        kept.mkdir(mode=0o700)
        messages = complete = 0
        with _written(folder / "history.json") as out:
            out.write(b'{"version": %d,\n"account": %s' % (FORMAT_VERSION, _account(connection)))
            _array(out, "people", map(msgspec.json.encode, views.people_where(connection, true())))
            _array(out, "groups", map(msgspec.json.encode, views.groups_where(connection, true())))
            _array(out, "threads", map(msgspec.json.encode, _threads(connection, progress)))
            out.write(b',\n"messages": [')
            for one, text_of in _messages(connection, progress):
                paths = _files_of(connection, files, one, kept)
                complete += sum(1 for place in paths.values() if place)
                told = msgspec.to_builtins(one)
                for file in told.get("attachments", ()):
                    file["path"] = paths[file["place"]]
                told["text"] = text_of
                out.write((b",\n" if messages else b"\n") + msgspec.json.encode(told))
                messages += 1
            out.write(b"\n]}\n")
        sync_folder(kept)
    return models.Exported(str(path), messages, complete)


# -- what is read ----------------------------------------------------------------------------------------------------
def _messages(connection: Connection, progress: Progress) -> Iterator[tuple[models.Message, str]]:
    """Every message and its text, in the order in which this device got to know them."""
    m = message.c
    total = _total(connection)
    done = latest = 0
    progress(done, total)
    while numbers := connection.scalars(
        select(m.number).where(m.number > latest).order_by(m.number).limit(limits.EXPORT_NUMBERS)
    ).all():
        for number in numbers:
            rows = connection.execute(select(message).where(m.number == number)).all()
            (one,) = views.messages_of(connection, rows)
            yield one, one.text
            done += 1
            progress(done, total)
        latest = numbers[-1]


def _total(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(message)) or 0


def _threads(connection: Connection, progress: Progress) -> Iterator[models.Thread]:
    t, latest, total = thread.c, "", _total(connection)
    while rows := connection.execute(
        select(thread).where(t.id > latest).order_by(t.id).limit(limits.EXPORT_NUMBERS)
    ).all():
        progress(0, total)
        yield from views.threads_of(connection, rows)
        latest = rows[-1].id


def _account(connection: Connection) -> bytes:
    i = tables.identity.c
    row = connection.execute(select(i.uid, i.alias, i.host, i.port, i.service)).one_or_none()
    return msgspec.json.encode({} if row is None else dict(row._mapping))


def _octets(files: Files, file: str) -> Iterator[bytes]:
    """A file of the vault. Raises `_Unreadable`, also for one that has no name yet."""
    if not file:
        raise _Unreadable
    try:
        yield from files.read(file)
    except (FileDamaged, OSError):
        raise _Unreadable from None


# -- JSON ------------------------------------------------------------------------------------------------------------
def _array(out: BinaryIO, name: str, items: Iterable[bytes]) -> None:
    out.write(b',\n"%s": [' % name.encode())
    for number, item in enumerate(items):
        out.write((b",\n" if number else b"\n") + item)
    out.write(b"\n]")


def _files_of(connection: Connection, files: Files, one: models.Message, folder: Path) -> dict[int, str]:
    """Write a message's files; where in the export each is, "" of one that is not here or is damaged."""
    paths = {}
    for row in _attachments(connection, one.id):
        path = folder / _safe(f"{one.id}-{row.place}-{row.name}")
        paths[row.place] = f"files/{path.name}" if _copy(files, row.file, path) else ""
    return paths


def _attachments(connection: Connection, id: str) -> list[Row[Any]]:
    a = attachment.c
    return list(connection.execute(select(attachment).where(a.message == id).order_by(a.place)))


def _copy(files: Files, file: str, path: Path) -> bool:
    try:
        with _written(path) as out:
            for piece in _octets(files, file):
                out.write(piece)
    except _Unreadable:
        path.unlink(missing_ok=True)
        return False
    return True


def _safe(name: str) -> str:
    """A name for a file, whatever its sender called it."""
    return _NOT_IN_NAMES.sub("_", name).encode()[: limits.FILE_NAME_MAX_BYTES].decode(errors="ignore").rstrip(" .")


# -- mbox ------------------------------------------------------------------------------------------------------------
class _Letter:
    """One message as mail."""

    def __init__(self, connection: Connection, files: Files, one: models.Message, domain: str) -> None:
        self._files = files
        self._one = one
        self._domain = domain
        self._attachments = _attachments(connection, one.id)
        to = connection.scalar(select(message.c.to).where(message.c.id == one.id)) or "[]"
        self._to = [name for name, _ in msgspec.json.decode(to, type=list[tuple[str, int]])]
        self._aliases = {person.uid: person.alias for person in views.people_by_uid(connection, self._to)}
        subject = select(thread.c.subject).where(thread.c.id == one.thread)
        self._subject = one.subject or connection.scalar(subject) or ""

    def write(self, out: BinaryIO, text: str) -> int:
        """Write it; how many of its attachments are complete."""
        posted = _time(self._one.posted)
        boundary = f"=_tmtp_{_word(self._one.id)}_="
        out.write(f"From {_word(self._one.author)}@{self._domain} {time.asctime(posted.timetuple())}\n".encode())
        for name, value in self._headers(posted):
            out.write(f"{name}: {value}\n".encode())
        complete = 0
        if not self._attachments:
            self._text(out, text, boundary)
        else:
            out.write(f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n'.encode())
            out.write(f"--{boundary}\n".encode())
            self._text(out, text, boundary)
            for row in self._attachments:
                out.write(f"\n--{boundary}\n".encode())
                complete += self._part(out, row)
            out.write(f"\n--{boundary}--\n".encode())
        out.write(b"\n")
        return complete

    def _headers(self, posted: datetime) -> Iterator[tuple[str, str]]:
        one = self._one
        yield "Date", format_datetime(posted)
        yield "From", self._address(one.alias, one.author)
        if self._to:
            yield "To", ",\n ".join(self._address(self._aliases.get(uid, uid), uid) for uid in self._to)
        yield "Subject", Header(_line(self._subject), "utf-8", 76, "Subject").encode(linesep="\n")
        yield "Message-ID", f"<{_word(one.id)}@{self._domain}>"
        if one.thread != one.id:
            yield "References", f"<{_word(one.thread)}@{self._domain}>"
            yield "In-Reply-To", f"<{_word(one.thread)}@{self._domain}>"
        yield "X-TMTP-Kind", one.kind
        yield "X-TMTP-State", one.state
        yield "X-TMTP-Author", f"{_word(one.author)}{'' if one.verified else ' (not verified)'}"
        if one.via:
            yield "X-TMTP-Via", _word(one.via)
        yield "MIME-Version", "1.0"

    def _address(self, name: str, uid: str) -> str:
        return formataddr((_line(name), f"{_word(uid)}@{self._domain}"))

    def _text(self, out: BinaryIO, text: str, boundary: str) -> None:
        octets = text.encode()
        out.write(b"Content-Type: text/plain; charset=utf-8\n")
        plain = not any(one in octets for one in (b"\r", b"\0", boundary.encode()))
        if plain and max(map(len, octets.split(b"\n"))) <= _TEXT_LINE_MAX:
            out.write(b"Content-Transfer-Encoding: 8bit\n\n" + _QUOTED.sub(b">", octets) + b"\n")
        else:
            out.write(b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(octets))

    def _part(self, out: BinaryIO, row: Row[Any]) -> int:
        pieces = _octets(self._files, row.file)
        try:
            first = next(pieces, b"")  # before anything is said of it
            out.write(f"Content-Type: {views.media_of(row.name)}\n".encode())
            name = encode_rfc2231(_line(row.name), "utf-8")
            out.write(f"Content-Disposition: attachment; filename*={name}\n".encode())
            out.write(b"Content-Transfer-Encoding: base64\n\n")
            _encoded(out, first, pieces)
        except _Unreadable:
            lacks = f"{_line(row.name)}: not here, or damaged\n".encode()
            out.write(b"Content-Type: text/plain; charset=utf-8\n\n" + _QUOTED.sub(b">", lacks))
            return 0
        return 1


def _encoded(out: BinaryIO, first: bytes, pieces: Iterator[bytes]) -> None:
    """Octets as lines of base64."""
    left = first
    for piece in pieces:
        whole = len(left) - len(left) % _LINE_BYTES
        out.write(base64.encodebytes(left[:whole]))
        left = left[whole:] + piece
    out.write(base64.encodebytes(left))


def _line(text: str) -> str:
    """A text as a header can carry it: on one line."""
    return _NOT_IN_HEADERS.sub(" ", text).strip()


def _word(text: str) -> str:
    """A name as a part of an address or of a message's id; others' names are not to be trusted."""
    return re.sub(r"[^A-Za-z0-9%+._-]", "_", text) or "_"


def _time(posted: str) -> datetime:
    try:
        return datetime.fromisoformat(posted).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


# -- new and whole, or not at all ------------------------------------------------------------------------------------
@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A new file for its owner alone; on the disk at the end."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name once it is whole."""
    begun = _begun(path)
    try:
        with _written(begun) as out:
            yield out
        path.touch(mode=0o600, exist_ok=False)  # the name is ours from here on: what it stands for is replaced
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that has its name once it is whole."""
    begun = _begun(path)
    begun.mkdir(mode=0o700)
    try:
        yield begun
        sync_folder(begun)
        path.mkdir(mode=0o700)
        begun.replace(path)  # an empty folder of our own
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    sync_folder(path.parent)


def _begun(path: Path) -> Path:
    """Beside it, for what is not whole yet. Raises FileExistsError."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} is there already")
    begun = path.with_name(f".{path.name}.part")
    if begun.is_dir():  # left by a power cut
        shutil.rmtree(begun)
    begun.unlink(missing_ok=True)
    return begun
