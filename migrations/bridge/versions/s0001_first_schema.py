# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which mails were delivered, and which threads they belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table("secret", sa.Column("value", sa.LargeBinary, nullable=False))
    op.create_table(
        "delivered",
        sa.Column("post", sa.String, primary_key=True),
        sa.Column("at_s", sa.Integer, nullable=False, index=True),
    )
    op.create_table(
        "mails",
        sa.Column("mail", sa.LargeBinary, primary_key=True),
        sa.Column("thread", sa.String, nullable=False, index=True),
        sa.Column("at_s", sa.Integer, nullable=False, index=True),
    )
