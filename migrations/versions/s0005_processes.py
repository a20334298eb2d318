# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several processes on one PostgreSQL database: who lives, who has which link, what has changed; files found fast."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

HAS_FILE = sa.text("file IS NOT NULL")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what the processes tell one another, and the way to the few messages with a file.

    PostgreSQL, which is asked who waits for a message, gets a way to that too.
    """
    op.create_table(
        "process",
        sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("seen_ms", KEY, nullable=False),
    )
    op.create_table(
        "link",
        sa.Column("device", KEY, primary_key=True, autoincrement=False),
        sa.Column("slot", sa.Integer, nullable=False),
    )
    op.create_index("ix_link_slot", "link", ["slot"])
    op.create_table(
        "change",
        sa.Column("seq", KEY, primary_key=True, autoincrement=True),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("text", sa.String, nullable=False),
    )
    op.create_index("ix_message_file", "message", ["file"], sqlite_where=HAS_FILE, postgresql_where=HAS_FILE)
    if op.get_context().dialect.name == "postgresql":
        op.create_index("ix_queue_message", "queue", ["message"])
