# SPDX-License-Identifier: AGPL-3.0-or-later
"""What somebody typed or chose in the client's pages is there until it was sent or thrown away, an act is done once, and
the focus is where one goes on (B1, B2, D2; WCAG 2.4.3).
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.browser.test_client_forms import card
from tests.browser.test_client_writing import goes_to, press
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client.api import models as m
from tmtp_client.api import operations as o

NOT_COMING_MS = 500  # for what should not come, to come: a draft is saved after half of it
WORDS = "These words took a while"
PASSPHRASE = "correct horse battery staple"


class Cast(NamedTuple):
    """Ada, and two whom she knows. `thread`: what Bob wrote to her."""

    ada: Someone
    bob: Someone
    carol: Someone
    thread: str


@pytest.fixture(scope="module")
def cast(town: Town) -> Cast:
    ada, bob, carol = (town.person(name, "work") for name in ("Ada Keeps", "Bob Asks", "Carol Reads"))
    for other in (bob, carol):
        town.acquaint(ada, other, "work")
        other.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    bob.ask("messages.send", o.Send("work", ("Ada Keeps",), "Letters", "The first letter", delay_s=0))
    return Cast(ada, bob, carol, ada.message("work", "The first letter").thread)


def asked(cast: Cast, text: str, *fields: m.FormField) -> m.Message:
    """A form of Bob's, named as its message, is with Ada."""
    cast.bob.ask("messages.send", o.Send("work", ("Ada Keeps",), "", text, form=m.Form("", text, fields)))
    return cast.ada.message("work", text)


@contextmanager
def slow(town: Town, someone: Someone, operation: str) -> Iterator[list[object]]:
    """What is asked of the engine by this operation, which begins with none of it until the block ends."""
    handlers: Any = someone._served.engine.dispatcher._handlers
    answered, heard, over = handlers[operation], list[object](), asyncio.Event()

    async def noting(params: object) -> object:
        heard.append(params)
        await over.wait()
        return await answered(params)

    async def end() -> None:
        handlers[operation] = answered
        over.set()

    handlers[operation] = noting
    try:
        yield heard
    finally:
        town.do(end())


def ask_in(someone: Someone, gid: str, other: Someone) -> None:
    """Into a group, which is founded by it; the other one has joined."""
    someone.ask("groups.invite", o.InviteToGroup("work", gid, other.name))
    other.until("groups.list", o.OfAccount("work"), lambda all: [one for one in all if one.gid == gid] or None)
    other.ask("groups.act", o.ActOnGroup("work", gid, "join", other.name))
    someone.until(
        "groups.list",
        o.OfAccount("work"),
        lambda all: (
            [1 for one in all if one.gid == gid and len([1 for who in one.members if who.stands == "joined"]) > 1]
            or None
        ),
    )


# -- what was typed in a window -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["forward", "ask in"])
def test_words_beside_a_message_that_goes_on_are_there_again_after_escape(
    cast: Cast, come_in: ComeIn, way: str
) -> None:
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")

    def opened() -> Locator:
        if way == "forward":
            page.get_by_role("article").first.hover()
            page.get_by_role("button", name="Forward").first.click()
        else:
            page.get_by_role("button", name="More", exact=True).click()
            page.get_by_role("button", name="Add people …").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        return dialog

    dialog = opened()
    dialog.get_by_role("combobox", name="To").fill("Carol Reads")
    dialog.get_by_role("textbox").last.fill(WORDS)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    dialog = opened()
    expect(dialog.get_by_role("textbox").last).to_have_value(WORDS)
    expect(dialog.get_by_role("list", name="To")).to_contain_text("Carol Reads")
    dialog.get_by_role("button").last.click()
    expect(dialog).to_have_count(0)
    dialog = opened()
    expect(dialog.get_by_role("textbox").last).to_have_value("")


