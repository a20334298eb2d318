# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forms in the client's pages: made in a message, answered by three people, gathered as a table and a chart (B5)."""

import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_client_writing import (
    goes_to,
    looked_at,
    press,
    tab_to,
    text_of,
    type_into,
    write_to,
)
from tests.support.axe import NARROW, WIDE
from tests.support.pages import ComeIn, Someone, Town
from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.engine.composing import Composing
from tmtp_client.store import messages
from tmtp_client.store.outbox import File

FORMULA = '=HYPERLINK("http://evil.example","soup")'
EVERY_TYPE = m.Form(
    "",
    "Everything",
    (
        m.FormField("name", "text", "Your name", required=True, longest=12, help="As it stands on the door"),
        m.FormField("why", "long", "Why"),
        m.FormField("guests", "integer", "Guests", minimum=0, maximum=4),
        m.FormField("share", "number", "Share"),
        m.FormField("come", "yes", "Will you come?", required=True),
        m.FormField("dish", "one", "Dish", choices=("soup", "bread")),
        m.FormField("table", "one", "Table", choices=tuple(f"table {place}" for place in range(1, 13))),
        m.FormField("drinks", "many", "Drinks", required=True, choices=("tea", "milk", "wine")),
        m.FormField("day", "date", "Which day"),
    ),
)


class Cast(NamedTuple):
    """Ada asks, and knows three others."""

    ada: Someone
    bob: Someone
    carol: Someone
    dan: Someone


@pytest.fixture(scope="module")
def cast(town: Town) -> Cast:
    names = ("Ada Asker", "Bob Answerer", "Carol Answerer", "Dan Answerer")
    ada, *others = (town.person(name, "work") for name in names)
    for other in others:
        town.acquaint(ada, other, "work")
        other.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    ada.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    return Cast(ada, *others)


def sends(ada: Someone, text: str, *forms: m.Form, to: tuple[str, ...] = ("Bob Answerer",)) -> m.Message:
    """A form of Ada's is with those whom she asks."""
    for form in forms:
        ada.ask("messages.send", o.Send("work", to, "", text, form=form))
    ada.sent("work")
    return ada.message("work", text)


def opens(page: Page, someone: Someone, text: str) -> m.Message:
    """The conversation of the message that begins so."""
    message = someone.message("work", text)
    goes_to(page, someone, f"a/work/t/{message.thread}")
    return message


def card(page: Page, name: str) -> Locator:
    """A form, or an answer to one, as it stands in a message."""
    return page.get_by_role("group", name=name, exact=True)


def answers(someone: Someone, message: m.Message) -> list[tuple[object, ...]]:
    """What has come back to a form: who and what."""
    of = o.OfForm("work", message.attachments[0].form, message.id)
    return [tuple(row[2:3] + row[4:]) for row in someone.ask("forms.answers", of).rows]


# -- three people answer -------------------------------------------------------------------------------------------------
def test_a_form_is_made_answered_by_three_people_and_its_results_are_seen(
    cast: Cast, come_in: ComeIn, other_come_in: ComeIn, axe: str, screens: Path
) -> None:
    """B5: all by keyboard, each with a page, one on a telephone; what comes back is seen as it comes."""
    ada, bob, carol, dan = cast
    hers = come_in(ada)
    write_to(hers, ada, "Bob Answerer")
    to = hers.get_by_role("combobox", name="To")
    for name in ("Carol Answerer", "Dan Answerer"):
        type_into(hers, to, name[:5])
        expect(hers.get_by_role("option", name=name)).to_be_visible()
        hers.keyboard.press("ArrowDown")
        hers.keyboard.press("Enter")
    type_into(hers, hers.get_by_label("Subject"), "Dinner together")
    makes_dinner(hers, axe, screens)
    press(hers, hers.get_by_role("button", name="Send", exact=True))
    press(hers, hers.get_by_role("link", name="Show"))
    asked = card(hers, "Dinner")
    expect(asked.get_by_role("status")).to_contain_text("Nobody has answered")
    expect(asked.get_by_role("status")).to_contain_text("Not yet: Bob Answerer, Carol Answerer, and Dan Answerer")
    looked_at(hers, axe, screens, "form-nobody-answered")

    for someone, dish, guests, size in (
        (bob, "soup", "2", None),
        (carol, "bread", "4", NARROW),
        (dan, "soup", "1", None),
    ):
        theirs = other_come_in(someone)
        if size is not None:
            theirs.set_viewport_size(size)
        answers_dinner(theirs, someone, dish, guests, axe, screens)
        expect(asked.get_by_role("row", name=re.compile(f"^{dish}"))).to_be_visible()
        theirs.close()

    expect(asked.get_by_role("status")).to_have_text("3 people have answered")
    bars = asked.get_by_role("table", name="Which dish?").get_by_role("row")
    expect(bars.nth(1)).to_have_text(re.compile(r"^soup\s*2\s*67%$"))
    expect(bars.nth(2)).to_have_text(re.compile(r"^bread\s*1\s*33%$"))
    widths = [float(str(bars.nth(place).locator(".length").get_attribute("width"))) for place in (1, 2)]
    assert widths == [100, 50]
    tab_to(hers, asked.get_by_role("button", name="Chart"), "Shift+Tab")
    looked_at(hers, axe, screens, "form-results-chart")
    sorts_and_keeps(hers, asked, axe, screens)


