# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the machine could be lost: how old the newest backup is, and whether its journal is there."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.backup.contents import DATABASE
from gateway.backup.journal import current_path, is_cut_off, journals_of, lacks_path, last_number
from gateway.backup.taking import backups_in
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.settings import Settings
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.domain.facts import FACTS_COUNTER, FACTS_LEAP

_TOO_OLD_S: Final = 7 * 24 * 3600
_CLOCK_PATIENCE_S: Final = 60.0
_JOURNAL_PATIENCE_S: Final = 1.0
_TAKE: Final = "take one every day: tmtp-gateway backup -c FILE, from a timer (docs/backup.md)"


def examine_backups(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Backups, where they are, and the journal."""
    backup = settings.backup
    if backup.recipient is None:
        yield warn(
            "backups",
            "none are set up: with this machine everything would be lost",
            "tmtp-gateway backup-key makes the key; put the public one under backup: recipient:",
        )
        return
    found = backups_in(backup.to)
    if not found:
        yield fail("backups", f"there is none in {backup.to}", _TAKE)
    else:
        yield _age(clock.wall_ns() / 1e9 - found[-1][0] / 1000, found[-1][1], len(found))
    if backup.to.is_dir() and settings.data_dir.is_dir() and _same_disk(backup.to, settings.data_dir):
        yield warn(
            "backups",
            f"{backup.to} is on the disk that {settings.data_dir} is on, and is lost with it",
            "backup: to: a folder on another disk, or on a machine that is mounted here",
        )
    yield from _journal(settings, found[-1][0] if found else None)


def _age(age_s: float, newest: Path, count: int) -> Finding:
    if age_s < -_CLOCK_PATIENCE_S:
        return warn(
            "backups",
            f"{newest.name} is of a time that has not come: this clock is behind, or was ahead when it was taken",
            "see that the clock is right, then take a backup",
        )
    text = f"the newest of {count} is {age_s / 3600:.0f} hours old: {newest.name}"
    if age_s > _TOO_OLD_S:
        return fail("backups", text, _TAKE)
    if age_s > limits.BACKUP_OLD_S:
        return warn("backups", text, _TAKE)
    return ok("backups", text)


def _journal(settings: Settings, newest_ms: int | None) -> Iterator[Finding]:
    """`newest_ms`: of the newest backup; what older ones need is no concern."""
    folder = settings.backup.journal_folder
    instances = [
        one.name
        for one in settings.instances
        if one.database is None and (settings.data_dir / "instances" / one.name / DATABASE).exists()
    ]
    missing = [name for name in instances if not current_path(folder, name).exists()]
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "journal",
            f"{folder} is not there, or cannot be written: a restore would let in who is barred from now on",
            f"mount it, or make it: mkdir -m 700 {folder}",
        )
    elif missing and newest_ms is not None:
        yield fail(
            "journal",
            f"{folder} has no journal of {', '.join(missing)}: it was removed",
            "take a backup now, which begins another one",
        )
    else:
        behind = [name for name in instances if _is_behind(settings, name)]
        cut_off = [name for name in instances if _is_cut_off(folder, name, newest_ms or 0)]
        if cut_off:
            yield fail(
                "journal",
                f"it is damaged or cut off in what it has of {', '.join(cut_off)}: a restore would undo some of it",
                "see that its disk is well, and take a backup now",
            )
        elif behind:
            yield fail(
                "journal",
                f"it lacks acts of {', '.join(behind)}, which a restore would undo",
                "see that its disk is well, and take a backup now",
            )
        else:
            yield ok("journal", f"it is in {folder}")


def _is_behind(settings: Settings, name: str) -> bool:
    """Whether the database knows of facts that the journal lacks; looked at twice, since the journal hears second."""
    if lacks_path(settings.backup.journal_folder, name).exists():
        return True
    database = settings.data_dir / "instances" / name / DATABASE
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT value FROM counter WHERE name = ?", (FACTS_COUNTER,)).fetchone()
    except sqlite3.Error:
        return False  # said elsewhere
    known = row[0] if row is not None else 0
    for pause_s in (0, _JOURNAL_PATIENCE_S):
        time.sleep(pause_s)
        told = max((last_number(path) for path in journals_of(settings.backup.journal_folder, name)), default=0)
        if not told or told >= known or known % FACTS_LEAP == 0:
            return False
    return True


def _is_cut_off(folder: Path, name: str, since_ms: int) -> bool:
    """Whether some file has half an entry; looked at twice, since the gateway may be writing one."""
    for pause_s in (0, _JOURNAL_PATIENCE_S):
        time.sleep(pause_s)
        if not any(is_cut_off(path) for path in journals_of(folder, name, since_ms)):
            return False
    return True


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
