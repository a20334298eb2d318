# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is left of a mail once it was parsed: plain data."""

from typing import Final

from msgspec import Struct

READY: Final = b"ready\n"
"""What a worker says before its first order."""


class Unparsable(Exception):
    """The mail cannot be understood; the text says what is wrong with it, for its sender."""


class Attachment(Struct, frozen=True):
    """One attachment: a safe name, unique in its letter, and the path of the file that holds its `size` octets."""

    name: str
    path: str
    size: int


class Letter(Struct, frozen=True):
    """One mail. `sender` is the one address of its one From header; `text` is plain, with LF line ends."""

    sender: str
    subject: str
    message_id: str
    date: str
    text: str
    attachments: tuple[Attachment, ...]


class Answer(Struct, frozen=True):
    """What a worker answers: a letter, or what is wrong with the mail."""

    letter: Letter | None = None
    wrong: str = ""


class Order(Struct, frozen=True):
    """What a worker is asked: parse the mail at `path`, put attachments into `folder`."""

    path: str
    folder: str
