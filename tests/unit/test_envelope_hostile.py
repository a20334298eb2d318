# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sealed messages in wrong hands (B9): whoever alters, cuts, mixes, replays or forges is noticed, and nobody crashes.

Three adversaries: a service, which has no key; a recipient, who has one; a sender, who signs what he likes.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from tests.support.sealed import Read, key_for, read
from tests.vectors.e2e.cast import (
    ADA,
    BOB,
    CAT,
    OTHER_SERVICE,
    PHONE,
    SERVICE,
    TABLET,
    Chance,
    Device,
    act,
    octets,
    sealed,
)
from tests.vectors.e2e.forging import FILES, TEXT, Forgery, compact, encrypted
from tests.vectors.e2e.make import CHEAP, device_reader
from tmtp_core import limits
from tmtp_core.crypto.content_key import for_account, for_devices, for_shared, key_of_shared, opens, unwrap, wrap
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.envelope import Composed, Delivered, Opening, Sealing
from tmtp_core.crypto.manifest import Link, decode, encode, open_link, seal_link
from tmtp_core.crypto.sealed_heads import decode_inner, decode_outer, encode_outer
from tmtp_core.crypto.stream import OVERHEAD_BYTES, PIECE_BYTES, EnvelopeRefused, stream_size
from tmtp_core.wire.messages import Recipient
from tmtp_core.wire.payload import Attached, E2e, PostHead, Wrapped

DELIVERED = Delivered(SERVICE.public_key, ADA.uid, BOB.uid)
SEALED_PIECE = PIECE_BYTES + OVERHEAD_BYTES


def composed_of(text: bytes, files: list[bytes], label: str = "hostile") -> tuple[Composed, bytes]:
    """From Ada to Bob's tablet and her phone."""
    key, e2e = for_devices([TABLET.target("prekey"), PHONE.target()], Chance(label))
    attach = tuple(Attached(f"u:{place}", len(file)) for place, file in enumerate(files))
    head = PostHead(threadid="16f00000000000a1", subject="Deal", attach=attach)
    return sealed(key, e2e, act(head, [ADA.account(3), BOB.account(2)]), text, files)


def open_post(outer: bytes, stream: bytes, delivered: Delivered = DELIVERED, device: Device = TABLET) -> Read:
    """Everything that a client does with what came. Raises `EnvelopeRefused`."""
    which = "prekey" if device is TABLET else "box"
    key = key_for(decode_outer(outer), device_reader(device, which), [octets("another"), SHARED])
    return read(key, outer, [stream], len(stream), delivered)


SHORT = composed_of(b"as agreed", [b"the contract", b"", b"the receipts"])
SHARED = octets("shared")


def shared_post() -> tuple[Composed, bytes]:
    """The same as SHORT, under a key that both share."""
    key, e2e = for_shared(SHARED, 2, Chance("shared"), salt=octets("salt", 16), cost=CHEAP)
    attach = tuple(Attached(f"u:{place}", len(file)) for place, file in enumerate(FILES))
    head = PostHead(threadid="16f00000000000a1", subject="Deal", attach=attach)
    return sealed(key, e2e, act(head, [ADA.account(3), BOB.account(2)]), TEXT, FILES)


UNDER_SHARED = shared_post()
POSTS = {"devices": SHORT, "shared": UNDER_SHARED}
LONG = composed_of(b"see there", [octets("long", 150_000)])
OTHER = composed_of(b"not agreed", [b"the tcartnoc", b"", b"the stpiecer"], "other")


def contents(found: Read) -> tuple[bytes, list[bytes]]:
    return found.text, found.attachments


