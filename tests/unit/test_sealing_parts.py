# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts that sealed messages are made of: streams, passphrases, safety numbers (B9)."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl import bindings

from tests.vectors.e2e.cast import ADA, BOB, CAT, OTHER_SERVICE, SERVICE, TABLET, Chance, octets
from tests.vectors.e2e.make import CHEAP
from tmtp_core import limits
from tmtp_core.crypto import content_key, passphrase
from tmtp_core.crypto.content_key import WRAPPED_BYTES
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.passphrase import Cost, check_cost, key_from_passphrase, passphrase_octets
from tmtp_core.crypto.safety_number import SafetyCode, Side, compare, decode_code, encode_code, safety_number
from tmtp_core.crypto.sealed_heads import decode_inner, decode_outer, encode_outer
from tmtp_core.crypto.stream import (
    HEADER_BYTES,
    KEY_BYTES,
    PIECE_BYTES,
    EnvelopeRefused,
    StreamReader,
    StreamWriter,
    stream_size,
)
from tmtp_core.wire.payload import E2e, Wrapped

KEY, HEADER = octets("key", KEY_BYTES), octets("header", HEADER_BYTES)
AROUND_PIECES = [PIECE_BYTES * pieces + more for pieces in (0, 1, 2) for more in (0, 1, -1) if pieces or more >= 0]


@pytest.mark.parametrize("size", AROUND_PIECES)
@pytest.mark.parametrize("cut", [1 << 30, 65_553, 50_000])
def test_a_stream_has_the_length_that_was_told_and_opens(size: int, cut: int) -> None:
    plain = octets("plain", size)
    writer = StreamWriter(KEY, HEADER)
    stream = b"".join(writer.push(plain[at : at + cut]) for at in range(0, size, cut)) + writer.finish()
    assert len(stream) == stream_size(size)
    reader = StreamReader(KEY, HEADER, len(stream))
    assert b"".join(reader.push(stream[at : at + cut]) for at in range(0, len(stream), cut)) == plain
    reader.finish()
    with pytest.raises(EnvelopeRefused, match="follows the end"):
        reader.push(b"\0")


def test_a_stream_is_libsodiums_also_by_its_own_way_of_writing() -> None:
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    pieces = [bytes(PIECE_BYTES), b"end"]
    theirs = b"".join(
        bindings.crypto_secretstream_xchacha20poly1305_push(state, piece, None, tag)
        for piece, tag in zip(pieces, (0, 3), strict=True)
    )
    writer = StreamWriter(KEY, header)
    assert writer.push(b"".join(pieces)) + writer.finish() == theirs


@pytest.mark.parametrize("tags", [(3, 3), (0, 0), (1, 3), (2, 3), (0, 2)])
def test_a_stream_has_no_other_tags(tags: tuple[int, int]) -> None:
    """Else what a sender writes could end in two places."""
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, KEY)
    push = bindings.crypto_secretstream_xchacha20poly1305_push
    stream = push(state, bytes(PIECE_BYTES), None, tags[0]) + push(state, b"end", None, tags[1])
    with pytest.raises(EnvelopeRefused, match="does not end where it says"):
        StreamReader(KEY, header, len(stream)).push(stream)


@pytest.mark.parametrize("size", [0, 16, 65_553 + 1, 65_553 + 16, 65_553 + 17, 2 * 65_553 + 17])
def test_no_stream_has_another_length(size: int) -> None:
    """One plaintext has one: an empty piece has no place behind others."""
    with pytest.raises(EnvelopeRefused, match="no stream has this length"):
        StreamReader(KEY, HEADER, size)


def _sealed(plain: bytes) -> bytes:
    writer = StreamWriter(KEY, HEADER)
    return writer.push(plain) + writer.finish()


def test_what_follows_the_end_is_refused_also_in_the_same_pieces() -> None:
    """The rest of the stream and one octet more, when a part of it waits already."""
    stream = _sealed(b"plain")
    reader = StreamReader(KEY, HEADER, len(stream))
    assert reader.push(stream[:10]) == b""
    with pytest.raises(EnvelopeRefused, match="follows the end"):
        reader.push(stream[10:] + b"\0")


@pytest.mark.parametrize("trouble", ["altered", "cut off"])
def test_a_stream_that_was_refused_stays_refused(trouble: str) -> None:
    stream = _sealed(bytes(PIECE_BYTES) + b"end")
    first, rest = stream[: PIECE_BYTES + 17], stream[PIECE_BYTES + 17 :]
    reader = StreamReader(KEY, HEADER, len(stream))
    with pytest.raises(EnvelopeRefused, match=trouble):
        if trouble == "altered":
            reader.push(first[:-1] + bytes([first[-1] ^ 1]))
        else:
            reader.push(first)
            reader.finish()
    for again in (lambda: reader.push(rest), lambda: reader.push(b""), reader.finish):
        with pytest.raises(EnvelopeRefused, match=trouble):
            again()


