# SPDX-License-Identifier: AGPL-3.0-or-later
"""TypeScript's compiler: fetched from npm by the test set-up, never committed."""

import subprocess
import tarfile
from pathlib import Path
from typing import Final

import pytest

_VERSION: Final = "5.9.3"
_FOLDER: Final = Path(__file__).parent.parent.parent / ".cache" / "typescript"


def compiler() -> Path:
    """The program `tsc.js`, to be run by node."""
    program = _FOLDER / f"package-{_VERSION}" / "package" / "lib" / "tsc.js"
    if not program.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"typescript@{_VERSION}", "--pack-destination", str(_FOLDER), "--silent"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=180)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("TypeScript cannot be fetched: npm or its registry is away")
        with tarfile.open(_FOLDER / f"typescript-{_VERSION}.tgz") as archive:
            archive.extractall(_FOLDER / f"package-{_VERSION}", filter="data")
    return program


def compile_all(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Compile files of a folder, strictly, to modules for a browser."""
    strict = ("--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noUnusedLocals")
    target = ("--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--lib", "es2022,dom")
    command = ("node", str(compiler()), *strict, *target, *names)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
