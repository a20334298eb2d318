# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages as they are seen at twice the size, at four times, and in colours of the system's own (WCAG 2.2, 1.4.10 and 1.4.11)."""

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.support.axe import cut_off, violations
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import operations as o

ZOOMED: Final[dict[str, ViewportSize]] = {
    "twice": {"width": 640, "height": 400},  # 1280 by 800 at 200 %
    "four times": {"width": 320, "height": 256},  # the same at 400 %: WCAG's own measure
}
ROOM_PX: Final = 150
PLACES: Final = {
    "list": "a/work",
    "thread": "a/work/t/{thread}",
    "new": "a/work/new",
    "people": "a/work/contacts",
    "devices": "settings/devices",
    "look": "settings/appearance",
}


@pytest.fixture(scope="module")
def reader(town: Town) -> tuple[Someone, str]:
    ada, bob = town.person("Ada Enlarges", "work"), town.person("Bob Small", "work")
    town.acquaint(ada, bob, "work")
    words = "| stone | weight |\n|---|--:|\n| granite | 12 |\n\n[our site](https://example.org/) " + "and so on " * 40
    bob.ask("messages.send", o.Send("work", ("Ada Enlarges",), "Stones and what they weigh", words, delay_s=0))
    return ada, ada.message("work", "| stone").thread


def goes_to(page: Page, someone: Someone, path: str) -> None:
    page.goto(f"{someone.url}/#/{path}")
    expect(page.get_by_role("heading", level=1).first).to_be_attached()


@pytest.mark.parametrize("size", ZOOMED)
def test_everything_is_within_reach_however_large_it_is_shown(
    reader: tuple[Someone, str], come_in: ComeIn, axe: str, screens: Path, size: str
) -> None:
    ada, thread = reader
    page = come_in(ada)
    page.set_viewport_size(ZOOMED[size])
    for name, path in PLACES.items():
        goes_to(page, ada, path.format(thread=thread))
        if name == "thread":
            place = page.locator(".messages-place")
            assert place.evaluate("(one) => one.clientHeight") >= ROOM_PX, "there is no room to read in"
        assert cut_off(page) == [], name
        assert violations(page, axe) == [], name
        page.screenshot(path=screens / f"client-zoomed-{name}-{size.replace(' ', '-')}.png")


def test_nothing_is_lost_in_the_systems_own_colours(
    reader: tuple[Someone, str], come_in: ComeIn, screens: Path
) -> None:
    ada, thread = reader
    page = come_in(ada)
    page.emulate_media(forced_colors="active")
    for name, path in PLACES.items():
        goes_to(page, ada, path.format(thread=thread))
        page.screenshot(path=screens / f"client-forced-{name}.png")
        unseen = page.evaluate("""() => [...document.querySelectorAll("button:not(:disabled), input, select, textarea")]
          .filter((one) => one.checkVisibility() && one.matches(".button:not(.quiet), input, select, textarea"))
          .filter((one) => !["checkbox", "radio", "range", "color"].includes(one.type))
          .filter((one) => getComputedStyle(one).borderTopStyle === "none" && getComputedStyle(one).outlineStyle === "none")
          .map((one) => one.outerHTML.slice(0, 120))""")
        assert unseen == [], name
