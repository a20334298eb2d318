# SPDX-License-Identifier: AGPL-3.0-or-later
"""The machine: its clock, its disks, how many files may be open."""

import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.settings import Settings
from tmtp_core.clock import Clock

_FREE_MIN_BYTES: Final = 256 << 20
_FREE_LOW_SHARE: Final = 0.10
_INODES_MIN: Final = 1_000
_FUTURE_S: Final = 60  # that a file's time may lie ahead of the clock
_TIMEX_BYTES: Final = 512  # `struct timex` has 208; more does no harm
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised


def examine_machine(settings: Settings, clock: Clock, descriptors_needed: int) -> Iterator[Finding]:
    """Clock, disks, descriptors."""
    yield from _clock(settings, clock)
    for what, folder in (("data_dir", settings.data_dir), ("backups", settings.backup.to)):
        if folder.is_dir():
            yield from _disk(what, folder, _needed(settings) if what == "data_dir" else _FREE_MIN_BYTES)
    yield _descriptors(descriptors_needed)


def _clock(settings: Settings, clock: Clock) -> Iterator[Finding]:
    now_s = clock.wall_ns() / 1e9
    newest = max((path.stat().st_mtime for path in settings.data_dir.glob("instances/*/*.sqlite3")), default=0.0)
    if newest > now_s + _FUTURE_S:
        yield fail(
            "clock",
            f"it is {(newest - now_s) / 3600:.1f} hours behind what was written here last: it is wrong",
            "set it, and keep it right: timedatectl set-ntp true",
        )
    synchronised = _synchronised()
    if synchronised is None:
        yield ok("clock", "the system does not tell whether it is synchronised")
    elif synchronised:
        yield ok("clock", "it is synchronised")
    else:
        yield warn("clock", "nothing keeps it right", "timedatectl set-ntp true, or install chrony")


def _synchronised() -> bool | None:
    """What the kernel knows, whichever program sets the clock; None where it does not tell."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _needed(settings: Settings) -> int:
    """Room for a copy of the largest database, which a backup makes, and to go on meanwhile."""
    sizes = [path.stat().st_size for path in settings.data_dir.glob("instances/*/*.sqlite3")]
    return sum(sizes) + _FREE_MIN_BYTES


def _disk(what: str, folder: Path, needed: int) -> Iterator[Finding]:
    found = os.statvfs(folder)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    text = f"{free >> 20} MiB are free where {folder} is"
    if free < _FREE_MIN_BYTES:
        yield fail(what, text, "make room: when it is full, nothing more is accepted")
    elif free < needed:
        yield warn(what, f"{text}, and a backup needs {needed >> 20} MiB for a while", "make room")
    elif free < whole * _FREE_LOW_SHARE:
        yield warn(what, f"{text}, less than a tenth", "make room before it is full")
    else:
        yield ok(what, text)
    if found.f_files and found.f_favail < _INODES_MIN:
        yield fail(what, f"{found.f_favail} more files can be made where {folder} is", "remove files, or make inodes")


def _descriptors(needed: int) -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return ok("descriptors", f"{needed} are needed at most, and may be had from here")
    return warn(
        "descriptors",
        f"{needed} may be needed, and {hard} may be had by what is started from here",
        "LimitNOFILE= of systemd (ulimit -Hn), or lower limits.connections_max",
    )
