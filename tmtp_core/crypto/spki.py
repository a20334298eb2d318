# SPDX-License-Identifier: AGPL-3.0-or-later
"""The public key of a certificate, as its octets stand there: what pins and log-ins name (RFC 5280 §4.1, §4.1.2.7);
and when it ends.

Cut out, not decoded and encoded again: two libraries may write one key in two ways (RSA-PSS is such a case), and
then one of them could never log in.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_FIELDS_BEFORE_VALIDITY: Final = 3  # serialNumber, signature, issuer
_FIELDS_BEFORE_KEY: Final = 5  # and validity, subject
_TIMES: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # UTCTime, GeneralizedTime


def spki_hash(certificate: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of a certificate in DER. Raises ValueError for what is none."""
    try:
        at = _field(certificate, _FIELDS_BEFORE_KEY)
        _, _, end = _inside(certificate, at)
    except IndexError:
        raise ValueError("this is no certificate") from None
    return hashlib.sha256(certificate[at:end]).digest()


def valid_until_s(certificate: bytes) -> int:
    """When a certificate in DER ends, in seconds since 1970 (RFC 5280 §4.1.2.5). Raises ValueError for what is none."""
    try:
        validity, _, _ = _inside(certificate, _field(certificate, _FIELDS_BEFORE_VALIDITY))
        at = _end(certificate, validity)  # notBefore stands first
        form = _TIMES[certificate[at]]
        begin, size = _header(certificate, at)
        text = certificate[begin : begin + size].decode("ascii")
        return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
    except (IndexError, KeyError, UnicodeDecodeError):
        raise ValueError("this is no certificate") from None


def _field(certificate: bytes, number: int) -> int:
    """Where a field of the signed part begins; the version, which may be left out, does not count."""
    tbs, _, _ = _inside(certificate, 0)
    at, _, _ = _inside(certificate, tbs)
    if certificate[at] == _VERSION:
        at = _end(certificate, at)
    for _ in range(number):
        at = _end(certificate, at)
    return at


def _inside(data: bytes, at: int) -> tuple[int, int, int]:
    """Of the SEQUENCE at an offset: where its content begins, how long it is, where it ends."""
    if data[at] != _SEQUENCE:
        raise ValueError("this is no certificate")
    content, size = _header(data, at)
    if content + size > len(data):
        raise ValueError("this certificate is cut off")
    return content, size, content + size


def _end(data: bytes, at: int) -> int:
    content, size = _header(data, at)
    return content + size


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Of any element: where its content begins, and how long it is (X.690 §8.1.3)."""
    first = data[at + 1]
    if first < 0x80:
        return at + 2, first
    count = first & 0x7F
    if not 1 <= count <= 4 or at + 2 + count > len(data):
        raise ValueError("this is no certificate in DER")
    return at + 2 + count, int.from_bytes(data[at + 2 : at + 2 + count])
