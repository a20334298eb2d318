# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators do in a day, in the browser and on a real gateway (C1, A1, B4, B6, D1, D2)."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey
from playwright.sync_api import BrowserContext, Page, Request, expect

from gateway.administration import models as m
from gateway.backup.keys import public_text
from gateway.console.rendering import part
from tests.browser.conftest import Enter
from tests.support.console import HOSTILE_NAMES, HOSTILE_NOTES, World
from tests.support.gateway import SETTINGS, endpoint, member
from tmtp_client.connection import Connection
from tmtp_core.wire.address import parse_address


def tab_to(page: Page, wanted: str) -> None:
    """Press Tab until what has the focus is called so."""
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()")
        if name == wanted:
            return
    raise AssertionError(f"no Tab leads to {wanted}")


def press(page: Page, name: str) -> None:
    """Confirm in the dialog that is open."""
    page.get_by_role("dialog").get_by_role("button", name=name).click()


def test_somebody_is_invited_by_keyboard_alone_and_joins_with_the_link(world: World, enter: Enter) -> None:
    page = enter()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Invite people")
    page.keyboard.press("Enter")
    page.wait_for_url("**/invitations/new")
    tab_to(page, "For whom (optional)")
    page.keyboard.type("Margaret Hamilton")
    tab_to(page, "Make the invitation")
    page.keyboard.press("Enter")
    page.wait_for_url("**/made/*")
    link = page.locator("#link-1").inner_text()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()

    async def join() -> str:
        async with member(world.gateway, "members", "Margaret Hamilton", parse_address(link).invite) as desk:
            return desk.uid

    uid = world.do(join())
    page.goto(f"{world.url}/i/members/members/{part(uid)}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Margaret Hamilton")


def test_a_dialog_holds_the_focus_and_gives_it_back(world: World, enter: Enter) -> None:
    page = enter()
    page.goto(f"{world.url}/i/members/members/{part(world.people['Alan Turing'].uid)}")
    opener = page.get_by_role("link", name="Remove…")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Remove Alan Turing for good?")).to_be_visible()
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(opener).to_be_focused()


def test_an_account_is_barred_and_let_in_again(world: World, enter: Enter) -> None:
    desk = world.join("members", "Radia Perlman")
    page = enter()
    page.goto(f"{world.url}/i/members/members?search=radia")
    page.get_by_role("link", name="Radia Perlman").click()
    page.get_by_role("link", name="Bar", exact=True).click()
    press(page, "Bar")
    expect(page.get_by_role("status").filter(has_text="is barred")).to_be_visible()
    assert world.do(asyncio.wait_for(desk.connection.closed(), 60))  # its connection has ended
    page.get_by_role("button", name="Let in again").click()
    expect(page.get_by_role("status").filter(has_text="let in again")).to_be_visible()

    page.get_by_label("A further name").fill("Spanning Desk")
    page.get_by_role("button", name="Give it").click()
    expect(page.get_by_text("also Spanning Desk").or_(page.get_by_text("Spanning Desk is a name"))).to_be_visible()
    page.get_by_label("A further name").fill("Ada Lovelace")
    page.get_by_role("button", name="Give it").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(page.get_by_label("A further name")).to_have_value("Ada Lovelace")

    page.get_by_role("link", name="Reset…").click()
    press(page, "Make the invitation")
    expect(page.locator("#link-1")).to_contain_text("tmtp://")
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name="Remove…").click()
    press(page, "Remove for good")
    expect(page.get_by_role("status").filter(has_text="is removed")).to_be_visible()
    page.goto(f"{world.url}/audit")
    for operation in ("accounts.bar", "accounts.unbar", "accounts.alias", "accounts.reset", "accounts.remove"):
        row = page.get_by_role("row").filter(has_text=operation).filter(has_text="console:Ada Lovelace").first
        expect(row).to_be_visible()
    expect(page.get_by_text("The log is whole.")).to_be_visible()


def test_people_are_shown_by_the_names_that_are_known_of_them(world: World, enter: Enter) -> None:
    """C1: whom the provider knows as whom, and who owns a group."""
    page = enter()
    page.goto(f"{world.url}/i/members/members?search=Hopper")
    expect(page.get_by_role("row", name="Grace Hopper")).to_contain_text("signs in as grace.hopper")
    page.get_by_role("link", name="Grace Hopper").click()
    expect(page.get_by_role("main")).to_contain_text("grace.hopper at https://id.example.org/realms/example")
    page.goto(f"{world.url}/i/members/groups")
    page.get_by_role("row", name="Sales Team").get_by_role("link", name="Ada Lovelace").click()
    expect(page.get_by_role("heading", name="Ada Lovelace")).to_be_visible()
    expect(page.get_by_role("main")).not_to_contain_text("Signs in as")


def test_the_overview_says_that_nothing_is_archived(world: World, enter: Enter) -> None:
    expect(enter().get_by_role("region", name="This service")).to_contain_text("none: what is delivered is kept by the")


