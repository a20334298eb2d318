# SPDX-License-Identifier: AGPL-3.0-or-later
"""Test material that is fetched once, from PyPI, npm and Debian, into a folder that is never committed.

Several processes run tests, and each would fetch what it finds missing: one does, the others wait, and what is there is
whole, also where somebody ended an earlier run in the middle.
"""

import fcntl
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

CACHE: Final = Path(__file__).parent.parent.parent / ".cache" / "downloads"
_PATIENCE_S: Final = 300.0


def from_pypi(name: str, version: str) -> Path | None:
    """The archive of a source distribution; None where it cannot be had."""
    command = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest")
    return _fetched(f"{name}-{version}.tar.gz", (sys.executable, *command), f"{name}=={version}")


def from_npm(name: str, version: str) -> Path | None:
    """The archive of a package; None where it cannot be had."""
    npm = shutil.which("npm") or "npm"
    return _fetched(f"{name}-{version}.tgz", (npm, "pack", "--silent", "--pack-destination"), f"{name}@{version}")


def sdist(name: str, version: str) -> Path:
    """The folder of a source distribution, with its tests; skips by name where it cannot be had."""
    archive = from_pypi(name, version)
    if archive is None:
        pytest.skip(f"the source distribution of {name} {version} cannot be downloaded")
    return unpacked(archive) / f"{name}-{version}"


def unpacked(archive: Path) -> Path:
    """A folder with what is in an archive."""
    folder = archive.with_name(f"{archive.name}.unpacked")
    with _alone() as unfinished:
        if not folder.exists():
            with tarfile.open(archive) as tar:
                tar.extractall(unfinished / "all", filter="data")
            (unfinished / "all").rename(folder)
    return folder


def debian(package: str) -> Path:
    """A folder with the files of a Debian package and of what it needs, without installing it.

    Mail servers cannot be installed beside each other. Skips by name where it cannot be had.
    """
    folder = CACHE / f"debian-{package}"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip(f"{package} can be had only on Debian")
    with _alone() as unfinished:
        if not folder.exists():
            _unpack_debian(package, unfinished)
            unfinished.rename(folder)
    return folder


def _unpack_debian(package: str, unfinished: Path) -> None:
    for one in (package, *_missing_libraries_of(package)):
        done = subprocess.run(["apt-get", "download", one], cwd=unfinished, capture_output=True, check=False)
        if done.returncode and one == package:
            pytest.skip(f"the Debian package {package} cannot be downloaded")
    for archive in unfinished.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=unfinished, check=True)
        archive.unlink()
    for file in unfinished.rglob("*"):  # what is unpacked is nobody's way to become another user
        if file.is_file() and not file.is_symlink():
            file.chmod(file.stat().st_mode & 0o777)


def _fetched(archive: str, command: tuple[str, ...], what: str) -> Path | None:
    """An archive of the cache, or what the command puts under that name into the folder that it is given."""
    kept = CACHE / archive
    with _alone() as unfinished:
        if not kept.exists():
            try:
                fetch = (*command, str(unfinished), what)
                subprocess.run(fetch, check=True, capture_output=True, timeout=_PATIENCE_S, stdin=subprocess.DEVNULL)
                (unfinished / archive).rename(kept)
            except (OSError, subprocess.SubprocessError):
                return None
    return kept


@contextmanager
def _alone() -> Iterator[Path]:
    """An empty folder of the cache's disk, while nobody else fetches anything."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=CACHE))
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _missing_libraries_of(package: str) -> list[str]:
    """The libraries, two steps deep, that a package needs and this machine has not."""
    found: list[str] = []
    for one in (package, *_needs(package)):
        found += [needed for needed in _needs(one) if needed not in found and not _installed(needed)]
    return found


def _needs(package: str) -> list[str]:
    done = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines()]
    named = [line.partition("Depends: ")[2] for line in lines if line.startswith("Depends: ")]
    return [name for name in named if name.startswith("lib") or name.endswith("-base")]


def _installed(package: str) -> bool:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, check=False)
    return "ok installed" in done.stdout
