# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vetting records, mail that is held, the life cycle of correspondents, answers, the log of decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "conversation",
        sa.Column("thread", sa.String, primary_key=True),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("ancestors", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("at_s", sa.Integer, nullable=False, index=True),
    )
    op.create_table(
        "sender",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("domain", sa.String, nullable=False),
        sa.Column("proof", sa.String, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("expires_ms", sa.Integer),
        sa.Column("routes", sa.String),
        sa.Column("quota_per_day", sa.Integer),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("changed_ms", sa.Integer, nullable=False),
        sa.Column("passed_ms", sa.Integer),
        sa.Column("failed_ms", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sender_network",
        sa.Column("sender", sa.Integer, primary_key=True),
        sa.Column("network", sa.String, primary_key=True),
        sa.Column("at_s", sa.Integer, nullable=False),
    )
    op.create_table(
        "sender_failure",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("sender", sa.Integer, nullable=False, index=True),
        sa.Column("at_s", sa.Integer, nullable=False),
        sa.Column("known_network", sa.Boolean),
        sa.Column("mail", sa.String, nullable=False),
    )
    op.create_table(
        "sender_day",
        sa.Column("sender", sa.Integer, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("messages", sa.Integer, nullable=False),
    )
    op.create_table(
        "correspondent",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("first_seen_ms", sa.Integer, nullable=False),
        sa.Column("last_seen_ms", sa.Integer, nullable=False, index=True),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("proof", sa.String, nullable=False),
        sa.Column("changed_ms", sa.Integer, nullable=False),
        sa.Column("changed_by", sa.String, nullable=False),
        sa.Column("invitation", sa.Integer),
        sa.Column("link", sa.String, nullable=False),
        sa.Column("invited_ms", sa.Integer),
        sa.Column("joined_ms", sa.Integer),
        sa.Column("joined_as", sa.String, nullable=False),
        sa.Column("refused_ms", sa.Integer),
    )
    op.create_table(
        "correspondent_mail",
        sa.Column("address", sa.String, primary_key=True),
        sa.Column("mail", sa.String, primary_key=True),
        sa.Column("at_s", sa.Integer, nullable=False, index=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "held",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("received_ms", sa.Integer, nullable=False),
        sa.Column("expires_ms", sa.Integer, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("recipients", sa.String, nullable=False),
        sa.Column("why", sa.String, nullable=False),
        sa.Column("accepted", sa.String, nullable=False),
        sa.Column("evidence", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("mail", sa.LargeBinary, nullable=False, index=True),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("decision", sa.String, nullable=False),
        sa.Column("decided_by", sa.String, nullable=False),
        sa.Column("decided_ms", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outgoing",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("message", sa.String, nullable=False, unique=True),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("member", sa.String, nullable=False),
        sa.Column("thread", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_ms", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("trouble", sa.String, nullable=False),
        sa.Column("owed", sa.Boolean, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "decision",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.Integer, nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "decision_begin",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_index(
        "ix_sender_whom", "sender", ["address", "domain"], unique=True, sqlite_where=sa.text("state != 'withdrawn'")
    )
    op.execute(
        "CREATE TRIGGER decision_no_update BEFORE UPDATE ON decision"
        " BEGIN SELECT RAISE(ABORT, 'the log of decisions can only be added to'); END"
    )
