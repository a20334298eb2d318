# SPDX-License-Identifier: AGPL-3.0-or-later
"""What has to be on the disk before anything else happens."""

import os
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 1 << 20


def write_durably(path: Path, data: bytes) -> None:
    """A file of this content, for its owner alone: all of it or the one before; durable when this returns."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def destroy(path: Path) -> None:
    """A secret is no more: written over, then unlinked; durable when this returns. Idempotent. Of a link only the link.

    Writing over helps where a file system writes in place; a flash disk may keep what was there until it needs room.
    """
    if not os.path.lexists(path):
        return
    if not path.is_symlink():
        _write_over(path)
    path.unlink()
    sync_folder(path.parent)


def _write_over(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size = os.fstat(descriptor).st_size
        for start in range(0, size, _PIECE_BYTES):
            os.pwrite(descriptor, bytes(min(_PIECE_BYTES, size - start)), start)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """A folder for its owner alone, and those above it; durable when this returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