def test_a_backup_that_is_missing_or_old_is_told(tmp_path: Path, context: BrowserContext) -> None:
    (tmp_path / "backups").mkdir()
    recipient = public_text(PrivateKey.generate().public_key)
    with World(tmp_path, settings=f"backup: {{recipient: '{recipient}'}}\n{SETTINGS}") as world:
        page = context.new_page()
        page.goto(world.link())
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("main")).to_contain_text("There is no backup.")
        facts = page.get_by_role("region", name="This service")
        for days, is_old in ((2, True), (1, False)):
            taken = datetime.fromtimestamp(world.clock.wall_ns() / 1e9 - 86_400 * days, UTC)
            (tmp_path / "backups" / f"tmtp-{taken:%Y%m%dT%H%M%S}000Z.tmtpbackup").touch()
            page.reload()
            expect(facts).to_contain_text(f"{3 - days}, the newest {days} day")
            assert ("The newest backup is old." in page.get_by_role("main").inner_text()) is is_old


def test_a_password_device_is_barred(world: World, enter: Enter) -> None:
    async def register() -> str:
        peer = await Connection.open(endpoint(world.gateway, "public"))
        try:
            return (await peer.register("an old telephone", "Betty Snyder")).uid
        finally:
            await peer.quit()

    uid = world.do(register())
    page = enter("A Helper", "helpdesk")
    page.goto(f"{world.url}/i/public/members/{part(uid)}")
    page.get_by_role("link", name="Bar device").click()
    press(page, "Bar this device")
    expect(page.get_by_role("status").filter(has_text="is barred")).to_be_visible()
    expect(page.get_by_text("No devices")).to_be_visible()


def test_many_are_invited_and_one_is_revoked(world: World, enter: Enter) -> None:
    page = enter()
    page.goto(f"{world.url}/i/branch/invitations")
    page.get_by_role("link", name="Invite many").click()
    page.get_by_label("People").fill("Jean Bartik\tEngineering\n\n  Betty Holberton  \n")
    page.get_by_label("Good for").select_option("30")
    page.get_by_role("button", name="Make the invitations").click()
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("heading", name="Jean Bartik, Engineering")).to_be_visible()
    shown = page.url
    page.get_by_role("link", name="Done").click()
    row = page.get_by_role("row").filter(has_text="Betty Holberton")
    expect(row).to_contain_text("in 29 days")
    row.get_by_role("link", name="Revoke").click()
    press(page, "Revoke")
    expect(page.get_by_role("row").filter(has_text="Betty Holberton")).to_have_count(0)
    page.goto(shown)
    expect(page.get_by_role("article")).to_have_count(2)  # loading it again makes nothing anew
    left: list[m.Invitation] = world.ask("invitations.list", instance="branch")
    assert [one.note for one in left] == ["Jean Bartik, Engineering"]


