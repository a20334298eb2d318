# SPDX-License-Identifier: AGPL-3.0-or-later
"""The port of `tmtp_core.domain`, on SQLAlchemy Core.

One `SqlLedger` serves all transactions of an instance, one after the other, on the writer's thread. What
the hot path writes waits in lists and goes out at `flush`, one statement a kind; the rest goes out at
once. Accounts, names and groups are cached: whoever owns the database is its only writer.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update

from tmtp_core import limits
from tmtp_core.crypto.credentials import request_hash
from tmtp_core.crypto.log_records import LogInvalid, Record, decode_record, encode_record, replay
from tmtp_core.domain.port import (
    Account,
    Device,
    Group,
    Membership,
    MemberStatus,
    Message,
    NameOwner,
    Posted,
    Role,
    Spent,
    Status,
)
from tmtp_core.domain.quotas import appends_by
from tmtp_core.errors import StoreCorrupt
from tmtp_core.store import sqlite as hot
from tmtp_core.store import tables as t
from tmtp_core.store.consent import ConsentRows
from tmtp_core.store.given_back import GivenBackRows
from tmtp_core.store.references import References

_HIGH_WATER = "message_high_water"


class SqlLedger(ConsentRows, GivenBackRows):
    """Implements `tmtp_core.domain.port.Ledger`; `begin`, `flush`, `committed` and `rolled_back` are the writer's.

    `service_key`: the service's public key, to which all logs are bound; `report` hears of damage, as (event, fields).
    """

    def __init__(self, service_key: bytes, report: Callable[[str, dict[str, object]], None]) -> None:
        self._report = report
        self.references = References()
        self._service_key = service_key
        self._spent: dict[int, Spent] = {}
        self._connection: Connection
        self._number = 0
        self._number_stored = 0
        self._messages: list[hot.MessageRow] = []
        self._entries: list[tuple[int, int, int]] = []
        self._hidden: list[tuple[int, int, int]] = []
        self._acked: list[tuple[int, int, int]] = []
        self._remembered: list[tuple[int, int, int, int]] = []
        self._posted: dict[tuple[int, int], Posted | None] = {}
        self._hashes: dict[str, int] = {}
        self._forget_caches()

    # -- the transaction ---------------------------------------------------------------------------------------------
    def load(self, connection: Connection) -> None:
        """Read what is kept in memory: counts, payload files, the high-water mark."""
        files = connection.execute(select(t.message.c.number, t.message.c.file).where(t.message.c.file.is_not(None)))
        self.references.load(hot.count_references(connection), {row[0]: row[1] for row in files})
        stored = connection.scalar(select(t.counter.c.value).where(t.counter.c.name == _HIGH_WATER)) or 0
        newest = connection.scalar(select(func.max(t.message.c.number))) or 0
        self._number = self._number_stored = max(stored, newest)
        self.has_logs = connection.scalar(select(t.log_record.c.account).limit(1)) is not None
        self._any_taken = connection.scalar(select(t.taken.c.message).limit(1)) is not None

    def begin(self, connection: Connection) -> None:
        """Start a transaction. Caches are given up here and not in between, since a decision holds parts of them."""
        self._connection = connection
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
        for device, request, message, posted_ms in hot.find_reposted(self._connection, keys):
            self._posted[device, request] = Posted(message, posted_ms)

    def acknowledge(self, entries: Sequence[tuple[int, int, int]]) -> None:
        """Remove queue entries (device, rank, message)."""
        self._acked.extend(entries)
        self.references.drop(number for _, _, number in entries)

    def flush(self) -> None:
        """Write what waits."""
        self._flush_queue()
        if self._remembered:
            hot.insert_reposted(self._connection, self._remembered)
            self._remembered = []
        unwanted = self.references.unwanted()
        if unwanted:
            hot.delete_messages(self._connection, unwanted)
            if self._any_taken:
                hot.forget_taken(self._connection, unwanted)
        if self._number != self._number_stored:
            hot.set_counter(self._connection, _HIGH_WATER, self._number)

    def page(self, device: int, count: int) -> tuple[list[Message], bool]:
        """The first messages of a queue, at most `count` and about a window of bytes; whether these are all."""
        messages: list[Message] = []
        size = 0
        for message in hot.page(self._connection, device, count):
            messages.append(message)
            size += message.size
            if size > limits.DELIVERY_WINDOW_BYTES:
                return messages, False
        return messages, len(messages) < count

    def committed(self) -> list[str]:
        """The transaction is durable. The payload files that may go now."""
        self._number_stored = self._number
        self._posted.clear()
        self._hashes.clear()
        return self.references.committed()

    def rolled_back(self) -> None:
        """The transaction is void: forget what it did. Numbers it drew stay drawn."""
        self.references.rolled_back()
        self._messages, self._entries, self._hidden, self._acked, self._remembered = [], [], [], [], []
        self._posted.clear()
        self._hashes.clear()
        self._forget_caches()

    def forget_old_posts(self, before_ms: int) -> int:
        """Forget request ids that are old enough; how many."""
        return hot.forget_reposted(self._connection, before_ms, limits.REPOST_MEMORY_COUNT)

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
        row = self._connection.execute(select(t.account).where(t.account.c.key == key)).one_or_none()
        if row is None:
            raise StoreCorrupt(f"account {key} is named but not there")
        devices = self._connection.execute(select(t.device).where(t.device.c.account == key).order_by(t.device.c.key))
        aliases = self._connection.scalars(
            select(t.name.c.name).where(t.name.c.account == key).order_by(t.name.c.place)
        )
        account = Account(
            key,
            row.uid,
            Status(row.status),
            Role(row.role),
            [_device(device) for device in devices],
            list(aliases),
            introductions=bool(row.introductions),
        )
        self._load_log(account)
        self.load_consent(account)
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
        if status is Status.REMOVED:
            for device in list(account.devices):
                self.remove_device(account, device, "the account was removed")
            self._connection.execute(delete(t.membership).where(t.membership.c.account == account.key))
            self.drop_log(account)
            self.forget_consent(account)
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
        return device

    def remove_device(self, account: Account, device: Device, reason: str) -> None:
        """See the port."""
        self._flush_queue()
        account.devices.remove(device)
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

    def label_device(self, device: Device, label: str) -> None:
        """See the port."""
        self._connection.execute(update(t.device).where(t.device.c.key == device.key).values(label=label))
        device.label = label

    def set_prekey(self, device: Device, key: str, time_ms: int, sig: str) -> None:
        """See the port."""
        values = {"prekey": key, "prekey_ms": time_ms, "prekey_sig": sig}
        self._connection.execute(update(t.device).where(t.device.c.key == device.key).values(values))
        device.prekey = key, time_ms, sig

    def append_log(self, account: Account, record: Record) -> None:
        """See the port."""
        assert account.log is not None
        values = {"account": account.key, "place": account.log.count - 1, "record": encode_record(record)}
        self._connection.execute(insert(t.log_record).values(values))

    def drop_log(self, account: Account) -> None:
        """See the port."""
        self._connection.execute(delete(t.log_record).where(t.log_record.c.account == account.key))
        account.log, account.log_damaged = None, False

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
        return self._spent.setdefault(account.key, Spent())

    # -- names and groups --------------------------------------------------------------------------------------------
    def name(self, name: str) -> NameOwner | None:
        """See the port."""
        cached = self._names.get(name)
        if cached is not None:
            return cached
        row = self._connection.execute(
            select(t.name.c.account, t.name.c.group).where(t.name.c.name == name)
        ).one_or_none()
        if row is None:
            return None
        self._names[name] = NameOwner(name, row[0], row[1])
        return self._names[name]

    def names_like(self, skeletons: frozenset[str]) -> list[NameOwner]:
        """See the port."""
        rows = self._connection.execute(
            select(t.name.c.name, t.name.c.account, t.name.c.group)
            .join(t.look_alike, t.look_alike.c.name == t.name.c.name)
            .where(t.look_alike.c.skeleton.in_(skeletons))
        )
        return [NameOwner(*row) for row in rows]

    def take_alias(self, account: Account, alias: str, skeletons: frozenset[str]) -> None:
        """See the port."""
        self._take_name(alias, skeletons, account=account.key, place=len(account.aliases))
        account.aliases.append(alias)

    def group(self, gid: str) -> Group | None:
        """See the port."""
        cached = self._groups.get(gid)
        if cached is not None:
            return cached
        found = self._connection.execute(
            select(t.group.c.key, t.group.c.owner).where(t.group.c.gid == gid)
        ).one_or_none()
        if found is None:
            return None
        key, owner = found
        m = t.membership.c
        rows = self._connection.execute(select(m.account, m.alias, m.status, m.since_ms).where(m.group == key))
        members = {row[0]: Membership(row[0], row[1], MemberStatus(row[2]), row[3]) for row in rows}
        group = Group(key, gid, members, owner)
        self._cache_group(group)
        return group

    def create_group(self, gid: str, skeletons: frozenset[str], owner: int) -> Group:
        """See the port."""
        group = Group(self._insert(t.group, {"gid": gid, "owner": owner}), gid, owner=owner)
        self._take_name(gid, skeletons, group=group.key, place=0)
        self._cache_group(group)
        return group

    def set_owner(self, group: Group, owner: int) -> None:
        """See the port."""
        self._connection.execute(update(t.group).where(t.group.c.key == group.key).values(owner=owner))
        group.owner = owner

    def share_group(self, one: Account, other: Account) -> bool:
        """See the port."""
        mine, theirs = t.membership.alias("mine"), t.membership.alias("theirs")
        both = (mine.c.account == one.key) & (theirs.c.account == other.key)
        joined = (mine.c.status == MemberStatus.JOINED) & (theirs.c.status == MemberStatus.JOINED)
        shared = select(mine.c.group).join(theirs, mine.c.group == theirs.c.group).where(both & joined)
        return self._connection.scalar(shared.limit(1)) is not None

    def owned_by(self, account: Account) -> list[Group]:
        """See the port."""
        gids = self._connection.scalars(select(t.group.c.gid).where(t.group.c.owner == account.key)).all()
        return [group for gid in gids if (group := self.group(gid)) is not None]

    def aliases_from(self, text: str, count: int) -> Sequence[str]:
        """See the port."""
        found = (
            select(t.name.c.name)
            .join(t.account, t.account.c.key == t.name.c.account)
            .where((t.account.c.status == Status.ACTIVE) & (t.account.c.role == Role.MEMBER))
            .where(t.name.c.name.istartswith(text, autoescape=True))
            .order_by(t.name.c.name)
            .limit(count)
        )
        return list(self._connection.scalars(found))

    def set_membership(self, group: Group, place: Membership) -> None:
        """See the port."""
        m = t.membership.c
        values = {"alias": place.alias, "status": place.status, "since_ms": place.since_ms}
        if place.account in group.members:
            where = (m.group == group.key) & (m.account == place.account)
            self._connection.execute(update(t.membership).where(where).values(values))
        else:
            self._connection.execute(insert(t.membership).values(group=group.key, account=place.account, **values))
        group.members[place.account] = place

    # -- messages ----------------------------------------------------------------------------------------------------
    def next_number(self, now_ns: int) -> int:
        """See the port."""
        self._number = max(self._number + 1, now_ns)
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
        self._messages.append((*row, message.sender, message.known_as))
        self._entries.extend(entries)
        self._hidden.extend(unseen)
        self.references.add(number, len(entries) + len(unseen), body.file)

    def copy_queue(self, sources: Iterable[int], target: int) -> None:
        """See the port."""
        self._flush_queue()
        for number in hot.copy_queue(self._connection, list(sources), target):
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
        self._remembered.append((*row, posted.number, posted.time_ms))

    # -- for the service's administration ----------------------------------------------------------------------------
    def account_keys(self) -> list[int]:
        """Keys of all accounts that were not removed, oldest first."""
        a = t.account.c
        return list(self._connection.scalars(select(a.key).where(a.status != Status.REMOVED).order_by(a.key)))

    def queued_for(self, account: Account) -> int:
        """How many deliveries wait for an account's devices."""
        self._flush_queue()
        keys = [device.key for device in account.devices]
        return self._connection.scalar(select(func.count()).where(t.queue.c.device.in_(keys))) or 0

    def waiting_for(self, device: Device) -> int:
        """How many deliveries wait for a device."""
        self._flush_queue()
        return self._connection.scalar(select(func.count()).where(t.queue.c.device == device.key)) or 0

    def counter(self, name: str) -> int | None:
        """A named number of the instance."""
        return self._connection.scalar(select(t.counter.c.value).where(t.counter.c.name == name))

    def set_counter(self, name: str, value: int) -> None:
        """Store a named number of the instance."""
        hot.set_counter(self._connection, name, value)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _hash(self, key: str) -> int:
        """Of a repetition key, which is asked for several times in one transaction."""
        known = self._hashes.get(key)
        if known is None:
            known = self._hashes[key] = request_hash(key)
        return known

    def _flush_queue(self) -> None:
        """Write new messages and queue entries, and remove acknowledged entries."""
        if self._messages:
            hot.insert_messages(self._connection, self._messages)
            hot.insert_queue(self._connection, self._entries)
            if self._hidden:
                hot.insert_hidden(self._connection, self._hidden)
            self._messages, self._entries, self._hidden = [], [], []
        if self._acked:
            removed = hot.delete_queue(self._connection, self._acked)
            if removed != len(self._acked):  # an entry was gone already: count again, never delete on a guess
                self._recount({number for _, _, number in self._acked})
            self._acked = []

    def _log_rows(self, account: int, since: int, count: int | None) -> Sequence[bytes]:
        r = t.log_record.c
        where = (r.account == account) & (r.place >= since)
        return self._connection.scalars(select(r.record).where(where).order_by(r.place).limit(count)).all()

    def _load_log(self, account: Account) -> None:
        """The log of an account, or that it holds what this service did not put there (D5)."""
        records = self._log_rows(account.key, 0, None)
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

    def _recount(self, numbers: set[int]) -> None:
        counted = hot.count_entries(self._connection, list(numbers))
        for number in numbers:
            self.references.set(number, counted.get(number, 0))

    def _take_name(self, name: str, skeletons: frozenset[str], **owner: int) -> None:
        self._connection.execute(insert(t.name).values(name=name, **owner))
        rows = [{"skeleton": skeleton, "name": name} for skeleton in skeletons]
        self._connection.execute(insert(t.look_alike), rows)

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

    def _cache_group(self, group: Group) -> None:
        self._groups[group.gid] = group

    def _forget_caches(self) -> None:
        self._accounts: dict[int, Account] = {}
        self._key_of_uid: dict[str, int] = {}
        self._names: dict[str, NameOwner] = {}
        self._groups: dict[str, Group] = {}
        self._routed: frozenset[str] | None = None


def _device(row: Row[Any]) -> Device:
    prekey = (row.prekey, row.prekey_ms, row.prekey_sig) if row.prekey_ms is not None else None
    return Device(row.key, row.credential, row.public, row.box, row.label, prekey, row.created_ms)
