# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a browser keeps for the console while somebody signs in, so that the console keeps nothing for strangers (C1).

Sealed under a key that is made at the start and never leaves the process. What was used is known until it is over.
"""

from typing import Any, Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes

_TOO_LONG: Final = "that took too long; try again"


class _Kept(msgspec.Struct):
    """`what` it is for, under a name of its own, until then."""

    what: str
    name: str
    until_s: float
    values: dict[str, Any]


class Sealing:
    """Each text is good for `limits.CONSOLE_CEREMONY_S`, for one purpose, once where its user says `spend`."""

    def __init__(self, clock: Clock, random_bytes: RandomBytes) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._box = SecretBox(random_bytes(SecretBox.KEY_SIZE))
        self._spent: dict[str, float] = {}  # until when each could be brought again

    def seal(self, what: str, values: dict[str, Any]) -> str:
        """A text that only `opened` can read."""
        name = to_text(self._random_bytes(limits.CONSOLE_SECRET_BYTES))
        kept = _Kept(what, name, self._clock.monotonic_s() + limits.CONSOLE_CEREMONY_S, values)
        return to_text(bytes(self._box.encrypt(msgspec.json.encode(kept), self._random_bytes(SecretBox.NONCE_SIZE))))

    def opened(self, what: str, text: str) -> dict[str, Any]:
        """What was sealed. Raises `RequestRefused` where it was not, or is over, or was spent."""
        kept = self._kept(what, text)
        if kept.name in self._spent:
            raise RequestRefused(_TOO_LONG)
        return kept.values

    def spend(self, what: str, text: str) -> dict[str, Any]:
        """The same; and from now on it is good for nothing."""
        values, kept = self.opened(what, text), self._kept(what, text)
        now_s = self._clock.monotonic_s()
        self._spent = {name: until_s for name, until_s in self._spent.items() if until_s > now_s}
        while len(self._spent) >= limits.CONSOLE_CEREMONIES_MAX:
            del self._spent[next(iter(self._spent))]
        self._spent[kept.name] = kept.until_s
        return values

    def _kept(self, what: str, text: str) -> _Kept:
        try:
            kept = msgspec.json.decode(self._box.decrypt(from_text(text)), type=_Kept)
        except (CryptoError, ValueError):
            raise RequestRefused(_TOO_LONG) from None
        if kept.what != what or kept.until_s <= self._clock.monotonic_s():
            raise RequestRefused(_TOO_LONG)
        return kept
