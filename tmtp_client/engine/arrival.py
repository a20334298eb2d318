# SPDX-License-Identifier: AGPL-3.0-or-later
"""One message of the service, streamed in and not kept yet: what `receiving` makes and `arriving` takes."""

from dataclasses import dataclass, field
from typing import Literal

from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead


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

    `state`: received; sealed, where this device has no key (its octets stand in `files`, as they came); unreadable,
    where they make no message (so do these), and `problem` says why.
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
    sealed: str = ""  # JSON of what trust made of it: who, what, which doubts

    @property
    def delivery(self) -> m.Delivery | m.Notify | None:
        """The event, where it is a post."""
        return self.event if isinstance(self.event, m.Delivery | m.Notify) else None
