# SPDX-License-Identifier: AGPL-3.0-or-later
"""What members tell the administrators of somebody, until it is closed and some time longer (decision 30)."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add it."""
    op.create_table(
        "report",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("reporter", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("reported", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("words", sa.String, nullable=False),
        sa.Column("made_ms", KEY, nullable=False),
        sa.Column("closed_ms", KEY),
        sa.Column("outcome", sa.String, nullable=False, server_default=""),
        sa.Column("note", sa.String, nullable=False, server_default=""),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_report_reporter", "report", ["reporter"])
    op.create_index("ix_report_reported", "report", ["reported"])
    op.create_index("ix_report_closed_ms", "report", ["closed_ms"])
