# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of a database's schema: which one it has, and the way to the newest. A bridge's database has its own."""

from importlib import resources
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from tmtp_core.errors import TmtpError


class DatabaseInUse(TmtpError):
    """Another process owns this database."""


class DatabaseTooNew(TmtpError):
    """The database was written by a newer release than this one."""


class DatabaseUnfit(TmtpError):
    """The database cannot be used as it is; the text says why, and what would mend it."""


class Steps:
    """Those that Alembic finds at `location`. `what` names the database in errors.

    Alembic takes 8 MB: it is loaded when there are steps to take, and not to see that there are none.
    """

    def __init__(self, location: str, what: str) -> None:
        self._location = location
        self._known = _known(location)
        self._what = what

    def current(self, connection: Connection) -> str | None:
        """The step that a database has; None for an empty one. Raises `DatabaseTooNew`."""
        if not inspect(connection).has_table("alembic_version"):
            return None
        current: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        if current is not None:
            self.judge(current)
        return current

    def judge(self, current: str) -> bool:
        """Whether this step is the newest. Raises `DatabaseTooNew`."""
        if current not in self._known:
            raise DatabaseTooNew(
                f"{self._what} has schema {current}, which this release does not know; use the newer one"
            )
        return self.is_newest(current)

    def is_newest(self, current: str | None) -> bool:
        """Whether nothing is to be done."""
        return current == self._known[-1]

    def upgrade(self, connection: Connection) -> None:
        """Take all steps that are missing, in the transaction of this connection."""
        from alembic import command  # noqa: PLC0415 - see above
        from alembic.config import Config  # noqa: PLC0415 - see above

        config = Config()
        config.set_main_option("script_location", self._location)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _known(location: str) -> list[str]:
    """The steps at a place as Alembic names it (`package:` or a folder), oldest first: `0005` is in `s0005_….py`."""
    package, colon, below = location.partition(":")
    folder = resources.files(package).joinpath(below) if colon else Path(location)
    names = (file.name for file in folder.joinpath("versions").iterdir())
    return sorted(name[1:5] for name in names if name.startswith("s") and name.endswith(".py"))
