# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the local API says: one schema, from which Python reads it, and JavaScript's types and the document are made.

Version 1. A field may be added; none changes its meaning. Names of accounts are those of their folders. `…_ms` is
milliseconds since 1970; `posted` the service's text. What stands in others' texts is shown as text, never as markup,
until the engine has rendered it (B6).
"""

from typing import Any, Literal

from msgspec import Struct, field

VERSION = 1


# -- frames ----------------------------------------------------------------------------------------------------------
class Event(Struct, frozen=True, omit_defaults=True):
    """To a client that watches. `number` rises within an account; of presence and progress it is 0: they are not kept.

    `data` is the struct that `EVENTS` names for `type`.
    """

    type: str
    account: str
    number: int = 0
    data: Any = None


# -- the home and its accounts ---------------------------------------------------------------------------------------
class Slot(Struct, frozen=True):
    """One way to open this device's history."""

    id: str
    kind: Literal["passphrase", "keyring", "recovery", "device"]
    made_ms: int
    note: str = ""  # of a recovery slot: the account


class Coming(Struct, frozen=True, omit_defaults=True):
    """An account that this device waits to be added to (`devices.answer_link`). `trouble`: why it waits no more."""

    account: str
    service: str
    fingerprint: str
    trouble: str = ""


class Home(Struct, frozen=True):
    """This device. Locked: nothing but this can be told."""

    version: int
    locked: bool
    slots: tuple[Slot, ...]
    idle_lock_s: int  # 0: never
    protected: bool  # false: the only slot without a person's doing is a file beside the history
    accounts: tuple["Account", ...] = ()
    damaged: dict[str, str] = {}  # accounts that cannot be opened, and why
    coming: tuple[Coming, ...] = ()


AccountState = Literal["online", "connecting", "offline", "refused"]


class Account(Struct, frozen=True, omit_defaults=True):
    """One of the person's accounts. `trouble`: why it is not online, or what is wrong with its log."""

    name: str
    uid: str
    alias: str
    aliases: tuple[str, ...]
    service: str
    host: str
    port: int
    revision: int
    state: AccountState
    trouble: str = ""
    unseen: int = 0
    mentions: int = 0
    pings: int = 0
    waiting: int = 0
    device: str = ""  # this one's key
    introductions: bool = True  # whether others may introduce people to it; False as far as is known here
    link: str = ""  # where its service is, as an invitation has it: also how its certificate is known


class Joined(Struct, frozen=True, omit_defaults=True):
    """A new account on this device. `error`: why the alias was not given.

    `recovery`: its 24 words, told until `accounts.told`: another `accounts.join` gives them once more.
    """

    account: Account
    recovery: str = ""
    recovery_qr: str = ""  # SVG
    error: str = ""


class SignIn(Struct, frozen=True):
    """A provider of sign-in has to be asked first: open `url`, then ask the same operation again with `sign_in`: it is
    answered once the person was there. Whoever begins another sign-in, or locks the home, ends this one.
    """

    url: str
    sign_in: str


class Skin(Struct, frozen=True, omit_defaults=True):
    """The service's look, verified (`look`, JSON as docs/protocol.md has it; {}: none), and the person's revision."""

    look: dict[str, Any]
    revised: dict[str, Any] = {}


# -- people and groups -----------------------------------------------------------------------------------------------
PersonStands = Literal["stranger", "asked", "asks", "contact", "ignored", "self", "outside"]
"""asked: was pinged by us; asks: pinged us, not answered yet; outside: writes by a bridge, not accepted yet."""

KeysStand = Literal["none", "unseen", "seen", "compared", "trouble"]


class Person(Struct, frozen=True, omit_defaults=True):
    """Somebody this account has heard of. `people.show` and `people.list` tell what of his keys has to be seen."""

    uid: str
    alias: str
    aliases: tuple[str, ...]
    stands: PersonStands
    known_by: str
    blocked: bool = False
    present: bool = False
    via: str = ""
    proof: str = ""
    keys: KeysStand = "none"
    keys_changed: tuple[str, ...] = ()  # what changed and was not seen, in plain words
    keys_head: str = ""  # of the log that this shows; `keys.seen` wants it back


