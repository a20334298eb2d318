# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files of mail that was acknowledged: on the disk, name and all, before a function here returns (C2).

A name lies in its folder, which is synced for itself. Nobody but the intake's own user reads them: 0600, 0700. All
functions raise `OSError`.
"""

import os
import shutil
from pathlib import Path


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet. Its name is safe only when its folder is synced, too."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file anew: after a crash it is the old one or the new one, whole."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    write_new(new, content)
    new.replace(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(0o700, exist_ok=True)
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder that is whole or gone at every moment, under its name. Not there: fine."""
    old = folder.with_name(f"old-{folder.name}")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)  # what is left of it is no mail any more, and goes at the next start


def remove_file(path: Path) -> None:
    """Remove a file. Not there: fine."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The names in this folder are on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
