# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known of a conversation, beside it: who reads, how it is locked, what was attached (B2, B9, D1)."""

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.axe import NARROW, cut_off, violations
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import operations as o

VAST: Final[ViewportSize] = {"width": 1600, "height": 900}


@pytest.fixture(scope="module")
def people(town: Town, tmp_path_factory: pytest.TempPathFactory) -> tuple[Someone, Someone, str]:
    """Ada, Bob who has sent her a file, and the thread that it is in."""
    ada, bob = town.person("Ada Knows", "work"), town.person("Bob Sends", "work")
    town.acquaint(ada, bob, "work")
    file = tmp_path_factory.mktemp("files") / "stones.txt"
    file.write_text("granite\n" * 20)
    staged = bob.ask("files.stage", o.Stage("work", str(file)))
    bob.ask("messages.send", o.Send("work", ("Ada Knows",), "Stones", "As asked for.", files=(staged.file,), delay_s=0))
    return ada, bob, ada.message("work", "As asked for.").thread


def looked_at(page: Page, axe: str, screens: Path, name: str) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert violations(page, axe) == [], f"{name}, {scheme}"
        page.screenshot(path=screens / f"client-about-{name}-{scheme}.png")
    assert cut_off(page) == [], name


def test_a_conversation_says_who_reads_it_and_keys_are_compared_there(
    people: tuple[Someone, Someone, str], come_in: ComeIn, axe: str, screens: Path
) -> None:
    ada, bob, thread = people
    page = come_in(ada, f"/#/a/work/t/{thread}")
    opener = page.get_by_role("button", name="About this conversation")
    expect(opener).to_be_visible()
    opener.focus()
    page.keyboard.press("Enter")
    about = page.get_by_role("complementary", name="About this conversation")
    expect(about.get_by_role("heading", name="About this conversation")).to_be_focused()
    readers = about.get_by_role("list").first
    expect(readers.get_by_role("listitem")).to_have_count(2)
    expect(readers.locator("bdi").get_by_text("Bob Sends", exact=True)).to_be_visible()
    expect(readers.get_by_text("Began it")).to_be_visible()
    expect(about.get_by_role("heading", name="1 file")).to_be_visible()
    expect(about.get_by_role("link", name="stones.txt")).to_be_visible()
    looked_at(page, axe, screens, "wide")

    about.get_by_role("button", name="Compare keys Bob Sends").press("Enter")
    number = about.get_by_role("group", name="Number to compare with Bob Sends")
    shown = bob.ask("people.list", o.OfAccount("work"))
    digits = bob.ask(
        "keys.safety", o.OfPerson("work", next(one.uid for one in shown if one.alias == "Ada Knows"))
    ).digits
    expect(number).to_have_text(digits)
    looked_at(page, axe, screens, "number")
    about.get_by_role("button", name="The numbers are the same").press("Enter")
    expect(readers.get_by_text("Compared", exact=True)).to_be_visible()

    page.set_viewport_size(VAST)
    looked_at(page, axe, screens, "vast")
    page.set_viewport_size(NARROW)
    looked_at(page, axe, screens, "narrow")
    page.keyboard.press("Escape")
    expect(about).to_have_count(0)
    expect(opener).to_be_focused()


def test_a_conversation_is_kept_encrypted_whatever_else_is_set(
    people: tuple[Someone, Someone, str], come_in: ComeIn
) -> None:
    ada, _, thread = people
    page = come_in(ada, f"/#/a/work/t/{thread}")
    page.get_by_role("button", name="About this conversation").click()
    always = page.get_by_role("checkbox", name="Always encrypt here")
    expect(always).not_to_be_checked()
    always.check()
    read = ada.until("threads.read", o.ReadThread("work", thread), lambda one: one.thread.encryption == "on" and one)
    assert read.thread.readers
    expect(always).to_be_checked()
    page.get_by_role("complementary").get_by_role("link", name="stones.txt").click()
    expect(page.get_by_role("complementary", name="About this conversation")).to_have_count(0)
    expect(page.get_by_role("button", name="Open stones.txt")).to_be_visible()
