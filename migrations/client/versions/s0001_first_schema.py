# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables of a client's history, and its search."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "identity",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("pin", sa.String),
        sa.Column("ca_file", sa.String),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("service_key", sa.String, nullable=False),
        sa.Column("seed", sa.LargeBinary),
        sa.Column("box_key", sa.LargeBinary),
        sa.Column("label", sa.String, nullable=False),
    )
    op.create_table(
        "pending",
        sa.Column("service_key", sa.String, primary_key=True),
        sa.Column("seed", sa.LargeBinary, nullable=False),
        sa.Column("box_key", sa.LargeBinary, nullable=False),
        sa.Column("recovery_seed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "person",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("known_by", sa.String, nullable=False),
        sa.Column("stands", sa.String, nullable=False),
        sa.Column("via", sa.String, nullable=False),
        sa.Column("proof", sa.String, nullable=False),
        sa.Column("blocked", sa.Integer, nullable=False),
        sa.Column("present", sa.Integer, nullable=False),
        sa.Column("since_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "alias",
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("uid", sa.String, nullable=False, index=True),
    )
    op.create_table(
        "group",
        sa.Column("gid", sa.String, primary_key=True),
        sa.Column("stands", sa.String, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("since_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "member",
        sa.Column("gid", sa.String, primary_key=True),
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("stands", sa.String, nullable=False),
        sa.Column("owner", sa.Integer, nullable=False),
    )
    op.create_table(
        "thread",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("gid", sa.String, nullable=False),
        sa.Column("last_posted", sa.String, nullable=False),
        sa.Column("last_message", sa.String, nullable=False),
        sa.Column("last_text", sa.String, nullable=False),
        sa.Column("last_alias", sa.String, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("unseen", sa.Integer, nullable=False),
        sa.Column("mentions", sa.Integer, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("archived", sa.Integer, nullable=False),
        sa.Column("muted", sa.Integer, nullable=False),
        sa.Column("snoozed_until_ms", sa.Integer, nullable=False),
        sa.Column("encryption", sa.String, nullable=False),
        sa.Column("draft", sa.Integer, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
    )
    op.create_table(
        "tag",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("thread", sa.String, primary_key=True, index=True),
    )
    op.create_table(
        "reader",
        sa.Column("thread", sa.String, primary_key=True),
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("posted", sa.String, nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("subscribed", sa.Integer, nullable=False),
    )
    op.create_table(
        "message",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("outgoing", sa.Integer, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("verified", sa.Integer, nullable=False),
        sa.Column("to", sa.String, nullable=False),
        sa.Column("thread", sa.String, nullable=False),
        sa.Column("posted", sa.String, nullable=False),
        sa.Column("received_ms", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("seen", sa.Integer, nullable=False),
        sa.Column("mentions", sa.Integer, nullable=False),
        sa.Column("suite", sa.Integer, nullable=False),
        sa.Column("confirms", sa.String, nullable=False),
        sa.Column("of", sa.String, nullable=False),
        sa.Column("sealed", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
    )
    op.create_table(
        "attachment",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("form", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("have", sa.Integer, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("transfer", sa.String, nullable=False),
    )
    op.create_table(
        "transfer",
        sa.Column("transfer", sa.String, primary_key=True),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("lacks", sa.Integer, nullable=False),
    )
    op.create_table(
        "part",
        sa.Column("transfer", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_table(
        "answer",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("form", sa.String, nullable=False, index=True),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("values", sa.String, nullable=False),
    )
    op.create_table(
        "heard",
        sa.Column("id", sa.String, primary_key=True),
    )
    op.create_table(
        "deferred",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("posted", sa.String, nullable=False),
        sa.Column("head", sa.LargeBinary, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("opened", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("due_ms", sa.Integer, nullable=False),
        sa.Column("thread", sa.String, nullable=False),
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("prepared", sa.LargeBinary, nullable=False),
        sa.Column("sent", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "staged",
        sa.Column("file", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "register",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("field", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("stamp", sa.String, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
    )
    op.create_table(
        "stamp",
        sa.Column("latest", sa.String, primary_key=True),
    )
    op.create_table(
        "log_record",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("head", sa.String, nullable=False),
    )
    op.create_table(
        "trust",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("seen_head", sa.String, nullable=False),
        sa.Column("compared_head", sa.String, nullable=False),
        sa.Column("trouble", sa.String, nullable=False),
        sa.Column("other_head", sa.String, nullable=False),
        sa.Column("trouble_seen", sa.Integer, nullable=False),
        sa.Column("behind", sa.Integer, nullable=False),
        sa.Column("asked_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "prekey",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("made_ms", sa.Integer, nullable=False),
        sa.Column("published", sa.Integer, nullable=False),
    )
    op.create_table(
        "their_prekey",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("made_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "content_key",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("message", sa.String, nullable=False, index=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("heads", sa.String, nullable=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "regained_key",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "wish",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("at_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "shared_key",
        sa.Column("thread", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("ops", sa.Integer, nullable=False),
        sa.Column("memory_kib", sa.Integer, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("heads", sa.String, nullable=False),
    )
    op.create_table(
        "chain",
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("author", sa.String, nullable=False, index=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("last", sa.String, nullable=False),
    )
    op.create_table(
        "link",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("count", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False, index=True),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("gone", sa.Integer, nullable=False),
    )
    op.create_table(
        "opened",
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("message", sa.String, nullable=False, index=True),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    op.create_table(
        "missing",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("until", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
    )
    op.create_table(
        "unsettled",
        sa.Column("message", sa.String, primary_key=True),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("posted_ms", sa.Integer, nullable=False),
        sa.Column("manifest", sa.LargeBinary, nullable=False),
        sa.Column("asks", sa.String, nullable=False),
    )
    op.create_table(
        "online",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at_ms", sa.Integer, nullable=False),
    )
    op.create_table(
        "change",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("new", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    _make_indexes()
    op.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5(subject, text, names, files, topic, keys, "
        "content='', contentless_delete=1, tokenize='ascii', prefix='2 3')"
    )


def _make_indexes() -> None:
    op.create_index("thread_by_state", "thread", ["archived", "last_posted", "id"])
    op.create_index("thread_by_time", "thread", ["last_posted", "id"])
    op.create_index("thread_snoozed", "thread", ["snoozed_until_ms"], sqlite_where=sa.text("snoozed_until_ms > 0"))
    op.create_index("thread_unseen", "thread", ["last_posted", "id"], sqlite_where=sa.text("unseen > 0"))
    op.create_index("message_by_thread", "message", ["thread", "posted", "id"])
    op.create_index("message_by_time", "message", ["posted", "id"])
    op.create_index("message_unseen", "message", ["seen", "thread"], sqlite_where=sa.text("seen = 0"))
    pinged = sa.text("kind = 'ping' AND outgoing = 1")
    op.create_index("message_pinged", "message", ["to"], sqlite_where=pinged)
    op.create_index("message_encrypted", "message", ["thread"], sqlite_where=sa.text("suite > 0"))
    op.create_index("message_unopened", "message", ["suite"], sqlite_where=sa.text("state = 'sealed'"))
    op.create_index("message_confirms", "message", ["confirms"], sqlite_where=sa.text("confirms <> ''"))
    op.create_index("message_of", "message", ["of"], sqlite_where=sa.text("of <> ''"))
    op.create_index("attachment_by_transfer", "attachment", ["transfer"])
    op.create_index("attachment_by_file", "attachment", ["file"])
    op.create_index("part_by_author", "part", ["author", "size"])
    op.create_index("deferred_by_author", "deferred", ["author", "id"])
    op.create_index("outbox_by_state", "outbox", ["state", "number"])
    op.create_index("outbox_by_thread", "outbox", ["thread"])
    op.create_index("outbox_by_kind", "outbox", ["kind"])
    op.create_index("register_untold", "register", ["told"], sqlite_where=sa.text("told = 0"))
    op.create_index("opened_by_hash", "opened", ["device", "hash"])
    op.create_index("missing_by_hash", "missing", ["device", "hash"])