# -- passphrases -----------------------------------------------------------------------------------------------------
def test_a_passphrase_is_the_same_on_every_keyboard() -> None:
    assert passphrase_octets("cafe\u0301 ﬁ Ａ") == passphrase_octets("caf\u00e9 fi A") == "café fi A".encode()
    assert passphrase_octets(" a ") != passphrase_octets("a")


@pytest.mark.parametrize("passphrase", ["", "x" * 1_025, "é" * 600, "\ufdfa" * 1_000, "\ud800"])
def test_what_is_no_passphrase_is_refused_without_being_repeated(passphrase: str) -> None:
    with pytest.raises(ValueError) as refused:
        key_from_passphrase(passphrase, bytes(16), CHEAP)
    assert not passphrase or passphrase not in str(refused.value)


def test_a_key_depends_on_passphrase_salt_and_cost() -> None:
    keys = {
        key_from_passphrase("one", bytes(16), CHEAP),
        key_from_passphrase("two", bytes(16), CHEAP),
        key_from_passphrase("one", b"\1" * 16, CHEAP),
        key_from_passphrase("one", bytes(16), Cost(CHEAP.ops + 1, CHEAP.memory_kib)),
        key_from_passphrase("one", bytes(16), Cost(CHEAP.ops, CHEAP.memory_kib + 8)),
    }
    assert len(keys) == 5
    for size in (15, 17):
        with pytest.raises(EnvelopeRefused, match="16 are due"):
            key_from_passphrase("one", bytes(size), CHEAP)


def test_what_is_just_within_its_bounds_is_taken() -> None:
    longest = "x" * limits.PASSPHRASE_MAX_BYTES
    assert passphrase_octets(longest) == longest.encode()
    check_cost(Cost(limits.PASSPHRASE_OPS_MIN, limits.PASSPHRASE_MEMORY_MIN_KIB))
    check_cost(Cost(limits.PASSPHRASE_OPS_MAX, limits.PASSPHRASE_MEMORY_MAX_KIB))


def test_what_is_too_long_is_refused_before_it_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes its time, and lengthens it eighteenfold."""
    asked: list[str] = []
    monkeypatch.setattr(passphrase.unicodedata, "normalize", lambda form, text: asked.append(form) or text)
    with pytest.raises(ValueError, match="at most"):
        passphrase_octets("\ufdfa" * 100_000)
    assert asked == []


def test_an_error_does_not_carry_the_passphrase() -> None:
    """Python's own would, as `object`."""
    with pytest.raises(ValueError, match="characters that no text has") as refused:
        passphrase_octets("correct horse \ud800")
    assert type(refused.value) is ValueError


# -- safety numbers --------------------------------------------------------------------------------------------------
MINE, YOURS = Side(ADA.uid, ADA.head, 3), Side(BOB.uid, BOB.head, 5)
NUMBER = safety_number(SERVICE.public_key, MINE, YOURS)


def test_a_safety_number_is_sixty_digits() -> None:
    assert len(NUMBER.replace(" ", "")) == 60
    assert [len(group) for group in NUMBER.split(" ")] == [5] * 12
    assert NUMBER.replace(" ", "").isdecimal()


@pytest.mark.parametrize(
    ("service", "mine", "yours"),
    [
        (OTHER_SERVICE, MINE, YOURS),
        (SERVICE, replace(MINE, uid=CAT.uid), YOURS),
        (SERVICE, replace(MINE, head=CAT.head), YOURS),
        (SERVICE, MINE, replace(YOURS, head=CAT.head)),
        (SERVICE, replace(MINE, head=YOURS.head), replace(YOURS, head=MINE.head)),
    ],
)
def test_any_other_account_log_or_service_has_another_number(service: object, mine: Side, yours: Side) -> None:
    assert safety_number(service.public_key, mine, yours) != NUMBER  # type: ignore[attr-defined]


def test_a_code_says_whose_log_differs() -> None:
    seen = SafetyCode(SERVICE.public_key, MINE, YOURS)
    shown = SafetyCode(SERVICE.public_key, YOURS, MINE)
    assert compare(shown, seen) == ()
    assert compare(replace(shown, service_key=OTHER_SERVICE.public_key), seen) == ("service",)
    assert compare(replace(shown, own=replace(YOURS, uid=CAT.uid)), seen) == ("account",)
    assert compare(seen, seen) == ("account",)  # one's own code, in a mirror
    assert compare(replace(shown, other=replace(MINE, head=CAT.head)), seen) == ("own",)
    assert compare(replace(shown, own=replace(YOURS, head=CAT.head)), seen) == ("other",)


