# SPDX-License-Identifier: AGPL-3.0-or-later
"""The design system's one page, `tmtp_client/look/showcase.html` (issue 7): each token, each part in each of its states,
each icon with its name. What is in the style sheets and not on the page fails; so does what axe finds, at rest, hovered
and focused, light and dark.
"""

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, CDPSession

from tests.support.axe import violations

LOOK: Final = Path(__file__).parents[2] / "tmtp_client" / "look"
WIDE: Final = {"width": 1280, "height": 800}
NARROW: Final = {"width": 390, "height": 844}
CONTROLS: Final = "a, button, input, select, textarea, summary, .moment"
ELSEWHERE: Final = frozenset({"alone", "skip"})
"""What is a page of its own, or comes only when the focus does."""

_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_BODY: Final = re.compile(r"\{[^{}]*\}")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page, served as files."""
    handler = partial(_Quiet, directory=str(LOOK))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        listening = threading.Thread(target=server.serve_forever, args=(0.05,))
        listening.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/showcase.html"
        finally:
            server.shutdown()
            listening.join()


def source() -> str:
    return (LOOK / "showcase.html").read_text("utf-8")


def rules(name: str) -> str:
    return _COMMENT.sub("", (LOOK / name).read_text("utf-8"))


def test_every_token_is_on_it() -> None:
    tokens = set(re.findall(r"^  (--[a-z0-9-]+):", rules("tokens.css"), re.MULTILINE))
    assert len(tokens) > 40
    shown = set(re.findall(r"<code>(--[a-z0-9-]+)</code>", source()))
    assert shown == tokens
    drawn = set(re.findall(r"\.swatch\.([a-z0-9-]+) \{", rules("showcase.css")))
    assert {f"--{name}" for name in drawn} == tokens


def test_every_icon_is_on_it_with_its_name() -> None:
    icons = re.findall(r'symbol id="([a-z-]+)"', (LOOK / "icons.svg").read_text("utf-8"))
    listed = re.findall(r'<use href="icons\.svg#([a-z-]+)"/></svg> <code>([a-z-]+)</code>', source())
    assert listed == [(name, name) for name in icons]


def test_every_part_is_on_it() -> None:
    selectors = _BODY.sub(" {} ", rules("components.css") + rules("base.css"))
    parts = set(re.findall(r"\.([a-z][a-z-]*)", selectors)) - ELSEWHERE
    shown = {name for names in re.findall(r'class="([^"]*)"', source()) for name in names.split()}
    assert parts - shown == set()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it_at_rest_hovered_and_focused(
    browser: Browser, address: str, axe: str, screens: Path, scheme: Literal["light", "dark"]
) -> None:
    with browser.new_context(viewport=WIDE, color_scheme=scheme, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(address)
        session = context.new_cdp_session(page)
        for state, classes in {"rest": [], "hover": ["hover"], "focus": ["focus", "focus-visible"]}.items():
            force(session, classes)
            assert violations(page, axe) == [], f"{scheme}, {state}"
            page.screenshot(path=screens / f"design-1280-{scheme}-{state}.png", full_page=True)
        page.reload()
        page.set_viewport_size(NARROW)
        assert violations(page, axe) == [], f"{scheme}, narrow"
        page.screenshot(path=screens / f"design-390-{scheme}.png", full_page=True)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_an_attribute_chooses_what_the_system_does_not(browser: Browser, address: str, axe: str, screens: Path) -> None:
    """And a taste for strong contrast is met; colours that the system forces are to be looked at."""
    with browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(address)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 17, 20)"
        assert violations(page, axe) == []
        page.emulate_media(contrast="more")
        assert violations(page, axe) == []
        page.emulate_media(contrast="no-preference", forced_colors="active")
        page.screenshot(path=screens / "design-1280-forced.png", full_page=True)
        edges = page.locator(".button.first").first.evaluate("element => getComputedStyle(element).borderTopWidth")
        assert edges == "1px"  # a button without its fill still has an edge


def force(session: CDPSession, states: list[str]) -> None:
    """All controls as if the pointer, or the focus, were on each."""
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
    found = session.send("DOM.querySelectorAll", {"nodeId": root, "selector": CONTROLS})["nodeIds"]
    assert len(found) > 50
    for node in found:
        session.send("CSS.forcePseudoState", {"nodeId": node, "forcedPseudoClasses": states})