# -- as it should be -------------------------------------------------------------------------------------------------
@given(
    text=st.binary(max_size=200),
    files=st.lists(st.binary(max_size=200), max_size=4),
    pad=st.sampled_from([0, 64_000, 65_000, 66_000, 130_000]),
    cut=st.integers(1, 70_000),
)
@example(text=b"", files=[], pad=0, cut=1)
def test_what_was_sealed_opens_in_whatever_pieces_it_goes_and_comes(
    text: bytes, files: list[bytes], pad: int, cut: int
) -> None:
    files = [*files, octets("pad", pad)] if pad else files
    composed, stream = composed_of(text, files)
    assert len(stream) == composed.size
    sealing = Sealing(composed, SERVICE.public_key)
    content = text + b"".join(files)
    again = b"".join(sealing.push(content[at : at + cut]) for at in range(0, len(content), cut))
    assert again + b"".join(sealing.finish()) == stream  # all tries send the same octets
    key = key_for(decode_outer(composed.outer), device_reader(TABLET, "prekey"))
    cut = max(cut, len(stream) // 500)
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    found = read(key, composed.outer, pieces, len(stream), DELIVERED)
    assert contents(found) == (text, files)
    assert found.opened.manifest_hash == composed.manifest_hash


def test_each_account_reads_its_own_place_in_the_chain_and_no_other() -> None:
    composed, stream = SHORT
    assert open_post(*(composed.outer, stream)).opened.link.count == 2
    mine = open_post(composed.outer, stream, replace(DELIVERED, reader=ADA.uid), PHONE)
    assert mine.opened.link.count == 3
    with pytest.raises(EnvelopeRefused, match="place among"):
        open_post(composed.outer, stream, replace(DELIVERED, reader=ADA.uid))  # with Bob's key


@pytest.mark.parametrize("link", [Link(2**53), Link(0, to_text(bytes(31) + b"\1"))])
def test_a_place_in_the_chain_that_cannot_be_is_refused(link: Link) -> None:
    key = SHORT[0].key
    with pytest.raises(EnvelopeRefused, match="makes no sense"):
        open_link(for_account(key, BOB.uid), seal_link(key, BOB.uid, link))


def test_a_message_under_a_shared_key_opens() -> None:
    found = open_post(UNDER_SHARED[0].outer, UNDER_SHARED[1])
    assert contents(found) == (TEXT, FILES)
    assert (found.opened.manifest.suite, found.opened.manifest.epoch) == (1, 2)


def test_sealing_takes_what_was_composed_and_nothing_else() -> None:
    composed, _ = SHORT
    for content in (b"As agreedthe contractthe receipts", b"as agreed" + b"the contract" * 3):
        with pytest.raises(ValueError, match=r"another|more than"):
            Sealing(composed, SERVICE.public_key).push(content)
    sealing = Sealing(composed, SERVICE.public_key)
    sealing.push(b"as agreed")
    with pytest.raises(ValueError, match="not all"):
        sealing.finish()


# -- a service -------------------------------------------------------------------------------------------------------
@given(st.data())
def test_a_service_that_alters_an_octet_is_noticed(data: st.DataObject) -> None:
    composed, stream = POSTS[data.draw(st.sampled_from(sorted(POSTS)))]
    post = bytearray(composed.outer + stream)
    post[data.draw(st.integers(0, len(post) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EnvelopeRefused):
        open_post(bytes(post[: len(composed.outer)]), bytes(post[len(composed.outer) :]))


@given(st.data())
def test_a_service_that_moves_repeats_or_leaves_out_octets_is_noticed(data: st.DataObject) -> None:
    composed, stream = POSTS[data.draw(st.sampled_from(sorted(POSTS)))]
    post = composed.outer + stream
    start = data.draw(st.integers(0, len(post) - 1))
    end = data.draw(st.integers(start + 1, len(post)))
    to = data.draw(st.integers(0, len(post)))
    act_ = data.draw(st.sampled_from(["repeat", "leave out", "move", "insert"]))
    part, rest = post[start:end], post[:start] + post[end:]
    made = {
        "repeat": post[:to] + part + post[to:],
        "leave out": rest,
        "move": rest[:to] + part + rest[to:],
        "insert": post[:to] + bytes(end - start) + post[to:],
    }[act_]
    if made == post:
        return
    for datahead in {len(composed.outer), len(composed.outer) + len(made) - len(post)}:
        with pytest.raises(EnvelopeRefused):
            open_post(made[:datahead], made[datahead:])


@pytest.mark.parametrize(
    "order", [(0, 1), (0, 2), (1, 0, 2), (0, 2, 1), (0, 0, 1, 2), (0, 1, 1, 2), (0, 1, 2, 2), (2,), ()]
)
def test_a_service_that_drops_swaps_or_repeats_pieces_is_noticed(order: tuple[int, ...]) -> None:
    composed, stream = LONG
    pieces = [stream[at : at + SEALED_PIECE] for at in range(0, len(stream), SEALED_PIECE)]
    assert len(pieces) == 3
    with pytest.raises(EnvelopeRefused):
        open_post(composed.outer, b"".join(pieces[place] for place in order))


@given(st.integers(0, len(LONG[1]) - 1))
def test_what_ends_too_early_is_noticed_also_when_its_length_was_told_right(size: int) -> None:
    composed, stream = LONG
    key = key_for(decode_outer(composed.outer), device_reader(TABLET, "prekey"))
    opening = Opening(key, composed.outer, len(stream), DELIVERED)
    opening.push(stream[:size])
    with pytest.raises(EnvelopeRefused, match="cut off"):
        opening.finish()


def test_what_was_refused_once_stays_refused() -> None:
    composed, stream = SHORT
    key = key_for(decode_outer(composed.outer), device_reader(TABLET, "prekey"))
    opening = Opening(key, composed.outer, len(stream), DELIVERED)
    for _ in range(2):
        with pytest.raises(EnvelopeRefused, match="altered"):
            opening.push(b"\0" * len(stream))
    with pytest.raises(EnvelopeRefused, match="altered"):
        opening.finish()


def test_nothing_of_two_messages_can_be_mixed() -> None:
    (one, one_stream), (two, two_stream) = SHORT, OTHER
    assert len(one_stream) == len(two_stream)
    with pytest.raises(EnvelopeRefused):
        open_post(one.outer, two_stream)
    mine, theirs = decode_outer(one.outer), decode_outer(two.outer)
    for name in ("keys", "commit", "header"):
        mixed = {field: getattr(mine, field) for field in E2e.__struct_fields__} | {name: getattr(theirs, name)}
        with pytest.raises(EnvelopeRefused):
            open_post(encode_outer(E2e(**mixed)), one_stream)


@pytest.mark.parametrize(
    "delivered",
    [
        replace(DELIVERED, service_key=OTHER_SERVICE.public_key),
        replace(DELIVERED, sender=CAT.uid),
        replace(DELIVERED, sender=BOB.uid),
        replace(DELIVERED, reader=CAT.uid),
    ],
)
def test_a_message_is_read_at_one_service_from_one_account_and_by_whom_it_is_for(delivered: Delivered) -> None:
    with pytest.raises(EnvelopeRefused):
        open_post(SHORT[0].outer, SHORT[1], delivered)


# -- a recipient, who has the key ------------------------------------------------------------------------------------
@given(st.data())
def test_a_recipient_who_alters_what_was_signed_is_noticed(data: st.DataObject) -> None:
    forgery = Forgery()
    plain = bytearray(forgery.plain(compact(forgery.manifest)))
    plain[data.draw(st.integers(0, len(plain) - 1))] ^= data.draw(st.integers(1, 255))
    _refused(forgery, bytes(plain))


@given(st.data())
def test_a_recipient_who_moves_what_was_signed_is_noticed(data: st.DataObject) -> None:
    forgery = Forgery()
    plain = forgery.plain(compact(forgery.manifest))
    one, two, three = sorted(data.draw(st.lists(st.integers(0, len(plain)), min_size=3, max_size=3)))
    made = data.draw(
        st.sampled_from(
            [
                plain[:one] + plain[two:three] + plain[one:two] + plain[three:],
                plain[:one] + plain[two:],
                plain[:two] + plain[one:],
                plain[:one],
            ]
        )
    )
    if made != plain:
        _refused(forgery, made)


@given(st.binary(max_size=2_000), st.integers(0, 3_000))
@example(b"", 0)
@example(b"\0\0\0\0", 0)
@example(b"\0\0\0\2{}", 64)
def test_a_recipient_who_seals_what_he_likes_is_noticed(made: bytes, zeros: int) -> None:
    _refused(Forgery(), made + bytes(zeros))


def _refused(forgery: Forgery, plain: bytes) -> None:
    outer = encode_outer(forgery.e2e)
    stream = encrypted(forgery.key, forgery.service, outer, forgery.e2e, [plain], [3])
    delivered = Delivered(SERVICE.public_key, ADA.uid, BOB.uid)
    with pytest.raises(EnvelopeRefused):
        read(for_account(forgery.key, BOB.uid), outer, [stream], len(stream), delivered)


def test_a_recipient_learns_nothing_of_the_others_keys() -> None:
    key, e2e = for_devices([TABLET.target(), PHONE.target()], Chance("keys"))
    bobs = unwrap(e2e.keys[0].sealed, TABLET.secret("box"))
    adas = unwrap(e2e.keys[1].sealed, PHONE.secret("box"))
    assert bobs == for_account(key, BOB.uid)
    assert bobs[:32] == adas[:32]
    assert len({bobs[32:], adas[32:], key[32:]}) == 3
    assert opens(e2e, bobs)
    with pytest.raises(EnvelopeRefused, match="not sealed to this device"):
        unwrap(e2e.keys[0].sealed, PHONE.secret("box"))


# -- a sender, who signs what he likes -------------------------------------------------------------------------------
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=50)
    | st.just(to_text(bytes(32))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for name, one in items for found in _paths(one, (*path, name)))]


FREE = {"time", "request", "for", "head"}
"""What a sender may say as he likes: others judge it."""


@given(st.data())
def test_a_sender_can_sign_no_manifest_that_contradicts_the_message(data: st.DataObject) -> None:
    forgery = Forgery()
    path = data.draw(st.sampled_from(_paths(forgery.manifest)[1:]))
    place: Any = forgery.manifest
    for name in path[:-1]:
        place = place[name]
    before = json.dumps(forgery.manifest)
    if data.draw(st.booleans()):
        place[path[-1]] = data.draw(values)
    else:
        del place[path[-1]]
    if json.dumps(forgery.manifest) == before:
        return
    outer, stream = forgery.post()
    try:
        found = read(for_account(forgery.key, BOB.uid), outer, [stream], len(stream), DELIVERED)
    except EnvelopeRefused:
        return
    assert set(path) & FREE or path[:2] == ("accounts", 0), path
    assert contents(found) == (TEXT, FILES)


def test_a_sender_cannot_let_two_read_different_things_out_of_one_post() -> None:
    """Two keys may open one stream (secretstream commits to none): the head names one of them, the same for all."""
    one, e2e = for_devices([TABLET.target()], Chance("one"))
    two, other = for_devices([PHONE.target()], Chance("two"))
    for commit in (e2e.commit, other.commit):
        both = E2e(2, keys=(*e2e.keys, *other.keys), commit=commit, header=e2e.header)
        assert [opens(both, for_account(one, BOB.uid)), opens(both, for_account(two, ADA.uid))].count(True) == 1
    with pytest.raises(EnvelopeRefused, match="not the key of this message"):
        Opening(for_account(two, ADA.uid), encode_outer(e2e), stream_size(256), DELIVERED)


# -- anybody ---------------------------------------------------------------------------------------------------------
OUTER = SHORT[0].outer
jsonish = st.one_of(
    st.binary(max_size=200),
    values.map(lambda value: json.dumps({"e2e": value}).encode()),
    st.builds(
        lambda name, value: json.dumps(
            {"e2e": json.loads(OUTER)["e2e"] | {name: value}}, separators=(",", ":")
        ).encode(),
        st.sampled_from([*E2e.__struct_fields__, "more"]),
        values,
    ),
)


@given(jsonish)
@example(b"[" * 100_000)
@example(b'{"e2e":' + b"[" * 100_000)
@example(b'{"e2e":{"suite":' + b"9" * 5_000 + b"}}")
@example(b'{"e2e":{"suite":1e999}}')
@example(b" " * (limits.OUTER_HEAD_MAX_BYTES + 1))
def test_no_outer_head_brings_a_reader_down(raw: bytes) -> None:
    try:
        assert encode_outer(decode_outer(raw)) == raw  # another one that is well formed
    except EnvelopeRefused as refused:
        assert len(str(refused)) < 500


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
@example(b'{"a":' * 100_000)
@example(b"[" * 100_000)
@example(b"9" * 5_000)
@example(b'"\\ud800"')
@example(b" " * (limits.MANIFEST_MAX_BYTES + 1))
def test_no_manifest_and_no_inner_head_brings_a_reader_down(raw: bytes) -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        decode(raw)
    assert len(str(refused.value)) < 500
    try:
        decode_inner(raw)
    except EnvelopeRefused as error:
        assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("read_it", "size_max"),
    [
        (decode_outer, limits.OUTER_HEAD_MAX_BYTES),
        (decode, limits.MANIFEST_MAX_BYTES),
        (decode_inner, limits.INNER_HEAD_MAX_BYTES),
    ],
)
def test_what_is_too_large_is_not_even_parsed(read_it: Callable[[bytes], object], size_max: int) -> None:
    with pytest.raises(EnvelopeRefused, match=f"at most {size_max} octets"):
        read_it(b" " * (size_max + 1))


