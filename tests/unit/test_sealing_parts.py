# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts that sealed messages are made of: streams, passphrases, safety numbers (B9)."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl import bindings

from tests.vectors.e2e.cast import ADA, BOB, CAT, OTHER_SERVICE, SERVICE, octets
from tests.vectors.e2e.make import CHEAP
from tmtp_core import limits
from tmtp_core.crypto.passphrase import Cost, key_from_passphrase, passphrase_octets
from tmtp_core.crypto.safety_number import SafetyCode, Side, compare, decode_code, encode_code, safety_number
from tmtp_core.crypto.stream import (
    HEADER_BYTES,
    KEY_BYTES,
    PIECE_BYTES,
    EnvelopeRefused,
    StreamReader,
    StreamWriter,
    stream_size,
)

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
    with pytest.raises(EnvelopeRefused, match="16 are due"):
        key_from_passphrase("one", bytes(15), CHEAP)


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
