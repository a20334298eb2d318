# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the parts of one running account have in common.

Every change of an account's state is one function of a database connection, given to `database.write`: sockets, clocks
and chance stay outside, and what the function needs of them it is given.
"""

import asyncio
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from sqlalchemy import Connection as Rows

from tmtp_client.connection import Connection, Disconnected, PersistentConnection
from tmtp_client.engine.history import Identity
from tmtp_client.sync.clock import device_name
from tmtp_client.sync.registers import At
from tmtp_core.crypto.encoding import from_text
from tmtp_core.ids import RandomBytes
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

Got = TypeVar("Got")

NowMs = Callable[[], int]
"""The time in milliseconds since 1970."""


class Asker(Protocol):
    """Of whom the service's answers are asked: a connection."""

    async def ask(
        self,
        request: m.UserEdit | m.OhiEdit | m.GroupEdit | m2.LogAppend | m2.InviteEdit | m2.BlockEdit | m2.KeyEdit,
    ) -> m.Acked:
        """A request that an ack answers. Raises `Refused` or `Disconnected`."""

    async def inquire(
        self, request: m2.LogFetch | m2.InviteEdit | m2.Find | m2.ServiceInfo | m2.GroupInfo
    ) -> tuple[m2.LogPage | m2.Listing | m2.Skin, bytes]:
        """A request that is answered with data. Raises `Refused` or `Disconnected`."""


class Kept(Protocol):
    """An account's database."""

    async def write(self, work: Callable[[Rows], Got]) -> Got:
        """One change, whole or not at all; on the disk when this returns."""

    async def read(self, work: Callable[[Rows], Got]) -> Got:
        """What is on the disk now, the same for all that `work` asks."""


class StoredFile(Protocol):
    """What became of a written file: its name in the vault, octets, BLAKE2b-256."""

    file: str
    size: int
    hash: bytes


class FileWriter(Protocol):
    """A file that is being written into the vault. All three block: call them on a thread."""

    def write(self, data: bytes) -> None: ...
    def finish(self) -> StoredFile: ...
    def abandon(self) -> None: ...


class Files(Protocol):
    """An account's files in the vault."""

    def writer(self) -> FileWriter: ...
    def read(self, file: str, start: int = 0) -> Iterator[bytes]: ...
    def remove(self, file: str) -> None: ...


class Tell(Protocol):
    """Tells watchers what is not kept: presence, progress, how the account stands."""

    def __call__(self, type: str, data: Struct) -> None:
        """`type` and `data` as `tmtp_client.api.models.EVENTS` has them. On the event loop; never waits."""


@dataclass
class Context:
    """One running account, as its parts see it. All of it is used on the event loop's thread."""

    name: str  # of the account: its folder's
    identity: Identity  # replaced when the alias changes
    database: Kept
    files: Files
    trust: Any  # tmtp_client.trust.Trust; None under revision 1
    clock: NowMs
    random_bytes: RandomBytes
    tell: Tell
    aliases: Set[str] = frozenset()  # own ones, as the service verified them
    connection: PersistentConnection | None = None  # None: the account does not run
    to_send: asyncio.Event = field(default_factory=asyncio.Event)  # the outbox has changed: the sender looks again
    to_sync: asyncio.Event = field(default_factory=asyncio.Event)  # registers have changed that other devices lack

    @property
    def uid(self) -> str:
        """Whose account it is."""
        return self.identity.uid

    @property
    def revision(self) -> int:
        """Of the protocol, as this account was made: it is never stepped down."""
        return int(self.identity.login.revision)

    async def current(self, timeout_s: float | None = None) -> Connection:
        """A connection that is logged in. Raises `LogInRefused`, `Disconnected` (stopped), TimeoutError."""
        if self.connection is None:
            raise Disconnected("the account does not run")
        return await self.connection.current(timeout_s)

    def request_id(self) -> str:
        """A fresh id for a request that need not be known again."""
        return self.random_bytes(16).hex()

    def at(self) -> At:
        """This device, now: with what an edit is stamped."""
        keys = self.identity.keys
        key = from_text(keys.signer.public) if keys is not None else self.identity.node.encode()
        return At(device_name(key), self.clock())
