# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line guard: what must never reach the SMTP engine behind it.

aiosmtpd 1.4.6 keeps buffering an over-long line after its size limit, and passes bare CR, bare LF and NUL
through. Whatever ends a line in one program and not in the next is how mail is smuggled into a session
(end-of-data variants such as LF . LF): so nothing but CR LF ends a line here, and anything else ends the
session, with nothing accepted.
"""

from typing import Final

from bridges import limits

_NUL: Final = 0


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
        ends_with_cr = data.endswith(b"\r")
        begins_with_its_lf = self._after_cr and data.startswith(b"\n")
        if self._after_cr and data and not begins_with_its_lf:
            raise LineViolation(_BARE_CR)
        # Each LF and each CR is one half of a pair here, or of the one that was cut at either end.
        pairs = data.count(b"\r\n")
        if data.count(b"\n") != pairs + begins_with_its_lf:
            raise LineViolation(_BARE_LF)
        if data.count(b"\r") != pairs + ends_with_cr:
            raise LineViolation(_BARE_CR)
        self._count(data)
        self._after_cr = ends_with_cr if data else self._after_cr

    def _count(self, data: bytes) -> None:
        """Bound the length of every line, its CR counted."""
        if self._line_bytes + len(data) <= limits.DATA_LINE_MAX_BYTES:
            end = data.rfind(b"\n")
            self._line_bytes = self._line_bytes + len(data) if end < 0 else len(data) - end - 1
            return
        for place, line in enumerate(data.split(b"\n")):
            self._line_bytes = len(line) + (self._line_bytes if place == 0 else 0)
            if self._line_bytes > limits.DATA_LINE_MAX_BYTES:
                raise LineViolation(_TOO_LONG)
