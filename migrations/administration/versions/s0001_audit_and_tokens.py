# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log, which can only be added to, and the tokens of programs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("instance", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    for act in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit"
            " BEGIN SELECT RAISE(ABORT, 'the audit log can only be added to'); END"
        )
    op.create_table(
        "begun",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("instance", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "token",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("instances", sa.String, nullable=False),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("expires_ms", sa.Integer),
        sa.Column("used_ms", sa.Integer),
        sqlite_autoincrement=True,
    )
