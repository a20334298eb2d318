# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signing in to the console with a real identity provider, whose groups say who may enter (C1)."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.administration import models as m
from tests.support.axe import violations
from tests.support.canaille import Canaille, free_port, running_canaille
from tests.support.canaille_server import PASSWORD
from tests.support.console import World
from tmtp_core import limits


class Club:
    """A gateway whose console knows a provider."""

    def __init__(self, world: World, canaille: Canaille) -> None:
        self.world = world
        self.canaille = canaille


@pytest.fixture(scope="module")
def club(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Club]:
    port, provider = free_port(), AsyncExitStack()
    back = f"http://localhost:{port}/sign-in/provider/back"
    with World(tmp_path_factory.mktemp("before")) as first:  # its thread runs the provider, whose address comes first
        canaille = first.do(provider.enter_async_context(running_canaille(back)))
        settings = f"""
  listen: "127.0.0.1:{port}"
  sign_in:
    provider: {{issuer: "{canaille.issuer}", client_id: tmtp, label: The Club,
      algorithms: [RS256, PS256, RS512, PS512], scopes: [openid, profile, groups]}}
    groups: {{helpdesk: [tmtp], auditor: [elsewhere]}}"""
        with World(tmp_path_factory.mktemp("club"), settings) as world:
            yield Club(world, canaille)
        first.do(provider.aclose())


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, club: Club, who: str) -> None:
    page.goto(f"{club.world.url}/sign-in")
    page.get_by_role("link", name="Continue with The Club").click()
    page.locator("input[name=login]").fill(who)
    page.locator("input[name=login]").press("Enter")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=password]").press("Enter")


def test_the_group_says_who_may_enter_and_how_far(club: Club, page: Page, axe: str, screens: Path) -> None:
    page.goto(f"{club.world.url}/sign-in")
    assert violations(page, axe) == []
    sign_in(page, club, "ada")
    page.wait_for_url("**/i/members")
    expect(page.get_by_role("link", name="Invitations")).to_be_visible()
    expect(page.get_by_role("link", name="Audit log")).to_have_count(0)  # helpdesk
    page.goto(f"{club.world.url}/me")
    expect(page.get_by_text("Your provider signs you in")).to_be_visible()
    expect(page.get_by_role("row", name="This one")).to_contain_text("provider")
    page.screenshot(path=screens / "me-provider-1280-light.png")
    refused = page.evaluate(
        """async () => (await fetch("/me/passkeys/begin", {method: "POST", body: "{}", headers: {
            "Content-Type": "application/json",
            "X-Console-Token": document.querySelector("[name=csrf]").value}})).status"""
    )
    assert refused == 409  # no passkey that outlasts the place in the group
    people: list[m.ConsolePerson] = club.world.ask("console.people")
    assert [(one.person, one.role) for one in people] == [("Ada (The Club: ada)", "helpdesk")]
    entries: m.AuditPage = club.world.ask("audit.list")
    assert [(one.operation, one.outcome, one.detail) for one in entries.entries[:2]] == [
        ("console.sign_in", "done", "by provider, as helpdesk"),
        ("console.person.add", "done", "The Club says: helpdesk"),
    ]


def test_who_is_in_no_group_stays_outside(club: Club, page: Page) -> None:
    sign_in(page, club, "bob")
    expect(page.get_by_role("alert")).to_contain_text("none of your groups")
    page.goto(club.world.url)
    page.wait_for_url("**/sign-in")


def test_a_way_back_is_good_in_its_own_browser_and_once(club: Club, page: Page, browser: Browser) -> None:
    came: list[str] = []
    back = f"{club.world.url}/sign-in/provider/back"
    page.on("request", lambda request: came.append(request.url) if request.url.startswith(back) else None)
    sign_in(page, club, "ada")
    page.wait_for_url("**/i/members")
    other = browser.new_context()
    stranger = other.new_page()
    answer = stranger.goto(came[0])  # log-in forgery: somebody else's answer
    assert answer is not None
    assert answer.status == 403
    assert all("tmtp-console" not in one["name"] for one in other.cookies())
    other.close()
    again = page.goto(came[0])
    assert again is not None
    assert again.status == 403
    page.goto(f"{back}?error=access_denied")
    expect(page.get_by_role("alert")).to_be_visible()


def test_ways_back_that_fail_are_counted_and_keep_nobody_out(club: Club, page: Page) -> None:
    """The last here: from then on what fails is refused without a word why."""
    back = f"{club.world.url}/sign-in/provider/back?code=guessed&state=guessed"
    statuses = [page.request.get(back).status for _ in range(limits.CONSOLE_ATTEMPTS_MAX + 2)]
    assert statuses[0] == 403
    assert statuses[-1] == 429
    sign_in(page, club, "ada")
    page.wait_for_url("**/i/members")
