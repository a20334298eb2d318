# SPDX-License-Identifier: AGPL-3.0-or-later
"""Test material that is fetched once, from PyPI and from Debian, into a folder that is never committed."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent.parent / ".cache" / "downloads"


def sdist(name: str, version: str) -> Path:
    """The folder of a source distribution, with its tests; skips by name where it cannot be had."""
    folder = CACHE / f"{name}-{version}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = (
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            str(CACHE),
            f"{name}=={version}",
        )
        done = subprocess.run([sys.executable, "-m", "pip", *command], capture_output=True, check=False)
        archive = CACHE / f"{name}-{version}.tar.gz"
        if done.returncode or not archive.exists():
            pytest.skip(f"the source distribution of {name} {version} cannot be downloaded")
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE, filter="data")
    return folder


def debian(package: str) -> Path:
    """A folder with the files of a Debian package and of what it needs, without installing it.

    Mail servers cannot be installed beside each other. Skips by name where it cannot be had.
    """
    folder = CACHE / f"debian-{package}"
    if folder.exists():
        return folder
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip(f"{package} can be had only on Debian")
    unfinished = CACHE / f"debian-{package}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
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
    unfinished.rename(folder)
    return folder


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
