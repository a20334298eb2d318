# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole journeys of two people with two real services, each with a page of his own, one wide and one narrow, by keyboard alone.

What somebody else does meanwhile is said by the local API. Each state that a person comes to is looked at: axe finds nothing,
light and dark; nothing is cut off; a picture is kept in var/screens, and, where TMTP_TEST_VIDEO=1 asks for it, a film of each
page in var/videos.
"""

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

from tests.browser.conftest import PATIENCE_MS
from tests.integration.test_sign_in_provider import gateway_with
from tests.support import filming
from tests.support.axe import cut_off, violations
from tests.support.cable import Cable
from tests.support.canaille import running_canaille
from tests.support.canaille_server import PASSWORD
from tests.support.keyboard import Keyboard, without_pointer
from tests.support.night import NIGHTLY
from tests.support.pages import SERVICES, Someone, Town, coming_in
from tmtp_client.api import operations as o

Width = Literal["wide", "narrow"]
Sit = Callable[[Someone, Width], "Desk"]

SIZES: Final[dict[Width, ViewportSize]] = {
    "wide": {"width": 1280, "height": 800},
    "narrow": {"width": 390, "height": 844},
}
OTHER: Final[dict[Width, Width]] = {"wide": "narrow", "narrow": "wide"}
PASSPHRASE: Final = "correct horse battery staple"
ROWS_MAX: Final = 20
PINK: Final = "#fbe4ee"
PLAN: Final = "Dig **here**, please:\n\n| day | stones |\n|---|--:|\n| Monday | 12 |\n\n- [x] measured\n- [ ] dug\n"
PICTURE: Final = base64.b64decode(  # one grey point
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


class Desk(Keyboard):
    """Somebody's page, of one width."""

    def __init__(self, someone: Someone, width: Width, page: Page, axe: str, screens: Path) -> None:
        super().__init__(page)
        self.someone = someone
        self.width = width
        self._axe = axe
        self._screens = screens

    def look(self, name: str) -> None:
        """Nothing keeps anybody from using this, light or dark, and nothing is cut off. A picture of each."""
        expect(self.page.get_by_role("heading", level=1).first).to_be_attached()  # what is fetched is there
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
            assert violations(self.page, self._axe) == [], f"{name}, {self.width}, {scheme}"
            self.page.screenshot(path=self._screens / f"journey-{name}-{self.width}-{scheme}.png")
        assert cut_off(self.page) == [], name
        self.page.emulate_media(color_scheme="light")

    # -- places ------------------------------------------------------------------------------------------------------
    def services(self) -> None:
        """To where the services stand: beside everything, or on a page of their own."""
        if self.width == "narrow":
            self.press(self.page.get_by_role("button", name="Back to services"))
        expect(self.page.get_by_role("navigation", name="Services")).to_be_visible()

    def go(self, to: str) -> None:
        """Out of what is being typed, if anything is, and to the place of this letter."""
        if self.page.locator("textarea:focus, input:focus, select:focus").count():
            self.keys("Escape")
        self.keys("g", to)

    def pane(self, name: str) -> Locator:
        """One of those that stand beside one another."""
        return self.page.locator(f"[data-pane={name}]")

    def row(self, text: str) -> Locator:
        """A conversation of the list."""
        return (
            self.page.get_by_role("list", name="Conversations")
            .get_by_role("link")
            .filter(has_text=re.compile(re.escape(text)))
        )

    def open(self, text: str) -> None:
        """The inbox, and the conversation of it that says so."""
        self.go("i")
        row = self.row(text)
        expect(row).to_be_visible()
        self.go("i")  # to its rows, of which there may have been none before
        expect(self.page.locator("[data-row]:focus")).to_have_count(1)
        self.keys("Home")
        for _ in range(ROWS_MAX):
            if row.evaluate("element => element === document.activeElement"):
                break
            self.keys("j")
        expect(row).to_be_focused()
        self.keys("Enter")
        expect(self.page.locator("#thread-title")).to_be_visible()
        expect(self.page.locator("[data-message]:focus")).to_have_count(1)

    def message(self, text: str) -> Locator:
        """One of the conversation that is open."""
        return self.page.get_by_role("article").filter(has_text=text)

    def write(self, to: str, subject: str, text: str) -> None:
        """A new message, not sent yet."""
        self.keys("n")
        self.choose(self.page.get_by_role("combobox", name="To"), to)
        self.type_into(self.page.get_by_label("Subject"), subject)
        self.type_into(self.page.get_by_label("Message", exact=True), text)

    def reply(self, text: str) -> Locator:
        """Words in the field below the conversation; not sent yet."""
        field = self.page.get_by_role("form", name="Reply").get_by_role("textbox")
        self.keys("r")
        expect(field).to_be_focused()
        self.page.keyboard.type(text)
        return field

    def send(self) -> None:
        """What was written, at once."""
        self.keys("Control+Enter")


