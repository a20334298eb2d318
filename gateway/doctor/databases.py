# SPDX-License-Identifier: AGPL-3.0-or-later
"""Databases and the payloads that their messages need; read only, beside a gateway that runs."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.backup.contents import DATABASE, PAYLOADS
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.settings import Settings
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.schema import DatabaseTooNew, Steps
from tmtp_core.store.payloads import held

_ORPHANED_AFTER_S: Final = 3_600  # what is younger may be a message that is on its way in
_NAMED_MAX: Final = 5  # of many, so many are named
_IDS_AHEAD_NS: Final = 25 * 3_600 * 1_000_000_000  # a restore moves them a day ahead (`gateway.backup.restoring`)


def examine_databases(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Each database of the data folder, and each instance's payloads."""
    for instance in settings.instances:
        about = f"instance {instance.name}"
        if instance.database is not None:
            yield ok(about, "its database is PostgreSQL, which is not examined here")
            continue
        folder = settings.data_dir / "instances" / instance.name
        if not (folder / DATABASE).exists():
            yield warn(about, "it has no database yet", "start the gateway once: tmtp-gateway serve")
            continue
        yield from _examined(about, folder, clock)
    for path in sorted(settings.data_dir.glob("*.sqlite3")):
        yield from integrity(path.name, path)


def _examined(about: str, folder: Path, clock: Clock) -> Iterator[Finding]:
    path = folder / DATABASE
    found = list(integrity(about, path))
    yield from found
    if any(one.level == "fail" for one in found):
        return  # what it says of itself is worth nothing
    try:
        with closing(_read_only(path)) as connection:
            yield from _schema(about, connection, path)
            yield _ids(about, connection, clock)
            yield from _payloads(about, connection, path, folder / PAYLOADS, clock)
    except sqlite3.Error as error:
        yield fail(about, f"its database cannot be read: {error}", "see whether its disk is well, or restore a backup")


def integrity(about: str, path: Path) -> Iterator[Finding]:
    """`integrity_check`, and the references from table to table."""
    try:
        with closing(_read_only(path)) as connection:
            told = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_NAMED_MAX})")]
            astray = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.Error as error:
        yield fail(
            about, f"{path} cannot be read: {error}", "see whether its disk is well, or restore the newest backup"
        )
        return
    if told != ["ok"]:
        yield fail(about, f"{path} is damaged: {told[0]}", "stop the gateway and restore the newest backup")
    elif astray is not None:
        yield fail(about, f"{path}: a row of {astray[0]} names one that is not there", "restore the newest backup")
    else:
        yield ok(about, f"{path.name} is sound")


def _schema(about: str, connection: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    (current,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    try:
        newest = Steps("migrations:", str(path)).judge(current)
    except DatabaseTooNew as error:
        yield fail(about, str(error), "install the newer release again")
        return
    if newest:
        yield ok(about, f"its schema is {current}, this release's own")
    else:
        yield warn(about, f"its schema is {current}, of an older release", "the next start of the gateway brings it up")


def _ids(about: str, connection: sqlite3.Connection, clock: Clock) -> Finding:
    row = connection.execute("SELECT max(value) FROM counter WHERE name LIKE 'message_high_water%'").fetchone()
    ahead_s = ((row[0] or 0) - clock.wall_ns()) / 1e9
    if ahead_s * 1e9 <= _IDS_AHEAD_NS:
        return ok(about, "message ids agree with the clock")
    return warn(
        about,
        f"message ids are {ahead_s / 3600:.0f} hours ahead of the clock: it was set back, or was wrong before",
        "see that the clock is right; ids go on above all that were given, whatever it says",
    )


def _payloads(
    about: str, connection: sqlite3.Connection, database: Path, folder: Path, clock: Clock
) -> Iterator[Finding]:
    lying = {path.name: path.stat() for path in folder.iterdir()} if folder.is_dir() else {}
    named = dict(connection.execute("SELECT file, max(size) FROM message WHERE file IS NOT NULL GROUP BY file"))
    gone = sorted(
        file for file in named if file not in lying and not (folder / file).exists() and _is_named(database, file)
    )
    short = sorted(file for file, size in named.items() if file in lying and lying[file].st_size != size)
    young_s = clock.wall_ns() / 1e9 - _ORPHANED_AFTER_S
    orphaned = sorted(name for name, stat in lying.items() if name not in named and stat.st_mtime < young_s)
    if gone or short:
        yield fail(
            about,
            f"{len(gone)} payloads are missing and {len(short)} have another size than their messages say: "
            + ", ".join([*gone, *short][:_NAMED_MAX]),
            "put them back from a backup; else their messages go back to their senders after return_after_days",
        )
    if orphaned:
        yield warn(
            about,
            f"{len(orphaned)} payloads in {folder} belong to no message: {', '.join(orphaned[:_NAMED_MAX])}",
            "tmtp-gateway doctor --mend, or start the gateway again: it removes them",
            partial(_remove_orphaned, database, folder, tuple(orphaned)),
        )
    if not (gone or short or orphaned):
        yield ok(about, f"{len(named)} payloads, as their messages name them")


def _is_named(database: Path, file: str) -> bool:
    """Still: a message may have been taken since it was looked at."""
    with closing(_read_only(database)) as connection:
        return connection.execute("SELECT 1 FROM message WHERE file = ?", (file,)).fetchone() is not None


def _remove_orphaned(database: Path, folder: Path, names: tuple[str, ...]) -> None:
    with held(folder, fcntl.LOCK_SH | fcntl.LOCK_NB) as free:
        if not free:
            raise OSError("a backup is under way: try again when it is done")
        for name in names:
            if not _is_named(database, name):
                (folder / name).unlink(missing_ok=True)


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={limits.DATABASE_BUSY_TIMEOUT_MS}")
    return connection
