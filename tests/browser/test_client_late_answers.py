# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages on a slow machine: answers come late, and what happened meanwhile was told before them (B1, B2, B8)."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import operations as o

NOT_COMING_MS = 500  # for what should not come, to come: a draft is saved after half of it


class Cast(NamedTuple):
    """Ada, and two whom she knows. `thread`: what Beatrice One wrote to her."""

    ada: Someone
    one: Someone
    two: Someone
    thread: str


@pytest.fixture(scope="module")
def cast(town: Town) -> Cast:
    ada, one, two = (town.person(name, "work") for name in ("Ada Slowly", "Beatrice One", "Beatrice Two"))
    town.acquaint(ada, one, "work")
    town.acquaint(ada, two, "work")
    one.ask("messages.send", o.Send("work", ("Ada Slowly",), "Letters", "The first letter", delay_s=0))
    return Cast(ada, one, two, ada.message("work", "The first letter").thread)


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("list", name="Conversations").get_by_role("link").filter(has_text=text)


def reply(page: Page) -> Locator:
    return page.get_by_role("form", name="Reply").get_by_role("textbox")


def settled(page: Page) -> None:
    """What was answered before this is asked has been taken in."""
    page.evaluate("import('/app/base/api.js').then(({ call }) => call('home.state')).then(() => null)")


def in_the_loop(town: Town, act: Callable[[], None]) -> None:
    """Where the engines are."""

    async def acting() -> None:
        act()

    town.do(acting())


def hold_events(someone: Someone, monkeypatch: pytest.MonkeyPatch) -> asyncio.Semaphore:
    """Events are read as they come, and each page of them is told when this is released once more."""
    home: Any = someone.person.engine.home
    since, one_more = home.since, asyncio.Semaphore(0)

    async def late(*of: Any) -> Any:
        events = await since(*of)
        await one_more.acquire()
        return events

    monkeypatch.setattr(home, "since", late)
    return one_more


# -- reading -------------------------------------------------------------------------------------------------------------
def test_a_message_that_comes_while_a_conversation_is_asked_for_is_in_it(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Opens", "work"), town.person("Bob Adds", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Opens",), "One by one", "The first of two", delay_s=0))
    first = ada.message("work", "The first of two")
    page = come_in(ada, "/#/a/work")
    found = row(page, "One by one")
    expect(found).to_have_accessible_name(re.compile("1 unread"))
    with ada.late("threads.read") as answered:
        found.click()
        answered()
        bob.ask("messages.send", o.Send("work", (), "", "The second of two", reply=first.id, delay_s=0))
        expect(found).to_have_accessible_name(re.compile("2 unread"))
    expect(page.get_by_role("article").filter(has_text="The second of two")).to_be_visible()
    expect(page.get_by_role("article").filter(has_text="The first of two")).to_be_visible()


