# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names: what may be one, and which look alike (D1, wire.md §4.5, UTS #39)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmtp_core.names import NameRefused, check_name, has_address_form, skeletons

LOOK_ALIKES = [
    ("Support Desk", "Ѕuрроrt Dеѕk"),  # Cyrillic
    ("Alpha Omega", "Αlpha Οmega"),  # Greek capitals
    ("Alice Liddell", "AIice Liddell"),  # capital i for l
    ("Alice Liddell", "A1ice Liddell"),  # one for l
    ("Alice Liddell", "ALICE LIDDELL"),
    ("Room 1001", "Room lOO1"),
    ("modern art", "rnodern art"),
    ("Support Desk", "Ｓｕｐｐｏｒｔ Desk"),  # full width
    ("Support Desk", "Support  Desk"),
    ("Support Desk", " Support Desk "),
    ("Zoë Müller", "Zoe\u0308 Mu\u0308ller"),  # composed and decomposed
    ("straße 12", "STRASSE 12"),
    ("①②③ office", "123 office"),
]

ORDINARY = """Ada Lovelace|Alan Turing|Grace Hopper|Barbara Liskov|Edsger Dijkstra|Donald Knuth|Anna Berg|Anne Berg|Jan Muller
Jan Müller|Bill Smith|Bob Smith|Team North 1|Team North 7|Sales Desk|Support Desk|Alia Smith|Alla Smith|Martin King|Marvin King
Иван Петров|Пётр Иванов|王小明明|山田太郎さん|Μαρία Παπά|Müller & Co.|Müllers & Co.|Room 12 East|Room 13 East|Élodie Durand
Élodie Durant|Order intake|Order uptake|Jean-Luc P.|Jean Luc Pi|O'Brien John|Öland Office|Aland Office""".replace(
    "\n", "|"
).split("|")


@pytest.mark.parametrize(("one", "other"), LOOK_ALIKES)
def test_look_alikes_share_a_skeleton(one: str, other: str) -> None:
    assert skeletons(one) & skeletons(other)


def test_ordinary_names_stay_distinct() -> None:
    seen: dict[str, str] = {}
    for name in ORDINARY:
        check_name(name)
        for form in skeletons(name):
            assert seen.setdefault(form, name) == name
    assert len(ORDINARY) > 35


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sevenby", "too short"),
        ("", "too short"),
        (" " * 8, "invalid"),
        ("Zero\u200bwidth", "invalid"),
        ("Line\nbreaks", "invalid"),
        ("No\u00a0break here", "invalid"),
        ("Private \ue000", "invalid"),
        ("Broken \ufffd name", "invalid"),
        ("x" * 65, "too long"),
        ("x" * 256, "too long"),
        ("&" * 43, "too long"),  # 258 bytes when escaped
        ("orders@partner.example", "address form"),
        ("orders＠partner", "address form"),
    ],
)
def test_what_cannot_be_a_name(name: str, reason: str) -> None:
    with pytest.raises(NameRefused) as refused:
        check_name(name)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "name", ["漢字漢", "eightby8", "  padded", "x" * 64, "漢" * 64, "&" * 42, "Meet @ noon", "Ünï ☃ №1 é"]
)
def test_what_can(name: str) -> None:
    check_name(name)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_skeletons_of_anything(text: str) -> None:
    forms = skeletons(text)
    assert 1 <= len(forms) <= 2
    assert skeletons(f"  {text}") == forms
    assert not has_address_form(text.replace("@", "").replace("＠", "").replace("﹫", ""))
