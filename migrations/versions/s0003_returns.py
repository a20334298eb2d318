# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes back to its sender, who inherits a group, and when a prekey was made."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what returns, groups and prekeys need."""
    op.add_column("message", sa.Column("known_as", KEY))
    op.add_column("membership", sa.Column("since_ms", KEY, nullable=False, server_default="0"))
    op.add_column("device", sa.Column("prekey_ms", KEY))
    op.create_index("ix_device_public", "device", ["public"])
    op.create_table(
        "taken",
        sa.Column("message", KEY, nullable=False),
        sa.Column("account", KEY, nullable=False),
        sa.PrimaryKeyConstraint("message", "account"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "orphaned",
        sa.Column("device", KEY, primary_key=True, autoincrement=False),
        sa.Column("account", KEY, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
