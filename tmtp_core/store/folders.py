# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folders whose names a power cut does not take: syncing a file does not sync the name of the folder it lies in."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """The names in this folder are on the disk when this returns (disk)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder and those above it, where missing; their names are on the disk when this returns (disk)."""
    if folder.is_dir():
        return
    make_folder(folder.parent, 0o777)
    folder.mkdir(mode, exist_ok=True)
    sync_folder(folder.parent)
