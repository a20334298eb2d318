# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a device proves itself on a link: log-in and registration by signature (B4, D4; docs/protocol.md).

What is signed names this connection's nonce, the service's key and the TLS certificate that the client sees: a
signature serves once, for one service, and not through a man in the middle.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.signing import HASH_BYTES, Signer, signed_by

LOGIN: Final = b"tmtp-login"
REGISTER: Final = b"tmtp-register"
GREETING: Final = b"tmtp-greeting"
NO_TLS: Final = bytes(HASH_BYTES)
"""Stands for the hash of the certificate's SPKI on a link without TLS (loopback)."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What both ends know of their link: the nonce, the service's public key, SHA-256 of the certificate's SPKI."""

    nonce: bytes
    service_key: bytes
    spki_hash: bytes

    @property
    def binding(self) -> bytes:
        """These, in the order in which they are signed."""
        return self.nonce + self.service_key + self.spki_hash


def login_proof(device: Signer, channel: Channel, uid: str) -> str:
    """`sig` of op 2."""
    return device.sign(LOGIN, channel.binding, uid.encode())


def login_proved(public: str, proof: str, channel: Channel, uid: str) -> bool:
    """Whether `proof` shows that the owner of `public` logs in as `uid` on this link."""
    return signed_by(public, proof, LOGIN, channel.binding, uid.encode())


def registration_proof(key: Signer, channel: Channel, entry: bytes) -> str:
    """`sig` and `recoverysig` of op 1, for the entry that is registered."""
    return key.sign(REGISTER, channel.binding, _digest(entry))


def registration_proved(public: str, proof: str, channel: Channel, entry: bytes) -> bool:
    """Whether `proof` shows that the owner of `public` registers this entry on this link."""
    return signed_by(public, proof, REGISTER, channel.binding, _digest(entry))


def greeting_proof(service: Signer, channel: Channel) -> str:
    """One of `proofs` in the answer to op 0: the service's key is behind this certificate, now."""
    return service.sign(GREETING, channel.nonce, channel.spki_hash)


def greeting_proved(proof: str, channel: Channel) -> bool:
    """Whether the owner of the service's key is at the other end of this link."""
    return signed_by(to_text(channel.service_key), proof, GREETING, channel.nonce, channel.spki_hash)


def _digest(entry: bytes) -> bytes:
    return blake2b(entry, digest_size=HASH_BYTES).digest()
