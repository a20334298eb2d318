# SPDX-License-Identifier: AGPL-3.0-or-later
"""Statements that every mail or message executes, compiled once: what Core does for each execution costs more than
SQLite.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

_DIALECT: Final = sqlite.dialect()


class Prepared:
    """A statement of Core for SQLite. `columns`: of an INSERT, which ones are given.

    Values and results are text, integers, octets and None, which need no conversion.
    """

    def __init__(self, statement: ClauseElement, *columns: str) -> None:
        compiled: Any = statement.compile(dialect=_DIALECT, column_keys=list(columns) or None)
        self._sql = str(compiled)
        self._names: tuple[str, ...] = tuple(compiled.positiontup)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def __call__(self, connection: Connection, values: Mapping[str, object]) -> sqlite3.Cursor:
        """Execute it within the connection's transaction. Raises `sqlite3.Error`, `KeyError` for one missing."""
        given = {**self._constants, **values}
        driver: Any = connection.connection.driver_connection
        cursor: sqlite3.Cursor = driver.execute(self._sql, [given[name] for name in self._names])
        return cursor
