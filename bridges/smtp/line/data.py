# SPDX-License-Identifier: AGPL-3.0-or-later
"""The octets of one mail, from DATA to their end: found in few steps, however they are cut (RFC 5321 §4.1.1.4, §4.5.2).

They come through the line guard, so nothing but CR LF ends a line in them. aiosmtpd reads them line by line, which
costs more than all else that is done with a mail of some length.
"""

from typing import Final

_LINE_END: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_STUFFED: Final = b"\r\n."  # RFC 5321 §4.5.2: a line that begins with a dot was given one more


class MailData:
    """What follows DATA: octets in, and once their end has come, `content`; None where that is too long.

    What is too long is not kept, but its end is waited for (RFC 5321 §4.2.5). `size_max_bytes`: as it comes.
    """

    def __init__(self, size_max_bytes: int) -> None:
        self.content: bytes | None = None
        self._size_max_bytes = size_max_bytes
        self._got = bytearray(_LINE_END)  # that of the DATA command: a dot alone may follow it at once
        self._too_long = False

    def feed(self, data: bytes) -> bytes | None:
        """More octets. None: the mail goes on; else it has ended, and these come after it."""
        got = self._got
        begin = max(0, len(got) + 1 - len(_END))  # what stands before was looked at
        got += data
        end = got.find(_END, begin)
        if end < 0:
            if len(got) - len(_LINE_END) - (len(_END) - 1) > self._size_max_bytes:
                self._too_long = True
                del got[: 1 - len(_END)]
            return None
        following = bytes(memoryview(got)[end + len(_END) :])
        del got[end + len(_LINE_END) :]
        if not self._too_long and end <= self._size_max_bytes:
            plain = got.replace(_STUFFED, _LINE_END) if _STUFFED in got else got
            self.content = bytes(memoryview(plain)[len(_LINE_END) :])
        self._got = bytearray()
        return following
