# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the hot path and the queues ask of an engine: `sqlite` and `postgresql` answer, each in its own words.

One statement a kind and batch (storage.md). Everything else goes through SQLAlchemy Core and knows no dialect.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection

from tmtp_core.domain.port import Device, Message

MessageRow = tuple[int, bytes, int, bytes | None, str | None, bytes | None, int | None, int | None]
"""Number, head, size of the body, the body or None, the name of its file or None, revision 2's head, the sender, and
the number that the sender knows."""

Entry = tuple[int, int, int]
"""Of a queue: device, rank, message."""


@dataclass(frozen=True, slots=True)
class AccountRows:
    """All that the store has of one account: its devices oldest first, its aliases and its log in order, whom it admits
    (account, introducer) and blocks.
    """

    uid: str
    status: int
    role: int
    introductions: bool
    devices: list[Device]
    aliases: list[str]
    log: list[bytes]
    admits: list[tuple[int, int]]
    blocked: list[int]


@dataclass(slots=True)
class Written:
    """What a transaction adds on the hot path, until that is written.

    Messages; queue entries that are shown, and others that are taken without being shown; remembered requests (device,
    request hash, message, posted ms); the name and value of a counter.
    """

    messages: list[MessageRow] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    hidden: list[Entry] = field(default_factory=list)
    requests: list[tuple[int, int, int, int]] = field(default_factory=list)
    counter: tuple[str, int] | None = None


class Statements(Protocol):
    """Of one engine. All of them run inside a transaction of the writer's."""

    def account(self, connection: Connection, key: int) -> AccountRows | None:
        """Read an account."""
        ...

    def write(self, connection: Connection, written: Written) -> None:
        """Store what was added."""
        ...

    def delete_queue(self, connection: Connection, entries: Sequence[Entry]) -> int:
        """Remove queue entries; how many there were."""
        ...

    def copy_queue(self, connection: Connection, sources: Sequence[int], target: int) -> list[int]:
        """Queue for one device, which has nothing yet, what is queued for others; the numbers of those messages.

        But no `user` message with a new node's secret, which is for the node alone that asked for it. (Inside a string
        of JSON these quotes would be escaped.)
        """
        ...

    def pages(self, connection: Connection, wanted: Sequence[tuple[int, int]]) -> Iterator[Iterator[Message]]:
        """For each (device, count) the first messages of its queue, in order of delivery.

        They are read lazily: whoever leaves early pays little.
        """
        ...

    def entries_between(self, connection: Connection, after: int, number: int) -> Iterable[tuple[int, int, int, int]]:
        """All queue entries of messages after one number and up to another: (message, account, device, rank)."""
        ...

    def forget_taken(self, connection: Connection, numbers: Sequence[int]) -> None:
        """Forget by whom messages were taken that are gone."""
        ...

    def count_messages(self, connection: Connection) -> int:
        """How many messages there are, or about how many."""
        ...

    def set_counter(self, connection: Connection, name: str, value: int) -> None:
        """Store a named number of the instance."""
        ...

    def find_reposted(self, connection: Connection, keys: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
        """Which of these (device, request hash) are remembered, as whole rows."""
        ...

    def forget_reposted(self, connection: Connection, before_ms: int, keep: int, after: int) -> int | None:
        """Forget requests older than `before_ms`, but of each device the newest `keep`: of some devices above `after`.

        The last of these; None where there are no more.
        """
        ...


class References(Protocol):
    """Which messages somebody waits for: the last entry of a queue that goes takes its message with it (A4).

    Changes belong to the transaction that is under way, until `committed` or `rolled_back`.
    """

    @property
    def messages(self) -> int:
        """How many messages wait for somebody, as far as that is known."""
        ...

    def load(self, connection: Connection) -> None:
        """Start from what the store holds."""
        ...

    def begin(self) -> None:
        """Another transaction begins."""
        ...

    def look(self, count: Callable[[], int]) -> None:
        """Learn anew how many messages wait, where only the database knows; about, when they are many."""
        ...

    def sweepable(self, file: str) -> bool:
        """Whether a payload file that lies there at start belongs to no message, and to no other process."""
        ...

    def names(self, file: str) -> bool:
        """Whether the message that a decision stored has this payload file."""
        ...

    def add(self, number: int, count: int, file: str | None = None) -> None:
        """`count` more devices wait for a message."""
        ...

    def drop(self, numbers: Iterable[int]) -> None:
        """One device less for each."""
        ...

    def recount(self, connection: Connection, numbers: Sequence[int]) -> None:
        """Some entries were gone already: ask the store, never guess."""
        ...

    def settle(self, connection: Connection) -> list[int]:
        """Delete the messages nobody waits for once this transaction is committed; their numbers."""
        ...

    def committed(self) -> list[str]:
        """The transaction is durable; the payload files to unlink."""
        ...

    def rolled_back(self) -> None:
        """Forget the transaction's changes."""
        ...
