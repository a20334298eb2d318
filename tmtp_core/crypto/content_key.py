# SPDX-License-Identifier: AGPL-3.0-or-later
"""The key of one sealed message: made, sealed to devices, derived from a shared key, recognised (B9).

Suite 2: random, in a sealed box for every device. Suite 1: derived from the key that all share and a nonce. Of either
everybody can see a commitment, so one sealed message opens under one key only: nobody can make two recipients read
different things out of the same octets.

A *content key* is 64 octets. The first half opens the message. The second half is, with the sender, the secret from
which each account's own is derived (`for_account`); with a recipient, that. Under it stands what is no business of the
other recipients: how many messages came before.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.passphrase import Cost
from tmtp_core.crypto.signing import HASH_BYTES, check_box_key
from tmtp_core.crypto.stream import HEADER_BYTES, KEY_BYTES, EnvelopeRefused
from tmtp_core.ids import RandomBytes
from tmtp_core.wire.payload import E2e, Wrapped

SHARED, DEVICES = 1, 2
"""Suites: one key that all share; a key sealed to every device."""
SHARED_NONCE_BYTES: Final = 32
CONTENT_KEY_BYTES: Final = 2 * KEY_BYTES
WRAPPED_BYTES: Final = CONTENT_KEY_BYTES + bindings.crypto_box_SEALBYTES
_COMMIT: Final = b"tmtp-e2e-commit"
_STREAM: Final = b"tmtp-e2e-stream"
_SHARED: Final = b"tmtp-e2e-shared"
_ACCOUNT: Final = b"tmtp-e2e-account"


@dataclass(frozen=True, slots=True)
class Target:
    """A device of `uid` to seal to: its name, and its present prekey or (`prekey` false) the box key of its log."""

    uid: str
    device: str
    key: str
    prekey: bool


def for_devices(targets: Iterable[Target], random_bytes: RandomBytes) -> tuple[bytes, E2e]:
    """A sender's new content key, and how each of these devices opens what it seals. Raises ValueError for no key."""
    key = random_bytes(CONTENT_KEY_BYTES)
    keys = tuple(
        Wrapped(one.device, wrap(for_account(key, one.uid), one.key, random_bytes), one.key if one.prekey else "")
        for one in targets
    )
    header = to_text(random_bytes(HEADER_BYTES))
    return key, E2e(DEVICES, keys=keys, commit=commitment(key), header=header)


def for_account(key: bytes, uid: str) -> bytes:
    """Of a sender's content key, what devices of an account are given."""
    return key[:KEY_BYTES] + blake2b(uid.encode(), key=key[KEY_BYTES:], person=_ACCOUNT, digest_size=KEY_BYTES).digest()


def for_shared(
    shared: bytes, epoch: int, random_bytes: RandomBytes, *, salt: bytes = b"", cost: Cost | None = None
) -> tuple[bytes, E2e]:
    """A sender's content key under a shared key. Of a passphrase's key, `salt` and `cost` say how it was made."""
    nonce = random_bytes(SHARED_NONCE_BYTES)
    key = derived(shared, nonce)
    e2e = E2e(
        SHARED,
        epoch,
        commit=commitment(key),
        header=to_text(random_bytes(HEADER_BYTES)),
        nonce=to_text(nonce),
        salt=to_text(salt),
        ops=cost.ops if cost else 0,
        memory=cost.memory_kib if cost else 0,
    )
    return key, e2e


def opens(e2e: E2e, key: bytes) -> bool:
    """Whether this is the one key that opens it. Also for a key that another device wrapped again."""
    return hmac.compare_digest(e2e.commit.encode(), commitment(key).encode())


def key_of_shared(e2e: E2e, shared: bytes, uid: str) -> bytes | None:
    """The content key for `uid`, when it was sealed under this shared key. Costs two hashes: try all that there are."""
    key = derived(shared, from_text(e2e.nonce, SHARED_NONCE_BYTES))
    return for_account(key, uid) if opens(e2e, key) else None


def wrap(key: bytes, box: str, random_bytes: RandomBytes) -> str:
    """Seal an account's content key to a device's box key or prekey: libsodium's sealed box, with its one random number
    as an argument. Raises ValueError for what is no box key.
    """
    public = check_box_key(box)
    ephemeral, secret = bindings.crypto_box_seed_keypair(random_bytes(bindings.crypto_box_SEEDBYTES))
    nonce = blake2b(ephemeral + public, digest_size=bindings.crypto_box_NONCEBYTES).digest()
    return to_text(ephemeral + bindings.crypto_box_easy(key, nonce, public, secret))


def unwrap(sealed: str, secret: bytes) -> bytes:
    """Undo `wrap` with the secret key: a content key; `opens` tells whether it is the right one.

    Raises `EnvelopeRefused`.
    """
    try:
        octets = from_text(sealed, WRAPPED_BYTES)
        return bindings.crypto_box_seal_open(octets, bindings.crypto_scalarmult_base(secret), secret)
    except (ValueError, CryptoError):
        raise EnvelopeRefused("the key was not sealed to this device") from None


def commitment(key: bytes) -> str:
    """Names a content key's first half without telling it; no two have the same."""
    return to_text(blake2b(key=key[:KEY_BYTES], person=_COMMIT, digest_size=HASH_BYTES).digest())


def stream_key(key: bytes, service_key: bytes, outer: bytes) -> bytes:
    """What the stream is encrypted under: of this content key, at this service, behind exactly this head."""
    return blake2b(service_key + outer, key=key[:KEY_BYTES], person=_STREAM, digest_size=KEY_BYTES).digest()


def derived(shared: bytes, nonce: bytes) -> bytes:
    """Suite 1: a sender's content key. Whoever is given it learns nothing of the shared one."""
    return blake2b(nonce, key=shared, person=_SHARED, digest_size=CONTENT_KEY_BYTES).digest()
