# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a machine wrote a mail (RFC 3834 §2): nothing is ever answered to one, and it need not be invited (C5)."""

import re
from typing import Final

from bridges.smtp.control.evidence import Machine
from bridges.smtp.proof.author import Header

_NO_REPLY: Final = re.compile(
    r"(?:do[-_.]?not|dont|never|no)[-_.]?(?:reply|answer|response)(?:[-_.+].*)?|.*[-_.+]no[-_.]?reply"
    r"|mailer[-_.]?daemon|bounces?(?:[-_.+].*)?|notifications?(?:[-_.+].*)?"
)
_LIST: Final = ("list-id", "list-post", "list-unsubscribe")  # RFC 2919, RFC 2369


def machine_of(header: Header, author: str, mail_from: str) -> Machine:
    """What shows that a machine wrote it; the plainest sign of several. `mail_from` "" is the null sender."""
    submitted = _word(header, "auto-submitted")
    precedence = _word(header, "precedence")
    if submitted not in ("", "no"):  # RFC 3834 §5
        return "auto-submitted"
    if precedence == "list" or any(header.all(name) for name in _LIST):
        return "list"
    if precedence in ("bulk", "junk"):
        return "bulk"
    if header.all("feedback-id"):
        return "feedback-id"
    if not mail_from:
        return "null-sender"
    return "no-reply" if _NO_REPLY.fullmatch(author.rpartition("@")[0]) else ""


def _word(header: Header, name: str) -> str:
    """The first word of a field, in lower case: parameters and comments follow it."""
    values = header.all(name)
    words = re.split(r"[\s;(]", values[0].strip().lower(), maxsplit=1) if values else [""]
    return words[0]
