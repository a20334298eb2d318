# SPDX-License-Identifier: AGPL-3.0-or-later
"""What two people compare, to know that nobody's keys stand between them (B9; docs/protocol.md, *Sealed messages*).

Sixty digits over both accounts' uid and log head, and the service's key: the same on both sides while both see the same
two logs. A service that shows either of them another log would have to find two heads that give the same 199 bits. The
code for the camera says more: whose log differs, when one does.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import HASH_BYTES, PUBLIC_KEY_BYTES
from tmtp_core.crypto.stream import EnvelopeRefused

SAFETY: Final = b"tmtp-safety"
GROUPS: Final = 12
_GROUP_BYTES: Final = 5
_GROUP_DIGITS: Final = 5
_CODE: Final = "TMTP-SAFETY:1:"


@dataclass(frozen=True, slots=True)
class Side:
    """One of two accounts: its uid, the head of its log, and how many records that has."""

    uid: str
    head: str
    count: int


@dataclass(frozen=True, slots=True)
class SafetyCode:
    """What one device shows to the other's camera: how it sees its own account, and the other's."""

    service_key: bytes
    own: Side
    other: Side


def safety_number(service_key: bytes, one: Side, other: Side) -> str:
    """Twelve groups of five digits, with spaces between. Raises ValueError for a head that is none."""
    content = bytearray(service_key)
    for side in sorted((one, other), key=lambda side: side.uid.encode()):
        uid = side.uid.encode()
        content += len(uid).to_bytes(4) + uid + from_text(side.head, HASH_BYTES)
    octets = blake2b(content, person=SAFETY).digest()
    groups = (int.from_bytes(octets[at : at + _GROUP_BYTES]) for at in range(0, GROUPS * _GROUP_BYTES, _GROUP_BYTES))
    return " ".join(f"{group % 10**_GROUP_DIGITS:0{_GROUP_DIGITS}}" for group in groups)


def encode_code(code: SafetyCode) -> str:
    """The text of the QR code: letters of its alphanumeric mode up to the version, then base64url."""
    octets = bytearray(code.service_key)
    for side in (code.own, code.other):
        uid = side.uid.encode()
        octets += len(uid).to_bytes(1) + uid + from_text(side.head, HASH_BYTES) + side.count.to_bytes(4)
    return _CODE + to_text(bytes(octets))


def decode_code(text: str) -> SafetyCode:
    """Undo `encode_code`. Raises `EnvelopeRefused` for any other text."""
    if not text.startswith(_CODE) or len(text) > limits.SAFETY_CODE_MAX_CHARACTERS:
        raise EnvelopeRefused("this is not the code of a safety number")
    try:
        octets = from_text(text.removeprefix(_CODE))
        own, end = _side(octets, PUBLIC_KEY_BYTES)
        other, end = _side(octets, end)
    except (ValueError, IndexError):
        raise EnvelopeRefused("this code is damaged") from None
    if end != len(octets):
        raise EnvelopeRefused("this code is damaged")
    return SafetyCode(octets[:PUBLIC_KEY_BYTES], own, other)


def _side(octets: bytes, start: int) -> tuple[Side, int]:
    """The side that begins there, and where it ends. Raises ValueError or IndexError."""
    at = start + 1 + octets[start]
    end = at + HASH_BYTES + 4
    if end > len(octets):
        raise ValueError("cut off")
    uid, head, count = octets[start + 1 : at], octets[at : at + HASH_BYTES], octets[at + HASH_BYTES : end]
    return Side(uid.decode(), to_text(head), int.from_bytes(count)), end


def compare(shown: SafetyCode, seen: SafetyCode) -> tuple[str, ...]:
    """What is wrong with the code that the other device `shown` here, where `seen` is what this one would show.

    Each is `service`, `account` (it is somebody else's code), `own` (the other sees another log of this account) or
    `other` (this device sees another log of the other's). Nothing: the safety numbers are the same. A log that differs
    with another `count` may only be older.
    """
    if shown.service_key != seen.service_key:
        return ("service",)
    if (shown.own.uid, shown.other.uid) != (seen.other.uid, seen.own.uid):
        return ("account",)
    wrong = []
    if shown.other.head != seen.own.head:
        wrong.append("own")
    if shown.own.head != seen.other.head:
        wrong.append("other")
    return tuple(wrong)
