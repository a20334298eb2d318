# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lists that are shown a page at a time: one row more is asked for than is shown, to know whether others follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """What a page shows, and where the first page and the next one are; `next_href` is empty on the last."""

    shown: Sequence[T]
    first_href: str
    next_href: str


def rows_of(
    found: Sequence[T],
    most: int,
    here: str,
    key: Callable[[T], object],
    filters: Mapping[str, str] | None = None,
    place: str = "after",
) -> Rows[T]:
    """A page of at most `most` of what was found, of which one more was asked for. `key`: of the last one that is
    shown, for the argument `place` of the next page.
    """
    shown = found[:most]
    more = {place: str(key(shown[-1]))} if found[most:] else {}
    return Rows(shown, address(here, filters), address(here, {**(filters or {}), **more}) if more else "")


def address(here: str, filters: Mapping[str, str] | None) -> str:
    """A page with those of its filters that say something."""
    said = {name: value for name, value in (filters or {}).items() if value}
    return f"{here}?{urlencode(said)}" if said else here
