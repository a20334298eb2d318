# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hundreds of hostile messages, from a real member by a real service to a real engine, opened in a browser: nothing
runs, nothing is asked for, and the page stays as it is (B6, D1, D2).
"""

import asyncio
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gateway.app import Gateway
from tests.support.attempts import attempts, audit
from tests.support.client_engine import until
from tests.support.hostile import letters, names, pings
from tests.support.hostile_member import hostile_member
from tests.support.pages import ComeIn, Someone, Town, canary, enter, watch
from tmtp_client.api import models as m
from tmtp_client.api import operations as o

CLUB, INSTANCE = "club", "public"
MESSAGES_MIN = 500
NAMES_MIN = 40  # of the hostile ones: a service takes most
STRANGERS = 6  # each with some of the names
OPENED = 12  # of their first contacts
SCREENS = 4
PATIENCE_MS, LOOK_MS = 30_000, 50
THREAD = 45  # messages in one: a page has fifty
_TOUCH = """() => {
  for (const one of document.querySelectorAll(".prose, .prose *")) {
    for (const name of ["mouseover", "click", "focus"]) {
      one.dispatchEvent(new MouseEvent(name, { bubbles: true, cancelable: true }));
    }
  }
}"""
TITLE = "<img src=x onerror=hit(1)>\u202e" + "Z" + "\u0301" * 9 + "x" * 40
"""Of a service: what stands in its greeting, and so in every list of services."""
SIZES = {"narrow": {"width": 390, "height": 844}, "wide": {"width": 1280, "height": 800}}


class Siege(NamedTuple):
    """Whom it is about; her conversations with what came, and of how many messages; those of strangers; the canary."""

    ada: Someone
    threads: dict[str, int]
    strangers: list[str]
    heard: list[str]


@pytest.fixture(scope="module")
def siege(town: Town) -> Iterator[Siege]:
    ada = town.person("Ada Careful", CLUB)
    town.found("den", TITLE)
    ada.join("den")
    with canary() as (address, heard):
        threads = town.do(_besiege(town.gateways[CLUB], ada, address))
        assert sum(threads.values()) >= MESSAGES_MIN
        strangers = town.do(_strangers(town.gateways[CLUB], ada, address))
        everything = o.ListThreads(CLUB, of="all", limit=200)
        found = ada.until("threads.list", everything, lambda page: _arrived(page.threads, threads, strangers))
        yield Siege(ada, threads, found, heard)


async def _besiege(gateway: Gateway, ada: Someone, address: str) -> dict[str, int]:
    """All letters, of somebody whom she has let in."""
    [account] = [one for one in await ada.person("accounts.list") if one.name == CLUB]
    async with hostile_member(gateway, INSTANCE, "Mallory Sender") as mallory:
        await mallory.ping(ada.name, "It is only me")

        async def asking() -> m.Person | None:
            people = await ada.person("people.list", o.OfAccount(CLUB))
            return next((one for one in people if one.alias == "Mallory Sender" and one.stands == "asks"), None)

        who = await until(asking)
        await ada.person("people.answer", o.AnswerPing(CLUB, who.uid, "accept", "Well"))
        await mallory.rename(names(address))
        assert len(mallory.aliases) > NAMES_MIN
        everything = list(letters(address))
        waves = [everything[start : start + THREAD] for start in range(0, len(everything), THREAD)]
        return {await mallory.post(account.uid, wave): len(wave) for wave in waves}


async def _strangers(gateway: Gateway, ada: Someone, address: str) -> int:
    """Pings, and invitations into groups, of people whom she does not know, under all names; how many came."""
    named = [f"{number} {name}" for number, name in enumerate(names(address))]
    sent = 0
    for first in range(STRANGERS):
        texts = pings(address)[first::STRANGERS]
        async with hostile_member(gateway, INSTANCE, f"Stranger {first} of them") as stranger:
            await stranger.rename(named[first::STRANGERS])
            pairs = list(zip(itertools.cycle(stranger.aliases[1:]), texts, strict=False))
            await asyncio.gather(*(stranger.ping(ada.name, text, name) for name, text in pairs))
            await asyncio.gather(*(stranger.invite(f"{name} and others", ada.name, text, name) for name, text in pairs))
            sent += 2 * len(pairs)
    return sent


def _arrived(found: list[m.Thread], threads: dict[str, int], strangers: int) -> list[str] | None:
    """The other threads, once all messages of these are there."""
    have = {one.id: one.messages for one in found}
    others = [one for one in have if one not in threads]
    return others if all(have.get(one) == count for one, count in threads.items()) and len(others) > strangers else None


def opened(page: Page, someone: Someone, path: str, account: str = CLUB) -> None:
    page.goto(f"{someone.url}/#/a/{account}{path}")
    expect(page.locator(".client")).to_be_visible()


@pytest.fixture(params=SIZES)
def page(siege: Siege, come_in: ComeIn, request: pytest.FixtureRequest) -> Page:
    came = come_in(siege.ada, further=attempts)
    came.set_viewport_size(SIZES[request.param])  # type: ignore[arg-type]
    return came


def test_hundreds_of_hostile_messages_run_nothing_load_nothing_and_break_nothing(siege: Siege, page: Page) -> None:
    found = []
    for thread, count in siege.threads.items():
        opened(page, siege.ada, f"/t/{thread}")
        expect(page.get_by_role("article")).to_have_count(count)
        expect(page.locator(".prose")).to_have_count(count)
        expect(page.get_by_role("form", name="Reply")).to_be_visible()
        found += audit(page)
        found += touched(page)
    assert not found, "\n".join(found)
    assert siege.heard == []


def touched(page: Page) -> list[str]:
    """Everything in the messages is pointed at, clicked and focused, as a hand might; what is wrong with what is asked
    then. A link of a message asks first, and the last one that was clicked is shown.
    """
    page.evaluate(_TOUCH)
    if page.locator("a[data-leads]").count() == 0:
        return []
    asked = page.get_by_role("dialog")
    expect(asked).to_be_visible()
    found = audit(page)
    page.keyboard.press("Escape")
    expect(asked).to_be_hidden()
    return found


def test_hostile_names_are_names_in_every_list(siege: Siege, page: Page) -> None:
    """Of people, groups, files and conversations; in first contacts, and where a search shows what it found."""
    found = []
    opened(page, siege.ada, "?of=all")
    expect(page.locator("a.row").first).to_be_visible()
    list_ = page.locator(".list-pane .scroller")
    for _ in range(SCREENS):
        found += audit(page)
        list_.evaluate("(one) => (one.scrollTop += one.clientHeight)")
        page.wait_for_function(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
        )
    opened(page, siege.ada, "/contacts")
    expect(page.locator("li.ping").first).to_be_visible()
    found += audit(page)
    for thread in siege.strangers[:: len(siege.strangers) // OPENED]:
        opened(page, siege.ada, f"/t/{thread}")
        expect(page.locator("article .verbatim").first).to_be_visible()
        found += audit(page)
    opened(page, siege.ada, "", "den")
    expect(page).to_have_title(re.compile("<img src=x onerror=hit"))
    found += audit(page)
    for path in ("/", "/all", "/settings", "/settings/appearance"):
        page.goto(f"{siege.ada.url}/#{path}")
        expect(page.get_by_role("heading").first).to_be_visible()
        found += audit(page)
    page.goto(f"{siege.ada.url}/#/search?q=hit")
    expect(page.get_by_role("list", name="Messages that were found").get_by_role("link").first).to_be_visible()
    found += audit(page)
    assert not found, "\n".join(found)
    assert siege.heard == []


# -- the watchers themselves --------------------------------------------------------------------------------------------
TRIED = {
    "a script calls hit(1)": "hit(1)",
    "a script calls alert(2)": "alert(2)",
    "a script calls open(/)": "open('/')",
    "the policy refuses script-src-elem": "import(canary).catch(() => 0)",
    "the policy refuses style-src-attr": "document.body.setAttribute('style', 'color: red')",
    "the policy refuses img-src": "new Image().src = canary",
    "the policy refuses connect-src": "fetch(canary).catch(() => 0)",
    "the policy refuses require-trusted-types-for": "document.body.setAttribute('onclick', 'hit(3)')",
    "a frame is put in": "document.body.append(document.createElement('iframe'))",
    "a download begins": "Object.assign(document.createElement('a'), { download: 'x', href: '/words/en.json' }).click()",
    "a request leaves the page's origin": "location = canary",
}
DONE = {
    "the words' own": "one.append(document.createElementNS('http://www.w3.org/2000/svg', 'svg'))",
    "an address elsewhere (href)": "one.append(Object.assign(document.createElement('a'), { href: 'https://example.org/' }))",
    "it could run or load": "one.append(document.createElement('object'))",
    "steering letters": "one.append('\u202e')",
    "piled marks": "one.append('Z' + '\u0301'.repeat(9))",
    "it is painted outside of its frame": "one.style.cssText = 'position: absolute; top: -50px; height: 40px; width: 40px'",
    "it lies over the message before": "one.closest('article').style.marginTop = '-50px'",
    "it is wider than the window": "one.closest('article').style.width = '3000px'",
    "a control is covered": "one.closest('article').append(one), one.style.cssText = 'position: fixed; inset: 0'",
}


def test_whoever_watches_a_page_sees_what_is_tried_in_it(siege: Siege, context: BrowserContext) -> None:
    """Else the tests above would find nothing, whatever happens."""
    seen: list[str] = []
    page = context.new_page()
    watch(page, siege.ada.url, seen)
    attempts(page, siege.ada.url, seen)
    enter(page, siege.ada)
    assert seen == []
    for what, script in TRIED.items():
        page.evaluate(f"(canary) => void setTimeout(() => {{ {script}; }})", "http://127.0.0.1:9/")
        for _ in range(PATIENCE_MS // LOOK_MS):
            if any(one.removeprefix("the console says: ").startswith(what) for one in seen):
                break
            page.wait_for_timeout(LOOK_MS)
        else:
            pytest.fail(f"nobody saw: {what}, only {seen}")
        seen.clear()


def test_whoever_looks_at_a_page_sees_what_was_done_to_it(siege: Siege, context: BrowserContext) -> None:
    page = context.new_page()
    enter(page, siege.ada)
    opened(page, siege.ada, f"/t/{list(siege.threads)[-1]}")
    expect(page.locator(".prose").nth(len(DONE))).to_be_visible()
    for number, (what, script) in enumerate(DONE.items(), 1):
        page.evaluate(f"() => {{ const one = document.querySelectorAll('.prose')[{number}]; {script}; }}")
        assert any(one.startswith(what) for one in audit(page)), what
