# SPDX-License-Identifier: AGPL-3.0-or-later
"""D2: what a stranger writes is shown verbatim, and steers nothing."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tmtp_client.cli.show import as_json, print_message, size_text, visible
from tmtp_client.engine.history import Recorded, StoredFile


def shown(
    text: str, *, alias: str = "Ada Lovelace", subject: str = "", kind: str = "ping", whole: bool = True, name: str = ""
) -> str:
    message = Recorded("0" * 15 + "7", kind, False, "U" * 32, alias, subject, text, "", "2026-11-24T12:00:00.000Z")
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor", highlight=False)
    with out.capture() as captured:
        print_message(out, message, [StoredFile(name, 3, "/x")] if name else [], whole=whole)
    return captured.get()


@given(st.text(st.characters()))
def test_nothing_that_steers_is_left(text: str) -> None:
    left = {unicodedata.category(character) for character in visible(text) if character != "\n"}
    assert not left & {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs"))))
def test_what_can_be_printed_is_left_alone(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "[bold red]not red[/bold red]",
        "[link=https://evil.example]your bank[/link]",
        ":smile: :warning:",
        "https://evil.example and 127.0.0.1 and /etc/passwd",
        "\\[x] [/]",
    ],
)
def test_markup_stays_text_and_links_stay_dead(text: str) -> None:
    printed = shown(text, alias=text, subject=text, kind="message")
    assert printed.count(text) == 3
    assert "\x1b]8" not in printed  # no hyperlink of the terminal


def test_escape_sequences_and_turned_text_are_spelled_out() -> None:
    printed = shown("\x1b[2Jgone \x1b]0;title\x07 \u202eexe.gpj\u202c", alias="Ada\u202e", name="a\u202egpj.exe")
    assert "\x1b[2J" not in printed
    assert "\x1b]0" not in printed
    assert "\u202e" not in printed
    assert "\\u001b[2Jgone" in printed
    assert "a\\u202egpj.exe" in printed


def test_a_list_shows_the_first_line_of_a_message_and_says_so() -> None:
    printed = shown("one\ntwo\nthree", kind="message", whole=False)
    assert "one" in printed
    assert "two" not in printed
    assert "2 more lines" in printed
    assert "three" in shown("one\ntwo\nthree", kind="message")
    assert "two" in shown("one\ntwo", kind="ping", whole=False)


def test_json_has_all_of_a_message() -> None:
    message = Recorded("7" * 16, "ping", False, "U" * 32, "Ada", "", "hi", "", "2026-11-24T12:00:00.000Z")
    value = as_json(message, [StoredFile("a.txt", 3, "/x/a")])
    assert value["id"] == "7" * 16
    assert value["text"] == "hi"
    assert value["attachments"] == [{"name": "a.txt", "size": 3, "path": "/x/a"}]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
