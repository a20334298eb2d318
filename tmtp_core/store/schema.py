# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of the schema: which one a database has, and the way to the newest."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tmtp_core.errors import TmtpError


class DatabaseInUse(TmtpError):
    """Another process owns this database."""


class DatabaseTooNew(TmtpError):
    """The database was written by a newer release than this one."""


class DatabaseUnfit(TmtpError):
    """The database cannot be used as it is; the text says why, and what would mend it."""


class Steps:
    """Those that Alembic finds at `location`. `what` names the database in errors."""

    def __init__(self, location: str, what: str) -> None:
        self._config = Config()
        self._config.set_main_option("script_location", location)
        self._script = ScriptDirectory.from_config(self._config)
        self._what = what

    def current(self, connection: Connection) -> str | None:
        """The step that a database has; None for an empty one. Raises `DatabaseTooNew`."""
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {revision.revision for revision in self._script.walk_revisions()}:
            raise DatabaseTooNew(
                f"{self._what} has schema {current}, which this release does not know; use the newer one"
            )
        return current

    def is_newest(self, current: str | None) -> bool:
        """Whether nothing is to be done."""
        return current == self._script.get_current_head()

    def upgrade(self, connection: Connection) -> None:
        """Take all steps that are missing, in the transaction of this connection."""
        self._config.attributes["connection"] = connection
        command.upgrade(self._config, "head")
