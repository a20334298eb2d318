# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two heads of a sealed message, read strictly (B9; docs/protocol.md, *Sealed messages*).

The outer one has `e2e` and nothing else; the service sees it. The inner one is a post's head as ever, and nobody sees
it who has not the key.
"""

from json import JSONDecoder
from typing import Any, Final

import msgspec

from tmtp_core import limits
from tmtp_core.crypto.content_key import DEVICES, SHARED, SHARED_NONCE_BYTES, WRAPPED_BYTES
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.passphrase import SALT_BYTES, Cost, check_cost
from tmtp_core.crypto.signing import HASH_BYTES, PUBLIC_KEY_BYTES
from tmtp_core.crypto.stream import HEADER_BYTES, EnvelopeRefused
from tmtp_core.wire.payload import E2e, PostHead, decode_post_head, encode_post_head


# -- the outer head --------------------------------------------------------------------------------------------------
def encode_outer(e2e: E2e) -> bytes:
    """The octets that `datahead` of a sealed post counts."""
    return encode_post_head(PostHead(e2e=e2e))


def decode_outer(outer: bytes) -> E2e:
    """Undo `encode_outer`, and nothing else. Raises `EnvelopeRefused`."""
    if len(outer) > limits.OUTER_HEAD_MAX_BYTES:
        raise EnvelopeRefused(f"the head of a sealed message has at most {limits.OUTER_HEAD_MAX_BYTES} octets")
    try:
        e2e = msgspec.json.decode(outer, type=PostHead).e2e
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeRefused(f"the head of the sealed message cannot be read: {error}") from None
    if e2e is None:
        raise EnvelopeRefused("this head is not a sealed message's")
    if e2e.suite not in (SHARED, DEVICES):
        raise EnvelopeRefused(f"sealed by suite {e2e.suite}, which this version does not know")
    if encode_outer(e2e) != outer:  # nothing beside it, nothing twice, nothing unknown: it is signed as a whole
        raise EnvelopeRefused("the head of the sealed message is not written as such heads are")
    try:
        _check_e2e(e2e)
    except ValueError as error:
        raise EnvelopeRefused(f"the head of the sealed message makes no sense: {error}") from None
    return e2e


def _check_e2e(e2e: E2e) -> None:
    """Raise ValueError unless exactly what the suite needs is there."""
    from_text(e2e.commit, HASH_BYTES)
    from_text(e2e.header, HEADER_BYTES)
    if e2e.suite == DEVICES:
        if not e2e.keys or e2e.epoch or e2e.nonce or e2e.salt or e2e.ops or e2e.memory:
            raise ValueError("suite 2 has keys, and nothing of suite 1")
        _check_keys(e2e)
        return
    if e2e.keys:
        raise ValueError("suite 1 has no keys")
    from_text(e2e.nonce, SHARED_NONCE_BYTES)
    if e2e.salt:
        from_text(e2e.salt, SALT_BYTES)
        check_cost(Cost(e2e.ops, e2e.memory))
    elif e2e.ops or e2e.memory:
        raise ValueError("a cost without a salt")


def _check_keys(e2e: E2e) -> None:
    if len(e2e.keys) > limits.SEALED_KEYS_MAX:
        raise ValueError(f"sealed to more than {limits.SEALED_KEYS_MAX} devices")
    if len({one.device for one in e2e.keys}) != len(e2e.keys):
        raise ValueError("a device stands twice")
    for one in e2e.keys:
        from_text(one.device, PUBLIC_KEY_BYTES)
        from_text(one.sealed, WRAPPED_BYTES)
        from_text(one.prekey, PUBLIC_KEY_BYTES if one.prekey else 0)


# -- the inner head --------------------------------------------------------------------------------------------------
def decode_inner(raw: bytes) -> PostHead:
    """The head that is inside. Raises `EnvelopeRefused`."""
    if len(raw) > limits.INNER_HEAD_MAX_BYTES:
        raise EnvelopeRefused(f"the head inside has at most {limits.INNER_HEAD_MAX_BYTES} octets")
    try:
        _NAMES.decode(raw.decode())
        head = decode_post_head(raw)
    except (ValueError, RecursionError) as error:
        raise EnvelopeRefused(f"the head inside cannot be read: {error}") from None
    if head.e2e is not None:
        raise EnvelopeRefused("a sealed message inside a sealed message")
    if len({attached.name for attached in head.attach}) != len(head.attach):
        raise EnvelopeRefused("two attachments have one name")
    return head


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Whoever takes the first of two would read another head; heads' names have no case (wire.md §11)."""
    if len({name.lower() for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")


_NAMES: Final = JSONDecoder(object_pairs_hook=_once)
