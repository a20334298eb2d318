# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may enter the console, as the administrators' database has it.

No secret is in it: links and sessions are kept as SHA-256 of 256 random bits, passkeys as public keys (D5).
"""

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

people = Table(
    "console_people",
    METADATA,
    Column("person", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("handle", LargeBinary, nullable=False, unique=True),  # how authenticators name the person
    Column("created_ms", Integer, nullable=False),
)

links = Table(
    "console_links",
    METADATA,
    Column("hash", LargeBinary, primary_key=True),
    Column("person", Text, ForeignKey("console_people.person"), nullable=False),
    Column("expires_ms", Integer, nullable=False),
)

sessions = Table(
    "console_sessions",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("person", Text, ForeignKey("console_people.person"), nullable=False, index=True),
    Column("method", Text, nullable=False),
    Column("browser", Text, nullable=False),
    Column("created_ms", Integer, nullable=False),
    Column("seen_ms", Integer, nullable=False),
    sqlite_autoincrement=True,  # a number that a page shows is never another session's
)

passkeys = Table(
    "console_passkeys",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("person", Text, ForeignKey("console_people.person"), nullable=False, index=True),
    Column("site", Text, nullable=False),  # the name of the site that it is for (rp id)
    Column("credential_id", LargeBinary, nullable=False, unique=True),
    Column("credential", LargeBinary, nullable=False),  # attested credential data (WebAuthn §6.5.2): the public key
    Column("uses", Integer, nullable=False),  # the authenticator's counter, 0 where it has none
    Column("name", Text, nullable=False),
    Column("created_ms", Integer, nullable=False),
    Column("used_ms", Integer),
    sqlite_autoincrement=True,
)
