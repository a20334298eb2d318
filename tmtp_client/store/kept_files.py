# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which files of the vault anything names; the others are what a crash left, and go (B8)."""

from sqlalchemy import Connection, select

from tmtp_client.store import outbox
from tmtp_client.store.tables import attachment, part, staged


def kept_files(c: Connection) -> frozenset[str]:
    """Of messages, of what is to be sent, of what was handed over to be, and of large files that still come."""
    found = {file for table in (attachment, part, staged) for file in c.scalars(select(table.c.file).distinct())}
    return frozenset(found.union(outbox.files(c)) - {""})
