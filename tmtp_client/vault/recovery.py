# SPDX-License-Identifier: AGPL-3.0-or-later
"""The recovery key as 24 words for a sheet of paper (B4): it overrides every device, so no device keeps it.

BIP-39: the 32 bytes of the key and a checksum of 8 bits, so that a word misread is noticed 255 times in 256.
"""

import difflib
from typing import Final

from mnemonic import Mnemonic

from tmtp_core.crypto.signing import SEED_BYTES

WORDS: Final = 24
_BOOK: Final = Mnemonic("english")


def words_of(seed: bytes) -> str:
    """24 words, with blanks between them, for the seed of a recovery key."""
    return _BOOK.to_mnemonic(seed)


def seed_of(words: str) -> bytes:
    """Undo `words_of`, in any case and with any blanks. Raises ValueError that says which word is wrong."""
    written = words.lower().split()
    if len(written) != WORDS:
        raise ValueError(f"a recovery sheet has {WORDS} words; these are {len(written)}")
    for place, word in enumerate(written, 1):
        if word not in _BOOK.wordlist:
            near = difflib.get_close_matches(word, _BOOK.wordlist, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"word {place}, {word}, is none of a recovery sheet's{hint}")
    if not _BOOK.check(" ".join(written)):
        raise ValueError("every word is possible, but one of them is not the right one, or two changed places")
    seed = bytes(_BOOK.to_entropy(written))
    assert len(seed) == SEED_BYTES
    return seed
