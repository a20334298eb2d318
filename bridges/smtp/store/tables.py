# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables of an intake's file. Times are in the unit of their name, of the wall clock.

`migrations/bridge` makes them; a test compares the two.
"""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, text

metadata = MetaData()

secret = Table("secret", metadata, Column("value", LargeBinary, nullable=False))

delivered = Table(  # posts that the service has acknowledged, or that are on the disk for it
    "delivered",
    metadata,
    Column("post", String, primary_key=True),
    Column("at_s", Integer, nullable=False, index=True),
)

mails = Table(  # the keyed hash of a mail's id, for one sender and one recipient, and the thread that it belongs to
    "mails",
    metadata,
    Column("mail", LargeBinary, primary_key=True),
    Column("thread", String, nullable=False, index=True),
    Column("at_s", Integer, nullable=False, index=True),
)

conversation = Table(  # of threads that members may answer by mail: what an answer needs to be found in its thread
    "conversation",
    metadata,
    Column("thread", String, primary_key=True),
    Column("recipient", String, nullable=False),  # the route
    Column("address", String, nullable=False),  # the correspondent
    Column("message_id", String, nullable=False),  # of the newest mail, with its brackets
    Column("ancestors", String, nullable=False),  # of those before, the newest last, with a space between
    Column("subject", String, nullable=False),
    Column("at_s", Integer, nullable=False, index=True),
)

sender = Table(  # vetting records: `bridges.smtp.senders.vetting`
    "sender",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("address", String, nullable=False),  # canonical; "" for a domain
    Column("domain", String, nullable=False),  # "" for an address
    Column("proof", String, nullable=False),  # JSON: list of control.models.Proof
    Column("owner", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("source", String, nullable=False),  # settings | administrator
    Column("created_ms", Integer, nullable=False),
    Column("created_by", String, nullable=False),
    Column("expires_ms", Integer),
    Column("routes", String),  # JSON list; NULL: all
    Column("quota_per_day", Integer),
    Column("state", String, nullable=False),  # active | suspended | withdrawn; whether it has expired is the clock's
    Column("why", String, nullable=False),
    Column("changed_ms", Integer, nullable=False),
    Column("passed_ms", Integer),  # when mail last passed
    Column("failed_ms", Integer),  # when mail that claims it last failed
    sqlite_autoincrement=True,
)
Index(
    "ix_sender_whom",
    sender.c.address,
    sender.c.domain,
    unique=True,
    sqlite_where=text("state != 'withdrawn'"),
)

sender_network = Table(  # where mail of a record came from whose proof passed, as /24 or /48
    "sender_network",
    metadata,
    Column("sender", Integer, primary_key=True),
    Column("network", String, primary_key=True),
    Column("at_s", Integer, nullable=False),
)

sender_failure = Table(  # mail that claimed a record and whose proof failed, since the last that passed
    "sender_failure",
    metadata,
    Column("key", Integer, primary_key=True, autoincrement=True),
    Column("sender", Integer, nullable=False, index=True),
    Column("at_s", Integer, nullable=False),
    Column("known_network", Boolean),  # NULL: a server in front handed it on
    Column("mail", String, nullable=False),  # as in evidence.Evidence: a mail counts once
)

sender_day = Table(  # how many messages of a record were taken on a day: its quota
    "sender_day",
    metadata,
    Column("sender", Integer, primary_key=True),
    Column("day", Integer, primary_key=True),  # days since 1970, UTC
    Column("messages", Integer, nullable=False),
)

correspondent = Table(  # proven senders, and how far each is on the way out of SMTP (C5)
    "correspondent",
    metadata,
    Column("address", String, primary_key=True),  # canonical
    Column("state", String, nullable=False, index=True),  # seen | vetted | invited | joined | refused
    Column("first_seen_ms", Integer, nullable=False),
    Column("last_seen_ms", Integer, nullable=False, index=True),
    Column("machine", String, nullable=False),  # why it is taken for a machine; "" for a person
    Column("proof", String, nullable=False),  # strong | weak: of its newest mail
    Column("changed_ms", Integer, nullable=False),
    Column("changed_by", String, nullable=False),
    Column("invitation", Integer),  # its number on the instance
    Column("link", String, nullable=False),  # of that invitation, until it is used: it is told to this sender only
    Column("invited_ms", Integer),
    Column("joined_ms", Integer),
    Column("joined_as", String, nullable=False),  # alias or uid
    Column("refused_ms", Integer),
)

correspondent_mail = Table(  # the mails of each in the last days, by `Evidence.mail`: tries of one mail are one
    "correspondent_mail",
    metadata,
    Column("address", String, primary_key=True),
    Column("mail", String, primary_key=True),
    Column("at_s", Integer, nullable=False, index=True),
    sqlite_with_rowid=False,
)

held = Table(  # mail that waits for a person's decision; the mail itself is a file
    "held",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("received_ms", Integer, nullable=False),
    Column("expires_ms", Integer, nullable=False),
    Column("author", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("recipients", String, nullable=False),  # JSON list
    Column("why", String, nullable=False),
    Column("accepted", String, nullable=False),  # JSON: posting.Accepted
    Column("evidence", String, nullable=False),  # JSON: evidence.Evidence
    Column("size", Integer, nullable=False),
    Column("mail", LargeBinary, nullable=False, index=True),  # a hash: the same mail again is not held again
    Column("state", String, nullable=False, index=True),  # held | deciding | released | rejected | expired
    Column("decision", String, nullable=False),  # JSON of what was decided, while it is being carried out, and after
    Column("decided_by", String, nullable=False),
    Column("decided_ms", Integer),
    sqlite_autoincrement=True,
)

outgoing = Table(  # answers of members: on their way to the organisation's relay, the mail itself a file, or not sent
    "outgoing",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("message", String, nullable=False, unique=True),  # the id of the member's message: it is sent once
    Column("address", String, nullable=False),
    Column("recipient", String, nullable=False),  # the route
    Column("member", String, nullable=False),  # uid of who wrote it
    Column("thread", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("at_ms", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_ms", Integer, nullable=False),
    Column("size", Integer, nullable=False),  # of the mail
    Column(
        "state", String, nullable=False, index=True
    ),  # waiting | sent | failed | invite: its author is to be invited
    Column("trouble", String, nullable=False),
    Column("owed", Boolean, nullable=False, index=True),  # the member has to be told yet that it was not sent
    sqlite_autoincrement=True,
)

decision = Table(  # the audit log: it can only be added to, and its oldest entries are cut off as a whole
    "decision",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Integer, nullable=False, index=True),
    Column("kind", String, nullable=False),  # mail | act
    Column("body", LargeBinary, nullable=False),  # JSON: evidence.MailDecided or evidence.ActDone
    Column("hash", LargeBinary, nullable=False),
)

decision_begin = Table(  # where the chain begins now: number and hash of the last entry that was cut off
    "decision_begin",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)
