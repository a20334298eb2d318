# SPDX-License-Identifier: AGPL-3.0-or-later
"""A plain history of the first clients becomes an encrypted account, once; then the plain one is removed (B8).

Attachments are encrypted first, one by one, each remembered in `staged` once it is on the disk. Then one transaction
takes everything else: it was either taken over, or it was not. Then the plain database has another name, under which it
goes last, because it is what says that there is something to do. Whatever cuts this off, the next call goes on.
"""

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection as Rows
from sqlalchemy import delete, insert, select

from tmtp_client import limits
from tmtp_client.api.models import PersonStands, Reader
from tmtp_client.connection import AccountKeys, DeviceKeys
from tmtp_client.store import changes, groups, messages, outbox, people, threads
from tmtp_client.store import identity as identities
from tmtp_client.store.database import Database
from tmtp_client.store.identity import Identity
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.store.tables import staged
from tmtp_client.trust.logs import Logs, keep, standing
from tmtp_client.vault.disk import destroy, sync_folder
from tmtp_client.vault.files import Files, StoredFile
from tmtp_client.vault.vault import AccountVault, Vault, VaultDamaged
from tmtp_core.crypto.log_records import LogInvalid, decode_record
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.messages import TO_GROUP, TO_UID
from tmtp_core.wire.payload import Subscriber

FILE: Final = "history.sqlite3"
_TAKEN: Final = "history.sqlite3.taken"  # everything in it is in the account
_BY_SMTP: Final = " (by SMTP)"  # how the first clients marked names, in the name itself
_UNVERIFIED: Final = " (unverified)"
_NOT_YET: Final = "."  # the date of a `cc` entry before the service has dated its post
_STAGED_AS: Final = "taken over: "
_STEM_MAX: Final = 58  # characters of a name that a number is put behind
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class AnotherAccount(ValueError):
    """Of this name there is an account already, and it is not the one of the plain history."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What was taken over. `missing`: files that the old history names and that are not on this device any more."""

    messages: int
    files: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Into:
    """The account that it becomes: its name in the vault, which is open, its keys, and its open database."""

    name: str
    vault: Vault
    account: AccountVault
    database: Database
    now_ms: Callable[[], int]
    random_bytes: RandomBytes


def old_profiles(home: Path) -> list[str]:
    """The names of plain histories in a home, also of those that are only to be removed."""
    if not home.is_dir():
        return []
    folders = (path for path in home.iterdir() if _NAME.fullmatch(path.name))
    return sorted(path.name for path in folders if (path / FILE).is_file() or (path / _TAKEN).is_file())


async def take_over_home(vault: Vault, now_ms: Callable[[], int], random_bytes: RandomBytes) -> dict[str, str]:
    """Every plain history in the home of an open vault becomes an account of its name, or of one like it where that is
    somebody else's. What was left as it was, and why, by its name.
    """
    left = {}
    for name in await asyncio.to_thread(old_profiles, vault.home):
        try:
            await _into_account(name, vault, now_ms, random_bytes)
        except (OSError, ValueError, VaultDamaged) as error:
            left[name] = str(error)
    return left


async def _into_account(name: str, vault: Vault, now_ms: Callable[[], int], random_bytes: RandomBytes) -> None:
    for number in itertools.count(1):
        called = name if number == 1 else f"{name[:_STEM_MAX]}-{number}"
        account = await asyncio.to_thread(vault.account, called, make=True)
        database = Database(account.folder, account.database_key)
        await database.open()
        try:
            await take_over(vault.home / name, Into(called, vault, account, database, now_ms, random_bytes))
        except AnotherAccount:
            continue
        finally:
            await database.close()
        return


async def take_over(old: Path, into: Into) -> TakenOver:
    """Take the plain history of the folder `old`, and remove it.

    Raises `OSError`, also where another process uses it; ValueError where it cannot be read, and `AnotherAccount`: then
    nothing was removed.
    """
    with _locked(old / "engine.lock"):
        if (old / _TAKEN).is_file():
            await asyncio.to_thread(_remove, old)
            return TakenOver(0, 0, ())
        history = await asyncio.to_thread(_opened, old / FILE)
        with closing(history):
            taken = await _taken(old, history, into)
            seeds = [bytes(row["recovery_seed"]) for row in _all(history, "pending") if row["recovery_seed"]]
        for seed in seeds:  # its sheet was not shown yet
            await asyncio.to_thread(into.vault.add_recovery, seed, into.name)
        await asyncio.to_thread(_remove, old)
    return taken


