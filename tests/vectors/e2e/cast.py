# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who writes to whom in the vectors: keys and uids made of names, and randomness that is the same each time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from nacl import bindings

from tmtp_core.crypto.content_key import Target
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.envelope import Account, Act, Composed, Sealing, compose
from tmtp_core.crypto.manifest import Link, Piece, digest
from tmtp_core.crypto.signing import Signer
from tmtp_core.ids import encode_base32
from tmtp_core.wire.messages import TO_UID, Recipient
from tmtp_core.wire.payload import E2e, PostHead, encode_post_head

TIME_MS = 1_790_000_000_000


def octets(label: str, size: int = 32) -> bytes:
    """As many as are wanted, of a name."""
    blocks = (blake2b(f"{label} {number}".encode()).digest() for number in range(-(-size // 64)))
    return b"".join(blocks)[:size]


class Chance:
    """Randomness for one vector: what is drawn in which order is the same each time."""

    def __init__(self, label: str) -> None:
        self._label, self._drawn = label, 0

    def __call__(self, size: int) -> bytes:
        self._drawn += 1
        return octets(f"{self._label}, draw {self._drawn},", size)


@dataclass(frozen=True)
class Device:
    """A device of a person."""

    uid: str
    name: str

    @cached_property
    def signer(self) -> Signer:
        return Signer(octets(f"{self.name}, signing"))

    @property
    def key(self) -> str:
        return self.signer.public

    def secret(self, which: str) -> bytes:
        return octets(f"{self.name}, {which}")

    def public(self, which: str) -> str:
        return to_text(bindings.crypto_scalarmult_base(self.secret(which)))

    def target(self, prekey: str = "") -> Target:
        return Target(self.uid, self.key, self.public(prekey or "box"), bool(prekey))


@dataclass(frozen=True)
class Person:
    """An account, its log's head, and its devices."""

    name: str

    @cached_property
    def uid(self) -> str:
        return encode_base32(octets(f"{self.name}, uid", 20))

    @property
    def head(self) -> str:
        return to_text(octets(f"{self.name}, head of the log"))

    def device(self, name: str) -> Device:
        return Device(self.uid, f"{self.name}'s {name}")

    def account(self, count: int = 0, last: str = "") -> Account:
        return Account(self.uid, self.head, Link(count, last))


SERVICE = Signer(octets("the service"))
OTHER_SERVICE = Signer(octets("another service"))
ADA, BOB, CAT, DAN = Person("Ada"), Person("Bob"), Person("Cat"), Person("Dan")
LAPTOP, PHONE = ADA.device("laptop"), ADA.device("phone")
TABLET, DESK = BOB.device("tablet"), BOB.device("desk")
TO_BOB = (Recipient(BOB.uid, TO_UID),)


def act(head: PostHead, accounts: Sequence[Account], recipients: Sequence[Recipient] = TO_BOB) -> Act:
    """What Ada does."""
    return Act(ADA.uid, "request-1", TIME_MS, tuple(recipients), tuple(accounts), encode_post_head(head))


def pieces_of(files: Sequence[bytes]) -> list[Piece]:
    return [Piece(len(file), digest(file)) for file in files]


def sealed(key: bytes, e2e: E2e, what: Act, text: bytes, files: Sequence[bytes] = ()) -> tuple[Composed, bytes]:
    """Composed by Ada's laptop, and the whole stream."""
    composed = compose(key, e2e, what, text, pieces_of(files), LAPTOP.signer, SERVICE.public_key)
    sealing = Sealing(composed, SERVICE.public_key)
    return composed, b"".join([*(sealing.push(one) for one in (text, *files)), *sealing.finish()])


def in_words(composed: Composed, stream: bytes, says: str, reader: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A vector's common part: what came, where, and who opens it."""
    return {
        "says": says,
        "service": SERVICE.public,
        "from": ADA.uid,
        "reader": reader,
        "datahead": len(composed.outer),
        "data": to_text(composed.outer + stream),
        **more,
    }
