# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ways into the console: one-time links and passkeys; sessions, and how they end (C1, D4)."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gateway.administration import models as m
from gateway.console.guards import COOKIE
from tests.browser.conftest import Enter
from tests.support.console import World
from tmtp_core import limits


def cookie(context: BrowserContext) -> dict[str, object]:
    return dict(next(one for one in context.cookies() if one["name"] == COOKIE))


def press_sign_in(page: Page) -> None:
    page.get_by_role("button", name="Sign in").click()


def test_a_link_signs_in_once_and_its_preview_uses_nothing_up(world: World, context: BrowserContext) -> None:
    link = world.link()
    page = context.new_page()
    page.goto(link)  # a program that shows a preview does the same
    page.goto(link)
    press_sign_in(page)
    page.wait_for_url("**/i/members")
    kept = cookie(context)
    assert kept["httpOnly"]
    assert kept["secure"]
    assert kept["sameSite"] == "Strict"
    assert kept["path"] == "/"
    assert kept["expires"] == -1

    page.goto(f"{world.url}/me")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto(link)
    press_sign_in(page)
    expect(page.get_by_role("alert")).to_contain_text("was used before")
    page.goto(world.url)
    page.wait_for_url("**/sign-in")


def test_a_link_from_elsewhere_leads_to_its_page(world: World, enter: Enter) -> None:
    """With a strict cookie: a browser sends none along when another site's page leads here."""
    page = enter()
    expect(page.get_by_role("status").filter(has_text="Add a passkey")).to_be_visible()
    elsewhere = world.url.replace("localhost", "127.0.0.1")
    page.goto(f"{elsewhere}/sign-in")
    page.evaluate("(url) => { location.href = url; }", f"{world.url}/i/members/members?search=ada&status=active")
    page.wait_for_url(f"{world.url}/i/members/members?search=ada&status=active")
    expect(page.get_by_role("heading", name="Members", exact=True)).to_be_visible()


def test_a_link_is_over_after_some_minutes(world: World, context: BrowserContext) -> None:
    link = world.link()
    world.clock.ahead_s += limits.CONSOLE_LINK_VALID_MS / 1000 + 1
    page = context.new_page()
    page.goto(link)
    press_sign_in(page)
    expect(page.get_by_role("alert")).to_contain_text("its time is over")


def test_each_sign_in_has_a_new_secret_and_ends_the_session_before(
    world: World, enter: Enter, context: BrowserContext
) -> None:
    page = enter()
    first = cookie(context)["value"]
    page.goto(world.link())
    press_sign_in(page)
    page.wait_for_url("**/i/members")
    assert cookie(context)["value"] != first
    assert world.do(world.console.people.session(str(first))) is None


def test_sessions_end_when_unused_and_in_any_case(world: World, enter: Enter, context: BrowserContext) -> None:
    page = enter()
    for _ in range(3):
        world.clock.ahead_s += limits.CONSOLE_IDLE_MS / 1000 * 0.9
        page.goto(f"{world.url}/me")
        assert page.url.endswith("/me")
    world.clock.ahead_s += limits.CONSOLE_IDLE_MS / 1000
    page.goto(f"{world.url}/me")
    page.wait_for_url("**/sign-in")

    page.goto(world.link())
    press_sign_in(page)
    for _ in range(int(limits.CONSOLE_SESSION_MS / limits.CONSOLE_IDLE_MS / 0.9) + 1):
        world.clock.ahead_s += limits.CONSOLE_IDLE_MS / 1000 * 0.9
        page.goto(f"{world.url}/me")
    page.wait_for_url("**/sign-in")


def test_another_role_ends_all_sessions_at_once(world: World, enter: Enter) -> None:
    page = enter("Hedy Lamarr", "administrator")
    page.goto(f"{world.url}/settings")
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
    link = world.link("Hedy Lamarr", "helpdesk")
    page.goto(f"{world.url}/settings")
    page.wait_for_url("**/sign-in")
    page.goto(link)
    press_sign_in(page)
    page.wait_for_url("**/i/members")
    expect(page.get_by_role("link", name="Members")).to_be_visible()
    expect(page.get_by_role("link", name="Settings")).to_have_count(0)
    answer = page.goto(f"{world.url}/settings")
    assert answer is not None
    assert answer.status == 403