# -- taking ----------------------------------------------------------------------------------------------------------
async def _taken(old: Path, history: sqlite3.Connection, into: Into) -> TakenOver:
    identity = _identity(history)
    if identity is None and not list(_all(history, "pending")):
        return TakenOver(0, 0, ())  # nobody ever joined there
    here = await into.database.read(identities.get)
    if here is not None and (identity is None or here.uid != identity.uid):
        raise AnotherAccount(f"the account {into.name} is another one than that of {old}")
    if here is not None:
        return TakenOver(0, 0, ())  # it was cut off before the plain files were removed
    files = await _files(old, history, into)
    return await into.database.write(lambda c: _Taking(c, history, into, identity, files).all())


async def _files(old: Path, history: sqlite3.Connection, into: Into) -> dict[str, StoredFile]:
    """Every attachment, encrypted, by what `staged` calls it; those that an earlier try had are not read again."""
    mine = select(staged).where(staged.c.name.startswith(_STAGED_AS))
    known = {
        row.name: StoredFile(row.file, row.size, row.hash)
        for row in await into.database.read(lambda c: c.execute(mine).all())
    }
    for name, path in _paths(old, history):
        if name in known:
            continue
        stored = await asyncio.to_thread(_encrypted, path, into.account.files)
        if stored is not None:
            row = {"file": stored.file, "name": name, "size": stored.size, "hash": stored.hash, "at_ms": into.now_ms()}
            await into.database.write(lambda c, row=row: c.execute(insert(staged), row))  # type: ignore[misc]
            known[name] = stored
    return known


def _paths(old: Path, history: sqlite3.Connection) -> Iterator[tuple[str, Path]]:
    """What is attached to messages, and to what waits to be sent."""
    for row in _all(history, "attachment"):
        path = Path(row["path"])
        here = old / "attachments" / path.name  # a profile may have been moved
        yield _of_message(row["message"], row["place"]), path if path.exists() or not here.exists() else here
    for row in _all(history, "outbox"):
        for place, text in enumerate(_lines(row["files"])):
            yield _of_waiting(row["request_id"], place), Path(text)


def _encrypted(path: Path, files: Files) -> StoredFile | None:
    """A copy in the vault; None where there is no such file any more."""
    try:
        if not path.is_file():  # a pipe would be waited for, for ever
            return None
        source = path.open("rb")
    except FileNotFoundError:
        return None
    with source, files.writer() as writer:
        while piece := source.read(limits.READ_CHUNK_BYTES):
            writer.write(piece)
        return writer.finish()


