# SPDX-License-Identifier: AGPL-3.0-or-later
"""What clients put into a post's data (wire.md §11). The service never looks.

A post's data is a JSON head of `datahead` octets, the text (CommonMark), then the attachments' octets in
the order of `attach`; the text's length is what remains.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tmtp_core import limits

Number = Annotated[int, Meta(ge=0, le=limits.SEALED_NUMBER_MAX)]


class Transfer(Struct, frozen=True, omit_defaults=True):
    """An attachment that does not stand in its post: it has gone ahead in `parts` posts of its own (`Part`)."""

    id: str
    size: Annotated[int, Meta(ge=0)]
    hash: str  # BLAKE2b-256 of all of it, base64url
    parts: Annotated[int, Meta(ge=1)]


class Attached(Struct, frozen=True, omit_defaults=True):
    """One attachment: `name` is unique in its post and begins with `u:` (a file), `f:` or `r:` (forms).

    `size` counts its octets in this post: 0 of one that has a `transfer`.
    """

    name: str
    size: Annotated[int, Meta(ge=0)] = 0  # existing clients leave it out for an empty file
    ffn: str = ""
    transfer: Transfer | None = None


class Forwarded(Struct, frozen=True, omit_defaults=True):
    """A message that a post hands on: as its forwarder has it, which nobody confirms.

    `start` and `size` are octets of the post's text: where its words stand. `attach`: places of its attachments.
    """

    id: str
    author: str  # uid
    alias: str
    posted: str
    subject: str = ""
    start: Annotated[int, Meta(ge=0)] = 0
    size: Annotated[int, Meta(ge=0)] = 0
    attach: tuple[int, ...] = ()


class Subscriber(Struct, frozen=True, omit_defaults=True):
    """One entry of `cc`: who reads a thread, and who asked them in."""

    who: str
    whouid: str
    by: str = ""
    byuid: str = ""
    date: str = ""
    note: str = ""
    subscribe: bool = False


class Wrapped(Struct, frozen=True, omit_defaults=True):
    """A message's key, sealed to one device. `prekey`: the public prekey it was sealed to; "": the log's `box`."""

    device: str
    sealed: str
    prekey: str = ""


class E2e(Struct, frozen=True, omit_defaults=True):
    """How a sealed post is opened (docs/protocol.md, *Sealed messages*). `tmtp_core.crypto.envelope` reads it strictly.

    `commit` names the one key that opens it, `header` is secretstream's. Suite 1: `nonce`, and of a passphrase `salt`,
    `ops` and `memory` (KiB). Suite 2: `keys`.
    """

    suite: Number
    epoch: Number = 0
    keys: tuple[Wrapped, ...] = ()
    commit: str = ""
    header: str = ""
    nonce: str = ""
    salt: str = ""
    ops: Number = 0
    memory: Number = 0


class Part(Struct, frozen=True, omit_defaults=True):
    """This post carries piece number `place`, from 0 on, of a large file, as its only attachment.

    `parts` and `size` are the whole file's.
    """

    transfer: str
    place: Annotated[int, Meta(ge=0)] = 0
    size: Annotated[int, Meta(ge=0)] = 0
    parts: Annotated[int, Meta(ge=1)] = 1


class PostHead(Struct, frozen=True, omit_defaults=True):
    """The head of a post. An empty `threadid` begins a thread, whose id becomes the post's `msgid`.

    `e2e` of a sealed post stands alone: all else is inside. `control`: the text is not a person's but JSON for the
    client, of this kind. `sync`: the text is JSON for one's other devices, in this version. `confirmfor`: the copy of
    the thread for whose readers this confirms. `copies`, `adds`: of sealed threads, the copy for who is asked in, and
    the note that names them (docs/protocol.md, *What clients say to each other*).
    """

    threadid: str | None = None
    alias: str = ""
    subject: str = ""
    cc: tuple[Subscriber, ...] = ()
    attach: tuple[Attached, ...] = ()
    confirmid: str = ""
    confirmposted: str = ""
    nodesync: bool = False
    e2e: E2e | None = None
    part: Part | None = None
    control: str = ""
    sync: int = 0
    confirmfor: str = ""
    copies: bool = False
    adds: str = ""
    forwarded: tuple[Forwarded, ...] = ()


def encode_post_head(head: PostHead) -> bytes:
    """The octets that `datahead` counts."""
    return msgspec.json.encode(head)


def decode_post_head(data: bytes) -> PostHead:
    """Read a head, with names in any case and null for "not given", as existing clients write them.

    Raises ValueError for what is none.
    """
    try:
        return msgspec.convert(_folded(msgspec.json.decode(data)), PostHead)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the head of the post cannot be read: {error}") from None


def _folded(value: Any) -> Any:
    """The same with names in lower case and without nulls."""
    if isinstance(value, dict):
        return {name.lower(): _folded(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_folded(one) for one in value]
    return value


def text_size(head: PostHead, datahead: int, datalen: int) -> int:
    """How many octets of text stand between head and attachments. Raises ValueError when the sizes do not add up."""
    size = datalen - datahead - sum(attached.size for attached in head.attach)
    if size < 0:
        raise ValueError("the attachments are announced larger than the post")
    return size
