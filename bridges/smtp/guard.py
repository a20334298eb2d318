# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line guard: what must never reach the SMTP engine behind it.

aiosmtpd 1.4.6 keeps buffering an over-long line after its size limit, and passes bare CR, bare LF and NUL
through. Whatever ends a line in one program and not in the next is how mail is smuggled into a session
(end-of-data variants such as LF . LF): so nothing but CR LF ends a line here, and anything else ends the
session, with nothing accepted.
"""

from typing import Final

from bridges import limits

_CR, _LF, _NUL = 0x0D, 0x0A, 0x00


class LineViolation(Exception):
    """These bytes end the session; `reply` is the last word."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


_BARE_LF: Final = "554 5.6.0 A bare LF is not allowed: lines end with CR LF. Nothing was accepted."
_BARE_CR: Final = "554 5.6.0 A bare CR is not allowed: lines end with CR LF. Nothing was accepted."
_NUL_SEEN: Final = "554 5.6.0 A NUL is not allowed. Nothing was accepted."
_TOO_LONG: Final = f"500 5.5.6 A line is longer than {limits.DATA_LINE_MAX_BYTES} bytes. Nothing was accepted."


class LineGuard:
    """Looks at every byte once, whatever the cuts. Raises `LineViolation`."""

    def __init__(self) -> None:
        self._line_bytes = 0
        self._after_cr = False

    def check(self, data: bytes) -> None:
        """Pass the next bytes, or raise."""
        if _NUL in data:
            raise LineViolation(_NUL_SEEN)
        if self._after_cr and data[:1] != b"\n":
            raise LineViolation(_BARE_CR)
        lines = data.split(b"\n")
        for place, line in enumerate(lines[:-1]):
            begun_with_cr = place == 0 and not line and self._after_cr
            if not begun_with_cr and not line.endswith(b"\r"):
                raise LineViolation(_BARE_LF)
            if b"\r" in line[:-1]:
                raise LineViolation(_BARE_CR)
            self._count(len(line))
            self._line_bytes = 0
        rest = lines[-1]
        if b"\r" in rest[:-1]:
            raise LineViolation(_BARE_CR)
        self._count(len(rest))
        self._after_cr = rest.endswith(b"\r")

    def _count(self, size: int) -> None:
        self._line_bytes += size
        if self._line_bytes > limits.DATA_LINE_MAX_BYTES:
            raise LineViolation(_TOO_LONG)