@dataclass
class _Taking:
    """One transaction: everything that the old database has."""

    c: Rows
    history: sqlite3.Connection
    into: Into
    identity: Identity | None
    files: dict[str, StoredFile]
    missing: list[str] = field(default_factory=list)
    talked: set[str] = field(default_factory=set)  # uids that wrote, or were written to
    pinged_us: set[str] = field(default_factory=set)
    pinged: set[str] = field(default_factory=set)
    readers: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def all(self) -> TakenOver:
        for row in _all(self.history, "pending"):
            keys = AccountKeys(DeviceKeys(row["seed"], row["box_key"]), row["recovery_seed"])
            identities.put_pending(self.c, row["service_key"], keys)
        identity = self.identity
        if identity is None:  # a join that was cut off: nothing else can be here
            return TakenOver(0, 0, ())
        now_ms = self.into.now_ms()
        people.learn(self.c, identity.uid, identity.alias, "self", now_ms)
        for row in _all(self.history, "contact"):
            if row["uid"] != identity.uid:
                people.learn(self.c, row["uid"], row["alias"], "ping", now_ms)
        count = sum(self._message(identity, row) for row in _all(self.history, "message", "id"))
        for thread_id, readers in self.readers.items():
            read_by = [Reader(identity.uid, identity.alias), *(Reader(uid, name) for uid, name in readers.items())]
            threads.add_readers(self.c, thread_id, read_by, "")
        self._standing()
        for row in _all(self.history, "outbox", '"order"'):
            self._waiting(identity, row, now_ms)
        self._log(identity)
        self.c.execute(delete(staged).where(staged.c.name.startswith(_STAGED_AS)))
        changes.trim(self.c)
        identities.put(self.c, identity)
        return TakenOver(count, len(self.files), tuple(self.missing))

    def _message(self, identity: Identity, row: sqlite3.Row) -> bool:
        outgoing, kind = bool(row["outgoing"]), row["kind"]
        alias, by_smtp, verified = _who(row["alias"])
        self._learn(identity, row, alias, by_smtp=by_smtp)
        if kind == "message":
            peer = {row["peer"]: alias} if row["peer"] != identity.uid else {}
            self.readers[row["thread"] or row["id"]].update(peer)
        to: tuple[tuple[str, int], ...] = ()
        if kind == "invitation":
            to = ((row["subject"], TO_GROUP),)
            if not outgoing:
                groups.put(self.c, row["subject"], "invited", identity.alias, row["peer"], self.into.now_ms())
        elif outgoing and self._uid(identity, row):
            to = ((self._uid(identity, row), TO_UID),)
        new = NewMessage(
            id=row["id"],
            kind=kind,
            outgoing=outgoing,
            author=identity.uid if outgoing else row["peer"],
            alias=identity.alias if outgoing else alias,
            verified=verified,
            to=to,
            thread=row["thread"],
            subject=row["subject"],
            text=row["text"],
            posted=row["posted"],
            received_ms=_posted_ms(row["posted"]) or self.into.now_ms(),
            state="returned" if kind == "return" else "sent" if outgoing else "received",
            seen=outgoing or bool(row["seen"]),
            attachments=tuple(self._attachments(row["id"])),
        )
        return messages.record(self.c, new, frozenset({identity.alias}))

    def _uid(self, identity: Identity, row: sqlite3.Row) -> str:
        """To whom an outgoing one went: of a ping only the alias was kept."""
        if row["kind"] == "message" and row["peer"] != identity.uid:
            return str(row["peer"])
        return people.uid_of(self.c, row["alias"]) or ""

    def _learn(self, identity: Identity, row: sqlite3.Row, alias: str, *, by_smtp: bool) -> None:
        if by_smtp and row["kind"] == "message":
            people.learn(self.c, row["peer"], alias, "ping", self.into.now_ms(), via="smtp")
            return
        uid = self._uid(identity, row) if row["outgoing"] else row["peer"]
        if not uid or uid == identity.uid or row["kind"] not in {"message", "ping"}:
            return
        if row["kind"] == "message":
            self.talked.add(uid)
        elif row["outgoing"]:
            self.pinged.add(uid)
        else:
            self.pinged_us.add(uid)

    def _standing(self) -> None:
        """Who is a contact, as far as what was said tells."""
        for uid in self.talked | self.pinged | self.pinged_us:
            stands: PersonStands = "asked" if uid in self.pinged else "asks"
            if uid in self.talked or (uid in self.pinged and uid in self.pinged_us):
                stands = "contact"
            people.set_stands(self.c, uid, stands)

    def _attachments(self, message_id: str) -> Iterable[NewAttachment]:
        wanted = "SELECT * FROM attachment WHERE message = ? ORDER BY place"
        for row in self.history.execute(wanted, (message_id,)) if _has(self.history, "attachment") else ():
            stored = self.files.get(_of_message(message_id, row["place"]))
            whole = stored is not None and stored.size == row["size"]
            if stored is None or not whole:  # what is there now is not what was sent
                self.missing.append(row["name"])
                yield NewAttachment("file", row["name"], "", row["size"], "", 0)
            else:
                yield NewAttachment("file", row["name"], "", row["size"], stored.file, stored.size, hash=stored.hash)

    def _waiting(self, identity: Identity, row: sqlite3.Row, now_ms: int) -> None:
        """What the service may have already, or not: under the id that it had."""
        ping = row["kind"] == "ping"
        cc: tuple[Subscriber, ...] = ()
        if not ping and not row["thread"]:  # existing clients answer to those whom it names
            readers = ((identity.alias, identity.uid, "author"), (row["alias"], row["to"], ""))
            cc = tuple(
                Subscriber(name, uid, identity.alias, identity.uid, _NOT_YET, note, subscribe=True)
                for name, uid, note in readers
            )
        files, error = [], row["error"]
        for place, text in enumerate(_lines(row["files"])):
            name = Path(text).name
            stored = self.files.get(_of_waiting(row["request_id"], place))
            if stored is None:
                self.missing.append(name)
                error = error or f"{text}: there is no such file any more"
                stored = StoredFile("", 0, b"")
            files.append(outbox.File(name, "file", stored.file, stored.size, stored.hash))
        content = outbox.Content(
            to=((row["to"], 0 if ping else TO_UID),),
            names=(row["alias"],),
            subject=row["subject"],
            thread=row["thread"],
            text=row["text"],
            cc=cc,
            files=tuple(files),
        )
        kind: outbox.Kind = "ping" if ping else "message"
        outbox.enqueue(self.c, kind, content, 0, now_ms, self.into.random_bytes, request_id=row["request_id"])
        if error:
            outbox.refused(self.c, row["request_id"], error)

    def _log(self, identity: Identity) -> None:
        """The account's own log, each record checked again; without it the service is asked anew."""
        if identity.keys is None:
            return
        try:
            records = [decode_record(row["record"]) for row in _all(self.history, "log_record", "place")]
        except (LogInvalid, ValueError):
            return
        if records:
            taken = Logs(identity.service_key).take(self.c, identity.uid, 0, records)
            if taken.log is not None:  # as with who is met for the first time: what comes after it is a change
                keep(self.c, standing(self.c, identity.uid), seen_head=taken.log.head)


