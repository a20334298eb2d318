# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an intake remembers: which mails it has delivered, and which conversations they belong to (C2).

A small SQLite file of the bridge's own, with hashes and ids in it and nothing that a mail says. Who loses it loses
nothing but that: a mail that comes a second time may then arrive twice, and conversations begin anew.
"""

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DBAPIError

from bridges import limits
from bridges.mime import Letter
from tmtp_core.clock import Clock
from tmtp_core.ids import RandomBytes

SCHEMA_VERSION: Final = 1
_SECRET_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_NS: Final = 1_000_000_000
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000")

_metadata = MetaData()
_secret = Table("secret", _metadata, Column("value", LargeBinary, nullable=False))
_delivered = Table(
    "delivered",
    _metadata,
    Column("post", String, primary_key=True),
    Column("at_s", Integer, nullable=False, index=True),
)
_mails = Table(  # the keyed hash of a mail's id, for one sender and one recipient, and the thread that it belongs to
    "mails",
    _metadata,
    Column("mail", LargeBinary, primary_key=True),
    Column("thread", String, nullable=False, index=True),
    Column("at_s", Integer, nullable=False, index=True),
)

_Got = TypeVar("_Got")


class Place(NamedTuple):
    """Where a mail belongs: its thread, "" where neither it nor what it names has an id; whether that is new."""

    thread: str
    new: bool


class Correspondence(NamedTuple):
    """One sender and one route: a mail of somebody else, or to somebody else, never gets into its threads (D1)."""

    sender: str
    recipient: str


class BridgeDatabase:
    """One intake's file. All methods raise `OSError` when the disk does not do its part; nothing is half done then."""

    def __init__(self, path: Path, clock: Clock, random_bytes: RandomBytes) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._path = path
        self._lock = asyncio.Lock()
        self._forgotten_s = 0
        self._engine: Engine | None = None
        self._key = b""

    async def open(self) -> None:
        """Open the file, made at the first start. Raises `OSError`, also for one of a newer release."""
        await self._run(self._open)

    async def close(self) -> None:
        """Close the file."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.dispose)

    async def is_delivered(self, post: str) -> bool:
        """Whether this post was delivered within `limits.DUPLICATES_KEPT_S`."""
        since = self._now_s() - int(limits.DUPLICATES_KEPT_S)
        query = select(_delivered.c.post).where(_delivered.c.post == post, _delivered.c.at_s >= since)
        return await self._transaction(lambda connection: connection.execute(query).first() is not None)

    async def place(self, which: Correspondence, letter: Letter) -> Place:
        """The thread of a mail: that of the nearest known mail before it, else one of the oldest that it names."""
        return await self._transaction(lambda connection: self._place(connection, which, letter))

    async def record(self, post: str, which: Correspondence, letter: Letter, thread: str) -> None:
        """Remember a post that the service has acknowledged. It is on the disk when this returns."""
        now_s = self._now_s()
        ids = (*letter.references, bare_id(letter)) if thread else ()

        def write(connection: Connection) -> None:
            connection.execute(upsert(_delivered).values(post=post, at_s=now_s).on_conflict_do_nothing())
            for one in filter(None, ids):
                row = {"mail": self._hashed("mail", which, one), "thread": thread, "at_s": now_s}
                renewed = (
                    upsert(_mails).values(row).on_conflict_do_update(index_elements=["mail"], set_={"at_s": now_s})
                )
                connection.execute(renewed)
            if now_s - self._forgotten_s >= limits.FORGET_EVERY_S:
                self._forgotten_s = now_s
                connection.execute(delete(_delivered).where(_delivered.c.at_s < now_s - int(limits.DUPLICATES_KEPT_S)))
                connection.execute(delete(_mails).where(_mails.c.at_s < now_s - int(limits.THREADS_KEPT_S)))

        await self._transaction(write)

    def _place(self, connection: Connection, which: Correspondence, letter: Letter) -> Place:
        own = bare_id(letter)
        for one in (own, *reversed(letter.references)):
            mail = self._hashed("mail", which, one) if one else b""
            known = connection.execute(select(_mails.c.thread).where(_mails.c.mail == mail)).scalar()
            if known is not None:
                return Place(str(known), new=False)
        oldest = next(iter(letter.references), own)
        if not oldest:
            return Place("", new=True)
        thread = f"smtp-{self._hashed('thread', which, oldest).hex()}"
        begun = connection.execute(select(_mails.c.mail).where(_mails.c.thread == thread).limit(1)).first() is not None
        return Place(thread, new=not begun)

    def _hashed(self, what: str, which: Correspondence, message_id: str) -> bytes:
        """A name for a mail that nobody without this bridge's secret can find, or foresee."""
        digest = blake2b(digest_size=_DIGEST_BYTES, key=self._key, person=what.encode())
        for part in (*which, message_id):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8))
            digest.update(encoded)
        return digest.digest()

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        engine = create_engine(f"sqlite:///{self._path}")

        @event.listens_for(engine, "connect")
        def set_pragmas(connection: sqlite3.Connection, record: object) -> None:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")

        self._engine = engine
        with engine.begin() as connection:
            version = connection.execute(text("PRAGMA user_version")).scalar_one()
            if version > SCHEMA_VERSION:
                raise OSError(errno.EINVAL, f"{self._path} was made by a newer release; use that one, or move it away")
            _metadata.create_all(connection)
            if connection.execute(select(_secret)).first() is None:
                connection.execute(_secret.insert().values(value=self._random_bytes(_SECRET_BYTES)))
            connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
            self._key = bytes(connection.execute(select(_secret.c.value)).scalar_one())

    async def _transaction(self, work: Callable[[Connection], _Got]) -> _Got:
        """Run `work` in one transaction; it is on the disk when this returns."""
        engine = self._engine
        if engine is None:
            raise OSError(errno.EBADF, f"{self._path} is closed")

        def run() -> _Got:
            with engine.begin() as connection:
                return work(connection)

        return await self._run(run)

    async def _run(self, work: Callable[[], _Got]) -> _Got:
        async with self._lock:
            try:
                return await asyncio.to_thread(work)
            except DBAPIError as error:
                full = "full" in str(error.orig)
                raise OSError(errno.ENOSPC if full else errno.EIO, f"{self._path}: {error.orig}") from None

    def _now_s(self) -> int:
        return self._clock.wall_ns() // _NS


def bare_id(letter: Letter) -> str:
    """A mail's id as other mails refer to it: without its brackets."""
    return letter.message_id.strip("<> ")