@pytest.mark.parametrize("size", [-1, 0, 16, SEALED_PIECE + 1, SEALED_PIECE + OVERHEAD_BYTES, 2**70])
def test_no_length_brings_a_reader_down(size: int) -> None:
    key = for_account(SHORT[0].key, BOB.uid)
    with pytest.raises(EnvelopeRefused):
        Opening(key, OUTER, size, DELIVERED).finish()


BY_DEVICES, BY_SHARED = decode_outer(SHORT[0].outer), decode_outer(UNDER_SHARED[0].outer)
ONE = BY_DEVICES.keys[0]


@pytest.mark.parametrize(
    ("e2e", "changes"),
    [
        (BY_DEVICES, {"keys": ()}),
        (BY_DEVICES, {"keys": (structs.replace(ONE, device=ONE.device[:-2]),)}),
        (BY_DEVICES, {"keys": (structs.replace(ONE, sealed=ONE.sealed[:-2]),)}),
        (BY_DEVICES, {"keys": (structs.replace(ONE, prekey=ONE.prekey[:-2]),)}),
        (BY_DEVICES, {"commit": ""}),
        (BY_DEVICES, {"header": ""}),
        (BY_DEVICES, {"nonce": BY_SHARED.nonce}),
        (BY_DEVICES, {"salt": BY_SHARED.salt}),
        (BY_DEVICES, {"ops": 4}),
        (BY_DEVICES, {"memory": 1}),
        (BY_SHARED, {"keys": BY_DEVICES.keys}),
        (BY_SHARED, {"commit": BY_SHARED.commit + "AAAA"}),
        (BY_SHARED, {"header": BY_SHARED.header + "AAAA"}),
        (BY_SHARED, {"nonce": BY_SHARED.nonce[:-4]}),
        (BY_SHARED, {"salt": BY_SHARED.salt + "AAAA"}),
        (BY_SHARED, {"salt": ""}),
        (BY_SHARED, {"ops": 1}),
        (BY_SHARED, {"memory": 0}),
    ],
)
def test_an_outer_head_has_what_its_suite_needs_and_no_more(e2e: E2e, changes: dict[str, Any]) -> None:
    assert decode_outer(encode_outer(e2e)) == e2e
    with pytest.raises(EnvelopeRefused, match="makes no sense"):
        decode_outer(encode_outer(structs.replace(e2e, **changes)))


