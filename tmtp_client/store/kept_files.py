# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which files of the vault anything names; the others are what a crash left, and go (B8)."""

import msgspec
from sqlalchemy import Connection, select

from tmtp_client.store.outbox import Content
from tmtp_client.store.tables import attachment, outbox, part, staged

_CONTENT = msgspec.json.Decoder(Content)


def kept_files(c: Connection) -> frozenset[str]:
    """Of messages, of what is to be sent, of what was handed over to be, and of large files that still come."""
    found = {file for table in (attachment, part, staged) for file in c.scalars(select(table.c.file).distinct())}
    for content in c.scalars(select(outbox.c.content)):
        found.update(one.file for one in _CONTENT.decode(content).files)
    return frozenset(found - {""})
