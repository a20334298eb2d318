# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's settings: devices and the recovery sheet, the lock, the look, the language (B2, B4, B8)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.test_client_writing import goes_to, looked_at
from tests.support.keyboard import press, type_into
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import operations as o

WORDS = Path(__file__).parents[2] / "tmtp_client" / "web" / "words"
PASSPHRASE = "four words of no sense"


@pytest.fixture(scope="module")
def sam(town: Town) -> Someone:
    return town.person("Sam Setter", "work", "club")


@pytest.mark.parametrize(
    "section", ["account", "devices", "notifications", "appearance", "lock", "language", "keyboard"]
)
def test_each_section_can_be_used_by_everybody(
    sam: Someone, come_in: ComeIn, axe: str, screens: Path, section: str
) -> None:
    page = come_in(sam)
    goes_to(page, sam, f"settings/{section}")
    expect(page.locator(".settings-page .card").first).to_be_visible()
    looked_at(page, axe, screens, f"settings-{section}")


# -- devices -------------------------------------------------------------------------------------------------------------
def test_a_device_is_linked_by_two_texts_suspended_and_revoked(
    town: Town, come_in: ComeIn, other_come_in: ComeIn, axe: str, screens: Path
) -> None:
    """B4, and what the account's log says of it in plain words."""
    owner = town.device("Lin Linker")
    words = owner.join("work").recovery
    laptop, phone = come_in(owner), town.device("Lin Linker")
    goes_to(laptop, owner, "settings/devices")
    laptop.get_by_role("button", name="Add a device").click()
    dialog = laptop.get_by_role("dialog", name="Add a device")
    expect(dialog.get_by_role("img", name="The text as a QR code")).to_be_visible()
    looked_at(laptop, axe, screens, "link-first")

    new = other_come_in(phone)
    new.get_by_label("This computer’s keyring").check()
    new.get_by_role("button", name="Continue").click()
    new.get_by_role("button", name="I have an account already").click()
    new.get_by_label("The first text").fill(dialog.locator("code").inner_text())
    new.get_by_label("What to call this device").fill("phone")
    new.get_by_role("button", name="Continue").click()
    shown = new.locator(".fingerprint")
    expect(shown).to_be_visible()
    looked_at(new, axe, screens, "link-second")

    dialog.get_by_label("The text that it shows then").fill(new.locator(".link-text code").inner_text())
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog.locator(".fingerprint")).to_have_text(shown.inner_text())
    looked_at(laptop, axe, screens, "link-compare")
    dialog.get_by_role("button", name="Yes, add it").click()
    expect(dialog).to_contain_text("The device is added.")
    dialog.get_by_role("button", name="Done").click()
    expect(new.get_by_role("link", name=re.compile("Example Works"))).to_be_visible()

    devices = laptop.locator(".device-list").first.get_by_role("listitem")
    expect(devices).to_have_count(2)
    second = devices.filter(has_not=laptop.locator(".badge", has_text="This one"))
    expect(second).to_contain_text("Provisional")
    second.get_by_role("button", name=re.compile("^Rename")).click()
    laptop.get_by_role("dialog").get_by_label("Name").fill("Lin’s phone")
    laptop.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(second).to_contain_text("Lin’s phone")

    laptop.get_by_role("button", name="Suspend Lin’s phone").click()
    looked_at(laptop, axe, screens, "suspend")
    laptop.get_by_role("dialog").get_by_role("button", name="Suspend").click()
    expect(second).to_contain_text("Suspended")
    laptop.get_by_role("button", name="Revoke Lin’s phone").click()
    asked = laptop.get_by_role("dialog")
    asked.get_by_label("The 24 words").fill(words)
    asked.get_by_role("button", name="Revoke").click()
    expect(laptop.get_by_text("1 revoked")).to_be_visible()
    log = laptop.get_by_role("region", name="What happened").get_by_role("listitem")
    expect(log.last).to_contain_text("The account began")
    expect(log.filter(has_text="Lin’s phone").first).to_be_visible()
    looked_at(laptop, axe, screens, "devices-revoked")


