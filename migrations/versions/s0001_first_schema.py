# SPDX-License-Identifier: AGPL-3.0-or-later
"""The schema of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    _accounts()
    _names_and_groups()
    _messages()
    _admission()


def _key(name: str = "key") -> sa.Column[int]:
    return sa.Column(name, KEY, primary_key=True, autoincrement=True)


def _accounts() -> None:
    op.create_table(
        "account",
        _key(),
        sa.Column("uid", sa.String, nullable=False, unique=True),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("created_ms", KEY, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "device",
        _key(),
        sa.Column("account", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("credential", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", KEY, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_device_account", "device", ["account"])


def _names_and_groups() -> None:
    op.create_table(
        "group", _key(), sa.Column("gid", sa.String, nullable=False, unique=True), sqlite_autoincrement=True
    )
    op.create_table(
        "name",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("account", KEY, sa.ForeignKey("account.key")),
        sa.Column("group", KEY, sa.ForeignKey("group.key")),
        sa.Column("place", sa.Integer, nullable=False),
    )
    op.create_index("ix_name_account", "name", ["account"])
    op.create_table(
        "look_alike",
        sa.Column("skeleton", sa.String, nullable=False),
        sa.Column("name", sa.String, sa.ForeignKey("name.name"), nullable=False),
        sa.PrimaryKeyConstraint("skeleton", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "membership",
        sa.Column("group", KEY, sa.ForeignKey("group.key"), nullable=False),
        sa.Column("account", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("group", "account"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_membership_account", "membership", ["account"])


def _messages() -> None:
    op.create_table(
        "message",
        sa.Column("number", KEY, primary_key=True, autoincrement=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("size", KEY, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("file", sa.String),
    )
    op.create_table(
        "queue",
        sa.Column("device", KEY, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("message", KEY, nullable=False),
        sa.PrimaryKeyConstraint("device", "rank", "message"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reposted",
        sa.Column("device", KEY, nullable=False),
        sa.Column("request", KEY, nullable=False),
        sa.Column("message", KEY, nullable=False),
        sa.Column("posted_ms", KEY, nullable=False),
        sa.PrimaryKeyConstraint("device", "request"),
        sqlite_with_rowid=False,
    )


def _admission() -> None:
    op.create_table(
        "invitation",
        _key(),
        sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("uses_left", sa.Integer, nullable=False),
        sa.Column("expires_ms", KEY),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("created_ms", KEY, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "route",
        sa.Column("account", KEY, sa.ForeignKey("account.key"), nullable=False),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("account", "recipient"),
        sqlite_with_rowid=False,
    )
    op.create_table("counter", sa.Column("name", sa.String, primary_key=True), sa.Column("value", KEY, nullable=False))
