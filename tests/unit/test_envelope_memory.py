# SPDX-License-Identifier: AGPL-3.0-or-later
"""A large attachment passes through in constant memory, both ways, and no header makes a reader allocate (B9)."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import pytest

from tests.vectors.e2e.cast import ADA, BOB, LAPTOP, SERVICE, TABLET, Chance, act
from tests.vectors.e2e.forging import Forgery, compact, encrypted
from tmtp_core import limits
from tmtp_core.crypto.content_key import for_account, for_devices
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.envelope import Composed, Delivered, Octets, Opening, Sealing, compose
from tmtp_core.crypto.manifest import Piece, digest
from tmtp_core.crypto.passphrase import Cost, check_cost
from tmtp_core.crypto.sealed_heads import encode_outer
from tmtp_core.crypto.stream import EnvelopeRefused
from tmtp_core.wire.payload import Attached, PostHead

BLOCK = bytes(range(256)) * 256
PEAK_MAX_BYTES = 2 << 20
DELIVERED = Delivered(SERVICE.public_key, ADA.uid, BOB.uid)


@contextmanager
def a_peak_below(size_max_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size_max_bytes
    finally:
        tracemalloc.stop()


def composed_of(blocks: int) -> Composed:
    """A text, and a file of so many blocks."""
    hashed = blake2b(digest_size=32)
    for _ in range(blocks):
        hashed.update(BLOCK)
    size = blocks * len(BLOCK)
    key, e2e = for_devices([TABLET.target()], Chance("memory"))
    what = act(PostHead(attach=(Attached("u:film", size),)), [ADA.account(), BOB.account()])
    return compose(key, e2e, what, b"See!", [Piece(size, to_text(hashed.digest()))], LAPTOP.signer, SERVICE.public_key)


def stream_of(composed: Composed, blocks: int) -> Iterator[bytes]:
    sealing = Sealing(composed, SERVICE.public_key)
    yield sealing.push(b"See!")
    for _ in range(blocks):
        yield sealing.push(BLOCK)
    yield from sealing.finish()


@pytest.mark.parametrize("blocks", [8 << 4, pytest.param(200 << 4, marks=pytest.mark.slow)])
def test_an_attachment_of_any_size_takes_constant_memory(blocks: int) -> None:
    composed = composed_of(blocks)
    opening = Opening(for_account(composed.key, BOB.uid), composed.outer, composed.size, DELIVERED)
    received = 0
    with a_peak_below(PEAK_MAX_BYTES):
        for piece in stream_of(composed, blocks):
            given = opening.push(piece)
            received += sum(len(one.data) for one in given if isinstance(one, Octets) and one.place == 0)
        opening.finish()
    assert received == blocks * len(BLOCK)


def test_sizes_that_are_only_said_allocate_nothing() -> None:
    forgery = Forgery()
    forgery.manifest["attachments"][1]["size"] = 2**50
    outer = encode_outer(forgery.e2e)
    plain = forgery.plain(compact(forgery.manifest))
    stream = encrypted(forgery.key, forgery.service, outer, forgery.e2e, [plain], [3])
    with a_peak_below(PEAK_MAX_BYTES), pytest.raises(EnvelopeRefused, match="not as long as"):
        Opening(for_account(forgery.key, BOB.uid), outer, len(stream), DELIVERED).push(stream)


def test_a_beginning_that_never_ends_is_not_gathered() -> None:
    """Who has the key says that the manifest is as long as it may be, and goes on for ever."""
    forgery = Forgery()
    outer = encode_outer(forgery.e2e)
    forgery.length = limits.MANIFEST_MAX_BYTES
    beginning = forgery.length.to_bytes(4)
    pieces = [beginning + bytes(65_532), *[bytes(65_536)] * 40]
    stream = encrypted(forgery.key, forgery.service, outer, forgery.e2e, pieces, [0] * 41)
    opening = Opening(for_account(forgery.key, BOB.uid), outer, len(stream) + (65_553 << 10), DELIVERED)
    with a_peak_below(3 << 20), pytest.raises(EnvelopeRefused, match="no manifest"):
        for at in range(0, len(stream), 65_553):
            opening.push(stream[at : at + 65_553])


@pytest.mark.parametrize(
    "cost", [Cost(1, 64 << 10), Cost(9, 64 << 10), Cost(2, 1), Cost(2, 1 << 30), Cost(2**40, 2**40)]
)
def test_a_passphrase_costs_what_is_allowed_and_no_more(cost: Cost) -> None:
    with a_peak_below(PEAK_MAX_BYTES), pytest.raises(EnvelopeRefused, match="allowed"):
        check_cost(cost)


def test_the_hash_of_a_manifest_is_plain_blake2b() -> None:
    assert digest(b"") == "DldRwCblQ7Loqy6wYJnaodHl30d3j3eH-qtFzfEv46g"
