# SPDX-License-Identifier: AGPL-3.0-or-later
"""Suite 1 (B9): a thread whose readers share a key, from a passphrase that they agreed on, or a random one that is
passed on under suite 2. When somebody leaves, the next epoch has another key; what was sealed before stays readable.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection as Rows
from sqlalchemy import Row, select
from sqlalchemy.dialects.sqlite import insert as upsert

from tmtp_client.store import tables as t
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.passphrase import SALT_BYTES, Cost, key_from_passphrase
from tmtp_core.crypto.stream import KEY_BYTES, EnvelopeRefused
from tmtp_core.ids import RandomBytes

CONTROL: Final = "shared-key"
"""`control` of the post that passes a random key on."""


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A thread's key in an epoch. `salt` and `cost` of one that came from a passphrase."""

    thread: str
    epoch: int
    key: bytes = field(repr=False)
    salt: bytes = b""
    cost: Cost | None = None
    author: str = ""


class Passed(Struct, frozen=True, forbid_unknown_fields=True):
    """The text of the post that passes a key on, sealed under suite 2."""

    thread: str
    epoch: int
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
    """Keep a key. False where the epoch of its thread has another one already, which stays."""
    values = {
        "thread": one.thread,
        "epoch": one.epoch,
        "key": one.key,
        "salt": one.salt,
        "ops": one.cost.ops if one.cost else 0,
        "memory_kib": one.cost.memory_kib if one.cost else 0,
        "author": one.author,
    }
    c.execute(upsert(t.shared_key).values(values).on_conflict_do_nothing())
    row = t.shared_key.c
    return bool(c.scalar(select(row.key).where(row.thread == one.thread, row.epoch == one.epoch)) == one.key)


def passed_on(one: SharedKey) -> bytes:
    """The text of the post that passes a key on."""
    return msgspec.json.encode(Passed(one.thread, one.epoch, to_text(one.key)))


def received(text: bytes, author: str) -> SharedKey:
    """A key that was passed on, sealed and without a doubt. Raises `EnvelopeRefused` for what is none."""
    try:
        passed = msgspec.json.decode(text, type=Passed)
        return SharedKey(passed.thread, passed.epoch, from_text(passed.key, KEY_BYTES), author=author)
    except (msgspec.MsgspecError, ValueError):
        raise EnvelopeRefused("this is no key of a thread") from None


def _of(row: Row[Any]) -> SharedKey:
    cost = Cost(row.ops, row.memory_kib) if row.ops else None
    return SharedKey(row.thread, row.epoch, bytes(row.key), bytes(row.salt), cost, row.author)
