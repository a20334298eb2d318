# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every operation of the local API: the only list. The dispatcher, JavaScript's types and docs/client-api.md are made
from it.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from msgspec import Struct

from tmtp_client.api import models as m


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class OfAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Which account."""

    account: str


# -- home ------------------------------------------------------------------------------------------------------------
class Unlock(Struct, frozen=True, forbid_unknown_fields=True):
    """By a passphrase or by 24 words of a recovery sheet."""

    secret: str


class SetPassphrase(Struct, frozen=True, forbid_unknown_fields=True):
    """`new` empty: take the passphrase away. Needs an open home."""

    new: str


class SetIdleLock(Struct, frozen=True, forbid_unknown_fields=True):
    """After so many seconds without a request from a person; 0: never."""

    idle_s: int


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """Events after these numbers, account by account; an account that is not named: from now on."""

    since: dict[str, int] = {}


# -- accounts --------------------------------------------------------------------------------------------------------
class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """`address`: host:port, or a tmtp:// link. `sign_in`: what an answer `SignIn` said, once the person was there."""

    account: str
    address: str
    alias: str
    label: str = ""
    invite: str = ""
    pin: str = ""
    ca_file: str = ""
    wants_sign_in: bool = False
    sign_in: str = ""


class SignInAgain(Struct, frozen=True, forbid_unknown_fields=True):
    """`sign_in`: what an answer `SignIn` said, once the person was there."""

    account: str
    sign_in: str = ""


class Recover(Struct, frozen=True, forbid_unknown_fields=True):
    """Come back with the recovery sheet's 24 words, as a new device."""

    account: str
    address: str
    uid: str
    alias: str
    words: str
    label: str = ""
    pin: str = ""
    ca_file: str = ""
    revoke_others: bool = False


class Settle(Struct, frozen=True, forbid_unknown_fields=True):
    """`account` empty: all. After `longest_s` it is answered all the same: `state` and `waiting` say how it is."""

    account: str = ""
    longest_s: float = 30.0


class SetAlias(Struct, frozen=True, forbid_unknown_fields=True):
    """A further alias; messages go out under it from now on. One that is the account's already: just that."""

    account: str
    alias: str


class ReviseSkin(Struct, frozen=True, forbid_unknown_fields=True):
    """The person's own tokens over the service's; {}: as the service has it."""

    account: str
    revised: dict[str, Any]


# -- people and groups -----------------------------------------------------------------------------------------------
class OfPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody, by uid."""

    account: str
    uid: str


class Find(Struct, frozen=True, forbid_unknown_fields=True):
    """Aliases that begin so: of people known here, and, where the service has a directory, of its members."""

    account: str
    text: str


class SendPing(Struct, frozen=True, forbid_unknown_fields=True):
    """At most 140 UTF-16 units of plain text (D2)."""

    account: str
    alias: str
    text: str


class AnswerPing(Struct, frozen=True, forbid_unknown_fields=True):
    """accept: they may write, by a ping back with `text`; ignore: they hear nothing; block; for ghosts too."""

    account: str
    uid: str
    act: Literal["accept", "ignore", "block", "unblock"]
    text: str = ""


class SetIntroductions(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether others may make people known to this account by addressing both (A3)."""

    account: str
    wanted: bool


class OfGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group."""

    account: str
    gid: str


class InviteToGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """A group that is not there yet is founded."""

    account: str
    gid: str
    alias: str
    text: str = ""


class ActOnGroup(Struct, frozen=True, forbid_unknown_fields=True):
    """join, leave, or drop a member; `alias`: whom, or under which name to join."""

    account: str
    gid: str
    act: Literal["join", "leave", "drop", "alias"]
    alias: str = ""


# -- conversation ----------------------------------------------------------------------------------------------------
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


class Stage(Struct, frozen=True, forbid_unknown_fields=True):
    """Take in a file of this device. Pages upload instead: `POST /files/ACCOUNT?name=…`."""

    account: str
    path: str


class OfStaged(Struct, frozen=True, forbid_unknown_fields=True):
    """A file that was staged."""

    account: str
    file: str


class SaveFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Write an attachment into a folder of this device; it never replaces a file, and never runs one."""

    account: str
    message: str
    place: int
    folder: str


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """Words, "phrases", pref*, -without, from: to: in: has: before: after: tag:. `account` empty: over all."""

    query: str
    account: str = ""
    limit: int = 50
    skip: int = 0