def test_a_ping_that_was_begun_is_there_when_one_comes_back_and_goes_with_the_key(town: Town, come_in: ComeIn) -> None:
    """B8: what nobody has sent yet is no draft of the engine's, and the page forgets it once the home is locked."""
    ada = town.person("Ada Begins", "work")
    ada.ask("home.passphrase", o.SetPassphrase(PASSPHRASE))
    page = come_in(ada, "/#/a/work/ping")
    words = page.get_by_label("Your words")
    page.get_by_role("combobox", name="Name").fill("Nobody Yet")
    words.fill(WORDS)
    goes_to(page, ada, "a/work")
    expect(words).to_have_count(0)
    goes_to(page, ada, "a/work/ping")
    expect(words).to_have_value(WORDS)
    expect(page.get_by_role("combobox", name="Name")).to_have_value("Nobody Yet")
    page.evaluate("import('/app/controls/saying.js').then(({ say }) => say('Granite says so', { bad: true }))")
    expect(page.get_by_text("Granite says so")).to_be_visible()
    ada.ask("home.lock")
    page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
    page.keyboard.press("Enter")
    expect(words).to_have_value("")
    expect(page.get_by_text("Granite says so")).to_have_count(0)


def test_answers_to_who_asks_and_words_of_a_report_stay(town: Town, come_in: ComeIn) -> None:
    host, eve = town.person("Hugo Answers", "work"), town.person("Eve Waits", "work")
    eve.ask("people.ping", o.SendPing("work", "Hugo Answers", "May I?"))
    ping = host.message("work", "May I?")
    page = come_in(host, "/#/a/work/contacts")
    for act, field in (("Accept", "Your answer"), ("Report…", "In your own words")):
        page.get_by_role("button", name=f"{act} Eve Waits").click()
        page.get_by_role("dialog").get_by_label(field).fill(WORDS)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("button", name=f"{act} Eve Waits").click()
        expect(page.get_by_role("dialog").get_by_label(field)).to_have_value(WORDS)
        page.keyboard.press("Escape")
    goes_to(page, host, f"a/work/t/{ping.thread}")
    answer = page.get_by_role("article").get_by_role("textbox")
    answer.fill("Yes, and")
    goes_to(page, host, "a/work")
    goes_to(page, host, f"a/work/t/{ping.thread}")
    expect(answer).to_have_value("Yes, and")


def test_words_for_a_group_stay(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, "/#/a/work/contacts")
    dialog = page.get_by_role("dialog", name="Found a group")
    page.get_by_role("button", name="Found a group").click()
    dialog.get_by_label("Name of the group").fill("Half a name")
    dialog.get_by_label("Your words").fill(WORDS)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Found a group").click()
    expect(dialog.get_by_label("Name of the group")).to_have_value("Half a name")
    expect(dialog.get_by_label("Your words")).to_have_value(WORDS)


def test_files_that_were_on_their_way_when_one_left_are_named(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")
    held: list[Route] = []
    page.route("**/files/work?*", lambda route: held.append(route))  # noqa: PLW0108
    page.locator("input[type=file]").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"first"})
    expect(page.get_by_role("progressbar", name="Taking in a.txt")).to_be_visible()
    goes_to(page, cast.ada, "a/work")
    expect(page.get_by_role("status").filter(has_text="a.txt")).to_contain_text("Attach it again")


