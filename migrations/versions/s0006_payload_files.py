# SPDX-License-Identifier: AGPL-3.0-or-later
"""A start finds the messages whose payload is a file without reading those whose is not."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

HAS_FILE = sa.text("file IS NOT NULL")


def upgrade() -> None:
    """Index them, and nothing else."""
    op.create_index("ix_message_file", "message", ["file"], sqlite_where=HAS_FILE, postgresql_where=HAS_FILE)
