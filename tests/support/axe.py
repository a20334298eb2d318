# SPDX-License-Identifier: AGPL-3.0-or-later
"""axe-core, which finds what keeps people from using a page: fetched from npm by the test set-up, never committed."""

import tarfile
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.support.downloads import from_npm
from tests.support.night import NIGHTLY

Looks = tuple[tuple[str, ViewportSize, tuple[Literal["light", "dark"], ...]], ...]

WIDE: Final[ViewportSize] = {"width": 1280, "height": 800}
NARROW: Final[ViewportSize] = {"width": 390, "height": 844}
LOOKS: Final[Looks] = (
    (("wide", WIDE, ("light", "dark")), ("narrow", NARROW, ("light", "dark")))
    if NIGHTLY
    else (("wide", WIDE, ("light",)), ("narrow", NARROW, ("dark",)))
)
"""How a page is looked at. A scheme changes colours and a width places: by day both of each, by night each in each."""
_VERSION: Final = "4.10.3"


def axe_source() -> str:
    """The program, as a text to be run in a page."""
    archive = from_npm("axe-core", _VERSION)
    if archive is None:
        pytest.skip("axe-core cannot be fetched: npm or its registry is away")
    with tarfile.open(archive) as opened:
        member = opened.extractfile("package/axe.min.js")
        assert member is not None
        with member:
            return member.read().decode()


def settled(page: Page) -> None:
    """Wait until nothing moves: colours do for a moment after the scheme has changed."""
    page.evaluate("""async () => {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      const ending = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime < Infinity);
      await Promise.allSettled(ending.map((one) => one.finished));
    }""")


def violations(page: Page, source: str) -> list[str]:
    """What axe finds wrong with a page, each with the elements that are meant."""
    settled(page)
    if page.evaluate("typeof axe === 'undefined'"):  # it is half a megabyte
        page.evaluate(source)
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run()).violations")
    return [f"{one['id']}: {[node['html'][:160] for node in one['nodes']][:5]}" for one in found]


def cut_off(page: Page) -> list[str]:
    """What one would have to scroll sideways for: the page, or a part of it that scrolls downwards only."""
    found: list[str] = (
        page.evaluate("""() => [...document.querySelectorAll("html, main, footer, aside, dialog, .scroller, .services")]
      .filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible" ||
        one === document.documentElement && one.scrollWidth > innerWidth)
      .map((one) => `${one.tagName} ${one.className}: ${one.scrollWidth} in ${one.clientWidth}`)""")
    )
    return found
