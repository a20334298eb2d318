# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes wrong with a database, whichever it is, and what may be said of it."""

import sqlite3
import sys

from sqlalchemy.exc import DBAPIError

from tmtp_core.store.sharing import Evicted


class CommitUnknown(Exception):
    """The connection was lost during a commit: whether it is durable, nobody here can tell."""


class ValueNotTaken(Exception):
    """A decision wants to store what PostgreSQL cannot hold: its fault, and no trouble of the database's."""


_ALWAYS = (sqlite3.Error, DBAPIError, OSError, TimeoutError, CommitUnknown, Evicted)


def database_errors() -> tuple[type[Exception], ...]:
    """Of SQLAlchemy, of the driver where the store speaks to it, and of the way to a database elsewhere.

    A function, for `except database_errors()`: PostgreSQL's driver takes 5 MB, which SQLite does without.
    """
    driver = sys.modules.get("asyncpg")
    return _ALWAYS if driver is None else (*_ALWAYS, driver.PostgresError, driver.InterfaceError)


def error_text(error: BaseException) -> str:
    """What the database, or the way to it, says; never a statement with its values."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def is_of_its_values(error: Exception) -> bool:
    """Whether the database did not take what one decision wrote, which is no trouble of the database's."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.IntegrityError):
        return True
    state = getattr(original, "sqlstate", None)  # class 22: data, 23: constraints
    return isinstance(state, str) and state[:2] in {"22", "23"}
