# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes back to its sender, what is taken unseen, who inherits a group, who introduced whom, and since when."""

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
    op.add_column("queue", sa.Column("hidden", sa.Integer, nullable=False, server_default="0"))
    op.add_column("membership", sa.Column("since_ms", KEY, nullable=False, server_default="0"))
    op.add_column("device", sa.Column("prekey_ms", KEY))
    op.create_index("ix_device_public", "device", ["public"])
    _let_several_introduce()
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


def _let_several_introduce() -> None:
    """One row an introducer: who is blocked takes nothing away from the others."""
    op.rename_table("acquaintance", "acquaintance_before")
    op.drop_index("ix_acquaintance_other", "acquaintance_before")
    op.create_table(
        "acquaintance",
        sa.Column("account", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("other", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("introducer", KEY, nullable=False),
        sa.PrimaryKeyConstraint("account", "other", "introducer"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_acquaintance_other", "acquaintance", ["other"])
    op.execute(
        "INSERT INTO acquaintance (account, other, introducer)"
        " SELECT account, other, coalesce(introducer, 0) FROM acquaintance_before"
    )
    op.drop_table("acquaintance_before")
