# SPDX-License-Identifier: AGPL-3.0-or-later
"""What lets people and programs administrate, at a restore: nothing of it comes back (C1).

No journal says which tokens, passkeys and sessions were revoked after the backup, so none of them is good any more.
People stay known, and enter by a new one-time link, or by their provider: both say anew which role they have.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.administration.database import DATABASE_FILE
from gateway.administration.tables import console_link, console_passkey, console_session, token

_REMOVED: Final = {
    token.name: "tokens of programs",
    console_passkey.name: "passkeys",
    console_session.name: "sessions",
    console_link.name: "one-time links",
}


def close_entrances(folder: Path) -> str | None:
    """Remove them all from the administrators' database in a restored folder (disk); what was removed, in words."""
    database = folder / DATABASE_FILE
    if not database.exists():
        return None
    removed: list[str] = []
    with closing(sqlite3.connect(database)) as connection, connection:
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        for table, what in _REMOVED.items():
            if table in there and (count := connection.execute(f"DELETE FROM {table}").rowcount):  # noqa: S608
                removed.append(f"{count} {what}")
    if not removed:
        return None
    return (
        f"administration: removed {', '.join(removed)}, any of which may have been revoked after the backup: make new "
        "ones (tmtp-gateway console-link, tmtp-gateway token create)"
    )
