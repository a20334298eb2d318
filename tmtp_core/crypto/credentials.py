# SPDX-License-Identifier: AGPL-3.0-or-later
"""Node secrets and invitation tokens at rest: one keyed hash each (D5).

Both carry at least 160 random bits, so stretching would only cost time; the key, kept outside the
database, makes a stolen database useless even for testing guesses.
"""

import hmac
from hashlib import blake2b
from typing import Final

KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 32


def credential(key: bytes, secret: bytes) -> bytes:
    """The 32-byte keyed hash under which a node secret is stored."""
    return blake2b(secret, digest_size=_DIGEST_BYTES, key=key, person=b"tmtp-node").digest()


def credentials_match(one: bytes, other: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(one, other)


def invitation_hash(key: bytes, token: str) -> bytes:
    """The 32-byte keyed hash under which an invitation's token is stored."""
    return blake2b(token.encode(), digest_size=_DIGEST_BYTES, key=key, person=b"tmtp-invite").digest()


def request_hash(key: str) -> int:
    """A signed 64-bit number that stands for a request within its node (protocol.md, *One id per post*)."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), signed=True)