def test_a_group_is_founded(world: World, enter: Enter) -> None:
    page = enter()
    page.goto(f"{world.url}/i/members/groups")
    page.get_by_role("link", name="Found a group").click()
    page.get_by_label("Name").fill("Night/Shift 100%2F?#")
    page.get_by_label("Owner").fill("Nobody Known")
    page.get_by_role("button", name="Found it").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    expect(page.get_by_label("Name")).to_have_value("Night/Shift 100%2F?#")
    page.get_by_label("Owner").fill("Grace Hopper")
    page.get_by_role("button", name="Found it").click()
    expect(page.get_by_role("heading", name="Night/Shift 100%2F?#")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Grace Hopper")).to_contain_text("Owner")
    page.get_by_role("link", name="Groups").last.click()
    page.get_by_role("link", name="Night/Shift").click()  # a name with all that means something in an address
    expect(page.get_by_role("heading", name="Night/Shift 100%2F?#")).to_be_visible()


def test_a_token_is_made_shown_once_and_revoked(world: World, enter: Enter) -> None:
    page = enter()
    page.goto(f"{world.url}/tokens/new")
    page.get_by_label("Name").fill("the script of a day")
    page.get_by_label("overview:read").check()
    page.get_by_role("checkbox", name="Members of Example").check()
    page.get_by_role("button", name="Make the token").click()
    token = page.locator("#token").inner_text()
    answer = page.request.get(f"{world.url}/api/1/overview", headers={"Authorization": f"Bearer {token}"})
    assert answer.ok
    assert [one["instance"] for one in answer.json()["instances"]] == ["members"]
    page.get_by_role("link", name="Done").click()
    assert token not in page.content()
    page.get_by_role("row").filter(has_text="the script of a day").get_by_role("link", name="Revoke").click()
    press(page, "Revoke")
    expect(page.get_by_role("row").filter(has_text="the script of a day")).to_have_count(0)
    refused = page.request.get(f"{world.url}/api/1/overview", headers={"Authorization": f"Bearer {token}"})
    assert refused.status == 401


def test_everything_works_without_a_script(world: World, context: BrowserContext) -> None:
    assert context.browser is not None
    plain = context.browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(world.link("Ada Lovelace"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_role("button", name="Live")).to_have_count(0)  # no button that does nothing
    page.goto(f"{world.url}/i/members/invitations/new")
    page.get_by_role("button", name="Make the invitation").click()
    expect(page.locator("#link-1")).to_contain_text("tmtp://")
    expect(page.get_by_role("button", name="Print")).to_have_count(0)
    page.get_by_role("link", name="Done").click()
    page.get_by_role("link", name=re.compile("Revoke")).last.click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status").filter(has_text="is revoked")).to_be_visible()
    plain.close()


def test_what_members_and_notes_say_is_text_and_nothing_else(world: World, enter: Enter) -> None:
    """XSS, template injection, reversed text: shown as they are written (D1, D2)."""
    page = enter()
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    pages = {"members": HOSTILE_NAMES, "invitations": HOSTILE_NOTES, "reports": HOSTILE_NAMES[:2]}
    for path, texts in pages.items():
        page.goto(f"{world.url}/i/members/{path}")
        for text in texts:
            shown = text.replace("\u202e", "\\u202e")
            expect(page.get_by_role("rowheader").filter(has_text=shown)).to_have_count(1)
        if path == "reports":
            for words in (HOSTILE_NAMES[1], HOSTILE_NOTES[-1].replace("\u202e", "\\u202e")):
                expect(page.get_by_role("cell").filter(has_text=words).first).to_be_visible()
        assert page.locator("main script, main img").count() == 0
        assert "\u202e" not in page.content()
    for name in HOSTILE_NAMES:
        uid = world.people[name].uid
        page.goto(f"{world.url}/i/members/members/{part(uid)}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(name)
        page.get_by_role("link", name="Remove…").click()
        expect(page.get_by_role("dialog").get_by_role("heading")).to_contain_text(name)
        page.goto(f"{world.url}/i/members/members/{part(uid)}/remove")
        expect(page.get_by_role("heading", level=2)).to_contain_text(name)
    page.goto(f"{world.url}/i/members/members?search=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    expect(page.get_by_label("Search")).to_have_value('"><script>alert(1)</script>')
    page.goto(f"{world.url}/audit")
    assert page.locator("main script, main img").count() == 0
    assert said == []


def test_no_page_asks_anybody_else(world: World, enter: Enter) -> None:
    """B6: whatever is loaded comes from the console itself."""
    page = enter()
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    for path in ("/i/members", "/i/members/members", "/me", "/settings", "/tokens/new"):
        page.goto(world.url + path)
    assert len(asked) > 20
    assert all(url.startswith(world.url + "/") for url in asked)


def test_a_browser_refuses_what_the_policy_does_not_allow_and_says_so(
    world: World, enter: Enter, context: BrowserContext
) -> None:
    """The reports that the other tests find empty do come when there is something to report."""
    page = enter()
    page.evaluate("document.body.insertAdjacentHTML === undefined")
    with page.expect_request("**/csp-report"):
        page.evaluate(
            "(() => { const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i); })()"
        )
    with page.expect_request("**/csp-report"):
        page.evaluate("(() => { try { document.body.innerHTML = '<p>x</p>'; } catch { /* trusted types */ } })()")
    for _ in range(50):
        reports = world.call(lambda: list(world.console.reports))
        if len(reports) >= 2:
            break
        page.wait_for_timeout(50)
    assert b"img-src" in b"".join(reports)
    assert b"trusted-types" in b"".join(reports)
    world.call(world.console.reports.clear)


def test_the_overview_is_kept_fresh_until_one_pauses_it(world: World, enter: Enter) -> None:
    page = enter()
    page.clock.install()
    page.goto(f"{world.url}/i/members")
    figure = page.locator(".figures div").filter(has_text="Accounts").locator("dd").first
    before = int(figure.inner_text())
    page.get_by_text("As a table").first.click()
    page.locator("body").click(position={"x": 1, "y": 1})
    world.join("members", "Frances Allen")
    page.clock.fast_forward(11_000)
    expect(figure).to_have_text(str(before + 1))
    expect(page.locator("details[open]")).to_have_count(1)  # what one has opened stays open

    live = page.get_by_role("button", name="Live")
    live.click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")
    world.join("members", "Joan Clarke")
    page.clock.fast_forward(60_000)
    expect(figure).to_have_text(str(before + 1))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_told_when_the_system_forces_them(world: World, enter: Enter, theme: Any, screens: Any) -> None:
    page = enter()
    page.emulate_media(color_scheme=theme, forced_colors="active")
    page.goto(f"{world.url}/i/members/members")
    badge = page.locator(".badge").first
    assert badge.evaluate("(one) => getComputedStyle(one).borderTopStyle") == "solid"
    page.screenshot(path=screens / f"members-forced-{theme}.png")