def test_a_conversation_that_begins_while_the_list_is_asked_for_is_in_it(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Lists", "work"), town.person("Bob Begins", "work")
    town.acquaint(ada, bob, "work")
    with ada.late("threads.list") as answered:
        page = come_in(ada, "/#/a/work")
        answered()
        bob.ask("messages.send", o.Send("work", ("Ada Lists",), "Just begun", "Here it begins", delay_s=0))
        expect(page).to_have_title(re.compile(r"^\(2\) "))  # this, and the answer to a ping
        page.wait_for_timeout(NOT_COMING_MS)  # what changes together is put into a list a moment later
    expect(row(page, "Just begun")).to_be_visible()


def test_what_is_locked_stays_locked_whatever_is_answered_late(town: Town, come_in: ComeIn) -> None:
    """B8."""
    ada = town.person("Ada Shuts", "work")
    ada.ask("home.passphrase", o.SetPassphrase("correct horse battery"))
    with ada.late("home.state") as answered:
        page = come_in(ada)
        answered()
        settled_at = page.evaluate("import('/app/state/state.js').then(({ home }) => home.value)")
        assert settled_at is None
        ada.ask("home.lock")
        expect(page.get_by_role("heading", name="Locked")).to_be_visible()
    settled(page)
    expect(page.get_by_role("heading", name="Locked")).to_be_visible()
    expect(page.locator(".client")).to_have_count(0)


# -- writing -------------------------------------------------------------------------------------------------------------
def test_whoever_is_marked_is_chosen_though_the_list_is_another_by_then(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, "/#/a/work/new")
    to = page.get_by_role("combobox", name="To")
    to.fill("Beatrice")
    option = page.get_by_role("option")
    expect(option).to_have_count(2)
    names = option.all_inner_texts()
    with cast.ada.late("people.find") as answered:
        to.fill("Beatrice T")
        answered()
        while "Two" not in names[0]:  # down to her, wherever she stands
            to.press("ArrowDown")
            names = names[1:]
        to.press("ArrowDown")
        expect(page.get_by_role("option", selected=True)).to_contain_text("Beatrice Two")
    expect(option).to_have_count(1)
    to.press("Enter")
    expect(page.get_by_role("list", name="To").get_by_text("Beatrice Two", exact=True)).to_be_visible()
    to.fill("Beatrice O")
    expect(option).to_contain_text("Beatrice One")
    with cast.ada.late("people.find") as answered:
        to.fill("Beatrice Tw")
        answered()
        to.press("ArrowDown")
        expect(page.get_by_role("option", selected=True)).to_contain_text("Beatrice One")
    expect(option).to_contain_text("Beatrice Two")
    expect(page.get_by_role("option", selected=True)).to_have_count(0)  # nobody else takes the place of who was marked
    page.get_by_role("button", name="Discard draft").click()


def test_what_is_typed_while_a_message_is_sent_stays(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")
    cast.ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    reply(page).fill("All of this goes")
    with cast.ada.late("messages.send") as answered:
        reply(page).press("Control+Enter")
        answered()
        reply(page).press("End")
        page.keyboard.type(" and this stays")
        page.wait_for_timeout(NOT_COMING_MS)  # it is saved meanwhile
    expect(reply(page)).to_have_value(" and this stays")
    assert cast.one.message("work", "All of this goes").text == "All of this goes"
    page.reload()
    expect(reply(page)).to_have_value(" and this stays")
    page.get_by_role("button", name="Discard draft").click()
    expect(reply(page)).to_have_value("")


def test_a_draft_that_is_thrown_away_does_not_come_back(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")
    with cast.ada.late("drafts.drop") as answered:
        reply(page).fill("Of no use")
        page.get_by_role("button", name="Discard draft").click()
        answered()
        page.wait_for_timeout(NOT_COMING_MS)
    expect(reply(page)).to_have_value("")
    page.reload()
    expect(reply(page)).to_have_value("")
    assert cast.ada.ask("drafts.list", o.OfAccount("work")) == []


def test_words_that_come_back_late_do_not_undo_those_after_them(
    town: Town, cast: Cast, come_in: ComeIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")
    expect(reply(page)).to_be_visible()
    one_more = hold_events(cast.ada, monkeypatch)
    for typed, text in (("One", "One"), (", two", "One, two")):
        reply(page).press("End")
        page.keyboard.type(typed)
        cast.ada.until(
            "drafts.list", o.OfAccount("work"), lambda all, text=text: [1 for one in all if one.text == text]
        )
    in_the_loop(town, one_more.release)  # that it was "One"
    settled(page)
    page.keyboard.type("!")
    expect(reply(page)).to_have_value("One, two!")
    monkeypatch.undo()
    in_the_loop(town, one_more.release)
    page.get_by_role("button", name="Discard draft").click()
    expect(reply(page)).to_have_value("")


def test_what_has_left_before_it_was_answered_is_said_to_have_left(town: Town, cast: Cast, come_in: ComeIn) -> None:
    cast.ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    page = come_in(cast.ada, "/#/a/work/new?to=Beatrice+Two")
    page.get_by_label("Message", exact=True).fill("Gone before you know")
    with cast.ada.late("messages.send") as answered:
        page.get_by_role("button", name="Send", exact=True).click()
        answered()
        cast.two.message("work", "Gone before you know")
        expect(row(page, "Gone before you know")).to_be_visible()
    expect(page.get_by_text("Sent to Beatrice Two.")).to_be_visible()

    stranger = town.person("Sid Stranger", "work")
    page.goto(f"{cast.ada.url}/#/a/work/ping")
    page.get_by_role("combobox", name="Name").fill("Sid Stranger")
    page.get_by_label("Your words").fill("Hello, Sid")
    with cast.ada.late("people.ping") as answered:
        page.get_by_role("button", name="Send ping").click()
        answered()
        stranger.message("work", "Hello, Sid")
        expect(row(page, "Hello, Sid")).to_be_visible()
    expect(page.get_by_text("Sid Stranger has your ping.")).to_be_visible()


# -- keyboard ------------------------------------------------------------------------------------------------------------
PRESSED = """async (keys) => {
  for (const key of keys) {
    const there = document.activeElement ?? document.body;
    there.dispatchEvent(new KeyboardEvent("keydown", { key, ctrlKey: key === "k", bubbles: true, cancelable: true }));
  }
  await new Promise((done) => setTimeout(done)); // the next key can come no sooner
  return document.activeElement.matches("input");
}"""


@pytest.mark.parametrize("key", ["k", "/", "t"])
def test_what_is_typed_at_once_goes_where_one_is_going(cast: Cast, come_in: ComeIn, key: str) -> None:
    """A letter too early would act upon the conversation: `e` puts it away."""
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")
    expect(reply(page)).to_be_visible()
    assert page.evaluate(PRESSED, [key])


def test_a_switch_does_not_spring_back_while_its_event_is_on_its_way(
    town: Town, cast: Cast, come_in: ComeIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = come_in(cast.ada, "/#/settings/keyboard")
    letters = page.get_by_label("Single letters are keys, too")
    expect(letters).to_be_checked()
    one_more = hold_events(cast.ada, monkeypatch)
    with cast.ada.late("settings.set") as answered:
        letters.uncheck()
        answered()
        expect(letters).to_be_disabled()
    expect(letters).to_be_enabled()
    expect(letters).not_to_be_checked()
    letters.check()
    monkeypatch.undo()
    in_the_loop(town, one_more.release)
    cast.ada.until("settings.list", o.OfAccount("work"), lambda all: all.values["single_letter_keys"] or None)
    expect(letters).to_be_checked()
