# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages for who reads: lists, conversations, search, by pointer and by keyboard, wide and narrow (B1, B2, B6)."""

import re
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.support.axe import LOOKS, NARROW, violations
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import operations as o

WORK = "/a/work"  # the page of the account that most of it is about
PLAN = """\
Hello Ada Lovelace,

here is **the plan**: see [our site](https://example.org/plan), or [paypal.com](https://evil.example/).

| day | stones |
|---|--:|
| Monday | 12 |

- [x] dig

> On Monday you wrote that somebody would look at it.
"""


class Cast(NamedTuple):
    """Ada reads. Bob has sent her a plan, a dozen questions, and a file; Eve, whom she does not know, a ping."""

    ada: Someone
    bob: Someone
    eve: Someone
    plan: str  # the thread


@pytest.fixture(scope="module")
def cast(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Cast:
    ada, bob, eve = (
        town.person("Ada Reads", "work", "club"),
        town.person("Bob Writes", "work"),
        town.person("Eve Stranger", "work"),
    )
    town.acquaint(ada, bob, "work")
    eve.ask("people.ping", o.SendPing("work", "Ada Reads", "We met in Bath. <b>May</b> I write? https://example.org"))
    ada.message("work", "We met in Bath")
    file = tmp_path_factory.mktemp("files") / "stones.txt"
    file.write_text("granite\n" * 20)
    staged = bob.ask("files.stage", o.Stage("work", str(file)))
    sent = o.Send(
        "work", ("Ada Reads",), "The plan", PLAN.replace("Ada Lovelace", "Ada Reads"), files=(staged.file,), delay_s=0
    )
    bob.ask("messages.send", sent)
    plan = ada.message("work", "Hello Ada Reads").thread
    for number in range(12):
        bob.ask(
            "messages.send",
            o.Send("work", ("Ada Reads",), f"Question {number}", f"Who carries stone {number}?", delay_s=0),
        )
    ada.message("work", "Who carries stone 11?")
    return Cast(ada, bob, eve, plan)


def rows(page: Page) -> Locator:
    return page.get_by_role("list", name="Conversations").get_by_role("link")


def open_at(page: Page, someone: Someone, path: str) -> None:
    """Go there, and wait until the engine has answered what the page asked."""
    page.goto(f"{someone.url}/#{path}")
    expect(page.locator(".client")).to_be_visible()


def message(page: Page, text: str) -> Locator:
    return page.get_by_role("article").filter(has_text=text)


# -- reading ---------------------------------------------------------------------------------------------------------
def test_services_say_what_waits_and_a_list_leads_to_a_conversation(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada)
    work = page.get_by_role("navigation", name="Services").get_by_role(
        "link", name=re.compile("Example Works, as Ada Reads, .* unread")
    )
    expect(work).to_have_accessible_name(re.compile("1 names you.*first contact"))
    work.click()
    expect(page.get_by_role("heading", name="Example Works")).to_be_visible()
    row = rows(page).filter(has_text="The plan")
    expect(row).to_have_accessible_name(re.compile("Bob Writes.*The plan.*unread.*names you.*1 file"))
    row.click()
    expect(page.get_by_role("heading", name="The plan")).to_be_visible()
    plan = message(page, "here is the plan")
    expect(plan).to_have_accessible_name(re.compile(r"Bob Writes, .*message.*: Hello Ada Reads"))
    expect(plan.get_by_role("table")).to_contain_text("Monday")
    expect(plan.get_by_text("somebody would look at it")).to_be_hidden()  # a quote at the end is folded
    plan.get_by_text("Quoted text").click()
    expect(plan.get_by_text("somebody would look at it")).to_be_visible()


def test_a_link_is_followed_by_a_second_act_that_says_its_true_host(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, f"/#{WORK}/t/{cast.plan}")
    plan = message(page, "here is the plan")
    expect(plan).to_be_visible()
    assert plan.locator("[href^='http']").count() == 0  # nothing that a click in the middle, or dragging, could follow
    plan.get_by_role("link", name="paypal.com", exact=True).click()
    dialog = page.get_by_role("dialog", name="This link leads to")
    expect(dialog).to_contain_text("evil.example")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog.get_by_role("link", name="Open in a new tab")).to_have_attribute("href", "https://evil.example/")
    expect(dialog.get_by_role("link", name="Open in a new tab")).to_have_attribute(
        "rel", re.compile("noopener noreferrer")
    )
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    plan.get_by_role("link", name="our site").focus()
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("example.org")


