# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left of a mail once it was parsed, plain data; and how it passes between the pool and a worker.

An order is the mail's octets and nothing else; an answer is an `Answer` in JSON, and then the octets of the letter's
attachments, in their order (`bridges/confined.py`).
"""

from enum import StrEnum

from msgspec import Struct


class Reason(StrEnum):
    """Why a mail cannot be parsed, by name: for logs, figures, and whoever decides what becomes of it."""

    HEADER = "header-too-long"
    PARTS = "too-many-parts"
    DEPTH = "nested-too-deep"
    TIME = "takes-too-long"
    MEMORY = "takes-too-much-memory"
    SIZE = "unpacks-too-large"
    MALFORMED = "malformed"


class Unparsable(Exception):
    """The mail cannot be understood, today or tomorrow; the text says what is wrong with it, for its sender."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Attachment(Struct, frozen=True):
    """One attachment: a safe name, unique in its letter, and how many octets it has.

    `active` says why it could do something on the device of who opens it; "" where nothing is known against it.
    `path` is the file with its octets, once the pool has written it.
    """

    name: str
    size: int
    active: str = ""
    path: str = ""


class Letter(Struct, frozen=True):
    """One mail. `text` is plain, with LF line ends; lines of quotes begin with `>`.

    `sender` is the one address of its one From header; "" where there is not exactly one, and then `sender_wrong`
    says so. `message_id` is the field as it stands, "" without one; `references` are the ids of the mails before it in
    its conversation, oldest first. `notes` are the gateway's words to the reader, one line each.
    """

    sender: str
    sender_wrong: str
    subject: str
    message_id: str
    references: tuple[str, ...]
    date: str
    text: str
    attachments: tuple[Attachment, ...]
    notes: tuple[str, ...]


class Answer(Struct, frozen=True):
    """What a worker answers: a letter, or what is wrong with the mail."""

    letter: Letter | None = None
    reason: Reason = Reason.MALFORMED
    wrong: str = ""
