# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sign-in with an identity provider: whose an account is, and which sign-ins were used."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add both."""
    op.create_table(
        "identity",
        sa.Column("account", KEY, sa.ForeignKey("account.key"), primary_key=True, autoincrement=False),
        sa.Column("issuer", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("session", sa.String, nullable=False),
        sa.Column("signed_in_s", KEY, nullable=False),
        sa.Column("signed_out_s", KEY, nullable=False, server_default="0"),
    )
    op.create_index("ix_identity_subject", "identity", ["issuer", "subject"])
    op.create_index("ix_identity_session", "identity", ["issuer", "session"])
    op.create_table(
        "used",
        sa.Column("once", sa.LargeBinary, primary_key=True),
        sa.Column("until_ms", KEY, nullable=False),
    )
    op.create_index("ix_used_until_ms", "used", ["until_ms"])
