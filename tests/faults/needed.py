# SPDX-License-Identifier: AGPL-3.0-or-later
"""What some of these tests need, and what is said where it is not there: they are skipped.

In CI what could be installed is never missed silently.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import disk
from tests.support.thorough import NOTHING_IS_MISSED


def _needs(there: bool, lack: str, *, installable: bool) -> pytest.MarkDecorator:
    must_run = installable and NOTHING_IS_MISSED
    return pytest.mark.skipif(not there and not must_run, reason=lack)


_FUSE = os.access("/dev/fuse", os.R_OK | os.W_OK)
_LACK = disk.missing()
DISK = _needs(_FUSE and _LACK is None, _LACK or "/dev/fuse is not there, or not for this user", installable=_FUSE)
STRACE = _needs(shutil.which("strace") is not None, "strace is missing: apt-get install strace", installable=True)
ROOT = _needs(os.geteuid() == 0, "only root mounts a small disk", installable=False)


@contextmanager
def small_disk(path: Path, size_mib: int) -> Iterator[None]:
    """A disk of this size at a folder, for the length of the block."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)