def _sealed_to(devices: int) -> E2e:
    keys = (Wrapped(to_text(number.to_bytes(32)), to_text(bytes(112)), to_text(bytes(32))) for number in range(devices))
    return E2e(2, keys=tuple(keys), commit=to_text(bytes(32)), header=to_text(bytes(24)))


def test_as_many_devices_as_are_allowed_and_no_more() -> None:
    most = _sealed_to(limits.SEALED_KEYS_MAX)
    assert decode_outer(encode_outer(most)) == most
    with pytest.raises(EnvelopeRefused, match="more than 3500 devices"):
        decode_outer(encode_outer(_sealed_to(limits.SEALED_KEYS_MAX + 1)))
    with pytest.raises(EnvelopeRefused, match="at most 1048576 octets"):
        decode_outer(encode_outer(_sealed_to(limits.SEALED_KEYS_MAX + 400)))


def test_as_many_accounts_and_attachments_as_are_allowed_and_no_more() -> None:
    """Each of the most has room for the others' most."""
    manifest = decode(compact(Forgery().manifest))
    ada, bob = manifest.accounts
    accounts = tuple(structs.replace(bob, uid=f"{number:032}") for number in range(limits.SEALED_ACCOUNTS_MAX))
    pieces = (structs.replace(manifest.text, size=2**40),) * limits.SEALED_ATTACHMENTS_MAX
    to = tuple(Recipient(one.uid, 1) for one in accounts)
    most = structs.replace(manifest, for_=to, accounts=(ada, *accounts[1:]), attachments=pieces)
    assert decode(encode(most)) == most
    for more, why in [
        ({"accounts": (ada, *accounts)}, "more than 1000 accounts"),
        ({"attachments": (*pieces, pieces[0])}, "more than 1000 attachments"),
        ({"inner": structs.replace(manifest.inner, size=limits.INNER_HEAD_MAX_BYTES + 1)}, "inner head has more"),
        ({"text": structs.replace(manifest.text, hash="short")}, "no sense"),
    ]:
        with pytest.raises(EnvelopeRefused, match=why):
            decode(encode(structs.replace(most, **more)))


