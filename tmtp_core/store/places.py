# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where an instance's data may be, if not in its folder: a database's address, a bucket."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tmtp_core.schema import DatabaseUnfit

_DRIVER: Final = "postgresql+asyncpg"
_WRONG_ADDRESS: Final = f"this is no database that this program knows: an address reads {_DRIVER}://user@host/name"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of an S3-compatible object storage, by path: `endpoint`/`name`/`prefix`…"""

    endpoint: str
    name: str
    region: str
    prefix: str = ""


def parsed_address(url: str) -> URL:
    """A database's address. Raises `DatabaseUnfit`."""
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):  # the second: a port that is no number
        raise DatabaseUnfit(_WRONG_ADDRESS) from None
    if made.drivername != _DRIVER or not made.database:
        raise DatabaseUnfit(_WRONG_ADDRESS)
    return made
