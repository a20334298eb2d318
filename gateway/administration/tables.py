# SPDX-License-Identifier: AGPL-3.0-or-later
"""The administrators' own database, `data_dir/administration.sqlite3`: the audit log, the tokens of programs, and who
may enter the console.

`migrations/administration` makes it; a test holds the two against each other. Nothing in it is a secret: tokens,
one-time links and sessions are kept as hashes, passkeys as public keys (D5).
"""

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, MetaData, String, Table

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

console_person = Table(
    "console_person",
    metadata,
    Column("person", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("handle", LargeBinary, nullable=False, unique=True),  # how authenticators name the person
    Column("created_ms", Integer, nullable=False),
)

console_link = Table(
    "console_link",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("person", String, ForeignKey("console_person.person"), nullable=False),
    Column("expires_ms", Integer, nullable=False),
)

console_session = Table(
    "console_session",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # one that a page shows is never another's later
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("person", String, ForeignKey("console_person.person"), nullable=False, index=True),
    Column("method", String, nullable=False),
    Column("browser", String, nullable=False),
    Column("created_ms", Integer, nullable=False),
    Column("seen_ms", Integer, nullable=False),
    sqlite_autoincrement=True,
)

console_passkey = Table(
    "console_passkey",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("person", String, ForeignKey("console_person.person"), nullable=False, index=True),
    Column("site", String, nullable=False),  # the name of the site that it is for (rp id)
    Column("credential_id", LargeBinary, nullable=False, unique=True),
    Column("credential", LargeBinary, nullable=False),  # attested credential data (WebAuthn §6.5.2): the public key
    Column("uses", Integer, nullable=False),  # the authenticator's counter, 0 where it has none
    Column("name", String, nullable=False),
    Column("created_ms", Integer, nullable=False),
    Column("used_ms", Integer),
    sqlite_autoincrement=True,
)
