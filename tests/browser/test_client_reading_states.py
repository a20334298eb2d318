# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages when something is the matter: changed keys, a locked history, an engine that is away, a look that
nobody could read, and very much to read (B1, B2, B8, B9)."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.axe import violations
from tests.support.history import a_message
from tests.support.pages import ComeIn, Town
from tmtp_client.api import operations as o
from tmtp_client.api.serving import serving

WORK = "/a/work"  # the page of the account that all is about
MANY = 3_000
ATTEMPTS_MAX = 1_000  # to get to an end, of which each brings a page of messages


# -- keys ------------------------------------------------------------------------------------------------------------------
def test_changed_keys_are_seen_before_anything_is_written(town: Town, come_in: ComeIn, axe: str) -> None:
    """B9: the person sees what changed, compares or not, and goes on."""
    ada, bob = town.person("Ada Compares", "work"), town.person("Bob Changes", "work")
    _, uid = town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Compares",), "Before", "From the old device", delay_s=0))
    thread = ada.message("work", "From the old device").thread
    ada.ask("messages.send", o.Send("work", (), "", "Seen", reply=thread, delay_s=0))
    ada.sent("work")
    tablet = town.device("Bob Changes")
    offer = bob.ask("devices.start_link", o.StartLink("work"))
    answer = tablet.ask("devices.answer_link", o.AnswerLink("work", offer.text, "tablet"))
    bob.ask("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
    page = come_in(ada, f"/#{WORK}/t/{thread}")
    bob.ask("messages.send", o.Send("work", (), "", "There is a new one", reply=thread, delay_s=0))
    ada.until("people.show", o.OfPerson("work", uid), lambda person: person.keys_changed)
    asked = page.get_by_role("region", name="Bob Changes has other keys now")
    expect(asked).to_be_visible()
    expect(asked.get_by_role("listitem").first).to_be_visible()
    expect(page.locator("form.compose")).to_have_count(0)  # nothing is written while that is not seen
    assert not violations(page, axe)
    asked.get_by_role("button", name="Compare the number").click()
    number = ada.ask("keys.safety", o.OfPerson("work", uid))
    expect(asked.get_by_role("group", name="Number to compare with Bob Changes")).to_have_text(number.digits)
    expect(asked.get_by_role("img", name=re.compile("QR code"))).to_be_visible()
    assert asked.get_by_role("img", name=re.compile("QR code")).locator("path").get_attribute("d")
    assert not violations(page, axe)
    asked.get_by_role("button", name="The numbers are the same").click()
    expect(asked).to_have_count(0)
    expect(page.locator("form.compose")).to_have_count(1)
    assert ada.ask("people.show", o.OfPerson("work", uid)).keys == "compared"
    page.get_by_role("button", name="Encrypted: why").click()
    expect(page.get_by_text("Compared keys with: Bob Changes")).to_be_visible()


# -- the home --------------------------------------------------------------------------------------------------------------
def test_what_is_locked_is_gone_from_the_page_until_it_is_opened(town: Town, come_in: ComeIn) -> None:
    """B8."""
    ada, bob = town.person("Ada Locked", "work"), town.person("Bob Locks", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Locked",), "Private", "Nobody else reads this", delay_s=0))
    thread = ada.message("work", "Nobody else").thread
    ada.ask("home.passphrase", o.SetPassphrase("correct horse battery"))
    page = come_in(ada, f"/#{WORK}/t/{thread}")
    expect(page.get_by_role("article").filter(has_text="Nobody else reads this")).to_be_visible()
    page.get_by_role("button", name="Lock", exact=True).click()
    expect(page.locator("input[type=password]")).to_be_visible()
    expect(page.locator("body")).not_to_contain_text("Nobody else reads this")
    expect(page.locator("body")).not_to_contain_text("Private")
    page.locator("input[type=password]").fill("correct horse battery")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article").filter(has_text="Nobody else reads this")).to_be_visible()
    expect(
        page.get_by_role("list", name="Conversations").get_by_role("link").filter(has_text="Private")
    ).to_be_visible()


def test_a_connection_that_breaks_is_taken_up_where_it_was(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Resumes", "work"), town.person("Bob Goes On", "work")
    town.acquaint(ada, bob, "work")
    page = come_in(ada, "/#/a/work")
    rows = page.get_by_role("list", name="Conversations").get_by_role("link")
    expect(rows.filter(has_text="Bob Goes On").first).to_be_visible()

    async def cut() -> None:
        for one in list(ada.server._sockets):
            await one.close()

    for number in range(3):
        town.do(cut())
        bob.ask("messages.send", o.Send("work", ("Ada Resumes",), f"Sent {number}", "While nobody listened", delay_s=0))
        expect(rows.filter(has_text=f"Sent {number}")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="does not answer")).to_have_count(0)


def test_an_engine_that_is_away_is_told(town: Town, tmp_path: Path, context: BrowserContext) -> None:
    stack = AsyncExitStack()
    served = town.do(stack.enter_async_context(serving(tmp_path / "home")))

    async def way_in() -> str:
        return served.server.way_in()

    page = context.new_page()
    page.goto(town.do(way_in()))
    page.wait_for_url(f"{served.server.url}/")
    expect(page.locator("#app")).not_to_be_empty()
    away = page.get_by_role("status").filter(has_text="The engine does not answer")
    expect(away).to_have_count(0)
    town.do(stack.aclose())
    expect(away).to_be_visible()


# -- looks -----------------------------------------------------------------------------------------------------------------
def background(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_look_is_followed_at_once_and_can_be_read_whatever_it_says(
    town: Town, come_in: ComeIn, axe: str, scheme: str
) -> None:
    """B2, WCAG 1.4.3."""
    name = f"Ada Paints {scheme}"
    ada = town.person(name, "work", "club")
    bob = town.person(f"Bob Paints {scheme}", "work")
    town.acquaint(ada, bob, "work")
    text = "Some *words* and `code` and [a link](https://example.org)\n\n> a quote"
    bob.ask("messages.send", o.Send("work", (name,), "Colours", text, delay_s=0))
    thread = ada.message("work", "Some *words*").thread
    page = come_in(ada, f"/#{WORK}/t/{thread}")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    expect(page.get_by_role("article")).to_have_count(1)
    own = background(page)
    colours = {
        "background": "#ffe4f0",
        "surface": "#fff6fa",
        "text": "#ffaacc",
        "muted": "#eeddee",
        "accent": "#ffff00",
    }
    dark = {"background": "#200010", "surface": "#300018", "text": "#501030", "muted": "#402030", "accent": "#300000"}
    revised = {"light": colours, "dark": dark, "font": "serif", "corners": "round", "spacing": "wide"}
    ada.ask("accounts.revise_skin", o.ReviseSkin("work", revised))
    page.wait_for_function("(own) => getComputedStyle(document.body).backgroundColor !== own", arg=own)
    assert not violations(page, axe)
    assert "Georgia" in page.evaluate("getComputedStyle(document.body).fontFamily")
    page.get_by_role("navigation", name="Services").get_by_role("link", name=re.compile("^Chess Club")).click()
    page.wait_for_function("(own) => getComputedStyle(document.body).backgroundColor === own", arg=own)


def test_a_look_is_data_whatever_stands_in_it(town: Town, come_in: ComeIn) -> None:
    """B6: what is no colour, or no font that is listed, is nothing."""
    ada = town.person("Ada Tricked", "work")
    evil = "red;background:url(https://example.org/x)"
    ada.ask(
        "accounts.revise_skin", o.ReviseSkin("work", {"light": {"background": evil}, "font": evil, "corners": evil})
    )
    page = come_in(ada, "/#/a/work")
    expect(page.get_by_role("heading", name="Nobody has written yet")).to_be_visible()
    assert "url" not in page.evaluate("document.documentElement.style.cssText")


# -- very much ---------------------------------------------------------------------------------------------------------------
def test_a_long_list_is_a_list_to_its_end_and_holds_few_rows(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Endless", "work")
    ada.fill("work", [a_message(n, f"About matter {n}", subject=f"Matter {n}", seen=True) for n in range(MANY)])
    page = come_in(ada, "/#/a/work")
    row = page.get_by_role("list", name="Conversations").get_by_role("listitem")
    expect(row.first).to_contain_text(f"Matter {MANY - 1}")
    assert row.count() < 60
    page.get_by_role("list", name="Conversations").get_by_role("link").first.focus()
    for _ in range(ATTEMPTS_MAX):
        page.keyboard.press("End")
        if page.get_by_role("link", name=re.compile("Matter 0 ")).count():
            break
        page.wait_for_timeout(50)
    last = page.get_by_role("link", name=re.compile("Matter 0 "))
    expect(last).to_be_focused()
    item = page.get_by_role("listitem").filter(has=last)
    assert item.get_attribute("aria-posinset") == item.get_attribute("aria-setsize") == str(MANY)
    assert row.count() < 60
    page.keyboard.press("Home")
    expect(page.get_by_role("link", name=re.compile(f"Matter {MANY - 1} "))).to_be_focused()


def test_a_long_conversation_is_read_back_to_its_beginning_and_down_again(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Patient", "work")
    made = [a_message(n, f"Word number {n} of it", thread=1, seen=True) for n in range(1, 1_001)]
    ada.fill("work", made)
    thread = made[0].thread
    page = come_in(ada, f"/#{WORK}/t/{thread}")
    article = page.get_by_role("article")
    expect(article.filter(has_text="Word number 1000 of it")).to_be_in_viewport()
    box = page.locator(".messages-place")

    def scroll_to(place: str, text: str) -> None:
        for _ in range(ATTEMPTS_MAX):
            if article.filter(has_text=text).count():
                return
            box.evaluate(f"(box) => (box.scrollTop = {place})")
            page.wait_for_timeout(60)
        pytest.fail(f"{text} does not come")

    scroll_to("0", "Word number 1 of it")
    assert article.count() <= 300
    expect(page.get_by_role("button", name="To the latest message")).to_be_attached()
    scroll_to("box.scrollHeight", "Word number 1000 of it")
    assert article.count() <= 300
    page.goto(f"{ada.url}/#{WORK}/t/{thread}?at={made[499].id}")
    expect(article.filter(has_text="Word number 500 of it")).to_be_in_viewport()