# -- first run --------------------------------------------------------------------------------------------------------------
def test_an_invitation_that_was_pasted_is_used_once_and_stays(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Joins", "club")
    page = come_in(ada, "/#/join")
    link, name = page.get_by_label("Invitation link"), page.get_by_label("Your name there")
    link.fill(ada.invitation("work"))
    with slow(town, ada, "accounts.join") as begun:
        link.press("Enter")
        page.wait_for_timeout(NOT_COMING_MS)
        assert begun == []  # there is no name yet
    name.fill("Ada Joins Again")
    page.get_by_role("button", name="I have an account").click()
    page.get_by_label("My recovery sheet").check()
    words = page.get_by_label("The 24 words")
    words.fill("abandon ability")
    page.get_by_label("Another device of mine").check()
    page.get_by_label("My recovery sheet").check()
    expect(words).to_have_value("abandon ability")
    page.get_by_role("button", name="Back", exact=True).click()
    expect(name).to_have_value("Ada Joins Again")
    with slow(town, ada, "accounts.join") as begun:
        link.press("Enter")
        expect(page.get_by_text("Asking the service")).to_be_visible()
        link.press("Enter")
        page.wait_for_timeout(NOT_COMING_MS)
        assert len(begun) == 1
    expect(page.get_by_role("heading", name="Your recovery sheet")).to_be_visible()


# -- forms ------------------------------------------------------------------------------------------------------------------
def test_an_answer_is_sent_once_and_what_is_typed_meanwhile_stays(town: Town, cast: Cast, come_in: ComeIn) -> None:
    message = asked(cast, "Say it once", m.FormField("dish", "text", "Dish"))
    page = come_in(cast.ada, f"/#/a/work/t/{message.thread}")
    form = card(page, "Say it once")
    dish = form.get_by_label("Dish")
    dish.fill("soup")
    with slow(town, cast.ada, "messages.fill") as begun:
        dish.press("Control+Enter")
        expect(form.get_by_role("button", name="Sending")).to_be_disabled()
        dish.press("Control+Enter")
        dish.press("End")
        page.keyboard.type(" and bread")
        page.wait_for_timeout(NOT_COMING_MS)
        assert len(begun) == 1
    yours = form.get_by_role("group", name="Your answer")
    expect(yours.get_by_role("definition")).to_have_text("soup")
    yours.get_by_role("button", name="Answer again").click()
    expect(dish).to_have_value("soup and bread")
    dish.fill("thrown away")
    with cast.ada.late("drafts.drop") as answered:
        form.get_by_role("button", name="Clear").click()
        answered()
        page.wait_for_timeout(NOT_COMING_MS)
    expect(dish).to_be_focused()
    page.reload()
    expect(yours.get_by_role("definition")).to_have_text("soup")
    assert [one for one in cast.ada.ask("drafts.list", o.OfAccount("work")) if one.filled] == []


@pytest.mark.parametrize("place", ["the form", "the outbox"])
def test_an_answer_that_is_taken_back_after_a_reload_is_there_again(cast: Cast, come_in: ComeIn, place: str) -> None:
    name = f"Taken back in {place}"
    fields = (m.FormField("dish", "text", "Dish"), m.FormField("count", "integer", "How many"))
    message = asked(cast, name, *fields, m.FormField("come", "yes", "Will you come?"))
    cast.ada.ask("settings.set", o.SetSetting("work", "undo_s", 60))
    cast.ada.ask("messages.fill", o.FillForm("work", message.id, 0, {"dish": "soup", "count": 3, "come": False}))
    cast.ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    page = come_in(cast.ada, f"/#/a/work/t/{message.thread}" if place == "the form" else "/#/a/work?of=outbox")
    if place == "the outbox":
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("button", name="Undo")).to_have_count(0)
        goes_to(page, cast.ada, f"a/work/t/{message.thread}")
    else:
        card(page, name).get_by_role("button", name="Undo").click()
    form = card(page, name)
    expect(form.get_by_label("Dish")).to_have_value("soup")
    expect(form.get_by_label("How many")).to_have_value("3")
    expect(form.get_by_label("No", exact=True)).to_be_checked()
    assert cast.ada.ask("outbox.list", o.OfAccount("work")) == []
    page.reload()
    expect(form.get_by_label("Dish")).to_have_value("soup")
    form.get_by_role("button", name="Clear").click()
    expect(form.get_by_label("Dish")).to_have_value("")


