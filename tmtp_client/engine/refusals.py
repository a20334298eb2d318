# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the refusal of a post means: whether to try again, and what its person can do (docs/protocol.md, *Errors*)."""

from collections.abc import Sequence
from typing import Final

TOO_LONG: Final = "data too long for request type"
HOPELESS: Final = frozenset(  # quits that a request earns by what it is: it would earn them again (wire.md §2, §6)
    {
        "invalid header",
        "invalid header length",
        TOO_LONG,
        "data too short for request type",
        "data not valid UTF8",
        "recipient list empty",
    }
)
UNANSWERED: Final = "the service has not answered to it"


def ended(quit: str) -> str:
    """What became of a request at which the service ended the connection, time after time; in words for a person."""
    return (
        f"each time that this was sent the service ended the connection, at last with the words: {quit}. Nobody knows "
        "here whether it has the message: ask those whom it is for before you try again"
    )


def is_temporary(text: str) -> bool:
    """Whether the service says so itself: quotas, its own troubles, and recipients that are not ready yet."""
    return "try again" in text or text.endswith(" yet")


def advice(text: str, names: Sequence[str]) -> str:
    """The service's words, and what to do; in words for a person."""
    who = ", ".join(names) or "the recipients"
    for words, act in _ACTS:
        if words in text:
            return f"{text}: {act.format(who=who)}"
    return text


_ACTS: Final = (
    ("not acquainted", "ping {who} first, and write when the ping is answered"),
    ("not a member", "you are not in that group; ask somebody who is to invite you"),
    ("iGid", "there is no such group"),
    ("iUid", "somebody of {who} has no account here any more; leave them out and send again"),
    ("iAlias", "nobody here is called so; look at how the name is written"),
    ("from must identify sender", "choose one of your own names to write under"),
    ("data too long", "the service takes no message as long as this; send less at once"),
    ("a bridge may", "an account that serves a bridge cannot do this"),
)
