# SPDX-License-Identifier: AGPL-3.0-or-later
"""One message of the service, streamed in and not kept yet: what `receiving` makes and `arriving` takes."""

import re
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, Final, Literal

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_core.crypto.envelope import Opened
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import Attached, PostHead

KINDS: Final[dict[str, Literal["file", "form", "filled"]]] = {"u:": "file", "f:": "form", "r:": "filled"}
_UNSAFE: Final = re.compile(r"[^\w. ()\[\]+,=-]")


@dataclass(frozen=True, slots=True)
class ArrivedFile:
    """Octets of an event that stand in the vault's files by now. `name` is the sender's, made safe."""

    kind: Literal["file", "form", "filled"]
    name: str
    form: str  # `ffn`
    file: str
    size: int
    hash: bytes  # BLAKE2b-256


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event and its data. `head` and `text` of a sealed one are what was inside it, once it has been opened.

    `files` are those attachments of `head` whose octets came with it. `state`: received; sealed, where this device has
    no key (its octets stand in `files`, as they came); unreadable, where they make no message (so do these), and
    `problem` says why.
    """

    event: m2.StoredEvent
    received_ms: int
    head: PostHead = field(default_factory=PostHead)
    text: str = ""
    data: bytes = b""  # of an event whose data is small and has no form of its own: a log's record
    files: tuple[ArrivedFile, ...] = ()
    state: Literal["received", "sealed", "unreadable"] = "received"
    problem: str = ""
    suite: int = 0
    opened: Opened | None = None  # what its device has signed
    sealed: str = ""  # JSON of what trust made of it: who, what, which doubts
    waited: bool = False  # it came before, and waited for its key

    @property
    def delivery(self) -> m.Delivery | m.Notify | None:
        """The event, where it is a post."""
        return self.event if isinstance(self.event, m.Delivery | m.Notify) else None

    @property
    def via(self) -> m.Via | None:
        """The bridge's mark, on what somebody outside wrote."""
        return self.event.via if isinstance(self.event, m.Delivery) else None


@dataclass(frozen=True, slots=True)
class After:
    """What is to be done once an event is on the disk.

    `remove`: files of the vault that nothing names. `progress`: to be told. `look_at`: whose logs have to be looked at.
    `own_log`: whether one's own has, or messages wait for it. `members_of`: groups whose members the service is to be
    asked for. `aliases`: this account has another one. `caught_up`: what was queued at log-in has come. `keys`: of
    which messages the key has come. `sends`: the outbox may have changed. `parts`: a large file may be complete.
    `counts`: what the account's badge shows may be another.
    """

    remove: tuple[str, ...] = ()
    progress: tuple[models.ProgressEvent, ...] = ()
    look_at: tuple[str, ...] = ()
    own_log: bool = False
    members_of: tuple[str, ...] = ()
    aliases: bool = False
    caught_up: bool = False
    keys: tuple[str, ...] = ()
    sends: bool = False
    parts: bool = False
    counts: bool = False


def together(*afters: After) -> After:
    """What is to be done after several events of one transaction."""
    if len(afters) == 1:
        return afters[0]
    found: dict[str, Any] = {}
    for name in (one.name for one in fields(After)):
        values = [getattr(one, name) for one in afters]
        found[name] = any(values) if isinstance(values[0], bool) else tuple(chain.from_iterable(values))
    return After(**found)


def safe_name(attached: Attached) -> str:
    """What an attachment is called here: a name that is only a name, whatever its sender called it."""
    bare = re.split(r"[/\\]", attached.name[2:] if attached.name[:2] in KINDS else attached.name)[-1]
    kept = _UNSAFE.sub("_", bare[-limits.FILE_NAME_MAX_BYTES :]).strip(" .")
    while len(kept.encode()) > limits.FILE_NAME_MAX_BYTES:
        kept = kept[1:]
    return kept or "attachment"
