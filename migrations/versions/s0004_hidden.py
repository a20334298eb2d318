# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is hidden has its place in the queue, and several people may introduce one."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Mark hidden entries, which had a rank of their own; give each introducer a row."""
    op.add_column("queue", sa.Column("hidden", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE queue SET rank = 1, hidden = 1 WHERE rank = 2")
    op.rename_table("acquaintance", "acquaintance_before")
    op.drop_index("ix_acquaintance_other", "acquaintance_before")
    if op.get_context().dialect.name == "postgresql":  # the index of a primary key keeps its name
        op.execute("ALTER INDEX acquaintance_pkey RENAME TO acquaintance_before_pkey")
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
