# SPDX-License-Identifier: AGPL-3.0-or-later
"""The schema, in SQLAlchemy Core. `migrations/` makes it; a test holds the two against each other.

Small integer keys inside, uids and names at the border (storage.md). Keys are never used twice
(AUTOINCREMENT), since a queue or a remembered request must not pass to another device.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

metadata = MetaData()

# SQLite wants exactly INTEGER for a row id; 64 bits are meant everywhere.
KEY = BigInteger().with_variant(Integer(), "sqlite")

account = Table(
    "account",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("uid", String, nullable=False, unique=True),
    Column("status", Integer, nullable=False),
    Column("role", Integer, nullable=False),
    Column("created_ms", KEY, nullable=False),
    sqlite_autoincrement=True,
)

device = Table(
    "device",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("account", KEY, ForeignKey("account.key"), nullable=False, index=True),
    Column("credential", LargeBinary, nullable=False),
    Column("created_ms", KEY, nullable=False),
    sqlite_autoincrement=True,
)

group = Table(
    "group",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("gid", String, nullable=False, unique=True),
    sqlite_autoincrement=True,
)

# Aliases and group names: one name space, for ever one owner (D1).
name = Table(
    "name",
    metadata,
    Column("name", String, primary_key=True),
    Column("account", KEY, ForeignKey("account.key"), index=True),
    Column("group", KEY, ForeignKey("group.key")),
    Column("place", Integer, nullable=False),  # order among the aliases of an account
)

# Under which forms a name is compared: `tmtp_core.names.skeletons`.
look_alike = Table(
    "look_alike",
    metadata,
    Column("skeleton", String, nullable=False),
    Column("name", String, ForeignKey("name.name"), nullable=False),
    PrimaryKeyConstraint("skeleton", "name"),
    sqlite_with_rowid=False,
)

membership = Table(
    "membership",
    metadata,
    Column("group", KEY, ForeignKey("group.key"), nullable=False),
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("alias", String, nullable=False),
    Column("status", Integer, nullable=False),
    PrimaryKeyConstraint("group", "account"),
    Index("ix_membership_account", "account"),
    sqlite_with_rowid=False,
)

# A4: a row lives from the post's commit to the last device's ack, and no longer.
message = Table(
    "message",
    metadata,
    Column("number", KEY, primary_key=True, autoincrement=False),
    Column("head", LargeBinary, nullable=False),
    Column("size", KEY, nullable=False),
    Column("body", LargeBinary),
    Column("file", String),
)

queue = Table(
    "queue",
    metadata,
    Column("device", KEY, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("message", KEY, nullable=False),
    PrimaryKeyConstraint("device", "rank", "message"),
    sqlite_with_rowid=False,
)

# One id per post: what a request id was answered with (protocol.md).
reposted = Table(
    "reposted",
    metadata,
    Column("device", KEY, nullable=False),
    Column("request", KEY, nullable=False),  # 64-bit hash of the request's id
    Column("message", KEY, nullable=False),
    Column("posted_ms", KEY, nullable=False),
    PrimaryKeyConstraint("device", "request"),
    sqlite_with_rowid=False,
)

invitation = Table(
    "invitation",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("uses_left", Integer, nullable=False),
    Column("expires_ms", KEY),
    Column("note", String, nullable=False),
    Column("created_ms", KEY, nullable=False),
    sqlite_autoincrement=True,
)

route = Table(
    "route",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("recipient", String, nullable=False),
    Column("target", String, nullable=False),
    PrimaryKeyConstraint("account", "recipient"),
    sqlite_with_rowid=False,
)

# `message_high_water`: no message number above it was ever given. `bridge:<name>`: that bridge's account key.
counter = Table(
    "counter",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", KEY, nullable=False),
)