def test_a_form_that_is_made_loses_nothing_by_one_key_or_one_click(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, "/#/a/work/new")
    page.get_by_role("button", name="Form", exact=True).click()
    dialog = page.get_by_role("dialog", name="Make a form")
    dialog.get_by_label("What you ask").fill("Which dish?")
    kind, choices = dialog.get_by_label("Answered by"), dialog.get_by_label("Choices")
    kind.select_option("many")
    choices.fill("soup\nbread")
    kind.select_option("yes")  # as ArrowDown in the closed list does
    kind.select_option("many")
    expect(choices).to_have_value("soup\nbread")
    dialog.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Leave out the form").click()
    expect(page.get_by_role("button", name="Edit", exact=True)).to_have_count(0)
    page.get_by_role("status").filter(has_text="left out").get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(dialog.get_by_label("What you ask")).to_have_value("Which dish?")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Discard draft").click()


# -- answers that come late -------------------------------------------------------------------------------------------------
def test_what_waits_and_what_is_a_draft_is_told_by_the_latest_answer(cast: Cast, come_in: ComeIn) -> None:
    cast.ada.ask("drafts.save", o.SaveDraft("work", m.Draft("new-1", "", subject="Kept for later")))
    with cast.ada.late("drafts.list", first=True) as answered:
        page = come_in(cast.ada, "/#/a/work?of=drafts")
        answered()
        cast.ada.ask("drafts.drop", o.OfDraft("work", "new-1"))
        expect(page.get_by_text("No drafts")).to_be_visible()
    page.wait_for_timeout(NOT_COMING_MS)
    expect(page.get_by_role("link", name="Kept for later")).to_have_count(0)

    later = o.Send("work", ("Bob Asks",), "", "Leaves much later", delay_s=100)
    waiting = cast.ada.ask("messages.send", later)
    with cast.ada.late("outbox.list", first=True) as answered:
        page.goto(f"{cast.ada.url}/#/a/work?of=outbox")
        answered()
        cast.ada.ask("outbox.act", o.OfWaiting("work", waiting.request, "drop"))
        expect(page.get_by_text("Nothing waits to be sent")).to_be_visible()
    page.wait_for_timeout(NOT_COMING_MS)
    expect(page.get_by_text("Leaves much later")).to_have_count(0)


def test_who_is_in_a_group_is_told_by_the_latest_answer(cast: Cast, come_in: ComeIn) -> None:
    with cast.ada.late("groups.list", first=True) as answered:
        page = come_in(cast.ada, "/#/a/work/contacts")
        answered()
        ask_in(cast.ada, "Late readers", cast.bob)
        expect(page.get_by_role("region", name="Groups")).to_contain_text("Late readers")
    page.wait_for_timeout(NOT_COMING_MS)
    expect(page.get_by_role("region", name="Groups")).to_contain_text("Late readers")


# -- where the focus is -----------------------------------------------------------------------------------------------------
def test_the_focus_stays_near_what_was_answered(town: Town, come_in: ComeIn) -> None:
    host = town.person("Hans Focus", "work")
    for name in ("Ina Knocks", "Ben Knocks", "Eva Knocks"):
        town.person(name, "work").ask("people.ping", o.SendPing("work", "Hans Focus", f"Hello from {name}"))
        host.message("work", f"Hello from {name}")
    page = come_in(host, "/#/a/work/contacts")
    press(page, page.get_by_role("button", name="Ignore Ina Knocks"))
    expect(page.get_by_role("button", name="Ignore Ina Knocks")).to_have_count(0)
    expect(page.locator(":focus")).to_have_count(1)
    near = "document.activeElement.contains(document.querySelector('.asking')) || document.activeElement.closest('.asking') !== null"
    assert page.evaluate(near)
    press(page, page.get_by_role("button", name="Block Ben Knocks"))
    press(page, page.get_by_role("dialog").get_by_role("button", name="Block"))
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(":focus")).to_have_count(1)
    last = host.message("work", "Hello from Eva Knocks")
    goes_to(page, host, f"a/work/t/{last.thread}")
    press(page, page.get_by_role("article").get_by_role("button", name="Ignore"))
    expect(page.get_by_role("article").get_by_role("button", name="Ignore")).to_have_count(0)
    expect(page.locator(":focus")).to_have_count(1)
    assert page.evaluate("document.activeElement.closest('[data-message]') !== null")


