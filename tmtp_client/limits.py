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
EVENTS_WAITING_MAX_BYTES = 8 << 20  # of them, in memory
BATCHED_EVENT_MAX_BYTES = 64 << 10  # what is larger is handled by itself, as it comes
BATCH_MAX_BYTES = 1 << 20
BATCH_EVENTS = 8  # at most, where the service does not say how many may await their acks
PAYLOAD_BUFFER_BYTES = 1 << 20  # of one incoming payload, ahead of its handler
RECONNECT_FIRST_S = 0.5
RECONNECT_LONGEST_S = 60.0
STEADY_AFTER_S = 30.0  # a connection that lasted this long begins the pauses anew
PAYLOAD_HEAD_MAX_BYTES = 1 << 20  # the JSON at the start of a post
TEXT_MAX_BYTES = 16 << 20
ATTACHMENTS_MAX = 1_000
FILE_NAME_MAX_BYTES = 200
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
