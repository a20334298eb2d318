# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations: reading, writing, what waits to be sent, drafts."""

from typing import Any, Final, Literal

from msgspec import Struct

from tmtp_client.api import models as m
from tmtp_client.api.operations.operation import OfAccount, Operation


class ListThreads(Struct, frozen=True, forbid_unknown_fields=True):
    """`account` empty: of all. `of`: inbox is neither archived nor snoozed."""

    account: str = ""
    of: Literal["inbox", "archived", "snoozed", "unseen", "tag", "all"] = "inbox"
    tag: str = ""
    after: str = ""
    limit: int = 50


class ReadThread(Struct, frozen=True, forbid_unknown_fields=True):
    """`before`: as `Messages.before` said. `around`: the page that has this message."""

    account: str
    thread: str
    before: str = ""
    around: str = ""
    limit: int = 50


class Latest(Struct, frozen=True, forbid_unknown_fields=True):
    """The latest messages of an account, whichever thread, newest last."""

    account: str
    limit: int = 20


class OfMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """A message, by its id or by its end, if only one ends so."""

    account: str
    message: str


class Recipient(Struct, frozen=True, forbid_unknown_fields=True):
    """An alias, a uid or a gid that is known here."""

    name: str


class Send(Struct, frozen=True, forbid_unknown_fields=True):
    """A message. `reply`: to this one, in its thread (`to` empty: to its readers; `only_author`: to nobody else).

    `files`: of `files.stage`. `form`: a blank form to send along. `delay_s`: to undo; null: as set (10 s).
    `due_ms`: schedule. `draft`: which draft it was, and is no more.
    """

    account: str
    to: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    reply: str = ""
    only_author: bool = False
    files: tuple[str, ...] = ()
    form: m.Form | None = None
    delay_s: int | None = None
    due_ms: int = 0
    draft: str = ""


class FillForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Answer a form that a message brought."""

    account: str
    message: str
    place: int
    values: dict[str, Any]
    text: str = ""


class Forward(Struct, frozen=True, forbid_unknown_fields=True):
    """Messages of a thread with their attachments, to others, in a new thread."""

    account: str
    thread: str
    messages: tuple[str, ...]
    to: tuple[str, ...]
    text: str = ""


class AddReaders(Struct, frozen=True, forbid_unknown_fields=True):
    """Ask people into a thread, with a note that they see; each author confirms his own messages (wire.md §11)."""

    account: str
    thread: str
    to: tuple[str, ...]
    note: str


class OfWaiting(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of the outbox. retry: what was held or refused, once more; undo: take it back, as long as it can be."""

    account: str
    request: str
    act: Literal["undo", "now", "retry", "drop"]


class MarkSeen(Struct, frozen=True, forbid_unknown_fields=True):
    """Messages, or everything in a thread up to and with `upto`; `seen` false: unread again."""

    account: str
    messages: tuple[str, ...] = ()
    thread: str = ""
    upto: str = ""
    seen: bool = True


class MarkThread(Struct, frozen=True, forbid_unknown_fields=True):
    """What is given is set, what is null stays. `tag` and `untag` are names."""

    account: str
    thread: str
    archived: bool | None = None
    muted: bool | None = None
    snoozed_until_ms: int | None = None
    tag: str = ""
    untag: str = ""
    encryption: Literal["off", "on"] | None = None


class ShareKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Suite 1 for a thread: a key from a passphrase that its readers agreed on, or a random one that is passed on under
    suite 2 (`passphrase` empty). Again: the next epoch, when somebody has left.
    """

    account: str
    thread: str
    passphrase: str = ""


class SaveDraft(Struct, frozen=True, forbid_unknown_fields=True):
    """As typed; `draft.changed_ms` is not looked at."""

    account: str
    draft: m.Draft


class OfDraft(Struct, frozen=True, forbid_unknown_fields=True):
    """A draft."""

    account: str
    key: str


class RenderMessages(Struct, frozen=True, forbid_unknown_fields=True):
    """Their ids, whole. A first contact comes as it was written (D2), and one that is not here any more not at all."""

    account: str
    messages: tuple[str, ...]


CONVERSATION: Final = (
    Operation("threads.list", ListThreads, m.Page, "Conversations, latest first."),
    Operation("threads.read", ReadThread, m.Messages, "A conversation."),
    Operation("threads.mark", MarkThread, m.Thread, "Archive, mute, snooze, tag, encrypt."),
    Operation("threads.share_key", ShareKey, m.Thread, "A shared key (suite 1)."),
    Operation("threads.add", AddReaders, m.Waiting, "Ask people in."),
    Operation("messages.latest", Latest, m.Message, "The latest.", many=True),
    Operation("messages.show", OfMessage, m.Message, "One message."),
    Operation("messages.send", Send, m.Waiting, "Send or reply."),
    Operation("messages.forward", Forward, m.Waiting, "Forward with originals."),
    Operation("messages.fill", FillForm, m.Waiting, "Fill in a form."),
    Operation("messages.render", RenderMessages, m.Renderings, "Many texts as safe HTML.", keeps_open=False),
    Operation("messages.seen", MarkSeen, m.Done, "Read, or unread again."),
    Operation("messages.ask_key", OfMessage, m.Done, "Ask its sender to wrap its key for this device again."),
    Operation("outbox.list", OfAccount, m.Waiting, "What waits.", many=True, keeps_open=False),
    Operation("outbox.act", OfWaiting, m.Done, "Undo, send now, retry, drop."),
    Operation("drafts.list", OfAccount, m.Draft, "Drafts.", many=True),
    Operation("drafts.save", SaveDraft, m.Draft, "Keep what is being written."),
    Operation("drafts.drop", OfDraft, m.Done, "Throw it away."),
)