def makes_dinner(page: Page, axe: str, screens: Path) -> None:
    """A form of two questions, of which one was third before, by keyboard."""
    press(page, page.get_by_role("button", name="Form", exact=True))
    dialog = page.get_by_role("dialog", name="Make a form")
    type_into(page, dialog.get_by_label("What the form is called"), "Dinner")
    first = dialog.get_by_role("group", name="Question 1")
    tab_to(page, first.get_by_label("Answered by"))
    page.keyboard.type("One of")
    press(page, dialog.get_by_role("button", name="Done"))
    expect(first.get_by_text("Say what you ask.")).to_be_visible()
    expect(first.get_by_label("What you ask")).to_be_focused()
    looked_at(page, axe, screens, "form-making-unfinished")
    page.keyboard.type("Which dish?")
    press(page, first.get_by_label("Must be answered"), "Space")
    type_into(page, first.get_by_label("Choices"), "soup\nbread")
    for place, words in ((2, "Not asked"), (3, "Guests")):
        press(page, dialog.get_by_role("button", name="Add a question"))
        expect(dialog.get_by_role("group", name=f"Question {place}").get_by_label("What you ask")).to_be_focused()
        page.keyboard.type(words)
    third = dialog.get_by_role("group", name="Question 3")
    tab_to(page, third.get_by_label("Answered by"))
    page.keyboard.type("A whole")
    type_into(page, third.get_by_label("Not less than"), "0")
    page.keyboard.press("Alt+ArrowUp")
    moved = dialog.get_by_role("group", name="Question 2")
    expect(moved.get_by_label("What you ask")).to_have_value("Guests")
    expect(dialog.get_by_role("status")).to_have_text("It is question 2 of 3 now.")
    press(page, dialog.get_by_role("button", name="Remove question 3: Not asked"))
    expect(dialog.get_by_role("group", name="Question 3")).to_have_count(0)
    press(page, dialog.get_by_role("button", name="Preview"))
    expect(dialog.get_by_role("radiogroup", name="Which dish? required").get_by_label("bread")).to_be_visible()
    looked_at(page, axe, screens, "form-making-preview")
    press(page, dialog.get_by_role("button", name="Done"))
    expect(page.get_by_role("button", name="Edit", exact=True)).to_be_focused()
    expect(page.get_by_text("2 questions")).to_be_visible()
    expect(page.get_by_text("Draft saved")).to_be_visible()


def answers_dinner(page: Page, someone: Someone, dish: str, guests: str, axe: str, screens: Path) -> None:
    """Too fast first: what is missing is said beside it. Then by keyboard, and seen as answered."""
    message = someone.until(
        "messages.latest", o.Latest("work"), lambda all: [one for one in all if one.subject == "Dinner together"]
    )[-1]
    goes_to(page, someone, f"a/work/t/{message.thread}")
    form = card(page, "Dinner")
    press(page, form.get_by_role("button", name="Send answer"))
    question = form.get_by_role("radiogroup", name="Which dish? required")
    expect(question.get_by_role("alert")).to_have_text("Choose an answer.")
    expect(question.get_by_label("soup")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("article").filter(has=form)).to_be_focused()
    tab_to(page, question.get_by_label("soup"))
    page.keyboard.press("Space" if dish == "soup" else "ArrowDown")
    expect(question.get_by_label(dish)).to_be_checked()
    type_into(page, form.get_by_label("Guests"), guests)
    page.keyboard.press("Control+Enter")
    yours = card(page, "Dinner").get_by_role("group", name="Your answer")
    expect(yours).to_contain_text("You answered on")
    expect(yours.get_by_role("definition")).to_have_text([dish, guests])
    if someone.name == "Bob Answerer":
        looked_at(page, axe, screens, "form-answered")


