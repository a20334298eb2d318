# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations: threads, messages, what waits to be sent, drafts, what a search finds."""

from typing import Any, Literal

from msgspec import Struct

from tmtp_client.api.models.forms import Form


class Attachment(Struct, frozen=True, omit_defaults=True):
    """A file, a blank form or a filled one. Octets: `GET /files/ACCOUNT/MESSAGE/PLACE` of the local server."""

    place: int
    kind: Literal["file", "form", "filled"]
    name: str
    size: int
    have: int
    media: str = "application/octet-stream"  # guessed from its name, one of a list; else this
    form: str = ""


MessageKind = Literal["ping", "invitation", "message", "note", "return", "notice"]

MessageState = Literal["received", "sent", "returned", "sealed", "partial", "unreadable", "unconfirmed"]
"""sealed: this device has no key for it, and has asked; partial: a large file is still coming; unconfirmed: forwarded
by another, its author has not confirmed it."""


class Message(Struct, frozen=True, omit_defaults=True):
    """One message. `doubts`: what is not borne out about it, in plain words; empty is good. `sealed_for`: the accounts
    (uids) that a sealed one was sealed for, by what its device signed, and not by what it says of its readers.
    `unsettled`: whether a device of its author has signed it is being looked at; until then it may be anybody's.

    `plain`: a first contact, also of a ghost who is not accepted: shown as it was written, with no links, its
    attachments not opened (D2).
    """

    id: str
    kind: MessageKind
    state: MessageState
    outgoing: bool
    author: str
    alias: str
    thread: str
    posted: str
    subject: str = ""
    text: str = ""
    verified: bool = True
    seen: bool = True
    mentions: bool = False
    suite: int = 0
    doubts: tuple[str, ...] = ()
    sealed_for: tuple[str, ...] = ()
    unsettled: bool = False
    via: str = ""
    proof: str = ""
    of: str = ""
    gid: str = ""  # of an invitation
    to: tuple[str, ...] = ()  # of one's own: how those are called here to whom it went
    attachments: tuple[Attachment, ...] = ()
    tags: tuple[str, ...] = ()
    plain: bool = False


class Reader(Struct, frozen=True, omit_defaults=True):
    """Who reads a thread, and who asked him in."""

    uid: str
    alias: str
    by: str = ""
    note: str = ""


class Thread(Struct, frozen=True, omit_defaults=True):
    """A conversation, as a list shows it. `account`: in a list of all accounts, whose it is. `last_alias`: of the last
    message's author; of a ping that went out, of whom it went to. `last_attached`: where that message has no words, the
    first of what it brings.
    """

    id: str
    subject: str
    last_posted: str
    last_text: str
    last_alias: str
    messages: int
    gid: str = ""
    unseen: int = 0
    mentions: int = 0
    files: int = 0
    waiting: int = 0
    archived: bool = False
    muted: bool = False
    snoozed_until_ms: int = 0
    tags: tuple[str, ...] = ()
    draft: bool = False
    encryption: Literal["off", "on", "shared"] = "off"
    readers: tuple[Reader, ...] = ()
    account: str = ""
    last_to: tuple[str, ...] = ()  # of one's own, whom it went to, where nobody is known to read along: a first contact
    last_attached: Attachment | None = None


class Page(Struct, frozen=True, omit_defaults=True):
    """Some of many threads. `next`: give it back as `after` for those that follow; empty: there are no more."""

    threads: tuple[Thread, ...]
    next: str = ""


class Messages(Struct, frozen=True, omit_defaults=True):
    """Some of a thread's messages, oldest first. `before`: give it back for those before; empty: there are none."""

    thread: Thread
    messages: tuple[Message, ...]
    waiting: tuple["Waiting", ...] = ()
    before: str = ""


OutboxState = Literal["undo", "scheduled", "waiting", "sending", "held", "refused"]
"""held: keys changed and were not seen; refused: the service or this device will not send it, `error` says why."""


class Waiting(Struct, frozen=True, omit_defaults=True):
    """A message that the service has not got yet. Its `request` is one for all tries."""

    request: str
    kind: Literal["message", "ping", "invitation", "note"]
    state: OutboxState
    to: tuple[str, ...]
    thread: str = ""
    subject: str = ""
    text: str = ""
    files: tuple[str, ...] = ()
    due_ms: int = 0
    at_ms: int = 0
    sent: int = 0
    size: int = 0
    error: str = ""
    filled: str = ""  # of an answer to a form: its `ffn`


class Staged(Struct, frozen=True):
    """A file that was handed over to be sent."""

    file: str
    name: str
    size: int


class Draft(Struct, frozen=True, omit_defaults=True):
    """What is being written, on whichever device. `key`: the thread's id, or `new-`, of an answer to a form `fill-`,
    and what the client chose. `staged` tells what its `files` are called; of a draft to be saved it is not looked at.
    """

    key: str
    thread: str = ""
    to: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    files: tuple[str, ...] = ()
    form: Form | None = None  # to be sent along, as far as it is made
    filled: dict[str, Any] = {}  # of an answer to a form: its values so far
    changed_ms: int = 0
    staged: tuple[Staged, ...] = ()


class Found(Struct, frozen=True, omit_defaults=True):
    """A message that a search found; `snippet` has what matched between U+E000 and U+E001."""

    account: str
    message: Message
    subject: str
    snippet: str


class Results(Struct, frozen=True, omit_defaults=True):
    """What a search found, best first. `problem`: what in the query was not understood, and is taken as words."""

    found: tuple[Found, ...]
    more: bool = False
    problem: str = ""


class Tag(Struct, frozen=True):
    """A tag, and how many threads have it."""

    name: str
    threads: int
