# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators do with an intake: let in, keep out, decide on what is held, follow the way out (C2, C5, D2)."""

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from bridges.smtp.control import models as s
from bridges.smtp.control.evidence import decoded
from gateway.console.rendering import part
from tests.browser.conftest import Enter
from tests.browser.test_journeys import press, tab_to
from tests.support.gateway import member
from tests.support.mail_world import HOSTILE_TEXT, MailWorld
from tmtp_core.wire.address import parse_address


@pytest.fixture
def world(mail_world: MailWorld) -> MailWorld:
    return mail_world


def notice(page: Page, text: str) -> None:
    """What the last act came to, as the page says it."""
    expect(page.locator("main .notice").filter(has_text=text).first).to_be_visible()


def choose(page: Page, action: str) -> None:
    """By keyboard, from the beginning of the page."""
    tab_to(page, action)
    page.keyboard.press("Enter")


def mail_page(world: MailWorld, page: Page, number: int) -> None:
    page.goto(f"{world.url}/smtp/intake/held/{number}")


def state_of(world: MailWorld, number: int) -> s.HeldMail:
    detail: s.HeldDetail = world.smtp("held.show", number=number)
    return detail.mail


def released(world: MailWorld) -> int:
    """How many held mails the service has taken, by the log of decisions. (What waits for the desk is no measure: mail of
    a month ago goes back meanwhile.)
    """
    page: s.DecisionPage = world.smtp("decisions.list", search="held.decide", limit=500)
    return sum(one.outcome == "delivered" for entry in page.entries for one in decoded(entry.body).decided)


# -- held mail -------------------------------------------------------------------------------------------------------
def test_a_held_mail_is_found_and_released_by_keyboard(world: MailWorld, enter_mail: Enter) -> None:
    number = world.hold("once@supplier.example", "Let me in once")
    page = enter_mail()
    choose(page, "SMTP")
    page.wait_for_url("**/smtp")
    page.goto(f"{world.url}/smtp/intake")
    expect(page.get_by_role("list").filter(has_text="for your decision")).to_be_visible()
    tab_to(page, page.get_by_role("link", name="Decide").inner_text().strip())
    page.keyboard.press("Enter")
    page.wait_for_url("**/held")
    choose(page, "Let me in once")
    page.wait_for_url(f"**/held/{number}")
    expect(page.locator(".mail-text")).to_contain_text("Good morning.")
    assert page.locator(".mail-text a").count() == 0
    before = released(world)
    choose(page, "Release once")
    notice(page, "delivered for support@example.org")
    mail = state_of(world, number)
    assert (mail.state, mail.decided_by) == ("released", "console:Ada Lovelace")
    assert released(world) == before + 1
    assert world.smtp("senders.list", search="once@supplier.example") == []


def test_a_sender_is_vetted_from_a_held_mail_by_keyboard_and_writes_from_then_on(
    world: MailWorld, enter_mail: Enter
) -> None:
    number = world.hold("weekly@supplier.example", "The list of this week")
    page = enter_mail()
    mail_page(world, page, number)
    expect(page.get_by_role("checkbox", name="Signed by supplier.example")).to_be_checked()
    expect(page.get_by_role("checkbox", name="From a machine of the domain")).not_to_be_checked()
    expect(page.get_by_text("Which person there wrote it")).to_be_visible()
    tab_to(page, "Owner, end and reason of the record")
    page.keyboard.press("Enter")
    tab_to(page, "Who answers for it (optional)")
    page.keyboard.press("Control+A")
    page.keyboard.type("Grace Hopper")
    choose(page, "Vet and release")
    notice(page, "is released")
    record: s.Sender = world.smtp("senders.list", search="weekly@supplier.example")[0]
    assert record.proof == [s.Proof(dkim="supplier.example")]
    assert (record.address, record.owner, record.state) == ("weekly@supplier.example", "Grace Hopper", "active")
    assert record.expires_ms is not None
    assert world.send("weekly@supplier.example", "The list of next week").startswith("250")
    assert world.send("weekly@supplier.example", "Forged", sign=False).startswith("550")


