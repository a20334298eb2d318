# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the client's pages take from npm: fetched by hash, made the same everywhere, with its licences (B6)."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "tmtp_client" / "web"


def _library() -> ModuleType:
    """As the build has it: beside the packages, not among them."""
    spec = importlib.util.spec_from_file_location("library", ROOT / "packaging" / "pages" / "library.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


library = _library()
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the files that say what is taken, and nothing made of them."""
    web = tmp_path / "tmtp_client" / "web"
    web.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(WEB / name, web / name)
    return tmp_path


def change_lock(tree: Path, **fields: Any) -> None:
    """Of preact."""
    file = tree / "tmtp_client" / "web" / "package-lock.json"
    lock = json.loads(file.read_text())
    lock["packages"]["node_modules/preact"] |= fields
    file.write_text(json.dumps(lock))


@needs_npm
@pytest.mark.slow
def test_it_is_made_once_and_the_same_as_here(tree: Path) -> None:
    assert library.make(tree)
    assert not library.make(tree)
    made = {file.name: file.read_bytes() for file in (tree / "tmtp_client" / "web" / "lib").iterdir()}
    for name in made.keys() - {library.STAMP}:  # which is of that program, too
        assert made[name] == (WEB / "lib" / name).read_bytes()
    assert set(made) == {name for _, _, name in library.TAKEN.values()} | {library.LICENSES, library.STAMP}
    change_lock(tree, license="another")
    assert not library.is_made(tree / "tmtp_client" / "web"), "another lock file, another folder"


@needs_npm
@pytest.mark.slow
def test_an_archive_of_another_hash_is_not_taken(tree: Path) -> None:
    change_lock(tree, integrity="sha512-" + "A" * 86 + "==")
    with pytest.raises(library.NotMade, match="EINTEGRITY"):
        library.make(tree)
    assert not (tree / "tmtp_client" / "web" / "lib").exists()


@pytest.mark.parametrize("integrity", ["", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="])
def test_a_lock_file_without_a_strong_hash_is_refused(tree: Path, integrity: str) -> None:
    change_lock(tree, integrity=integrity)
    with pytest.raises(library.NotMade, match="no hash"):
        library.make(tree)


def test_without_npm_it_is_said_what_helps(tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(library.NoNpm, match="apt-get install npm"):
        library.make(tree)


def test_every_version_is_exact_and_locked() -> None:
    wanted = json.loads((WEB / "package.json").read_text())["dependencies"]
    locked = library.locked(WEB / "package-lock.json")
    assert wanted.items() <= locked.items()
    assert {package for package, _, _ in library.TAKEN.values()} == set(locked), (
        "nothing is fetched that is not shipped"
    )


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ('import{h}from"preact";', 'import{h}from"./preact.js";\n'),
        ("import { a } from 'preact/hooks'\n", "import { a } from './hooks.js'\n"),
        ('export{Signal}from"@preact/signals-core";', 'export{Signal}from"./signals-core.js";\n'),
        ('import "preact";', 'import "./preact.js";\n'),
        ("let a=1;//# sourceMappingURL=a.mjs.map", "let a=1;\n"),
        ("let a=1;\n//# sourceMappingURL=a.mjs.map\n", "let a=1;\n"),
    ],
)
def test_imports_become_paths_and_nothing_points_to_what_is_not_there(source: str, made: str) -> None:
    assert library.rewritten(source, "x.js") == made


def test_an_import_of_something_else_is_refused() -> None:
    with pytest.raises(library.NotMade, match="react"):
        library.rewritten('import r from"react";', "x.js")


def test_what_is_here_has_its_licences_and_names_no_package() -> None:
    texts = (WEB / "lib" / library.LICENSES).read_text()
    for package, version in library.locked(WEB / "package-lock.json").items():
        assert f"{package} {version} (" in texts
    assert "Permission is hereby granted" in texts
    assert "Apache License" in texts
    for _, _, name in library.TAKEN.values():
        source = (WEB / "lib" / name).read_text()
        assert all(path.startswith("./") for path in re.findall(r'\bfrom\s*"([^"]+)"', source))
        assert "sourceMappingURL" not in source