def test_the_focus_stays_on_a_button_that_waits_for_its_answer(town: Town, come_in: ComeIn) -> None:
    ada = town.person("Ada Chooses", "work")
    page = come_in(ada, "/#/settings/lock")
    page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
    page.get_by_label("The same once more").fill(PASSPHRASE)
    use = page.get_by_role("button", name="Set a passphrase")
    with ada.late("home.passphrase") as answered:
        use.press("Enter")
        answered()
        expect(page.get_by_role("button", name="One moment…")).to_be_disabled()
        page.wait_for_timeout(NOT_COMING_MS)
    changed = page.get_by_role("button", name="Change the passphrase")
    expect(changed).to_be_enabled()
    expect(changed).to_be_focused()


def test_a_name_that_is_still_being_composed_is_not_taken(cast: Cast, come_in: ComeIn) -> None:
    """Enter ends the composition of a name in Japanese, and chooses nobody."""
    page = come_in(cast.ada, "/#/a/work/new")
    to = page.get_by_role("combobox", name="To")
    to.fill("かろる")
    to.evaluate(
        "one => one.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true }))"
    )
    page.wait_for_timeout(NOT_COMING_MS)
    expect(page.get_by_role("list", name="To")).to_have_count(0)
    expect(to).to_have_value("かろる")


# -- who is reported --------------------------------------------------------------------------------------------------------
def test_somebody_of_a_group_whom_one_does_not_know_can_be_reported(cast: Cast, town: Town, come_in: ComeIn) -> None:
    """D3: Dora is in Ada's group, and has never written to her."""
    dora = town.person("Dora Lurks", "work")
    town.acquaint(cast.bob, dora, "work")
    ask_in(cast.ada, "Chess evening", cast.bob)
    ask_in(cast.bob, "Chess evening", dora)
    cast.ada.until(
        "groups.list",
        o.OfAccount("work"),
        lambda all: (
            [1 for one in all for who in one.members if who.alias == "Dora Lurks" and who.stands == "joined"] or None
        ),
    )
    page = come_in(cast.ada, "/#/a/work/contacts")
    press(page, page.get_by_role("button", name="Members Chess evening"))
    press(page, page.get_by_role("dialog", name="Chess evening").get_by_role("button", name="Report… Dora Lurks"))
    question = page.get_by_role("dialog", name="Report Dora Lurks?")
    press(page, question.get_by_role("button", name="Send the report"))
    expect(question).to_have_count(0)
    expect(page.get_by_text("Dora Lurks is reported to the administrators")).to_be_attached()


# -- from right to left -----------------------------------------------------------------------------------------------------
def test_what_lies_over_something_lies_on_the_other_side_where_the_language_runs_there(
    cast: Cast, come_in: ComeIn
) -> None:
    cast.bob.ask("messages.send", o.Send("work", ("Ada Keeps",), "Numbers", "One more, unread", delay_s=0))
    cast.ada.message("work", "One more, unread")
    page = come_in(cast.ada, f"/#/a/work/t/{cast.thread}")
    expect(page.locator(".service .count").first).to_be_visible()
    page.evaluate("document.documentElement.dir = 'rtl'")
    for over, under in ((".service .count", ".service .tile"), (".message-acts", ".message-who")):
        page.get_by_role("article").first.hover()
        one, other = (page.locator(name).first.bounding_box() for name in (over, under))
        assert one is not None
        assert other is not None
        assert one["x"] + one["width"] <= other["x"] or one["y"] >= other["y"] + other["height"], (over, one, other)
    for name in ("reply", "forward"):
        icon = page.locator(f".icon:has(use[href$='#{name}'])").first
        assert icon.evaluate("one => getComputedStyle(one).transform").startswith("matrix(-1"), name


def test_an_address_with_a_port_reads_from_left_to_right(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada, "/#/settings/account")
    address = page.get_by_text("127.0.0.1:")
    expect(address).to_be_visible()
    page.evaluate("document.documentElement.dir = 'rtl'")
    assert address.evaluate("one => getComputedStyle(one).direction") == "ltr"
