# SPDX-License-Identifier: AGPL-3.0-or-later
"""How texts are compared, parted into words, and shown with what was found in them (B1)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_client import limits
from tmtp_client.store.words import MARK_BEGIN, MARK_END, Phrase, fold, indexed, mentions, phrase, snippet, words


def marked(text: str, *phrases: str) -> str:
    """A snippet, with brackets for its marks."""
    made = [one for one in map(phrase, phrases) if one is not None]
    return snippet(text, made).replace(MARK_BEGIN, "[").replace(MARK_END, "]")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "cafe\u0301"),
        ("CAFÉ", "cafe"),
        ("straße", "STRASSE"),
        ("Łódź", "lodz"),
        ("Smørrebrød", "smorrebrod"),
        ("ﬁne", "fine"),
        ("Ελλάς", "ΕΛΛΑΣ"),
        ("ﾘﾝｺﾞ", "りんご"),
        ("リンゴ", "りんご"),
        ("が", "か\u3099"),
        ("ＡＢＣ１２３", "abc123"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("İstanbul", "istanbul"),
        ("co\u00adoperate", "cooperate"),
    ],
)
def test_texts_are_compared_as_they_are_heard(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_what_differs_to_the_ear_differs() -> None:
    assert fold("か") != fold("が")
    assert fold("हिन्दी") != fold("हन्द")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't e-mail snake_case, 3.14!", ["don", "t", "e", "mail", "snake", "case", "3", "14"]),
        ("会議の資料2024版", ["会議の資料", "2024", "版"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("iPhone用ケース", ["iphone", "用けーす"]),
        ("\ue000m \0 \u200b", ["m"]),
    ],
)
def test_texts_have_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_runs_without_spaces_are_kept_as_pairs() -> None:
    assert indexed("会議の資料 ok") == "会議 議の の資 資料 料 ok"
    assert indexed("plain TEXT") == "plain TEXT"  # SQLite does the same with it


@given(st.text())
def test_folding_once_is_folding_twice_and_no_mark_of_ours_is_left(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)
    assert MARK_BEGIN not in indexed(text) or text.isascii()
    assert "\0" not in indexed(text)


def test_long_texts_are_indexed_as_far_as_the_limit() -> None:
    assert len(indexed("a" * (limits.SEARCH_TEXT_MAX + 5))) == limits.SEARCH_TEXT_MAX


@pytest.mark.parametrize(
    ("text", "asked", "shown"),
    [
        ("The Café is open", ["cafe"], "The [Café] is open"),
        ("scattered cat", ["cat"], "scattered [cat]"),
        ("one two  three\nfour", ["two three"], "one [two three] four"),
        ("one two four three", ["two three"], "one two four three"),
        ("来週の会議の資料です", ["会議"], "来週の[会議]の資料です"),
        ("ﾘﾝｺﾞを食べる", ["りんご"], "[ﾘﾝｺﾞ]を食べる"),
        ("straße und Straßen", ["strasse"], "[straße] und Straßen"),
        ("nothing here", [], "nothing here"),
        ("a\ue000b\ue001c cat", ["cat"], "abc [cat]"),
    ],
)
def test_snippets_mark_what_was_found(text: str, asked: list[str], shown: str) -> None:
    assert marked(text, *asked) == shown


def test_a_snippet_begins_near_what_was_found_and_has_most_of_it() -> None:
    filler = "word " * 200
    text = f"{filler}apple {filler}apple and pear {filler}"
    shown = marked(text, "apple", "pear")
    assert "[apple] and [pear]" in shown
    assert shown.startswith("\u2026")
    assert shown.endswith("\u2026")
    assert len(shown) < 2 * limits.SNIPPET_CHARS


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_without_its_marks_a_snippet_is_part_of_its_text(text: str, asked: list[str]) -> None:
    made = snippet(text, [one for one in map(phrase, asked) if one is not None])
    depth = 0
    for character in made:
        depth += {MARK_BEGIN: 1, MARK_END: -1}.get(character, 0)
        assert depth in {0, 1}
    assert depth == 0
    plain = text.replace(MARK_BEGIN, "").replace(MARK_END, "")
    line = " ".join(unicodedata.normalize("NFC", plain).split())
    assert made.replace(MARK_BEGIN, "").replace(MARK_END, "") == line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ask Olga Own Name about it", True),
        ("OLGA OWN NAME!", True),
        ("@Olga Own Name: look", True),
        ("Olga Own Namesake", False),
        ("Olga Owner Name", False),
        ("", False),
        ("田中太郎さんへ", True),
        ("x" * limits.MENTION_TEXT_MAX + " Olga Own Name", False),
    ],
)
def test_a_text_names_somebody_only_by_his_whole_alias(text: str, named: bool) -> None:
    assert mentions(text, {"Olga Own Name", "田中太郎"}) is named


def test_an_alias_without_words_is_never_named() -> None:
    assert not mentions("?!? !!!", {"?!? !!!"})


def test_a_phrase_asks_the_index_for_its_parts() -> None:
    assert Phrase(("two", "three")).match() == '"two three"'
    assert Phrase(("pre",), prefix=True).match() == '"pre" *'
    assert Phrase(("会議の",)).match() == '"会議 議の"'
    assert Phrase(("会",)).match() == '"会" *'
    assert Phrase(("委員会", "2024")).match() == '"委員 員会 会 2024"'