class Member(Struct, frozen=True, omit_defaults=True):
    """One of a group."""

    uid: str
    alias: str
    stands: str
    owner: bool = False


class Group(Struct, frozen=True, omit_defaults=True):
    """A list to write to, and who is on it (A6)."""

    gid: str
    stands: Literal["invited", "joined", "left", "barred"]
    alias: str
    members: tuple[Member, ...] = ()


# -- conversation ----------------------------------------------------------------------------------------------------
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
    """A conversation, as a list shows it. `account`: in a list of all accounts, whose it is."""

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


class Staged(Struct, frozen=True):
    """A file that was handed over to be sent."""

    file: str
    name: str
    size: int


class Draft(Struct, frozen=True, omit_defaults=True):
    """What is being written, on whichever device. `key`: the thread's id, or `new-` and what the client chose.

    `staged` tells what its `files` are called; of a draft to be saved it is not looked at.
    """

    key: str
    thread: str = ""
    to: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    files: tuple[str, ...] = ()
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


class FormField(Struct, frozen=True, omit_defaults=True):
    """One question of a form."""

    name: str
    type: Literal["text", "long", "number", "integer", "yes", "one", "many", "date"]
    title: str
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    longest: int = 0
    help: str = ""


class Form(Struct, frozen=True, omit_defaults=True):
    """Questions in a message: a subset of JSON Schema. `ffn` names it for its answers."""

    ffn: str
    title: str
    fields: tuple[FormField, ...]


class FormAnswers(Struct, frozen=True):
    """All answers to a form, a row each: message id, author's uid and alias, when, and a value for each field."""

    form: Form
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


# -- devices and keys ------------------------------------------------------------------------------------------------
class Device(Struct, frozen=True, omit_defaults=True):
    """A device of an account, as the log has it. `acts`: what this device may do to it just now."""

    key: str
    label: str  # what the person calls it; of others' devices the first characters of the key
    stands: str  # full, provisional, suspended, revoked
    this: bool = False
    added_ms: int = 0
    sponsor: str = ""
    acts: tuple[Literal["suspend", "revoke", "confirm", "resume", "contest"], ...] = ()
    by_words: tuple[Literal["suspend", "revoke", "confirm", "resume", "contest"], ...] = ()  # with the recovery sheet
    cannot: tuple[str, ...] = ()  # why not the others, in plain words


class LogLine(Struct, frozen=True, omit_defaults=True):
    """A record of an account's log in plain words."""

    place: int
    time_ms: int
    text: str
    act: str
    target: str = ""
    by: tuple[str, ...] = ()


class Devices(Struct, frozen=True, omit_defaults=True):
    """An account's devices and how they came and went. `unseen`: changes the person has not confirmed to have seen."""

    uid: str
    devices: tuple[Device, ...]
    log: tuple[LogLine, ...]
    head: str = ""  # of the log that this shows; `keys.seen` wants it back
    trouble: str = ""
    unseen: tuple[str, ...] = ()


class KeyWish(Struct, frozen=True):
    """Another device asks to read a message that was sent before it was one of its account. `text`: in plain words."""

    message: str
    uid: str
    alias: str
    device: str
    text: str


class SafetyNumber(Struct, frozen=True):
    """The same on both sides while nobody's keys are somebody else's: 60 digits in groups of five, and a QR code."""

    uid: str
    digits: str
    qr: str  # SVG
    compared: bool
    head: str = ""  # of the log whose keys it stands for; `keys.seen` wants it back
    code: str = ""  # what the QR code says


class Link(Struct, frozen=True):
    """What is carried by hand from one device to the other to add one: text and its QR code."""

    text: str
    qr: str  # SVG
    fingerprint: str  # both devices show it; a person compares


