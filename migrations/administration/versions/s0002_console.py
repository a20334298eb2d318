# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may enter the console: people, one-time links, sessions, passkeys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the console."""
    op.create_table(
        "console_person",
        sa.Column("person", sa.String, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("handle", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("created_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "console_link",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("person", sa.String, sa.ForeignKey("console_person.person"), nullable=False),
        sa.Column("expires_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "console_session",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("person", sa.String, sa.ForeignKey("console_person.person"), nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("browser", sa.String, nullable=False),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("seen_ms", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_console_session_person", "console_session", ["person"])
    op.create_table(
        "console_passkey",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("person", sa.String, sa.ForeignKey("console_person.person"), nullable=False),
        sa.Column("site", sa.String, nullable=False),
        sa.Column("credential_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("credential", sa.LargeBinary, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_ms", sa.Integer, nullable=False),
        sa.Column("used_ms", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_console_passkey_person", "console_passkey", ["person"])
