# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every bound of the bridges, by name."""

# -- MIME (untrusted bytes, in worker processes) -----------------------------------------------------------------------
PARSE_WALL_S = 2.0  # then the worker is killed; and this much more for each MiB of the mail:
PARSE_WALL_MIB_S = 0.1  # a 25 MiB mail needs a second of an idle machine
PARSE_CPU_S = 2
PARSE_BUSY_SHARE = 0.5  # of the wall time in CPU, from which on the mail is to blame and not a busy machine
PARSE_MEMORY_BYTES = 1 << 30  # address space of a worker; a 25 MiB mail needs about a third
PARSE_WORKERS = 2
WORKER_MAILS_MAX = 500  # then a fresh one: what a mail may leave behind in memory ends with it
WORKER_START_S = 30.0
WORKER_ANSWER_MAX_BYTES = 64 << 20  # of a worker that looks at a sender's proof
WORKER_PIPE_S = 10.0  # to hand a mail in, and for each piece of what comes out
ANSWER_MAX_BYTES = 16 << 20  # text, names and notes of one mail
MIME_DEPTH_MAX = 20
MIME_PARTS_MAX = 1_000
MIME_HEADER_MAX_BYTES = 64 << 10  # of the mail, and of each of its parts
MIME_PARAMETERS_MAX = 100  # of one header field, pieces of RFC 2231 counted
UNPACKED_SHARE_MAX = 2  # attachments together, as a multiple of the mail, and this much more:
UNPACKED_MIN_BYTES = 16 << 20
TEXT_MAX_CHARACTERS = 1 << 20  # more of it is an attachment
HTML_MAX_BYTES = 4 << 20
HTML_DEPTH_MAX = 200  # nh3 needs time that grows with its square
HTML_ELEMENTS_MAX = 15_000  # about 75 µs each
STYLE_SHEET_MAX_CHARACTERS = 256 << 10
LINK_MAX_CHARACTERS = 2_000
SUBJECT_MAX_CHARACTERS = 998
FIELD_MAX_CHARACTERS = 8_192  # what is read of a header field that people see
FROM_MAX_CHARACTERS = 2_048  # of a From header: one name and one address
REFERENCES_MAX = 50
MESSAGE_ID_MAX_CHARACTERS = 998
FILE_NAME_MAX_BYTES = 150
NOTES_MAX = 20
CALENDAR_EVENTS_MAX = 20
COMBINING_MARKS_MAX = 4  # on one letter; no language needs more
ARCHIVE_DEPTH_MAX = 3  # archives within archives that are looked into
ARCHIVE_MEMBERS_MAX = 10_000
ARCHIVE_LOOKED_INTO_MAX_BYTES = 32 << 20  # unpacked, to see what is inside

# -- what the intake remembers -----------------------------------------------------------------------------------------
SIGNATURE_AGE_MAX_S = 7 * 86_400.0
DATE_AHEAD_MAX_S = 86_400.0  # of a mail whose signature does not say when it was made: people's clocks
DUPLICATES_KEPT_S = SIGNATURE_AGE_MAX_S + DATE_AHEAD_MAX_S  # or a signed mail could come again when it is forgotten
THREADS_KEPT_S = 366 * 86_400.0  # since the last mail; a mail that names the first one finds its thread after that, too
FORGET_EVERY_S = 3_600.0
GROUP_MAX = 500  # changes in one transaction
EVIDENCE_FINDINGS_MAX = 50  # kept of one mail, those that pass first
CORRESPONDENTS_SEEN_MAX = 100_000  # whom nobody has vetted; of more those are forgotten who were not heard of longest
CORRESPONDENT_MAILS_KEPT_S = 30 * 86_400.0  # how many each has sent
CORRESPONDENT_MAILS_REFUSED = 20  # of each: further ones that are not taken are not counted
RULED_AT_ONCE = 200  # correspondents that a rule moves in one change
INVITED_AT_ONCE = 50  # correspondents whom the gateway is asked to invite
DECISIONS_AT_ONCE = 500  # entries that are looked at, or cut off, before others have their turn: some milliseconds
RESIDUE_MAX = 1_000  # senders that a report names, those with most messages
REPLAY_CHANGES_MAX = 1_000  # kinds of changes that a replay names, those with most messages
DECISIONS_SEARCHED_MAX = 100_000  # for one page of a search; the next page goes on from there