def sorts_and_keeps(page: Page, asked: Locator, axe: str, screens: Path) -> None:
    """The table, sorted by who and by a figure; the same as a file."""
    press(page, asked.get_by_role("button", name="Table"), "Enter")
    table = asked.get_by_role("group", name="Answers to Dinner").get_by_role("table")
    who = table.get_by_role("rowheader")
    press(page, table.get_by_role("button", name="Who"))
    expect(table.get_by_role("columnheader", name="Who")).to_have_attribute("aria-sort", "ascending")
    expect(who).to_have_text(["Bob Answerer", "Carol Answerer", "Dan Answerer"])
    press(page, table.get_by_role("button", name="Guests"))
    press(page, table.get_by_role("button", name="Guests"))
    expect(who).to_have_text(["Carol Answerer", "Bob Answerer", "Dan Answerer"])
    looked_at(page, axe, screens, "form-results-table")
    with page.expect_download() as kept:
        press(page, asked.get_by_role("button", name="Download CSV"))
    assert kept.value.suggested_filename == "Dinner.csv"
    rows = list(csv.reader(io.StringIO(Path(kept.value.path()).read_text("utf-8-sig"))))
    assert rows[0][4:] == ["Which dish?", "Guests"]
    assert sorted(row[2:3] + row[4:] for row in rows[1:]) == [
        ["Bob Answerer", "soup", "2"],
        ["Carol Answerer", "bread", "4"],
        ["Dan Answerer", "soup", "1"],
    ]


