# SPDX-License-Identifier: AGPL-3.0-or-later
"""Putting a backup back: whole or not at all, then what the journal knows of the time after it (B4, D1).

Ids go on above every id that was given: the mark of the highest is moved a day past the clock, past the backup's time
and highest id, and past what the journal has seen. What clients got after the backup comes to them again under the
same ids, by which they know it.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nacl.public import PrivateKey
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from gateway.backup.archive import ArchiveHeader, FileEnd, FileStart, Total, records
from gateway.backup.contents import DATABASE
from gateway.backup.entrances import close_entrances
from gateway.backup.journal import journals_of, stories
from gateway.backup.stream import BackupDamaged, opener_of
from gateway.settings.models import Name
from tmtp_core.clock import Clock
from tmtp_core.crypto.signing import SEED_BYTES, Signer
from tmtp_core.domain.device_log import DeviceLogs
from tmtp_core.domain.facts import FACTS_COUNTER, FACTS_LEAP, Told, facts_of
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.retelling import Retelling
from tmtp_core.errors import TmtpError
from tmtp_core.store.database import Database
from tmtp_core.store.folders import make_folder, sync_folder
from tmtp_core.store.ledger import SqlLedger

IDS_AHEAD_NS: Final = 24 * 3600 * 1_000_000_000
"""How far past the clock ids go on: the clock of the machine that was lost may have run before this one's."""
KEYS_AHEAD: Final = 1_000_000
"""The same for the numbers of accounts, devices and invitations, of which some were given after the backup."""
_MINUTE_NS: Final = 60 * 1_000_000_000
_SERVICE_KEY: Final = "service.key"
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)

Progress = Callable[[str, int], None]


class RestoreFailed(Exception):
    """Nothing was restored; the text says why, and what would mend it."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """What is to be restored, by whose key, and where to.

    `journals`: the folder with the journal; None: it is to be done without, whatever happened after the backup.
    """

    backup: Path
    secret: PrivateKey
    target: Path
    journals: Path | None


@dataclass(slots=True)
class Restored:
    """What came back. `facts`: how many were newer than the backup, by instance; `remarks`: what is not as wished."""

    header: ArchiveHeader
    files: int
    size: int
    facts: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def restore(restoring: Restoring, clock: Clock, progress: Progress) -> Restored:
    """Restore into a folder that is empty or not there (disk). Raises `RestoreFailed`; then it is as it was."""
    target = restoring.target
    unfinished = target.with_name(target.name + ".restoring")
    try:
        _require_empty(target)
        make_folder(target.parent)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        try:
            restored = _extract(restoring, unfinished, progress)
            _look_at_clock(restored, clock)
            for instance in restored.header.instances:
                _bring_up_to_date(restoring, restored, instance, unfinished / "instances" / instance, clock)
            closed = close_entrances(unfinished)
            if closed is not None:
                restored.remarks.append(closed)
            _sync_all(unfinished)
            if target.exists():
                target.rmdir()
            unfinished.rename(target)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_folder(target.parent)
    except (OSError, ValueError, sqlite3.Error, SQLAlchemyError, BackupDamaged, TmtpError) as error:
        raise RestoreFailed(_explained(error)) from error
    return restored


def _require_empty(target: Path) -> None:
    """Also a folder that a rename can replace: said before the work, not after it."""
    if target.is_symlink() or target.is_mount():
        what = "a link" if target.is_symlink() else "where a disk is mounted"
        raise RestoreFailed(
            f"{target} is {what}, which a whole folder cannot take the place of: give a folder below it, "
            f"{target / 'data'} for one, and say so under data_dir"
        )
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise RestoreFailed(f"{target} is not empty: nothing in it is overwritten; give a folder that is not there")


def _extract(restoring: Restoring, folder: Path, progress: Progress) -> Restored:
    """Every file, each with its hash; nothing of it counts before the archive's end has come."""
    header: ArchiveHeader | None = None
    total: Total | None = None
    descriptor = -1
    with restoring.backup.open("rb") as file:
        try:
            for record in records(file, opener_of(restoring.secret)):
                if isinstance(record, bytes):
                    view = memoryview(record)
                    while view:
                        view = view[os.write(descriptor, view) :]
                    progress("restoring", len(record))
                elif isinstance(record, FileStart):
                    path = folder / record.path
                    for parent in reversed(path.relative_to(folder).parents):
                        (folder / parent).mkdir(mode=0o700, exist_ok=True)
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                elif isinstance(record, FileEnd):
                    os.fsync(descriptor)
                    os.close(descriptor)
                    descriptor = -1
                elif isinstance(record, ArchiveHeader):
                    header = _checked(record)
                else:
                    total = record
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    assert header is not None
    assert total is not None
    return Restored(header, total.files, total.size)