# -- mail that waits on the disk ---------------------------------------------------------------------------------------
SPOOL_POSTS_MAX = 4  # mails on their way to the service at once
SPOOL_PAUSE_FIRST_S = 60.0  # after the service has put a mail off; then twice as long each time, up to:
SPOOL_PAUSE_LONGEST_S = 4 * 3_600.0
SPOOL_KEPT_S = 5 * 86_400.0  # RFC 5321 §4.5.4.1; and less than `DUPLICATES_KEPT_S`, or a repeat could come twice
SPOOL_LOOK_S = 5.0  # how often it is looked at while nothing happens
HOLD_LOOK_S = 60.0  # how often it is looked for what has waited long enough, and for decisions that were cut off
HOLD_NETWORKS = 4  # one network's mail that nothing proves has at most this part of the room
HOLD_ROWS_KEPT_S = 90 * 86_400.0  # who decided what of a mail that is gone; the log of decisions has it longer

TIDY_EVERY_S = 3_600.0  # how often steps are taken that are due by rule, and old decisions are cut off
LOOP_AGAIN_S = 10.0  # after a fault in what goes on beside the sessions
REFUSALS_WRITTEN_OF_NETWORK = 500  # decisions within an hour on mail that was refused or put off, one by one,
REFUSALS_WRITTEN = 2_000  # and of all networks; further ones are counted
REFUSALS_NETWORKS_MAX = 10_000  # told apart
REFUSALS_TOLD_MAX = 20  # entries about an hour: those networks with most

# -- vetting records (docs/decisions/0021) -----------------------------------------------------------------------------
NETWORK_KNOWN_S = 30 * 86_400  # since a record's proof has passed from it; then failures from there are anybody's
FAILURES_SUSPEND = 3  # in a row, from known networks
FAILURES_IN_FRONT_SUSPEND = 10  # in a row, where a server in front says no network,
FAILURES_IN_FRONT_DAYS = 3  # on so many days
FAILURES_PER_DAY_MAX = 10  # that are noted of one record and kind: who forges mail writes nothing more
SENDER_DAYS_KEPT = 400  # of the messages of a day

# -- SMTP --------------------------------------------------------------------------------------------------------------
COMMAND_LINE_MAX_BYTES = 2_048  # RFC 5321 §4.5.3.1.4 says 512; SMTPUTF8 and ESMTP parameters make it longer
DATA_LINE_MAX_BYTES = 16_384  # RFC 5321 §4.5.3.1.6 says 1000; real senders do send longer ones
DOMAIN_MAX_BYTES = 255  # RFC 5321 §4.5.3.1.2
LOCAL_PART_MAX_BYTES = 64  # RFC 5321 §4.5.3.1.1
PATH_MAX_BYTES = 256  # RFC 5321 §4.5.3.1.3
REPLY_TEXT_MAX = 400  # RFC 5321 §4.5.3.1.5 allows a reply 512 octets
HANDSHAKE_S = 30.0  # for a PROXY header and TLS, before the greeting
SESSION_IDLE_S = 120.0
SESSION_MAX_S = 3_600.0
SESSION_COMMANDS_MAX = 2_000
SESSION_ERRORS_MAX = 20  # commands that are none, or in no order, or cannot be read; a refused mail is none of them
SESSION_CLOSE_S = 10.0  # for the last answers to be taken, then the connection is dropped
ADDRESSES_REMEMBERED_MAX = 1_024  # of peers, and of senders, in the form in which they are looked up
BUFFERED_BYTES_MAX = 256 << 20  # of mail being received, all sessions together; beyond it 452
BUFFERED_SHARE_MAX_BYTES = BUFFERED_BYTES_MAX // 4  # of one address, or one /64 of IPv6; one mail fits always
SERVICE_WAIT_S = 15.0  # for the service to be there; else the mail is spooled
STREAM_CHUNK_BYTES = 256 << 10