# -- an answer ------------------------------------------------------------------------------------------------------------
def test_each_kind_of_question_is_answered_and_what_is_wrong_stands_beside_it(
    cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    ada, bob, *_ = cast
    mine = sends(ada, "Everything there is", EVERY_TYPE)
    page = come_in(bob)
    opens(page, bob, "Everything there is")
    form = card(page, "Everything")
    form.get_by_label("Your name").fill("A name that is too long")
    form.get_by_label("Guests").fill("5")
    form.get_by_label("Share").press_sequentially("1e")
    form.get_by_role("button", name="Send answer").click()
    expect(form.get_by_role("alert")).to_have_text(
        [
            "This is 11 characters too long.",
            "4 or less.",
            "This must be a number.",
            "Choose an answer.",
            "Choose an answer.",
        ]
    )
    expect(form.get_by_label("Your name")).to_be_focused()
    expect(form.get_by_label("Your name")).to_have_attribute("aria-invalid", "true")
    looked_at(page, axe, screens, "form-every-question-wrong")

    form.get_by_label("Your name").fill("Bob \U0001f642")
    form.get_by_label("Why").fill("two\nlines")
    form.get_by_label("Guests").fill("0")
    form.get_by_label("Share").fill("-1.5")
    form.get_by_role("radiogroup", name="Will you come? required").get_by_label("No").check()
    form.get_by_role("radiogroup", name="Dish").get_by_label("bread").check()
    form.get_by_label("Table").select_option("table 12")
    form.get_by_role("group", name="Drinks required").get_by_label("wine").check()
    form.get_by_role("group", name="Drinks required").get_by_label("tea").check()
    form.get_by_label("Which day").fill("2026-12-24")
    expect(form.get_by_role("alert")).to_have_count(0)
    form.get_by_role("button", name="Send answer").click()
    expect(page.get_by_role("group", name="Your answer")).to_contain_text("Dec 24, 2026")
    bob.sent("work")
    row = (
        "Bob Answerer",
        "Bob \U0001f642",
        "two\nlines",
        0,
        -1.5,
        False,
        "bread",
        "table 12",
        ["tea", "wine"],
        "2026-12-24",
    )
    found = ada.until(
        "forms.answers", o.OfForm("work", mine.attachments[0].form), lambda table: list(table.rows) or None
    )
    assert [(one[2], *one[4:]) for one in found] == [row]


def test_an_answer_is_a_draft_until_it_is_sent_can_be_taken_back_and_given_again(
    cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    ada, _, carol, _ = cast
    dish = m.FormField("dish", "text", "Dish", required=True)
    mine = sends(ada, "Say what you eat", m.Form("", "Menu", (dish,)), to=("Carol Answerer",))
    page = come_in(carol)
    message = opens(page, carol, "Say what you eat")
    form, yours = card(page, "Menu"), page.get_by_role("group", name="Your answer")
    form.get_by_label("Dish").fill("half a")
    expect(form.get_by_text("Draft saved")).to_be_visible()
    goes_to(page, carol, "a/work?of=drafts")
    expect(page.get_by_role("link", name="An answer to a form")).to_be_visible()
    goes_to(page, carol, f"a/work/t/{message.thread}")
    page.reload()
    expect(form.get_by_label("Dish")).to_have_value("half a")

    carol.ask("settings.set", o.SetSetting("work", "undo_s", 60))
    form.get_by_label("Dish").fill(FORMULA)
    form.get_by_role("button", name="Send answer").click()
    expect(yours.get_by_role("status")).to_have_text("Your answer leaves in a few seconds.")
    expect(yours).to_be_focused()
    looked_at(page, axe, screens, "form-answer-waits")
    yours.get_by_role("button", name="Undo").click()
    expect(form.get_by_label("Dish")).to_have_value(FORMULA)
    assert carol.ask("outbox.list", o.OfAccount("work")) == []
    page.reload()
    expect(form.get_by_label("Dish")).to_have_value(FORMULA)
    expect(yours).to_have_count(0)

    carol.ask("settings.set", o.SetSetting("work", "undo_s", 0))
    form.get_by_role("button", name="Send answer").click()
    expect(yours.get_by_role("definition")).to_have_text(FORMULA)
    carol.until("drafts.list", o.OfAccount("work"), lambda all: all == [] or None)
    yours.get_by_role("button", name="Answer again").click()
    expect(form.get_by_label("Dish")).to_be_focused()
    expect(form.get_by_label("Dish")).to_have_value(FORMULA)
    form.get_by_label("Dish").fill("=1+1")
    form.get_by_role("button", name="Send new answer").click()
    expect(yours.get_by_role("definition")).to_have_text("=1+1")
    given = ada.until(
        "forms.answers",
        o.OfForm("work", mine.attachments[0].form, mine.id),
        lambda table: table.rows if len(table.rows) == 2 else None,
    )
    assert [row[-1] for row in given] == [FORMULA, "=1+1"]

    page.close()
    page = come_in(ada)
    opens(page, ada, "Say what you eat")
    asked = card(page, "Menu")
    expect(asked.get_by_role("status")).to_have_text("1 person has answered")
    asked.get_by_role("button", name="Table").click()
    expect(asked.get_by_role("rowheader").filter(has_text="replaced")).to_have_count(1)
    expect(card(page, "Answer to Menu").first).to_contain_text("A later answer has taken the place of this one.")
    looked_at(page, axe, screens, "form-answered-twice")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    asked.get_by_role("button", name="Copy as CSV").click()
    expect(page.get_by_text("The table is copied, as CSV.")).to_be_visible()
    copied = list(csv.reader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    assert [row[-1] for row in copied] == ["Dish", f"'{FORMULA}", "'=1+1"]


def test_a_list_says_what_a_last_message_without_words_brings(cast: Cast, come_in: ComeIn) -> None:
    ada, bob, _, _ = cast
    sends(ada, "Who comes to lunch?", m.Form("", "Lunch", (m.FormField("come", "yes", "Will you come?"),)))
    asked = bob.message("work", "Who comes to lunch?")
    page = come_in(ada)
    row = page.locator(f'a[href*="{asked.thread}"]')
    expect(row).to_contain_text("Who comes to lunch?")
    bob.ask("messages.fill", o.FillForm("work", asked.id, 0, {"come": True}))
    expect(row).to_contain_text("An answer to a form")


def test_an_answer_that_nobody_took_says_so_where_the_form_stands(town: Town, cast: Cast, come_in: ComeIn) -> None:
    """A4: what comes back is said beside the question, and can be given again."""
    ada, bob, *_ = cast
    sends(ada, "Who takes it?", m.Form("", "Returned", (m.FormField("dish", "text", "Dish"),)))
    page = come_in(bob)
    opens(page, bob, "Who takes it?")
    form = card(page, "Returned")
    form.get_by_label("Dish").fill("soup")
    form.get_by_role("button", name="Send answer").click()
    yours = form.get_by_role("group", name="Your answer")
    expect(yours).to_contain_text("You answered on")
    expect(yours).not_to_contain_text("nobody there has taken it")
    [answer] = [one for one in bob.ask("messages.latest", o.Latest("work")) if card_of(one) == "Returned"]
    database = bob.person.engine.home.account("work").context.database
    town.do(database.write(lambda c: messages.change(c, answer.id, state="returned")))
    expect(yours).to_contain_text("Returned: nobody there has taken it.")
    yours.get_by_role("button", name="Answer again").click()
    expect(form.get_by_label("Dish")).to_have_value("soup")
    form.get_by_role("button", name="Cancel").click()
    expect(yours).to_contain_text("Returned: nobody there has taken it.")


def card_of(message: m.Message) -> str:
    """Which form a message answers."""
    return next((one.name for one in message.attachments if one.kind == "filled"), "")


# -- a form that is being made ---------------------------------------------------------------------------------------------
def test_a_half_made_form_is_a_draft_and_is_not_sent(cast: Cast, come_in: ComeIn) -> None:
    page = come_in(cast.ada)
    write_to(page, cast.ada, "Bob Answerer")
    page.get_by_role("button", name="Form", exact=True).click()
    dialog = page.get_by_role("dialog", name="Make a form")
    dialog.get_by_label("What the form is called").fill("Half")
    dialog.get_by_role("button", name="Finish later").click()
    expect(page.get_by_text("1 question is not finished")).to_be_visible()
    expect(page.get_by_text("Draft saved")).to_be_visible()
    page.reload()
    expect(page.get_by_text("1 question is not finished")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Something is missing in 1 question of the form.")
    page.get_by_role("button", name="Leave out the form").click()
    expect(text_of(page)).to_be_focused()
    expect(page.get_by_role("button", name="Edit", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Discard draft").click()
    assert cast.ada.ask("outbox.list", o.OfAccount("work")) == []


# -- forms of others -------------------------------------------------------------------------------------------------------
def test_forms_of_one_name_show_each_its_own_questions(cast: Cast, come_in: ComeIn, axe: str, screens: Path) -> None:
    ada, bob, *_ = cast
    first = m.Form("one-name", "Lunch", (m.FormField("dish", "one", "Which dish?", choices=("soup", "bread")),))
    mine = sends(ada, "The true one", first)
    there = bob.message("work", "The true one")
    other = m.Form("one-name", "Lunch", (m.FormField("pin", "text", "Which number?"),))
    ada.ask("messages.send", o.Send("work", text="The other one", reply=mine.id, form=other))
    bob.message("work", "The other one")
    page = come_in(bob)
    goes_to(page, bob, f"a/work/t/{there.thread}")
    cards = card(page, "Lunch")
    expect(cards).to_have_count(2)
    expect(cards.nth(0).get_by_role("radiogroup", name="Which dish?")).to_be_visible()
    expect(cards.nth(1).get_by_label("Which number?")).to_be_visible()
    expect(page.get_by_text("Another form in this conversation goes by the same name.")).to_have_count(2)
    looked_at(page, axe, screens, "form-of-one-name")


def test_a_form_from_anybody_stays_in_its_box_and_opens_on_request(
    cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    """Words without blanks, turned round and piled up; as many questions as there may be; choices that look alike."""
    long, turned = "W" * limits.FORM_TITLE_MAX_CHARACTERS, "\u202eevil\u2066" + "Z\u0334\u0335\u0336\u0337\u0338" * 20
    ada, _, _, dan = cast
    hostile = m.Form(
        "hostile",
        long,
        (
            m.FormField("a", "one", turned, required=True, choices=(long, long[:-1], "same", "sa\u200bme")),
            m.FormField("b", "one", long, choices=tuple(f"{place} {long[:150]}" for place in range(20))),
            m.FormField("c", "many", "مرحبا " * 20, choices=tuple(f"x{place}" for place in range(30)), help=turned),
            m.FormField("d", "text", "<img src=x onerror=alert(1)>", help=long),
        ),
    )
    large = m.Form(
        "large",
        "Large",
        tuple(m.FormField(f"q{place}", "text", f"Question {place}") for place in range(limits.FORM_FIELDS_MAX)),
    )
    sends(ada, "Strange forms", hostile, to=("Dan Answerer",))
    sends(ada, "A large form", large, to=("Dan Answerer",))
    page = come_in(dan)
    opens(page, dan, "Strange forms")
    strange = page.locator(".form-card")
    expect(strange.get_by_label("<img src=x onerror=alert(1)>")).to_be_visible()
    expect(strange.get_by_label("sa\\u200bme")).to_have_count(1)
    assert "\u202e" not in strange.inner_text()
    looked_at(page, axe, screens, "form-hostile")
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        wide = strange.evaluate(
            "card => [...card.querySelectorAll('*')].filter(one => !one.matches('.spoken, .spoken *') && one.getBoundingClientRect().width > card.clientWidth).length"
        )
        assert wide == 0

    opens(page, dan, "A large form")
    expect(page.locator(".filling")).to_have_count(0)
    page.get_by_role("button", name=f"Open the form: {limits.FORM_FIELDS_MAX} questions").click()
    expect(page.locator(".filling input")).to_have_count(limits.FORM_FIELDS_MAX)


def test_a_form_that_makes_no_sense_says_so_and_can_be_kept(
    town: Town, cast: Cast, come_in: ComeIn, axe: str, screens: Path
) -> None:
    ada, bob, *_ = cast
    town.do(sends_nonsense(ada))
    page = come_in(bob)
    opens(page, bob, "A riddle")
    riddle = card(page, "riddle")
    expect(riddle).to_contain_text("This form cannot be shown. 'pattern' is not understood here.")
    looked_at(page, axe, screens, "form-of-no-sense")
    with page.expect_download() as kept:
        riddle.get_by_role("link", name="Download riddle").click()
    assert b"pattern" in Path(kept.value.path()).read_bytes()


async def sends_nonsense(ada: Someone) -> None:
    """What another program may send: a form that asks for a pattern to be matched."""
    context = ada.person.engine.home.account("work").context
    writer = context.files.writer()
    writer.write(b'{"type": "object", "properties": {"x": {"type": "string", "pattern": "(a+)+$"}}}')
    stored = writer.finish()
    file = File("riddle", "form", stored.file, stored.size, stored.hash, "riddle")
    await Composing(context).send(o.Send("work", ("Bob Answerer",), "", "A riddle"), (file,))


def test_what_was_answered_is_counted(cast: Cast, come_in: ComeIn) -> None:
    """Few numbers one by one, many in ranges; days, or their months; of many choices the most chosen ones."""
    page = come_in(cast.ada)
    expect(page.get_by_role("link", name="New")).to_be_visible()

    def counted(type: str, values: list[object], **more: object) -> list[tuple[str, int]]:
        found = page.evaluate(
            """async ([question, values]) => (await import("/app/forms/figures.js")).figuresOf(
              question, values.map((value) => ({ who: "x", value }))).bars.map(({ label, count }) => [label, count])""",
            [{"name": "q", "title": "Q", "type": type, **more}, values],
        )
        return [(label, count) for label, count in found]

    assert counted("integer", [3, 1, None, 3]) == [("1", 1), ("3", 2)]
    ranges = counted("number", [*range(16), 16])
    assert ranges[0] == ("0 to 2", 2)
    assert ranges[-1] == ("14 to 16", 3)
    assert sum(count for _, count in ranges) == 17
    assert counted("yes", [True, True, False]) == [("Yes", 2), ("No", 1)]
    assert counted("date", ["2026-12-24", "2026-12-24"]) == [("Dec 24, 2026", 2)]
    assert counted("date", [f"2026-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 16)]) == [
        ("2026-01", 15),
        ("2026-02", 15),
    ]
    choices = [f"c{place}" for place in range(30)]
    assert counted("many", [["c29", "c1"], ["c29"], []], choices=choices)[:3] == [("c29", 2), ("c1", 1), ("c0", 0)]
    assert counted("text", ["a"]) == []