def _checked(header: ArchiveHeader) -> ArchiveHeader:
    """Names of instances become paths, and who makes backups may not be a friend. Raises `BackupDamaged`."""
    for name in header.instances:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise BackupDamaged(f"{name[:100]!r} is no name of an instance: it was made by somebody else") from None
    return header


def _look_at_clock(restored: Restored, clock: Clock) -> None:
    """With a clock that is behind, a day past what the backup and the journal know may not be past all ids."""
    behind_s = restored.header.made_ms / 1000 - clock.wall_ns() / 1e9
    if behind_s > 0:
        restored.remarks.append(
            f"this machine's clock is {behind_s:.0f} s behind the backup's: put it right and restore again, or ids may "
            "be given twice"
        )


def _bring_up_to_date(restoring: Restoring, restored: Restored, instance: str, folder: Path, clock: Clock) -> None:
    """What the journal knows, and ids that go on above all that were given."""
    if not (folder / DATABASE).exists():
        raise BackupDamaged(f"this backup says that it holds {instance}, and has no database of it: take an older one")
    service = Signer((folder / _SERVICE_KEY).read_bytes()[:SEED_BYTES])
    told = _told(restoring, restored, instance, service)
    database = Database(folder / DATABASE)
    try:

        def bring(connection: Connection) -> int:
            ledger = SqlLedger(database, service.public_key, lambda event, fields: restored.remarks.append(f"{event}"))
            ledger.load(connection)
            ledger.begin(connection)
            after = ledger.counter(FACTS_COUNTER) or 0
            facts, missing = facts_of(told, after)
            if missing:
                count = sum(last - first + 1 for first, last in missing)
                restored.remarks.append(f"{instance}: {count} acts are missing in the journal")
            unfit = lambda what: restored.remarks.append(f"{instance}: left out: {what}")  # noqa: E731
            new = Retelling(ledger, DeviceLogs(service), Moment(clock.wall_ns()), unfit).tell(facts)
            last = max([after, *(story.first + len(story.facts) - 1 for story in told)])
            minutes = clock.wall_ns() // _MINUTE_NS  # else two restores without a journal would go on from one number
            ledger.set_counter(FACTS_COUNTER, max(last // FACTS_LEAP + 1, minutes) * FACTS_LEAP)
            own = ledger.next_number(0)  # one more than the highest that the backup knows
            begun_ns = restored.header.made_ms * 1_000_000
            highest = max([clock.wall_ns(), own, begun_ns, *(story.highest for story in told)])
            ledger.next_number(highest + IDS_AHEAD_NS)
            ledger.flush()
            connection.execute(text("UPDATE sqlite_sequence SET seq = seq + :ahead"), {"ahead": KEYS_AHEAD})
            ledger.committed()
            return new

        restored.facts[instance] = database.do(bring)
        database.checkpoint()
    finally:
        database.close()


def _told(restoring: Restoring, restored: Restored, instance: str, service: Signer) -> list[Told]:
    """What the journal tells of one instance. Raises `RestoreFailed` where there should be one and is none."""
    if restoring.journals is None:
        if restored.header.journal:
            restored.remarks.append(f"{instance}: restored without its journal: who was barred after the backup is not")
        return []
    files = journals_of(restoring.journals, instance)
    if not files and restored.header.journal:
        raise RestoreFailed(
            f"there is no journal of {instance} in {restoring.journals}, and with it would be known who was barred, "
            "blocked, revoked or named after this backup: give --journal FOLDER, or --without-journal"
        )
    told: list[Told] = []
    said: dict[str, None] = {}  # each once, whatever it is said of
    for file in files:
        told += stories(file, restoring.secret, service.public_key, said.setdefault)
    restored.remarks += said
    return told


def _sync_all(folder: Path) -> None:
    """Every name below is on the disk (disk)."""
    for below in sorted(folder.rglob("*")):
        if below.is_dir():
            sync_folder(below)
    sync_folder(folder)


def _explained(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "there is no room for what is in this backup: make room, and try again"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, SQLAlchemyError):
        return f"a database in this backup cannot be used: {str(error).splitlines()[0]}"
    return str(error)
