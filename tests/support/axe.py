# SPDX-License-Identifier: AGPL-3.0-or-later
"""axe-core, which finds what keeps people from using a page: fetched from npm by the test set-up, never committed."""

import subprocess
import tarfile
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page

_VERSION: Final = "4.10.3"
_FOLDER: Final = Path(__file__).parent.parent.parent / ".cache" / "axe"


def axe_source() -> str:
    """The program, as a text to be run in a page."""
    archive = _FOLDER / f"axe-core-{_VERSION}.tgz"
    if not archive.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"axe-core@{_VERSION}", "--pack-destination", str(_FOLDER), "--silent"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("axe-core cannot be fetched: npm or its registry is away")
    with tarfile.open(archive) as opened:
        member = opened.extractfile("package/axe.min.js")
        assert member is not None
        with member:
            return member.read().decode()


def violations(page: Page, source: str) -> list[str]:
    """What axe finds wrong with a page, each with the elements that are meant."""
    page.evaluate(source)
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [f"{one['id']}: {[node['html'][:160] for node in one['nodes']][:5]}" for one in found]
