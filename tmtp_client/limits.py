# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every bound of the client, by name."""

CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0  # of a request whose data is sent
QUIT_TIMEOUT_S = 10.0  # a person has asked to end: whoever does not answer by then is left
CLOSE_TIMEOUT_S = 2.0
PULSE_AFTER_S = 115.0  # of silence; the service closes after 120
TCP_USER_TIMEOUT_MS = 30_000  # unacknowledged data for this long ends the connection
READ_CHUNK_BYTES = 65_536
EVENTS_WAITING_MAX = 1_024  # received and not yet handled; the service's window is far smaller
PAYLOAD_BUFFER_BYTES = 1 << 20  # of one incoming payload, ahead of its handler
RECONNECT_FIRST_S = 0.5
RECONNECT_LONGEST_S = 60.0
STEADY_AFTER_S = 30.0  # a connection that lasted this long begins the pauses anew
PAYLOAD_HEAD_MAX_BYTES = 1 << 20  # the JSON at the start of a post
TEXT_MAX_BYTES = 16 << 20
ATTACHMENTS_MAX = 1_000
FILE_NAME_MAX_BYTES = 200

# -- sending, and large files (tmtp_client.engine.sending, .parts) ---------------------------------------------------
REQUEST_ID_BYTES = 16
OUTBOX_LOOK_S = 15.0  # at the latest: clocks are turned
OUTBOX_JUDGED_AT_ONCE = 100  # entries that are refused or held in one transaction
MESSAGE_MAX_BYTES_UNKNOWN = 1 << 50  # of a service that announces no limit (revision 1)
HOPELESS_TRIES = 2  # a quit that a request may have earned was perhaps earned by another of the connection
REFUSED_AGAIN_FIRST_S = 30.0  # after a refusal that is only for now
REFUSED_AGAIN_LONGEST_S = 3600.0
PROGRESS_STEP_BYTES = 1 << 20  # between two words to who watches
FILE_READ_BYTES = 256 << 10  # of a file that is being sent, with one change of threads
PART_BYTES = 8 << 20  # what is larger goes in parts; and so is what is lost when a connection breaks
PART_OVERHEAD_BYTES = 64 << 10  # of a part's post: heads, and keys for every device
PARTS_MAX = 1 << 20  # of one file
UNFINISHED_MAX_BYTES = 4 << 30  # of files that come in parts and are not whole yet, from one author (D3)
UNFINISHED_PARTS_MAX = 8_192  # the same, their number
UNFINISHED_OF_ALL_MAX_BYTES = 16 << 30
UNFINISHED_DAYS = 14  # after the last part, what is not whole is given up
UNFINISHED_LOOK_S = 3600.0
SUBJECT_MAX_CHARACTERS = 300
RECIPIENTS_MAX = 1_000  # of one message; a header has 64 KiB
COPY_MAX_BYTES = 4 << 20  # of a thread, for who is asked in
NOTE_MAX_BYTES = 1_024  # existing clients cut a longer one
CONFIRM_WITHIN_S = 20.0  # own devices wait by chance up to that, so that mostly one confirms

PATIENCE_S = 60.0  # of a command, with a service that says nothing
QUIET_S = 0.7  # after which nothing more is expected to come
OUTBOX_POLL_S = 0.2  # between looks at what other processes left in the outbox
WATCH_POLL_S = 2.0
WORK_BITS_MAX = 26  # of a registration, about a minute and a half; a service asks for 24 at most
SIGN_IN_PATIENCE_S = 600.0  # of a command, with a person at the provider's pages
BROWSER_TIMEOUT_S = 10.0  # of one request of the browser that comes back
REQUEST_MAX_BYTES = 16 << 10  # of it
TOKEN_ANSWER_MAX_BYTES = 64 << 10  # of the provider, for a code
STATE_BYTES = 32
VERIFIER_BYTES = 48
LOG_TRIES_MAX = 20  # to sign on top of a log that others add to meanwhile
ANSWER_MAX_BYTES = 2 << 20  # the data of an answer: a page of a log, a group's members, a skin

