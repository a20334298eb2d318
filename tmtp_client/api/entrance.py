# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may come in: browsers by a one-time token that becomes a cookie, programs by the key in the home's folder.

The key is this run's, in a file that only the person's own programs can read. It never goes to a browser: a program
that has it asks for a token, which opens the door once, and soon. Only digests are kept, compared in constant time.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from tmtp_client import limits
from tmtp_core.ids import RandomBytes

_BEARER: Final = "bearer"


class Entrance:
    """Tokens, sessions and the key of one run of the server."""

    def __init__(self, monotonic_s: Callable[[], float], random_bytes: RandomBytes) -> None:
        self._monotonic_s = monotonic_s
        self._random_bytes = random_bytes
        self._tokens: OrderedDict[bytes, float] = OrderedDict()  # digest, and until when; eldest first
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        self.key = self._secret()

    def issue(self) -> str:
        """A token that opens the door once, within `API_TOKEN_LIFE_S`."""
        token = self._secret()
        self._tokens[_digest(token)] = self._monotonic_s() + limits.API_TOKEN_LIFE_S
        if len(self._tokens) > limits.API_TOKENS_MAX:
            self._tokens.popitem(last=False)
        return token

    def redeem(self, token: str) -> str | None:
        """A new session for a token, which is spent by it; None for one that is wrong, spent or too old."""
        found = _find(self._tokens, token)
        if found is None or self._tokens.pop(found) < self._monotonic_s():
            return None
        session = self._secret()
        self._sessions[_digest(session)] = None
        if len(self._sessions) > limits.API_SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return session

    def knows(self, session: str) -> bool:
        """Whether a cookie's value is that of a session."""
        return _find(self._sessions, session) is not None

    def has_key(self, authorization: str) -> bool:
        """Whether an `Authorization` field has this run's key (RFC 6750 §2.1)."""
        scheme, _, key = authorization.partition(" ")
        return scheme.lower() == _BEARER and hmac.compare_digest(_digest(key.strip()), _digest(self.key))

    def _secret(self) -> str:
        return self._random_bytes(limits.API_TOKEN_BYTES).hex()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def _find(kept: OrderedDict[bytes, float] | OrderedDict[bytes, None], secret: str) -> bytes | None:
    """The digest of this secret among those that are kept; every one is compared, whichever it is."""
    digest = _digest(secret)
    found = None
    for one in kept:
        if hmac.compare_digest(one, digest):
            found = one
    return found
