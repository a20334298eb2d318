# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which invitations vouch for names that mail is routed to. Nobody knows who made the older ones: they do not."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it."""
    op.add_column("invitation", sa.Column("vouches", sa.Integer, nullable=False, server_default="0"))
