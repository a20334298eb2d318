# SPDX-License-Identifier: AGPL-3.0-or-later
"""What of a data folder belongs into a backup, and how each part is read.

Databases are copied through SQLite, payloads as the copies name them; everything else as it lies there. What only means
something to a running process stays behind.
"""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from gateway.settings import Settings

STAGING: Final = "backup.tmp"
"""Below the data folder: where copies of databases are made; only while a backup is under way."""
LOCK: Final = "backup.lock"
KEPT: Final = "settings-of-backup"
"""In an archive and below a restored data folder: the settings, and the files elsewhere that they name."""
DATABASE: Final = "service.sqlite3"
PAYLOADS: Final = "payloads"
_NOT_KEPT: Final = re.compile(
    r"lock|lock-\d+|.+\.lock|.+\.new|.+\.sqlite3-(wal|shm|journal)|.+\.sqlite3\.before-.*"
    r"|.+\.tmtpbackup(\.unfinished)?|.+\.journal"
)
"""Names of files. A folder is never left out for its name: instances and bridges may have any."""
_NAMED_BY_ROWS: Final = ("held", "outgoing")
"""Folders of a bridge. What is in its spool, `waiting`, is in no database: nothing of it comes twice, since posts have
ids that the bridge's database and the service's know.
"""
_DEPTH_MAX: Final = 16  # of folders in folders


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one data folder: paths in the archive and where they are. `databases` have their payload folders, if any."""

    files: tuple[tuple[str, Path], ...]
    databases: tuple[tuple[str, Path, Path | None], ...]


def contents(settings: Settings, file: Path) -> Contents:
    """What there is just now. `file` is the settings file."""
    data = settings.data_dir
    payload_folders = {data / "instances" / one.name / PAYLOADS for one in settings.instances}
    skipped = {folder.resolve() for folder in (*payload_folders, data / KEPT, data / STAGING)}
    files: list[tuple[str, Path]] = []
    databases: list[tuple[str, Path, Path | None]] = []
    for path in _walk(data, skipped, 0):
        name = path.relative_to(data).as_posix()
        if path.suffix == ".sqlite3":
            payloads = path.parent / PAYLOADS if path.name == DATABASE else None
            databases.append((name, path, payloads))
        else:
            files.append((name, path))
    taken = {path.resolve() for _, path in files}
    files += [(f"{KEPT}/{name}", path) for name, path in _elsewhere(settings, file, taken)]
    return Contents(tuple(files), tuple(databases))


def bridges_mail(settings: Settings) -> list[tuple[str, Path]]:
    """The mail of bridges that their databases name: held for a decision, or a member's answer on its way.

    Each is a file before it is a row, and goes after it. Looked for before the databases are copied and once more
    afterwards, there is a file for each row that the copies have.
    """
    data = settings.data_dir
    folders = [folder for name in _NAMED_BY_ROWS for folder in sorted(data.glob(f"bridges/*/{name}"))]
    return [(path.relative_to(data).as_posix(), path) for folder in folders for path in _walk(folder, set(), 0)]


def database_of(instance: str) -> str:
    """The path of an instance's database below the data folder, and in an archive."""
    return f"instances/{instance}/{DATABASE}"


def _walk(folder: Path, skipped: set[Path], depth: int) -> Iterator[Path]:
    if depth > _DEPTH_MAX:
        raise OSError(f"{folder} lies too deep: {_DEPTH_MAX} folders in one another at most")
    try:
        below = sorted(folder.iterdir())
    except FileNotFoundError:  # it has gone meanwhile
        if depth == 0:
            raise
        return
    for path in below:
        if path.resolve() in skipped:
            continue
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if path.name == PAYLOADS and (folder / DATABASE).is_file():  # also where settings no longer name it
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, skipped, depth + 1)
        elif stat.S_ISREG(mode) and not _NOT_KEPT.fullmatch(path.name):
            yield path


def _elsewhere(settings: Settings, file: Path, taken: set[Path]) -> Iterator[tuple[str, Path]]:
    """The settings file, and whatever file it names that was not `taken` yet: certificates, keys, secrets, pictures."""
    yield "gateway.yaml", file
    for place, path in named_files(settings):
        if path.resolve() not in taken and path.is_file():
            yield f"{place}/{path.name}", path


def named_files(block: BaseModel, place: str = "") -> Iterator[tuple[str, Path]]:
    """Every path in the settings, and where it stands there: `instances/main/tls/certificate`."""
    for name, value in block:
        yield from _named_in(value, f"{place}/{name}" if place else name)


def _named_in(value: object, place: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield place, value
    elif isinstance(value, BaseModel):
        yield from named_files(value, place)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _named_in(one, f"{place}/{getattr(one, 'name', number)}")
