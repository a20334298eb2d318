# SPDX-License-Identifier: AGPL-3.0-or-later
"""Invitations for many: the list that is read, and the sheet that is printed (C1, A7)."""

import re
import shlex
from html.parser import HTMLParser

import pytest
import segno

from gateway.invitations.people import FILE_MAX_BYTES, PEOPLE_MAX, PeopleInvalid, read_people
from gateway.invitations.sheet import Card, command, sheet

LINK = "tmtp://chat.example.org:4433#pin=sha256:" + "A" * 43 + "&invite=" + "b" * 32


# -- the list --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content",
    [
        b"name\nAda Lovelace\nZo\xc3\xab Bauer\n",
        b"\xef\xbb\xbfName;team\r\nAda Lovelace;sales\r\nZo\xc3\xab Bauer;\r\n",
        b"team,Full Name\nsales,Ada Lovelace\n\n,,\n,Zo\xc3\xab Bauer",
        b'"name"\t"team, or other"\n"Ada Lovelace"\t"a, b"\nZo\xc3\xab Bauer\tc\n',
        b"Ada Lovelace\n  Zo\xc3\xab Bauer  \n",
        b"\n\nAda Lovelace;\nZoe\xcc\x88 Bauer;\n",  # without a header, and not composed
        b"name\rAda Lovelace\rZo\xc3\xab Bauer\r",
    ],
)
def test_lists_as_spreadsheets_save_them(content: bytes) -> None:
    assert read_people(content) == ["Ada Lovelace", "Zoë Bauer"]


def test_a_name_may_have_what_parts_cells_in_it() -> None:
    assert read_people(b'name,team\n"Lovelace, Ada",x\n"Ada ""the Countess""",y\n') == [
        "Lovelace, Ada",
        'Ada "the Countess"',
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", [(1, "nobody")]),
        (b"name;team\n", [(2, "nobody below")]),
        (b"who,team\nAda Lovelace,sales\n", [(1, "none is called name")]),
        (b"name,team\nAda,sales\n,support\nBob\n ,x\n", [(3, "missing"), (5, "missing")]),
        (b"name\nAda\nBob\nada\n", [(4, "stands in line 2 too")]),
        (b"name\nAda\nBj\xf6rn\n", [(3, "UTF-8")]),
        (b'name\nAda\n"Bob\nCarol\n', [(3, "quotation mark")]),
        (b'name\nAda\n"Bo"b\nCarol\n', [(3, "quotation mark")]),
        (b'name\n"Ada\nLovelace"\nBob\x1b[2J\n', [(2, "several lines"), (4, "cannot be printed")]),
        (b"name\n" + b"x" * 65 + b"\n", [(2, "65 characters")]),
        (b"name\n" + b"\n".join(b"n%d" % n for n in range(PEOPLE_MAX + 1)), [(PEOPLE_MAX + 2, "1001 people")]),
        (b"x" * (FILE_MAX_BYTES + 1), [(1, "bytes")]),
        ("name\nAda\n".encode("utf-16"), [(1, "UTF-8")]),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_line(content: bytes, expected: list[tuple[int, str]]) -> None:
    with pytest.raises(PeopleInvalid) as raised:
        read_people(content)
    mistakes = raised.value.mistakes
    assert [mistake.line for mistake in mistakes] == [line for line, _ in expected]
    for mistake, (_, words) in zip(mistakes, expected, strict=True):
        assert words in mistake.wrong
        assert mistake.right


# -- the sheet -------------------------------------------------------------------------------------------------------
class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_sheet_has_a_card_for_each_with_link_code_and_command() -> None:
    page = sheet("Members of Example", [Card("Ada Lovelace", LINK), Card("Zoë", LINK + "c")], "10 December 2026")
    tags = Tags(page)
    assert tags.open.count("section") == tags.open.count("svg") == 2
    assert "Ada Lovelace" in tags.texts
    assert f"tmtp join '{LINK}' --alias 'Ada Lovelace'" in tags.texts
    assert f"tmtp join '{LINK}c' --alias 'Your Name'" in tags.texts  # too short to be a name here
    assert any("10 December 2026" in text for text in tags.texts)


def test_the_code_is_the_link() -> None:
    page = sheet("Example", [Card("Ada Lovelace", LINK)], None)
    drawn = re.search(r'<path [^>]*d="([^"]+)"', page)
    assert drawn is not None
    assert f'd="{drawn[1]}"' in segno.make_qr(LINK, error="m").svg_inline(border=4)
    assert f'd="{drawn[1]}"' not in segno.make_qr(LINK + "x", error="m").svg_inline(border=4)


def test_the_sheet_loads_nothing_and_names_are_text() -> None:
    name = '<img src=//evil.example/x> "O\'Neil" & {title}'
    tags = Tags(sheet("<b>Ex & Co</b>", [Card(name, LINK)], "<i>soon</i>"))
    assert not {"img", "script", "link", "iframe", "i", "a", "object", "use", "image"} & set(tags.open)
    assert not {"src", "href", "xlink:href", "style", "background"} & {name for _, name, _ in tags.attributes}
    policy = next(value for _, name, value in tags.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    assert name in tags.texts


def test_the_command_survives_a_shell() -> None:
    words = shlex.split(command(Card("Conan O'Brien; $(reboot)", LINK)))
    assert words == ["tmtp", "join", LINK, "--alias", "Conan O'Brien; $(reboot)"]
