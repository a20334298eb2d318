# SPDX-License-Identifier: AGPL-3.0-or-later
"""The house rules that no linter knows (style.md)."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LISTED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
FILES = [ROOT / name for name in LISTED] or [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
PYTHON = [path for path in FILES if path.suffix == ".py" and path.exists()]
PRODUCT = [path for path in PYTHON if path.relative_to(ROOT).parts[0] not in {"tests", "scripts", "bench"}]
CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "urandom", "now", "today", "utcnow"}


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_its_licence_and_its_purpose(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("# SPDX-License-Identifier: AGPL-3.0-or-later\n")
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_on_a_few_screens(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 600


def test_the_core_asks_nobody_for_the_time_or_for_chance() -> None:
    for path in PRODUCT:
        if path.relative_to(ROOT).parts[0] != "tmtp_core":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
                owner = node.func.value
                assert not (isinstance(owner, ast.Name) and owner.id in {"time", "os", "datetime", "random"}), path


def test_nothing_prints_but_the_command_lines() -> None:
    for path in PRODUCT:
        if "cli" in path.parts:
            continue
        calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}, path


def test_nothing_secret_or_generated_is_kept() -> None:
    for path in FILES:
        assert path.suffix not in {".pem", ".key", ".sqlite3", ".db", ".pyc"}, path


def test_the_packages_are_all_in_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for package in ("tmtp_core", "gateway", "bridges", "tmtp_client", "migrations", "config"):
        assert f'"{package}*"' in text
        assert (ROOT / package / "__init__.py").exists()
