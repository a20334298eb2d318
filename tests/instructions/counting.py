# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counting the hot paths' instructions under Cachegrind, and the counts that the tree keeps to compare with.

`perf stat` would be faster, and is not to be had in every container. Instructions that another interpreter, database
library or processor takes say nothing about a change here: the counts are kept for each of them.
"""

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Final

KEPT: Final = Path(__file__).with_name("counts.json")
UPDATE: Final = "python -m tests.instructions --update"
_ROOT: Final = Path(__file__).parent.parent.parent


class NotCounted(Exception):
    """Cachegrind, or what ran under it, failed."""


def valgrind() -> str | None:
    """Where Valgrind is."""
    return shutil.which("valgrind")


def circumstances() -> str:
    """What counts depend on, besides the code."""
    version = f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("msgspec", "SQLAlchemy"))
    return f"{version}, SQLite {sqlite3.sqlite_version}, {libraries}, {platform.machine()}"


def counted() -> dict[str, int]:
    """Instructions of each hot path for one post, now. Raises `NotCounted`."""
    program = valgrind()
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/%p"
        cachegrind = [program, "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={out}"]
        run = subprocess.run(
            [*cachegrind, sys.executable, "-m", "tests.instructions.hot_paths", out],
            cwd=_ROOT,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},  # and nothing else of this one's
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode:
        raise NotCounted(run.stderr)
    counts: dict[str, int] = json.loads(run.stdout)
    return counts


def kept() -> dict[str, dict[str, int]]:
    """The counts of the tree, for each of the circumstances that somebody has counted in."""
    every: dict[str, dict[str, int]] = json.loads(KEPT.read_text("utf-8"))
    return every


def keep(counts: dict[str, int]) -> None:
    """Put new counts into the tree."""
    every = {**kept(), circumstances(): counts}
    KEPT.write_text(json.dumps(every, indent=2, sort_keys=True) + "\n", "utf-8")
