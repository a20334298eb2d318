# SPDX-License-Identifier: AGPL-3.0-or-later
"""History on this device: a plain SQLite file for now (B8 brings encryption).

Record first, ack after: `record` has committed when it returns. Import is idempotent by message id. What is
to be sent waits in the outbox under one request id for all tries, until the service has acknowledged it.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.connection import AccountKeys, DeviceKeys, KeyLogin, Login, PasswordLogin

_metadata = MetaData()

_identity = Table(
    "identity",
    _metadata,
    Column("uid", String, primary_key=True),
    Column("node", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("host", String, nullable=False),
    Column("port", Integer, nullable=False),
    Column("pin", String),
    Column("ca_file", String),
    Column("service", String, nullable=False),
)

_keys = Table(  # of this device, where the service knows revision 2
    "keys",
    _metadata,
    Column("service_key", String, primary_key=True),
    Column("seed", LargeBinary, nullable=False),
    Column("box_key", LargeBinary, nullable=False),
)

_pending = Table(  # of an account that is being opened or come back to; gone when its person has what he needs
    "pending",
    _metadata,
    Column("service_key", String, primary_key=True),
    Column("seed", LargeBinary, nullable=False),
    Column("box_key", LargeBinary, nullable=False),
    Column("recovery_seed", LargeBinary, nullable=False),
)

_log_record = Table(  # of the account's own log, as this device has checked it (B4)
    "log_record",
    _metadata,
    Column("place", Integer, primary_key=True),
    Column("record", LargeBinary, nullable=False),
)

_contact = Table(
    "contact", _metadata, Column("alias", String, primary_key=True), Column("uid", String, nullable=False, index=True)
)

_message = Table(
    "message",
    _metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),  # ping, invitation, message, return
    Column("outgoing", Integer, nullable=False),
    Column("peer", String, nullable=False),  # uid of the other side
    Column("alias", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("text", String, nullable=False),
    Column("thread", String, nullable=False),
    Column("posted", String, nullable=False),
    Column("seen", Integer, nullable=False),
)

_attachment = Table(
    "attachment",
    _metadata,
    Column("message", String, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("path", String, nullable=False),
)

_outbox = Table(
    "outbox",
    _metadata,
    Column("request_id", String, primary_key=True),
    Column("order", Integer, nullable=False),
    Column("kind", String, nullable=False),  # ping, message
    Column("to", String, nullable=False),  # alias of a ping, uid of a message
    Column("alias", String, nullable=False),  # how the recipient is called here
    Column("subject", String, nullable=False),
    Column("text", String, nullable=False),
    Column("thread", String, nullable=False),
    Column("files", String, nullable=False),  # absolute paths, one a line
    Column("error", String, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is, and where its service is.

    `node` is its secret under revision 1. Under revision 2 it has `keys`, and knows the service by `service_key`.
    """

    uid: str
    node: str
    alias: str
    host: str
    port: int
    pin: str | None
    ca_file: str | None
    service: str
    keys: DeviceKeys | None = field(default=None, repr=False)
    service_key: str = ""

    @property
    def login(self) -> Login:
        """With what this device enters."""
        if self.keys is None:
            return PasswordLogin(self.uid, self.node)
        return KeyLogin(self.uid, self.keys.signer, self.service_key)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message of the history."""

    id: str
    kind: str
    outgoing: bool
    peer: str
    alias: str
    subject: str
    text: str
    thread: str
    posted: str
    seen: bool = False


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One attachment of a message; `path` is where its octets are on this device."""

    name: str
    size: int
    path: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message that waits for the service. `to` is an alias (ping) or a uid (message)."""

    request_id: str
    kind: str
    to: str
    alias: str
    subject: str
    text: str
    thread: str
    files: tuple[str, ...]
    error: str = ""


class History:
    """One account's history file, mode 0600. Calls block for as long as SQLite does."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self.folder = path.parent
        self._engine = _engine(path)
        _metadata.create_all(self._engine)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    # -- who we are --------------------------------------------------------------------------------------------------
    def identity(self) -> Identity | None:
        """Who this device is, or None before it joined."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_identity)).one_or_none()
            keys = connection.execute(select(_keys)).one_or_none()
        if row is None:
            return None
        if keys is None:
            return Identity(*row)
        own = DeviceKeys(keys.seed, keys.box_key)
        return Identity(**row._mapping, keys=own, service_key=keys.service_key)

    def set_identity(self, identity: Identity) -> None:
        """Remember who this device is. Durable when this returns."""
        values = {column.name: getattr(identity, column.name) for column in _identity.columns}
        with self._engine.begin() as connection:
            connection.execute(delete(_identity))
            connection.execute(delete(_keys))
            connection.execute(insert(_identity).values(values))
            if identity.keys is not None:
                own = {"seed": identity.keys.seed, "box_key": identity.keys.box_key}
                connection.execute(insert(_keys).values(service_key=identity.service_key, **own))

    def pending_keys(self, service_key: str) -> AccountKeys | None:
        """The keys of an account at this service that was being opened when something cut it off.

        Without a recovery seed: that was being come back to.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(_pending).where(_pending.c.service_key == service_key)).one_or_none()
        return None if row is None else AccountKeys(DeviceKeys(row.seed, row.box_key), row.recovery_seed)

    def set_pending_keys(self, service_key: str, keys: AccountKeys) -> None:
        """Keep the keys of an account until `forget_pending`. Durable when this returns."""
        own = {"seed": keys.device.seed, "box_key": keys.device.box_key}
        row = {"service_key": service_key, "recovery_seed": keys.recovery_seed, **own}
        with self._engine.begin() as connection:
            connection.execute(delete(_pending).where(_pending.c.service_key == service_key))
            connection.execute(insert(_pending).values(row))

    def forget_pending(self) -> None:
        """Nothing is pending any more: no recovery key is left here, not even in the database's log."""
        with self._engine.begin() as connection:
            connection.execute(delete(_pending))
        with self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # -- the account's log -------------------------------------------------------------------------------------------
    def log_records(self) -> list[bytes]:
        """The records that this device keeps of its account's log, in order."""
        with self._engine.connect() as connection:
            return list(connection.scalars(select(_log_record.c.record).order_by(_log_record.c.place)))

    def keep_log_records(self, place: int, records: Sequence[bytes]) -> None:
        """Further records, the first with this number. Durable when this returns."""
        rows = [{"place": number, "record": record} for number, record in enumerate(records, place)]
        with self._engine.begin() as connection:
            connection.execute(insert(_log_record), rows)

    def forget_log_records(self) -> None:
        """Keep none of them any more."""
        with self._engine.begin() as connection:
            connection.execute(delete(_log_record))

    # -- contacts ----------------------------------------------------------------------------------------------------
    def learn_contact(self, alias: str, uid: str) -> None:
        """The service has vouched that this alias is this uid's."""
        statement = upsert(_contact).values(alias=alias, uid=uid)
        with self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["alias"], set_={"uid": uid}))

    def contact(self, alias: str) -> str | None:
        """The uid of an alias that the service has vouched for."""
        with self._engine.connect() as connection:
            uid: str | None = connection.scalar(select(_contact.c.uid).where(_contact.c.alias == alias))
            return uid

    def alias_of(self, uid: str) -> str | None:
        """An alias that the service has vouched for."""
        with self._engine.connect() as connection:
            alias: str | None = connection.scalar(select(_contact.c.alias).where(_contact.c.uid == uid).limit(1))
            return alias

    def contacts(self) -> list[tuple[str, str]]:
        """All contacts, by alias: (alias, uid)."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_contact.c.alias, _contact.c.uid).order_by(_contact.c.alias))
            return [(row[0], row[1]) for row in rows]

    # -- messages ----------------------------------------------------------------------------------------------------
    def record(self, message: Recorded, files: Sequence[StoredFile] = ()) -> bool:
        """Keep a message; False when it was here already. Durable when this returns."""
        values = {name: getattr(message, name) for name in Recorded.__dataclass_fields__}
        with self._engine.begin() as connection:
            added = connection.execute(upsert(_message).values(values).on_conflict_do_nothing()).rowcount
            if added:
                for place, file in enumerate(files):
                    row = {"message": message.id, "place": place, "name": file.name, "size": file.size}
                    connection.execute(insert(_attachment).values(path=file.path, **row))
        return bool(added)

    def knows(self, message_id: str) -> bool:
        """Whether a message is here."""
        with self._engine.connect() as connection:
            return connection.scalar(select(_message.c.id).where(_message.c.id == message_id)) is not None

    def latest(self, count: int) -> list[Recorded]:
        """The latest messages, oldest of them first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_message).order_by(_message.c.id.desc()).limit(count)).all()
        return [_recorded(row) for row in reversed(rows)]

    def unseen(self) -> int:
        """How many messages from others were not shown yet."""
        c = _message.c
        where = (c.seen == 0) & (c.outgoing == 0)
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(_message).where(where)) or 0

    def message(self, message_id: str) -> Recorded | None:
        """One message, by its id or the end of it."""
        where = (_message.c.id == message_id) | _message.c.id.endswith(message_id, autoescape=True)
        with self._engine.connect() as connection:
            rows = connection.execute(select(_message).where(where).limit(2)).all()
        return _recorded(rows[0]) if len(rows) == 1 else None

    def files(self, message_id: str) -> list[StoredFile]:
        """A message's attachments, in order."""
        a = _attachment.c
        with self._engine.connect() as connection:
            rows = connection.execute(select(a.name, a.size, a.path).where(a.message == message_id).order_by(a.place))
            return [StoredFile(*row) for row in rows]

    def mark_seen(self, message_ids: Sequence[str]) -> None:
        """The person has seen these."""
        with self._engine.begin() as connection:
            connection.execute(update(_message).where(_message.c.id.in_(message_ids)).values(seen=1))

    # -- outbox ------------------------------------------------------------------------------------------------------
    def queue(self, outgoing: Outgoing) -> None:
        """Keep a message until the service has it. Durable when this returns."""
        values: dict[str, Any] = {name: getattr(outgoing, name) for name in Outgoing.__dataclass_fields__}
        values["files"] = "\n".join(outgoing.files)
        with self._engine.begin() as connection:
            order = connection.scalar(select(func.coalesce(func.max(_outbox.c.order), 0) + 1))
            connection.execute(insert(_outbox).values(order=order, **values))

    def waiting(self) -> list[Outgoing]:
        """What is to be sent, in order; without what the service has refused."""
        o = _outbox.c
        with self._engine.connect() as connection:
            rows = connection.execute(select(_outbox).where(o.error == "").order_by(o.order)).all()
        return [_outgoing(row) for row in rows]

    def refusals(self) -> list[Outgoing]:
        """What the service has refused, in order."""
        o = _outbox.c
        with self._engine.connect() as connection:
            rows = connection.execute(select(_outbox).where(o.error != "").order_by(o.order)).all()
        return [_outgoing(row) for row in rows]

    def outgoing(self, request_id: str) -> Outgoing | None:
        """One outbox entry: None once the service has it, with an `error` when it was refused."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_outbox).where(_outbox.c.request_id == request_id)).one_or_none()
        return None if row is None else _outgoing(row)

    def sent(self, outgoing: Outgoing, message: Recorded, files: Sequence[StoredFile]) -> None:
        """The service has it: from the outbox into the history."""
        self.record(message, files)
        self.forget_outgoing(outgoing.request_id)

    def refused(self, request_id: str, error: str) -> None:
        """The service will not take it."""
        with self._engine.begin() as connection:
            connection.execute(update(_outbox).where(_outbox.c.request_id == request_id).values(error=error))

    def forget_outgoing(self, request_id: str) -> None:
        """Take an entry out of the outbox."""
        with self._engine.begin() as connection:
            connection.execute(delete(_outbox).where(_outbox.c.request_id == request_id))


def _recorded(row: Any) -> Recorded:
    fields = {**row._mapping, "outgoing": bool(row.outgoing), "seen": bool(row.seen)}
    return Recorded(**fields)


def _outgoing(row: Any) -> Outgoing:
    files = tuple(path for path in row.files.split("\n") if path)
    return Outgoing(row.request_id, row.kind, row.to, row.alias, row.subject, row.text, row.thread, files, row.error)


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
