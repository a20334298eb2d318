# SPDX-License-Identifier: AGPL-3.0-or-later
"""A YAML text that knows where each of its values stands, so that every mistake can be shown (C4)."""

from dataclasses import dataclass
from typing import Any

import yaml

from tmtp_core import limits

Path = tuple[str | int, ...]
"""Keys and indices from the root of the file to a value."""

_MANUAL = "tmtp-gateway sample-config prints a whole file"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` and `column` count from 1; `path` reads like `instances[0].policy`."""

    line: int
    column: int
    path: str
    wrong: str
    right: str


class _TooMany(Exception):
    """With its aliases written out the text has more values than `limits.SETTINGS_VALUES_MAX`."""


class YamlSource:
    """The plain data of a YAML text, and the place of every value in it.

    `problems` has what is wrong with the text itself: bad syntax, a key that comes twice, a value that is none, more
    values than a settings file can need.
    """

    def __init__(self, text: str) -> None:
        self.data: Any = None
        self.problems: list[Problem] = []
        self._places: dict[Path, tuple[int, int]] = {(): (1, 1)}
        self._values = 0
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            if node is not None:
                self.data = self._read(node, ())
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except yaml.YAMLError as error:
            self.problems.append(Problem(1, 1, "", f"this is not YAML: {error}", _MANUAL))
        except RecursionError:
            wrong = "what stands here is nested too deep, or an alias (*name) is in what it names"
            self.problems.append(Problem(1, 1, "", wrong, _MANUAL))
        except _TooMany:
            wrong = f"with aliases (*name) written out this file has more than {limits.SETTINGS_VALUES_MAX:,} values"
            self.problems.append(Problem(1, 1, "", wrong, f"fewer aliases of aliases; {_MANUAL}"))

    def problem(self, path: Path, wrong: str, right: str) -> Problem:
        """A mistake at a value, or at the nearest one around it that stands in the file."""
        place = path
        while place not in self._places:
            place = place[:-1]
        line, column = self._places[place]
        return Problem(line, column, path_text(path), wrong, right)

    def _read(self, node: yaml.Node, path: Path) -> Any:
        self._values += 1
        if self._values > limits.SETTINGS_VALUES_MAX:
            raise _TooMany
        self._places.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._read_scalar(node, path)

    def _read_scalar(self, node: yaml.Node, path: Path) -> Any:
        loader = yaml.SafeLoader("")
        try:
            value = loader.construct_object(node, deep=True)
        except (ValueError, LookupError, AttributeError):  # what PyYAML raises for 2021-13-45, `!!bool x`, `!!int ''`
            return self._unfit(node, path, "YAML makes no value of this", "in quotes, if it is meant as text")
        finally:
            loader.dispose()
        if isinstance(value, str) and "\0" in value:  # which no path, name or address can hold
            return self._unfit(node, path, "this text holds a NUL", "the text without it")
        return value

    def _unfit(self, node: yaml.Node, path: Path, wrong: str, right: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(mark.line + 1, mark.column + 1, path_text(path), wrong, right))

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            below = (*path, key)
            if key in mapping:
                first = self._places[below][0]
                self.problems.append(
                    Problem(
                        *place,
                        path_text(below),
                        "this key stands here twice",
                        f"keep one; the other is in line {first}",
                    )
                )
                continue
            self._places[below] = place
            mapping[key] = self._read(value_node, below)
        return mapping

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        tab = "\\t" in str(error.problem)
        right = "indent with blanks, never with tabs" if tab else f"mend the YAML syntax here; {_MANUAL}"
        self.problems.append(Problem(line, column, "", f"this is not YAML: {error.problem}", right))


def path_text(path: Path) -> str:
    """`("instances", 0, "policy")` as `instances[0].policy`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text
