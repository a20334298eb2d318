# SPDX-License-Identifier: AGPL-3.0-or-later
"""A key from a passphrase: Argon2id, with bounds on what a stranger's header may cost (B9; RFC 9106).

The passphrase is taken in Unicode's form NFKC, so that keyboards do not matter, and nothing is trimmed.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

from nacl import bindings

from tmtp_core import limits
from tmtp_core.crypto.stream import KEY_BYTES, EnvelopeRefused

SALT_BYTES: Final = bindings.crypto_pwhash_SALTBYTES


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one derivation: passes, and memory in KiB; one lane, as libsodium has it."""

    ops: int = limits.PASSPHRASE_OPS
    memory_kib: int = limits.PASSPHRASE_MEMORY_KIB


def check_cost(cost: Cost) -> None:
    """Raise `EnvelopeRefused` for a cost that guards nothing, or that this device shall not pay."""
    least, most = limits.PASSPHRASE_OPS_MIN, limits.PASSPHRASE_OPS_MAX
    if not least <= cost.ops <= most:
        raise EnvelopeRefused(f"Argon2id with {cost.ops} passes; {least} to {most} are allowed")
    least, most = limits.PASSPHRASE_MEMORY_MIN_KIB, limits.PASSPHRASE_MEMORY_MAX_KIB
    if not least <= cost.memory_kib <= most:
        raise EnvelopeRefused(f"Argon2id with {cost.memory_kib} KiB; {least} to {most} are allowed")


def key_from_passphrase(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    """32 bytes. Blocks for as long as it costs: call it on a thread.

    Raises `EnvelopeRefused` for a cost out of bounds, ValueError for a passphrase that is empty or too long.
    """
    check_cost(cost)
    if len(salt) != SALT_BYTES:
        raise EnvelopeRefused(f"a salt of {len(salt)} bytes; {SALT_BYTES} are due")
    octets = passphrase_octets(passphrase)
    return bindings.crypto_pwhash_alg(
        KEY_BYTES, octets, salt, cost.ops, cost.memory_kib << 10, bindings.crypto_pwhash_ALG_ARGON2ID13
    )


def passphrase_octets(passphrase: str) -> bytes:
    """What is hashed. Raises ValueError, which never repeats the passphrase."""
    if len(passphrase) > limits.PASSPHRASE_MAX_BYTES:  # before it is normalised, which may lengthen it eighteenfold
        raise ValueError(f"a passphrase has at most {limits.PASSPHRASE_MAX_BYTES} bytes")
    try:
        octets = unicodedata.normalize("NFKC", passphrase).encode()
    except UnicodeEncodeError:
        raise ValueError("this passphrase has characters that no text has") from None
    if not 1 <= len(octets) <= limits.PASSPHRASE_MAX_BYTES:
        raise ValueError(f"a passphrase has between 1 and {limits.PASSPHRASE_MAX_BYTES} bytes")
    return octets
