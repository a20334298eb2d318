# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this device keeps of one account: the tables of its encrypted database (B2, B8).

One file an account, so that leaving a service is the end of one key. A time that ends in `_ms` is milliseconds since
1970; `posted` is the service's text, RFC 3339 with three decimals, which sorts as time does. Uids, gids and message ids
are the service's (wire.md §4). Texts that the person wrote or others sent stand here and in `search` alone, never in a
file's name.
"""

from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, String, Table, text

metadata = MetaData()

# -- who this device is ----------------------------------------------------------------------------------------------
identity = Table(  # one row
    "identity",
    metadata,
    Column("uid", String, primary_key=True),
    Column("node", String, nullable=False),  # the secret of revision 1; empty under revision 2
    Column("alias", String, nullable=False),  # under which messages go out
    Column("host", String, nullable=False),
    Column("port", Integer, nullable=False),
    Column("pin", String),
    Column("ca_file", String),
    Column("service", String, nullable=False),  # what it calls itself
    Column("service_key", String, nullable=False),  # pinned; empty under revision 1
    Column("seed", LargeBinary),  # of this device's Ed25519 key; null under revision 1
    Column("box_key", LargeBinary),  # its private X25519 key
    Column("label", String, nullable=False),  # what the person calls this device
)
pending = Table(  # keys of an account that is being opened, linked or come back to, or that gets a new recovery key;
    # gone when its person has what he needs
    "pending",
    metadata,
    Column("service_key", String, primary_key=True),
    Column("seed", LargeBinary, nullable=False),
    Column("box_key", LargeBinary, nullable=False),
    Column("recovery_seed", LargeBinary, nullable=False),  # empty where none was made
)

# -- who others are --------------------------------------------------------------------------------------------------
person = Table(  # everybody this account has heard of; by uid, the only name that nobody can take over (D1)
    "person",
    metadata,
    Column("uid", String, primary_key=True),
    Column("alias", String, nullable=False),  # the latest that the service verified; of a ghost its address
    Column("known_by", String, nullable=False),  # ping, invitation, introduction, group, self
    Column("stands", String, nullable=False),  # see tmtp_client.store.people
    Column("via", String, nullable=False),  # of a ghost: the bridge; else empty
    Column("proof", String, nullable=False),  # of a ghost: what the bridge proved
    Column("blocked", Integer, nullable=False),  # as the service replicates it (op 16)
    Column("present", Integer, nullable=False),  # online now: 1 on, 0 off; of the present connection
    Column("since_ms", Integer, nullable=False),
)
alias = Table(  # every verified alias, also of oneself: what was written to an older one still finds its owner
    "alias",
    metadata,
    Column("alias", String, primary_key=True),
    Column("uid", String, nullable=False, index=True),
)
group = Table(
    "group",
    metadata,
    Column("gid", String, primary_key=True),
    Column("stands", String, nullable=False),  # invited, joined, left, barred
    Column("alias", String, nullable=False),  # under which this account is in it
    Column("by", String, nullable=False),  # uid of who invited; empty for one's own
    Column("since_ms", Integer, nullable=False),
)
member = Table(
    "member",
    metadata,
    Column("gid", String, primary_key=True),
    Column("uid", String, primary_key=True),
    Column("alias", String, nullable=False),
    Column("stands", String, nullable=False),  # invited, joined, barred
    Column("owner", Integer, nullable=False),
)

# -- history ---------------------------------------------------------------------------------------------------------
thread = Table(  # `id`: of its first message. Counts are kept with every message, and can be made again from them
    "thread",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("gid", String, nullable=False),  # empty: between persons
    Column("last_posted", String, nullable=False),
    Column("last_message", String, nullable=False),
    Column("last_text", String, nullable=False),  # its first 200 characters
    Column("last_alias", String, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("unseen", Integer, nullable=False),
    Column("mentions", Integer, nullable=False),  # unseen ones that name one's alias
    Column("files", Integer, nullable=False),
    Column("archived", Integer, nullable=False),  # these five follow from the registers; for lists
    Column("muted", Integer, nullable=False),
    Column("snoozed_until_ms", Integer, nullable=False),  # 0: not
    Column("encryption", String, nullable=False),  # off, on, shared
    Column("draft", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),  # entries of the outbox
    Index("thread_by_state", "archived", "last_posted", "id"),
    Index("thread_by_time", "last_posted", "id"),
    Index("thread_unseen", "last_posted", "id", sqlite_where=text("unseen > 0")),
    Index("thread_snoozed", "snoozed_until_ms", sqlite_where=text("snoozed_until_ms > 0")),
)
tag = Table(  # of threads; follows from the registers, for lists and search
    "tag",
    metadata,
    Column("name", String, primary_key=True),
    Column("thread", String, primary_key=True, index=True),
)
reader = Table(  # who reads a thread: `cc` of its first message, and who was added (wire.md §11)
    "reader",
    metadata,
    Column("thread", String, primary_key=True),
    Column("uid", String, primary_key=True),
    Column("alias", String, nullable=False),
    Column("by", String, nullable=False),
    Column("posted", String, nullable=False),
    Column("note", String, nullable=False),
    Column("subscribed", Integer, nullable=False),
)
message = Table(
    "message",
    metadata,
    Column("number", Integer, primary_key=True),  # of this device; the row of `search`
    Column("id", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),  # ping, invitation, message, note, return, notice
    Column("outgoing", Integer, nullable=False),
    Column("author", String, nullable=False),  # uid
    Column("alias", String, nullable=False),  # of the author, as the service verified it then
    Column("verified", Integer, nullable=False),  # 0: the name is only the payload's claim (revision 1)
    Column("to", String, nullable=False),  # JSON: [[uid or gid, type], …] as far as this device knows; else []
    Column("thread", String, nullable=False),
    Column("posted", String, nullable=False),
    Column("received_ms", Integer, nullable=False),
    Column("state", String, nullable=False),  # see tmtp_client.store.messages
    Column("seen", Integer, nullable=False),
    Column("mentions", Integer, nullable=False),  # it names one's alias
    Column("suite", Integer, nullable=False),  # 0 none, else protocol.md's 1 or 2
    Column("confirms", String, nullable=False),  # the id of the forwarded message that it confirms; else ""
    Column("of", String, nullable=False),  # a note's or return's message; else ""
    Column("sealed", String, nullable=False),  # JSON of tmtp_client.trust.Sealed: who, what, which doubts; else ""
    Column("subject", String, nullable=False),
    # CommonMark as it was written; of a ping plain text. Last: what stands behind a long text is far away on the disk
    Column("text", String, nullable=False),
    Index("message_by_thread", "thread", "posted", "id"),
    Index("message_by_time", "posted", "id"),
    Index("message_unseen", "seen", "thread", sqlite_where=text("seen = 0")),
    Index("message_pinged", "to", sqlite_where=text("kind = 'ping' AND outgoing = 1")),
    Index("message_encrypted", "thread", sqlite_where=text("suite > 0")),
    Index("message_unopened", "suite", sqlite_where=text("state = 'sealed'")),
    Index("message_confirms", "confirms", sqlite_where=text("confirms <> ''")),
    Index("message_of", "of", sqlite_where=text("of <> ''")),
)
attachment = Table(
    "attachment",
    metadata,
    Column("message", String, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # file, form, filled (wire.md §11: u:, f:, r:)
    Column("name", String, nullable=False),  # as its sender called it, made safe
    Column("form", String, nullable=False),  # `ffn`, of forms; else ""
    Column("size", Integer, nullable=False),
    Column("file", String, nullable=False),  # in the vault's files; "" until all of it is here
    Column("have", Integer, nullable=False),  # octets that are here
    Column("hash", LargeBinary, nullable=False),  # BLAKE2b-256 of all of them, for who sends it on; b"": not known
    Column("transfer", String, nullable=False),  # of one that comes in parts; else ""
    Index("attachment_by_transfer", "transfer"),
    Index("attachment_by_file", "file"),
)
transfer = Table(  # a large file that comes in parts, each a post of its own, until it is whole
    "transfer",
    metadata,
    Column("transfer", String, primary_key=True),  # author's uid and what he calls it
    Column("author", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("hash", String, nullable=False),  # BLAKE2b-256 in base64url, of the message that names it; "" before
    Column("at_ms", Integer, nullable=False),  # when something of it came last
    Column("lacks", Integer, nullable=False),  # 1: there was no room for a part, so it will never be whole
)
part = Table(
    "part",
    metadata,
    Column("transfer", String, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("author", String, nullable=False),
    Column("file", String, nullable=False),
    Column("size", Integer, nullable=False),
    Index("part_by_author", "author", "size"),
)
answer = Table(  # what people filled into forms
    "answer",
    metadata,
    Column("message", String, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("form", String, nullable=False, index=True),  # `ffn`
    Column("author", String, nullable=False),
    Column("values", String, nullable=False),  # JSON object
)

heard = Table(  # events that were acted on, the latest of them: the service repeats what was not acknowledged
    "heard", metadata, Column("id", String, primary_key=True)
)
deferred = Table(  # posts that something follows from, signed by a device of which its log does not tell here yet
    "deferred",
    metadata,
    Column("id", String, primary_key=True),
    Column("author", String, nullable=False),
    Column("posted", String, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("text", String, nullable=False),
    Column("opened", LargeBinary, nullable=False),
    Index("deferred_by_author", "author", "id"),
)

# -- what is to be sent ----------------------------------------------------------------------------------------------
outbox = Table(
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True),  # the order
    Column("request_id", String, nullable=False, unique=True),  # for all tries
    Column("kind", String, nullable=False),  # see tmtp_client.store.outbox
    Column("state", String, nullable=False),  # see tmtp_client.store.outbox
    Column("due_ms", Integer, nullable=False),  # not before: undo, schedule
    Column("thread", String, nullable=False),
    Column("lane", String, nullable=False),  # what of one lane is sent keeps its order, also while something waits
    Column("content", LargeBinary, nullable=False),  # msgspec JSON of tmtp_client.store.outbox.Content
    Column("prepared", LargeBinary, nullable=False),  # what all tries have in common under encryption; else b""
    Column("sent", Integer, nullable=False),  # octets of the present try
    Column("size", Integer, nullable=False),
    Column("error", String, nullable=False),
    Column("at_ms", Integer, nullable=False),
    Index("outbox_by_state", "state", "number"),
    Index("outbox_by_thread", "thread"),
    Index("outbox_by_kind", "kind"),
)
staged = Table(  # files that were handed over for a message that is not sent yet
    "staged",
    metadata,
    Column("file", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # BLAKE2b-256
    Column("at_ms", Integer, nullable=False),
)

# -- what devices agree about ----------------------------------------------------------------------------------------
register = Table(  # last writer wins, field by field (tmtp_client.sync)
    "register",
    metadata,
    Column("kind", String, primary_key=True),  # message, thread, draft, person, setting
    Column("key", String, primary_key=True),
    Column("field", String, primary_key=True),
    Column("value", String, nullable=False),  # JSON; "null": taken away
    Column("stamp", String, nullable=False),  # of the hybrid logical clock; sorts as text
    Column("told", Integer, nullable=False),  # 0: the other devices are to be told
    Index("register_untold", "told", sqlite_where=text("told = 0")),
)
stamp = Table("stamp", metadata, Column("latest", String, primary_key=True))  # of the hybrid logical clock: one row

# -- whom to trust ---------------------------------------------------------------------------------------------------
log_record = Table(  # account logs, verified: one's own and those of contacts (B4)
    "log_record",
    metadata,
    Column("uid", String, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("record", LargeBinary, nullable=False),
    Column("head", String, nullable=False),  # after it
)
trust = Table(  # of one account's keys
    "trust",
    metadata,
    Column("uid", String, primary_key=True),
    Column("seen_head", String, nullable=False),  # up to here the person has seen what changed; "" from the first
    Column("compared_head", String, nullable=False),  # with this one the person compared safety numbers
    Column("trouble", String, nullable=False),  # the service shows another log than before: why; else ""
    Column("other_head", String, nullable=False),  # of that other log
    Column("trouble_seen", Integer, nullable=False),  # the person knows, and goes on with what this device has checked
    Column("behind", Integer, nullable=False),  # so many records the service knew less of, when it was last asked
    Column("asked_ms", Integer, nullable=False),  # when its log was last looked at
)
prekey = Table(  # this device's own
    "prekey",
    metadata,
    Column("key", String, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("made_ms", Integer, nullable=False),
    Column("published", Integer, nullable=False),
)
their_prekey = Table(
    "their_prekey",
    metadata,
    Column("uid", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("key", String, nullable=False),
    Column("made_ms", Integer, nullable=False),
)
content_key = Table(  # of messages that this device sent: to wrap again for who lacks it
    "content_key",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("message", String, nullable=False, index=True),
    Column("key", LargeBinary, nullable=False),
    Column("heads", String, nullable=False),  # JSON: uid -> head of its log when it was sealed
    Column("at_ms", Integer, nullable=False),
)
regained_key = Table(  # of messages whose sender wrapped the key again for this device
    "regained_key",
    metadata,
    Column("message", String, primary_key=True),
    Column("key", LargeBinary, nullable=False),
)
wish = Table(  # who asks for the key of a message, and may have it only when the person agrees
    "wish",
    metadata,
    Column("message", String, primary_key=True),
    Column("uid", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("at_ms", Integer, nullable=False),
)
shared_key = Table(  # suite 1
    "shared_key",
    metadata,
    Column("thread", String, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("salt", LargeBinary, nullable=False),  # of a passphrase; b"": random
    Column("ops", Integer, nullable=False),  # what the passphrase cost; 0: random
    Column("memory_kib", Integer, nullable=False),
    Column("author", String, nullable=False),  # who passed it on
    Column("heads", String, nullable=False),  # JSON: uid of who has it -> head of its log when it got it
)
chain = Table(  # what a sending device said came before: nothing is left out, turned round or told twice
    "chain",
    metadata,
    Column("device", String, primary_key=True),  # the author's
    Column("author", String, nullable=False, index=True),
    Column("count", Integer, nullable=False),  # the next one's; -1: whatever comes next begins it anew
    Column("last", String, nullable=False),  # hash of the last manifest; "": there was none
)
link = Table(  # what this device sent to whom, in its order: what came back is left out of what it names as the last
    "link",
    metadata,
    Column("uid", String, primary_key=True),  # the recipient
    Column("count", Integer, primary_key=True),
    Column("request_id", String, nullable=False, index=True),
    Column("hash", String, nullable=False),  # of the manifest
    Column("gone", Integer, nullable=False),  # it did not reach the recipient: refused, given up, returned
)
opened = Table(  # what was opened, by what its sender called it: it opens once
    "opened",
    metadata,
    Column("device", String, primary_key=True),
    Column("request_id", String, primary_key=True),
    Column("message", String, nullable=False, index=True),
    Column("author", String, nullable=False),
    Column("count", Integer, nullable=False),  # its place in the chain of its device to this account
    Column("hash", String, nullable=False),  # of the manifest
    Index("opened_by_hash", "device", "hash"),
)
missing = Table(  # what a message says has come before it, and has not
    "missing",
    metadata,
    Column("message", String, primary_key=True),
    Column("device", String, nullable=False),
    Column("since", Integer, nullable=False),  # the places between `since` and, without it, `until`
    Column("until", Integer, nullable=False),
    Column("hash", String, nullable=False),  # of the manifest that came right before
    Column("told", Integer, nullable=False),  # it is a doubt; 0: there may be a reason for it
    Index("missing_by_hash", "device", "hash"),
)
unsettled = Table(  # messages that name a state of a log which this device does not know yet
    "unsettled",
    metadata,
    Column("message", String, primary_key=True),
    Column("author", String, nullable=False),
    Column("posted_ms", Integer, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("asks", String, nullable=False),  # JSON: whose logs are to be looked at
)

online = Table(  # when this device last had all that the service had for it: one row
    "online",
    metadata,
    Column("number", Integer, primary_key=True),  # 1
    Column("at_ms", Integer, nullable=False),
)

# -- what listeners are told -----------------------------------------------------------------------------------------
change = Table(  # the events of the local API, so that a listener that was away goes on where it was
    "change",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("type", String, nullable=False),  # of tmtp_client.api.models.EVENTS
    Column("key", String, nullable=False),  # what it is about, to be looked up when it is told; "": `data` says it
    Column("new", Integer, nullable=False),  # of a message: it was not here before
    Column("data", LargeBinary, nullable=False),  # msgspec JSON of the struct that EVENTS names, where `key` is ""
    sqlite_autoincrement=True,
)

SEARCH: Final = (  # rowid: message.number
    # Words are made by tmtp_client.store.words; `ascii` parts them at the spaces between, and asks nothing of Unicode.
    # `topic`: the thread's subject, where the message has none of its own. `keys`: what operators look for.
    "CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5(subject, text, names, files, topic, keys, "
    "content='', contentless_delete=1, tokenize='ascii', prefix='2 3')"
)
