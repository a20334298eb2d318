# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers of members, kept until the relay has them, or until the member knows that they were not sent (C5).

A row for each, by the id of the member's message, so that the same message counts once; the mail itself is a file, on
the disk before the row is. It goes when the row says that it is not needed any more. All methods raise `OSError`.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from bridges import limits
from bridges.smtp.store.conversations import Conversations
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.delivered import Delivered
from bridges.smtp.store.tables import outgoing
from tmtp_core.clock import Clock

WAITING, SENT, FAILED, INVITE = "waiting", "sent", "failed", "invite"
_NS_OF_MS: Final = 1_000_000
_MS: Final = 1_000


class Outgoing(NamedTuple):
    """An answer. `message`: the id of the member's message; `thread` and `subject` as the member sees them.

    `trouble`: why it was not sent, yet or for good.
    """

    message: str
    address: str
    recipient: str
    member: str
    thread: str
    subject: str
    state: str
    trouble: str = ""
    owed: bool = False
    tries: int = 0
    at_ms: int = 0
    next_ms: int = 0
    size: int = 0


class Outbox:
    """The answers of one bridge."""

    def __init__(
        self, folder: Path, database: BridgeDatabase, delivered: Delivered, conversations: Conversations, clock: Clock
    ) -> None:
        self._folder = folder
        self._database = database
        self._delivered = delivered
        self._conversations = conversations
        self._clock = clock
        self._forgotten_ms = 0
        self._taken: dict[str, tuple[Outgoing, str]] = {}  # by the relay, and not written down yet
        self.waiting = 0
        self.waiting_bytes = 0

    async def open(self) -> None:
        """Count what waits, and remove the files that a crash left."""
        await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)

        def look(connection: Connection) -> list[tuple[str, int]]:
            query = select(outgoing.c.message, outgoing.c.size).where(outgoing.c.state == WAITING)
            return [(str(message), int(size)) for message, size in connection.execute(query)]

        rows = await self._database.read(look)
        self.waiting, self.waiting_bytes = len(rows), sum(size for _, size in rows)
        await asyncio.to_thread(_only, self._folder, {self.file(message).name for message, _ in rows})

    def file(self, message: str) -> Path:
        """Where the mail is."""
        return self._folder / f"{self.mail_name(message)}.eml"

    def mail_name(self, message: str) -> str:
        """The same for a message whenever it comes, and nobody else can tell it: the left side of its Message-ID."""
        return self._delivered.hashed("outgoing", message).hex()

    async def known(self, message: str) -> bool:
        """Whether this message was kept before."""
        query = select(outgoing.c.number).where(outgoing.c.message == message)
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)

    async def keep(self, one: Outgoing, mail: bytes, remember: Callable[[Connection], None]) -> None:
        """A mail that waits for the relay; `remember` is run in the same change."""
        await asyncio.to_thread(_write, self.file(one.message), mail)
        size = len(mail)

        def change(connection: Connection) -> bool:
            if not self._insert(connection, one._replace(state=WAITING, size=size)):
                return False
            remember(connection)
            return True

        if await self._database.write(change):
            self.waiting += 1
            self.waiting_bytes += size

    async def refuse(self, one: Outgoing) -> None:
        """Not to be sent at all: the member is to be told; of those that are to be invited once a day in a thread."""

        def change(connection: Connection) -> None:
            if one.state != INVITE or not self._told_lately(connection, one):
                self._insert(connection, one._replace(owed=True))

        await self._database.write(change)

    async def due(self) -> list[Outgoing]:
        """Mails to hand over now, the oldest first."""
        query = select(outgoing).where(outgoing.c.state == WAITING, outgoing.c.next_ms <= self.now_ms())
        query = query.order_by(outgoing.c.number).limit(limits.OUTGOING_ROUND_MAX)
        return await self._rows(query)

    async def next_ms(self) -> int | None:
        """When the next mail is due; None: nothing waits."""
        query = select(func.min(outgoing.c.next_ms)).where(outgoing.c.state == WAITING)
        found = await self._database.read(lambda connection: connection.execute(query).scalar())
        return None if found is None else int(found)

    async def sent(self, one: Outgoing, message_id: str) -> None:
        """The relay has it. Where the disk does not take that, `settle` has to be called before it is sent again."""
        self._taken[one.message] = one, message_id
        await self._note_sent(one, message_id)

    async def settle(self) -> None:
        """Write down what the relay has. Nothing is handed over before: it would be sent again and again."""
        for one, message_id in list(self._taken.values()):
            await self._note_sent(one, message_id)

    async def _note_sent(self, one: Outgoing, message_id: str) -> None:
        def change(connection: Connection) -> None:
            self._set(connection, one.message, state=SENT, trouble="")
            self._conversations.answered(connection, one.thread, message_id)

        await self._database.write(change)
        del self._taken[one.message]
        await self._over(one)

    async def failed(self, one: Outgoing, why: str) -> None:
        """It will not be sent; the member is to be told why."""
        await self._database.write(
            lambda connection: self._set(
                connection, one.message, state=FAILED, trouble=why, owed=True, next_ms=self.now_ms()
            )
        )
        await self._over(one)

    async def postpone(self, some: list[Outgoing], why: str) -> list[Outgoing]:
        """Try these later; those for which there is no later have failed, and are returned."""
        now_ms = self.now_ms()
        oldest_ms = now_ms - limits.OUTGOING_DAYS * 86_400 * _MS
        given_up = [one for one in some if one.at_ms <= oldest_ms]
        for one in given_up:
            await self.failed(one, f"it could not be sent for {limits.OUTGOING_DAYS} days; at last: {why}")

        def change(connection: Connection) -> None:
            for one in some:
                if one.at_ms > oldest_ms:
                    next_ms = now_ms + int(_pause_s(one.tries) * _MS)
                    self._set(connection, one.message, tries=one.tries + 1, next_ms=next_ms, trouble=why)

        await self._database.write(change)
        return given_up

    async def owed(self) -> list[Outgoing]:
        """Of which the member is to be told now that they were not sent."""
        query = select(outgoing).where(outgoing.c.owed, outgoing.c.next_ms <= self.now_ms())
        return await self._rows(query.order_by(outgoing.c.number).limit(limits.OUTGOING_ROUND_MAX))

    async def told(self, one: Outgoing) -> None:
        """The member has been told, or cannot be."""
        await self._database.write(lambda connection: self._set(connection, one.message, owed=False))

    async def forget(self) -> None:
        """Let go of what is over, once an hour."""
        now_ms = self.now_ms()
        if now_ms - self._forgotten_ms < limits.FORGET_EVERY_S * _MS:
            return
        self._forgotten_ms = now_ms
        before_ms = now_ms - int(limits.OUTGOING_KEPT_S * _MS)

        def change(connection: Connection) -> None:
            over = (outgoing.c.state != WAITING, outgoing.c.owed.is_(False), outgoing.c.at_ms < before_ms)
            connection.execute(delete(outgoing).where(*over))
            self._conversations.forget(connection)

        await self._database.write(change)

    def now_ms(self) -> int:
        """The wall clock."""
        return self._clock.wall_ns() // _NS_OF_MS

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _rows(self, query: object) -> list[Outgoing]:
        return await self._database.read(lambda connection: [_read(row) for row in connection.execute(query)])  # type: ignore[call-overload]

    def _insert(self, connection: Connection, one: Outgoing) -> bool:
        now_ms = self.now_ms()
        row = one._replace(at_ms=now_ms, next_ms=now_ms)._asdict()
        made = upsert(outgoing).values(row).on_conflict_do_nothing(index_elements=["message"])
        return connection.execute(made).rowcount == 1

    def _set(self, connection: Connection, message: str, **fields: object) -> None:
        connection.execute(update(outgoing).where(outgoing.c.message == message).values(fields))

    def _told_lately(self, connection: Connection, one: Outgoing) -> bool:
        since_ms = self.now_ms() - int(limits.INVITE_NOTICE_EVERY_S * _MS)
        same = (outgoing.c.member == one.member, outgoing.c.thread == one.thread, outgoing.c.address == one.address)
        query = select(outgoing.c.number).where(*same, outgoing.c.state == INVITE, outgoing.c.at_ms > since_ms)
        return connection.execute(query.limit(1)).first() is not None

    async def _over(self, one: Outgoing) -> None:
        self.waiting -= 1
        self.waiting_bytes -= one.size
        await asyncio.to_thread(self.file(one.message).unlink, missing_ok=True)


def _read(row: "Row[tuple[object, ...]]") -> Outgoing:
    return Outgoing(**{name: getattr(row, name) for name in Outgoing._fields})


def _pause_s(tries: int) -> float:
    """After so many tries before this one."""
    return min(limits.OUTGOING_FIRST_PAUSE_S * 2.0 ** min(tries, 16), limits.OUTGOING_LONGEST_PAUSE_S)


def _write(path: Path, mail: bytes) -> None:
    """The file, on the disk."""
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(mail)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _only(folder: Path, kept: set[str]) -> None:
    """A folder without files that no row names: of such a message the service knows that it was not taken."""
    for path in folder.iterdir():
        if path.name not in kept:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
