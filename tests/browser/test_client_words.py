# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages in their second language, whole (issue 7): what the engine says is said in German, too, and no English word
is left in any room. For that the German catalogue is put before the page with every sentence marked: what is not marked,
nor what a person wrote, was not translated.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.support.axe import violations
from tests.support.pages import ComeIn, Someone, Town, coming_in
from tmtp_client.api import operations as o

PATIENCE_MS = 30_000
WORDS: Final = Path(__file__).parents[2] / "tmtp_client" / "web" / "words"
PUT_IN: Final = re.compile(r"\{(\w+)\}")
MARKED: Final = ("⟦", "⟧")
NAMES: Final = ("Ada Wort", "Bob Wort", "English", "Deutsch", "Example Works", "Chess Club", "Der Plan", "laptop")
"""What people wrote in these tests, as it may stand anywhere."""

_UNMARKED: Final = """
(names) => {
  // Not of the catalogue: what people wrote, what is typed, times, keys, the service's and the program's own names.
  const OTHERS = "bdi, pre, code, kbd, time, textarea, option, .prose, .clip, .day:not(.new), .avatar, .tile, .brand, .fingerprint, .search-operator, [translate='no']";
  const left = [];
  const look = (text, where) => {
    let rest = text;
    while (/⟦[^⟦⟧]*⟧/.test(rest)) rest = rest.replace(/⟦[^⟦⟧]*⟧/g, " ");
    rest = rest.replace(/tmtp:\\/\\/\\S+/g, " ");
    for (const name of names) rest = rest.replaceAll(name, " ");
    if (/\\p{L}{2,}/u.test(rest)) left.push(`${where}: ${text.trim()}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (parent.closest(OTHERS) || parent.closest("script, style") || !parent.getClientRects().length) continue;
    look(node.data, parent.tagName.toLowerCase() + (parent.className ? "." + parent.className : ""));
  }
  for (const one of document.querySelectorAll("[aria-label], [title], [placeholder], [alt]")) {
    if (!one.getClientRects().length) continue;
    for (const name of ["aria-label", "title", "placeholder", "alt"]) {
      const text = one.getAttribute(name);
      if (text && !one.closest("[data-message], [data-row]")) look(text, `${one.tagName.toLowerCase()}[${name}]`);
    }
  }
  return [...new Set(left)];
}
"""


def catalogue(name: str) -> Any:
    return json.loads((WORDS / f"{name}.json").read_text("utf-8"))