@pytest.fixture
def sit(browser: Browser, axe: str, screens: Path, request: pytest.FixtureRequest) -> Iterator[Sit]:
    """Opens somebody's pages in a browser of his own. Who uses a pointer fails the test."""
    opened: list[tuple[BrowserContext, str, list[Page]]] = []
    with ExitStack() as stack:

        def sit_down(someone: Someone, width: Width) -> Desk:
            filmed = filming.of_context(SIZES[width])
            context = browser.new_context(viewport=SIZES[width], reduced_motion="reduce", **filmed)
            context.set_default_timeout(PATIENCE_MS)
            without_pointer(context)
            pages: list[Page] = []
            context.on("page", lambda page: pages.append(page))  # noqa: PLW0108 - a built-in cannot be marked
            name = f"{request.node.originalname}-{someone.name}-{width}-{len(opened)}".replace(" ", "-").lower()
            opened.append((context, name, pages))
            page = stack.enter_context(coming_in(context))(someone)
            expect(page.locator(".client, .first-run")).to_be_visible()  # from then on it hears keys
            return Desk(someone, width, page, axe, screens)

        try:
            yield sit_down
        finally:
            for context, name, pages in opened:
                context.close()
                filming.keep(pages, name)


# -- the first day ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", ["wide", "narrow"] if NIGHTLY else ["wide"])
def test_the_first_day(town: Town, sit: Sit, width: Width) -> None:
    """Two services joined, a ping accepted, a conversation with files both ways, an undo after a reload, a group, a search."""
    ada, bob = town.device(f"Ada Arrives {width}"), town.person(f"Bob Builder {width}", "work")
    hers = sit(ada, width)
    join_two_services(town, hers)
    his = sit(bob, OTHER[width])
    ping_and_accept(hers, his)
    write_both_ways(hers, his)
    take_back_after_a_reload(hers)
    write_to_a_group(hers, his)
    find_it_again(hers)


def join_two_services(town: Town, desk: Desk) -> None:
    """From nothing, by an invitation, and a second service that is open to everybody (B1)."""
    page = desk.page
    desk.type_into(page.get_by_label("Passphrase", exact=True), PASSPHRASE)
    desk.type_into(page.get_by_label("The same once more"), PASSPHRASE)
    desk.look("protect")
    desk.keys("Enter")
    public = town.gateways["club"].client_address(SERVICES["club"][1]).link()
    for service, link in (("work", desk.someone.invitation("work")), ("club", public)):
        desk.type_into(page.get_by_label("Invitation link"), link)
        desk.type_into(page.get_by_label("Your name there"), desk.someone.name)
        desk.look(f"join-{service}")
        desk.keys("Enter")
        written = page.get_by_label("I have printed it or written it down")
        desk.press(written, "Space")
        desk.look(f"sheet-{service}")
        desk.press(page.get_by_role("button", name="Continue"))
        desk.press(page.get_by_role("link", name="Go to the inbox"))
        expect(page.get_by_role("heading", name="Nobody has written yet")).to_be_visible()
        desk.look(f"nothing-{service}")
        desk.services()
        if service == "work":
            desk.press(page.get_by_role("link", name="Join a service"))
    desk.look("services")
    desk.press(page.get_by_role("link", name=re.compile("^Example Works")))
    expect(page.get_by_role("heading", name="Example Works")).to_be_visible()


