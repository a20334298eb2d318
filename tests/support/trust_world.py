# SPDX-License-Identifier: AGPL-3.0-or-later
"""A service in memory and the devices of its members, to which it is honest or lies: the model of B9's proofs.

Its logs are real (`log_records.append`), and so is everything on the devices: `Trust`, envelopes, an SQLite of their own.
Time stands still until a test turns it. Nothing waits, so a history of hundreds of messages takes a second.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection as Rows
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool
from sqlcipher3 import dbapi2 as sqlcipher

from tmtp_client.connection import DeviceKeys, Refused
from tmtp_client.store import changes, messages
from tmtp_client.store import tables as t
from tmtp_client.trust import Held, Plan, Sealed, ToSeal, Trust, Unsealable
from tmtp_client.trust import logs as kept
from tmtp_core.crypto.account_log import RECOVERY, Entry, LogRefused, LogState
from tmtp_core.crypto.envelope import Composed, Delivered, Octets, Opened, Opening, Sealing
from tmtp_core.crypto.log_records import Record, append, compose, encode_record, verify
from tmtp_core.crypto.sealed_heads import decode_outer
from tmtp_core.crypto.signing import Signer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.ids import message_id_text, new_uid, posted_text
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, encode_post_head

Got = TypeVar("Got")
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
START_MS = 1_790_000_000_000


def run(work: Coroutine[Any, Any, Got]) -> Got:
    """The result of what never waits for long; from within a loop, in one of another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Memory:
    """A database in memory, with a client's tables."""

    def __init__(self) -> None:
        self.engine: Engine = create_engine(
            "sqlite://", module=sqlcipher, poolclass=StaticPool, connect_args={"check_same_thread": False}
        )

        @event.listens_for(self.engine, "connect")
        def plain(connection: Any, record: object) -> None:
            connection.isolation_level = None

        @event.listens_for(self.engine, "begin")
        def begin(connection: Rows) -> None:
            connection.exec_driver_sql("BEGIN")

        with self.engine.begin() as c:
            for statement in _schema():
                c.exec_driver_sql(statement)

    async def write(self, work: Callable[[Rows], Got]) -> Got:
        with self.engine.begin() as c:
            return work(c)

    read = write

    def do(self, work: Callable[[Rows], Got]) -> Got:
        with self.engine.begin() as c:
            return work(c)