def test_the_recovery_sheet_is_checked_and_made_anew_and_printed_alone(
    town: Town, come_in: ComeIn, axe: str, screens: Path
) -> None:
    owner = town.device("Rae Recoverer")
    words = owner.join("work").recovery
    page = come_in(owner)
    goes_to(page, owner, "settings/devices")
    press(page, page.get_by_role("button", name="Check my sheet"))
    dialog = page.get_by_role("dialog", name="Check my sheet")
    type_into(page, dialog.get_by_label("The 24 words"), "abandon " * 24)
    press(page, dialog.get_by_role("button", name="Check", exact=True))
    expect(dialog.get_by_role("alert")).to_be_visible()
    looked_at(page, axe, screens, "sheet-wrong")
    dialog.get_by_label("The 24 words").fill(words)
    press(page, dialog.get_by_role("button", name="Check", exact=True))
    expect(dialog.get_by_role("status")).to_have_text("This is the right sheet.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Check my sheet")).to_be_focused()

    press(page, page.get_by_role("button", name="Make a new sheet"))
    dialog = page.get_by_role("dialog", name="Make a new sheet")
    dialog.get_by_label("The 24 words").fill(words)
    press(page, dialog.get_by_role("button", name="Make it"))
    new = page.locator(".words li")
    expect(new).to_have_count(24)
    made = " ".join(new.all_inner_texts())
    assert made != words
    assert owner.ask("devices.check_recovery", o.CheckRecovery("work", made)).done
    looked_at(page, axe, screens, "sheet-new")
    page.emulate_media(media="print")
    expect(page.get_by_role("article", name="Recovery sheet")).to_be_visible()
    for around in ("button", "navigation", "heading"):
        expect(page.get_by_role(around)).to_have_count(1 if around == "heading" else 0)  # type: ignore[arg-type]
    page.screenshot(path=screens / "client-sheet-printed.png")
    page.emulate_media(media="screen")
    page.get_by_label("I have printed it or written it down").check()
    page.get_by_role("button", name="Done").click()
    expect(new).to_have_count(0)


# -- lock ----------------------------------------------------------------------------------------------------------------
def test_a_passphrase_is_set_the_history_locked_and_opened_by_keyboard(
    town: Town, come_in: ComeIn, axe: str, screens: Path
) -> None:
    """B8."""
    owner = town.person("Lou Locker", "work")
    page = come_in(owner)
    goes_to(page, owner, "settings/lock")
    type_into(page, page.get_by_label("Passphrase", exact=True), "short")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("It needs 8 characters or more.")
    page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
    page.get_by_label("The same once more").fill(PASSPHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_text("From now on this passphrase opens it.")).to_be_visible()
    page.get_by_label("Lock by itself").select_option(label="After 15 minutes")
    expect(page.get_by_label("Lock by itself")).to_be_enabled()
    owner.until("home.state", None, lambda home: home.idle_lock_s == 900 or None)
    press(page, page.get_by_role("button", name="Lock now"))
    expect(page.get_by_role("heading", name="Locked")).to_be_visible()
    assert owner.ask("home.state").locked
    page.keyboard.type("not the passphrase")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("This is not the passphrase")
    looked_at(page, axe, screens, "unlock-wrong")
    page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Lock and passphrase")).to_be_visible()
    press(page, page.get_by_role("button", name="Take it away"))
    press(page, page.get_by_role("dialog").get_by_role("button", name="Take it away"))
    expect(page.get_by_role("heading", name="Set a passphrase")).to_be_visible()
    assert "passphrase" not in {slot.kind for slot in owner.ask("home.state").slots}


# -- the look, the language, the rest ---------------------------------------------------------------------------------------
def test_a_skin_is_revised_seen_at_once_and_stays_readable(sam: Someone, come_in: ComeIn) -> None:
    """B2: the person's own over the service's, account by account, 4.5:1 whatever is chosen."""
    page = come_in(sam)
    goes_to(page, sam, "settings/appearance")
    page.get_by_label("Account").select_option(label="Example Works – Sam Setter")
    page.get_by_label("Accent", exact=True).fill("#ffee99")
    page.get_by_label("Corners").select_option("round")
    expect(page.get_by_text("Too faint to read there").first).to_be_visible()
    sample = page.get_by_role("group", name="Sample")
    expect(sample).to_have_css("border-top-left-radius", "22px")
    on, fill = page.evaluate(
        """() => { const { color, backgroundColor } = getComputedStyle(document.querySelector(".skin-sample .button.first"));
          return [color, backgroundColor]; }"""
    )
    assert contrast(on, fill) >= 4.5

    def kept(skin: Any) -> bool | None:
        return skin.revised == {"light": {"accent": "#ffee99"}, "corners": "round"} or None

    sam.until("accounts.skin", o.OfAccount("work"), kept)
    assert sam.ask("accounts.skin", o.OfAccount("club")).revised == {}
    page.get_by_role("button", name="As the service has it").click()
    sam.until("accounts.skin", o.OfAccount("work"), lambda skin: skin.revised == {} or None)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, of two colours as a browser computes them."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_light_and_dark_are_kept_by_the_browser(sam: Someone, come_in: ComeIn) -> None:
    page = come_in(sam)
    goes_to(page, sam, "settings/appearance")
    page.get_by_label("Dark", exact=True).check()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_label("Dark", exact=True)).to_be_checked()
    page.get_by_label("As the system has it").check()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")


