# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables of a client's history, and its search."""

from alembic import op

from tmtp_client.store.tables import SEARCH, metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    metadata.create_all(op.get_bind(), checkfirst=False)
    op.execute(SEARCH)
