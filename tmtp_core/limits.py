# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every bound of the service, by name.

A queue, buffer, loop or timeout that has no name here has no bound, and that is a bug. Units stand in
the name. What an administrator may change is a field of `InstanceLimits`; the rest is fixed by the
protocol or by what was measured (`docs/decisions/`).
"""

from dataclasses import dataclass

# -- the wire (wire.md §1, §2) ---------------------------------------------------------------------------------------
HEADER_MIN_BYTES = 8  # `{"op":0}`; shorter cannot be a header
HEADER_MAX_BYTES = 0xFFFF  # four hex digits
FRAME_PEEK_BYTES = 12  # nothing is judged before this many bytes have arrived
PING_MAX_BYTES = 420  # 140 UTF-16 units are at most 420 bytes of UTF-8
PING_MAX_UTF16_UNITS = 140
NAME_MIN_BYTES = 8
NAME_MAX_BYTES = 255  # in its escaped form
TLS_RECORD_MAX_BYTES = 16_384

# -- accounts --------------------------------------------------------------------------------------------------------
UID_RANDOM_BYTES = 20
NODE_SECRET_BYTES = 25
BASE32_MAX_CHARACTERS = 40  # a node secret's; nothing longer is worth decoding, above all from who has not logged in
NODES_PER_ACCOUNT_MAX = 100  # wire.md §4.7
ALIASES_PER_ACCOUNT_MAX = 100  # revision 1 knows no bound; a name taken is taken for ever
GROUP_MEMBERS_MAX = 10_000

# -- consent (docs/protocol.md, *Acquaintance*) ----------------------------------------------------------------------
INTRODUCTIONS_PER_MESSAGE_MAX = 16
INTRODUCTION_PAIRS_EXAMINED_MAX = 1_000  # of one message: pairs grow with the square of its recipients
BLOCKS_PER_ACCOUNT_MAX = 10_000
NAME_MAX_CHARACTERS = 64  # of a new alias or group name, where messages need consent: a name carries no letter
REPORTS_PER_DAY = 20  # of one account, about whomever
REPORTS_OPEN_PER_ACCOUNT_MAX = 50  # that one account has made
REPORTS_OPEN_MAX = 10_000  # in an instance: nobody reads more, and words of members are kept in them
REPORTS_CLOSED_MAX = 10_000
REPORTS_CLOSED_KEPT_DAYS = 90
REPORT_WORDS_MAX_UTF16_UNITS = 500
REPORT_NOTE_MAX_CHARACTERS = 500  # what an administrator says when closing one
DIRECTORY_ANSWERS_MAX = 20
DIRECTORY_TEXT_MIN_CHARACTERS = 3
LABEL_MAX_CHARACTERS = 100
OUTSIDE_ADDRESS_MAX_BYTES = 320
INVITATIONS_LISTED_MAX = 1_000
RETURNS_AT_ONCE_MAX = 200  # messages given up in one transaction
RETURN_LOOKS_MAX = 10  # in a row that gave nothing up; the next minute goes on from there
RETURN_UIDS_MAX = 1_200  # uids in one `return`: it must fit a header
RETURN_INTERVAL_S = 60.0  # between looks; while there is more, one batch follows the other

# -- the account log (docs/protocol.md) ------------------------------------------------------------------------------
LOG_ENTRY_MAX_BYTES = 1_024  # the longest act needs about 250
LOG_RECORDS_ORDINARY_MAX = 1_500  # a person's devices change some dozens of times in a life; 2,000 load in 50 ms
LOG_RECORDS_MAX = 2_000  # the recovery key finds room when a device has filled the log
RECOVERY_DEVICES_MAX = 120  # and when one has added as many as an account may have
LOG_TIME_MAX_MS = 2**53 - 1
LOG_APPENDS_PER_DAY = 50  # of one device; the recovery key's links together have four times as many
LOG_ALONE_MS = 72 * 3600 * 1000
LOG_PAGE_MAX_BYTES = 256 << 10  # of one answer to LogFetch
LOG_PAGE_RECORDS_MAX = 500
PREKEY_CLOCK_SKEW_MS = 24 * 3600 * 1000  # between a device's clock and the service's

# -- sealed messages (docs/protocol.md) ------------------------------------------------------------------------------
SEALED_ACCOUNTS_MAX = 1_000  # that one sealed message is for, the sender's own among them
SEALED_KEYS_MAX = 3_500  # devices, of all of them: 275 octets each
SEALED_ATTACHMENTS_MAX = 1_000
OUTER_HEAD_MAX_BYTES = 1 << 20  # of a sealed post: the keys, and little else
MANIFEST_MAX_BYTES = 512 << 10  # 170 octets an account, 70 an attachment, and as much again for groups
INNER_HEAD_MAX_BYTES = 512 << 10  # subject, readers of the thread, names of attachments
SEALED_NUMBER_MAX = 2**53 - 1  # of any number inside: every JSON reader holds it exactly
SEALED_PAD_BYTES = 256  # the length of what is sealed is a multiple of this at least
SAFETY_CODE_MAX_CHARACTERS = 1_000  # the largest QR code that a camera reads well holds about as many
PASSPHRASE_MAX_BYTES = 1_024
PASSPHRASE_OPS_MIN = 2  # Argon2id's passes; these and the memory stand in a header that anybody may have written
PASSPHRASE_OPS_MAX = 8
PASSPHRASE_MEMORY_MIN_KIB = 32 << 10
PASSPHRASE_MEMORY_MAX_KIB = 256 << 10
PASSPHRASE_OPS = 4  # for new keys: with this memory a third of a second on a small machine
PASSPHRASE_MEMORY_KIB = 64 << 10

# -- the look (B2) ---------------------------------------------------------------------------------------------------
LOOK_PICTURE_MAX_BYTES = 256 << 10  # as services send it
PICTURE_FILE_MAX_BYTES = 16 << 20  # as an administrator gives it
LOOK_MAX_BYTES = 1 << 20  # two pictures in base64url, and the rest

# -- sessions (wire.md §3) -------------------------------------------------------------------------------------------
LOGIN_DEADLINE_S = 5.0
LOGINS_TOLD_PER_HOUR = 200  # of one account, to its devices: or a device in a loop fills the others' queues
IDLE_DEADLINE_S = 120.0
WRITE_STALL_DEADLINE_S = 60.0  # a peer that takes nothing of what it is sent for this long is closed
TLS_CLOSE_DEADLINE_S = 10.0  # for the last record and the peer's own end, when everything else was taken
CUT_GRACE_S = 1.0  # a link that the service cuts has this long to take its last word
REDELIVERY_S = 30.0  # an unacknowledged delivery goes out again
CONTEST_S = 10.0  # how long an old link may stay silent before a second log-in of its node replaces it
OHI_EDIT_MAX = 1_200  # uids in one edit: its `ohiedit` message must fit a header
OHI_IN_INFO_MAX = 1_500  # uids in `info`; the others follow as `ohi`
NEWNODE_MAX_BYTES = 1_000
ERROR_TEXT_MAX_CHARACTERS = 1_000  # of an `ack`: names that a request brought are repeated in it
OHI_LIST_MAX = 10_000  # uids in one account's presence list

# -- back-pressure (storage.md, Sockets) -----------------------------------------------------------------------------
SESSION_PENDING_REQUESTS_MAX = 32  # uncommitted requests of one link before it is no longer read
SESSION_PENDING_BYTES_MAX = 4 << 20  # they and their answers, as far as these can be known
SESSION_ANSWERS_MAX_BYTES = 1 << 20  # asked for and not yet made; one more begins below that
SESSION_BUFFER_MAX_BYTES = 128 << 10  # read and not parsed: more than the longest header
SESSION_TURN_EVENTS = 200  # acted on before other links have their turn; a few milliseconds
SESSION_TURN_BYTES = 64 << 10  # parsed, the same: one header of full length may take as long as 200 pulses
ACK_BYTES = 200  # of an answer without data, about, besides the request's id
ENTRY_BYTES = 150  # that one recipient or signature of a request takes, about, once it is read: many times its JSON
ESCAPED_MAX_BYTES = 6  # that one character of a request takes where an answer repeats it: `\u0000`
LISTING_MAX_BYTES = 1 << 20  # counted for a list of members or invitations before its length is known
OUTLET_FRAMES_MAX = 1_024  # that wait on one link before its peer is no longer read
OUTLET_MAX_BYTES = 2 << 20  # of them in memory: a delivery window, and as much of answers
UPLOAD_BACKLOG_MAX_BYTES = 1 << 20  # of one link's posts, taken from the network and not yet with the disk
SERVICE_PENDING_BYTES_MAX = 64 << 20  # of all links together: what waits for the disk
DELIVERY_WINDOW_BYTES = 1 << 20  # in flight to one device, besides the count
DELIVERY_READY_MAX = 64  # committed messages kept in memory for one connected device, of a window's bytes
HIDDEN_IN_FLIGHT_MAX = 1_000  # to one device, whose numbers are kept in memory
READ_HIGH_WATER_BYTES = 64 << 10  # that TLS or HTTP gathers for a link that is not read: more than one record
WRITE_HIGH_WATER_BYTES = 256 << 10  # handed to the transport beyond what the kernel takes
WRITE_PIECE_BYTES = 64 << 10  # of one write, about: small frames joined, or a piece of a large payload

# -- the store -------------------------------------------------------------------------------------------------------
PAYLOAD_INLINE_MAX_BYTES = 64 << 10  # larger payloads are files
PAYLOAD_CHUNK_BYTES = 256 << 10  # read at once
BATCH_COMMANDS_MAX = 1_000
BATCH_BYTES_MAX = 16 << 20
CHECKPOINT_INTERVAL_S = 30.0  # storage.md: no file holds a delivered message for longer than 60 s
REPOST_MEMORY_S = 24 * 3600  # a request id is known for this long …
REPOST_MEMORY_COUNT = 1_000  # … and for at least this many requests of its node
REPOST_FORGET_INTERVAL_S = 3600.0
REPOSTS_LOOKED_AT = 20_000  # of these, about, in one decision to forget some: a twentieth of a second
RECEIVED_WRITE_INTERVAL_S = 60.0  # what members received is written; a process that is killed loses what is younger
RECEIVED_KEPT_DAYS = 400
RECEIVED_SHOWN_MAX = 10_000  # members, those first who receive most by SMTP
OCTETS_COUNTED_MAX = 200  # deliveries of one account whose octets are looked at; the others are taken to be like them
OCTETS_COUNTED_AT_ONCE = 50_000  # messages in one look; a tenth of a second's work
LOOKS_AT_ONCE_MAX = 2  # of administrators, on threads beside the writer
CACHED_ACCOUNTS_MAX = 100_000
CACHED_GROUPS_MAX = 20_000
DATABASE_BUSY_TIMEOUT_MS = 10_000

# -- payloads in a bucket (docs/scaling.md) --------------------------------------------------------------------------
OBJECT_PART_BYTES = 8 << 20  # of one upload, gathered on this machine's disk before it is sent; S3 wants 5 MiB at least
OBJECT_PARTS_MAX = 1_000  # of one object; then parts are larger. S3 allows 10,000, Swift as many as this
OBJECT_RANGE_BYTES = 1 << 20  # read at once, and held in memory for a link that is sent it
OBJECT_UPLOADERS = 16  # threads
OBJECT_READERS = 16  # threads
OBJECT_REMOVERS = 4  # threads
OBJECT_CONNECT_TIMEOUT_S = 5.0
OBJECT_ANSWER_TIMEOUT_S = 20.0  # without an octet
OBJECT_ATTEMPTS_MAX = 3  # of one request; then a post is refused, and a reading tried again later

# -- several processes on one database (docs/scaling.md) -------------------------------------------------------------
LEASE_S = 10.0  # a process that is not heard of for so long is dead, and others take over its devices
UNHEARD_S = 2.5  # the same for one whose connection to the database is gone, too: it was killed
CLAIM_S = 15.0  # how long a link waits until the process that has its node has settled the matter: over CONTEST_S
CHANGES_READ_MAX = 5_000  # what others changed, read one by one; where there is more, all caches are given up
COUNTED_MESSAGES_MAX = 100_000  # with more than that, about how many there are is told
CHANGES_KEPT_MAX = 50_000
NOTICES_WAITING_MAX = 10_000  # to other processes; more are dropped: they carry presence, which may be lost
PRESENCE_PER_NOTICE = 100  # uids, of at most 64 octets: PostgreSQL carries 8,000
BUS_STOP_S = 5.0  # for what is still to be said when a service stops
DATABASE_COMMAND_TIMEOUT_S = 30.0

# -- invitations -----------------------------------------------------------------------------------------------------
INVITATION_TOKEN_BYTES = 20
RESET_VALID_MS = 7 * 24 * 3600 * 1000
DATE_MAX_MS = 253_402_300_799_999  # the year 9999 ends
INVITATION_USES_MAX = 100_000
INVITATION_NOTE_MAX_CHARACTERS = 500

# -- administration (docs/api.md) ------------------------------------------------------------------------------------
ADMINISTRATION_TOKENS_MAX = 1_000
TOKEN_USE_NOTED_MS = 60_000  # when a token was used last is written no oftener
AUDIT_TEXT_MAX_CHARACTERS = 1_000  # of one field of an entry
AUDIT_VERIFIED_AT_ONCE = 1_000  # entries; between them others write
AUDIT_DENIALS_PER_MINUTE = 10  # of one actor that are entries of their own; of more, how many there were
AUDIT_SETTLE_INTERVAL_S = 10.0  # between tries to write down what could not be when it happened
HISTORY_STEP_S = 10.0
HISTORY_STEPS = 360  # an hour
HISTORY_DAY_EVERY = 30  # of these steps one is kept for a day
HISTORY_DAY_STEPS = 288
LOOK_CHEAP_S = 0.05  # what takes longer to look up is kept …
LOOK_KEPT_TIMES = 20.0  # … for so many times as long: looking takes a twentieth of one thread's time at most
API_BODY_MAX_BYTES = 1 << 20
FORM_FIELDS_MAX = 2_000
API_CONNECTIONS_MAX = 200
API_REQUESTS_AT_ONCE_MAX = 32  # that are being answered; further ones are told to come again
API_REQUESTS_PER_MINUTE = 600  # of one token
API_FAILURES_PER_MINUTE = 10  # log-ins that failed, of one address
API_ADDRESSES_REMEMBERED_MAX = 10_000
API_REQUEST_DEADLINE_S = 30.0  # to read one request whole; and between requests
API_ANSWER_DEADLINE_S = 60.0
INVITED_LOOK_INTERVAL_S = 60.0  # how often an intake is told which of its correspondents have joined
INVITED_LOOK_MAX_S = 45.0  # one look at one intake
INVITED_PAGES_MAX = 40  # of 500 invited correspondents each, of one look

# -- registering (A2), and sign-in with a provider (A1) --------------------------------------------------------------
REGISTRATION_ADDRESSES_MAX = 100_000  # whose shares are kept in memory, about 25 MB
WORK_BITS_MIN = 18  # an eighth of a second in Python
WORK_BITS_MAX = 24  # eight seconds; more would shut out old telephones before it hurts a farm of machines
WORK_S = 120.0  # for it, beside the five seconds that a log-in has
WORKING_LINKS_MAX = 1_000  # to which that is granted at once; then the one that has had it longest gives way
SIGN_IN_TOKEN_MAX_BYTES = 16 << 10  # large directories put many groups into one
SIGN_IN_AGE_MAX_S = 900  # between the provider's signature, or our nonce, and the registration
SIGN_IN_LEEWAY_S = 60  # between the provider's clock and ours
SIGN_OUT_MAX_BYTES = 32 << 10  # of the form in which a provider says it
SIGN_INS_CHECKED_MAX = 64  # at once; each may wait for the provider's keys

# -- instances -------------------------------------------------------------------------------------------------------
SETTINGS_VALUES_MAX = 100_000  # of a settings file, aliases written out: ten thousand vetted senders
CONNECTIONS_MAX = 20_000
STOP_GRACE_S = 10.0
HTTP_STOP_GRACE_S = 1.0  # for a request over HTTP that is being answered at a stop
JOURNAL_PATIENCE_S = (
    2.0  # how long an act waits for the disk of the journal beside the backups; then it goes on without
)
BACKUPS_PATIENCE_S = 2.0  # how long the overview waits for the disk of the backups
BACKUP_OLD_S = 36 * 3600  # a backup a day, and one that was late; then somebody should look
CERTIFICATE_LOOK_INTERVAL_S = 5.0  # between looks whether its files were replaced; used when they stay so till the next
LISTEN_BACKLOG = 4_096  # who waits to shake hands; Linux takes no more unless it is told to
ACCEPTED_AT_ONCE_MAX = 100  # connections, in one turn of the loop
HANDSHAKES_MAX = 250  # under way at once on one address, so that each is soon done: a third of a second's work
HANDSHAKE_PATIENCE_S = 2.0  # where so many are, one that takes longer gives way; else `LOGIN_DEADLINE_S` holds
HANDSHAKE_SILENCE_S = 0.1  # the same for one whose peer has sent nothing at all
CONNECTIONS_NOT_UPGRADED_MAX = 1_000
ENDED_LINKS_KEPT = 500  # in memory, about 10 MB, before they are looked for; or a quarter of those that stand
ENDED_LINKS_INTERVAL_S = 2.0
DESCRIPTORS_FOR_FILES = 256  # that no connection gets; of few, a quarter
DESCRIPTOR_RETRY_S = 1.0
WEBSOCKET_MESSAGE_MAX_BYTES = 64 << 10  # of one that a peer sends; its borders mean nothing, so it may cut anywhere
WEBSOCKET_TURN_BYTES = 8 << 10  # of messages read before other links have their turn; at least one

# -- the administrators' console -------------------------------------------------------------------------------------
CONSOLE_SECRET_BYTES = 32  # of links, sessions, challenges
CONSOLE_LINK_VALID_MS = 10 * 60 * 1000
CONSOLE_IDLE_MS = 60 * 60 * 1000  # a session that is not used for so long is over
CONSOLE_SESSION_MS = 12 * 3600 * 1000  # and so is one that began so long ago
CONSOLE_SEEN_STEP_MS = 60 * 1000  # how exactly it is known when a session was used: not each page is a commit
CONSOLE_SESSIONS_PER_PERSON_MAX = 20  # the oldest end
CONSOLE_PASSKEYS_PER_PERSON_MAX = 20
CONSOLE_NAME_MAX_CHARACTERS = 100
CONSOLE_CEREMONY_S = 300.0
CONSOLE_CEREMONIES_MAX = 1_000  # passkeys asked for and not answered yet; the oldest are forgotten
CONSOLE_ATTEMPTS_MAX = 10  # to sign in, at once from one address; then one each …
CONSOLE_ATTEMPT_INTERVAL_S = 6.0
CONSOLE_ATTEMPTERS_MAX = 10_000  # addresses known at once
CONSOLE_SHOWN_MS = 10 * 60 * 1000  # how long what is shown once can be shown again to the session that made it
CONSOLE_SHOWN_MAX = 100
CONSOLE_REPORT_KEPT_MS = 5 * 60 * 1000  # for an intake's overview: a new one reads the whole log
CONSOLE_INVITATIONS_MAX = 250  # made from one form: each has a code to be drawn
CONSOLE_FORM_MAX_BYTES = 1 << 20
CONSOLE_AUDIT_CHECKED_MAX = 20_000  # entries, each time that one looks at the log; of more when one asks for it
CONSOLE_REPORT_MAX_BYTES = 4 << 10  # of what a browser refused to load
CONSOLE_REPORTS_KEPT = 32
CONSOLE_PASSKEY_MAX_BYTES = 64 << 10  # of a browser's answer


@dataclass(frozen=True, slots=True)
class InstanceLimits:
    """What an administrator sets for one instance (`limits:` in the YAML file)."""

    message_max_bytes: int = 64 << 20
    window_revision1: int = 16  # deliveries in flight to a revision 1 client; 1 = stop and wait
    window_revision2: int = 64  # the same for a device with a key; announced to it
    connections_max: int = CONNECTIONS_MAX
