# SPDX-License-Identifier: AGPL-3.0-or-later
"""The `nonce` of a sign-in with a provider: what binds its token to who brings it (A1; docs/protocol.md, *Sign-in*).

A device with a key asks the provider for a token under a nonce that is made of its key: the token is good for nobody
else. Revision 1 knows no such keys; its nonce is one that this service made, not long ago, and knows again without
having kept it: also after a restart, and whichever of its processes made it.
"""

import hmac
from hashlib import blake2b
from typing import Final

from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import HASH_BYTES
from tmtp_core.ids import RandomBytes

SIGN_IN: Final = b"tmtp-sign-in"
_TIME_BYTES: Final = 8
_RANDOM_BYTES: Final = 16
_MARK_BYTES: Final = 16


def device_nonce(service_key: bytes, device: str) -> str:
    """Of a device with this key, at this service."""
    return to_text(blake2b(SIGN_IN + b"\0" + service_key + device.encode(), digest_size=HASH_BYTES).digest())


def new_nonce(key: bytes, now_ms: int, random_bytes: RandomBytes) -> str:
    """Of a service whose credential key is `key`, for a client without a device key."""
    body = now_ms.to_bytes(_TIME_BYTES) + random_bytes(_RANDOM_BYTES)
    return to_text(body + _mark(key, body))


def is_own_nonce(key: bytes, nonce: str, now_ms: int) -> bool:
    """Whether `new_nonce` made it, at most `limits.SIGN_IN_AGE_MAX_S` ago."""
    try:
        raw = from_text(nonce, _TIME_BYTES + _RANDOM_BYTES + _MARK_BYTES)
    except ValueError:
        return False
    body, mark = raw[:-_MARK_BYTES], raw[-_MARK_BYTES:]
    age_ms = now_ms - int.from_bytes(body[:_TIME_BYTES])
    leeway_ms = limits.SIGN_IN_LEEWAY_S * 1000
    return hmac.compare_digest(mark, _mark(key, body)) and -leeway_ms <= age_ms <= limits.SIGN_IN_AGE_MAX_S * 1000


def _mark(key: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=_MARK_BYTES, key=key, person=SIGN_IN).digest()