def ping_and_accept(hers: Desk, his: Desk) -> None:
    """Nobody writes to anybody who has not agreed (A3, D3)."""
    page = hers.page
    hers.go("p")
    hers.choose(page.get_by_role("combobox", name="Name"), his.someone.name)
    hers.type_into(page.get_by_label("Your words"), "It is Ada. May I send you the plan?")
    hers.press(page.get_by_role("button", name="Send ping"))
    expect(page.get_by_text(f"{his.someone.name} has your ping.")).to_be_visible()
    hers.look("pinged")
    hers.go("i")
    expect(hers.row("It is Ada. May I")).to_contain_text(his.someone.name)

    his.open(hers.someone.name)
    ping = his.message("It is Ada. May I send you the plan?")
    his.look("asked")
    his.type_into(ping.get_by_label("A few words back"), "Please do.")
    his.press(ping.get_by_role("button", name="Accept"))
    expect(his.page.get_by_role("status").filter(has_text="may write to you now")).to_be_visible()

    hers.open("Please do.")
    expect(hers.message("Please do.")).to_be_visible()
    expect(page.get_by_role("link", name=f"Write to {his.someone.name}")).to_be_visible()
    hers.look("accepted")


def write_both_ways(hers: Desk, his: Desk) -> None:
    """An encrypted conversation with files both ways, taken back once before it leaves (B9)."""
    page = hers.page
    hers.write(his.someone.name, "The plan", PLAN)
    hers.attach(page.get_by_role("button", name="Attach"), "plan.txt", "text/plain", b"dig here\n" * 5_000)
    expect(page.get_by_role("list", name="Attachments")).to_contain_text("plan.txt")
    expect(page.get_by_text("Encrypted. Only these people’s devices can read it.")).to_be_visible()
    hers.look("written")
    hers.press(page.get_by_role("button", name="Send", exact=True))
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    hers.look("undo")
    hers.keys("Enter")
    expect(page.get_by_label("Message", exact=True)).to_have_value(PLAN)
    expect(page.get_by_role("list", name="Attachments")).to_contain_text("plan.txt")
    for one in (hers.someone, his.someone):
        [account] = [found.name for found in one.ask("accounts.list") if found.service == "Example Works"]
        one.ask("settings.set", o.SetSetting(account, "undo_s", 0))
    hers.press(page.get_by_role("button", name="Send", exact=True))
    expect(page.get_by_text(f"Sent to {his.someone.name}.")).to_be_visible()

    his.open("The plan")
    plan = his.message("Dig here, please")
    expect(plan.get_by_role("table")).to_contain_text("Monday")
    his.press(plan.get_by_role("button", name="Open plan.txt"))
    expect(his.page.frame_locator("iframe[title='plan.txt']").locator("body")).to_contain_text("dig here")
    his.look("file")
    his.press(plan.get_by_role("button", name="Close plan.txt"))
    his.reply("Here is how it looks now.")
    his.attach(his.page.get_by_role("button", name="Attach"), "stone.png", "image/png", PICTURE)
    expect(his.page.get_by_role("list", name="Attachments")).to_contain_text("stone.png")
    his.press(his.page.get_by_role("button", name="Send", exact=True))
    expect(his.message("Here is how it looks now.").filter(has_text="Sent")).to_be_visible()

    hers.open("Here is how it looks now.")
    answer = hers.message("Here is how it looks now.")
    hers.press(answer.get_by_role("button", name="Open stone.png"))
    expect(answer.get_by_role("img", name="Picture stone.png")).to_be_visible()
    hers.press(page.get_by_role("button", name="Encrypted: why"))
    expect(page.get_by_text("sealed from device to device")).to_be_visible()
    hers.look("answered")
    hers.keys("Escape")