def test_a_code_is_read_up_to_its_bound_and_with_its_beginning_only() -> None:
    code = encode_code(SafetyCode(SERVICE.public_key, MINE, YOURS))
    assert decode_code(code) == SafetyCode(SERVICE.public_key, MINE, YOURS)
    with pytest.raises(EnvelopeRefused, match="not the code"):
        decode_code(code.removeprefix("TMTP-SAFETY:1:"))
    with pytest.raises(EnvelopeRefused, match="damaged"):
        decode_code("TMTP-SAFETY:1:".ljust(limits.SAFETY_CODE_MAX_CHARACTERS, "A"))
    with pytest.raises(EnvelopeRefused, match="not the code"):
        decode_code("TMTP-SAFETY:1:".ljust(limits.SAFETY_CODE_MAX_CHARACTERS + 1, "A"))


def test_a_code_is_of_heads_of_logs() -> None:
    with pytest.raises(ValueError):
        encode_code(SafetyCode(SERVICE.public_key, MINE, replace(YOURS, head=to_text(bytes(31)))))


@given(
    st.text(max_size=100)
    | st.binary(max_size=200).map(lambda raw: encode_code(SafetyCode(SERVICE.public_key, MINE, YOURS))[:14] + raw.hex())
)
@example("TMTP-SAFETY:1:")
@example("TMTP-SAFETY:1:" + "A" * limits.SAFETY_CODE_MAX_CHARACTERS)
@example(encode_code(SafetyCode(SERVICE.public_key, MINE, YOURS)) + "AAAA")
@example(encode_code(SafetyCode(SERVICE.public_key, MINE, YOURS))[:-4])
def test_no_code_brings_a_reader_down(text: str) -> None:
    with pytest.raises(EnvelopeRefused):
        decode_code(text)


# -- outer heads -----------------------------------------------------------------------------------------------------
KEYS = (Wrapped("A" * 43, to_text(bytes(WRAPPED_BYTES))), Wrapped("E" * 43, to_text(bytes(WRAPPED_BYTES)), "I" * 43))
BY_DEVICES = E2e(2, keys=KEYS, commit="A" * 43, header=to_text(bytes(HEADER_BYTES)))
BY_RANDOM = E2e(1, 1, commit="A" * 43, header=to_text(bytes(HEADER_BYTES)), nonce="A" * 43)
BY_WORDS = msgspec.structs.replace(BY_RANDOM, salt=to_text(bytes(16)), ops=CHEAP.ops, memory=CHEAP.memory_kib)


@pytest.mark.parametrize("e2e", [BY_DEVICES, BY_RANDOM, BY_WORDS])
def test_an_outer_head_is_read_as_it_was_written(e2e: E2e) -> None:
    assert decode_outer(encode_outer(e2e)) == e2e


@pytest.mark.parametrize(
    ("e2e", "wrong"),
    [
        *[(one, {"commit": "AAAA"}) for one in (BY_DEVICES, BY_RANDOM)],
        *[(one, {"header": "AAAA"}) for one in (BY_DEVICES, BY_RANDOM)],
        *[(one, {"suite": 3}) for one in (BY_DEVICES, BY_RANDOM)],
        (BY_DEVICES, {"keys": ()}),
        (BY_DEVICES, {"epoch": 1}),
        (BY_DEVICES, {"nonce": "A" * 43}),
        (BY_DEVICES, {"salt": to_text(bytes(16))}),
        (BY_DEVICES, {"ops": 2}),
        (BY_DEVICES, {"memory": 32_768}),
        (BY_DEVICES, {"keys": (KEYS[0], KEYS[0])}),
        (BY_DEVICES, {"keys": (msgspec.structs.replace(KEYS[0], device="AAAA"),)}),
        (BY_DEVICES, {"keys": (msgspec.structs.replace(KEYS[0], sealed="AAAA"),)}),
        (BY_DEVICES, {"keys": (msgspec.structs.replace(KEYS[0], prekey="AAAA"),)}),
        (BY_RANDOM, {"keys": KEYS}),
        (BY_RANDOM, {"nonce": "AAAA"}),
        (BY_RANDOM, {"ops": 2}),
        (BY_RANDOM, {"memory": 32_768}),
        (BY_WORDS, {"salt": "AAAA"}),
        (BY_WORDS, {"ops": limits.PASSPHRASE_OPS_MAX + 1}),
        (BY_WORDS, {"memory": limits.PASSPHRASE_MEMORY_MAX_KIB + 1}),
        (BY_WORDS, {"ops": limits.PASSPHRASE_OPS_MIN - 1}),
        (BY_WORDS, {"memory": limits.PASSPHRASE_MEMORY_MIN_KIB - 1}),
    ],
)
def test_an_outer_head_with_one_thing_wrong_is_refused(e2e: E2e, wrong: dict[str, object]) -> None:
    with pytest.raises(EnvelopeRefused):
        decode_outer(encode_outer(msgspec.structs.replace(e2e, **wrong)))


