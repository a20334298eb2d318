# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who has joined by which of the administrators' invitations. Nobody knows it of those who had joined before."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add it."""
    op.create_table(
        "joined",
        sa.Column("invitation", KEY, nullable=False),
        sa.Column("account", KEY, nullable=False),
        sa.PrimaryKeyConstraint("invitation", "account"),
        sqlite_with_rowid=False,
    )
