# SPDX-License-Identifier: AGPL-3.0-or-later
"""What some of these tests need, and what is said where it is not there: they are skipped, but never in CI."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import disk


def _needs(lack: str | None) -> pytest.MarkDecorator:
    return pytest.mark.skipif(lack is not None and os.environ.get("CI") != "true", reason=lack or "nothing is missing")


DISK = _needs(disk.missing())
STRACE = _needs(None if shutil.which("strace") else "strace is not installed: apt-get install strace")
ROOT = _needs(None if os.geteuid() == 0 else "only root mounts a small disk")


@contextmanager
def small_disk(path: Path, size_mib: int) -> Iterator[None]:
    """A disk of this size at a folder, for the length of the block."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)