class OfForm(Struct, frozen=True, forbid_unknown_fields=True):
    """A form, by its `ffn`. Two may go by one: with a `message` it is that which this has at `place`, or else its
    thread, with the answers that were given there.
    """

    account: str
    ffn: str
    message: str = ""
    place: int = 0


class Render(Struct, frozen=True, forbid_unknown_fields=True):
    """CommonMark, tables, strikethrough and task lists."""

    text: str


class RenderMessages(Struct, frozen=True, forbid_unknown_fields=True):
    """Their ids, whole. A first contact comes as it was written (D2), and one that is not here any more not at all."""

    account: str
    messages: tuple[str, ...]


class SetSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """For all devices of an account; known names: tmtp_client.sync.settings."""

    account: str
    name: str
    value: Any


class Settings(Struct, frozen=True):
    """All of them, with what they are when nobody set them."""

    values: dict[str, Any]


class Export(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole history of an account, in plain text, into a new file (mbox) or folder (JSON and files)."""

    account: str
    path: str
    format: Literal["mbox", "json"]


# -- devices ---------------------------------------------------------------------------------------------------------
class OnDevice(Struct, frozen=True, forbid_unknown_fields=True):
    """Act on a device of one's own. `words`: where the recovery key has to sign."""

    account: str
    act: Literal["suspend", "revoke", "confirm", "resume", "contest"]
    device: str
    words: str = ""


class NameDevice(Struct, frozen=True, forbid_unknown_fields=True):
    """What the person calls it, on all devices."""

    account: str
    device: str
    label: str


class SeenKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """The person has seen what changed up to the head of the log that was shown; messages that were held go out.

    `head`: as it came with what was shown; a change that came since is not seen by this.
    """

    account: str
    uid: str
    head: str
    compared: bool = False


class CompareKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """`shown`: what the other's device shows, as the camera read its QR code, or its 60 digits as they were typed."""

    account: str
    uid: str
    shown: str


class Compared(Struct, frozen=True):
    """`wrong`: what differs, in plain words. Nothing: `keys.seen` with this `head` and `compared` keeps that."""

    same: bool
    wrong: tuple[str, ...]
    head: str


class GrantKey(Struct, frozen=True, forbid_unknown_fields=True):
    """The person's word on a wish of `keys.wishes`."""

    account: str
    message: str
    uid: str
    device: str
    agreed: bool


class CheckRecovery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether these 24 words are the account's recovery key."""

    account: str
    words: str


class NewRecovery(Struct, frozen=True, forbid_unknown_fields=True):
    """Replace the recovery key; the old one's words sign."""

    account: str
    words: str


class RecoverySheet(Struct, frozen=True):
    """A recovery key, told this once: 24 words and their QR code."""

    words: str
    qr: str


class StartLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On a device of the account: what the new one has to know."""

    account: str


class AnswerLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On the new device: takes the first text, makes keys, gives the second text."""

    account: str
    offer: str
    label: str = ""


class FinishLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On a device of the account: takes the second text; the new device is added, provisional until confirmed.

    `fingerprint`: as the new device shows it, typed or confirmed by the person; nothing is signed where it is another.
    """

    account: str
    answer: str
    fingerprint: str


class CheckLink(Struct, frozen=True, forbid_unknown_fields=True):
    """On a device of the account: what the second text would add, before anything is signed."""

    account: str
    answer: str


@dataclass(frozen=True)
class Operation:
    """One thing to ask for. `answer`: its result; a tuple of types: one of these. `many`: a list of it."""

    name: str
    params: type[Struct]
    answer: type[Struct] | tuple[type[Struct], ...]
    does: str
    many: bool = False
    locked: bool = False  # also answered while the home is locked
    keeps_open: bool = True  # a person did it: the idle lock begins anew
    only_waits: bool = False  # it does nothing, and ends when nobody hears its answer any more


OPERATIONS: Final = (
    Operation("home.state", Nothing, m.Home, "This device, its slots and accounts.", locked=True, keeps_open=False),
    Operation("home.unlock", Unlock, m.Home, "Open the history.", locked=True),
    Operation("home.lock", Nothing, m.Home, "Close it: keys leave the memory, connections end.", locked=True),
    Operation("home.passphrase", SetPassphrase, m.Home, "Set, change or take away the passphrase."),
    Operation("home.keyring", Nothing, m.Home, "Let the system's keyring open it, too."),
    Operation("home.forget_keyring", Nothing, m.Home, "Let the system's keyring open it no more."),
    Operation("home.idle_lock", SetIdleLock, m.Home, "Lock by itself."),
    Operation("home.watch", Watch, m.Watching, "Events from now on.", locked=True, keeps_open=False),
    Operation("accounts.list", Nothing, m.Account, "All accounts.", many=True, keeps_open=False),
    Operation(
        "accounts.settle",
        Settle,
        m.Account,
        "Wait until what the service has kept is here, and what is due to be sent is there.",
        many=True,
        keeps_open=False,
        only_waits=True,
    ),
    Operation("accounts.join", Join, (m.Joined, m.SignIn), "Open an account on a service."),
    Operation("accounts.told", OfAccount, m.Done, "The recovery sheet is written down: its key leaves this device."),
    Operation("accounts.recover", Recover, m.Joined, "Come back to an account by its recovery sheet."),
    Operation("accounts.alias", SetAlias, m.Account, "Take or choose an alias."),
    Operation("accounts.leave", OfAccount, m.Done, "Forget an account here: its key is destroyed, all else with it."),
    Operation("accounts.skin", OfAccount, m.Skin, "The service's look.", keeps_open=False),
    Operation("accounts.revise_skin", ReviseSkin, m.Skin, "Revise it (B2)."),
    Operation("accounts.sign_in", SignInAgain, (m.Done, m.SignIn), "Sign in with the provider again."),
    Operation("people.list", OfAccount, m.Person, "Everybody known.", many=True),
    Operation("people.show", OfPerson, m.Person, "One of them."),
    Operation("people.find", Find, m.Person, "Whom one could write to.", many=True),
    Operation("people.ping", SendPing, m.Waiting, "A first contact."),
    Operation("people.answer", AnswerPing, m.Person, "Accept, ignore, block."),
    Operation("people.introductions", SetIntroductions, m.Account, "Let others introduce people, or not."),
    Operation("groups.list", OfAccount, m.Group, "Groups.", many=True),
    Operation("groups.show", OfGroup, m.Group, "One, with its members as the service has them."),
    Operation("groups.invite", InviteToGroup, m.Waiting, "Invite somebody; found a group."),
    Operation("groups.act", ActOnGroup, m.Group, "Join, leave, drop somebody."),
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
    Operation("files.stage", Stage, m.Staged, "Take in a file to send."),
    Operation("files.drop", OfStaged, m.Done, "Forget one that was taken in."),
    Operation("files.save", SaveFile, m.Exported, "Write an attachment to the disk."),
    Operation("tags.list", OfAccount, m.Tag, "Tags in use.", many=True),
    Operation("search", Search, m.Results, "Find messages."),
    Operation("forms.answers", OfForm, m.FormAnswers, "The table of a form's answers."),
    Operation("forms.csv", OfForm, m.Text, "The same as CSV."),
    Operation("render", Render, m.Rendered, "Markdown as safe HTML.", keeps_open=False),
    Operation("settings.list", OfAccount, Settings, "Settings of an account."),
    Operation("settings.set", SetSetting, Settings, "Change one."),
    Operation("history.export", Export, m.Exported, "Write everything out."),
    Operation("devices.list", OfAccount, m.Devices, "One's own devices, and the log in plain words."),
    Operation("devices.of", OfPerson, m.Devices, "Another's."),
    Operation("devices.act", OnDevice, m.Devices, "Suspend, revoke, confirm, resume, contest (B4)."),
    Operation("devices.name", NameDevice, m.Devices, "Name a device."),
    Operation("devices.check_recovery", CheckRecovery, m.Done, "Check the recovery sheet."),
    Operation("devices.new_recovery", NewRecovery, RecoverySheet, "Make a new recovery key."),
    Operation("devices.start_link", StartLink, m.Link, "Add a device: the first text."),
    Operation("devices.answer_link", AnswerLink, m.Link, "Add a device: the second text, on the new one."),
    Operation("devices.check_link", CheckLink, m.Link, "Add a device: the fingerprint of the one that answered."),
    Operation("devices.finish_link", FinishLink, m.Devices, "Add a device: sign."),
    Operation("keys.seen", SeenKeys, m.Person, "What changed was seen."),
    Operation("keys.wishes", OfAccount, m.KeyWish, "Who asks to read what was sent before they were there.", many=True),
    Operation("keys.grant", GrantKey, m.Done, "Let them, or not."),
    Operation("keys.safety", OfPerson, m.SafetyNumber, "The number to compare."),
    Operation("keys.compare", CompareKeys, Compared, "Hold it against what the other's device shows."),
)

BY_NAME: Final = {operation.name: operation for operation in OPERATIONS}
