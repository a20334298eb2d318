# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running account's context without a home around it: for tests of one room of the engine."""

import random
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import StaticPool
from sqlcipher3 import dbapi2 as sqlcipher

from tmtp_client.engine.context import Context
from tmtp_client.store import tables
from tmtp_client.store.identity import Identity

UID = "1" * 32


def memory_engine() -> Engine:
    """A history in memory; its connection is the only one."""
    engine = create_engine("sqlite://", module=sqlcipher, poolclass=StaticPool)  # the system's SQLite may be too old

    @event.listens_for(engine, "connect")
    def autocommit(connection: Any, record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        connection.execute(text(tables.SEARCH))
    return engine


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def seeded(seed: int = 1) -> Callable[[int], bytes]:
    """The same chance each time."""
    return random.Random(seed).randbytes


def bare_context(clock: Clock, alias: str = "Ada Lovelace", seed: int = 1) -> Context:
    """Of a revision 1 account that has neither database nor files: for functions of a connection."""
    identity = Identity(UID, "secret", alias, "127.0.0.1", 1, None, None, "Test")
    nothing = cast(Any, None)
    return Context("test", identity, nothing, nothing, None, clock, seeded(seed), lambda type, data: None)