def take_back_after_a_reload(desk: Desk) -> None:
    """What has not left yet can be taken back, also by a page that has just been loaded."""
    page = desk.page
    [account] = [one.name for one in desk.someone.ask("accounts.list") if one.service == "Example Works"]
    desk.someone.ask("settings.set", o.SetSetting(account, "undo_s", 60))
    desk.reply("Said too soon")
    desk.send()
    expect(desk.message("Said too soon").get_by_role("button", name="Undo")).to_be_visible()
    page.reload()
    waiting = desk.message("Said too soon")
    expect(waiting).to_be_visible()
    desk.look("undo-reloaded")
    desk.press(waiting.get_by_role("button", name="Undo"))
    expect(page.get_by_role("form", name="Reply").get_by_role("textbox")).to_have_value("Said too soon")
    assert desk.someone.ask("outbox.list", o.OfAccount(account)) == []
    desk.press(page.get_by_role("button", name="Discard draft"))
    expect(page.get_by_role("form", name="Reply").get_by_role("textbox")).to_have_value("")
    desk.someone.ask("settings.set", o.SetSetting(account, "undo_s", 0))


def write_to_a_group(hers: Desk, his: Desk) -> None:
    """One founds it, the other joins; who is in it gets what is written to it (A6)."""
    page, name = hers.page, f"Stone Masons {hers.width}"
    hers.go("c")
    hers.look("people")
    hers.press(page.get_by_role("button", name="Found a group"))
    dialog = page.get_by_role("dialog", name="Found a group")
    hers.type_into(dialog.get_by_label("Name of the group"), name)
    hers.choose(dialog.get_by_role("combobox", name="Whom to ask in"), his.someone.name)
    hers.type_into(dialog.get_by_label("Your words"), "Join us")
    hers.press(dialog.get_by_role("button", name="Found it"))
    expect(dialog.get_by_role("status").filter(has_text="has the invitation")).to_be_visible()
    hers.look("group-founded")
    hers.press(dialog.get_by_role("button", name="Close"))

    his.open(name)
    his.look("group-asked")
    his.press(his.page.get_by_role("button", name=f"Join {name}"))
    expect(his.page.get_by_role("status").filter(has_text=f"You are in {name} now")).to_be_visible()

    listed = page.get_by_role("region", name=re.compile("^Groups"))
    expect(listed).to_contain_text(his.someone.name)
    hers.press(listed.get_by_role("button", name="Members"))
    members = page.get_by_role("dialog", name=name).get_by_role("list", name="Members")
    expect(members.get_by_role("listitem")).to_have_count(2)
    hers.look("group-members")
    hers.keys("Escape")
    hers.press(listed.get_by_role("link", name="Write"))
    expect(page.get_by_role("list", name="To")).to_contain_text(name)
    hers.type_into(page.get_by_label("Subject"), "Monday")
    hers.type_into(page.get_by_label("Message", exact=True), "Who brings the granite?")
    hers.send()
    his.open("Monday")
    his.reply("I bring the granite.")
    his.send()
    hers.open("I bring the granite.")
    expect(hers.message("I bring the granite.")).to_be_visible()
    hers.look("group")


def find_it_again(desk: Desk) -> None:
    """By a word that was in it."""
    page = desk.page
    desk.keys("/")
    desk.type_into(page.get_by_role("searchbox", name="Search messages"), "dig has:file")
    found = page.get_by_role("list", name="Messages that were found").get_by_role("link")
    expect(found).to_have_count(1)
    desk.look("search")
    desk.keys("Enter", "Enter")
    expect(desk.message("Dig here, please")).to_be_focused()


# -- a bad week ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", ["wide", "narrow"] if NIGHTLY else ["narrow"])
def test_a_bad_week(town: Town, sit: Sit, width: Width) -> None:
    """No connection for a while, changed keys, another look, a device suspended, and every device lost."""
    ada, bob = town.device(f"Ada Weathers {width}"), town.person(f"Bob Weathers {width}", "work")
    line = town.cable("work")
    words = ada.join("work", line).recovery
    _, uid = town.acquaint(ada, bob, "work")
    ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    bob.ask("messages.send", o.Send("work", (ada.name,), "Umbrellas", "Will it rain?", delay_s=0))
    desk = sit(ada, width)
    write_without_a_connection(town, desk, line, bob)
    look_at_changed_keys(town, desk, bob, uid)
    dress_it_otherwise(desk)
    suspend_a_device(town, sit, desk)
    come_back_by_the_words(town, sit, desk, bob, words)


