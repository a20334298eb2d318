# SPDX-License-Identifier: AGPL-3.0-or-later
"""D2: what a stranger writes is shown verbatim, and steers nothing."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tmtp_client.api import models as m
from tmtp_client.cli.common import plain
from tmtp_client.cli.show import print_message, print_table, size_text, snippet_text, visible


def message(text: str, **more: object) -> m.Message:
    """A ping of a stranger."""
    made = m.Message(
        "0" * 15 + "7", "ping", "received", False, "U" * 32, "Ada Lovelace", "t" * 16, "2026-11-24T12:00:00.000Z"
    )
    return m.Message(**{**{name: getattr(made, name) for name in m.Message.__struct_fields__}, "text": text, **more})


def console() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor", highlight=False)


def shown(text: str, *, whole: bool = True, **more: object) -> str:
    out = console()
    with out.capture() as captured:
        print_message(out, message(text, **more), whole=whole)
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
    printed = shown(text, alias=text, subject=text, kind="message", doubts=(text,))
    assert printed.count(text) == 4
    assert "\x1b]8" not in printed  # no hyperlink of the terminal


def test_escape_sequences_and_turned_text_are_spelled_out() -> None:
    file = m.Attachment(0, "file", "a\u202egpj.exe", 3, 3)
    printed = shown("\x1b[2Jgone \x1b]0;title\x07 \u202eexe.gpj\u202c", alias="Ada\u202e", attachments=(file,))
    assert "\x1b[2J" not in printed
    assert "\x1b]0" not in printed
    assert "\u202e" not in printed
    assert "\\u001b[2Jgone" in printed
    assert "a\\u202egpj.exe" in printed


def test_nothing_in_a_list_or_in_what_a_search_found_steers_either() -> None:
    out = console()
    with out.capture() as captured:
        print_table(out, ("name", "x"), [("\x1b[2J[bold]x", "\u202e")])
        out.print(snippet_text("a \ue000hit\ue001 \x1b[2J\nb"))
    printed = captured.get()
    assert "\x1b[2J" not in printed
    assert "\u202e" not in printed
    assert "\\u001b[2J[bold]x" in printed
    assert "\x1b[1mhit\x1b[0m" in printed


def test_a_list_shows_the_first_line_of_a_message_and_says_so() -> None:
    printed = shown("one\ntwo\nthree", kind="message", whole=False)
    assert "one" in printed
    assert "two" not in printed
    assert "2 more lines" in printed
    assert "three" in shown("one\ntwo\nthree", kind="message")
    assert "two" in shown("one\ntwo", kind="ping", whole=False)


def test_what_was_sent_says_to_whom() -> None:
    assert "message to Bob Builder, Carol Shaw" in shown(
        "x", kind="message", outgoing=True, to=("Bob Builder", "Carol Shaw")
    ).replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_scripts_get_every_field_also_those_that_are_as_always() -> None:
    value = plain(message("hi", attachments=(m.Attachment(0, "file", "a.txt", 3, 3),)))
    assert value.keys() == set(m.Message.__struct_fields__)
    assert (value["text"], value["seen"], value["doubts"]) == ("hi", True, [])
    assert value["attachments"][0]["form"] == ""


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")]
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
