# SPDX-License-Identifier: AGPL-3.0-or-later
"""A device as far as `tmtp_client.sync` goes: a real encrypted database in a file, a clock that may be wrong, and posts.

The network is a list of posts for each device; the test decides what arrives when, and how often.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, select, text
from sqlcipher3 import dbapi2 as sqlcipher

from tmtp_client.store import messages, people, tables, threads
from tmtp_client.store.tables import message, metadata, register, tag, thread
from tmtp_client.sync import clock, drafts, journal, registers, settings, state
from tmtp_client.sync.registers import At
from tmtp_core.grouped import engine_of

Got = TypeVar("Got")

# Nothing here outlives its test: it is the program that is killed, never the machine.
_PRAGMAS = ("journal_mode=MEMORY", "synchronous=OFF")


def _opened(path: Path) -> Engine:
    def connect() -> Any:
        connection = sqlcipher.connect(str(path), check_same_thread=False)
        connection.execute(f"PRAGMA key = \"x'{bytes(32).hex()}'\"")
        return connection

    return engine_of(f"sqlite:///{path}", _PRAGMAS, creator=connect, module=sqlcipher)


@cache
def _empty() -> bytes:
    """A database of the present schema."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        engine = _opened(path)
        with engine.begin() as c:
            metadata.create_all(c)
            c.execute(text(tables.SEARCH))
        engine.dispose()
        return path.read_bytes()


class Crash(Exception):
    """The process dies in the middle of a change."""


class Device:
    """One of an account's devices. `ahead_ms`: how wrong its clock is."""

    def __init__(self, path: Path, name: str, ahead_ms: int) -> None:
        self.path = path
        self.device = clock.device_name(name.encode())
        self.ahead_ms = ahead_ms
        self.now_ms = 0
        path.write_bytes(_empty())
        self._engine = _opened(path)

    def at(self) -> At:
        """Now, as this device's clock has it."""
        return At(self.device, max(self.now_ms + self.ahead_ms, 0))

    def write(self, work: Callable[[Connection], Got]) -> Got:
        """One change, whole or not at all."""
        with self._engine.begin() as c:
            return work(c)

    def restart(self) -> None:
        """The process ends, and another begins."""
        self.close()
        self._engine = _opened(self.path)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    # -- what happens to it ------------------------------------------------------------------------------------------
    def receive(self, new: messages.NewMessage) -> None:
        """A message of the service arrives, as `arriving` keeps it."""

        def keep(c: Connection) -> None:
            people.learn(c, new.author, new.alias, "ping", 0)
            state.applied_to(c, self.at(), "person", new.author)
            if messages.record(c, new, frozenset()):
                state.arrived(c, self.at(), new.id, new.thread or new.id)

        self.write(keep)

    def tell(self, *, crash: bool = False) -> list[bytes]:
        """What it has to tell, post by post; nothing where it dies before that is durable."""
        posts: list[bytes] = []

        def gather(c: Connection) -> None:
            while journal.gather(c, lambda c, post: posts.append(post)):
                pass
            if crash:
                raise Crash

        try:
            self.write(gather)
        except Crash:
            return []
        return posts

    def hear(self, post: bytes) -> None:
        """A post of another device."""
        self.write(lambda c: state.apply(c, self.at(), journal.read(post)))

    # -- what can be seen of it --------------------------------------------------------------------------------------
    def registers(self) -> dict[tuple[str, str, str], tuple[str, str]]:
        """All it agrees about with the others: value and stamp."""
        r = register.c
        with self._engine.begin() as c:
            rows = c.execute(select(register).where(r.kind != registers.HERE)).all()
        return {(row.kind, row.key, row.field): (row.value, row.stamp) for row in rows}

    def shown(self) -> dict[str, Any]:
        """All that a person sees of it."""
        with self._engine.begin() as c:
            rows = c.execute(select(thread).order_by(thread.c.id)).mappings().all()
            people_rows = c.execute(select(tables.person.c.uid, tables.person.c.stands)).all()
            return {
                "threads": [{**row} for row in rows],
                "seen": dict(c.execute(select(message.c.id, message.c.seen).order_by(message.c.id)).all()),
                "tags": c.execute(select(tag.c.thread, tag.c.name).order_by(tag.c.thread, tag.c.name)).all(),
                "of tags": threads.tags(c),
                "drafts": drafts.all_of(c),
                "settings": settings.values(c),
                "stands": sorted(map(tuple, people_rows)),
            }

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Unseen messages of each thread: as its row says, and as they are counted now."""
        with self._engine.begin() as c:
            kept = dict(c.execute(select(thread.c.id, thread.c.unseen)).all())
            counting = select(message.c.thread, func.sum(1 - message.c.seen)).group_by(message.c.thread)
            return kept, dict(c.execute(counting).all())
