# SPDX-License-Identifier: AGPL-3.0-or-later
"""Revision 2: device keys and account logs, acquaintance and blocks, ghosts, invitations by members, returns."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what revision 2 stores."""
    _new_columns()
    _accounts()
    _ghosts()


def _account(name: str) -> sa.Column[int]:
    return sa.Column(name, KEY, sa.ForeignKey("account.key"), nullable=False)


def _new_columns() -> None:
    op.add_column("account", sa.Column("introductions", sa.Integer, nullable=False, server_default="1"))
    op.add_column("device", sa.Column("public", sa.String))
    op.add_column("device", sa.Column("box", sa.String, nullable=False, server_default=""))
    op.add_column("device", sa.Column("label", sa.String, nullable=False, server_default=""))
    op.add_column("device", sa.Column("prekey", sa.String))
    op.add_column("device", sa.Column("prekey_sig", sa.String))
    op.add_column("group", sa.Column("owner", KEY))
    op.add_column("message", sa.Column("head2", sa.LargeBinary))
    op.add_column("message", sa.Column("sender", KEY))
    op.add_column("invitation", sa.Column("creator", KEY))
    op.add_column("invitation", sa.Column("gid", sa.String))
    op.add_column("invitation", sa.Column("account", KEY))


def _accounts() -> None:
    op.create_table(
        "log_record",
        _account("account"),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("account", "place"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "acquaintance",
        _account("account"),
        _account("other"),
        sa.Column("introducer", KEY),
        sa.PrimaryKeyConstraint("account", "other"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_acquaintance_other", "acquaintance", ["other"])
    op.create_table(
        "block",
        _account("account"),
        _account("blocked"),
        sa.PrimaryKeyConstraint("account", "blocked"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "meter",
        _account("account"),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("since_ms", KEY, nullable=False),
        sa.Column("count", KEY, nullable=False),
        sa.PrimaryKeyConstraint("account", "kind"),
        sqlite_with_rowid=False,
    )


def _ghosts() -> None:
    op.create_table(
        "ghost",
        sa.Column("account", KEY, sa.ForeignKey("account.key"), primary_key=True, autoincrement=False),
        _account("bridge"),
        sa.Column("address", sa.String, nullable=False),
    )
    op.create_index("ix_ghost_address", "ghost", ["bridge", "address"], unique=True)