def test_a_file_is_looked_at_in_its_message_and_kept(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, f"/#{WORK}/t/{cast.plan}")
    page.get_by_role("button", name="Open stones.txt").click()
    expect(page.frame_locator("iframe[title='stones.txt']").locator("body")).to_contain_text("granite")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download stones.txt").click()
    assert download.value.suggested_filename == "stones.txt"
    assert Path(download.value.path()).read_text() == "granite\n" * 20


def test_a_first_contact_stands_as_it_was_written_and_is_answered_where_it_stands(town: Town, come_in: ComeIn) -> None:
    """D2."""
    ada, eve = town.person("Ada Asked", "work"), town.person("Eve Asks", "work")
    eve.ask("people.ping", o.SendPing("work", "Ada Asked", "**May** I? <b>now</b> https://example.org"))
    ada.message("work", "**May** I?")
    page = come_in(ada, "/#/a/work")
    rows(page).filter(has_text="Eve Asks").click()
    ping = message(page, "**May** I? <b>now</b> https://example.org")
    expect(ping).to_be_visible()
    assert ping.get_by_role("link").count() == 0
    ping.get_by_label("A few words back").fill("Gladly")
    ping.get_by_role("button", name="Accept").click()
    expect(page.get_by_role("status").filter(has_text="Eve Asks may write to you now")).to_be_visible()
    eve.message("work", "Gladly")
    expect(ping.get_by_role("button", name="Accept")).to_be_hidden()


def test_what_comes_is_there_at_once_and_what_was_seen_is_read(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Live", "work"), town.person("Bob Live", "work")
    town.acquaint(ada, bob, "work")
    page = come_in(ada, "/#/a/work")
    bob.ask("messages.send", o.Send("work", ("Ada Live",), "The mail of today", "It comes by itself", delay_s=0))
    row = rows(page).filter(has_text="The mail of today")
    expect(row).to_have_accessible_name(re.compile("1 unread"))
    expect(page).to_have_title(re.compile(r"^\(\d\) "))
    row.click()
    expect(message(page, "It comes by itself")).to_be_visible()
    ada.until("messages.latest", o.Latest("work"), lambda found: found[-1].seen or None)
    expect(row).not_to_have_accessible_name(re.compile("unread"))
    first = ada.message("work", "It comes by itself")
    bob.ask("messages.send", o.Send("work", (), "", "And more of it", reply=first.id, delay_s=0))
    expect(message(page, "And more of it")).to_be_visible()
    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Unread again").click()
    expect(row).to_have_accessible_name(re.compile("1 unread"))
    expect(page.get_by_role("article")).to_have_count(0)


def test_what_waits_says_how_it_stands_and_can_be_taken_back(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Waits", "work"), town.person("Bob Waits", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Waits",), "Question", "Well?", delay_s=0))
    first = ada.message("work", "Well?")
    page = come_in(ada, f"/#{WORK}/t/{first.thread}")
    ada.ask("messages.send", o.Send("work", (), "", "In a while", reply=first.id, delay_s=100))
    waiting = message(page, "In a while")
    expect(waiting).to_have_accessible_name(re.compile("Yours, to Bob Waits, Sent in"))
    waiting.get_by_role("button", name="Undo").click()
    expect(waiting).to_have_count(0)
    ada.ask("messages.send", o.Send("work", (), "", "At once", reply=first.id, delay_s=100))
    message(page, "At once").get_by_role("button", name="Send now").click()
    bob.message("work", "At once")
    expect(message(page, "At once").filter(has_text="Sent")).to_be_visible()
    expect(message(page, "At once")).to_have_accessible_name(re.compile("^You, .*Sent"))
    page.get_by_role("button", name="Encrypted: why").click()
    expect(page.get_by_text("sealed from device to device")).to_be_visible()
    expect(page.get_by_text("Not compared yet: Bob Waits")).to_be_visible()


