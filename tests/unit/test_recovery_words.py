# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recovery key on paper: 24 words that come back as the same key, or say what is wrong with them (B4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_client.vault.recovery import WORDS, seed_of, words_of

SHEET = words_of(bytes(range(32)))


@given(st.binary(min_size=32, max_size=32))
def test_a_key_comes_back(seed: bytes) -> None:
    words = words_of(seed)
    assert len(words.split()) == WORDS
    assert seed_of(words) == seed
    assert seed_of("  " + words.upper().replace(" ", "\n") + "\n") == seed


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "24 words; these are 0"),
        (SHEET.rsplit(" ", 1)[0], "24 words; these are 23"),
        (
            SHEET.replace(SHEET.split()[2], "amzaing"),
            "word 3, amzaing, is none of a recovery sheet's; did you mean amazing",
        ),
        (SHEET.replace(SHEET.split()[2], "qqqqqq"), "word 3, qqqqqq, is none of a recovery sheet's$"),
        (" ".join([*SHEET.split()[1:], SHEET.split()[0]]), "changed places"),
    ],
)
def test_what_is_wrong_is_said(words: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        seed_of(words)
