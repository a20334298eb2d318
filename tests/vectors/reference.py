# SPDX-License-Identifier: AGPL-3.0-or-later
"""Headers as the reference server would write them, made independently of the code under test (§1.5, §9)."""

import json
import re
from typing import Any

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_HEAD_SUM = re.compile(rb'"headsum":\d+,')
_POLYNOMIAL = 0x82F63B78


def canonical_header(head: dict[str, Any]) -> bytes:
    """Compact JSON, sorted keys, Go's escapes."""
    text = json.dumps(head, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    text = text.replace("\\b", "\\u0008").replace("\\f", "\\u000c")
    for plain, escaped in _ESCAPES.items():
        text = text.replace(plain, escaped)
    return text.encode()


def head_sum(framed: bytes) -> int:
    """CRC-32C of a framed header as it reads without its `headsum`, computed bit by bit."""
    body = _HEAD_SUM.sub(b"", framed[4:], count=1)
    crc = 0xFFFFFFFF
    for byte in b"%04x%b" % (len(body), body):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