def test_the_suggested_proof_is_changed_before_a_whole_domain_is_vetted(world: MailWorld, enter_mail: Enter) -> None:
    number = world.hold("first@list.example", "From a list")
    page = enter_mail()
    mail_page(world, page, number)
    page.get_by_role("checkbox", name="Signed by list.example").uncheck()
    page.get_by_role("button", name="Vet and release").click()
    expect(page.get_by_role("alert")).to_contain_text("at least one way")
    assert state_of(world, number).state == "held"
    page.get_by_role("checkbox", name="Signed by list.example").check()
    page.get_by_role("checkbox", name="From a machine of the domain").check()
    page.get_by_role("radio", name="everybody at list.example").check()
    page.get_by_role("button", name="Vet and release").click()
    notice(page, "is released")
    record: s.Sender = world.smtp("senders.list", search="list.example")[0]
    assert (record.address, record.domain) == ("", "list.example")
    assert record.proof == [s.Proof(dkim="list.example"), s.Proof(spf="aligned")]


def test_a_sender_is_vetted_released_and_invited_by_keyboard_and_joins(world: MailWorld, enter_mail: Enter) -> None:
    number = world.hold("grace@newcustomer.example", "May I come in?")
    page = enter_mail()
    mail_page(world, page, number)
    choose(page, "Vet, release and invite")
    page.wait_for_url("**/correspondents/grace%40newcustomer.example")
    notice(page, "is released")
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    expect(page.locator("[aria-current=step]")).to_contain_text("Invited")
    link = page.locator("#link").inner_text()

    async def join() -> None:
        async with member(world.gateway, "public", "Grace of Newcustomer", parse_address(link).invite):
            pass

    world.do(join())
    one: s.Correspondent = world.smtp("correspondents.show", address="grace@newcustomer.example")
    assert one.invitation is not None


def test_a_mail_is_rejected_by_keyboard_after_a_question(world: MailWorld, enter_mail: Enter) -> None:
    number = world.hold("prize@lottery.example", "You have won", sign=False, envelope="bounces@lottery.example")
    page = enter_mail()
    mail_page(world, page, number)
    expect(page.get_by_text("Nothing shows whose mail this is.")).to_be_visible()
    expect(page.get_by_role("button", name="Vet and release")).to_have_count(0)
    tab_to(page, "Reject…")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Reject this mail?")).to_be_visible()
    page.keyboard.press("Escape")
    assert state_of(world, number).state == "held"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Why (optional)").focus()
    page.keyboard.type("an advertisement")
    choose(page, "Reject")
    notice(page, "is rejected")
    assert state_of(world, number).state == "rejected"
    mail_page(world, page, number)
    expect(page.get_by_text("not kept after the decision")).to_be_visible()
    expect(page.get_by_role("form", name="Decide")).to_have_count(0)


def test_of_two_administrators_the_second_reads_who_was_first(
    world: MailWorld, enter_mail: Enter, context: BrowserContext
) -> None:
    number = world.hold("both@supplier.example", "For whoever is first")
    ada = enter_mail()
    pages = [ada, context.new_page(), context.new_page()]
    for page in pages:
        mail_page(world, page, number)
    assert context.browser is not None
    elsewhere = context.browser.new_context()
    grace = elsewhere.new_page()
    grace.goto(world.link("Grace Hopper", "administrator"))
    grace.get_by_role("button", name="Sign in").click()
    mail_page(world, grace, number)
    before = released(world)
    grace.get_by_role("button", name="Release once").click()
    notice(grace, "is released")
    for page, action in zip(pages, ("Vet and release", "Release once", "Reject"), strict=True):
        if action == "Reject":
            page.get_by_role("link", name="Reject…").click()
            press(page, "Reject")
        else:
            page.get_by_role("button", name=action, exact=True).click()
        notice(page, "Nothing was done: this mail is released already, by Grace Hopper.")
    assert released(world) == before + 1
    assert state_of(world, number).decided_by == "console:Grace Hopper"
    assert world.smtp("senders.list", search="both@supplier.example") == []
    elsewhere.close()


