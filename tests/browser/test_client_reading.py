# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages for who reads: lists, conversations, search, by pointer and by keyboard, wide and narrow (B1, B2, B6)."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.axe import violations
from tests.support.pages import ComeIn, Someone, Town, canary
from tmtp_client.api import operations as o

WORK = "/a/work"  # the page of the account that most of it is about
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 844}
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
    page.wait_for_timeout(300)
    page.keyboard.press("?")
    page.keyboard.press("/")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    expect(page.get_by_role("searchbox")).to_have_count(0)


# -- accessibility, widths -----------------------------------------------------------------------------------------------
def pages(cast: Cast) -> dict[str, str]:
    ping = cast.ada.message("work", "We met in Bath").thread
    return {
        "services": "/",
        "inbox": WORK,
        "empty": "/a/club",
        "archive, empty": "/a/work?of=archived",
        "later, empty": "/a/work?of=snoozed",
        "outbox": "/a/work?of=outbox",
        "drafts": "/a/work?of=drafts",
        "conversation": f"{WORK}/t/{cast.plan}",
        "first contact": f"{WORK}/t/{ping}",
        "no conversation": f"{WORK}/t/0000",
        "all": "/all",
        "search, empty": "/search",
        "search": "/search?q=stone",
        "search, nothing": "/search?q=nobodyeversaidthis",
    }


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anybody_from_using_a_page(
    cast: Cast, come_in: ComeIn, axe: str, size: dict[str, int], scheme: str
) -> None:
    """WCAG 2.2 AA, as far as axe sees it; and no page is wider than its window."""
    page = come_in(cast.ada)
    page.set_viewport_size(size)  # type: ignore[arg-type]
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    found = {}
    for name, path in pages(cast).items():
        open_at(page, cast.ada, path)
        page.wait_for_timeout(400)
        if troubles := violations(page, axe):
            found[name] = troubles
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), name
    open_at(page, cast.ada, f"{WORK}/t/{cast.plan}")
    for what, opened in {
        "keys": lambda: page.keyboard.press("?"),
        "jump": lambda: page.keyboard.press("Control+k"),
        "link": lambda: page.get_by_role("link", name="paypal.com", exact=True).click(),
        "tags": lambda: page.get_by_role("button", name="Tags").click(),
        "later": lambda: page.get_by_role("button", name="Show again later").click(),
        "lock": lambda: page.get_by_role("button", name="Encrypted: why").click(),
        "more": lambda: page.get_by_role("button", name="More").click(),
    }.items():
        opened()
        page.wait_for_timeout(200)
        if troubles := violations(page, axe):
            found[what] = troubles
        page.keyboard.press("Escape")
    assert not found, "\n".join(f"{name}: {one}" for name, some in found.items() for one in some)


def test_one_pane_and_a_way_back_where_there_is_little_room(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada)
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
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


# -- what others write -----------------------------------------------------------------------------------------------------
def hostile(address: str) -> list[str]:
    """Texts that want to run, to load, to lead astray, or to break the page."""
    calls = f"fetch('{address}/js')"
    return [
        f"<script>{calls}</script>",
        f"<img src='{address}/img' onerror=\"{calls}\">",
        f"![picture]({address}/picture.png)",
        f"[![]({address}/in-link.png)]({address}/link)",
        f"<svg onload=\"{calls}\"><image href='{address}/svg'/></svg>",
        f"<iframe src='{address}/frame'></iframe><object data='{address}/object'></object><embed src='{address}/embed'>",
        f"<link rel=stylesheet href='{address}/css'><style>@import '{address}/import';body{{display:none}}</style>",
        f"<meta http-equiv=refresh content='0;url={address}/refresh'><base href='{address}'>",
        f"[click](javascript:{calls}) [data](data:text/html,<script>{calls}</script>) [v](vbscript:x)",
        f"<a href='{address}' ping='{address}/ping'>x</a> <form action='{address}/form'><input autofocus onfocus=\"{calls}\"></form>",
        f"[paypal.com]({address}/pay) [https://bank.example]({address}) <{address}/auto>",
        f'[x]({address}/a"onmouseover="{calls})',
        "[exаmple.org](https://ex\u0430mple.org/)",
        "\u202egnp.exe\u202c and \u2066hidden\u2069 and \u200b\u200d\ufeff",
        "Z" + "\u0317\u0301\u0489" * 400 + "algo",
        "|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + ("|" + "wide|" * 300 + "\n") * 20,
        "x" * 20_000,
        "> " * 300 + "deep",
        "- " * 200 + "nested",
        "# " + "LOUD " * 500,
        "```\n" + "y" * 5_000 + "\n```",
        "<div style='position:fixed;inset:0;background:red'>over all</div>",
        "\u0645\u0631\u062d\u0628\u0627 " * 50,
        "</div></article></main><h1>Settings</h1><script>1</script>",
        "\\u0000 \x01\x02 \x1b[31m",
        "${alert(1)} {{constructor.constructor('alert(1)')()}} `x`",
        "&lt;script&gt;alert(1)&lt;/script&gt; &#x3c;img src=x&#x3e;",
        "<details open ontoggle=alert(1)><summary>x</summary></details><math><mtext><img src=x onerror=alert(1)></math>",
    ]


def test_hostile_messages_run_nothing_load_nothing_and_break_nothing(town: Town, come_in: ComeIn) -> None:
    """B6, D1, D2: also in subjects, in names of files, and where a search shows what it found."""
    ada, bob = town.person("Ada Careful", "work"), town.person("Bob Careless", "work")
    town.acquaint(ada, bob, "work")
    with canary() as (address, heard):
        texts = hostile(address)
        first = ""
        for number, text in enumerate(texts):
            subject = "" if first else text[:200].replace("\n", " ")
            to = () if first else ("Ada Careful",)
            bob.ask(
                "messages.send",
                o.Send(
                    "work", to, subject, f"number {number} {text}" if text[0] == "x" else text, reply=first, delay_s=0
                ),
            )
            bob.sent("work")
            first = first or bob.ask("messages.latest", o.Latest("work"))[-1].id
        thread = ada.until(
            "threads.list", o.ListThreads("work"), lambda page: [t for t in page.threads if t.messages == len(texts)]
        )[0]
        page = come_in(ada)
        page.add_init_script("window.alert = window.ran = () => { throw new Error('it ran') }")
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            open_at(page, ada, "/a/work")
            expect(rows(page).first).to_be_visible()
            open_at(page, ada, f"{WORK}/t/{thread.id}")
            expect(page.get_by_role("article")).to_have_count(len(texts))
            expect(page.locator(".prose")).to_have_count(len(texts))
            box = page.locator(".messages-place")
            for place in range(len(texts)):
                page.get_by_role("article").nth(place).scroll_into_view_if_needed()
                page.mouse.move(200 + place, 400)
            assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
            assert box.evaluate("(box) => box.scrollWidth <= box.clientWidth"), "a message is wider than its place"
            assert (
                page.locator(
                    ".prose :is(script, img, svg, iframe, object, embed, form, input, style, [onerror], [style], [href])"
                ).count()
                == 0
            )
            expect(page.locator("header.thread-head")).to_be_visible()
            open_at(page, ada, "/search?q=number")
            expect(page.get_by_role("list", name="Messages that were found").get_by_role("link").first).to_be_visible()
        expect(page.locator("#app")).to_be_visible()
        assert heard == []
