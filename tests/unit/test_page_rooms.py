# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rooms of the pages' modules (docs/architecture.md, "How the pages are made"): each imports from those before it only,
and what one module takes from another is there, so that no page breaks where nobody looked.
"""

import re
from pathlib import Path
from typing import Final

import pytest

APP: Final = Path(__file__).parents[2] / "tmtp_client" / "web" / "app"
LIB: Final = APP.parent / "lib"  # not in the repository
ROOMS: Final = (
    *("base", "controls", "state", "people", "writing", "list", "forms", "thread", "onboarding", "shell", "settings"),
    "app",  # main.js
)
MODULES: Final = sorted(APP.rglob("*.js"))
IMPORTS: Final = re.compile(r'^import (?:\{([^}]*)\} from )?"([^"]+)";$', re.M)
LATER: Final = re.compile(r'import\("([^"]+)"\)(?:\.(\w+))?')  # in a type, too
FETCHED: Final = re.compile(r'Fetched\} from="([^"]+)" part="(\w+)"')


def called(module: Path) -> str:
    return module.relative_to(APP).as_posix()


def taken(names: str | None) -> set[str]:
    return {one.split(" as ")[0].strip() for one in (names or "").split(",")} - {""}


def given(module: Path) -> set[str]:
    """What a module exports, its types among it."""
    text = module.read_text("utf-8")
    found = set(re.findall(r"^export (?:async )?(?:function|const|class|let) (\w+)", text, re.M))
    for some in re.findall(r"^export \{([^}]*)\};", text, re.M):
        found |= taken(some)
    return found | set(re.findall(r"@typedef (?:\{.*\}|\{object\}) (\w+)", text))


@pytest.mark.parametrize("module", MODULES, ids=called)
def test_a_room_imports_from_those_before_it(module: Path) -> None:
    place = ROOMS.index(module.parent.name)
    for _, path in IMPORTS.findall(module.read_text("utf-8")):
        found = (module.parent / path).resolve()
        assert found.parent == LIB or ROOMS.index(found.parent.name) <= place, f"{called(module)} imports {path}"


@pytest.mark.parametrize("module", MODULES, ids=called)
def test_what_a_module_takes_is_there(module: Path) -> None:
    text = module.read_text("utf-8")
    asked = [(module.parent / path, taken(names)) for names, path in IMPORTS.findall(text)]
    asked += [(module.parent / path, {name} - {"", "then"}) for path, name in LATER.findall(text)]
    asked += [(APP / f"{name}.js", {part}) for name, part in FETCHED.findall(text)]
    for found, names in asked:
        if found.resolve().parent != LIB:
            assert names <= given(found.resolve()), f"{called(module)} takes from {called(found.resolve())}"