# -- answers of members ------------------------------------------------------------------------------------------------
ANCESTORS_MAX = 20  # mails that an answer refers to; programs need the newest
OUTGOING_MAX = 10_000  # answers that wait for the relay, and this much of them:
OUTGOING_MAX_BYTES = 1 << 30
OUTGOING_DAYS = 5  # of trying; RFC 5321 §4.5.4.1 says at least 4 to 5
OUTGOING_FIRST_PAUSE_S = 60.0  # and twice as long after each try, up to:
OUTGOING_LONGEST_PAUSE_S = 3_600.0
OUTGOING_ROUND_MAX = 50  # mails of one session with the relay
OUTGOING_KEPT_S = DUPLICATES_KEPT_S  # after it was sent: so long the same answer is known again
OUTGOING_DISK_PAUSE_S = 10.0  # of a full disk: the answer stays with the service meanwhile
OUTGOING_LOOK_S = 60.0  # at what waits, where nothing has woken the sender
INVITE_NOTICE_EVERY_S = 86_400.0  # a member is told so often, in one thread, that nobody can be answered there
RELAY_COMMAND_S = 60.0
RELAY_DATA_S = 600.0  # RFC 5321 §4.5.3.2.6: who gives up sooner sends twice
RELAY_WORDS_MAX_CHARACTERS = 300
PASSWORD_MAX_BYTES = 4_096
TELL_EVERY_S = 3_600.0  # administrators are told of one kind of trouble
TELLINGS_MAX = 100  # waiting for the service; and kinds that are told apart
TELL_AGAIN_S = 30.0

# -- control: administrators' operations over the bridge's own socket -------------------------------------------------
CONTROL_REQUEST_MAX_BYTES = 4 << 20  # rules that are tried: 10,000 senders and 10,000 routes
CONTROL_ANSWER_MAX_BYTES = 64 << 20
CONTROL_CONNECTIONS_MAX = 16
CONTROL_READ_S = 10.0  # for a request to be there whole, and for an answer to be taken
CONTROL_ANSWER_S = 50.0  # until an answer begins; the gateway's API waits a little longer
CONTROL_STOP_S = 1.0  # for answers to be taken, when it stops

# -- proof of a sender (DNS, SPF, DKIM, ARC, DMARC) --------------------------------------------------------------------
DNS_LOOKUPS_MAX = 20  # of one message; RFC 7208 §4.6.4 alone allows SPF 10 terms
DNS_WALL_S = 5.0  # all look-ups of one message together; then 451
DNS_VALUE_MAX_BYTES = 4_096  # of one record: some SPF code is quadratic in it, and no honest key or policy is longer
DNS_VALUES_MAX = 64  # of one answer
DKIM_SIGNATURES_MAX = 10  # of one mail; further ones are said to be too many
SIGNATURE_FIELD_MAX_BYTES = 8_192  # of one DKIM-Signature, ARC-Seal or ARC-Message-Signature; honest ones have 2,000
DKIM_KEY_MIN_BITS = 1_024  # RFC 8301 §3.2
DKIM_KEY_MAX_BITS = 4_096  # the same; a larger one costs more than a mail may
ARC_SETS_MAX = 8  # RFC 8617 §4.2.1 allows 50; each costs two keys
CLOCK_SKEW_S = 300  # of signers: how far in the future t= may be, and how long ago x=
PROOF_WALL_S = 20.0  # one look of a worker at one mail: a mail at fault meets the CPU limit first, so this is our load
PROOF_CPU_S = 4  # 25 MiB with two signatures take 1.1 s
PROOF_MEMORY_BYTES = 1 << 30  # address space of a worker; dkimpy needs about six times the mail
PROOF_DESCRIPTORS_MAX = 4  # of a worker: its pipes, and one module at a time that is loaded when it is needed
PROOF_WORKERS = 2
PROOF_WORKERS_PER_PEER = 1  # at once, so that one peer's mails leave a turn to others'
PROOF_ROUNDS_MAX = DNS_LOOKUPS_MAX + 2  # a worker asks for records, is asked again with them, …