def test_one_can_end_a_session_elsewhere(world: World, enter: Enter, context: BrowserContext) -> None:
    elsewhere = context.browser.new_context() if context.browser is not None else None
    assert elsewhere is not None
    other = elsewhere.new_page()
    other.goto(world.link("Annie Easley"))
    press_sign_in(other)
    other.wait_for_url("**/i/members")

    page = enter("Annie Easley")
    page.goto(f"{world.url}/me")
    rows = page.get_by_role("region", name="Where you are signed in").get_by_role("row")
    expect(rows).to_have_count(3)
    rows.filter(has_not=page.get_by_text("This one")).get_by_role("button", name="End").click()
    expect(page.get_by_role("status").filter(has_text="ended")).to_be_visible()
    other.goto(f"{world.url}/me")
    other.wait_for_url("**/sign-in")
    elsewhere.close()


def test_the_owner_keeps_somebody_out(world: World, enter: Enter, context: BrowserContext) -> None:
    world.link("Mallory", "administrator")
    page = enter()
    page.goto(f"{world.url}/people")
    page.get_by_role("link", name="Keep out Mallory").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep out").click()
    expect(page.get_by_role("rowheader", name="Mallory")).to_have_count(0)
    people: list[m.ConsolePerson] = world.ask("console.people")
    assert "Mallory" not in {one.person for one in people}


@pytest.fixture
def authenticator(enter: Enter, context: BrowserContext) -> Iterator[Page]:
    """A page whose browser has an authenticator that verifies its user and keeps passkeys."""
    page = enter("Katherine Johnson", "administrator")
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield page
    devtools.detach()


def test_a_passkey_is_added_and_signs_in_without_a_link(world: World, authenticator: Page) -> None:
    page = authenticator
    page.goto(f"{world.url}/me")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status").filter(has_text="passkey is there")).to_be_visible()

    page.get_by_label("Name of passkey").fill("Katherine's desk")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_label("Name of passkey")).to_have_value("Katherine's desk")

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/i/members")
    page.goto(f"{world.url}/me")
    expect(page.get_by_role("row", name="This one")).to_contain_text("passkey")

    page.get_by_role("link", name="Remove passkey").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No passkeys yet")).to_be_visible()
    entries = [one for one in world.ask("audit.list").entries if one.operation.startswith("console.passkey")]
    assert [(one.operation.rpartition(".")[2], one.outcome) for one in entries[:3]] == [
        ("remove", "done"),
        ("rename", "done"),
        ("add", "done"),
    ]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("status")).to_contain_text("not known here")
    assert page.url.endswith("/sign-in")


def test_a_passkey_whose_user_was_not_verified_signs_nobody_in(
    world: World, authenticator: Page, context: BrowserContext
) -> None:
    page = authenticator
    page.goto(f"{world.url}/me")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status").filter(has_text="passkey is there")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    # The page's own script asks for verification; one that was altered on its way does not, and is refused.
    answer = page.evaluate(
        """async () => {
            const send = async (path, body) => (await fetch(path, {method: "POST", body: JSON.stringify(body),
                headers: {"Content-Type": "application/json"}}));
            const asked = await (await send("/sign-in/passkey/begin", {})).json();
            asked.publicKey.userVerification = "discouraged";
            const options = PublicKeyCredential.parseRequestOptionsFromJSON(asked.publicKey);
            const made = (await navigator.credentials.get({publicKey: options})).toJSON();
            const octets = Uint8Array.from(atob(made.response.authenticatorData.replace(/-/g, "+").replace(/_/g, "/")),
                (one) => one.charCodeAt(0));
            octets[32] &= ~4;  // "user verified"
            made.response.authenticatorData = btoa(String.fromCharCode(...octets)).replace(/[+]/g, "-")
                .replace(/[/]/g, "_").replace(/=/g, "");
            const done = await send("/sign-in/passkey", {ceremony: asked.ceremony, response: made});
            return [done.status, await done.json()];
        }"""
    )
    assert answer[0] == 403
    assert "not good" in answer[1]["error"]
