# SPDX-License-Identifier: AGPL-3.0-or-later
"""Wheel and source archive: the same bytes wherever and whenever they are built, and all in them (A7, C1)."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

needs_git = pytest.mark.skipif(
    subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True, check=False).returncode != 0,
    reason="this tree is no git repository",
)


def tracked(root: Path) -> set[str]:
    return {
        name for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=root, text=True).split("\0") if name
    }


def copied(to: Path) -> Path:
    """This tree, as somebody else would have it: what git tracks, in a repository with the same last commit."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", "--shared", ROOT, to], check=True)
    for name in sorted(tracked(ROOT), reverse=True):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
            (to / name).chmod(0o700 if os.access(ROOT / name, os.X_OK) else 0o600)
    shutil.copyfile(
        subprocess.check_output(
            ["git", "rev-parse", "--path-format=absolute", "--git-path", "index"], cwd=ROOT, text=True
        ).strip(),
        to / ".git" / "index",
    )
    return to


def built(root: Path, out: Path, **environment: str) -> dict[str, bytes]:
    done = subprocess.run(
        [sys.executable, root / "scripts" / "build.py", out],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {file.name: file.read_bytes() for file in out.iterdir()}


@needs_git
@pytest.mark.slow
def test_two_builds_are_the_same_bytes_and_have_everything_in_them(tmp_path: Path) -> None:
    here = built(ROOT, tmp_path / "one", TZ="UTC", LC_ALL="C")
    other = copied(tmp_path / "a folder" / "of another name")
    (other / "gateway" / "left_over.py").write_text("# by an editor\n", "utf-8")
    there = built(other, tmp_path / "two", TZ="Pacific/Kiritimati", LC_ALL="C.UTF-8", SOURCE_DATE_EPOCH="1")
    assert {name: hashlib.sha256(data).hexdigest() for name, data in here.items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in there.items()
    }
    wheel = next(tmp_path.glob("one/*.whl"))
    files = tracked(ROOT)
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    packages = {"tmtp_core", "gateway", "bridges", "tmtp_client", "migrations", "config"}
    assert {name for name in files if name.split("/")[0] in packages and (ROOT / name).is_file()} <= inside
    pages = {f"tmtp_client/web/lib/{name}" for name in ("preact.js", "signals.js", "htm.js", "LICENSES.txt")}
    assert pages <= inside, "what the pages take from npm is made, and comes with its licences"
    assert any(name.endswith("share/tmtp-gateway/tmtp-gateway.service") for name in inside)
    assert not any(name.split("/")[0] in {"tests", "bench", "scripts", "docs"} for name in inside)
    with tarfile.open(next(tmp_path.glob("one/*.tar.gz"))) as archive:
        sources = {member.name.partition("/")[2] for member in archive if member.isfile()}
        assert {(member.mtime, member.uid, member.mode & 0o022) for member in archive} == {
            (int(subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT)), 0, 0)
        }
    assert pages <= sources, "who builds from the source archive needs no npm"
    assert not {name for name in files if (ROOT / name).is_file() and not name.startswith(".")} - sources
