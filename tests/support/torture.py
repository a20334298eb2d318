# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mails that others have collected to break parsers with, fetched once, never committed: tests/support/downloads.py.

From PyPI the sources of flufl.bounce, hyperkitty, mail-parser and tnefparse; from npm wildduck; and what CPython tests
`email` with, which comes with the interpreter or with Debian's libpython3.11-testsuite.
"""

import hashlib
import re
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.downloads import from_npm, from_pypi

_FROM_PYPI = {
    "flufl.bounce": ("flufl_bounce", "6.0.0"),
    "hyperkitty": ("hyperkitty", "1.3.12"),
    "mail-parser": ("mail_parser", "4.8.0"),
    "tnefparse": ("tnefparse", "1.4.0"),
}
_FROM_NPM = {"wildduck": ("wildduck", "1.46.1")}
_DEBIAN_TESTS = "python3*/test/test_email/data"
_FIELD = re.compile(rb"\A(?:From [^\n]*\n)?\s*(?:[A-Za-z][A-Za-z0-9-]{0,60}:[^\n]*\r?\n(?:[ \t][^\n]*\n)*){2}")
_CODE = (".py", ".js", ".ts", ".json", ".html", ".css", ".md", ".rst", ".po", ".yml", ".yaml", ".cfg", ".toml", ".ini")


class Torture(NamedTuple):
    """One mail: where it is from, and its octets."""

    name: str
    octets: bytes


def source(package: str) -> Path | None:
    """The archive with a package's sources; None where it cannot be had."""
    return from_pypi(*_FROM_PYPI[package]) if package in _FROM_PYPI else from_npm(*_FROM_NPM[package])


def mails(package: str) -> list[Torture]:
    """All mails of one collection, "cpython" being one; empty where it cannot be had."""
    found = _of_cpython() if package == "cpython" else _of_archive(package)
    return [Torture(name, octets) for name, octets in found if octets]


def members(package: str) -> Iterator[tuple[str, bytes]]:
    """The files of a package's sources."""
    archive = source(package)
    if archive is None:
        return
    with tarfile.open(archive) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _of_archive(package: str) -> Iterator[tuple[str, bytes]]:
    seen: set[bytes] = set()
    for name, octets in members(package):
        digest = hashlib.blake2b(octets).digest()
        if "test" in name and not name.endswith(_CODE) and _FIELD.match(octets[:65_536]) and digest not in seen:
            seen.add(digest)
            yield name, octets


def _of_cpython() -> Iterator[tuple[str, bytes]]:
    own = Path(sysconfig.get_path("stdlib")) / "test/test_email/data"
    for folder in (own, *sorted(Path("/usr/lib").glob(_DEBIAN_TESTS))):
        if folder.is_dir():
            for path in sorted(folder.glob("*.txt")):
                yield path.name, path.read_bytes()
            return
