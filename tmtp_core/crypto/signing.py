# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ed25519 with a purpose: no signature made for one thing can serve for another (D4; libsodium by PyNaCl)."""

from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_scalarmult
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from tmtp_core.crypto.encoding import from_text, to_text

PUBLIC_KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
HASH_BYTES: Final = 32
NONCE_BYTES: Final = 32
_ANY_SCALAR: Final = bytes(range(1, 33))


class Signer:
    """A private Ed25519 key. `seed` is 32 unpredictable bytes; `public` its public key as text, the key's name."""

    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self.public = to_text(self.public_key)

    def sign(self, purpose: bytes, *parts: bytes) -> str:
        """Sign the concatenation of parts for one purpose; the signature as text."""
        return to_text(self._key.sign(_framed(purpose, parts)).signature)

    def __repr__(self) -> str:
        return f"Signer({self.public})"


def check_public_key(text: str) -> bytes:
    """The bytes of a public Ed25519 key. Raises ValueError for what cannot be one (a point of small order too)."""
    key = from_text(text, PUBLIC_KEY_BYTES)
    if not crypto_core_ed25519_is_valid_point(key):
        raise ValueError("not a point of the curve's main subgroup")
    return key


def check_box_key(text: str) -> bytes:
    """The bytes of a public X25519 key. Raises ValueError for one of small order, to which nothing can be sealed."""
    key = from_text(text, PUBLIC_KEY_BYTES)
    try:
        crypto_scalarmult(_ANY_SCALAR, key)
    except (RuntimeError, CryptoError):  # the shared secret would be zero whatever the other side's key
        raise ValueError("a point of small order") from None
    return key


def signed_by(public: str, signature: str, purpose: bytes, *parts: bytes) -> bool:
    """Whether `signature` was made by the owner of `public` over these parts for this purpose. Never raises."""
    try:
        VerifyKey(from_text(public, PUBLIC_KEY_BYTES)).verify(
            _framed(purpose, parts), from_text(signature, SIGNATURE_BYTES)
        )
    except (ValueError, BadSignatureError):
        return False
    return True


def _framed(purpose: bytes, parts: tuple[bytes, ...]) -> bytes:
    return purpose + b"\0" + b"".join(parts)