# -- this device's disk ----------------------------------------------------------------------------------------------
HISTORY_READERS = 3  # at once: a search, a page and a file do not wait for one another
HISTORY_GROUP_MAX = 500  # changes in one transaction
PASSPHRASE_OPS = 4  # Argon2id: about half a second of one core for each guess, once a day for its owner
PASSPHRASE_MEMORY_BYTES = 128 << 20  # and as much memory, which is what makes guessing by machines dear
PASSPHRASE_OPS_MAX = 64  # that a vault's file may ask for: it is not trusted to name any number
PASSPHRASE_MEMORY_MAX_BYTES = 1 << 30
PASSPHRASE_MIN_CHARACTERS = 8
PASSPHRASE_MAX_BYTES = 1_024
VAULT_MAX_BYTES = 1 << 20  # of vault.json
SLOTS_MAX = 256  # of them recovery sheets: one an account
# -- devices in step -------------------------------------------------------------------------------------------------
STAMP_MAX_MS = 253_402_300_799_999  # the year 9999 ends; a later stamp is none
BELIEVED_AHEAD_MS = 3_600_000  # how far another device's clock may be ahead and still move this one's
SYNC_PAUSE_S = 2.0  # what a person does within it goes out as one post
SYNC_POST_BYTES = 64 << 10  # of one post that tells registers, where no single one is larger
SYNC_POST_MAX_BYTES = 2 << 20  # of one that is read
SYNC_POSTS_AT_ONCE = 16  # of one look at what is untold; then others write
REGISTER_VALUE_MAX_BYTES = 1 << 20  # JSON
REGISTER_NAME_MAX_CHARACTERS = 256  # a kind, a key, a field
TAG_MAX_CHARACTERS = 64
TAGS_PER_THREAD_MAX = 100
DRAFT_TO_MAX = 1_000
DEVICE_LABEL_MAX_CHARACTERS = 64
UNDO_MAX_S = 120
IDLE_LOCK_MAX_S = 7 * 24 * 3600
SKIN_REVISED_MAX_BYTES = 512 << 10  # with a logo of 256 KiB, base64url

# -- forms -----------------------------------------------------------------------------------------------------------
FORM_MAX_BYTES = 64 << 10  # of its JSON
FORM_FIELDS_MAX = 200
FORM_CHOICES_MAX = 200
FORM_NAME_MAX_CHARACTERS = 64
FORM_TITLE_MAX_CHARACTERS = 200
FORM_HELP_MAX_CHARACTERS = 1_000
FORM_TEXT_MAX_CHARACTERS = 20_000  # of one answer
FORM_NUMBER_MAX = 2.0**53  # beyond, a float names no integer exactly
ANSWER_MAX_BYTES_FILLED = 1 << 20  # of a filled form's JSON
FORM_ROWS_MAX = 100_000  # of one table

# -- rendering -------------------------------------------------------------------------------------------------------
RENDER_MAX_CHARACTERS = 64 << 10  # of a text that is read as CommonMark; a longer one is shown as it stands
RENDERED_MAX_BYTES = 2 << 20  # of its HTML
RENDER_NESTING_MAX = 20  # quotes and lists in one another; browsers draw as many side by side on a telephone
RENDER_TABLE_COLUMNS_MAX = 64
RENDER_DEADLINE_S = 2.0
RENDER_MEMORY_MAX_BYTES = 512 << 20
LINK_MAX_CHARACTERS = 4_096
COMBINING_MARKS_MAX = 4  # on one letter: more of them cover the lines above
LOG_PAGES_MAX = 200  # of one log, which holds 2,000 records since its last beginning, and 500 a page
SEARCH_TEXT_MAX = 1 << 20  # characters of one text that the search index takes in
SNIPPET_SCAN_MAX = 16_384  # characters of a text that are looked through for what to show of it
SNIPPET_CHARS = 160
THREAD_TEXT_CHARS = 200  # of the last message, in a list of threads
CHANGES_MAX = 10_000  # events that are kept for listeners that were away
CHANGES_SLACK = 256  # by so many they may be more, so that not each of them costs a removal
PAGE_MAX = 200  # threads or messages in one answer
MENTION_TEXT_MAX = 65_536  # characters of a message that are looked through for one's own alias
QUERY_CHARS_MAX = 1_000
QUERY_ITEMS_MAX = 32  # words, phrases and operators of one search
QUERY_NAMES_MAX = 100  # people or groups that one operator may mean
SEARCH_RANKED_MAX = 2_000  # of what a search finds, the newest so many are ranked
EXPORT_NUMBERS = 500  # messages or threads of an export that are looked up at once
SEARCH_NAMED_MAX = 300  # messages of the threads that a search is narrowed to, named one by one