# -- events ----------------------------------------------------------------------------------------------------------
class MessageEvent(Struct, frozen=True):
    """A message is new, or has changed; its thread as it is now."""

    message: Message
    thread: Thread
    new: bool


class RemovedEvent(Struct, frozen=True, omit_defaults=True):
    """A message is not here any more: a copy whose author has spoken, or one that comes anew, opened or in its thread.

    `thread_gone`: its conversation went with it.
    """

    message: str
    thread: str
    thread_gone: bool = False


class ThreadEvent(Struct, frozen=True):
    """A thread has changed otherwise."""

    thread: Thread


class PersonEvent(Struct, frozen=True):
    """Somebody is new here, or stands otherwise."""

    person: Person


class GroupEvent(Struct, frozen=True):
    """A group has changed."""

    group: Group


class OutboxEvent(Struct, frozen=True, omit_defaults=True):
    """An entry of the outbox has changed; gone: the service has it (`message`), or it was taken back."""

    request: str
    waiting: Waiting | None = None
    message: str = ""


class AccountEvent(Struct, frozen=True):
    """An account has changed: online or not, how much is unseen."""

    account: Account


class DraftEvent(Struct, frozen=True, omit_defaults=True):
    """A draft was changed, here or on another device; none: it is gone."""

    key: str
    draft: Draft | None = None


class SettingEvent(Struct, frozen=True):
    """A setting was changed, here or on another device."""

    name: str
    value: Any


class KeysEvent(Struct, frozen=True):
    """Somebody's keys have changed, or one's own devices: in plain words. To be seen before the next message leaves."""

    uid: str
    alias: str
    changes: tuple[str, ...]
    trouble: str = ""
    head: str = ""  # of the log that this shows; `keys.seen` wants it back


class NotificationEvent(Struct, frozen=True, omit_defaults=True):
    """Something that a person should be told of now: not muted, not snoozed, not seen elsewhere.

    It is not told any more once its message is seen; who shows it takes it back when a `message` event says so.
    """

    service: str
    title: str
    text: str
    thread: str = ""
    message: str = ""


class PresenceEvent(Struct, frozen=True):
    """Somebody came or went. Not kept."""

    uid: str
    present: bool


class ProgressEvent(Struct, frozen=True):
    """Octets of an attachment that comes, or of an entry of the outbox that goes. Not kept."""

    what: str  # a request, or MESSAGE/PLACE; the path of an export; `join`: of the work that a service asks for
    have: int
    size: int


class HomeEvent(Struct, frozen=True):
    """Locked or opened, or an account came or went. Not kept."""

    home: Home


class GapEvent(Struct, frozen=True):
    """What happened in between is not kept any more: ask anew for everything that is shown."""

    since: int


EVENTS: dict[str, type[Struct]] = {
    "message": MessageEvent,
    "removed": RemovedEvent,
    "thread": ThreadEvent,
    "person": PersonEvent,
    "group": GroupEvent,
    "outbox": OutboxEvent,
    "account": AccountEvent,
    "draft": DraftEvent,
    "setting": SettingEvent,
    "keys": KeysEvent,
    "notification": NotificationEvent,
    "presence": PresenceEvent,
    "progress": ProgressEvent,
    "home": HomeEvent,
    "gap": GapEvent,
}


class Done(Struct, frozen=True):
    """It is done, and durable."""

    done: bool = True


class Exported(Struct, frozen=True):
    """What was written where."""

    path: str
    messages: int
    files: int


class Rendered(Struct, frozen=True):
    """CommonMark as HTML of a short list of elements, with nothing in it that loads anything or runs (B6)."""

    html: str


class Renderings(Struct, frozen=True):
    """HTML by messages' ids. `left`: for these there was no room or time any more; ask for them again."""

    html: dict[str, str]
    left: tuple[str, ...]


class Text(Struct, frozen=True):
    """Plain text: CSV, for one."""

    text: str


class Watching(Struct, frozen=True):
    """Events follow from here: the latest number of each account."""

    numbers: dict[str, int] = field(default_factory=dict)