def test_an_outer_head_has_its_bounds() -> None:
    names = (to_text(number.to_bytes(32)) for number in range(limits.SEALED_KEYS_MAX + 1))
    keys = tuple(Wrapped(name, KEYS[0].sealed) for name in names)
    most = msgspec.structs.replace(BY_DEVICES, keys=keys[:-1])
    assert decode_outer(encode_outer(most)) == most
    with pytest.raises(EnvelopeRefused, match="more than"):
        decode_outer(encode_outer(msgspec.structs.replace(BY_DEVICES, keys=keys)))
    with pytest.raises(EnvelopeRefused, match="octets"):
        decode_outer(encode_outer(BY_DEVICES) + b" " * limits.OUTER_HEAD_MAX_BYTES)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"subject":"a","Subject":"b"}',
        b'{"attach":[{"name":"u:a"},{"name":"u:a"}]}',
        b'{"e2e":{"suite":2}}',
        b'{"subject":"a"}' + b" " * limits.INNER_HEAD_MAX_BYTES,
    ],
)
def test_an_inner_head_that_two_could_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(EnvelopeRefused):
        decode_inner(raw)


# -- content keys and bounds, by themselves --------------------------------------------------------------------------
def test_what_a_recipient_is_given_is_his_accounts_half_and_no_more() -> None:
    sender, e2e = content_key.for_shared(KEY, 1, lambda size: bytes(range(size)))
    given_to = content_key.key_of_shared(e2e, KEY, "uid")
    assert given_to is not None
    assert given_to[:KEY_BYTES] == sender[:KEY_BYTES]
    assert given_to[KEY_BYTES:] != sender[KEY_BYTES:]
    assert given_to != content_key.key_of_shared(e2e, KEY, "another")
    assert content_key.key_of_shared(e2e, bytes(KEY_BYTES), "uid") is None
    assert content_key.commitment(given_to) == content_key.commitment(sender) == e2e.commit
    assert content_key.stream_key(sender, b"service", b"outer") != content_key.stream_key(sender, b"servicE", b"outer")
    assert content_key.stream_key(sender, b"service", b"outer") != content_key.stream_key(sender, b"service", b"outeR")


@pytest.mark.parametrize(
    "cost",
    [
        Cost(limits.PASSPHRASE_OPS_MIN - 1, CHEAP.memory_kib),
        Cost(limits.PASSPHRASE_OPS_MAX + 1, CHEAP.memory_kib),
        Cost(CHEAP.ops, limits.PASSPHRASE_MEMORY_MIN_KIB - 1),
        Cost(CHEAP.ops, limits.PASSPHRASE_MEMORY_MAX_KIB + 1),
    ],
)
def test_no_header_makes_a_device_pay_too_much_or_guard_too_little(cost: Cost) -> None:
    with pytest.raises(EnvelopeRefused, match="are allowed"):
        key_from_passphrase("one", bytes(16), cost)


def test_a_number_does_not_depend_on_who_looks_but_on_how_a_uid_is_cut() -> None:
    assert safety_number(SERVICE.public_key, YOURS, MINE) == NUMBER
    shown = SafetyCode(SERVICE.public_key, YOURS, MINE)
    seen = SafetyCode(SERVICE.public_key, MINE, YOURS)
    assert compare(replace(shown, other=replace(MINE, uid=CAT.uid)), seen) == ("account",)


@pytest.mark.parametrize("size", [0, 32, 63, 65, 96])
def test_a_content_key_has_one_length(size: int) -> None:
    """A shorter one, sealed by whom one trusts, would leave the secret of the account empty."""
    sealed = content_key.wrap(octets("content key", size), TABLET.public("box"), Chance("wrap"))
    with pytest.raises(EnvelopeRefused, match="not sealed to this device"):
        content_key.unwrap(sealed, TABLET.secret("box"))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_shared_keys_nonce_has_one_length(size: int) -> None:
    """So that one content key is derived from one nonce."""
    nonce = octets("nonce", size)
    key = content_key.derived(KEY, nonce)
    e2e = E2e(content_key.SHARED, 1, commit=content_key.commitment(key), nonce=to_text(nonce))
    with pytest.raises(ValueError):
        content_key.key_of_shared(e2e, KEY, BOB.uid)
