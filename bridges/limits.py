# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every bound of the bridges, by name."""

# -- MIME (untrusted bytes, in worker processes) -----------------------------------------------------------------------
PARSE_WALL_S = 2.0
PARSE_CPU_S = 2
PARSE_MEMORY_BYTES = 1 << 30  # address space of a worker; a 25 MiB mail needs about a quarter
PARSE_WORKERS = 2
WORKER_START_S = 30.0
WORKER_ANSWER_MAX_BYTES = 64 << 20  # one line: the text of a mail and the names of its parts
MIME_DEPTH_MAX = 20
MIME_PARTS_MAX = 1_000
MIME_HEADER_MAX_BYTES = 64 << 10
SUBJECT_MAX_CHARACTERS = 998
FILE_NAME_MAX_BYTES = 150

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
SESSION_ERRORS_MAX = 20
BUFFERED_BYTES_MAX = 256 << 20  # of mail being received, all sessions together; beyond it 452
SERVICE_WAIT_S = 15.0  # for the service to be there, and to acknowledge; then 451
STREAM_CHUNK_BYTES = 256 << 10

# -- proof of a sender (DNS, SPF, DKIM, ARC, DMARC) --------------------------------------------------------------------
DNS_LOOKUPS_MAX = 20  # of one message; RFC 7208 §4.6.4 alone allows SPF 10 terms
DNS_WALL_S = 5.0  # all look-ups of one message together; then 451
DNS_VALUE_MAX_BYTES = 4_096  # of one record: some SPF code is quadratic in it, and no honest key or policy is longer
DNS_VALUES_MAX = 64  # of one answer
DKIM_SIGNATURES_MAX = 10  # of one mail; further ones are said to be too many
DKIM_KEY_MIN_BITS = 1_024  # RFC 8301 §3.2
DKIM_KEY_MAX_BITS = 4_096  # the same; a larger one costs more than a mail may
ARC_SETS_MAX = 8  # RFC 8617 §4.2.1 allows 50; each costs two keys
CLOCK_SKEW_S = 300  # of signers: how far in the future t= may be, and how long ago x=
PROOF_WALL_S = 20.0  # one look of a worker at one mail: a mail at fault meets the CPU limit first, so this is our load
PROOF_CPU_S = 4  # 25 MiB with two signatures take 1.1 s
PROOF_MEMORY_BYTES = 1 << 30  # address space of a worker; dkimpy needs about six times the mail
PROOF_WORKERS = 2
PROOF_ROUNDS_MAX = DNS_LOOKUPS_MAX + 2  # a worker asks for records, is asked again with them, …
