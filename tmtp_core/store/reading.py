# SPDX-License-Identifier: AGPL-3.0-or-later
"""A connection for decisions beside which other processes commit: it reads, and changes nothing."""

from typing import Any, cast

from sqlalchemy import Connection, Executable

from tmtp_core.store.sharing import NotAlone


def reading(connection: Connection) -> Connection:
    """This connection, which raises `NotAlone` at whatever would change something."""
    return cast(Connection, _Reading(connection))


class _Reading:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, statement: Executable, *parameters: Any) -> Any:
        return self._checked(statement).execute(statement, *parameters)

    def scalar(self, statement: Executable, *parameters: Any) -> Any:
        return self._checked(statement).scalar(statement, *parameters)

    def scalars(self, statement: Executable, *parameters: Any) -> Any:
        return self._checked(statement).scalars(statement, *parameters)

    def _checked(self, statement: Executable) -> Connection:
        if not statement.is_select:
            raise NotAlone
        return self._connection