# -- the old files ---------------------------------------------------------------------------------------------------
def _opened(path: Path) -> sqlite3.Connection:
    """The plain database, everything in it that its log has. Raises ValueError where it is none, OSError."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    history = sqlite3.connect(path, check_same_thread=False)
    history.row_factory = sqlite3.Row
    try:
        history.execute("PRAGMA busy_timeout=10000")
        history.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = history.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        history.close()
        raise ValueError(f"{path} cannot be read ({error}); nothing was changed") from None
    if whole != "ok":
        history.close()
        raise ValueError(f"{path} is damaged ({whole}); nothing was changed")
    return history


def _identity(history: sqlite3.Connection) -> Identity | None:
    rows, keys = list(_all(history, "identity")), list(_all(history, "keys"))
    if not rows:
        return None
    own = DeviceKeys(keys[0]["seed"], keys[0]["box_key"]) if keys else None
    service_key = keys[0]["service_key"] if keys else ""
    names = ("uid", "node", "alias", "host", "port", "pin", "ca_file", "service")
    plain: dict[str, Any] = {name: rows[0][name] for name in names}
    return Identity(**plain, keys=own, service_key=service_key)


def _all(history: sqlite3.Connection, table: str, order: str = "rowid") -> Iterable[sqlite3.Row]:
    """All rows of a table, one by one; none of one that the release did not have which wrote this."""
    if not _has(history, table):
        return ()
    return history.execute(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608 - names of this module


def _has(history: sqlite3.Connection, table: str) -> bool:
    asked = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return history.execute(asked, (table,)).fetchone() is not None


def _remove(old: Path) -> None:
    """The plain files, the database last. What is the person's own stays."""
    if (old / FILE).is_file():
        (old / FILE).replace(old / _TAKEN)
        sync_folder(old)
    attachments, waited_for = old / "attachments", old / "sending"
    for folder in (attachments, waited_for):
        if folder.is_dir():
            _remove_files(folder)
    for name in (f"{FILE}-wal", f"{FILE}-shm", "engine.lock", _TAKEN):
        destroy(old / name)
    try:
        old.rmdir()
    except OSError:  # something else is in it
        return
    sync_folder(old.parent)


def _remove_files(folder: Path) -> None:
    """Those of the first client, and the folder, unless it is a link or something else is in it. What has a second name
    is somebody's copy, and is not written over.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    for path in folder.iterdir():
        if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
            path.unlink()
        elif path.is_file():
            destroy(path)
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """No process of the first clients runs this profile meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(errno.EBUSY, f"{path.parent} is in use: end the tmtp that runs there") from None
        yield
    finally:
        os.close(descriptor)


def _who(alias: str) -> tuple[str, bool, bool]:
    """A name of the first clients: the bare one, whether it came by SMTP, whether the service had verified it."""
    if alias.endswith(_BY_SMTP):
        return alias.removesuffix(_BY_SMTP), True, True
    return alias.removesuffix(_UNVERIFIED), False, not alias.endswith(_UNVERIFIED)


def _posted_ms(posted: str) -> int:
    try:
        return int(datetime.fromisoformat(posted).timestamp() * 1000)
    except ValueError:
        return 0


def _of_message(message_id: str, place: int) -> str:
    return f"{_STAGED_AS}{message_id}/{place}"


def _of_waiting(request_id: str, place: int) -> str:
    return f"{_STAGED_AS}to send {request_id}/{place}"


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]