def test_a_form_of_another_session_decides_nothing(world: MailWorld, enter_mail: Enter) -> None:
    number = world.hold("csrf@supplier.example", "Whose form is this?")
    page = enter_mail()
    answer = page.request.post(
        f"{world.url}/smtp/intake/held/{number}",
        form={"csrf": "planted", "action": "release"},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status == 403
    assert state_of(world, number).state == "held"


def test_what_strangers_write_is_text_and_nothing_else(world: MailWorld, enter_mail: Enter) -> None:
    """D2: markup, templates and reversed text in subjects, names of files and text are shown as they are written."""
    page = enter_mail()
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    for mail in world.smtp("held.list", state="held", limit=100):
        mail_page(world, page, mail.number)
        assert page.locator("main script, main img, main iframe, .mail-text a").count() == 0
        assert "\u202e" not in page.content()
        if mail.subject != "The papers":
            expect(page.locator(".mail-text")).to_contain_text(HOSTILE_TEXT)
    page.goto(f"{world.url}/smtp/intake/held")
    expect(page.get_by_role("rowheader").filter(has_text="<script>alert(1)</script>").first).to_be_visible()
    papers = next(one for one in world.smtp("held.list", state="held", limit=100) if one.subject == "The papers")
    mail_page(world, page, papers.number)
    row = page.get_by_role("row").filter(has_text="annual report")
    expect(row).to_contain_text("Dangerous")
    expect(page.get_by_role("row").filter(has_text="onerror=alert(1)")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="offer.pdf")).to_contain_text("none known")
    assert said == []


