# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is told to who watches."""

from typing import Any

from msgspec import Struct, field

from tmtp_client.api.models.conversation import Draft, Message, Thread, Waiting
from tmtp_client.api.models.home import Account, Home
from tmtp_client.api.models.people import Group, Person


class Event(Struct, frozen=True, omit_defaults=True):
    """To a client that watches. `number` rises within an account; of presence and progress it is 0: they are not kept.

    `data` is the struct that `EVENTS` names for `type`.
    """

    type: str
    account: str
    number: int = 0
    data: Any = None


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


class Watching(Struct, frozen=True):
    """Events follow from here: the latest number of each account."""

    numbers: dict[str, int] = field(default_factory=dict)