def test_strings_are_written_as_rfc_8785_has_them() -> None:
    """A second implementation writes the same octets, whatever stands in a thread's or group's name."""
    text = "".join(chr(code) for code in range(0x10FFFF) if not 0xD800 <= code < 0xE000)
    manifest = structs.replace(decode(compact(Forgery().manifest)), request=text)
    assert json.dumps(text, ensure_ascii=False).encode() in encode(manifest)


@given(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_a_shared_key_opens_its_own_and_nothing_else(epoch: int, shared: bytes) -> None:
    key, e2e = for_shared(shared, epoch, Chance("shared"))
    assert key_of_shared(decode_outer(encode_outer(e2e)), shared, BOB.uid) == for_account(key, BOB.uid)
    assert key_of_shared(e2e, bytes(31) + bytes([shared[31] ^ 1]), BOB.uid) is None


@given(st.binary(min_size=112, max_size=112) | st.binary(max_size=200))
def test_no_sealed_key_brings_a_reader_down(sealed_key: bytes) -> None:
    with pytest.raises(EnvelopeRefused):
        unwrap(to_text(sealed_key), TABLET.secret("box"))


def test_nothing_is_sealed_to_what_is_no_key() -> None:
    for box in (to_text(bytes(32)), to_text(b"\1" + bytes(31)), "", "x" * 43, to_text(bytes(31))):
        with pytest.raises(ValueError):
            wrap(bytes(64), box, Chance("wrap"))