@lru_cache
def _schema() -> tuple[str, ...]:
    """The statements that make the tables, once for all examples."""
    said: list[str] = []
    mock = create_engine("sqlite://", module=sqlcipher, poolclass=StaticPool)
    with mock.begin() as c:

        @event.listens_for(c, "before_cursor_execute")
        def keep(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if statement.lstrip().startswith("CREATE"):
                said.append(statement)

        t.metadata.create_all(c)
        c.exec_driver_sql(t.SEARCH)
    mock.dispose()
    return tuple(said)


@dataclass
class Post:
    """A message as the service has it."""

    id: str
    author: str
    posted: str
    outer: bytes
    stream: bytes


@dataclass
class Account:
    """What the service knows of an account; and its recovery key, which it does not."""

    uid: str
    log: LogState
    recovery: Signer
    records: list[Record] = field(default_factory=list)
    devices: dict[str, "Device"] = field(default_factory=dict)
    prekeys: dict[str, m2.Prekey] = field(default_factory=dict)


Shows = Callable[["Device", str, list[Record]], tuple[list[Record], str]]


class World:
    """The service. `shows` is what it answers to who looks at a log; honest unless a test says otherwise."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.service = Signer(self.random_bytes(32))
        self.accounts: dict[str, Account] = {}
        self.now_ms = START_MS
        self.ids = 1
        self.shows: Shows | None = None
        self.shown_prekeys: dict[str, tuple[m2.Prekey, ...]] = {}
        self.true_prekeys: dict[str, set[str]] = {}
        self.pushes = True
        self.page_records = 500
        self.shows_nobody: set[str] = set()

    def random_bytes(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    def clock(self) -> int:
        return self.now_ms

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms

    def new_id(self) -> str:
        self.ids += 1
        self.now_ms += 1
        return message_id_text(self.ids)

    # -- accounts ----------------------------------------------------------------------------------------------------
    def account(self) -> "Device":
        """A new account, and its first device."""
        uid = new_uid(self.random_bytes)
        log = LogState.begin(self.service.public_key, uid)
        account = Account(uid, log, Signer(self.random_bytes(32)))
        self.accounts[uid] = account
        device = Device(self, account)
        entry = Entry("genesis", "", device=device.name, box=device.keys.box, recovery=account.recovery.public)
        self.append(account, entry, {device.name: device.signer, RECOVERY: account.recovery})
        device.enter()
        return device

    def append(self, account: Account, entry: Entry, by: dict[str, Signer], admitted: bool = False) -> Record:
        """An entry, judged and stamped, and pushed to everybody."""
        raw, sigs = compose(entry, by, self.service.public_key)
        record = append(account.log, raw, sigs, self.now_ms, uid=account.uid, service=self.service, admitted=admitted)
        self._keep(account, record, entry)
        return record

    def act(self, account: Account, act: Any, by: "Device | None" = None, **fields: str) -> Record:
        """The same, signed by a device, or by the recovery key."""
        signers = {by.name: by.signer} if by is not None else {RECOVERY: account.recovery}
        return self.append(account, Entry(act, account.log.head_text, **fields), signers)

    def add(self, account: Account, sponsor: "Device | None" = None) -> "Device":
        """A further device: of a sponsor's, or of the recovery key's. What waits for its sponsor is copied."""
        device = Device(self, account)
        signers = {device.name: device.signer}
        signers |= {sponsor.name: sponsor.signer} if sponsor is not None else {RECOVERY: account.recovery}
        waits = list(sponsor.queue) if sponsor is not None else []
        fields = {"device": device.name, "box": device.keys.box}
        self.append(account, Entry("add", account.log.head_text, **fields), signers)
        device.queue = waits
        device.enter()
        return device

    def _keep(self, account: Account, record: Record, entry: Entry) -> None:
        account.records.append(record)
        head, place = account.log.head_text, len(account.records) - 1
        data = encode_record(record)
        if self.pushes:
            for device in self.devices():
                pushed = m2.LogEvent(
                    id=self.new_id(),
                    from_=account.uid,
                    posted=posted_text(self.now_ms),
                    uid=account.uid,
                    place=place,
                    head=head,
                    datalen=len(data),
                )
                device.queue.append((pushed, data))

    def devices(self) -> list["Device"]:
        """All that something may wait for: not revoked. (Of what waits for a suspended one, nothing comes out.)"""
        return [
            device
            for account in self.accounts.values()
            for device in account.devices.values()
            if (state := account.log.devices.get(device.name)) is not None and not state.revoked
        ]

    def returned(self, post: Post, uids: Iterable[str]) -> None:
        """What no device has taken in time goes back (A4); of what some have taken, the rest is deleted."""
        missed = []
        for uid in uids:
            devices = [one for one in self.devices() if one.account.uid == uid]
            if devices and all(post in one.queue for one in devices):
                missed.append(uid)
            for one in devices:
                if post in one.queue:
                    one.queue.remove(post)
        if missed:
            self._tell_returned(post, tuple(missed))

    def _tell_returned(self, post: Post, uids: tuple[str, ...]) -> None:
        told = m2.ReturnEvent(
            id=self.new_id(),
            from_=post.author,
            posted=posted_text(self.now_ms),
            msgid=post.id,
            for_=uids,
            reason="no device took it in time",
            datalen=0,
        )
        for device in self.devices():
            if device.account.uid == post.author:
                device.queue.append(told)

    # -- requests ----------------------------------------------------------------------------------------------------
    def page(self, asker: "Device", request: m2.LogFetch) -> tuple[m2.LogPage, bytes]:
        if request.uid in self.shows_nobody and request.uid != asker.account.uid:
            raise Refused("LogFetch: not acquainted")
        account = self.accounts[request.uid]
        records, head = account.records, account.log.head_text
        if self.shows is not None:
            records, head = self.shows(asker, request.uid, list(records))
        prekeys = self.shown_prekeys.get(request.uid, tuple(account.prekeys.values()))
        told = records[request.since :][: self.page_records]
        more = request.since + len(told) < len(records)
        data = msgspec.json.encode(told)
        page = m2.LogPage(
            request.id, request.uid, request.since, head, more=more, prekeys=() if more else prekeys, datalen=len(data)
        )
        return page, data

    def take_record(self, account: Account, request: m2.LogAppend) -> m.Acked:
        """Op 13: a new entry, or a record that was lost."""
        try:
            if request.stamp:
                record = Record(request.entry, request.sigs, request.time, request.stamp)
                account.log = verify([record], uid=account.uid, service_key=self.service.public, known=account.log)
            else:
                record = append(
                    account.log, request.entry, request.sigs, self.now_ms, uid=account.uid, service=self.service
                )
        except (LogRefused, ValueError) as refused:
            raise Refused(f"LogAppend: {refused}") from None
        self._keep(account, record, Entry("contest", ""))
        return m.Acked(request.id, head=account.log.head_text)

    def post(self, sender: "Device", uids: Iterable[str], outer: bytes, stream: bytes) -> Post:
        """Op 7: to the devices of these accounts, and the sender's others."""
        made = Post(self.new_id(), sender.account.uid, posted_text(self.now_ms), outer, stream)
        for device in self.devices():
            if device is not sender and device.account.uid in {*uids, sender.account.uid}:
                device.queue.append(made)
        return made

    def lose_records(self, account: Account, count: int) -> None:
        """The service was restored from a backup: the last records of a log are gone."""
        records = account.records[: max(1, len(account.records) - count)]
        account.records = []
        account.log = LogState.begin(self.service.public_key, account.uid)
        for record in records:
            account.log = verify([record], uid=account.uid, service_key=self.service.public, known=account.log)
            account.records.append(record)


@dataclass
class Read:
    """What a device made of a message. `text` None: it could not be opened; `why` says how so."""

    text: str | None
    sealed: Sealed | None = None
    why: str = ""


class Device:
    """One device: real trust over a database in memory."""

    def __init__(self, world: World, account: Account) -> None:
        self.world = world
        self.account = account
        self.keys = DeviceKeys.new(world.random_bytes)
        self.signer = self.keys.signer
        self.name = self.signer.public
        self.database = Memory()
        self.trust = Trust(account.uid, self.keys, world.service.public, world.clock, world.random_bytes)
        self.queue: list[Any] = []
        self.read: dict[str, Read] = {}
        self.waits: dict[str, Post] = {}
        self.sent_to: list[tuple[str, str]] = []  # device, key that something was sealed to
        self.requests = 0
        self.online = True
        account.devices[self.name] = self

    # -- as an asker -------------------------------------------------------------------------------------------------
    async def inquire(self, request: Any) -> tuple[Any, bytes]:
        assert isinstance(request, m2.LogFetch)
        return self.world.page(self, request)

    async def ask(self, request: Any) -> m.Acked:
        if isinstance(request, m2.KeyEdit):
            prekey = m2.Prekey(self.name, request.key, request.time, request.sig)
            self.account.prekeys[self.name] = prekey
            self.world.true_prekeys.setdefault(self.name, set()).add(request.key)
            return m.Acked(request.id)
        assert isinstance(request, m2.LogAppend)
        return self.world.take_record(self.account, request)

    @property
    def stands(self) -> str:
        """By the service's log."""
        return self.account.log.standing(self.name, self.world.now_ms)

    # -- the day of a device -----------------------------------------------------------------------------------------
    def enter(self) -> None:
        """Log in, take what waits, settle."""
        self.database.do(self.trust.logged_in)
        run(self.trust.settle(self, self.database, self.account.log.head_text))
        self.take()
        self._refresh()
        self.database.do(self.trust.caught_up)

    def take(self) -> None:
        """Everything that waits, in its order; then what has to be looked at."""
        if not self.queue:
            return
        while self.queue:
            self.hear(self.queue.pop(0))
        run(self.trust.settle(self, self.database))
        self._refresh()

    def _refresh(self) -> None:
        """What is said of messages may have changed since they came."""
        for message, row in self.rows().items():
            if message in self.read and row:
                self.read[message].sealed = msgspec.json.decode(row, type=Sealed)

    def hear(self, one: Any) -> None:
        if isinstance(one, Post):
            self.open(one)
        elif isinstance(one, m2.ReturnEvent):
            self.database.do(lambda c: self.trust.returned(c, one.msgid, one.for_))
        elif not self.database.do(lambda c: self.trust.heard(c, one[0], one[1])):
            run(self.trust.look_at(self, self.database, [one[0].uid], anew=True))

    def open(self, post: Post, *, waited: bool = False) -> None:
        """Open a message, as the engine does: whole or not at all."""
        delivered = Delivered(self.world.service.public_key, post.author, self.account.uid)
        try:
            e2e = decode_outer(post.outer)
            key = self.database.do(lambda c: self.trust.key_for(c, post.id, e2e))
            if key is None:
                self.waits[post.id] = post
                self.read[post.id] = Read(None, why="no key")
                self._record(post, "sealed", "")
                return
            opening = Opening(key, post.outer, len(post.stream), delivered)
            given = opening.push(post.stream)
            opening.finish()
        except EnvelopeRefused as refused:
            self.read[post.id] = Read(None, why=str(refused))
            self._record(post, "unreadable", "")
            return
        opened = next(one for one in given if isinstance(one, Opened))
        text = b"".join(one.data for one in given if isinstance(one, Octets)).decode()
        self.waits.pop(post.id, None)

        def keep(c: Rows) -> Sealed:
            sealed = self.trust.judge(c, post.id, post.author, post.posted, opened, waited=waited)
            encoded = msgspec.json.encode(sealed).decode()
            if waited:
                messages.change(c, post.id, state="received", sealed=encoded)
            elif not sealed.again_of:
                messages.record(c, self._new(post, "received", encoded, text), frozenset())
            return sealed

        self.read[post.id] = Read(text, self.database.do(keep))

    def _new(self, post: Post, state: Any, sealed: str, text: str) -> messages.NewMessage:
        return messages.NewMessage(
            post.id, "message", False, post.author, "", True, (), "", "", text, post.posted, 0, state, False, 2, sealed
        )

    def _record(self, post: Post, state: Any, sealed: str) -> None:
        self.database.do(lambda c: messages.record(c, self._new(post, state, sealed, ""), frozenset()))

    def rows(self) -> dict[str, str]:
        """What is kept of each message's seal."""
        return self.database.do(
            lambda c: {
                row.id: row.sealed
                for row in c.execute(t.message.select().with_only_columns(t.message.c.id, t.message.c.sealed))
            }
        )

    # -- sending -----------------------------------------------------------------------------------------------------
    def plan(self, *uids: str) -> Plan | Held | Unsealable:
        run(self.trust.look_at(self, self.database, uids))
        return self.database.do(lambda c: self.trust.plan(c, uids))

    def prepare(self, text: str, *uids: str, control: str = "") -> Composed:
        plan = self.plan(*uids)
        assert isinstance(plan, Plan), plan
        self.requests += 1
        head = encode_post_head(PostHead(control=control))
        recipients = tuple(m.Recipient(uid, m.TO_UID) for uid in uids)
        to_seal = ToSeal(f"{self.name} {self.requests}", recipients, head, text.encode())
        self.sent_to += [(one.device, one.key) for one in plan.targets]
        return self.database.do(lambda c: self.trust.prepare(c, to_seal, plan))

    def stream(self, composed: Composed, text: str) -> bytes:
        sealing = Sealing(composed, self.world.service.public_key)
        return sealing.push(text.encode()) + b"".join(sealing.finish())

    def send(self, text: str, *uids: str, control: str = "") -> Post:
        """A sealed message, posted and acknowledged."""
        composed = self.prepare(text, *uids, control=control)
        post = self.world.post(self, uids, composed.outer, self.stream(composed, text))
        self.database.do(lambda c: self.trust.sent(c, f"{self.name} {self.requests}", post.id))
        return post

    def see_all(self) -> None:
        """The person looks at everything that is shown, and goes on."""
        for uid in self.world.accounts:
            unseen = self.database.do(lambda c, uid=uid: self.trust.unseen(c, uid))
            if unseen is not None and unseen.head:
                assert self.database.do(lambda c, uid=uid, unseen=unseen: self.trust.seen(c, uid, unseen.head))

    # -- looking -----------------------------------------------------------------------------------------------------
    def doubts(self) -> list[str]:
        """All that this device doubts, and all that it could not read."""
        said = [doubt for one in self.read.values() if one.sealed is not None for doubt in one.sealed.doubts]
        return said + [one.why for one in self.read.values() if one.text is None]

    def trouble(self) -> dict[str, str]:
        """By account, what is wrong with what the service shows."""

        def look(c: Rows) -> dict[str, str]:
            return {uid: one.trouble for uid in self.world.accounts if (one := kept.standing(c, uid)).trouble}

        return self.database.do(look)

    def told(self) -> list[Any]:
        """The events of the local API so far."""
        events = self.database.do(lambda c: changes.since(c, "a", 0, 10_000))
        return [one.data for one in events if one.type == "keys"]

    def log(self, uid: str | None = None) -> kept.KeptLog:
        log = self.database.do(lambda c: self.trust.logs.kept(c, uid or self.account.uid))
        assert log is not None
        return log


def meet(*devices: Device) -> None:
    """Everybody looks at everybody's log, and takes what waits."""
    for device in devices:
        run(device.trust.look_at(device, device.database, device.world.accounts, anew=True))
        device.take()