def write_without_a_connection(town: Town, desk: Desk, line: Cable, bob: Someone) -> None:
    """What is written meanwhile waits, says so, and leaves when the service is there again."""
    page = desk.page
    desk.open("Umbrellas")
    town.do(line.pull())
    desk.someone.until("accounts.list", None, lambda found: found[0].state == "offline" or None)
    desk.reply("I take mine.")
    desk.send()
    waiting = desk.message("I take mine.")
    expect(waiting).to_contain_text("Queued: it leaves when the service answers")
    desk.look("offline")
    desk.go("o")
    expect(page.get_by_role("list", name="Outbox")).to_contain_text("I take mine.")
    expect(desk.pane("list")).to_contain_text("Offline")
    desk.look("offline-outbox")
    line.put_in()
    expect(page.get_by_role("heading", name="Nothing waits to be sent")).to_be_visible(timeout=60_000)
    bob.message("work", "I take mine.")
    desk.open("Umbrellas")
    expect(desk.message("I take mine.").filter(has_text="Sent")).to_be_visible()


def look_at_changed_keys(town: Town, desk: Desk, bob: Someone, uid: str) -> None:
    """Bob has a further device: nothing more is written to him until that was seen (B9)."""
    page = desk.page
    tablet = town.device(bob.name)
    offer = bob.ask("devices.start_link", o.StartLink("work"))
    answer = tablet.ask("devices.answer_link", o.AnswerLink("work", offer.text, "tablet"))
    bob.ask("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
    thread = bob.message("work", "I take mine.").thread
    bob.ask("messages.send", o.Send("work", (), "", "There is a new one", reply=thread, delay_s=0))
    asked = page.get_by_role("region", name=f"{bob.name} has other keys now")
    expect(asked).to_be_visible(timeout=60_000)
    expect(page.get_by_role("form", name="Reply")).to_have_count(0)
    desk.look("keys-changed")
    desk.press(asked.get_by_role("button", name="Compare the number"))
    number = desk.someone.ask("keys.safety", o.OfPerson("work", uid)).digits
    expect(asked.get_by_role("group", name=f"Number to compare with {bob.name}")).to_have_text(number)
    desk.look("keys-compare")
    desk.press(asked.get_by_role("button", name="The numbers are the same"))
    expect(asked).to_have_count(0)
    desk.reply("I have compared them.")
    desk.send()
    bob.message("work", "I have compared them.")
    tablet.until("accounts.list", None, lambda found: bool(found) or None)  # it asks now and then whether it is added
    tablet.message("work", "I have compared them.")


def dress_it_otherwise(desk: Desk) -> None:
    """Another font and other colours for one service, seen at once (B2)."""
    page = desk.page
    desk.go("s")
    desk.press(page.get_by_role("navigation", name="Settings").get_by_role("link", name="Appearance"))
    font = page.get_by_label("Font", exact=True)
    desk.type_into(font, "Serif")
    expect(font).to_have_value("serif")
    for name, colour in (("Background", PINK), ("Accent", "#7a1f5c")):
        written = page.get_by_label(f"{name}, written as #rrggbb", exact=True)
        desk.tab_to(written)
        desk.keys("Control+a")
        page.keyboard.type(colour)
    desk.look("skin-revised")
    desk.someone.until(
        "accounts.skin", o.OfAccount("work"), lambda skin: len(skin.revised.get("light", {})) == 2 or None
    )
    desk.open("Umbrellas")
    assert "Georgia" in page.evaluate("getComputedStyle(document.body).fontFamily")
    page.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(251, 228, 238)'")
    desk.look("skin")


def suspend_a_device(town: Town, sit: Sit, desk: Desk) -> None:
    """It is barred at once, and its page says so (B4, D4)."""
    page, ada = desk.page, desk.someone
    phone = town.device(ada.name)
    offer = ada.ask("devices.start_link", o.StartLink("work"))
    answer = phone.ask("devices.answer_link", o.AnswerLink("work", offer.text, "phone"))
    added = ada.ask("devices.finish_link", o.FinishLink("work", answer.text, answer.fingerprint))
    [key] = [one.key for one in added.devices if not one.this]
    ada.ask("devices.name", o.NameDevice("work", key, "phone"))
    phone.until("accounts.list", None, lambda found: (found and found[0].state == "online") or None)
    other = sit(phone, OTHER[desk.width])
    desk.go("s")
    desk.press(page.get_by_role("navigation", name="Settings").get_by_role("link", name="Devices"))
    desk.press(page.get_by_role("button", name="Suspend phone"))
    dialog = page.get_by_role("dialog", name="Suspend phone?")
    desk.look("suspend")
    desk.press(dialog.get_by_role("button", name="Suspend"))
    expect(page.get_by_role("listitem").filter(has_text="phone").first).to_contain_text("Suspended")
    desk.look("suspended")
    other.go("i")
    expect(other.pane("list")).to_contain_text("Not let in")
    other.look("not-let-in")


def come_back_by_the_words(town: Town, sit: Sit, desk: Desk, bob: Someone, words: str) -> None:
    """Every device is lost: the sheet brings the account back on a new one, and bars the others (B4)."""
    [account] = desk.someone.ask("accounts.list")
    new = sit(town.device(desk.someone.name), desk.width)
    page = new.page
    new.type_into(page.get_by_label("Passphrase", exact=True), PASSPHRASE)
    new.type_into(page.get_by_label("The same once more"), PASSPHRASE)
    new.keys("Enter")
    new.press(page.get_by_role("button", name="I have an account already"))
    new.press(page.get_by_role("radio", name="Another device of mine"), "ArrowDown")
    sheet = {"Service": account.link, "Account": account.uid, "Your name there": account.alias, "The 24 words": words}
    for label, text in sheet.items():
        new.type_into(page.get_by_label(label, exact=True), text)
    new.look("recover")
    new.press(page.get_by_role("button", name="Come back"))
    new.press(page.get_by_role("link", name="Go to the inbox"))
    bob.ask("messages.send", o.Send("work", (account.alias,), "Welcome back", "We kept your chair", delay_s=0))
    person = o.OfPerson("work", account.uid)
    changed = bob.until("people.show", person, lambda found: found if found.keys_changed else None)
    bob.ask("keys.seen", o.SeenKeys("work", account.uid, changed.keys_head))  # until then it is held
    new.open("Welcome back")
    expect(new.message("We kept your chair")).to_be_visible()
    new.look("recovered")
    desk.go("i")
    expect(desk.pane("list")).to_contain_text("Not let in")


# -- an organisation's own people --------------------------------------------------------------------------------------------
def test_a_service_of_an_organisation_takes_who_signs_in_there(town: Town, sit: Sit, tmp_path: Path) -> None:
    """By a real provider's own pages, in a tab beside (A1, C1)."""
    canaille = town.enter(running_canaille())
    gateway = town.enter(gateway_with(tmp_path, canaille))
    for who, width in (("ada", "wide"), ("bob", "narrow")):
        desk = sit(town.device(f"{who.title()} of the Club"), width)  # type: ignore[arg-type]
        page = desk.page
        desk.press(page.get_by_role("radio", name="A passphrase"), "ArrowDown")
        desk.press(page.get_by_role("button", name="Continue"))
        desk.type_into(page.get_by_label("Invitation link"), gateway.client_address("club").link())
        desk.type_into(page.get_by_label("Your name there"), desk.someone.name)
        desk.keys("Enter")
        expect(page.get_by_text("Waiting until you have signed in…")).to_be_visible()
        desk.look("sign-in")
        with page.context.expect_page() as opened:
            desk.press(page.get_by_role("link", name=re.compile("^Open 127.0.0.1")))
        provider = Keyboard(opened.value)
        for field, typed in (("login", who), ("password", PASSWORD)):
            provider.type_into(provider.page.locator(f"input[name={field}]"), typed)
            provider.keys("Enter")
        expect(provider.page.get_by_text("You are signed in")).to_be_visible()
        provider.page.close()
        desk.press(page.get_by_label("I have printed it or written it down"), "Space")
        desk.press(page.get_by_role("button", name="Continue"))
        desk.press(page.get_by_role("link", name="Go to the inbox"))
        expect(page.get_by_role("heading", name="Nobody has written yet")).to_be_visible()
