# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's lists under one's hands (B1): what changes leaves alone what one does, and what is long costs what is seen.

No test here asserts a time: `python -m bench.client_pages` measures. What makes it fast is asserted: how much is drawn
at once, what is made again, and what is asked.
"""

import re
from collections import Counter
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

from tests.support.axe import violations
from tests.support.history import a_message
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import operations as o

ATTEMPTS_MAX, LOOK_MS = 600, 50
WORK: Final = "/a/work"
LONG: Final = 400
AT_ONCE: Final = 10  # messages that come into the page in one go: tmtp_client/web/app/state/conversation.js
PAGE: Final = 50
TOP: Final = """(one) =>
  one.getBoundingClientRect().top - document.querySelector(".messages-place").getBoundingClientRect().top"""


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Conversations").get_by_role("link")


def row(page: Page, subject: str) -> Locator:
    return rows(page).filter(has_text=subject)


def two(town: Town, name: str) -> tuple[Someone, Someone]:
    """Who reads, and who writes to her."""
    ada, bob = town.person(f"Ada {name}", "work"), town.person(f"Bob {name}", "work")
    town.acquaint(ada, bob, "work")
    return ada, bob


def write(bob: Someone, ada: Someone, subject: str) -> str:
    """A conversation of one message; its id once it is there."""
    bob.ask("messages.send", o.Send("work", (ada.name,), subject, f"It is about {subject}", delay_s=0))
    return ada.message("work", f"It is about {subject}").thread


def asked(page: Page) -> Counter[str]:
    """What the page asks the engine from its next connection on, by operation."""
    found: Counter[str] = Counter()

    def sent(frame: str | bytes) -> None:
        if operation := re.search(r'"method":"([a-z._]+)"', str(frame)):
            found[operation[1]] += 1

    def opened(socket: WebSocket) -> None:
        socket.on("framesent", sent)

    page.on("websocket", opened)
    page.reload()
    return found


# -- menus -----------------------------------------------------------------------------------------------------------
def test_an_open_menu_stays_and_keeps_its_focus_while_the_list_is_drawn_anew(town: Town, come_in: ComeIn) -> None:
    ada, bob = two(town, "Chooses")
    first = write(bob, ada, "First of all")
    page = come_in(ada, f"/#{WORK}/t/{first}")
    expect(row(page, "First of all")).to_be_visible()
    expect(page.get_by_role("button", name="Archive", exact=True)).to_be_visible()  # the conversation came, too
    # The menu is opened while the conversation is being put away, after which the focus goes to the list.
    page.evaluate(
        "document.querySelector('.acts [aria-label=Archive]').click(), document.getElementById('act-views').click()"
    )
    snoozed = page.get_by_role("link", name="Later", exact=True)
    page.get_by_role("link", name="Inbox", exact=True).focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(snoozed).to_be_focused()
    expect(row(page, "First of all")).to_have_count(0)
    write(bob, ada, "Second")
    expect(row(page, "Second")).to_be_visible()
    expect(snoozed).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("Which conversations"))).to_be_focused()


@pytest.mark.parametrize("by", ["Shift+F10", "ContextMenu", "pointer"])
def test_a_row_has_a_menu_that_stays_until_it_is_done_with(town: Town, come_in: ComeIn, axe: str, by: str) -> None:
    ada, bob = two(town, f"Acts by {by}")
    for subject in ("Lower", "Middle", "Upper"):
        write(bob, ada, subject)
    page = come_in(ada, f"/#{WORK}")
    middle = row(page, "Middle")
    menu = page.get_by_role("menu", name="Acts on Middle")

    def opened() -> None:
        if by == "pointer":
            middle.click(button="right")
        else:
            middle.focus()
            page.keyboard.press(by)
        expect(menu.get_by_role("menuitem", name="Archive")).to_be_focused()

    opened()
    assert not violations(page, axe)
    write(bob, ada, "Above all")
    expect(row(page, "Above all")).to_be_visible()
    expect(menu.get_by_role("menuitem", name="Archive")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(middle).to_be_focused()
    opened()
    page.keyboard.press("ArrowUp")  # round, to the last
    expect(menu.get_by_role("menuitem").last).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(middle).not_to_have_accessible_name(re.compile("unread"))
    opened()
    menu.get_by_role("menuitem", name="Archive").click()
    expect(middle).to_have_count(0)
    expect(row(page, "Lower")).to_be_focused()
    row(page, "Lower").click(button="right")
    page.get_by_role("heading", level=1).first.click()
    expect(page.get_by_role("menu")).to_have_count(0)


# -- order -----------------------------------------------------------------------------------------------------------
def test_what_is_unread_stands_first_where_one_wants_that(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Orders", "work", "club")
    made = [a_message(n, f"About {n}", subject=f"Matter {n:03}", seen=n not in {5, 40}) for n in range(1, 151)]
    ada.fill("work", made)
    page = come_in(ada, f"/#{WORK}")
    expect(rows(page).first).to_contain_text("Matter 150")
    page.get_by_role("button", name=re.compile("Which conversations")).click()
    page.get_by_role("checkbox", name="Unread ones first").check()
    page.keyboard.press("Escape")
    expect(rows(page).nth(0)).to_contain_text("Matter 040")
    expect(rows(page).nth(1)).to_contain_text("Matter 005")
    expect(rows(page).nth(2)).to_contain_text("Matter 150")
    assert ada.ask("settings.list", o.OfAccount("work")).values["order"] == "unseen"
    row(page, "Matter 040").click()
    expect(row(page, "Matter 040")).not_to_have_accessible_name(re.compile("unread"))
    expect(rows(page).nth(0)).to_contain_text("Matter 040")  # it does not run away from under one's hands
    rows(page).nth(0).focus()
    item = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=re.compile("Matter 001")))
    for _ in range(ATTEMPTS_MAX):  # to the end of what is here, until what follows has come
        page.keyboard.press("End")
        if item.count():
            break
        page.wait_for_timeout(LOOK_MS)
    expect(item).to_have_attribute("aria-posinset", "150")  # each once
    expect(item).to_have_attribute("aria-setsize", "150")
    services = page.get_by_role("navigation", name="Services")
    services.get_by_role("link", name=re.compile("^Chess Club")).click()
    expect(page.get_by_role("heading", name="Nobody has written yet")).to_be_visible()
    services.get_by_role("link", name=re.compile("^Example Works")).click()
    expect(rows(page).nth(0)).to_contain_text("Matter 005")
    expect(rows(page).nth(1)).to_contain_text("Matter 150")


# -- what it costs ---------------------------------------------------------------------------------------------------
def test_a_row_is_made_again_only_when_something_of_it_has_changed(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Still", "work")
    ada.fill("work", [a_message(n, f"About {n}", subject=f"Matter {n:03}", seen=True) for n in range(1, 301)])
    page = come_in(ada, f"/#{WORK}")
    expect(rows(page).first).to_contain_text("Matter 300")
    page.evaluate(
        """() => {
          globalThis.formatted = 0; // of every row that is made two moments are told
          const format = Object.getOwnPropertyDescriptor(Intl.DateTimeFormat.prototype, "format");
          Object.defineProperty(Intl.DateTimeFormat.prototype, "format", { get() {
            formatted += 1;
            return format.get.call(this);
          } });
          globalThis.came = new Set();
          globalThis.touched = new Set();
          const note = (changes) => changes.forEach(({ target, addedNodes }) => {
            addedNodes.forEach((node) => node.nodeType === 1 && node.matches("li") && came.add(node));
            const element = target.nodeType === 1 ? target : target.parentElement;
            const row = element.closest("[data-row]");
            if (row) touched.add(row.dataset.row);
          });
          new MutationObserver(note).observe(document.querySelector(".virtual"),
            { subtree: true, childList: true, attributes: true, characterData: true, attributeFilter: ["class", "href", "title"] });
        }"""
    )
    page.locator(".list-pane .scroller").evaluate("(box) => (box.scrollTop = 760)")
    expect(row(page, "Matter 278")).to_be_attached()
    assert page.evaluate("touched.size") == 0  # rows came and went; none that stayed was touched
    assert 0 < page.evaluate("formatted") <= 2 * page.evaluate("came.size")
    thread = ada.ask("threads.list", o.ListThreads("work")).threads[11]
    ada.ask("threads.mark", o.MarkThread("work", thread.id, muted=True))
    expect(row(page, thread.subject)).to_have_accessible_name(re.compile("muted"))
    assert page.evaluate("[...touched]") == [f"work {thread.id}"]


def test_a_long_list_is_asked_for_a_page_at_a_time(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Asks", "work")
    ada.fill("work", [a_message(n, f"About {n}", subject=f"Matter {n:03}", seen=True) for n in range(1, 331)])
    page = come_in(ada, f"/#{WORK}")
    found = asked(page)
    expect(rows(page).first).to_contain_text("Matter 330")
    assert found["threads.list"] == 1
    box = page.locator(".list-pane .scroller")
    for _ in range(200):
        box.evaluate("(box) => (box.scrollTop += 400)")
        if row(page, "Matter 001").count():
            break
        page.wait_for_timeout(20)
    expect(row(page, "Matter 001")).to_be_attached()
    assert found["threads.list"] == 4
    assert rows(page).count() < 60
    assert found["threads.read"] == 0  # nothing is asked of what is only passed


def test_a_long_conversation_comes_a_few_messages_at_a_time_and_its_texts_together(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Steps", "work")
    made = [a_message(n, f"*Word* number {n} of it", thread=1, seen=True) for n in range(1, LONG + 1)]
    ada.fill("work", made)
    page = come_in(ada)
    page.add_init_script(
        """
        globalThis.most = 0;
        new MutationObserver((changes) => {
          const came = changes.flatMap(({ addedNodes }) => [...addedNodes]).flatMap((node) =>
            node.nodeType === 1 ? [...(node.matches("article") ? [node] : []), ...node.querySelectorAll("article")] : []);
          most = Math.max(most, new Set(came).size);
        }).observe(document, { subtree: true, childList: true });
        """
    )
    page.goto(f"{ada.url}/#{WORK}/t/{made[0].thread}")
    found = asked(page)
    article = page.get_by_role("article")
    expect(article.filter(has_text=f"number {LONG} of it")).to_be_in_viewport()
    expect(article).to_have_count(PAGE)
    place = page.locator(".messages-place")
    for _ in range(400):
        if article.filter(has_text="number 1 of it").count():
            break
        place.evaluate("(box) => (box.scrollTop -= 500)")
        page.wait_for_timeout(20)
    expect(article.filter(has_text="number 1 of it")).to_be_attached()
    expect(page.locator(".prose")).to_have_count(article.count())
    assert 0 < page.evaluate("most") <= AT_ONCE
    assert article.count() <= 200
    pages = LONG // PAGE
    assert found["threads.read"] <= pages + 2  # and what the reply is to
    assert found["messages.render"] <= 2 * pages
    assert found["render"] == 0


def test_what_one_looks_at_stays_where_it_is_when_messages_come_above_and_below(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Calm", "work")
    made = [
        a_message(n, f"Word number {n} of it\n\n" + "line\n\n" * (n % 7), thread=1, seen=True) for n in range(1, 301)
    ]
    ada.fill("work", made)
    page = come_in(ada, f"/#{WORK}/t/{made[0].thread}?at={made[149].id}")
    wanted = page.get_by_role("article").filter(has_text="Word number 150 of it")
    expect(wanted).to_be_in_viewport()
    expect(page.get_by_role("article").filter(has_text="Word number 130 of it")).to_be_attached()
    expect(page.get_by_role("article").filter(has_text="Word number 170 of it")).to_be_attached()
    expect(page.locator("form.compose")).to_be_visible()  # it takes its room from what one reads
    off = """(one) => {
      const box = document.querySelector(".messages-place");
      return Math.abs(one.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 3);
    }"""
    assert wanted.evaluate(off) < 3  # where it was put, though what is around it came later
    before = page.get_by_role("article").count()
    seen = page.get_by_role("article").filter(has_text="Word number 128 of it")
    top = seen.evaluate(
        """async (one) => {
          one.scrollIntoView({ block: "center" });
          for (let frame = 0; frame < 10; frame += 1) await new Promise(requestAnimationFrame); // what is in sight is drawn
          return one.getBoundingClientRect().top - document.querySelector(".messages-place").getBoundingClientRect().top;
        }"""
    )
    page.wait_for_function("(before) => document.querySelectorAll('article').length >= before + 50", arg=before)
    assert abs(seen.evaluate(TOP) - top) < 3
