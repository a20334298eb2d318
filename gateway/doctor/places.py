# SPDX-License-Identifier: AGPL-3.0-or-later
"""The data folder: whose it is, who may read it, what dead processes left in it."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from gateway.backup.contents import LOCK, STAGING
from gateway.backup.taking import tidy_up
from gateway.control import SOCKET_NAME
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.settings import Settings

_OTHERS: Final = 0o077
_NAMED_MAX: Final = 5
_ANSWER_S: Final = 5.0


def is_running(data: Path) -> bool:
    """Whether a gateway has this folder."""
    return _locked(data / "lock")


def examine_places(settings: Settings) -> Iterator[Finding]:
    """Permissions, and leftovers."""
    data = settings.data_dir
    yield from _permissions(data)
    yield from _leftovers(data, running=is_running(data))


def _permissions(data: Path) -> Iterator[Finding]:
    owner = data.stat().st_uid
    open_to_others: list[Path] = []
    strange: list[Path] = []
    for path in (data, *sorted(data.rglob("*"))):
        try:
            found = path.lstat()
        except FileNotFoundError:  # it has gone meanwhile
            continue
        if stat.S_ISLNK(found.st_mode):
            continue
        if found.st_uid != owner:
            strange.append(path)
        if found.st_mode & _OTHERS and (path == data or stat.S_ISREG(found.st_mode)):
            open_to_others.append(path)
    if open_to_others and (data.stat().st_mode & _OTHERS or _is_secret(open_to_others)):
        yield fail(
            "permissions",
            f"others on this machine may read {_some(open_to_others)}",
            f"chmod -R go= {data}",
            partial(_close_to_others, tuple(open_to_others)),
        )
    if strange:
        yield fail(
            "permissions",
            f"{_some(strange)} belong to another user than {data}",
            f"chown -R {owner} {data}",
        )
    if not open_to_others and not strange:
        yield ok("permissions", f"only its owner can read {data}")


def _is_secret(paths: list[Path]) -> bool:
    return any(path.suffix in {".key", ".sqlite3"} or path.parent.name == "payloads" for path in paths)


def _close_to_others(paths: tuple[Path, ...]) -> None:
    for path in paths:
        if path.exists():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)


def _leftovers(data: Path, *, running: bool) -> Iterator[Finding]:
    control = data / SOCKET_NAME
    if running:
        if _answers(control):
            yield ok("gateway", "it runs, and can be administered")
        else:
            yield fail("gateway", f"it runs, and does not answer at {control}", "look at its log; start it again")
    elif _answers(control):  # in a container of its own, for one, whose locks are not seen from here
        yield ok("gateway", f"it runs, though its lock is not seen from here, and answers at {control}")
    elif control.exists():
        remove = partial(_remove_unanswered, control)
        yield warn("gateway", f"{control} was left by a gateway that was killed", f"rm {control}", remove)
    else:
        yield ok("gateway", "it does not run")
    if (data / STAGING).exists() and not _locked(data / LOCK):
        yield warn(
            "backups",
            f"{data / STAGING} was left by a backup that was killed, and holds messages",
            "tmtp-gateway doctor --mend, or take a backup",
            partial(tidy_up, data),
        )
    for copy in sorted(data.glob("instances/*/*.sqlite3.before-*")):
        yield warn(
            "gateway",
            f"{copy} was left by an update that was cut off, and holds messages",
            f"when the gateway runs well: rm {copy}",
        )


def _remove_unanswered(control: Path) -> None:
    """A gateway may have begun while the question was on the screen."""
    if not _answers(control):
        control.unlink(missing_ok=True)


def _answers(control: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_ANSWER_S)
        try:
            connection.connect(str(control))
        except OSError:
            return False
    return True


def _locked(path: Path) -> bool:
    """Whether a living process has this lock; it is not tried, or a gateway that starts just now could not have it."""
    try:
        found = path.stat()
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return False
    device = os.major(found.st_dev), os.minor(found.st_dev)
    named = f"{device[0]:02x}:{device[1]:02x}:{found.st_ino}"  # proc(5)
    if not device[0]:  # of some file systems the kernel knows another device than their files say
        named = f":{found.st_ino}"
    locks = [line.split() for line in lines if " FLOCK " in line]
    return any(field.endswith(named) for lock in locks for field in lock)


def _some(paths: list[Path]) -> str:
    named = ", ".join(str(path) for path in paths[:_NAMED_MAX])
    return named if len(paths) <= _NAMED_MAX else f"{named} and {len(paths) - _NAMED_MAX} more"
