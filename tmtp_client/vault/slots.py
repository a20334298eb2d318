# SPDX-License-Identifier: AGPL-3.0-or-later
"""Slots: each holds the home key under another secret, so that a new passphrase rewrites a slot and no data (B8).

The home key is sealed by XChaCha20-Poly1305, and what a slot says of itself is bound to that: no slot can be given
another's kind, note or costs. A passphrase is stretched by Argon2id; the other secrets are random, 256 bits each.
"""

import unicodedata
from hashlib import blake2b
from typing import Final, Literal

import msgspec
from msgspec import Struct
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from tmtp_client import limits
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.ids import RandomBytes

KEY_BYTES: Final = 32
Kind = Literal["passphrase", "keyring", "recovery", "device"]
_NONCE_BYTES: Final = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_SALT_BYTES: Final = sodium.crypto_pwhash_SALTBYTES
_PERSON: Final = b"tmtp vault"


class Slot(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One way to the home key. `salt`, `ops` and `memory_bytes` are Argon2id's, of a passphrase; `note` of a recovery
    sheet the account.
    """

    id: str
    kind: Kind
    made_ms: int
    sealed: str  # nonce and sealed home key
    note: str = ""
    salt: str = ""
    ops: int = 0
    memory_bytes: int = 0


class SlotUnfit(Exception):
    """A slot asks for what no slot may ask for, or is none."""


def new_slot(kind: Kind, secret: bytes, home_key: bytes, *, made_ms: int, note: str, random_bytes: RandomBytes) -> Slot:
    """A slot for this home key. `secret`: of a passphrase its text as `passphrase_bytes` has it, else 32 bytes."""
    stretched = kind == "passphrase"
    bare = Slot(
        id=to_text(random_bytes(_NONCE_BYTES)),
        kind=kind,
        made_ms=made_ms,
        sealed="",
        note=note,
        salt=to_text(random_bytes(_SALT_BYTES)) if stretched else "",
        ops=limits.PASSPHRASE_OPS if stretched else 0,
        memory_bytes=limits.PASSPHRASE_MEMORY_BYTES if stretched else 0,
    )
    return msgspec.structs.replace(bare, sealed=seal(home_key, _key(bare, secret), _bound(bare), random_bytes))


def opened(slot: Slot, secret: bytes) -> bytes | None:
    """The home key, or None where this is not the slot's secret. Raises `SlotUnfit`."""
    return unseal(slot.sealed, _key(slot, secret), _bound(slot))


def passphrase_bytes(text: str) -> bytes:
    """A passphrase as it is stretched: the same whichever keyboard typed it (NFC, as RFC 8265 has it)."""
    return unicodedata.normalize("NFC", text).encode()


def seal(data: bytes, key: bytes, bound: bytes, random_bytes: RandomBytes) -> str:
    """Encrypt 32 bytes, bound to where they belong."""
    nonce = random_bytes(_NONCE_BYTES)
    return to_text(nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(data, bound, nonce, key))


def is_sealed(sealed: str) -> bool:
    """Whether this can be what `seal` gave for a key."""
    try:
        return len(from_text(sealed)) == _NONCE_BYTES + KEY_BYTES + sodium.crypto_aead_xchacha20poly1305_ietf_ABYTES
    except ValueError:
        return False


def unseal(sealed: str, key: bytes, bound: bytes) -> bytes | None:
    """Undo `seal`; None with another key, for what belongs elsewhere, and for what was altered."""
    try:
        raw = from_text(sealed)
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(raw[_NONCE_BYTES:], bound, raw[:_NONCE_BYTES], key)
    except (ValueError, CryptoError):
        return None


def _key(slot: Slot, secret: bytes) -> bytes:
    if slot.kind == "passphrase":
        return _stretched(slot, secret)
    # A recovery seed signs, too: what it opens a slot with is another key.
    return blake2b(slot.id.encode(), digest_size=KEY_BYTES, key=secret, person=_PERSON).digest()


def _stretched(slot: Slot, passphrase: bytes) -> bytes:
    """By Argon2id; within bounds, whatever the file says."""
    ops_least, memory_least = sodium.crypto_pwhash_argon2id_OPSLIMIT_MIN, sodium.crypto_pwhash_argon2id_MEMLIMIT_MIN
    if not ops_least <= slot.ops <= limits.PASSPHRASE_OPS_MAX:
        raise SlotUnfit(f"a slot asks for {slot.ops} rounds of Argon2id; {limits.PASSPHRASE_OPS_MAX} at most")
    if not memory_least <= slot.memory_bytes <= limits.PASSPHRASE_MEMORY_MAX_BYTES:
        longest = limits.PASSPHRASE_MEMORY_MAX_BYTES >> 20
        raise SlotUnfit(f"a slot asks for {slot.memory_bytes} bytes of memory; {longest} MiB at most")
    try:
        salt = from_text(slot.salt)
    except ValueError:
        salt = b""
    if len(salt) != _SALT_BYTES:
        raise SlotUnfit(f"the salt of a slot has {_SALT_BYTES} bytes; this one has {len(salt)}")
    alg = sodium.crypto_pwhash_ALG_ARGON2ID13
    return sodium.crypto_pwhash_alg(KEY_BYTES, passphrase, salt, slot.ops, slot.memory_bytes, alg)


def _bound(slot: Slot) -> bytes:
    """What the slot says of itself."""
    return _PERSON + msgspec.json.encode(msgspec.structs.replace(slot, sealed=""))