def test_a_conversation_is_put_away_silenced_tagged_and_brought_back(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Sorts", "work"), town.person("Bob Sorts", "work")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Sorts",), "To sort", "Where to?", delay_s=0))
    thread = ada.message("work", "Where to?").thread
    page = come_in(ada, f"/#{WORK}/t/{thread}")
    row = rows(page).filter(has_text="To sort")
    page.get_by_role("button", name="Tags").click()
    page.get_by_label("New tag").fill("stones")
    page.keyboard.press("Enter")
    expect(row).to_have_accessible_name(re.compile("tagged stones"))
    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Mute").click()
    expect(row).to_have_accessible_name(re.compile("muted"))
    page.get_by_role("button", name="Show again later").click()
    page.get_by_role("button", name="Tomorrow").click()
    expect(row).to_have_count(0)
    page.get_by_role("status").get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()
    page.get_by_role("button", name="Archive").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name=re.compile("Which conversations")).click()
    page.get_by_role("link", name=re.compile("^stones")).click()
    expect(row).to_be_visible()
    page.get_by_role("button", name=re.compile("Which conversations: stones")).click()
    page.get_by_role("link", name="Archive").click()
    row.click()
    page.get_by_role("button", name="Back to the inbox").click()
    expect(row).to_have_count(0)
    found = ada.until(
        "threads.list", o.ListThreads("work"), lambda found: [one for one in found.threads if one.id == thread]
    )
    assert found[0].muted
    assert found[0].tags == ("stones",)


def test_search_finds_and_leads_to_where_it_was_said(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, "/#/search")
    box = page.get_by_role("searchbox", name="Search messages")
    expect(box).to_be_focused()
    page.get_by_role("button", name="has:file").click()
    expect(page.get_by_role("status").filter(has_text="1 message")).to_be_visible()
    box.fill('from:"Bob Writes" stone 7')
    found = page.get_by_role("list", name="Messages that were found").get_by_role("link")
    expect(found).to_have_count(1)
    expect(found.locator("mark").first).to_have_text("stone")
    found.click()
    expect(message(page, "Who carries stone 7?")).to_be_visible()
    expect(box).to_have_value('from:"Bob Writes" stone 7')
    box.fill("before:nonsense stone")
    expect(page.get_by_text("is no date")).to_be_visible()
    box.fill("nobodyeversaidthis")
    expect(page.get_by_role("heading", name="Nothing was found")).to_be_visible()


def test_all_services_stand_in_one_list(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, "/#/all")
    expect(page.get_by_role("heading", name="All services")).to_be_visible()
    row = rows(page).filter(has_text="Question 11")
    expect(row).to_contain_text("Example Works")
    row.click()
    expect(message(page, "Who carries stone 11?")).to_be_visible()
    expect(page.get_by_role("heading", name="All services")).to_be_visible()


# -- keyboard ----------------------------------------------------------------------------------------------------------
def test_a_day_by_keyboard_alone(town: Town, come_in: ComeIn) -> None:
    ada, bob = town.person("Ada Keys", "work", "club"), town.person("Bob Keys", "work")
    town.acquaint(ada, bob, "work")
    for number in range(3):
        bob.ask("messages.send", o.Send("work", ("Ada Keys",), f"Matter {number}", f"It is about {number}", delay_s=0))
        ada.message("work", f"It is about {number}")
    page = come_in(ada)
    press = page.keyboard.press
    expect(page.get_by_role("heading", name="Chess Club")).to_be_visible()
    press("g"), press("2")  # the second service
    expect(rows(page).nth(0)).to_be_focused()
    press("j")
    expect(rows(page).filter(has_text="Matter 1")).to_be_focused()
    press("Enter")
    expect(message(page, "It is about 1")).to_be_focused()
    press("Escape")
    expect(rows(page).filter(has_text="Matter 1")).to_be_focused()
    press("e")
    expect(rows(page).filter(has_text="Matter 1")).to_have_count(0)
    expect(page.locator("[data-row]:focus")).to_have_count(1)  # the focus has gone to a neighbour
    press("z")
    expect(rows(page).filter(has_text="Matter 1")).to_be_visible()
    press("k"), press("k"), press("k")
    expect(rows(page).filter(has_text="Matter 2")).to_be_focused()
    press("Enter")
    expect(message(page, "It is about 2")).to_be_focused()
    press("t")
    expect(page.get_by_label("New tag")).to_be_focused()
    press("Escape")
    expect(page.get_by_role("button", name="Tags")).to_be_focused()
    press("F6")
    expect(page.get_by_role("link", name=re.compile("^Example Works"))).to_be_focused()
    press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("about 0")
    expect(page.get_by_role("list", name="Messages that were found").get_by_role("link")).to_have_count(1)
    press("Enter"), press("Enter")
    expect(message(page, "It is about 0")).to_be_focused()
    press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press("Escape")
    press("Control+k")
    page.keyboard.type("chess")
    press("Enter")
    expect(page.get_by_role("heading", name="Chess Club")).to_be_visible()
    press("g"), press("a")
    expect(page.get_by_role("heading", name="All services")).to_be_visible()


