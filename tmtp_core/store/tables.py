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
    text,
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
    Column("introductions", Integer, nullable=False, server_default="1"),
    sqlite_autoincrement=True,
)

device = Table(
    "device",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("account", KEY, ForeignKey("account.key"), nullable=False, index=True),
    Column("credential", LargeBinary, nullable=False),
    Column("created_ms", KEY, nullable=False),
    Column("public", String),  # a device has this key, or a credential
    Column("box", String, nullable=False, server_default=""),
    Column("label", String, nullable=False, server_default=""),
    Column("prekey", String),
    Column("prekey_ms", KEY),
    Column("prekey_sig", String),
    Index("ix_device_public", "public"),
    sqlite_autoincrement=True,
)

# The account log (B4): public keys and signatures only.
log_record = Table(
    "log_record",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("place", Integer, nullable=False),
    Column("record", LargeBinary, nullable=False),
    PrimaryKeyConstraint("account", "place"),
    sqlite_with_rowid=False,
)

# Who may post to an account (A3): each `introducer` who made them acquainted, or 0 where it agreed to it itself.
acquaintance = Table(
    "acquaintance",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("other", KEY, ForeignKey("account.key"), nullable=False),
    Column("introducer", KEY, nullable=False),
    PrimaryKeyConstraint("account", "other", "introducer"),
    Index("ix_acquaintance_other", "other"),
    sqlite_with_rowid=False,
)

block = Table(
    "block",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("blocked", KEY, ForeignKey("account.key"), nullable=False),
    PrimaryKeyConstraint("account", "blocked"),
    sqlite_with_rowid=False,
)

# Counts that survive a restart: pings a day, failed tries, introductions, invitations.
meter = Table(
    "meter",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("kind", String, nullable=False),
    Column("since_ms", KEY, nullable=False),
    Column("count", KEY, nullable=False),
    PrimaryKeyConstraint("account", "kind"),
    sqlite_with_rowid=False,
)

# Somebody outside, for whom a bridge posts.
ghost = Table(
    "ghost",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), primary_key=True, autoincrement=False),
    Column("bridge", KEY, ForeignKey("account.key"), nullable=False),
    Column("address", String, nullable=False),
    Index("ix_ghost_address", "bridge", "address", unique=True),
)

group = Table(
    "group",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("gid", String, nullable=False, unique=True),
    Column("owner", KEY),
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
    Column("since_ms", KEY, nullable=False, server_default="0"),  # the eldest member inherits a group
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
    Column("head2", LargeBinary),  # revision 2's header, where recipients speak both
    Column("sender", KEY),  # who hears of it when it cannot be delivered
    Column("known_as", KEY),  # by which number, where that is not this one
    # On PostgreSQL, too, of those rows only: its step makes it so. To say it here loads that dialect for everybody.
    Index("ix_message_file", "file", sqlite_where=text("file IS NOT NULL")),
)

# What a device of an account had taken before it went, and others of its account have yet to take: it is delivered.
taken = Table(
    "taken",
    metadata,
    Column("message", KEY, nullable=False),
    Column("account", KEY, nullable=False),
    PrimaryKeyConstraint("message", "account"),
    sqlite_with_rowid=False,
)

# Queues of devices that are gone and were their account's last: given back to the senders, some at a time (A4).
orphaned = Table(
    "orphaned",
    metadata,
    Column("device", KEY, primary_key=True, autoincrement=False),
    Column("account", KEY, nullable=False),
    Column("reason", String, nullable=False),
)

queue = Table(
    "queue",
    metadata,
    Column("device", KEY, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("message", KEY, nullable=False),
    Column("hidden", Integer, nullable=False, server_default="0"),  # 1: taken without being shown
    PrimaryKeyConstraint("device", "rank", "message"),
    Index("ix_queue_message", "message").ddl_if(dialect="postgresql"),  # SQLite's one process counts in memory
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
    Column("creator", KEY),
    Column("gid", String),
    Column("account", KEY),  # whose devices it resets
    Column("vouches", Integer, nullable=False, server_default="0"),  # for a name that mail is routed to
    sqlite_autoincrement=True,
)

# Who has joined by which of the administrators' invitations: for who has invited somebody in person (C5).
joined = Table(
    "joined",
    metadata,
    Column("invitation", KEY, nullable=False),
    Column("account", KEY, nullable=False),
    PrimaryKeyConstraint("invitation", "account"),
    sqlite_with_rowid=False,
)

# What members tell the administrators of somebody (docs/decisions/0030): open, or closed with an outcome.
report = Table(
    "report",
    metadata,
    Column("key", KEY, primary_key=True, autoincrement=True),
    Column("reporter", KEY, ForeignKey("account.key"), nullable=False),
    Column("reported", KEY, ForeignKey("account.key"), nullable=False),
    Column("reason", String, nullable=False),
    Column("words", String, nullable=False),
    Column("made_ms", KEY, nullable=False),
    Column("closed_ms", KEY),
    Column("outcome", String, nullable=False, server_default=""),
    Column("note", String, nullable=False, server_default=""),
    Index("ix_report_reporter", "reporter"),
    Index("ix_report_reported", "reported"),
    Index("ix_report_closed_ms", "closed_ms"),
    sqlite_autoincrement=True,
)

# Whom a provider of sign-in vouches for (A1). `session`: the provider's, by which it can end it; "" for none.
identity = Table(
    "identity",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), primary_key=True, autoincrement=False),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("session", String, nullable=False),
    Column("signed_in_s", KEY, nullable=False),  # both by the provider's clock
    Column("signed_out_s", KEY, nullable=False, server_default="0"),  # barred since then, until a later sign-in
    Index("ix_identity_subject", "issuer", "subject"),
    Index("ix_identity_session", "issuer", "session"),
)

# Hashes of what is good once, until nobody can bring it again.
used = Table(
    "used",
    metadata,
    Column("once", LargeBinary, primary_key=True),
    Column("until_ms", KEY, nullable=False, index=True),
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

# What each member received on a day (since 1970, UTC) from outside and from members, where there is a bridge (C5).
received = Table(
    "received",
    metadata,
    Column("account", KEY, ForeignKey("account.key"), nullable=False),
    Column("day", Integer, nullable=False, index=True),
    Column("smtp", KEY, nullable=False),
    Column("tmtp", KEY, nullable=False),
    PrimaryKeyConstraint("account", "day"),
    sqlite_with_rowid=False,
)

# The processes that serve the instance together, on PostgreSQL (docs/scaling.md): each has a slot by a lease.
process = Table(
    "process",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("token", String, nullable=False),
    Column("seen_ms", KEY, nullable=False),
)

# Which of them has a device's link.
link = Table(
    "link",
    metadata,
    Column("device", KEY, primary_key=True, autoincrement=False),
    Column("slot", Integer, nullable=False),
    Index("ix_link_slot", "slot"),
)

# What of the others' memory is no longer true: see `tmtp_core.store.sharing.Changed`.
change = Table(
    "change",
    metadata,
    Column("seq", KEY, primary_key=True, autoincrement=True),
    Column("slot", Integer, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("key", KEY, nullable=False),
    Column("text", String, nullable=False),
)

# `message_high_water`: no message number above it was ever given. `bridge:<name>`: that bridge's account key.
counter = Table(
    "counter",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", KEY, nullable=False),
)
