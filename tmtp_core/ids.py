# SPDX-License-Identifier: AGPL-3.0-or-later
"""Identifiers: uids, node secrets, message ids and the dates that go with them (wire.md §4)."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from tmtp_core import limits

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes; `os.urandom` in the product, a seeded stream in tests."""

_ALPHABET: Final = "%+123456789BCDFGHJKLMNPQRSTVWXYZ"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_BITS_PER_CHARACTER: Final = 5


def encode_base32(data: bytes) -> str:
    """Encode a multiple of 5 bytes, without padding, in the alphabet of wire.md §4.2."""
    bits = len(data) * 8
    if bits % _BITS_PER_CHARACTER:
        raise ValueError(f"{len(data)} bytes do not fill whole base32 characters")
    number = int.from_bytes(data)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(bits - 5, -1, -5))


def decode_base32(text: str) -> bytes:
    """Undo `encode_base32`. Raises ValueError for any other character, for a length that is no whole number of bytes,
    and for what is longer than anything written so here: the work grows with the square of the length.
    """
    if len(text) > limits.BASE32_MAX_CHARACTERS:
        raise ValueError("longer than any base32 value here")
    bits = len(text) * _BITS_PER_CHARACTER
    if bits % 8:
        raise ValueError("length is no whole number of bytes")
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise ValueError("character outside the base32 alphabet")
        number = number << 5 | value
    return number.to_bytes(bits // 8)


def new_uid(random_bytes: RandomBytes) -> str:
    """A fresh uid: 160 random bits in 32 characters."""
    return encode_base32(random_bytes(limits.UID_RANDOM_BYTES))


def new_node_secret(random_bytes: RandomBytes) -> str:
    """A fresh node secret (`nodeid`): 200 random bits in 40 characters."""
    return encode_base32(random_bytes(limits.NODE_SECRET_BYTES))


def message_id_text(number: int) -> str:
    """A message id as the wire writes it: 16 lower-case hex digits."""
    return f"{number:016x}"


def message_id_number(text: str) -> int | None:
    """The number of a message id, or None when `text` is not one: such an ack is a stray (wire.md §8.1)."""
    if len(text) != 16 or not text.isascii() or not text.isalnum():
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def posted_text(time_ms: int) -> str:
    """UTC, RFC 3339, exactly 3 decimals and `Z` (wire.md §4.3). `time_ms` counts from 1970."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{_second_text(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=16)
def _second_text(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%S}"
