# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp` day by day: find, mark, forward, ask in, groups, people, files out; each command's `--json` is read (B1)."""

import asyncio
import mailbox
import os
from collections.abc import AsyncIterator
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from tests.support.instance import TestInstance, running_instance
from tests.support.terminal import PATIENCE_S, Terminal, acquainted, joined
from tmtp_core.store.reports import ReportsWanted


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "service") as instance:
        yield instance


async def test_conversations_are_found_marked_and_put_away(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    await bob.does("send", "Ada Lovelace", "The engine weaves algebra.", "-s", "The plan")
    await bob.does("send", "Ada Lovelace", "Lunch at noon?", "-s", "Food")
    await ada.does("inbox")
    found = (await ada.does("search", "algebra", "from:bob", "--json")).json
    (hit,) = found["found"]
    assert (hit["subject"], hit["message"]["text"]) == ("The plan", "The engine weaves algebra.")
    assert "Nothing found" in (await ada.does("search", "nonsense")).out
    plan, food = "The engine weaves algebra.", "Lunch at noon?"
    for query, texts in (
        (("alge*", "--", "-lunch"), {plan}),
        (("from:Bob Builder", "-noon", "-n", "5"), {plan}),
        (("-weaves algebra", "from:bob", "-has:file", "after:2020"), {food}),
        (("to:me -in:food from:bob",), {plan}),
    ):
        got = (await ada.does("search", "--json", *query)).json
        assert {one["message"]["text"] for one in got["found"]} - {"Hello"} == texts, query
    assert (await ada.run("search", "x", "-a", "nobody")).code == 2

    id = hit["message"]["id"]
    marked = (await ada.does("mark", id[-8:], "--archive", "--mute", "--tag", "plans", "--json")).json
    assert (marked["archived"], marked["muted"], marked["tags"]) == (True, True, ["plans"])
    assert "The plan" not in (await ada.does("thread")).out
    assert "The plan" in (await ada.does("thread", "--tag", "plans")).out
    assert [one["id"] for one in (await ada.does("thread", "--of", "archived", "--json")).json] == [id]
    back = (await ada.does("mark", id, "--unarchive", "--unmute", "--untag", "plans", "--unseen", "--json")).json
    assert (back["archived"], back["muted"], back["tags"], back["unseen"]) == (False, False, [], 1)
    later = (await ada.does("mark", id, "--snooze", "3h", "--json")).json
    assert later["snoozed_until_ms"] > 0
    assert "The plan" not in (await ada.does("thread")).out
    assert "The plan" in (await ada.does("mark", id, "--snooze", "none")).out
    whole = (await ada.does("thread", id[-8:], "--json")).json
    assert [one["text"] for one in whole["messages"]] == ["The engine weaves algebra."]
    assert (await ada.does("mark", id, "--plain", "--json")).json["encryption"] == "off"
    assert (await ada.run("thread", "ffffffff")).code == 1


async def test_a_safety_number_is_held_against_what_the_other_device_shows(
    service: TestInstance, tmp_path: Path
) -> None:
    """B9: by the code of a camera, or the digits; what differs is said, and nothing is kept then."""
    ada, bob = await acquainted(service, tmp_path)
    theirs = (await bob.does("keys", "Ada Lovelace", "--json")).json["safety_number"]
    mine = (await ada.does("keys", "Bob Builder", "--json")).json["safety_number"]
    wrong = await ada.run("keys", "Bob Builder", "--shown", mine["code"])
    assert (wrong.code, "somebody else" in wrong.err) == (1, True)
    digits = await ada.run("keys", "Bob Builder", "--shown", theirs["digits"][::-1], "--json")
    assert (digits.code, digits.json["compared"]["same"], "other digits" in digits.err) == (1, False, True)
    for nonsense in ("12345", "hello", "-"):
        assert (await ada.run("keys", "Bob Builder", "--shown", nonsense)).code == 2
    assert "(you have)" not in (await ada.does("keys", "Bob Builder")).out
    assert "nothing differs" in (await ada.does("keys", "Bob Builder", "--shown", theirs["digits"])).out
    assert "(you have)" in (await ada.does("keys", "Bob Builder")).out
    again = await bob.does("keys", "Ada Lovelace", "--shown", "-", "--json", given=mine["code"] + "\n")
    assert (again.json["compared"]["same"], again.json["person"]["keys"]) == (True, "compared")


async def test_forwarding_asking_in_and_answering_all(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    carol = await joined(service, tmp_path / "carol", "Carol Shaw")
    await carol.does("ping", "Ada Lovelace", "Hello")
    await ada.does("ping", "Carol Shaw", "Hello")
    await carol.does("inbox")
    note = tmp_path / "note.txt"
    note.write_text("as agreed", "utf-8")
    sent = (await bob.does("send", "Ada Lovelace", "As agreed.", "-s", "Terms", "--attach", str(note), "--json")).json
    assert sent["sent"]
    assert (await ada.does("inbox", "--json")).json[-1]["id"] == sent["message"]
    done = await ada.does("forward", sent["message"][-8:], "--to", "Carol Shaw", "--text", "See below.")
    assert done.out == "Sent to Carol Shaw.\n"
    got = (await carol.does("inbox", "--json")).json[-1]
    assert got["subject"] == "Fwd: Terms"
    assert "See below." in got["text"]
    assert "As agreed." in got["text"]
    saved = (await carol.does("read", got["id"], "--save", str(tmp_path / "in"), "--json")).json["saved"]
    assert saved == [str(tmp_path / "in" / "note.txt")]
    assert (tmp_path / "in" / "note.txt").read_text("utf-8") == "as agreed"
    asked = await ada.does("add", sent["message"][-8:], "Carol Shaw", "--note", "Carol knows.")
    assert asked.code == 0
    await bob.does("inbox")
    answer = await ada.does("reply", sent["message"], "To both of you.", "--all")
    assert "Bob Builder" in answer.out
    assert "To both of you." in (await carol.does("inbox")).out
    assert "To both of you." in (await bob.does("inbox")).out
    assert (await ada.run("reply", (await ada.does("inbox", "--json")).json[-1]["id"], "to myself")).code == 2
    assert (await ada.run("forward", sent["message"], "ffffffff", "--to", "Carol Shaw")).code == 1


async def test_a_message_may_be_taken_back_or_leave_later(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    (await ada.does("send", "Bob Builder", "from standard input", "--undo", "1")).out.startswith("Sent")
    long = await ada.does("send", "Bob Builder", "-", given="many\nlines\n")
    assert long.out == "Sent to Bob Builder.\n"
    thinking = await ada.start("send", "Bob Builder", "something rash", "--undo", "100")
    assert thinking.stderr is not None
    assert b"Ctrl-C takes it back" in await asyncio.wait_for(thinking.stderr.readline(), PATIENCE_S)
    thinking.send_signal(2)
    _, errors = await asyncio.wait_for(thinking.communicate(), PATIENCE_S)
    assert (thinking.returncode, b"Taken back" in errors) == (130, True)
    assert (await ada.does("outbox", "--json")).json == []
    later = await ada.does("send", "Bob Builder", "happy new year", "--at", "30d")
    assert later.out.startswith("It goes out at 20")
    (waiting,) = (await ada.does("outbox", "--json")).json
    assert (waiting["state"], waiting["to"]) == ("scheduled", ["Bob Builder"])
    assert "at 20" in (await ada.does("outbox")).out
    await ada.does("outbox", "--now", waiting["id"][-8:])
    await ada.does("inbox")
    texts = [one["text"] for one in (await bob.does("inbox", "--json")).json][2:]
    assert texts == ["from standard input", "many\nlines\n", "happy new year"]
    assert (await ada.run("send", "Bob Builder", "x", "--at", "someday")).code == 2
    assert (await ada.run("send", "Bob Builder", "x", "--undo", "9999")).code == 2
    assert (await ada.run("send", "Bob Builder", "")).code == 2


async def test_people_and_groups(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    eve = await joined(service, tmp_path / "eve", "Eve Dropper")
    await eve.does("ping", "Ada Lovelace", "Let me in")
    await ada.does("inbox")
    stands = {one["alias"]: one["stands"] for one in (await ada.does("people", "--json")).json}
    assert stands == {"Bob Builder": "contact", "Eve Dropper": "asks"}
    assert "asks to write to you" in (await ada.does("people", "eve")).out
    assert (await ada.does("ignore", "Eve Dropper", "--json")).json["stands"] == "ignored"
    assert (await ada.does("block", "Eve Dropper", "--json")).json["blocked"]
    assert "blocked" in (await ada.does("people")).out
    assert not (await ada.does("unblock", "Eve Dropper", "--json")).json["blocked"]
    await _reports(service, ada)
    await ada.does("accept", "Eve Dropper", "Well then.")
    assert "Well then." in (await eve.does("inbox")).out
    assert (await ada.run("block", "Nobody Here")).code == 1
    assert "ping" in (await Terminal(tmp_path / "bob").does("people", "zzz")).out

    await ada.does("group", "invite", "Builders of Engines", "Bob Builder", "Join us")
    assert (await bob.does("group", "join", "Builders of Engines", "--json")).json["stands"] == "joined"
    assert "Builders of Engines" in (await bob.does("group", "list")).out
    await bob.does("send", "Builders of Engines", "to all of us")
    assert "to all of us" in (await ada.does("inbox")).out
    shown = (await ada.does("group", "show", "Builders of Engines", "--json")).json
    assert {one["alias"] for one in shown["members"]} == {"Ada Lovelace", "Bob Builder"}
    asks = await bob.run("group", "leave", "Builders of Engines")
    assert (asks.code, "--yes" in asks.err) == (2, True)
    assert (await bob.does("group", "leave", "Builders of Engines", "--yes", "--json")).json["stands"] == "left"
    assert (await ada.does("group", "list", "--json")).json[0]["stands"] == "joined"


async def test_all_of_it_comes_out(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    plan = tmp_path / "plan.bin"
    plan.write_bytes(os.urandom(100_000))
    await bob.does("send", "Ada Lovelace", "Here.", "-s", "The plan", "-f", str(plan))
    await ada.does("inbox")
    written = (await ada.does("export", str(tmp_path / "ada.mbox"), "--json")).json
    assert (written["messages"], written["files"]) == (3, 1)
    box = mailbox.mbox(tmp_path / "ada.mbox")
    assert "The plan" in [str(make_header(decode_header(mail["Subject"]))) for mail in box]
    box.close()
    await ada.does("export", str(tmp_path / "all"), "--format", "json")
    again = await ada.run("export", str(tmp_path / "ada.mbox"))
    assert (again.code, "already" in again.err) == (1, True)


async def test_a_form_is_asked_answered_and_gathered(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    questions = (
        "day! date Which day?",
        "dish one(soup|bread) What?",
        "n integer(0..10)",
        "with many(salt|oil)",
        "ok yes",
    )
    ask = [one for question in questions for one in ("--ask", question)]
    sent = (await ada.does("form", "write", "Bob Builder", "Please say.", "--title", "Lunch", *ask, "--json")).json
    asked = (await bob.does("inbox", "--json")).json[-1]
    assert (asked["id"], asked["text"], asked["attachments"][0]["kind"]) == (sent["message"], "Please say.", "form")
    id = asked["id"][-8:]
    shown = (await bob.does("form", "show", id)).out
    assert "Which day?" in shown
    assert "one of soup | bread" in shown
    assert "0 or more, 10 or less" in shown
    assert [one["name"] for one in (await bob.does("form", "show", id, "--json")).json["fields"]][:2] == ["day", "dish"]
    for wrong, words in (
        ((), "day! (a date such as"),
        (("dish=soup",), "must be answered"),
        (("day=2026-12-24", "n=many"), "whole number"),
        (("day=2026-12-24", "wine=red"), "no such question"),
    ):
        refused = await bob.run("form", "fill", id, *wrong)
        assert (refused.code, words in refused.err) == (2, True), (wrong, refused)
    good = ("day=2026-12-24", "dish=soup", "n=2", "with=oil|salt", "ok=no")
    assert (await bob.does("form", "fill", id, *good, "--text", "With pleasure")).out == "Sent to Ada Lovelace.\n"
    table = (await ada.does("form", "answers", id)).out
    assert "salt, oil" in table
    assert "Bob Builder" in table
    answers = (await ada.does("form", "answers", sent["message"][-8:], "--json")).json
    assert [row[-5:] for row in answers["rows"]] == [["2026-12-24", "soup", 2, ["salt", "oil"], False]]
    csv = (await ada.does("form", "answers", id, "--csv")).out
    assert csv.splitlines()[1].endswith('2026-12-24,soup,2,"salt, oil",no')
    assert "soup" in (await ada.does("form", "answers", asked["attachments"][0]["form"])).out
    assert (await ada.run("form", "answers", "nothing")).code == 1


async def test_drafts_are_begun_changed_sent_and_thrown_away(service: TestInstance, tmp_path: Path) -> None:
    ada, bob = await acquainted(service, tmp_path)
    assert "No drafts" in (await ada.does("drafts")).out
    plan = tmp_path / "plan.txt"
    plan.write_text("as agreed", "utf-8")
    begun = (await ada.does("drafts", "edit", "--text", "-", "-s", "The plan", "--json", given="Dear Bob,\n")).json
    id = begun["key"][-8:]
    early = await ada.run("drafts", "send", id)
    assert (early.code, "--to" in early.err) == (2, True)
    await ada.does("drafts", "edit", id, "--to", "Bob Builder", "--attach", str(plan))
    listed = (await ada.does("drafts")).out
    assert f"#{id}" in listed
    assert "Bob Builder" in listed
    assert "1 file" in listed
    assert (await ada.does("drafts", "send", f"#{id}")).out == "Sent to Bob Builder.\n"
    got = (await bob.does("inbox", "--json")).json[-1]
    assert (got["subject"], got["text"], got["attachments"][0]["name"]) == ("The plan", "Dear Bob,\n", "plan.txt")
    assert (await ada.does("drafts", "--json")).json == []

    answer = (await bob.does("drafts", "edit", "--reply", got["id"][-8:], "--text", "Thank", "--json")).json
    assert answer["thread"] == got["thread"]
    again = (await bob.does("drafts", "edit", "--reply", got["id"], "--text", "Thank you.", "--json")).json
    assert (again["key"], again["text"]) == (answer["key"], "Thank you.")
    await bob.does("drafts", "send", again["key"][-8:])
    assert (await ada.does("inbox", "--json")).json[-1]["thread"] == got["thread"]

    lost = (await ada.does("drafts", "edit", "--to", "Nobody Here", "-t", "Hello", "--json")).json["key"][-8:]
    unknown = await ada.run("drafts", "send", lost)
    assert (unknown.code, "Nobody Here" in unknown.err) == (1, True)
    assert (await ada.run("drafts", "delete", lost)).code == 2  # it has to be meant
    assert (await ada.does("drafts", "delete", lost, "--yes", "--json")).json == {"done": True}
    for wrong in (("edit", "ffffffff", "-t", "x"), ("send", lost)):
        assert (await ada.run("drafts", *wrong)).code == 1
    assert (await ada.does("drafts", "--json")).json == []


async def test_settings_and_accounts(service: TestInstance, tmp_path: Path) -> None:
    ada = await joined(service, tmp_path / "ada", "Ada Lovelace")
    assert (await ada.does("settings", "--json")).json["undo_s"] == 10
    assert (await ada.does("settings", "undo_s", "30", "--json")).json == {"undo_s": 30}
    assert '"mentions"' in (await ada.does("settings", "notifications", "mentions")).out
    wrong = await ada.run("settings", "undo_s", "ever")
    assert (wrong.code, "whole number of seconds" in wrong.err) == (2, True)
    assert (await ada.run("settings", "no_such_setting")).code == 2
    nothing = await ada.run("settings", "order", "")
    assert (nothing.code, "must be one of" in nothing.err) == (2, True)
    await ada.does("join", link_of(service), "--alias", "Countess of L.", "--account", "club")
    several = await ada.run("inbox")
    assert (several.code, "club, default" in several.err) == (0, False)  # there is one called default
    names = [one["name"] for one in (await ada.does("accounts", "--json")).json]
    assert names == ["club", "default"]
    assert (await ada.does("whoami", "-a", "club", "--json")).json["alias"] == "Countess of L."
    assert (await Terminal(ada.home, TMTP_PROFILE="club").does("whoami", "--json")).json["account"] == "club"
    refused = await ada.run("accounts", "leave", "club")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    await ada.does("accounts", "leave", "default", "--yes", "--json")
    assert "Countess of L." in (await ada.does("whoami")).out  # the only one needs no name
    assert (await ada.run("whoami", "-a", "default")).code == 2
    assert (await ada.run("accounts", "leave", "default", "--yes")).code == 1


def link_of(service: TestInstance) -> str:
    return f"tmtp://{service.host}:{service.port}#pin={service.spki_pin}"


async def _reports(service: TestInstance, ada: Terminal) -> None:
    """D2, D3: what is told is said before it is sent; and to block is an act of its own."""
    report = ("report", "Eve Dropper", "--reason", "spam", "The third time this week")
    asked = await ada.run(*report)
    assert asked.code == 2
    assert "are told that you report Eve Dropper (spam), and say: “The third time this week”" in asked.err
    assert await service.service.list_reports(ReportsWanted()) == []
    assert "Eve Dropper: reported, blocked" in (await ada.does(*report, "--yes", "--block")).out
    (one,) = await service.service.list_reports(ReportsWanted())
    assert (one.reporter_alias, one.reported_alias) == ("Ada Lovelace", "Eve Dropper")
    assert (one.reason, one.words) == ("spam", "The third time this week")
    assert (await ada.does("report", "Bob Builder", "--reason", "other", "--yes", "--json")).json[
        "alias"
    ] == "Bob Builder"
    too_long = await ada.run(*report[:-1], "x" * 501, "--yes")
    assert (too_long.code, "at most 500" in too_long.err) == (2, True)
    assert (await ada.run(*report[:3], "because", "--yes")).code == 2
    await ada.does("unblock", "Eve Dropper")
