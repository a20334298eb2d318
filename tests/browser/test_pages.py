# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every page of the console, as it looks and as axe hears it, narrow and wide, light and dark (C1, B2)."""

from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import BrowserContext, Page

from gateway.console.rendering import part
from tests.browser.conftest import Enter
from tests.support.axe import LOOKS, NARROW, WIDE, violations
from tests.support.console import World

Theme = Literal["light", "dark"]

PAGES: Final = {
    "overview": "/i/members",
    "overview-day": "/i/members?span=day",
    "overview-empty": "/i/branch",
    "members": "/i/members/members",
    "members-none": "/i/members/members?search=Nobody+of+this+name",
    "members-empty": "/i/branch/members",
    "invitations": "/i/members/invitations",
    "invitations-empty": "/i/branch/invitations",
    "invite": "/i/members/invitations/new",
    "invite-many": "/i/members/invitations/many",
    "reports": "/i/members/reports",
    "reports-closed": "/i/members/reports?state=closed",
    "reports-empty": "/i/branch/reports",
    "reports-closed-empty": "/i/branch/reports?state=closed",
    "report-close": "/i/members/reports/2/close",
    "groups": "/i/members/groups",
    "groups-empty": "/i/branch/groups",
    "found": "/i/members/found",
    "group": "/i/members/groups/Sales%20Team",
    "queues": "/i/members/queues",
    "queues-empty": "/i/branch/queues",
    "smtp-the-only-one": "/smtp",
    "audit": "/audit",
    "settings": "/settings",
    "tokens": "/tokens",
    "token-new": "/tokens/new",
    "administrators": "/people",
    "me": "/me",
    "missing": "/i/members/members/NOBODY",
    "nowhere": "/nowhere",
}


def look_at(page: Page, name: str, axe: str, screens: Path) -> list[str]:
    """Pictures of a page, narrow and wide, light and dark; what axe finds, and where it is wider than the screen."""
    found = []
    for width, viewport, themes in LOOKS:
        page.set_viewport_size(viewport)
        for theme in themes:
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=screens / f"{name}-{viewport['width']}-{theme}.png", full_page=True)
            found += [f"{name} {width} {theme}: {one}" for one in violations(page, axe)]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name} {width}: wider than the screen")
    page.set_viewport_size(WIDE)
    return found


def test_every_page_can_be_used_by_everybody(world: World, enter: Enter, axe: str, screens: Path) -> None:
    page = enter()
    pages = PAGES | {
        "member": f"/i/members/members/{part(world.people['Grace Hopper'].uid)}",
        "member-barred": f"/i/members/members/{part(world.people['Edsger Dijkstra'].uid)}",
        "member-remove": f"/i/members/members/{part(world.people['Grace Hopper'].uid)}/remove",
    }
    found = []
    for name, path in pages.items():
        answer = page.goto(world.url + path)
        assert answer is not None
        assert answer.status == (404 if name in {"missing", "nowhere"} else 200), name
        found += look_at(page, name, axe, screens)
    assert found == []


def test_what_is_shown_once_the_menu_and_a_dialog(world: World, enter: Enter, axe: str, screens: Path) -> None:
    page = enter()
    page.goto(f"{world.url}/i/members/invitations/many")
    page.get_by_label("People").fill("Margaret Hamilton, Engineering\nDonald Knuth\tWriting")
    page.get_by_role("button", name="Make the invitations").click()
    found = look_at(page, "invited", axe, screens)
    page.emulate_media(media="print")
    page.screenshot(path=screens / "invited-paper.png", full_page=True)
    page.emulate_media(media="screen")

    page.goto(f"{world.url}/i/members/members/{part(world.people['Alan Turing'].uid)}")
    page.get_by_role("link", name="Remove…").click()
    page.get_by_role("dialog").wait_for()
    found += look_at(page, "dialog", axe, screens)

    page.set_viewport_size(NARROW)
    page.goto(f"{world.url}/i/members/members")
    page.locator("summary[aria-label=Menu]").click()
    found += violations(page, axe)
    page.screenshot(path=screens / "menu-390-light.png")

    page.goto(f"{world.url}/tokens/new")
    page.get_by_label("Name").fill("a script")
    page.get_by_label("overview:read").check()
    page.get_by_role("button", name="Make the token").click()
    found += look_at(page, "token-made", axe, screens)
    assert found == []


def test_the_pages_before_one_is_signed_in(world: World, context: BrowserContext, axe: str, screens: Path) -> None:
    page = context.new_page()
    page.goto(f"{world.url}/sign-in")
    found = look_at(page, "sign-in", axe, screens)
    page.goto(world.link())
    found += look_at(page, "link", axe, screens)
    page.get_by_role("button", name="Sign in").click()
    page.goto(world.link("A Helper", "helpdesk"))
    page.get_by_role("button", name="Sign in").click()
    answer = page.goto(f"{world.url}/audit")
    assert answer is not None
    assert answer.status == 403
    found += look_at(page, "denied", axe, screens)
    assert found == []


def test_the_narrowest_and_the_widest_screens(world: World, enter: Enter, screens: Path) -> None:
    page = enter()
    for name, path in (("overview", "/i/members"), ("members", "/i/members/members"), ("tokens", "/tokens")):
        for width, height in ((360, 640), (699, 900), (700, 900), (3840, 2160)):
            page.set_viewport_size({"width": width, "height": height})
            page.goto(world.url + path)
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (name, width)
            if width in {360, 3840}:
                page.screenshot(path=screens / f"{name}-{width}-light.png")
