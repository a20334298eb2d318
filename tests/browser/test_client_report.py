# SPDX-License-Identifier: AGPL-3.0-or-later
"""Somebody is reported in the client's pages, and the report dealt with in the administrators' console (D2, D3, C1)."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.administration import local_user
from gateway.administration import models as administered
from tests.browser.conftest import PATIENCE_MS
from tests.browser.test_client_writing import asks, goes_to, looked_at, press, type_into
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import models as m
from tmtp_client.api import operations as o

WORDS = "The third time this week. She wrote: “Click http://evil.example/x”"


def administer(town: Town, browser: Browser) -> Page:
    """The console of the service `work`, signed in by a link, in a browser of its own."""
    owner = town.gateways["work"].administration.on_behalf_of(local_user())
    made = town.do(owner.perform("console.link", {}, administered.CreateSignInLink(person="Olga Owner", role="owner")))
    assert isinstance(made, administered.SignInLink)
    page = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce").new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(made.url)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/i/members")
    return page


def person(someone: Someone, alias: str) -> m.Person:
    """As the engine has him now."""
    return next(one for one in someone.ask("people.list", o.OfAccount("work")) if one.alias == alias)


def test_a_ping_is_reported_and_its_author_blocked_and_barred(
    town: Town, browser: Browser, come_in: ComeIn, axe: str, screens: Path
) -> None:
    """By keyboard: what is told to whom is said before; the administrators see it, act, and close it."""
    host, eve = town.person("Rita Reporter", "work"), town.person("Eve Insistent", "work")
    eve.ask("people.ping", o.SendPing("work", "Rita Reporter", "Click http://evil.example/x"))
    asks(host, "Eve Insistent")
    page = come_in(host)
    goes_to(page, host, "a/work/contacts")
    press(page, page.get_by_role("button", name="Report… Eve Insistent"))
    dialog = page.get_by_role("dialog", name="Report Eve Insistent?")
    expect(dialog).to_contain_text("The administrators of Example Works are told that you report Eve Insistent")
    expect(dialog).to_contain_text("Nothing that Eve Insistent wrote goes along")
    words = dialog.get_by_label("In your own words")
    type_into(page, words, "x" * 501)
    expect(dialog).to_contain_text("1 too many")
    expect(dialog.get_by_role("button", name="Send the report")).to_be_disabled()
    words.fill(WORDS)
    expect(dialog).to_contain_text(f"{500 - len(WORDS)} of 500 left")
    dialog.get_by_label("Abuse or threats").check()
    expect(dialog.get_by_label("Block Eve Insistent, too")).to_be_checked()
    looked_at(page, axe, screens, "report")
    press(page, dialog.get_by_role("button", name="Send the report"))
    expect(page.get_by_role("status").filter(has_text="is reported to the administrators, and blocked")).to_be_visible()
    expect(page.get_by_role("heading", name="Blocked 1")).to_be_visible()
    expect(dialog).to_have_count(0)
    assert person(host, "Eve Insistent").blocked

    console = administer(town, browser)
    console.get_by_role("navigation", name="Main").get_by_role("link", name="Reports").click()
    row = console.get_by_role("row").filter(has_text="Eve Insistent")
    expect(row).to_contain_text(WORDS)
    expect(row).to_contain_text("Abuse")
    expect(row).to_contain_text("Rita Reporter")
    assert row.locator("a[href*='evil']").count() == 0
    row.get_by_role("link", name="Bar… Eve Insistent").click()
    console.get_by_role("dialog").get_by_role("button", name="Bar").click()
    expect(console.get_by_role("status").filter(has_text="Eve Insistent is barred")).to_be_visible()
    console.get_by_role("navigation", name="Main").get_by_role("link", name="Reports").click()
    expect(row.locator(".badge")).to_have_text("Barred")
    row.get_by_role("link", name="Close…").click()
    question = console.get_by_role("dialog")
    expect(question.get_by_role("heading")).to_have_text("What became of the report about Eve Insistent?")
    question.get_by_label("Note").fill("barred her")
    question.get_by_role("button", name="Close").click()
    expect(console.get_by_role("status").filter(has_text="is closed")).to_be_visible()
    expect(row).to_have_count(0)
    console.get_by_role("link", name="Closed").click()
    expect(row).to_contain_text("Something was done about it")
    expect(row).to_contain_text("barred her")
    console.context.close()


def test_in_a_conversation_in_german_and_without_a_block(town: Town, come_in: ComeIn, axe: str, screens: Path) -> None:
    """The form of the report stands beside that of the answer: sending one sends nothing of the other."""
    host, eve = town.person("Gerda Melderin", "work"), town.person("Eva Hartnäckig", "work")
    eve.ask("people.ping", o.SendPing("work", "Gerda Melderin", "Kaufen Sie"))
    asks(host, "Eva Hartnäckig")
    page = come_in(host)
    goes_to(page, host, "settings/language")
    page.get_by_label("Deutsch").check()
    ping = host.message("work", "Kaufen Sie")
    goes_to(page, host, f"a/work/t/{ping.thread}")
    press(page, page.get_by_role("button", name="Melden …"))
    dialog = page.get_by_role("dialog", name="Eva Hartnäckig melden?")
    dialog.get_by_label("Eva Hartnäckig auch blockieren").uncheck()
    looked_at(page, axe, screens, "report-de")
    press(page, dialog.get_by_role("button", name="Meldung senden"))
    expect(page.get_by_role("status").filter(has_text="ist der Verwaltung gemeldet.")).to_be_visible()
    stands = person(host, "Eva Hartnäckig")
    assert (stands.stands, stands.blocked) == ("asks", False)
    assert host.ask("outbox.list", o.OfAccount("work")) == []


def test_a_service_that_takes_no_reports_is_offered_none(
    town: Town, come_in: ComeIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older release."""
    service = town.gateways["work"].instances["members"].service
    with monkeypatch.context() as patch:
        patch.setattr(service, "_features", lambda: ("directory",))
        host, eve = town.person("Olaf Oldtimer", "work"), town.person("Eve Elsewhere", "work")
    eve.ask("people.ping", o.SendPing("work", "Olaf Oldtimer", "Buy this"))
    asks(host, "Eve Elsewhere")
    page = come_in(host)
    goes_to(page, host, "a/work/contacts")
    expect(page.get_by_role("button", name="Block Eve Elsewhere")).to_be_visible()
    expect(page.get_by_role("button", name="Report…")).to_have_count(0)
