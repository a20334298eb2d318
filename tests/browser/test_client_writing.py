# SPDX-License-Identifier: AGPL-3.0-or-later
"""The client's pages for who writes: first run, first contacts, messages, people, by keyboard alone and at both widths."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.axe import LOOKS, cut_off, violations
from tests.support.keyboard import press, tab_to, type_into
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import models as m
from tmtp_client.api import operations as o

PASSPHRASE = "correct horse battery staple"
HOSTILE = 'Click http://evil.example/x <b onclick="x()">now</b>\n  **two**  blanks ![x](http://evil.example/y) مرحبا'


class Cast(NamedTuple):
    """Ada writes to Bob and Carol, whom she knows."""

    ada: Someone
    bob: Someone
    carol: Someone


@pytest.fixture(scope="module")
def cast(town: Town) -> Cast:
    ada, bob, carol = (town.person(name, "work") for name in ("Ada Scrivener", "Bob Receiver", "Carol Receiver"))
    town.acquaint(ada, bob, "work")
    town.acquaint(ada, carol, "work")
    return Cast(ada, bob, carol)


def looked_at(page: Page, axe: str, screens: Path, name: str) -> None:
    """Nothing keeps anybody from using the page, light or dark, wide or narrow; nothing is cut off. A picture of each."""
    before = page.viewport_size
    assert before is not None
    for width, size, schemes in LOOKS:
        page.set_viewport_size(size)
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            assert violations(page, axe) == [], f"{name}, {width}, {scheme}"
            page.screenshot(path=screens / f"client-{name}-{width}-{scheme}.png")
        assert cut_off(page) == [], f"{name}, {width}"
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(before)


def goes_to(page: Page, someone: Someone, to: str) -> None:
    """Another place of the same page, as a link leads there."""
    page.goto(f"{someone.url}/#/{to}")


def asks(someone: Someone, alias: str) -> m.Person:
    """Wait until somebody of this name wants to write."""

    def look(people: list[m.Person]) -> m.Person | None:
        return next((one for one in people if one.alias == alias and one.stands == "asks"), None)

    return someone.until("people.list", o.OfAccount("work"), look)


def text_of(page: Page) -> Locator:
    """Where the message is written."""
    return page.get_by_label("Message", exact=True)


def write_to(page: Page, someone: Someone, name: str) -> None:
    """A new message to somebody, whose name is chosen from the list by keyboard."""
    goes_to(page, someone, "a/work/new")
    to = page.get_by_role("combobox", name="To")
    to.fill(name[:5])
    expect(page.get_by_role("option", name=name)).to_be_visible()
    to.press("ArrowDown")
    to.press("Enter")
    expect(page.get_by_role("list", name="To").get_by_text(name)).to_be_visible()


# -- from nothing to the first message ----------------------------------------------------------------------------------
def test_from_nothing_to_the_first_message_by_keyboard_alone(
    town: Town, cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    newcomer = town.device("Nina Newcomer")
    page = come_in(newcomer)
    passphrase = page.get_by_label("Passphrase", exact=True)
    expect(passphrase).to_be_visible()
    looked_at(page, axe, screens, "first-protect")
    type_into(page, passphrase, PASSPHRASE)
    type_into(page, page.get_by_label("The same once more"), "something else")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The two are not the same.")
    looked_at(page, axe, screens, "first-protect-wrong")
    page.get_by_label("The same once more").fill("")
    type_into(page, page.get_by_label("The same once more"), PASSPHRASE)
    page.keyboard.press("Enter")

    type_into(page, page.get_by_label("Invitation link"), newcomer.invitation("work"))
    expect(page.get_by_text("An invitation to 127.0.0.1")).to_be_visible()
    type_into(page, page.get_by_label("Your name there"), "Nina Newcomer")
    looked_at(page, axe, screens, "first-invitation")
    page.keyboard.press("Enter")

    written = page.get_by_label("I have printed it or written it down")
    expect(written).to_be_visible()
    assert newcomer.ask("home.state").protected
    words = page.locator(".words li").all_inner_texts()
    assert len(words) == 24
    looked_at(page, axe, screens, "first-sheet")
    page.reload()  # the words come once more, until the person has them
    expect(page.locator(".words li")).to_have_text(words)
    press(page, written, "Space")
    press(page, page.get_by_role("button", name="Continue"))

    type_into(page, page.get_by_role("combobox", name="Name"), "Bob Rec")
    expect(page.get_by_role("option", name="Bob Receiver")).to_be_visible()
    looked_at(page, axe, screens, "first-ping")
    tab_to(page, page.get_by_role("combobox", name="Name"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    type_into(page, page.get_by_label("Your words"), "Nina here. May I write to you?")
    press(page, page.get_by_role("button", name="Send ping"))
    expect(page.get_by_text("Bob Receiver has your ping.")).to_be_visible()
    looked_at(page, axe, screens, "first-ping-sent")
    asks(cast.bob, "Nina Newcomer")
    assert cast.bob.message("work", "Nina here.").text == "Nina here. May I write to you?"
    [account] = newcomer.ask("accounts.list")
    assert newcomer.ask("devices.check_recovery", o.CheckRecovery(account.name, " ".join(words))).done


def test_an_invitation_that_is_used_says_so_beside_the_form(
    town: Town, come_in: ComeIn, axe: str, screens: Path
) -> None:
    late = town.device("Late Comer")
    used = late.invitation("work").replace("invite=", "invite=Z")
    page = come_in(late)
    page.get_by_label("This computer’s keyring").check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Invitation link").fill(used)
    page.get_by_label("Your name there").fill("Late Comer")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("alert")).to_contain_text("The invitation is not good")
    looked_at(page, axe, screens, "first-refused")
    page.get_by_label("Invitation link").fill("https://example.org/")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_label("Invitation link")).to_have_attribute("aria-invalid", "true")


def test_who_joins_later_is_found_without_typing_again(town: Town, cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada)
    goes_to(page, cast.ada, "a/work/ping")
    name = page.get_by_role("combobox", name="Name")
    name.fill("Late Arr")
    expect(page.get_by_role("option")).to_have_count(0)
    town.person("Late Arrival", "work")
    expect(page.get_by_role("option", name="Late Arrival")).to_be_visible()
    goes_to(page, cast.ada, "a/work")


# -- first contacts ------------------------------------------------------------------------------------------------------
def test_a_ping_is_counted_in_utf16_units_while_it_is_written(
    cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    """D2: 140 units, of which an emoji takes two."""
    page = come_in(cast.ada)
    goes_to(page, cast.ada, "a/work/ping")
    words, send = page.get_by_label("Your words"), page.get_by_role("button", name="Send ping")
    page.get_by_role("combobox", name="Name").fill("Nobody Whatever")
    words.fill("é" * 138 + "🙂")
    expect(page.get_by_text("0 of 140 left").first).to_be_visible()
    expect(send).to_be_enabled()
    words.fill("é" * 139 + "🙂")
    expect(page.get_by_text("1 too many")).to_be_visible()
    expect(send).to_be_disabled()
    looked_at(page, axe, screens, "ping-too-long")
    words.fill("é" * 138 + "🙂")
    send.click()
    expect(page.get_by_role("alert")).to_contain_text("The ping to Nobody Whatever was refused.")
    looked_at(page, axe, screens, "ping-refused")
    page.get_by_role("button", name="Change it").click()
    expect(words).to_have_value("é" * 138 + "🙂")


def test_a_ping_is_shown_as_it_was_written_and_answered(town: Town, come_in: ComeIn, axe: str, screens: Path) -> None:
    """D2, A3: in a box of one width, nothing rendered, nothing a link; accepted, ignored, blocked by keyboard."""
    host = town.person("Hugo Listener", "work")
    callers = [town.person(name, "work") for name in ("Ann Caller", "Ben Caller", "Cid Caller")]
    for caller in callers:
        caller.ask("people.ping", o.SendPing("work", "Hugo Listener", HOSTILE))
        asks(host, caller.name)
    page = come_in(host)
    goes_to(page, host, "a/work/contacts")
    expect(page.get_by_role("heading", name="3 people want to write to you")).to_be_visible()
    shown = page.get_by_role("article", name="First contact of Ann Caller").locator("pre")
    assert shown.inner_text() == HOSTILE
    assert shown.locator("*").count() == 0
    assert "mono" in shown.evaluate("element => getComputedStyle(element).fontFamily").lower()
    looked_at(page, axe, screens, "pings")

    press(page, page.get_by_role("button", name="Accept Ann Caller"))
    dialog = page.get_by_role("dialog", name="Accept Ann Caller?")
    type_into(page, dialog.get_by_label("Your answer"), "Welcome")
    looked_at(page, axe, screens, "ping-accept")
    press(page, dialog.get_by_role("button", name="Accept"))
    expect(page.get_by_role("link", name="Write Ann Caller")).to_be_visible()
    assert callers[0].message("work", "Welcome").kind == "ping"

    press(page, page.get_by_role("button", name="Ignore Ben Caller"))
    expect(page.get_by_role("article", name="First contact of Ben Caller")).to_have_count(0)
    press(page, page.get_by_role("button", name="Block Cid Caller"))
    looked_at(page, axe, screens, "ping-block")
    press(page, page.get_by_role("dialog").get_by_role("button", name="Block"))
    expect(page.get_by_role("heading", name="Blocked 1")).to_be_visible()
    stands = {one.alias: (one.stands, one.blocked) for one in host.ask("people.list", o.OfAccount("work"))}
    assert stands["Ann Caller"] == ("contact", False)
    assert stands["Ben Caller"] == ("ignored", False)
    assert stands["Cid Caller"][1]
    press(page, page.locator("summary", has_text="Blocked"))
    press(page, page.get_by_role("button", name="Unblock Cid Caller"))
    expect(page.get_by_role("heading", name="Blocked 1")).to_have_count(0)
    looked_at(page, axe, screens, "contacts")


# -- two people ----------------------------------------------------------------------------------------------------------
def test_two_people_ping_accept_write_with_an_attachment_reply_and_take_back(
    town: Town, come_in: ComeIn, other_come_in: ComeIn
) -> None:
    """The whole way, both with a page of their own, by keyboard, on a real service."""
    ann, ben = town.person("Ann Penfriend", "work"), town.person("Ben Penfriend", "work")
    hers, his = come_in(ann), other_come_in(ben)
    goes_to(hers, ann, "a/work/ping")
    type_into(hers, hers.get_by_role("combobox", name="Name"), "Ben Penfriend")
    hers.keyboard.press("Tab")
    type_into(hers, hers.get_by_label("Your words"), "It is Ann. May I send you the plan?")
    press(hers, hers.get_by_role("button", name="Send ping"))

    goes_to(his, ben, "a/work/contacts")
    press(his, his.get_by_role("button", name="Accept Ann Penfriend"))
    type_into(his, his.get_by_label("Your answer"), "Please do")
    press(his, his.get_by_role("dialog").get_by_role("button", name="Accept"))
    expect(his.get_by_role("dialog")).to_have_count(0)
    ann.message("work", "Please do")

    write_to(hers, ann, "Ben Penfriend")
    type_into(hers, hers.get_by_label("Subject"), "The plan")
    type_into(hers, text_of(hers), "Here it **is**")
    with hers.expect_file_chooser() as chooser:
        press(hers, hers.get_by_role("button", name="Attach"))
    chooser.value.set_files({"name": "plan.txt", "mimeType": "text/plain", "buffer": b"dig here\n" * 50_000})
    expect(hers.get_by_role("list", name="Attachments")).to_contain_text("plan.txt")
    expect(hers.get_by_text("Encrypted. Only these people’s devices can read it.")).to_be_visible()
    tab_to(hers, hers.get_by_role("button", name="Send", exact=True))
    hers.keyboard.press("Control+Enter")
    undo = hers.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    hers.keyboard.press("Enter")
    expect(text_of(hers)).to_have_value("Here it **is**")
    expect(hers.get_by_label("Subject")).to_have_value("The plan")
    expect(hers.get_by_role("list", name="Attachments")).to_contain_text("plan.txt")
    assert ann.ask("outbox.list", o.OfAccount("work")) == []

    ann.ask("settings.set", o.SetSetting("work", "undo_s", 1))
    press(hers, hers.get_by_role("button", name="Send", exact=True))
    expect(hers.get_by_text("Sent to Ben Penfriend.")).to_be_visible()
    press(hers, hers.get_by_role("link", name="Show"))
    expect(hers.get_by_role("heading", name="The plan")).to_be_visible()
    received = ben.message("work", "Here it **is**")
    assert (received.subject, received.suite) == ("The plan", 2)
    assert [(one.name, one.size) for one in received.attachments] == [("plan.txt", 450_000)]
    assert ann.ask("drafts.list", o.OfAccount("work")) == []

    goes_to(his, ben, f"a/work/t/{received.thread}")
    reply = his.get_by_role("form", name="Reply").get_by_role("textbox")
    type_into(his, reply, "Thank you")
    his.keyboard.press("Control+Enter")
    tab_to(his, his.get_by_role("button", name="Undo"), "Shift+Tab")
    his.keyboard.press("Enter")
    expect(reply).to_have_value("Thank you")
    tab_to(his, reply)
    his.keyboard.press("End")
    his.keyboard.type(", Ann")
    ben.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    his.keyboard.press("Control+Enter")
    answer = ann.message("work", "Thank you, Ann")
    assert answer.thread == received.thread
    expect(hers.get_by_role("list", name="Messages").get_by_text("Thank you, Ann")).to_be_visible()


# -- writing -------------------------------------------------------------------------------------------------------------
def test_a_draft_is_kept_as_typed_and_survives_a_reload(cast: Cast, come_in: ComeIn, axe: str, screens: Path) -> None:
    typed = "Dear *Bob*,\n\n  indented, and blanks at the end   \n\n| a | b |\n|--|--|\n| 1 | 2 |\n\nמה 🙂 \t-"
    page = come_in(cast.ada)
    write_to(page, cast.ada, "Bob Receiver")
    page.get_by_label("Subject").fill("Half a thought")
    text_of(page).fill(typed)
    page.locator("input[type=file]").set_input_files(
        [
            {"name": "one.txt", "mimeType": "text/plain", "buffer": b"1"},
            {"name": "two.txt", "mimeType": "text/plain", "buffer": b"22"},
        ]
    )
    expect(page.get_by_role("list", name="Attachments").get_by_role("listitem")).to_have_count(2)
    page.get_by_role("button", name="Leave out one.txt").click()
    expect(page.get_by_text("Draft saved")).to_be_visible()
    [draft] = cast.ada.until("drafts.list", o.OfAccount("work"), lambda all: [one for one in all if one.text == typed])
    assert (draft.to, draft.subject) == (("Bob Receiver",), "Half a thought")
    assert [(one.name, one.size) for one in draft.staged] == [("two.txt", 2)]
    looked_at(page, axe, screens, "new-message")

    page.reload()
    expect(text_of(page)).to_have_value(typed)
    expect(page.get_by_label("Subject")).to_have_value("Half a thought")
    expect(page.get_by_role("list", name="To")).to_contain_text("Bob Receiver")
    expect(page.get_by_role("list", name="Attachments")).to_contain_text("two.txt")

    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview").get_by_role("table")).to_be_visible()
    looked_at(page, axe, screens, "new-preview")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("Formatting").click()
    looked_at(page, axe, screens, "new-formatting")
    page.get_by_role("button", name="Discard draft").click()
    expect(text_of(page)).to_have_value("")
    cast.ada.until(
        "drafts.list", o.OfAccount("work"), lambda all: not [one for one in all if one.text == typed] or None
    )


def test_words_of_another_device_come_into_the_draft_that_is_open(cast: Cast, come_in: ComeIn) -> None:
    draft = m.Draft("new-elsewhere", to=("Bob Receiver",), text="Begun elsewhere")
    cast.ada.ask("drafts.save", o.SaveDraft("work", draft))
    page = come_in(cast.ada)
    goes_to(page, cast.ada, "a/work/new?draft=new-elsewhere")
    expect(text_of(page)).to_have_value("Begun elsewhere")
    draft = m.Draft("new-elsewhere", to=("Bob Receiver",), text="Begun elsewhere, and gone on")
    cast.ada.ask("drafts.save", o.SaveDraft("work", draft))
    expect(text_of(page)).to_have_value("Begun elsewhere, and gone on")
    page.get_by_role("button", name="Discard draft").click()


def test_files_are_taken_where_they_are_dropped_or_pasted(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada)
    write_to(page, cast.ada, "Bob Receiver")
    for kind, name in (("drop", "dropped.txt"), ("paste", "pasted.png")):
        text_of(page).evaluate(
            """(element, [kind, name]) => {
              const files = new DataTransfer();
              files.items.add(new File(["x".repeat(1000)], name));
              const how = { bubbles: true, cancelable: true };
              element.dispatchEvent(kind === "drop" ? new DragEvent("drop", { dataTransfer: files, ...how })
                : new ClipboardEvent("paste", { clipboardData: files, ...how }));
            }""",
            [kind, name],
        )
        expect(page.get_by_role("list", name="Attachments").get_by_text(name)).to_be_visible()
    page.get_by_role("button", name="Discard draft").click()


def test_an_upload_shows_how_far_it_is_and_can_be_left_out(cast: Cast, come_in: ComeIn, axe: str) -> None:
    page = come_in(cast.ada)
    write_to(page, cast.ada, "Bob Receiver")
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    network.send("Network.emulateNetworkConditions", slow)
    page.locator("input[type=file]").set_input_files(
        {"name": "large.bin", "mimeType": "application/octet-stream", "buffer": bytes(4_000_000)}
    )
    progress = page.get_by_role("progressbar", name="Taking in large.bin")
    expect(progress).to_be_visible()
    text_of(page).fill("With a file")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    assert violations(page, axe) == []
    page.get_by_role("button", name="Leave out large.bin").click()
    expect(progress).to_have_count(0)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Discard draft").click()


def test_a_message_is_scheduled_and_taken_back(cast: Cast, come_in: ComeIn, axe: str, screens: Path) -> None:
    page = come_in(cast.ada)
    write_to(page, cast.ada, "Bob Receiver")
    text_of(page).fill("Not before time")
    page.get_by_role("button", name="Send later").click()
    dialog = page.get_by_role("dialog", name="Send later")
    dialog.get_by_label("Or at").fill("2001-01-01T09:00")
    expect(dialog.get_by_role("alert")).to_have_text("This is in the past. Choose a later time.")
    looked_at(page, axe, screens, "later")
    dialog.get_by_role("button", name="Monday morning").click()
    expect(page.get_by_text("Leaves ")).to_be_visible()
    [waiting] = cast.ada.ask("outbox.list", o.OfAccount("work"))
    assert waiting.state == "scheduled"
    looked_at(page, axe, screens, "scheduled")
    page.get_by_role("button", name="Undo").click()
    expect(text_of(page)).to_have_value("Not before time")
    assert cast.ada.ask("outbox.list", o.OfAccount("work")) == []
    page.get_by_role("button", name="Discard draft").click()


def test_whether_a_message_is_encrypted_is_said_with_its_reason(cast: Cast, come_in: ComeIn) -> None:
    """B9."""
    page = come_in(cast.ada)
    write_to(page, cast.ada, "Bob Receiver")
    said = page.locator(".encryption")
    expect(said).to_have_text("Encrypted. Only these people’s devices can read it.")
    cast.ada.ask("settings.set", o.SetSetting("work", "encrypt", False))
    expect(said).to_have_text("Not encrypted. You switched encryption off in the settings: the service can read it.")
    cast.ada.ask("settings.set", o.SetSetting("work", "encrypt", True))
    expect(said).to_contain_text("Encrypted.")
    uid = next(one.uid for one in cast.ada.ask("people.list", o.OfAccount("work")) if one.alias == "Bob Receiver")
    number = cast.ada.ask("keys.safety", o.OfPerson("work", uid))
    cast.ada.ask("keys.seen", o.SeenKeys("work", uid, number.head, compared=True))
    expect(said).to_contain_text("you have compared their numbers")


def test_what_the_engine_refuses_is_said_where_it_was_written(cast: Cast, come_in: ComeIn, axe: str) -> None:
    page = come_in(cast.ada)
    goes_to(page, cast.ada, "a/work/new")
    page.get_by_role("combobox", name="To").fill("Nobody I Know")
    text_of(page).fill("Hello?")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Nobody called Nobody I Know is known here: ping them first.")
    expect(page.get_by_role("combobox", name="To")).to_have_attribute("aria-invalid", "true")
    assert violations(page, axe) == []
    expect(text_of(page)).to_have_value("Hello?")
    page.get_by_role("button", name="Discard draft").click()


def test_a_message_is_forwarded_and_people_are_added_with_a_note(
    cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    ada, bob, carol = cast
    bob.ask("messages.send", o.Send("work", ("Ada Scrivener",), "Stones", "Granite or slate?", delay_s=0))
    thread = ada.message("work", "Granite or slate?").thread
    ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    page = come_in(ada)
    goes_to(page, ada, f"a/work/t/{thread}")
    page.get_by_role("list", name="Messages").get_by_text("Granite or slate?").hover()
    page.get_by_role("button", name=re.compile("^Forward")).last.click()
    dialog = page.get_by_role("dialog", name="Forward a message")
    to = dialog.get_by_role("combobox", name="To")
    expect(to).to_be_focused()
    to.fill("Carol Receiver")
    to.press("Enter")
    dialog.get_by_label("Your words before it").fill("What do you think?")
    looked_at(page, axe, screens, "forward")
    dialog.get_by_role("button", name="Forward").click()
    expect(dialog).to_have_count(0)
    assert "Granite or slate?" in carol.message("work", "What do you think?").text

    page.locator("#act-more").click()
    page.get_by_role("button", name=re.compile("Add people|people", re.IGNORECASE)).last.click()
    dialog = page.get_by_role("dialog", name="Add people")
    dialog.get_by_role("combobox", name="To").fill("Carol Receiver")
    dialog.get_by_label("Note").fill("Carol knows stones.")
    looked_at(page, axe, screens, "add-people")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog).to_have_count(0)
    carol.message("work", "Granite or slate?")
    ada.ask("settings.set", o.SetSetting("work", "undo_s", 10))