# -- senders ---------------------------------------------------------------------------------------------------------
def test_a_sender_is_vetted_by_a_form_that_says_what_is_wrong_where(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail()
    page.goto(f"{world.url}/smtp/intake/senders")
    page.get_by_role("link", name="Vet a sender").click()
    wrong = {
        "Whose mail": ("not an address@", "no mail address"),
        "A DKIM signature of the domain": ("not a domain", "no domain"),
        "A network that it comes from": ("192.0.2.0/99", "192.0.2.0/99"),
        "The key of a client certificate": ("sha256:short", "no pin"),
    }
    for label, (value, _) in wrong.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Vet the sender").click()
    for label, (value, text) in wrong.items():
        field = page.get_by_label(label)
        expect(field).to_have_value(value)
        expect(field).to_have_attribute("aria-invalid", "true")
        described = field.get_attribute("aria-describedby")
        assert described is not None
        expect(page.locator(f"#{described}")).to_contain_text(text)
    page.get_by_label("Whose mail").fill("Printer@Office.Example")
    page.get_by_label("A DKIM signature of the domain").fill("")
    page.get_by_label("The key of a client certificate").fill("")
    page.get_by_label("A network that it comes from").fill("127.0.0.0/8")
    page.get_by_label("To these recipients only").fill("elsewhere@example.org")
    page.get_by_label("Mails a day at most").fill("many")
    page.get_by_role("button", name="Vet the sender").click()
    expect(page.locator("#quota-hint")).to_contain_text("whole number")
    page.get_by_label("Mails a day at most").fill("20")
    page.get_by_role("button", name="Vet the sender").click()
    expect(page.locator("#routes-hint")).to_contain_text(
        "there is no route for elsewhere@example.org", ignore_case=True
    )
    page.get_by_label("To these recipients only").fill("support@example.org")
    page.get_by_label("Why it is let in").fill("the printer on the second floor")
    page.get_by_label("Good for").select_option("90")
    page.get_by_role("button", name="Vet the sender").click()
    notice(page, "may write now")
    expect(page.get_by_text("the printer on the second floor").first).to_be_visible()
    record: s.Sender = world.smtp("senders.list", search="office.example")[-1]
    assert record.routes == ["support@example.org"]
    assert record.quota_per_day == 20
    assert world.send("printer@office.example", "Out of paper", sign=False).startswith("250")
    page.goto(f"{world.url}/smtp/intake/senders/new")
    page.get_by_label("Whose mail").fill("printer@office.example")
    page.get_by_label("A network that it comes from").fill("127.0.0.0/8")
    page.get_by_role("button", name="Vet the sender").click()
    expect(page.get_by_role("alert")).to_contain_text(f"record {record.number} already")


def test_a_record_is_suspended_resumed_and_withdrawn_with_its_history(world: MailWorld, enter_mail: Enter) -> None:
    made: s.Sender = world.smtp(
        "senders.vet", s.VetSender(address="hand@supplier.example", proof=[s.Proof(dkim="supplier.example")])
    )
    page = enter_mail()
    page.goto(f"{world.url}/smtp/intake/senders/{made.number}")
    page.get_by_role("link", name="Suspend…").click()
    page.get_by_label("Why (optional)").fill("two of them wrote nonsense")
    press(page, "Suspend")
    notice(page, "is suspended")
    expect(page.get_by_text("two of them wrote nonsense").first).to_be_visible()
    assert world.send("hand@supplier.example").startswith("451")
    page.get_by_role("link", name="Let in again…").click()
    press(page, "Let in again")
    notice(page, "is let in again")
    assert world.send("hand@supplier.example").startswith("250")
    page.reload()
    for what in ("Vetted", "Suspended", "Let in again", "Put off", "Delivered"):
        expect(page.get_by_role("region", name="What happened lately")).to_contain_text(what)
    page.get_by_role("link", name="Withdraw…").click()
    press(page, "Withdraw")
    notice(page, "is withdrawn")
    expect(page.get_by_role("link", name="Suspend…")).to_have_count(0)
    page.goto(f"{world.url}/smtp/intake/senders?state=withdrawn")
    expect(page.get_by_role("rowheader", name="hand@supplier.example")).to_be_visible()


def test_a_record_of_the_settings_file_says_that_it_is_changed_there(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail()
    page.goto(f"{world.url}/smtp/intake/senders/1")
    expect(page.get_by_text("This record stands in the settings file.")).to_be_visible()
    expect(page.get_by_role("link", name="Withdraw…")).to_have_count(0)
    expect(page.get_by_role("link", name="Suspend…")).to_be_visible()


# -- correspondents, report ------------------------------------------------------------------------------------------
def test_a_correspondent_is_moved_and_invited(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail()
    page.goto(f"{world.url}/smtp/intake/correspondents")
    page.get_by_role("link", name="teller2@bank.example").click()
    page.get_by_role("button", name="Invite").click()
    notice(page, "There is an invitation for teller2@bank.example")
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    expect(page.locator("#link")).to_contain_text("tmtp://")
    page.get_by_label("To the step").select_option("refused")
    page.get_by_label("Why").fill("has moved")
    page.get_by_role("button", name="Move").click()
    notice(page, "SMTP refused")
    expect(page.get_by_role("img", name="QR code")).to_have_count(0)
    assert world.send("teller2@bank.example").startswith("550")
    page.goto(f"{world.url}/smtp/intake/correspondents?state=refused")
    expect(page.get_by_role("rowheader", name="teller2@bank.example")).to_be_visible()


def test_the_report_shows_and_gives_away_the_same_figures(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail()
    page.goto(f"{world.url}/smtp/intake/report")
    made: s.Report = world.smtp("report")
    assert made.zero_date is not None
    assert made.weekly
    expect(
        page.get_by_role("img", name=re.compile(f"Senders a week.*falls to none on {made.zero_date}"))
    ).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Senders a day"))).to_be_visible()
    month = next(one for one in made.windows if one.days == 30)
    expect(page.get_by_role("row").filter(has_text="30 days").first).to_contain_text(str(month.messages))
    expect(page.get_by_role("img", name=f"Persons: {month.human}, Machines: {month.machine}").first).to_be_visible()
    left = page.get_by_role("region", name="Who is left").get_by_role("row")
    expect(left).to_have_count(len(made.residue) + 1)
    with page.expect_download() as got:
        page.get_by_role("link", name="All as JSON").click()
    assert got.value.suggested_filename == "smtp-intake-report.json"
    told = json.loads(got.value.path().read_text("utf-8"))
    assert told["zero_date"] == made.zero_date
    assert told["windows"] == [
        json.loads(json.dumps({f: getattr(one, f) for f in one.__struct_fields__})) for one in made.windows
    ]
    with page.expect_download() as got:
        page.get_by_role("link", name="What came as CSV").click()
    assert got.value.suggested_filename == "smtp-intake-windows.csv"
    rows = list(csv.DictReader(io.StringIO(got.value.path().read_text("utf-8"))))
    assert {row["days"]: row["messages"] for row in rows}["30"] == str(month.messages)


# -- decisions -------------------------------------------------------------------------------------------------------
def test_a_decision_is_found_with_the_steps_that_led_to_it(world: MailWorld, enter_mail: Enter) -> None:
    world.send("unknown@nowhere.example", to="sales@example.org", sign=False)
    page = enter_mail()
    page.goto(f"{world.url}/smtp/intake/decisions")
    page.get_by_label("Search").fill("unknown@nowhere.example")
    page.get_by_role("button", name="Search").click()
    entries = page.get_by_role("region", name="Entries").get_by_role("listitem").filter(has_text="unknown@")
    expect(entries.first).to_contain_text("Refused")
    entries.first.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(entries.first.locator(".trace").first).to_contain_text("has no vetting record")
    page.get_by_role("link", name="Check that it is whole").click()
    expect(page.get_by_text("The log is whole.")).to_be_visible()
    expect(page.get_by_label("Search")).to_have_value("unknown@nowhere.example")


def test_everything_on_an_intake_works_without_a_script(world: MailWorld, context: BrowserContext) -> None:
    numbers = [world.hold(f"plain{n}@supplier.example", f"Without a script {n}") for n in range(3)]
    assert context.browser is not None
    plain = context.browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    page.goto(world.link("Ada Lovelace"))
    page.get_by_role("button", name="Sign in").click()
    mail_page(world, page, numbers[0])
    page.get_by_role("button", name="Release once").click()
    notice(page, "is released")
    mail_page(world, page, numbers[1])
    page.get_by_role("link", name="Reject…").click()
    page.get_by_role("button", name="Reject").click()
    notice(page, "is rejected")
    mail_page(world, page, numbers[2])
    page.get_by_role("button", name="Vet, release and invite").click()
    expect(page.locator("#link")).to_contain_text("tmtp://")
    page.goto(f"{world.url}/smtp/intake/report")
    expect(page.get_by_role("img", name=re.compile("Senders a day"))).to_be_visible()
    plain.close()
    assert [state_of(world, one).state for one in numbers] == ["released", "rejected", "released"]


# -- who may what ----------------------------------------------------------------------------------------------------
def test_an_auditor_looks_and_a_helper_does_not(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail("An Auditor", "auditor")
    for path in (
        "",
        "/senders",
        "/senders/1",
        "/correspondents",
        "/correspondents/teller0%40bank.example",
        "/report",
        "/decisions",
    ):
        answer = page.goto(f"{world.url}/smtp/intake{path}")
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("main form[method=post], main a[href$=new]").count() == 0, path
    expect(page.get_by_role("link", name="Held mail")).to_have_count(0)
    for path in ("/held", "/held/1", "/senders/new", "/senders/1/suspend"):
        answer = page.goto(f"{world.url}/smtp/intake{path}")
        assert answer is not None
        assert answer.status == 403, path
    link: s.Correspondent = world.smtp("correspondents.show", address="teller3@bank.example")
    page.goto(f"{world.url}/smtp/intake/correspondents/teller3%40bank.example")
    assert link.link
    assert link.link not in page.content()


# -- when something is wrong ------------------------------------------------------------------------------------------
def test_an_intake_that_does_not_run_says_so_and_what_becomes_of_mail(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail()
    page.goto(f"{world.url}/smtp")
    page.get_by_role("link", name="quiet").click()
    page.wait_for_url("**/smtp/quiet")
    taken_out = world.call(lambda: world.gateway.bridges.pop("quiet"))
    try:
        answer = page.goto(f"{world.url}/smtp/quiet/senders")
        assert answer is not None
        assert answer.status == 503
        expect(page.get_by_role("heading", name="The intake does not answer")).to_be_visible()
        expect(page.get_by_text("does not run")).to_be_visible()
        expect(page.get_by_text("No mail is lost")).to_be_visible()
    finally:
        world.call(lambda: world.gateway.bridges.update(quiet=taken_out))
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_text("Nobody may write yet")).to_be_visible()


@contextmanager
def forged(world: MailWorld, body: bytes) -> Iterator[int]:
    """The newest entry says something else, for the length of the block: what keeps the log from it is taken out."""
    file = world.folder / "data" / "bridges" / "intake" / "bridge.sqlite3"

    def write(number: int, body: bytes) -> None:
        with closing(sqlite3.connect(file, timeout=10)) as database, database:
            guards = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in guards:
                database.execute(f"DROP TRIGGER {name}")
            database.execute("UPDATE decision SET body = ? WHERE number = ?", (body, number))
            for _, statement in guards:
                database.execute(statement)

    with closing(sqlite3.connect(file, timeout=10)) as database:
        newest = "SELECT number, body FROM decision ORDER BY number DESC LIMIT 1"
        number, before = database.execute(newest).fetchone()
    write(number, body)
    try:
        yield number
    finally:
        write(number, before)


def test_a_log_that_somebody_has_changed_is_said_to_be(world: MailWorld, enter_mail: Enter) -> None:
    page = enter_mail("An Auditor", "auditor")
    with forged(world, b'{"kind":"act","by":"nobody","act":"senders.vet","target":"forged@x.example"}') as number:
        page.goto(f"{world.url}/smtp/intake/decisions?check=1")
        expect(page.get_by_role("alert")).to_contain_text(f"Entry {number} is the first that is not as it was written")
    page.reload()
    expect(page.get_by_text("The log is whole.")).to_be_visible()


def test_an_entry_that_cannot_be_read_does_not_hide_the_others(world: MailWorld, enter_mail: Enter) -> None:
    """Whoever has changed the log may have put anything there."""
    page = enter_mail()
    with forged(world, b'{"kind":"nothing"}'):
        page.goto(f"{world.url}/smtp/intake/decisions")
        entries = page.get_by_role("region", name="Entries").locator("summary")
        expect(entries.first).to_contain_text("Not as it was written")
        assert entries.count() > 20


def test_who_was_invited_unvetted_and_unheard_is_not_said_to_be_either(
    mail_world: MailWorld, enter_mail: Enter
) -> None:
    mail_world.smtp("correspondents.invite", address="fresh@elsewhere.example")
    page = enter_mail()
    for address, some in (
        ("fresh@elsewhere.example", ["Invited"]),
        ("teller3@bank.example", ["Seen", "Vetted", "Invited"]),
    ):
        page.goto(f"{mail_world.url}/smtp/intake/correspondents/{part(address)}")
        assert page.locator(".steps .some strong").all_inner_texts() == some
