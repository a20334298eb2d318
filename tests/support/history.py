# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client's history in memory, with the tables and the search index as they are on the disk, and messages to put in."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import StaticPool
from sqlcipher3 import dbapi2 as sqlcipher

from tmtp_client.store import tables
from tmtp_client.store.messages import NewAttachment, NewMessage

ME = "ME000000000000000000000000000001"
ANNA = "ANNA%000000000000000000000000002"
BELA = "BELA+000000000000000000000000003"
OWN = frozenset({"Olga Own Name"})
_BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


@contextmanager
def history() -> Iterator[Connection]:
    """A connection to a fresh one, in a transaction."""
    engine = create_engine("sqlite://", module=sqlcipher, poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA key = \"x'" + "17" * 32 + "'\"")
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    try:
        with engine.begin() as connection:
            tables.metadata.create_all(connection)
            connection.execute(text(tables.SEARCH))
            yield connection
    finally:
        engine.dispose()


def id_of(number: int) -> str:
    """As a service gives them."""
    return f"{number:016x}"


def posted_at(minutes: int) -> str:
    """A time as the service writes it, so many minutes into 2025."""
    return (_BEGIN + timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def a_message(number: int, text: str = "", **given: Any) -> NewMessage:
    """One that Anna sent: in a thread of its own, unless `thread` is given (a number too)."""
    fields: dict[str, Any] = {
        "id": id_of(number),
        "kind": "message",
        "outgoing": False,
        "author": ANNA,
        "alias": "Anna Almond",
        "verified": True,
        "to": ((ME, 1),),
        "subject": "",
        "text": text,
        "posted": posted_at(number),
        "received_ms": number,
        "state": "received",
        "seen": False,
        **given,
    }
    thread = fields.pop("thread", None)
    return NewMessage(thread=id_of(number if thread is None else thread), **fields)


def a_file(name: str, file: str = "f1", size: int = 3, **given: Any) -> NewAttachment:
    """One that is here."""
    return NewAttachment(
        **{"kind": "file", "name": name, "form": "", "size": size, "file": file, "have": size, **given}
    )
