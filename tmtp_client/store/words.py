# SPDX-License-Identifier: AGPL-3.0-or-later
"""How texts become the words of the search index, and how what was found is marked in them (B1).

Everything is compared as its reader hears it: without case, accents, points and width, katakana as hiragana. Scripts
that put no spaces between words (Chinese, Japanese, Korean, Thai …) are kept as pairs of neighbouring characters, so
that any part of them is found, exactly and without a dictionary. The index gets words with spaces between; SQLite adds
nothing.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Final

from tmtp_client import limits

MARK_BEGIN: Final = "\ue000"
MARK_END: Final = "\ue001"
KEY: Final = "\ue000"  # begins what operators look for; no text has it once it is folded

_DROPPED: Final = re.compile(  # accents, Hebrew and Arabic points, selectors, joiners, and what is private
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\u00ad\u200b-\u200f\u2060\ufeff\ue000-\uf8ff]"
)
_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ς": "σ"}
    | {chr(katakana): chr(katakana - 0x60) for katakana in range(0x30A1, 0x30F7)}
)
_UNSPACED: Final = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003fffd"
    "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u1049\u1050-\u109f\u1780-\u17d3"
)
_MARKED: Final = "\u0900-\u0963\u0966-\u0dff\u0f00-\u0fbc\u0f71-\u0f84"  # scripts whose vowels are marks, not letters
_LETTER: Final = f"(?![{_UNSPACED}])(?:[^\\W_]|[{_MARKED}])"
_WORD: Final = re.compile(f"[{_UNSPACED}]+|(?:{_LETTER})+")
_IS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_ENDS: Final = re.compile(f"(?!{_LETTER})")
_GAP: Final = re.compile("[\\W_]*")
_HALF_WIDTH_SOUND: Final = "\uff9e\uff9f"  # belongs to the kana before it


def fold(text: str) -> str:
    """A text as it is compared."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _DROPPED.sub("", unicodedata.normalize("NFD", plain))
    return unicodedata.normalize("NFC", plain).translate(_LETTERS)


def words(text: str) -> list[str]:
    """Its words, folded; a run of a script without spaces is one of them."""
    return _WORD.findall(fold(text))


def indexed(text: str) -> str:
    """What the index is given for a text: of a long one its beginning, `limits.SEARCH_TEXT_MAX` characters."""
    text = text[: limits.SEARCH_TEXT_MAX]
    if text.isascii():
        return text.replace("\0", " ")  # parted and folded by SQLite in the same way
    return " ".join(token for word in words(text) for token in _tokens(word))


def _tokens(word: str) -> Iterable[str]:
    """A word, or of a run without spaces each two neighbours and, at its end, the last character."""
    if not _IS_UNSPACED.match(word):
        return (word,)
    return [word[place : place + 2] for place in range(len(word))]


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other. `prefix`: the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False

    def match(self) -> str:
        """As FTS5 asks for it."""
        tokens = [token for word in self.words for token in _tokens(word)]
        prefix = self.prefix
        if _IS_UNSPACED.match(self.words[-1]):
            prefix = len(self.words[-1]) == 1  # the text may go on after it; in the index this is a pair's beginning
            if not prefix:
                tokens.pop()
        return f'"{" ".join(tokens)}"' + (" *" if prefix else "")

    def places(self, folded: str) -> Iterator[tuple[int, int]]:
        """Where it stands in a folded text: from and to."""
        begin = folded.find(self.words[0])
        while begin >= 0:
            end = self._end(folded, begin)
            if end >= 0:
                yield begin, end
            begin = folded.find(self.words[0], max(end, begin + 1))

    def _end(self, folded: str, begin: int) -> int:
        """Where it ends if it begins here; -1: it does not."""
        at = begin
        for place, word in enumerate(self.words):
            if place:
                at = _GAP.match(folded, at).end()  # type: ignore[union-attr]  # matches anywhere
            unspaced = bool(_IS_UNSPACED.match(word))
            if not folded.startswith(word, at) or (at and not unspaced and not _ENDS.match(folded, at - 1)):
                return -1
            at += len(word)
            goes_on = unspaced or (self.prefix and place == len(self.words) - 1)
            if not goes_on and not _ENDS.match(folded, at):
                return -1
        return at


def phrase(text: str, prefix: bool = False) -> Phrase | None:
    """What a person typed as one word or between quotes; None where there is nothing to look for in it."""
    found = tuple(words(text))
    return Phrase(found, prefix) if found else None


def snippet(text: str, phrases: Sequence[Phrase]) -> str:
    """The part of a text that has most of these, on one line, each between `MARK_BEGIN` and `MARK_END`; its beginning
    where none of them is in it. At most about `limits.SNIPPET_CHARS`, of which the first
    `limits.SNIPPET_SCAN_MAX` are looked through.
    """
    text = text[: limits.SNIPPET_SCAN_MAX].replace(MARK_BEGIN, "").replace(MARK_END, "")
    text = " ".join(unicodedata.normalize("NFC", text).split())
    folded, places = _folded(text)
    spans = sorted(
        (places[first], _end_of(last, places, text), number)
        for number, one in enumerate(phrases)
        for first, last in one.places(folded)
    )
    begin, end = _window(text, spans)
    shown, done = ["\u2026" if begin else ""], begin
    for first, last, _ in spans:
        if done <= first and last <= end:
            shown += (text[done:first], MARK_BEGIN, text[first:last], MARK_END)
            done = last
    return "".join((*shown, text[done:end], "\u2026" if end < len(text) else ""))


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """A text folded, and for each character of that where in the text it comes from."""
    if text.isascii():
        return text.lower(), range(len(text))
    pieces: list[str] = []
    places: list[int] = []
    known: dict[str, str] = {}
    for place, character in enumerate(text):
        if character in _HALF_WIDTH_SOUND and place:
            continue
        one = text[place : place + 2] if text[place + 1 : place + 2] in (*_HALF_WIDTH_SOUND,) else character
        piece = known.get(one)
        if piece is None:
            piece = known[one] = fold(one)
        pieces.append(piece)
        places += [place] * len(piece)
    return "".join(pieces), places


def _end_of(last: int, places: Sequence[int], text: str) -> int:
    """Where in the text a match ends that ends at `last` of what was folded: what belongs to its last letter is in."""
    while last < len(places) and places[last] == places[last - 1]:
        last += 1
    return places[last] if last < len(places) else len(text)


def _window(text: str, spans: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Where the part begins and ends: what has most different ones of the phrases, the earliest such."""
    best, most = 0, 0
    for place, (first, _, _) in enumerate(spans):
        within = {number for begin, end, number in spans[place : place + 50] if end <= first + limits.SNIPPET_CHARS}
        if len(within) > most:
            best, most = first, len(within)
    begin = max(0, best - limits.SNIPPET_CHARS // 4)
    if begin:
        space = text.find(" ", begin, best)
        begin = begin if space < 0 else space + 1
    end = min(len(text), begin + limits.SNIPPET_CHARS + limits.SNIPPET_CHARS // 4)
    if end < len(text):
        space = text.rfind(" ", begin + limits.SNIPPET_CHARS, end)
        end = end if space < 0 else space
    return begin, end


def mentions(text: str, aliases: Set[str]) -> bool:
    """Whether a text names one of these, as a word of its own; of a long one its first `limits.MENTION_TEXT_MAX`."""
    if not text or not aliases:
        return False
    folded = fold(text[: limits.MENTION_TEXT_MAX])
    return any((one := phrase(alias)) is not None and next(one.places(folded), None) is not None for alias in aliases)