@pytest.fixture
def german(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody who reads German."""
    sizes = {"width": 1280, "height": 800}
    with browser.new_context(viewport=sizes, reduced_motion="reduce", locale="de-DE") as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def german_come_in(german: BrowserContext) -> Iterator[ComeIn]:
    with coming_in(german) as come_in:
        yield come_in


@pytest.fixture
def marked_come_in(german: BrowserContext) -> Iterator[ComeIn]:
    """The same with every sentence of the catalogues marked."""

    def marked(route: Route) -> None:
        words = catalogue(route.request.url.rpartition("/")[2].removesuffix(".json"))
        route.fulfill(content_type="application/json", body=json.dumps(_marked(words)))

    german.route(re.compile(r"/words/de(\.engine)?\.json$"), marked)
    with coming_in(german) as come_in:
        yield come_in


@pytest.fixture(scope="module")
def ada(town: Town) -> Someone:
    """Somebody with a little of everything: a conversation, a first contact, what waits, a draft, a returned message."""
    ada, bob = town.person("Ada Wort", "work", "club"), town.person("Bob Wort", "work", "club")
    town.acquaint(ada, bob, "work")
    bob.ask("messages.send", o.Send("work", ("Ada Wort",), "Der Plan", "Hallo."))
    ada.message("work", "Hallo.")
    bob.ask("people.ping", o.SendPing("club", "Ada Wort", "Guten Tag."))
    ada.message("club", "Guten Tag.")
    ada.ask(
        "messages.send",
        o.Send("work", ("Bob Wort",), "Der Plan", "Bis dann.", due_ms=int(time.time() * 1000) + 3_600_000),
    )
    return ada


def _marked(words: Any) -> Any:
    if isinstance(words, dict):
        return {key: _marked(text) for key, text in words.items()}
    return f"{MARKED[0]}{words}{MARKED[1]}"


# -- what the engine says ------------------------------------------------------------------------------------------------
def test_every_sentence_of_the_engine_is_found_again_whatever_is_put_into_it(
    ada: Someone, german_come_in: ComeIn
) -> None:
    """Each with a capital and without, with names that look like sentences themselves; none is taken for another."""
    page = german_come_in(ada)
    told: list[tuple[str, str]] = []
    whole = {english: text for english, text in catalogue("de.engine").items() if english != "{name}'s"}
    for english, text in whole.items():
        values = {name: "k-_9" if name == "key" else f"‹{name} and so, a: b's›" for name in PUT_IN.findall(english)}
        values |= {name: "1234567" for name in ("all", "count", "have", "most", "needed", "size") if name in values}
        shown = {name: value.replace("1234567", "1.234.567") for name, value in values.items()}
        told.append((english.format_map(values), text.format_map(shown)))
    found = page.evaluate(
        """async (told) => {
            const { EngineWords } = await import("/app/base/engine_words.js");
            const words = new EngineWords(await (await fetch("/words/de.engine.json")).json(), "de");
            return told.map(([english]) => words.said(english));
        }""",
        told,
    )
    wrong = [(english, text, got) for (english, text), got in zip(told, found, strict=True) if got != text]
    assert wrong == []


@pytest.mark.parametrize(
    ("english", "translated"),
    [
        ("the service refused it: quota: 30 pings a day; try again later",
         "der Dienst hat es abgelehnt: höchstens 30 Erstkontakte am Tag; versuche es später noch einmal"),
        ("Post: not acquainted: ping Bob and Eve first, and write when the ping is answered",
         "ihr kennt euch noch nicht: klopf zuerst bei Bob and Eve an, und schreib, wenn das Anklopfen beantwortet ist"),
        ("Device abcdEF12 and device ghij-_89 suspended Ada’s phone: it gets nothing any more.",
         "Ada’s phone ist ausgesetzt und bekommt nichts mehr. Unterschrieben: Gerät abcdEF12 und Gerät ghij-_89."),
        ("To revoke it takes the recovery sheet: without it, two full devices beside this one would have to sign together,"
         " and there is 1 other full device.",
         "Es zu widerrufen verlangt das Notfallblatt: ohne es müssten neben diesem zwei volle Geräte gemeinsam unterschreiben,"
         " und es gibt 1 weiteres volles Gerät."),
        ("There is no tag \"x\". Nobody here is called \"No such: y\".",
         "Es gibt kein Schlagwort „x“. Niemand hier heißt „No such: y“."),
        ("word 3, chese, is none of a recovery sheet's; did you mean cheese?",
         "Wort 3, chese, kommt auf keinem Notfallblatt vor; meintest du cheese?"),
        ("the service refused it: that cannot be a name: x has the form of an address",
         "der Dienst hat es abgelehnt: das kann kein Name sein: x hat die Form einer Adresse"),
        ("some words of a newer service", "some words of a newer service"),
        ("it is too long: some words of a newer service", "it is too long: some words of a newer service"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_put_together_is_taken_apart(
    ada: Someone, german_come_in: ComeIn, english: str, translated: str
) -> None:
    """And what is not known stays whole, in English."""
    page = german_come_in(ada)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    found = page.evaluate("async (text) => (await import('/app/base/words.js')).fromEngine(text)", english)
    assert found == translated


def test_a_hostile_text_is_looked_at_in_linear_time(ada: Someone, german_come_in: ComeIn) -> None:
    """A service chooses its words: however many colons and blanks they have, the page stays there (B6)."""
    page = german_come_in(ada)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    for text in (": " * 999, "a: " * 666, "the service says: " * 110, " and ".join(["device x"] * 190), ". A" * 660):
        page.evaluate("async (text) => (await import('/app/base/words.js')).fromEngine(text)", text)
    expect(page.get_by_role("link", name="Einem Dienst beitreten")).to_be_visible()


def test_what_the_engine_refuses_and_remembers_is_german(ada: Someone, german_come_in: ComeIn) -> None:
    page = german_come_in(ada)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("html")).to_have_attribute("dir", "ltr")
    page.goto(f"{ada.url}/#/settings/devices")
    expect(page.locator(".log-lines")).to_contain_text(re.compile(r"Das Konto begann, mit \S"))
    page.goto(f"{ada.url}/#/search?q=from:zzz")
    expect(page.get_by_text("Niemand hier heißt „zzz“.")).to_be_visible()
    page.goto(f"{ada.url}/#/a/work/t/0123456789abcdef")
    expect(page.get_by_text("Eine solche Unterhaltung gibt es nicht.")).to_be_visible()
    page.goto(f"{ada.url}/#/a/club/ping")
    page.get_by_label("Name", exact=True).fill("Niemand Da")
    page.get_by_label("Deine Worte").fill("Guten Tag")
    page.get_by_role("button", name="Anklopfen").click()
    expect(page.get_by_text(re.compile("niemand heißt Niemand Da", re.IGNORECASE))).to_be_visible()


# -- no English is left --------------------------------------------------------------------------------------------------
ROOMS: Final = {
    "#/": "nav",
    "#/all": ".row",
    "#/a/work": ".row",
    "#/a/club": ".list-head, [data-pane=list] header",
    "#/a/work?of=unseen": ".row, .empty",
    "#/a/work?of=snoozed": ".empty",
    "#/a/work?of=archived": ".empty",
    "#/a/work?of=all": ".row",
    "#/a/work?of=outbox": ".waiting, .empty",
    "#/a/work?of=drafts": ".draft, .empty",
    "#/a/club?of=outbox": ".waiting, .empty",
    "#/a/work/new": "textarea",
    "#/a/club/ping": "textarea",
    "#/a/work/contacts": ".page-head",
    "#/a/club/contacts": ".ping-shown",
    "#/search": "#search-words",
    "#/search?q=from:zzz": ".notice",
    "#/search?q=Hallo": ".row",
    "#/join": ".field",
    "#/a/work/t/0123456789abcdef": ".empty",
    **{
        f"#/settings/{section}": ".settings-page .card"
        for section in ("account", "devices", "notifications", "appearance", "lock", "language", "keyboard")
    },
}
"""Where there is something to read, and what is there once it is there."""

DIALOGS: Final = {
    "#/settings/devices": ".card-head button",
    "#/a/club/contacts": ".asking .form-acts button, .card .form-acts button",
    "#/settings/account": ".button.danger",
}
"""What opens a dialog in a room."""


def test_no_room_has_a_word_of_english_left(ada: Someone, marked_come_in: ComeIn) -> None:
    page = marked_come_in(ada)
    left: dict[str, list[str]] = {}
    for room, sign in ROOMS.items():
        page.goto(f"{ada.url}/{room}")
        expect(page.locator(sign).first).to_be_visible()
        left[room] = unmarked(page)
    page.goto(f"{ada.url}/#/a/work")
    page.locator(".row").first.click()
    expect(page.locator("[data-message]").first).to_be_visible()
    left["thread"] = unmarked(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("dialog.key-help")).to_be_visible()
    left["keys"] = unmarked(page)
    page.keyboard.press("Escape")
    for room, button in DIALOGS.items():
        page.goto(f"{ada.url}/{room}")
        page.locator(button).first.click()
        expect(page.locator("dialog[open]").first).to_be_visible()
        left[f"{room} {button}"] = unmarked(page)
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)
    assert {room: found for room, found in left.items() if found} == {}


def test_nobody_who_comes_for_the_first_time_reads_english(town: Town, marked_come_in: ComeIn) -> None:
    someone = town.device("Neu Hier")
    page = marked_come_in(someone)
    expect(page.get_by_role("heading").first).to_be_visible()
    assert unmarked(page) == []
    page.locator("form input[type=radio]").last.check()
    page.locator("form button[type=submit]").click()
    expect(page.get_by_role("button").first).to_be_visible()
    assert unmarked(page) == []


def test_a_word_that_nobody_translated_would_be_found(ada: Someone, marked_come_in: ComeIn) -> None:
    """The look itself: a catalogue that lacks a word says it in English, and that is seen."""
    page = marked_come_in(ada)
    page.goto(f"{ada.url}/#/settings/language")
    expect(page.locator(".settings-page .card").first).to_be_visible()
    page.evaluate("document.querySelector('.settings-page h1').append('Language')")
    assert unmarked(page) == ["h1: Language"]


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["wide", "narrow"])
def test_a_language_that_runs_from_right_to_left_has_its_place(
    ada: Someone, come_in: ComeIn, axe: str, screens: Path, size: tuple[int, int]
) -> None:
    """Nothing is cut off, and what comes first stands on the right (WCAG 2.2; RTL)."""
    page = come_in(ada)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for number, room in enumerate(("#/a/work", "#/a/work/new", "#/settings/notifications", "#/settings/devices")):
        page.goto(f"{ada.url}/{room}")
        expect(page.locator(ROOMS[room]).first).to_be_visible()
        page.evaluate("document.documentElement.dir = 'rtl'")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), room
        assert violations(page, axe) == [], room
        page.screenshot(path=screens / f"client-rtl-{number}-{size[0]}.png")
    if size[0] > 700:
        rail = page.locator("[data-pane=rail]").bounding_box()
        assert rail is not None
        assert rail["x"] > size[0] / 2


def unmarked(page: Page) -> list[str]:
    """What can be read there, or is spoken, and comes neither from the catalogue nor from a person."""
    found: list[str] = page.evaluate(_UNMARKED, list(NAMES))
    return found
