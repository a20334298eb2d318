# SPDX-License-Identifier: AGPL-3.0-or-later
"""Taking a backup, while the gateway runs or not (C1): whole, checked, encrypted, or not there at all.

The order is what makes it consistent. First what lies in plain files; then one moment of all databases, while no
payload is removed; then the payloads that this moment names. What was acknowledged before it began is in it.
"""

import errno
import fcntl
import os
import pwd
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from nacl.public import PublicKey

from gateway.backup import journal, snapshots
from gateway.backup.archive import ArchiveHeader, ArchiveWriter, FileEnd, FileStart, records
from gateway.backup.contents import LOCK, STAGING, Contents, bridges_mail, contents, database_of
from gateway.backup.stream import BackupDamaged, StreamWriter, opener_of_own
from gateway.settings import Settings
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes
from tmtp_core.store.folders import make_folder, sync_folder
from tmtp_core.store.payloads import held

SUFFIX: Final = ".tmtpbackup"
_NAME: Final = re.compile(r"tmtp-(\d{8}T\d{6})(\d{3})Z\.tmtpbackup")
_UNFINISHED: Final = re.compile(r"\..+\.tmtpbackup\.unfinished")

Progress = Callable[[str, int], None]
"""Hears which step goes on, and how many octets more are done."""


class BackupFailed(Exception):
    """There is no new backup; the text says why, and what would mend it."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What is to be backed up, and where to.

    `settings_file`: of these settings; `target`: a folder, or the file to make; `version`: of this program; `left_out`:
    instances whose databases are elsewhere and stay there; `keep`: how many backups the folder keeps, None for all;
    `journal_folder`: where the journal of these backups is, None for none.
    """

    settings: Settings
    settings_file: Path
    target: Path
    recipient: PublicKey
    version: str
    left_out: tuple[str, ...] = ()
    keep: int | None = None
    journal_folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that is whole, read again, and on the disk.

    `made_ms`: the time in its name, later than those of all before it. `missing`: payloads that were lost before.
    """

    file: Path
    size: int
    files: int
    made_ms: int
    removed: tuple[Path, ...]
    missing: tuple[str, ...]


def take_backup(taking: Taking, clock: Clock, random_bytes: RandomBytes, progress: Progress) -> Taken:
    """Take one backup (disk, and it takes its time). Raises `BackupFailed`; then nothing is left that looks whole."""
    try:
        _require_owner(taking.settings.data_dir)
        with _alone(taking.settings.data_dir) as staging:
            now_ms = clock.wall_ns() // 1_000_000
            newest_ms = max((ms for ms, _ in backups_in(taking.target)), default=0)
            made_ms = max(now_ms, newest_ms + 1)  # names tell the order, also after the clock was put back
            if taking.target.exists() and not taking.target.is_dir() and taking.target.suffix != SUFFIX:
                raise BackupFailed(f"{taking.target} is no folder, and the name of a backup ends in {SUFFIX}")
            file = _named(taking.target, made_ms)
            if file.exists():
                raise BackupFailed(f"{file} is there already: choose another name")
            make_folder(file.parent)
            _remove_unfinished(file.parent)
            writing = _Writing(taking, staging, now_ms, made_ms, progress)
            size = writing.write(file, random_bytes)
            if taking.journal_folder is not None:
                journal.settled(taking.journal_folder, writing.instances)
            removed = _prune(taking, file)
    except (OSError, ValueError, sqlite3.Error, snapshots.SnapshotDamaged, BackupDamaged) as error:
        raise BackupFailed(_explained(error)) from error
    return Taken(file, size, len(writing.written), made_ms, removed, tuple(writing.missing))


def _require_owner(data: Path) -> None:
    """Files that somebody else makes beside a gateway stop it: its journal, for one. Raises `BackupFailed`."""
    owner = data.stat().st_uid
    if owner == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"+{owner}"
    raise BackupFailed(
        f"{data} belongs to {name}, and what another user makes its gateway could not write: "
        f"runuser -u {name} -- tmtp-gateway backup -c FILE"
    )


@contextmanager
def _alone(data: Path) -> Iterator[Path]:
    """The folder for copies; no other backup is under way. What one that was killed left in it goes."""
    descriptor = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed("another backup of this gateway is under way: wait for its end") from None
        staging = data / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(descriptor)


def tidy_up(data: Path) -> None:
    """Remove what a backup left that was killed, unless one is under way (disk): copies of databases hold messages."""
    if (data / STAGING).exists():
        with suppress(BackupFailed), _alone(data):
            pass


class _Writing:
    """One archive that is being made. `written`: path and hash of each file in it."""

    def __init__(self, taking: Taking, staging: Path, now_ms: int, made_ms: int, progress: Progress) -> None:
        self._taking = taking
        self._staging = staging
        self._now_ms = now_ms
        self._made_ms = made_ms
        self._progress = progress
        self._archive: ArchiveWriter
        self.written: dict[str, str] = {}
        self.missing: list[str] = []
        self.instances: tuple[str, ...] = ()  # whose databases are in it

    def write(self, file: Path, random_bytes: RandomBytes) -> int:
        """The archive under its name, whole and read again; its octets."""
        unfinished = file.with_name(f".{file.name}.unfinished")
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as out:
                stream = StreamWriter(out, self._taking.recipient, random_bytes)
                self._fill(stream)
                out.flush()
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # read again from the disk, not from memory
                _verify(out, stream.data_key, self.written, self._progress)
                size = os.fstat(descriptor).st_size
            unfinished.rename(file)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        sync_folder(file.parent)
        return size

    def _fill(self, stream: StreamWriter) -> None:
        """Everything, in the order that makes it consistent."""
        taking = self._taking
        here = [one.name for one in taking.settings.instances if one.name not in taking.left_out]
        if taking.journal_folder is not None:
            known = {name: snapshots.last_fact(taking.settings.data_dir / "instances" / name) for name in here}
            journal.put_aside(taking.journal_folder, known, self._made_ms)
        found = contents(taking.settings, taking.settings_file)
        self.instances = _taken(taking, here, found)
        header = ArchiveHeader(
            self._now_ms, taking.version, self.instances, taking.left_out, taking.journal_folder is not None
        )
        self._archive = ArchiveWriter(stream, header)
        self.written = self._archive.files
        for name, path in found.files:
            with suppress(FileNotFoundError):  # it has gone meanwhile
                self._add(name, path)
        with ExitStack() as stack:
            for _, _, payloads in found.databases:
                if payloads is not None and payloads.is_dir():
                    stack.enter_context(held(payloads, fcntl.LOCK_EX))
            self._add_databases(found)
        for name, path in bridges_mail(taking.settings):
            if name not in self.written:
                with suppress(FileNotFoundError):
                    self._add(name, path)
        self._archive.finish()

    def _add_databases(self, found: Contents) -> None:
        copies = [self._staging / f"{number}.sqlite3" for number in range(len(found.databases))]
        with snapshots.held_moments([path for _, path, _ in found.databases]) as connections:
            for (name, _, _), connection, copy in zip(found.databases, connections, copies, strict=True):
                try:
                    snapshots.copy(connection, copy, lambda octets: self._progress("copying", octets))
                except snapshots.SnapshotDamaged as damaged:
                    raise snapshots.SnapshotDamaged(f"{name}: {damaged}") from None
        for (name, _, payloads), copy in zip(found.databases, copies, strict=True):
            self._add(name, copy)
            if payloads is not None:
                self._add_payloads(name, copy, payloads)
            copy.unlink()

    def _add_payloads(self, name: str, copy: Path, payloads: Path) -> None:
        """Those that the copy's messages name. What was lost before is no reason to lose the rest as well."""
        below = name.rsplit("/", 1)[0]
        for file, size in snapshots.named_payloads(copy):
            path = payloads / file
            try:
                there = path.stat().st_size
            except FileNotFoundError:
                there = -1
            if there == size:
                self._add(f"{below}/{payloads.name}/{file}", path)
            else:
                self.missing.append(str(path))

    def _add(self, name: str, path: Path) -> None:
        with path.open("rb") as source:
            for octets in self._archive.add(name, source):
                self._progress("writing", octets)


