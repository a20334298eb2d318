# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an entry of the log of decisions says, for who reads it at the other end of the door (C2)."""

import msgspec

from bridges.smtp.control.evidence import ActDone, Decided, Entry, MailDecided
from bridges.smtp.control.models import DecisionEntry

__all__ = ["ActDone", "Decided", "Entry", "MailDecided", "decoded"]


def decoded(entry: DecisionEntry) -> MailDecided | ActDone:
    """The entry's body. Raises `msgspec.DecodeError` where it is not as one was written."""
    return msgspec.json.decode(entry.body, type=MailDecided | ActDone)
