# SPDX-License-Identifier: AGPL-3.0-or-later
"""Suite 1 (B9): a thread whose readers share a key, from a passphrase that they agreed on, or a random one that is
passed on under suite 2. When somebody leaves, the next epoch has another key; what was sealed before stays readable.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Rows
from sqlalchemy import Row, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.store import tables as t
from tmtp_client.trust.logs import Logs
from tmtp_core.crypto.account_log import DeviceState
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.passphrase import SALT_BYTES, Cost, key_from_passphrase
from tmtp_core.crypto.stream import KEY_BYTES, EnvelopeRefused
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.payload import Number

CONTROL: Final = "shared-key"
"""`control` of the post that passes a random key on."""


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A thread's key in an epoch. `salt` and `cost` of one that came from a passphrase. `heads`: the accounts that have
    it, as far as this device knows, and the head of each one's log when they got it.
    """

    thread: str
    epoch: int
    key: bytes = field(repr=False)
    salt: bytes = b""
    cost: Cost | None = None
    author: str = ""
    heads: Mapping[str, str] = field(default_factory=dict)


class Passed(Struct, frozen=True, forbid_unknown_fields=True):
    """The text of the post that passes a key on, sealed under suite 2."""

    thread: str
    epoch: Number
    key: str


def of_thread(c: Rows, thread: str) -> SharedKey | None:
    """The key under which the next message of a thread is sealed; None: the thread has none."""
    row = t.shared_key.c
    found = c.execute(select(t.shared_key).where(row.thread == thread).order_by(row.epoch.desc()).limit(1))
    one = found.one_or_none()
    return _of(one) if one is not None else None


def of_epoch(c: Rows, epoch: int) -> list[SharedKey]:
    """All keys that may open a message of this epoch, whichever its thread: the thread stands inside."""
    return [_of(one) for one in c.execute(select(t.shared_key).where(t.shared_key.c.epoch == epoch))]


def from_passphrase(thread: str, epoch: int, passphrase: str, salt: bytes, cost: Cost, author: str) -> SharedKey:
    """Blocks for as long as it costs. Raises ValueError for a passphrase that is none, `EnvelopeRefused` for a cost."""
    return SharedKey(thread, epoch, key_from_passphrase(passphrase, salt, cost), salt, cost, author)


def new_salt(random_bytes: RandomBytes) -> bytes:
    """For a new passphrase, or the same in a new epoch."""
    return random_bytes(SALT_BYTES)


def random(thread: str, epoch: int, random_bytes: RandomBytes, author: str) -> SharedKey:
    """A new random key."""
    return SharedKey(thread, epoch, random_bytes(KEY_BYTES), author=author)


def keep(c: Rows, one: SharedKey) -> bool:
    """Keep a key. False where the epoch of its thread has another one already, which stays. Whoever calls this has
    looked whether its author reads the thread: else anybody could lay down a key of his.
    """
    values = {
        "thread": one.thread,
        "epoch": one.epoch,
        "key": one.key,
        "salt": one.salt,
        "ops": one.cost.ops if one.cost else 0,
        "memory_kib": one.cost.memory_kib if one.cost else 0,
        "author": one.author,
        "heads": msgspec.json.encode(dict(one.heads)).decode(),
    }
    c.execute(upsert(t.shared_key).values(values).on_conflict_do_nothing())
    row = t.shared_key.c
    return bool(c.scalar(select(row.key).where(row.thread == one.thread, row.epoch == one.epoch)) == one.key)


def outlived(c: Rows, logs: Logs, one: SharedKey, readers: Collection[str]) -> tuple[str, str]:
    """Who has a key and should not read what comes: the account, and its device where the account still reads; both
    empty: nobody. `readers`: all who read the thread, this account among them.
    """
    for uid, head in one.heads.items():
        if uid not in readers:
            return uid, ""
        then, log = logs.at(c, uid, head), logs.kept(c, uid)
        if then is None or log is None:
            continue
        for device in log.state.devices.values():
            before = then.devices.get(device.key)
            if _is_barred(device) and (before is None or not _is_barred(before)):
                return uid, device.key
    return "", ""


def _is_barred(device: DeviceState) -> bool:
    return device.revoked or device.suspended_by is not None


def passed_on(one: SharedKey) -> bytes:
    """The text of the post that passes a key on."""
    return msgspec.json.encode(Passed(one.thread, one.epoch, to_text(one.key)))


def received(text: bytes, author: str, heads: Mapping[str, str] | None = None) -> SharedKey:
    """A key that was passed on, sealed and without a doubt, to accounts with these `heads`.

    Raises `EnvelopeRefused` for what is none.
    """
    try:
        passed = msgspec.json.decode(text, type=Passed)
        return SharedKey(
            passed.thread, passed.epoch, from_text(passed.key, KEY_BYTES), author=author, heads=heads or {}
        )
    except (msgspec.MsgspecError, ValueError):
        raise EnvelopeRefused("this is no key of a thread") from None


def _of(row: Row[Any]) -> SharedKey:
    cost = Cost(row.ops, row.memory_kib) if row.ops else None
    heads = msgspec.json.decode(row.heads, type=dict[str, str])
    return SharedKey(row.thread, row.epoch, bytes(row.key), bytes(row.salt), cost, row.author, heads)