def _taken(taking: Taking, instances: list[str], found: Contents) -> tuple[str, ...]:
    """Those whose databases are taken; one that was never started has none. Raises `BackupFailed` for any other."""
    taken = {name for name, _, _ in found.databases}
    for name in instances:
        database = taking.settings.data_dir / database_of(name)
        if database_of(name) not in taken and database.exists():
            raise BackupFailed(f"{database} would not be in this backup: see that it is a plain file")
    return tuple(name for name in instances if database_of(name) in taken)


def _verify(out: BinaryIO, data_key: bytes, written: dict[str, str], progress: Progress) -> None:
    """Read the whole archive again, as the owner of the secret key would. Raises `BackupDamaged`."""
    out.seek(0)
    path, hashes = "", dict[str, str]()
    for record in records(out, opener_of_own(data_key)):
        if isinstance(record, FileStart):
            path = record.path
        elif isinstance(record, FileEnd):
            hashes[path] = record.hash
        elif isinstance(record, bytes):
            progress("verifying", len(record))
    if hashes != written:
        raise BackupDamaged("what was written is not what was read again: the disk of the backup fails")


def _named(target: Path, made_ms: int) -> Path:
    """The file to make."""
    if target.suffix == SUFFIX and not target.is_dir():
        return target
    seconds, milliseconds = divmod(made_ms, 1000)
    return target / f"tmtp-{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}{milliseconds:03d}Z{SUFFIX}"


def backups_in(folder: Path) -> list[tuple[int, Path]]:
    """The whole backups in a folder, oldest first, by the time in their names (milliseconds since 1970)."""
    found: list[tuple[int, Path]] = []
    for path in folder.glob(f"*{SUFFIX}") if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is not None:
            moment = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
            found.append((int(moment.timestamp()) * 1000 + int(match[2]), path))
    return sorted(found)


def _prune(taking: Taking, made: Path) -> tuple[Path, ...]:
    """Of the folder's backups the newest stay; with the others go the journals that only they needed."""
    if taking.keep is None:
        return ()
    found = backups_in(made.parent)
    old, kept = [one for one in found[: -taking.keep] if one[1] != made], found[-taking.keep :]
    for _, path in old:
        path.unlink()
    if taking.journal_folder is not None and taking.journal_folder.is_dir() and kept:
        journal.remove_older(taking.journal_folder, kept[0][0])
    return tuple(path for _, path in old)


def _remove_unfinished(folder: Path) -> None:
    """What a backup left that was killed. (Two gateways with one folder for their backups: see docs/backup.md.)"""
    for path in folder.glob(f".*{SUFFIX}.unfinished"):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _explained(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no room{f' for {error.filename}' if error.filename else ''}: make room, and try again"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return "there is no room for a copy of the database beside it: make room, and try again"
    if isinstance(error, snapshots.SnapshotDamaged):
        return f"a database is damaged, and the last good backup is not to be replaced by it: {error}"
    return str(error)
