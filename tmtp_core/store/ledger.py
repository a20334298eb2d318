# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port of `tmtp_core.domain`, on SQLAlchemy Core.

One `SqlLedger` serves all transactions of an instance, one after the other, on the writer's thread. What
the hot path writes waits in lists and goes out at `flush`, one statement a kind; the rest goes out at
once. Accounts, names and groups are cached. Where several processes share the database, each transaction begins with
giving up what others have changed (`tmtp_core.store.sharing`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from tmtp_core import limits
from tmtp_core.crypto.credentials import request_hash
from tmtp_core.crypto.log_records import LogInvalid, Record, decode_record, encode_record, replay
from tmtp_core.domain.port import (
    Account,
    Device,
    Group,
    Message,
    NameOwner,
    Posted,
    Role,
    Spent,
    Status,
)
from tmtp_core.domain.quotas import appends_by
from tmtp_core.errors import StoreCorrupt
from tmtp_core.store import tables as t
from tmtp_core.store.consent import ConsentRows, now_admits
from tmtp_core.store.database import Store
from tmtp_core.store.given_back import GivenBackRows
from tmtp_core.store.inventory import linked_elsewhere
from tmtp_core.store.named import NamedRows
from tmtp_core.store.persons import PersonRows
from tmtp_core.store.reading import reading
from tmtp_core.store.received import Received
from tmtp_core.store.reports import ReportRows
from tmtp_core.store.sharing import SLOTS_MAX, Changed, NotAlone, Sharing
from tmtp_core.store.statements import Entry, Written

_HIGH_WATER = "message_high_water"


class SqlLedger(NamedRows, ConsentRows, GivenBackRows, PersonRows, ReportRows):
    """Implements `tmtp_core.domain.port.Ledger`; `begin`, `flush`, `committed` and `rolled_back` are the writer's.

    `service_key`: the service's public key, to which all logs are bound; `report` hears of damage, as (event, fields).
    """

    def __init__(self, store: Store, service_key: bytes, report: Callable[[str, dict[str, object]], None]) -> None:
        self._report = report
        self._hot = store.statements
        self.references = store.references
        self._sharing = store.sharing
        self._service_key = service_key
        self.posts = 0  # committed since the start; pings and invitations to groups among them
        self.cuts: dict[int, str] = {}  # devices whose links end here, as other processes have decided
        self._spent: dict[int, Spent] = {}
        self._spent_before: dict[int, Spent] = {}  # this transaction, which may be tried again
        self._connection: Connection
        self._number = 0
        self._number_stored = 0
        self._written = Written()
        self._new_posts = 0
        self._acked: list[Entry] = []
        self._admitted: list[tuple[int, int, int]] = []
        self._posted: dict[tuple[int, int], Posted | None] = {}
        self._hashes: dict[str, int] = {}
        self.received = Received()
        self._forget_caches()

    # -- the transaction ---------------------------------------------------------------------------------------------
    def load(self, connection: Connection) -> None:
        """Read what is kept in memory: counts, payload files, the high-water mark."""
        self.references.load(connection)
        newest = connection.scalar(select(func.max(t.message.c.number))) or 0
        self._number = self._number_stored = max(self._highest(connection), newest)
        self.has_logs = connection.scalar(select(t.log_record.c.account).limit(1)) is not None
        self._any_taken = connection.scalar(select(t.taken.c.message).limit(1)) is not None
        self.received.load(connection)
        if self._sharing is not None:
            self._sharing.load(connection)

    def begin(self, connection: Connection, *, alone: bool = True) -> None:
        """Start a transaction. Caches are given up here and not in between, since a decision holds parts of them.

        Not `alone`, a decision that changes accounts, names or groups raises `NotAlone`.
        """
        self._connection = connection if alone else reading(connection)
        self._writing = connection
        self._spent_before.clear()
        self.references.begin()
        if self._sharing is not None:
            self._hear(self._sharing, connection)
            if alone:  # who enters here may have posted elsewhere: its numbers go on from there
                self._number = max(self._number, self._highest(connection))
        accounts = max(len(self._accounts), len(self._names))
        if accounts > limits.CACHED_ACCOUNTS_MAX or len(self._groups) > limits.CACHED_GROUPS_MAX:
            self._forget_caches()
        if len(self._spent) > limits.CACHED_ACCOUNTS_MAX:
            self._spent.clear()

    def prefetch_posted(self, requests: Sequence[tuple[int, str]]) -> None:
        """Look up at once which of these (device, repetition key) were answered before."""
        if not requests:
            return
        keys = [(device, self._hash(key)) for device, key in requests]
        self._posted.update(dict.fromkeys(keys))
        for device, request, message, posted_ms in self._hot.find_reposted(self._writing, keys):
            self._posted[device, request] = Posted(message, posted_ms)

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Remove queue entries (device, rank, message)."""
        self._acked.extend(entries)
        self.references.drop(number for _, _, number in entries)

    def flush(self) -> None:
        """Write what waits."""
        self.flush_admitted()
        if self._number != self._number_stored:
            self._written.counter = self._high_water, self._number
        self._flush_queue()
        unwanted = self.references.settle(self._writing)
        if unwanted and self._any_taken:
            self._hot.forget_taken(self._writing, unwanted)
        if self._sharing is not None:
            self._sharing.flush(self._writing)

    def pages(self, wanted: Sequence[tuple[int, int]]) -> list[tuple[list[Message], bool]]:
        """For each (device, count) the first messages of its queue, and whether these are all.

        At most `count`, and about a window of bytes.
        """
        if not wanted:
            return []
        pages = self._hot.pages(self._writing, wanted)
        return [_page(messages, count) for messages, (_, count) in zip(pages, wanted, strict=True)]

    def committed(self) -> list[str]:
        """The transaction is durable. The payload files that may go now."""
        self._number_stored = self._number
        self.posts += self._new_posts
        self._new_posts = 0
        self._posted.clear()
        self._hashes.clear()
        self.received.committed()
        if self._sharing is not None:
            self._sharing.committed()
        return self.references.committed()

    def rolled_back(self) -> None:
        """The transaction is void: forget what it did. Numbers it drew stay drawn."""
        self._spent_before.clear()  # what was tried counts
        self.withdrawn()
        self._forget_caches()

    def withdrawn(self) -> None:
        """The transaction is void and has changed nothing that is cached: it is tried again, alone."""
        self._spent.update(self._spent_before)
        self.references.rolled_back()
        if self._sharing is not None:
            self._sharing.rolled_back()
        self.received.void()
        self._written, self._acked, self._admitted = Written(), [], []
        self._new_posts = 0
        self._posted.clear()
        self._hashes.clear()

    def forget_old_posts(self, before_ms: int, after: int = 0) -> int | None:
        """Forget old request ids, of some devices behind `after`; the last of these, None at the end."""
        if self._sharing is not None and not after:
            self._sharing.forget_old(self._connection)
        return self._hot.forget_reposted(self._connection, before_ms, limits.REPOST_MEMORY_COUNT, after)

    def recognise(self, connection: Connection, keys: Mapping[str, bytes]) -> str | None:
        """The name of a key that is not the one with which this database was first served; None where all are."""
        for name, key in keys.items():
            mark = int.from_bytes(blake2b(key, digest_size=8, person=b"tmtp-key-mark").digest(), signed=True)
            known = connection.scalar(select(t.counter.c.value).where(t.counter.c.name == f"mark:{name}"))
            if known is None:
                connection.execute(insert(t.counter).values(name=f"mark:{name}", value=mark))
            elif known != mark:
                return name
        return None

    # -- beside other processes --------------------------------------------------------------------------------------
    def note_cuts(self, cuts: Mapping[int, str]) -> None:
        """The links of these devices end, with these texts, wherever they are."""
        if self._sharing is not None:
            for device, words in cuts.items():
                self._sharing.note(Changed.CUT, device, words)

    def claim(self, device: int) -> int | None:
        """This process has the device's link from now on; or the slot of the living process that has it already."""
        return self._sharing.claim(self._connection, device) if self._sharing is not None else None

    def release(self, device: int) -> None:
        """This process has the device's link no more."""
        if self._sharing is not None:
            self._sharing.release(self._connection, device)

    def disown(self, device: int) -> None:
        """If this process does not have the device's link, the database is not to say that it has."""
        if self._sharing is not None:
            self._sharing.disown(self._connection, device)

    def linked_elsewhere(self) -> frozenset[int]:
        """Devices whose links other processes have."""
        return self._sharing.linked_elsewhere(self._connection) if self._sharing is not None else frozenset()

    def bury_the_dead(self) -> list[int]:
        """Processes that are not heard of any more lose their devices; their slots."""
        if self._sharing is None:
            return []
        slots = self._sharing.dead(self._connection)
        self._sharing.bury(self._connection, slots)
        return slots

    def count_messages(self) -> None:
        """Where only the database knows how many messages wait, ask it; about, when they are many."""
        self.references.look(lambda: self._hot.count_messages(self._writing))

    # -- accounts ----------------------------------------------------------------------------------------------------
    def account(self, uid: str) -> Account | None:
        """See the port."""
        key = self._key_of_uid.get(uid)
        if key is None:
            key = self._connection.scalar(select(t.account.c.key).where(t.account.c.uid == uid))
            if key is None:
                return None
            self._key_of_uid[uid] = key
        return self.account_by_key(key)

    def account_by_key(self, key: int) -> Account:
        """See the port."""
        cached = self._accounts.get(key)
        if cached is not None:
            return cached
        self.flush_admitted()
        rows = self._hot.account(self._writing, key)
        if rows is None:
            raise StoreCorrupt(f"account {key} is named but not there")
        account = Account(
            key,
            rows.uid,
            Status(rows.status),
            Role(rows.role),
            rows.devices,
            rows.aliases,
            blocked=set(rows.blocked),
            introductions=bool(rows.introductions),
        )
        for other, introducer in rows.admits:
            now_admits(account, other, introducer)
        self._load_log(account, rows.log)
        self._cache_account(account)
        return account

    def create_account(self, uid: str, role: Role, now_ms: int) -> Account:
        """See the port."""
        values = {"uid": uid, "status": Status.ACTIVE, "role": role, "created_ms": now_ms}
        account = Account(self._insert(t.account, values), uid, Status.ACTIVE, role)
        self._cache_account(account)
        return account

    def set_status(self, account: Account, status: Status) -> None:
        """See the port."""
        self._connection.execute(update(t.account).where(t.account.c.key == account.key).values(status=status))
        account.status = status
        self._changes(account)
        self.set_signed_out(account, 0)
        if status is Status.REMOVED:
            self._note(Changed.EVERYTHING)
            for device in list(account.devices):
                self.remove_device(account, device, "the account was removed")
            self._connection.execute(delete(t.membership).where(t.membership.c.account == account.key))
            self.drop_log(account)
            self.forget_identity(account)
            self.forget_consent(account)
            self.forget_reports(account)
            self._connection.execute(delete(t.received).where(t.received.c.account == account.key))
            self._forget_caches()

    def add_device(
        self,
        account: Account,
        credential: bytes,
        now_ms: int,
        *,
        public: str | None = None,
        box: str = "",
        label: str = "",
    ) -> Device:
        """See the port."""
        values = {"credential": credential, "public": public, "box": box, "label": label, "created_ms": now_ms}
        key = self._insert(t.device, {"account": account.key, **values})
        device = Device(key, credential, public, box, label, None, now_ms)
        account.devices.append(device)
        self._changes(account)
        return device

    def remove_device(self, account: Account, device: Device, reason: str) -> None:
        """See the port."""
        self._flush_queue()
        account.devices.remove(device)
        self._changes(account)
        if account.devices:
            self.note_taken(account, device)
            self._forget_queue(device)
        elif self.waiting_for(device):
            row = {"device": device.key, "account": account.key, "reason": reason}
            self._connection.execute(insert(t.orphaned).values(row))
        self._connection.execute(delete(t.reposted).where(t.reposted.c.device == device.key))
        self.forget_meter(account, appends_by(device.key))
        self._connection.execute(delete(t.device).where(t.device.c.key == device.key))

    def device_named(self, public: str) -> tuple[Account, Device] | None:
        """See the port."""
        found = self._connection.execute(
            select(t.device.c.account, t.device.c.key).where(t.device.c.public == public)
        ).first()
        if found is None:
            return None
        account = self.account_by_key(found[0])
        device = account.device(found[1])
        assert device is not None
        return account, device

    def device_gets_key(self, device: Device, public: str, box: str) -> None:
        """See the port."""
        values = {"public": public, "box": box, "credential": b""}
        self._connection.execute(update(t.device).where(t.device.c.key == device.key).values(values))
        device.public, device.box, device.credential = public, box, b""
        self._device_changes(device)

    def label_device(self, device: Device, label: str) -> None:
        """See the port."""
        self._connection.execute(update(t.device).where(t.device.c.key == device.key).values(label=label))
        device.label = label
        self._device_changes(device)

    def set_prekey(self, device: Device, key: str, time_ms: int, sig: str) -> None:
        """See the port."""
        values = {"prekey": key, "prekey_ms": time_ms, "prekey_sig": sig}
        self._connection.execute(update(t.device).where(t.device.c.key == device.key).values(values))
        device.prekey = key, time_ms, sig
        self._device_changes(device)

    def append_log(self, account: Account, record: Record) -> None:
        """See the port."""
        assert account.log is not None
        values = {"account": account.key, "place": account.log.count - 1, "record": encode_record(record)}
        self._connection.execute(insert(t.log_record).values(values))
        self._changes(account)

    def drop_log(self, account: Account) -> None:
        """See the port."""
        self._connection.execute(delete(t.log_record).where(t.log_record.c.account == account.key))
        account.log, account.log_damaged = None, False
        self._changes(account)

    def log_records(self, account: Account, since: int, size_max: int) -> tuple[list[bytes], bool]:
        """See the port."""
        rows: list[bytes] = []
        size = 0
        for record in self._log_rows(account.key, since, limits.LOG_PAGE_RECORDS_MAX + 1):
            size += len(record)
            if size > size_max or len(rows) == limits.LOG_PAGE_RECORDS_MAX:
                return rows, True
            rows.append(record)
        return rows, False

    def spent(self, account: Account) -> Spent:
        """See the port."""
        spent = self._spent.setdefault(account.key, Spent())
        if self._connection is not self._writing and account.key not in self._spent_before:
            self._spent_before[account.key] = replace(spent)
        return spent

    # -- messages ----------------------------------------------------------------------------------------------------
    def next_number(self, now_ns: int) -> int:
        """See the port."""
        if self._sharing is None:
            self._number = max(self._number + 1, now_ns)
        else:  # of all numbers those that are this process's
            step = max(self._number // SLOTS_MAX + 1, now_ns // SLOTS_MAX)
            self._number = step * SLOTS_MAX + self._sharing.slot
        return self._number

    def enqueue(self, message: Message, devices: Iterable[int], hidden: Iterable[int] = ()) -> None:
        """See the port."""
        rank, number = int(message.rank), message.number
        entries = [(device, rank, number) for device in devices]
        unseen = [(device, rank, number) for device in hidden]
        if not entries and not unseen:
            return
        body = message.body
        inline = body.inline if body.file is None else None
        row = (message.number, message.head, body.size, inline, body.file, message.head2 or None)
        self._written.messages.append((*row, message.sender, message.known_as))
        self._written.entries.extend(entries)
        self._written.hidden.extend(unseen)
        self.references.add(number, len(entries) + len(unseen), body.file)

    def copy_queue(self, sources: Iterable[int], target: int) -> None:
        """See the port."""
        self._flush_queue()
        for number in self._hot.copy_queue(self._writing, list(sources), target):
            self.references.add(number, 1)

    def posted_before(self, device: int, key: str) -> Posted | None:
        """See the port."""
        row = (device, self._hash(key))
        if row not in self._posted:
            self.prefetch_posted([(device, key)])
        return self._posted[row]

    def remember_post(self, device: int, key: str, posted: Posted) -> None:
        """See the port."""
        row = (device, self._hash(key))
        self._posted[row] = posted
        self._written.requests.append((*row, posted.number, posted.time_ms))

    # -- for the service's administration ----------------------------------------------------------------------------
    def created_ms(self, account: Account) -> int:
        """When an account was made, in ms since 1970."""
        a = t.account.c
        return int(self._connection.execute(select(a.created_ms).where(a.key == account.key)).scalar_one())

    def linked_elsewhere_of(self, account: Account) -> frozenset[int]:
        """Devices of an account whose links other processes have."""
        return linked_elsewhere(self._connection, [device.key for device in account.devices])

    def queued_for(self, account: Account) -> int:
        """How many deliveries wait for an account's devices."""
        self._flush_queue()
        keys = [device.key for device in account.devices]
        return self._connection.scalar(select(func.count()).where(t.queue.c.device.in_(keys))) or 0

    def waiting_for(self, device: Device) -> int:
        """How many deliveries wait for a device."""
        self._flush_queue()
        return self._connection.scalar(select(func.count()).where(t.queue.c.device == device.key)) or 0

    def write_received(self) -> None:
        """Store what members have received since this was done last (C5)."""
        self.received.write(self._connection)

    def forget_received(self, now_ms: int) -> None:
        """Forget what members received too long ago."""
        self.received.forget(self._connection, now_ms)

    def counter(self, name: str) -> int | None:
        """A named number of the instance."""
        return self._connection.scalar(select(t.counter.c.value).where(t.counter.c.name == name))

    def set_counter(self, name: str, value: int) -> None:
        """Store a named number of the instance."""
        self._hot.set_counter(self._connection, name, value)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _hash(self, key: str) -> int:
        """Of a repetition key, which is asked for several times in one transaction."""
        known = self._hashes.get(key)
        if known is None:
            known = self._hashes[key] = request_hash(key)
        return known

    def _flush_queue(self) -> None:
        """Write new messages and queue entries, and remove acknowledged entries."""
        written = self._written
        if written.messages or written.requests or written.counter is not None:
            self._hot.write(self._writing, written)
            self._new_posts += len(written.requests)
            self._written = Written()
        if self._acked:
            removed = self._hot.delete_queue(self._writing, self._acked)
            if removed != len(self._acked):  # an entry was gone already: count again, never delete on a guess
                self.references.recount(self._writing, list({number for _, _, number in self._acked}))
            self._acked = []

    @property
    def _high_water(self) -> str:
        """Under which name this process's highest number is kept: one row for all would be waited for by all."""
        return _HIGH_WATER if self._sharing is None else f"{_HIGH_WATER}:{self._sharing.slot}"

    def _highest(self, connection: Connection) -> int:
        c = t.counter.c
        return connection.scalar(select(func.max(c.value)).where(c.name.startswith(_HIGH_WATER))) or 0

    def _hear(self, sharing: Sharing, connection: Connection) -> None:
        """Give up what others have changed."""
        news = sharing.refresh(connection)
        self.cuts.update(news.cuts)
        if news.everything:
            self._forget_caches()
            self._any_taken = True
            self.received.load(connection)
            return
        for key, words in news.admitted:
            account = self._accounts.get(key)
            if account is not None:
                self.heard_admitted(account, words)
        for key in news.accounts:
            self._accounts.pop(key, None)
        if news.groups:
            self._groups = {gid: group for gid, group in self._groups.items() if group.key not in news.groups}

    def _note(self, what: Changed, key: int = 0, words: str = "") -> None:
        if self._sharing is not None:
            self._sharing.note(what, key, words)

    def _needs_to_be_alone(self) -> None:
        if self._connection is not self._writing:
            raise NotAlone

    def _changes(self, account: Account) -> None:
        """Others may have it in their caches."""
        self._note(Changed.ACCOUNT, account.key)

    def _device_changes(self, device: Device) -> None:
        if self._sharing is not None:
            key = self._connection.scalar(select(t.device.c.account).where(t.device.c.key == device.key))
            self._note(Changed.ACCOUNT, key or 0)

    def _log_rows(self, account: int, since: int, count: int | None) -> Sequence[bytes]:
        r = t.log_record.c
        where = (r.account == account) & (r.place >= since)
        return self._connection.scalars(select(r.record).where(where).order_by(r.place).limit(count)).all()

    def _load_log(self, account: Account, records: Sequence[bytes]) -> None:
        """The log of an account, or that it holds what this service did not put there (D5)."""
        if not records:
            if any(device.public is not None for device in account.devices):
                self._log_is_damaged(account, "the account has keys, and no log")
            return
        try:
            log = replay(map(decode_record, records), uid=account.uid, service_key=self._service_key)
        except LogInvalid as invalid:
            self._log_is_damaged(account, str(invalid))
            return
        if {device.public for device in account.devices} == {device.key for device in log.unrevoked()}:
            account.log = log
        else:
            self._log_is_damaged(account, "the account has other devices than its log")

    def _log_is_damaged(self, account: Account, why: str) -> None:
        account.log_damaged = True
        self._report("account_log_damaged", {"uid": account.uid, "error": why})

    def _forget_queue(self, device: Device) -> None:
        q = t.queue.c
        waiting = self._connection.execute(select(q.device, q.rank, q.message).where(q.device == device.key))
        self.acknowledge([(row[0], row[1], row[2]) for row in waiting])
        self._flush_queue()

    def _insert(self, table: Table, values: dict[str, object]) -> int:
        """Insert one row; its new key."""
        key = self._connection.execute(insert(table).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def _cache_account(self, account: Account) -> None:
        self._accounts[account.key] = account
        self._key_of_uid[account.uid] = account.key

    def _forget_caches(self) -> None:
        self._accounts: dict[int, Account] = {}
        self._key_of_uid: dict[str, int] = {}
        self._names: dict[str, NameOwner] = {}
        self._groups: dict[str, Group] = {}
        self._routed: frozenset[str] | None = None


def _page(messages: Iterator[Message], count: int) -> tuple[list[Message], bool]:
    page: list[Message] = []
    size = 0
    for message in messages:
        page.append(message)
        size += message.size
        if size > limits.DELIVERY_WINDOW_BYTES:
            return page, False
    return page, len(page) < count