def test_the_language_is_chosen_and_kept(sam: Someone, come_in: ComeIn, axe: str, screens: Path) -> None:
    page = come_in(sam)
    goes_to(page, sam, "settings/language")
    page.get_by_label("Deutsch").check()
    expect(page.get_by_role("heading", name="Sprache")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    for section in ("devices", "lock"):
        goes_to(page, sam, f"settings/{section}")
        expect(page.locator(".settings-page .card").first).to_be_visible()
        looked_at(page, axe, screens, f"settings-{section}-de")
    goes_to(page, sam, "settings/language")
    page.get_by_label("Sprache des Browsers").check()
    expect(page.get_by_role("heading", name="Language")).to_be_visible()


@pytest.mark.parametrize("room", ["writing", "first", "contacts", "groups", "settings", "forms"])
def test_both_languages_say_the_same_with_the_same_values(room: str) -> None:
    english, german = (json.loads((WORDS / f"{name}.json").read_text())[room] for name in ("en", "de"))
    assert list(english) == list(german)
    for word, said in english.items():
        assert type(said) is type(german[word]), word
        assert names_in(said) == names_in(german[word]), word


def names_in(said: Any) -> set[str]:
    """What a word has a place for."""
    forms = said.values() if isinstance(said, dict) else [said]
    return {name for form in forms for name in re.findall(r"\{(\w+)\}", form)}


def test_notifications_and_letters_are_set_for_the_account(sam: Someone, come_in: ComeIn) -> None:
    page = come_in(sam)
    goes_to(page, sam, "settings/notifications")
    page.get_by_label("Account").select_option(label="Example Works – Sam Setter")
    page.get_by_label("Only where my name is mentioned").check()
    page.get_by_label("Show what was written").uncheck()
    example = page.locator(".notify-card")
    expect(example).to_contain_text("Example Works")
    expect(example).to_contain_text("A new message")
    expect(example).not_to_contain_text("The plan for Monday")
    goes_to(page, sam, "settings/keyboard")
    page.get_by_label("Single letters are keys, too").uncheck()
    values = sam.until(
        "settings.list", o.OfAccount("work"), lambda all: None if all.values["single_letter_keys"] else all.values
    )
    assert (values["notifications"], values["notification_text"]) == ("mentions", False)
    sam.until("settings.list", o.OfAccount("club"), lambda all: not all.values["single_letter_keys"] or None)
    page.get_by_label("Single letters are keys, too").check()
    sam.until("settings.list", o.OfAccount("club"), lambda all: all.values["single_letter_keys"] or None)


def test_a_name_that_is_taken_is_said_beside_it(sam: Someone, town: Town, come_in: ComeIn) -> None:
    """D1."""
    other = town.person("Only One Of Us", "work")
    page = come_in(sam)
    goes_to(page, sam, "settings/account")
    page.get_by_label("Account", exact=True).select_option(label="Example Works – Sam Setter")
    name = page.get_by_label("Messages go out under")
    name.fill(other.name)
    page.get_by_role("button", name="Use this name").click()
    expect(page.get_by_role("alert")).to_be_visible()
    name.fill("Sam the Setter")
    page.get_by_role("button", name="Use this name").click()
    expect(page.get_by_text("You write as Sam the Setter now.")).to_be_visible()


def test_an_account_is_removed_from_the_device_after_a_question(town: Town, come_in: ComeIn) -> None:
    leaver = town.person("Lea Leaver", "work", "club")
    page = come_in(leaver)
    goes_to(page, leaver, "settings/account")
    page.get_by_label("Account", exact=True).select_option(label="Chess Club – Lea Leaver")
    page.get_by_role("button", name="Remove from this device…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert len(leaver.ask("accounts.list")) == 2
    page.get_by_role("button", name="Remove from this device…").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove for good").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert [one.name for one in leaver.ask("accounts.list")] == ["work"]
