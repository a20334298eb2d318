# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proof of work that a registration brings while many register (A2; docs/protocol.md, *Registering*).

BLAKE2b-256, personalised `tmtp-work`, over nonce of the link ‖ service key ‖ device key ‖ answer must begin with so
many zero bits. Nothing can be worked out ahead, or used for another device, service or link.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import HASH_BYTES, PUBLIC_KEY_BYTES

ANSWER_BYTES: Final = 8
_TRIED_AT_ONCE: Final = 1 << 14  # a hundredth of a second


def work_holds(bits: int, nonce: bytes, service_key: bytes, device: str, answer: str) -> bool:
    """Whether an answer fits. One hash, whatever the answer: it takes the same time for all."""
    try:
        key, tried = from_text(device, PUBLIC_KEY_BYTES), from_text(answer, ANSWER_BYTES)
    except ValueError:
        return False
    puzzle = _puzzle(nonce, service_key, key)
    puzzle.update(tried)
    return _fits(puzzle.digest(), bits)


def work_done(
    bits: int, nonce: bytes, service_key: bytes, device: str, go_on: Callable[[int], bool] = lambda tried: True
) -> str | None:
    """An answer that fits, after about 2^`bits` tries; None when `go_on`, asked with the number tried, says no."""
    puzzle = _puzzle(nonce, service_key, from_text(device, PUBLIC_KEY_BYTES))
    tried = 0
    while go_on(tried):
        for number in range(tried, tried + _TRIED_AT_ONCE):
            answer = number.to_bytes(ANSWER_BYTES)
            attempt = puzzle.copy()
            attempt.update(answer)
            if _fits(attempt.digest(), bits):
                return to_text(answer)
        tried += _TRIED_AT_ONCE
    return None


def _puzzle(nonce: bytes, service_key: bytes, device: bytes) -> blake2b:
    return blake2b(nonce + service_key + device, digest_size=HASH_BYTES, person=b"tmtp-work")


def _fits(digest: bytes, bits: int) -> bool:
    return not int.from_bytes(digest) >> (8 * HASH_BYTES - bits)
