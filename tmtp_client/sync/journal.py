# SPDX-License-Identifier: AGPL-3.0-or-later
"""What devices tell one another: registers that are not told yet, gathered into posts to oneself (B3).

A post with empty `for` goes to the account's other devices alone; its head says `nodesync` (wire.md §11) and `sync`,
the version of this format, which other clients' posts of that kind do not have: those are left alone. Its text is JSON,

    {"edits": [[STAMP, {KIND: {KEY: {FIELD: VALUE, …}, …}, …}], …]}

and that form never changes: what is new comes as new kinds and fields, which an older device keeps.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct
from sqlalchemy import Connection

from tmtp_client import limits
from tmtp_client.sync import registers
from tmtp_client.sync.registers import Change
from tmtp_core.wire.payload import PostHead

VERSION: Final = 1
HEAD: Final = PostHead(nodesync=True, sync=VERSION)
"""Of each post that tells registers."""

_PER_POST: Final = 2_000  # registers that one post carries, about, where they are small
_OVERHEAD_BYTES: Final = 8  # of one more name in the JSON: quotes, colon, comma, braces


class Told(Struct, frozen=True):
    """The text of a post that tells registers."""

    edits: tuple[tuple[str, dict[str, dict[str, dict[str, Raw]]]], ...] = ()


_DECODER: Final = msgspec.json.Decoder(Told)


def is_ours(head: PostHead) -> bool:
    """Whether a post to oneself tells registers. Others are another client's: nothing to show, nothing to take."""
    return head.nodesync and head.sync >= VERSION


def read(text: bytes) -> tuple[Change, ...]:
    """What another device tells. Raises ValueError for what is not of this form."""
    if len(text) > limits.SYNC_POST_MAX_BYTES:
        raise ValueError(f"longer than {limits.SYNC_POST_MAX_BYTES} octets")
    try:
        edits = _DECODER.decode(text).edits
        return tuple(
            Change(kind, key, field, bytes(value).decode(), stamp)
            for stamp, kinds in edits
            for kind, keys in kinds.items()
            for key, fields in keys.items()
            for field, value in fields.items()
        )
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"the post of another device cannot be read: {error}") from None


def write(changes: Sequence[Change]) -> bytes:
    """The text that tells these, in their order."""
    edits: list[tuple[str, dict[str, dict[str, dict[str, Raw]]]]] = []
    for change in changes:
        if not edits or edits[-1][0] != change.stamp:
            edits.append((change.stamp, {}))
        keys = edits[-1][1].setdefault(change.kind, {})
        keys.setdefault(change.key, {})[change.field] = Raw(change.value.encode())
    return msgspec.json.encode(Told(tuple(edits)))


def gather(c: Connection, enqueue: Callable[[Connection, bytes], Any]) -> int:
    """Hand what is untold to `enqueue`, post by post, and call it told; how many posts.

    In the transaction that also keeps them in the outbox: what is told has left, or will. Where more is untold than
    `limits.SYNC_POSTS_AT_ONCE` posts carry, the rest stays for the next look.
    """
    pending = registers.untold(c, limits.SYNC_POSTS_AT_ONCE * _PER_POST)
    posts = 0
    while pending and posts < limits.SYNC_POSTS_AT_ONCE:
        count = _of_one_post(pending)
        enqueue(c, write(pending[:count]))
        registers.mark_told(c, pending[:count])
        pending = pending[count:]
        posts += 1
    return posts


def refused(c: Connection, text: bytes) -> None:
    """The service would not take a post that `gather` made: what it told is told again when the account next starts."""
    registers.mark_refused(c, read(text))


def _of_one_post(changes: Sequence[Change]) -> int:
    """How many from the first on one post carries; at least one."""
    size = 0
    for count, change in enumerate(changes):
        texts = (change.kind, change.key, change.field, change.value, change.stamp)
        size += sum(len(text.encode()) + _OVERHEAD_BYTES for text in texts)
        if count and size > limits.SYNC_POST_BYTES:
            return count
    return len(changes)