def test_single_letters_can_be_switched_off(town: Town, come_in: ComeIn) -> None:
    """WCAG 2.1.4."""
    ada = town.person("Ada Dictates", "work")
    page = come_in(ada, "/#/a/work")
    expect(page.get_by_role("heading", name="Nobody has written yet")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    ada.ask("settings.set", o.SetSetting("work", "single_letter_keys", False))
    page.wait_for_function(
        "async () => !(await import('/app/state/settings_of.js')).lettersAreKeys.value"
    )  # it has heard
    page.keyboard.press("?")
    page.keyboard.press("/")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    expect(page.get_by_role("searchbox")).to_have_count(0)


# -- accessibility, widths -----------------------------------------------------------------------------------------------
def pages(cast: Cast) -> dict[str, tuple[str, str]]:
    """Where each is, and what is there once it is."""
    ping = cast.ada.message("work", "We met in Bath").thread
    return {
        "services": ("/", "nav a"),
        "inbox": (WORK, "[data-row]"),
        "empty": ("/a/club", ".empty h2"),
        "archive, empty": ("/a/work?of=archived", ".empty h2"),
        "later, empty": ("/a/work?of=snoozed", ".empty h2"),
        "outbox": ("/a/work?of=outbox", ".empty h2"),
        "drafts": ("/a/work?of=drafts", ".empty h2"),
        "conversation": (f"{WORK}/t/{cast.plan}", "[data-message] .prose table"),
        "first contact": (f"{WORK}/t/{ping}", "[data-message]"),
        "no conversation": (f"{WORK}/t/0000", ".empty h1"),
        "all": ("/all", "[data-row]"),
        "search, empty": ("/search", ".search-help"),
        "search": ("/search?q=stone", "[data-row] mark"),
        "search, nothing": ("/search?q=nobodyeversaidthis", ".empty h2"),
    }


@pytest.mark.parametrize(
    ("size", "scheme"),
    [pytest.param(size, scheme, id=f"{width}-{scheme}") for width, size, schemes in LOOKS for scheme in schemes],
)
def test_nothing_keeps_anybody_from_using_a_page(
    cast: Cast, come_in: ComeIn, axe: str, size: ViewportSize, scheme: Literal["light", "dark"]
) -> None:
    """WCAG 2.2 AA, as far as axe sees it; and no page is wider than its window."""
    page = come_in(cast.ada)
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    found = {}
    for name, (path, there) in pages(cast).items():
        open_at(page, cast.ada, path)
        expect(page.locator(there).first).to_be_visible()
        if troubles := violations(page, axe):
            found[name] = troubles
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), name
    open_at(page, cast.ada, f"{WORK}/t/{cast.plan}")
    link = page.get_by_role("link", name="paypal.com", exact=True)
    expect(link).to_be_visible()
    for what, opened in {
        "keys": lambda: page.keyboard.press("?"),
        "jump": lambda: page.keyboard.press("Control+k"),
        "link": link.click,
        "tags": lambda: page.get_by_role("button", name="Tags").click(),
        "later": lambda: page.get_by_role("button", name="Show again later").click(),
        "lock": lambda: page.get_by_role("button", name="Encrypted: why").click(),
        "more": lambda: page.get_by_role("button", name="More").click(),
    }.items():
        opened()
        expect(page.locator("dialog[open], [data-panel]")).to_be_visible()
        if troubles := violations(page, axe):
            found[what] = troubles
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open], [data-panel]")).to_have_count(0)
    assert not found, "\n".join(f"{name}: {one}" for name, some in found.items() for one in some)


def test_one_pane_and_a_way_back_where_there_is_little_room(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada)
    expect(page).to_have_url(re.compile("#/a/"))  # wide, it goes to the first service by itself
    page.set_viewport_size(NARROW)
    expect(page.get_by_role("button", name="Back to services")).to_be_visible()  # it has one pane by now
    page.goto(f"{cast.ada.url}/#/")
    page.get_by_role("link", name=re.compile("^Example Works")).click()
    rows(page).filter(has_text="The plan").click()
    expect(message(page, "here is the plan")).to_be_visible()
    expect(rows(page)).to_have_count(0)
    page.get_by_role("button", name="Back", exact=True).click()
    expect(rows(page).filter(has_text="The plan")).to_be_visible()
    page.get_by_role("button", name="Back to services").click()
    expect(page.get_by_role("navigation", name="Services")).to_be_visible()
    page.go_back()
    expect(rows(page).filter(has_text="The plan")).to_be_visible()
