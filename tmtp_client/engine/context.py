# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the parts of one running account have in common.

Every change of an account's state is one function of a database connection, given to `database.write`: sockets, clocks
and chance stay outside, and what the function needs of them it is given.
"""

import asyncio
import threading
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from tmtp_client import limits
from tmtp_client.connection import Connection, Disconnected, PersistentConnection
from tmtp_client.store.database import Database
from tmtp_client.store.identity import Identity
from tmtp_client.sync.clock import device_name
from tmtp_client.sync.registers import At
from tmtp_client.trust.account import Trust
from tmtp_client.vault.files import Files
from tmtp_core.crypto.encoding import from_text
from tmtp_core.ids import RandomBytes

NowMs = Callable[[], int]
"""The time in milliseconds since 1970."""


class Tell(Protocol):
    """Tells watchers what is not kept: presence, progress, how the account stands."""

    def __call__(self, type: str, data: Struct) -> None:
        """`type` and `data` as `tmtp_client.api.models.EVENTS` has them. On the event loop; never waits."""


@dataclass
class Underway:
    """An entry that is being said to the service. While no try has said all of it, it can be taken back: the service
    keeps nothing of what ends too soon.
    """

    request_id: str
    said: bool  # all of it, by some try; or nobody knows
    is_tried: bool = False  # now; else it waits for a connection, and whoever takes it back takes it out
    taken_back: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # it is out of the outbox, or was said all the same


@dataclass
class Context:
    """One running account, as its parts see it. All of it is used on the event loop's thread."""

    name: str  # of the account: its folder's
    identity: Identity  # replaced when the alias changes
    database: Database
    files: Files
    trust: Trust | None  # None under revision 1
    clock: NowMs
    random_bytes: RandomBytes
    tell: Tell
    aliases: Set[str] = frozenset()  # own ones, as the service verified them
    connection: PersistentConnection | None = None  # None: the account does not run
    closing: threading.Event = field(default_factory=threading.Event)  # its files and database are about to be closed
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)  # what was queued at log-in has come
    to_send: asyncio.Event = field(default_factory=asyncio.Event)  # the outbox has changed: the sender looks again
    underway: Underway | None = None  # the sender's
    to_sync: asyncio.Event = field(default_factory=asyncio.Event)  # registers have changed that other devices lack

    @property
    def uid(self) -> str:
        """Whose account it is."""
        return self.identity.uid

    @property
    def revision(self) -> int:
        """Of the protocol, as this account was made: it is never stepped down."""
        return self.identity.revision

    @property
    def device(self) -> str:
        """What this device is called in stamps of registers."""
        keys = self.identity.keys
        return device_name(from_text(keys.signer.public) if keys is not None else self.identity.node.encode())

    def at(self) -> At:
        """Here and now, for an edit of registers."""
        return At(self.device, self.clock())

    async def current(self, timeout_s: float | None = None) -> Connection:
        """A connection that is logged in. Raises `LogInRefused`, `Disconnected` (stopped), TimeoutError."""
        if self.connection is None:
            raise Disconnected("the account does not run")
        return await self.connection.current(timeout_s)

    async def soon(self) -> Connection:
        """The same for what a person waits for: TimeoutError where there is none for `limits.ANSWER_TIMEOUT_S`."""
        return await self.current(limits.ANSWER_TIMEOUT_S)

    def request_id(self) -> str:
        """A fresh id for a request that need not be known again."""
        return self.random_bytes(16).hex()
