# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many messages each member received a day, from outside and from members: what is left of SMTP (C5)."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add it."""
    op.create_table(
        "received",
        sa.Column("account", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("smtp", KEY, nullable=False),
        sa.Column("tmtp", KEY, nullable=False),
        sa.PrimaryKeyConstraint("account", "day"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_received_day", "received", ["day"])
