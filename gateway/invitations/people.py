# SPDX-License-Identifier: AGPL-3.0-or-later
"""A list of people as spreadsheets save it: CSV in, their names out, or every mistake with its line."""

import csv
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tmtp_core import limits

FILE_MAX_BYTES: Final = 1 << 20
"""A thousand names take 30 KB; a file that is larger is another one."""
PEOPLE_MAX: Final = limits.INVITATIONS_LISTED_MAX
"""As many as are made in one commit, and as can be looked through afterwards."""

_HEADERS: Final = frozenset({"name", "full name", "display name", "person"})
_DELIMITERS: Final = ",;\t"


@dataclass(frozen=True, slots=True)
class Mistake:
    """In which line, what is wrong, what would be right."""

    line: int
    wrong: str
    right: str


class PeopleInvalid(Exception):
    """The list cannot be used: all its mistakes, in the order of their lines."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


def read_people(content: bytes) -> list[str]:
    """The names of a CSV file, in its order.

    UTF-8, with a byte order mark or without; parted by commas, semicolons or tabs, quoted or not. A first line that
    calls a column `name` says which one it is, in any case of letters; a file of one column needs none. Lines with
    nothing in them are left out. Raises `PeopleInvalid` with every mistake.
    """
    rows = list(_rows(_text(content)))
    if not rows:
        raise PeopleInvalid([Mistake(1, "there is nobody in the file", "one name a line")])
    column, people = _column(rows)
    names, mistakes = _names(people, column)
    if not names and not mistakes:
        mistakes = [Mistake(rows[0][0] + 1, "there is nobody below the first line", "one name a line")]
    if len(names) > PEOPLE_MAX:
        line = people[PEOPLE_MAX][0]
        mistakes.append(Mistake(line, f"the file has {len(names)} people", f"{PEOPLE_MAX} at most; part it in several"))
    if mistakes:
        raise PeopleInvalid(sorted(mistakes, key=lambda mistake: mistake.line))
    return names


def _text(content: bytes) -> str:
    """What the file says. Raises `PeopleInvalid`."""
    if len(content) > FILE_MAX_BYTES:
        raise PeopleInvalid([Mistake(1, f"the file has {len(content)} bytes", f"{FILE_MAX_BYTES} at most")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PeopleInvalid([Mistake(line, "this is not UTF-8", "save it as CSV in UTF-8")]) from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that have something in them, each with the line it begins in. Raises `PeopleInvalid`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        wrong = "a quotation mark is not closed, or stands inside a cell"
        right = 'a name with quotes in it as "Ada ""the Countess"" Lovelace"'
        raise PeopleInvalid([Mistake(line, wrong, right)]) from None


def _delimiter(text: str) -> str:
    """What parts the cells: whichever there is most of in the first line that says something, outside of quotes."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = "".join(first.split('"')[::2])
    return max(_DELIMITERS, key=bare.count)


def _column(rows: list[tuple[int, list[str]]]) -> tuple[int, list[tuple[int, list[str]]]]:
    """Where the names are, and the rows that have some. Raises `PeopleInvalid`."""
    line, first = rows[0]
    for number, cell in enumerate(first):
        if cell.casefold() in _HEADERS:
            return number, rows[1:]
    if max(len([cell for cell in cells if cell]) for _, cells in rows) == 1 and len({_only(c) for _, c in rows}) == 1:
        return _only(first), rows
    raise PeopleInvalid([Mistake(line, "several columns, and none is called name", "a first line such as: name,team")])


def _only(cells: list[str]) -> int:
    """The first cell that has something in it."""
    return next(number for number, cell in enumerate(cells) if cell)


def _names(rows: list[tuple[int, list[str]]], column: int) -> tuple[list[str], list[Mistake]]:
    seen: dict[str, int] = {}
    mistakes: list[Mistake] = []
    names: list[str] = []
    for line, cells in rows:
        name = unicodedata.normalize("NFC", cells[column]) if column < len(cells) else ""
        wrong, right = _fault(name)
        if not wrong and name.casefold() in seen:
            wrong, right = f"{name} stands in line {seen[name.casefold()]} too", "each once; tell namesakes apart"
        if wrong:
            mistakes.append(Mistake(line, wrong, right))
            continue
        seen[name.casefold()] = line
        names.append(name)
    return names, mistakes


def _fault(name: str) -> tuple[str, str]:
    """What is wrong with a name by itself, and what would be right; nothing of both where it is good."""
    if not name:
        return "the name is missing", "a name, or nothing in the whole line"
    if not name.isprintable():
        return "the name has characters that cannot be printed, or goes over several lines", "letters and blanks"
    if len(name) > limits.NAME_MAX_CHARACTERS:
        return f"the name has {len(name)} characters", f"{limits.NAME_MAX_CHARACTERS} at most"
    return "", ""
