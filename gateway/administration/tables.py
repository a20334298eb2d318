# SPDX-License-Identifier: AGPL-3.0-or-later
"""The administrators' own database, `data_dir/administration.sqlite3`: the audit log and the tokens of programs.

`migrations/administration` makes it; a test holds the two against each other. What the console keeps of the people who
sign in to it belongs here too, with a step of its own. Nothing in it is a secret: tokens are kept as hashes.
"""

from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

# Append-only: two triggers refuse changes, and each hash covers the entry and the hash before it.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, … without a gap
    Column("at_ms", Integer, nullable=False),
    Column("actor", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("instance", String, nullable=False),
    Column("target", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

# Acts under way: written before their effect, and gone with the entry that says how they ended.
begun = Table(
    "begun",
    metadata,
    Column("key", Integer, primary_key=True, autoincrement=True),
    Column("at_ms", Integer, nullable=False),
    Column("actor", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("instance", String, nullable=False),
    Column("target", String, nullable=False),
    sqlite_autoincrement=True,
)

token = Table(
    "token",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("scopes", String, nullable=False),  # parted by blanks
    Column("instances", String, nullable=False),  # the same; empty: all
    Column("created_ms", Integer, nullable=False),
    Column("expires_ms", Integer),
    Column("used_ms", Integer),
    sqlite_autoincrement=True,
)
