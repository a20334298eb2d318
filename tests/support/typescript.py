# SPDX-License-Identifier: AGPL-3.0-or-later
"""TypeScript's compiler: fetched from npm by the test set-up, never committed."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.downloads import from_npm, unpacked

_VERSION: Final = "5.9.3"


def compiler() -> Path:
    """The program `tsc.js`, to be run by node."""
    archive = from_npm("typescript", _VERSION)
    if archive is None:
        pytest.skip("TypeScript cannot be fetched: npm or its registry is away")
    return unpacked(archive) / "package" / "lib" / "tsc.js"


def compile_all(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """Compile files of a folder, strictly, to modules for a browser."""
    strict = ("--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noUnusedLocals")
    target = ("--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--lib", "es2022,dom")
    command = ("node", str(compiler()), *strict, *target, *names)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
