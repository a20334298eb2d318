# SPDX-License-Identifier: AGPL-3.0-or-later
"""Messages, threads, people and groups as they are kept and shown (B1, B2, B3)."""

import json
import os
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, event, func, insert, select

from tests.support.history import ANNA, BELA, ME, OWN, a_file, a_message, history, id_of, posted_at
from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import answers
from tmtp_client.store import groups, messages, outbox, people, tables, threads, views


@pytest.fixture
def kept() -> Iterator[Connection]:
    with history() as connection:
        yield connection


def shown(page: models.Messages | None) -> list[int]:
    assert page is not None
    return [int(one.id, 16) for one in page.messages]


def listed(page: models.Page) -> list[int]:
    return [int(one.id, 16) for one in page.threads]


# -- messages --------------------------------------------------------------------------------------------------------
def test_a_message_is_kept_once_and_shown_as_it_came(kept: Connection) -> None:
    people.learn(kept, ANNA, "anna@outside.example", "ping", 1, via="Bridge", proof="dkim")
    sealed = json.dumps({"doubts": ["a message is missing"], "device": "D"})
    files = (a_file("list.pdf"), a_file("f.json", "", 9, kind="form", form="ffn-1", have=4, transfer="T"))
    new = a_message(1, "Olga Own Name: look", subject="Hello", suite=2, sealed=sealed, attachments=files)
    assert messages.record(kept, new, OWN)
    assert not messages.record(kept, a_message(1, "another"), OWN)
    assert messages.view(kept, id_of(1)) == models.Message(
        id=id_of(1),
        kind="message",
        state="received",
        outgoing=False,
        author=ANNA,
        alias="Anna Almond",
        thread=id_of(1),
        posted=posted_at(1),
        subject="Hello",
        text="Olga Own Name: look",
        seen=False,
        mentions=True,
        suite=2,
        doubts=("a message is missing",),
        via="Bridge",
        proof="dkim",
        attachments=(
            models.Attachment(0, "file", "list.pdf", 3, 3, "application/pdf"),
            models.Attachment(1, "form", "f.json", 9, 4, "application/json", "ffn-1"),
        ),
        plain=True,  # of one who writes from outside, and is not accepted
    )
    assert messages.view(kept, id_of(2)) is None


def test_one_s_own_words_mention_nobody(kept: Connection) -> None:
    messages.record(kept, a_message(1, "I am Olga Own Name", outgoing=True, seen=True, author=ME), OWN)
    found = messages.view(kept, id_of(1))
    assert found is not None
    assert not found.mentions


def test_an_invitation_says_to_which_group(kept: Connection) -> None:
    messages.record(kept, a_message(1, "come", kind="invitation", to=(("Orchard Team", 2),)), OWN)
    found = messages.view(kept, id_of(1))
    assert found is not None
    assert found.gid == "Orchard Team"
    thread = threads.view(kept, id_of(1))
    assert thread is not None
    assert thread.gid == ""  # it is no message to the group


def test_a_message_without_a_thread_begins_one(kept: Connection) -> None:
    new = a_message(1, kind="ping")
    messages.record(kept, messages.NewMessage(**{**{n: getattr(new, n) for n in new.__slots__}, "thread": ""}), OWN)
    assert shown(messages.page(kept, id_of(1))) == [1]


def test_a_list_says_whom_a_ping_went_to(kept: Connection) -> None:
    messages.record(kept, a_message(1, kind="ping", outgoing=True, author=ME, to=(("Anna Almond", 0),)), OWN)
    messages.record(kept, a_message(2, kind="ping", to=()), OWN)
    assert [one.last_to for one in (threads.view(kept, id_of(number)) for number in (1, 2)) if one] == [
        ("Anna Almond",),
        (),
    ]


def test_a_list_says_what_a_last_message_without_words_brings(kept: Connection) -> None:
    answer = a_file("Lunch", "f1", kind="filled", form="ffn")
    messages.record(kept, a_message(1, "Lunch?", subject="Friday", attachments=(a_file("menu.pdf", "f0"),)), OWN)
    messages.record(kept, a_message(2, " ", thread=1, attachments=(answer, a_file("b", "f2"))), OWN)
    messages.record(kept, a_message(3, "", state="sealed", attachments=(a_file("sealed message", "f3"),)), OWN)
    messages.record(kept, a_message(4, ""), OWN)
    brought = {one.id: one.last_attached for one in views.threads_by_id(kept, [id_of(n) for n in (1, 3, 4)])}
    assert brought == {
        id_of(1): models.Attachment(0, "filled", "Lunch", 3, 3, form="ffn"),
        id_of(3): None,
        id_of(4): None,
    }
    assert messages.remove(kept, [id_of(2)])
    view = threads.view(kept, id_of(1))
    assert view is not None
    assert view.last_attached is None, "its last message has words"


def test_a_large_file_comes_bit_by_bit(kept: Connection) -> None:
    files = (a_file("one", "", 9, have=0, transfer="T"), a_file("two", "", 5, have=0, transfer="U"))
    messages.record(kept, a_message(1, state="partial", attachments=files), OWN)
    assert messages.set_attachment(kept, id_of(1), 0, have=4)
    assert messages.set_attachment(kept, id_of(1), 0, have=9, file="f1")
    found = messages.view(kept, id_of(1))
    assert found is not None
    assert (found.state, found.attachments[0].have) == ("partial", 9)
    assert messages.set_attachment(kept, id_of(1), 1, have=5, file="f2")
    assert getattr(messages.view(kept, id_of(1)), "state", "") == "received"
    assert not messages.set_attachment(kept, id_of(1), 2, have=5, file="f2")


def test_what_is_removed_leaves_the_files_that_are_nobody_s_any_more(kept: Connection) -> None:
    messages.record(kept, a_message(1, attachments=(a_file("a", "f1"), a_file("b", "f2"))), OWN)
    messages.record(kept, a_message(2, attachments=(a_file("c", "f2"), a_file("d", ""))), OWN)
    assert messages.remove(kept, [id_of(1), id_of(9)]) == ["f1"]
    assert threads.view(kept, id_of(1)) is None
    assert messages.remove(kept, [id_of(2)]) == ["f2"]


def test_what_is_removed_leaves_neither_answers_nor_a_file_less_that_is_still_to_be_sent(kept: Connection) -> None:
    messages.record(kept, a_message(1, attachments=(a_file("a", "f1"), a_file("b", "f2"))), OWN)
    answers.record(kept, id_of(1), 0, "ffn", ANNA, {"name": "Anna"})
    forwarded = outbox.Content(to=((BELA, 1),), files=(outbox.File("b", "file", "f2", 3, b""),))
    outbox.enqueue(kept, "message", forwarded, 10**15, 1, os.urandom, scheduled=True)
    assert messages.remove(kept, [id_of(1)]) == ["f1"]
    assert kept.scalar(select(func.count()).select_from(tables.answer)) == 0


def test_a_message_is_called_by_its_id_or_an_end_that_is_its_alone(kept: Connection) -> None:
    for number in (0x11, 0x21, 0x31F):
        messages.record(kept, a_message(number), OWN)
    assert messages.named(kept, id_of(0x11)) == id_of(0x11)
    assert messages.named(kept, "31f") == id_of(0x31F)
    assert messages.named(kept, "1") is None
    assert messages.named(kept, "%") is None
    assert messages.named(kept, "77") is None


def test_the_latest_are_those_that_were_posted_last(kept: Connection) -> None:
    for number, minutes in ((1, 5), (2, 4), (3, 9)):
        messages.record(kept, a_message(number, posted=posted_at(minutes)), OWN)
    assert [int(one.id, 16) for one in messages.latest(kept, 2)] == [1, 3]


def test_a_thread_is_read_page_by_page(kept: Connection) -> None:
    for number in range(1, 8):
        messages.record(kept, a_message(number, thread=1, posted=posted_at(number // 2)), OWN)
    last = messages.page(kept, id_of(1), limit=3)
    assert shown(last) == [5, 6, 7]
    assert last is not None
    middle = messages.page(kept, id_of(1), before=last.before, limit=3)
    assert shown(middle) == [2, 3, 4]
    assert middle is not None
    first = messages.page(kept, id_of(1), before=middle.before, limit=3)
    assert shown(first) == [1]
    assert first is not None
    assert first.before == ""
    around = messages.page(kept, id_of(1), around=id_of(4), limit=4)
    assert shown(around) == [3, 4, 5, 6]
    assert around is not None
    assert shown(messages.page(kept, id_of(1), before=around.before)) == [1, 2]
    assert shown(messages.page(kept, id_of(1), around=id_of(99), limit=3)) == [5, 6, 7]
    assert messages.page(kept, id_of(2)) is None


def test_seen_counts_what_changed_and_knows_one_s_own_as_seen(kept: Connection) -> None:
    for number in range(1, 5):
        messages.record(kept, a_message(number, thread=1), OWN)
    messages.record(kept, a_message(5, thread=1, outgoing=True, seen=True), OWN)
    assert messages.mark_thread_seen(kept, id_of(1), id_of(2), True) == [id_of(1), id_of(2)]
    assert messages.mark_seen(kept, [id_of(2), id_of(3), id_of(9)], True) == [id_of(3)]
    assert messages.mark_thread_seen(kept, id_of(1), "", True) == [id_of(4)]
    assert sorted(messages.mark_thread_seen(kept, id_of(1), "", False)) == [id_of(number) for number in range(1, 5)]
    assert messages.mark_thread_seen(kept, id_of(1), id_of(77), True) == []


def test_totals_are_of_all_threads(kept: Connection) -> None:
    messages.record(kept, a_message(1, "Olga Own Name"), OWN)
    messages.record(kept, a_message(2, "hello", kind="ping"), OWN)
    messages.record(kept, a_message(3, "join", kind="invitation"), OWN)
    messages.record(kept, a_message(4, "seen", seen=True), OWN)
    assert threads.totals(kept) == threads.Totals(unseen=3, mentions=1, pings=2)


def test_totals_read_what_is_unseen_and_nothing_else(kept: Connection) -> None:
    asked: list[tuple[str, tuple[object, ...]]] = []

    def listen(connection: object, cursor: object, statement: str, values: tuple[object, ...], *more: object) -> None:
        asked.append((statement, values))

    event.listen(kept, "before_cursor_execute", listen)
    threads.totals(kept)
    event.remove(kept, "before_cursor_execute", listen)
    plans = [str(kept.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values).all()) for one, values in asked]
    assert len(plans) == 2
    assert "thread_unseen" in plans[0]
    assert "message_unseen" in plans[1]


# -- threads ---------------------------------------------------------------------------------------------------------
def test_lists_of_threads(kept: Connection) -> None:
    for number in range(1, 7):
        messages.record(kept, a_message(number, seen=number != 3), OWN)
    threads.set_flags(kept, id_of(1), archived=True)
    threads.set_flags(kept, id_of(2), snoozed_until_ms=1_000)
    threads.set_tag(kept, id_of(4), "later", True)

    def of(what: threads.Of, now_ms: int = 500, **given: str) -> list[int]:
        return listed(threads.list_page(kept, what, now_ms=now_ms, **given))

    assert of("inbox") == [6, 5, 4, 3]
    assert of("inbox", now_ms=1_000) == [6, 5, 4, 3, 2]  # it is time
    assert of("archived") == [1]
    assert of("snoozed") == [2]
    assert of("snoozed", now_ms=1_000) == []
    assert of("unseen") == [3]
    assert of("tag", tag_name="later") == [4]
    assert of("tag", tag_name="none") == []
    assert of("all") == [6, 5, 4, 3, 2, 1]


def test_lists_go_on_where_they_were_whatever_came_meanwhile(kept: Connection) -> None:
    for number in range(1, 6):
        messages.record(kept, a_message(number, posted=posted_at(number // 3)), OWN)
    first = threads.list_page(kept, "inbox", now_ms=0, limit=2)
    assert listed(first) == [5, 4]
    messages.record(kept, a_message(6), OWN)
    second = threads.list_page(kept, "inbox", now_ms=0, limit=2, after=first.next)
    assert listed(second) == [3, 2]
    third = threads.list_page(kept, "inbox", now_ms=0, limit=2, after=second.next)
    assert listed(third) == [1]
    assert third.next == ""


def test_pages_of_several_accounts_are_one_list(kept: Connection) -> None:
    with history() as other:
        for number in (1, 4, 5):
            messages.record(kept, a_message(number), OWN)
        for number in (2, 3, 6):
            messages.record(other, a_message(number), OWN)
        seen, after = [], ""
        while True:
            pages = [threads.list_page(one, "all", now_ms=0, after=after, limit=2) for one in (kept, other)]
            page = threads.merged(pages, 2)
            seen += listed(page)
            after = page.next
            if not after:
                break
        assert seen == [6, 5, 4, 3, 2, 1]
    assert threads.merged([], 2) == models.Page(())


def test_flags_are_told_only_when_they_change(kept: Connection) -> None:
    messages.record(kept, a_message(1), OWN)
    assert threads.set_flags(kept, id_of(1), archived=True, muted=True, encryption="on", draft=True)
    assert not threads.set_flags(kept, id_of(1), archived=True)
    assert not threads.set_flags(kept, id_of(1))
    assert not threads.set_flags(kept, id_of(2), archived=True)
    assert threads.set_tag(kept, id_of(1), "b", True)
    assert threads.set_tag(kept, id_of(1), "a", True)
    assert not threads.set_tag(kept, id_of(1), "a", True)
    assert not threads.set_tag(kept, id_of(2), "a", True)
    found = threads.view(kept, id_of(1))
    assert found is not None
    assert (found.archived, found.muted, found.encryption, found.draft) == (True, True, "on", True)
    assert found.tags == ("a", "b")
    assert threads.tags(kept) == [models.Tag("a", 1), models.Tag("b", 1)]
    assert threads.set_tag(kept, id_of(1), "a", False)
    assert not threads.set_tag(kept, id_of(1), "a", False)


def test_readers_stay_as_they_were_first_asked(kept: Connection) -> None:
    messages.record(kept, a_message(1), OWN)
    anna = models.Reader(ANNA, "Anna Almond", ME, "join us")
    assert threads.add_readers(kept, id_of(1), [anna], posted_at(1)) == [ANNA]
    again = models.Reader(ANNA, "Anna Almond", BELA, "again")
    assert threads.add_readers(kept, id_of(1), [again, models.Reader(BELA, "Béla")], posted_at(2)) == [BELA]
    assert threads.readers(kept, id_of(1)) == [anna, models.Reader(BELA, "Béla")]
    assert threads.drop_reader(kept, id_of(1), ANNA)
    assert not threads.drop_reader(kept, id_of(1), ANNA)
    found = threads.view(kept, id_of(1))
    assert found is not None
    assert found.readers == (models.Reader(BELA, "Béla"),)
    assert threads.add_readers(kept, id_of(1), [anna], posted_at(3)) == [ANNA]


def test_what_waits_is_counted_from_the_outbox(kept: Connection) -> None:
    messages.record(kept, a_message(1), OWN)
    assert not threads.recount_waiting(kept, id_of(1))
    columns = {column.name for column in tables.outbox.c} - {"number"}
    blank = {name: "" if name not in {"content", "prepared"} else b"" for name in columns}
    row = {**blank, "request_id": "r1", "thread": id_of(1), "due_ms": 0, "sent": 0, "size": 0, "at_ms": 0}
    kept.execute(insert(tables.outbox), {**row, "kind": "message", "state": "waiting"})
    assert threads.recount_waiting(kept, id_of(1))
    assert getattr(threads.view(kept, id_of(1)), "waiting", 0) == 1


@pytest.mark.parametrize(
    ("of", "by"),
    [
        ("inbox", "thread_by_state"),
        ("archived", "thread_by_state"),
        ("snoozed", "thread_snoozed"),
        ("unseen", "thread_unseen"),
        ("all", "thread_by_time"),
    ],
)
def test_no_list_reads_all_threads(kept: Connection, of: threads.Of, by: str) -> None:
    asked = threads.asked(of, now_ms=5).limit(50).compile(kept)
    values = tuple(asked.params[name] for name in asked.positiontup or ())
    plan = " ".join(str(row) for row in kept.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", values))
    assert by in plan
    assert ("TEMP B-TREE" in plan) is (of == "snoozed")  # of which there are few


# -- people and groups -----------------------------------------------------------------------------------------------
def test_people_are_known_by_uid_and_found_by_the_beginnings_of_any_alias(kept: Connection) -> None:
    assert people.learn(kept, ANNA, "Anna Almond", "introduction", 5)
    assert not people.learn(kept, ANNA, "Änne Almond", "ping", 6)
    people.learn(kept, BELA, "", "group", 7)
    people.learn(kept, ME, "Olga Own Name", "self", 8)
    people.learn(kept, "GHOST", "ghost@outside.example", "ping", 9, via="Bridge", proof="dkim")
    anna = people.view(kept, ANNA)
    assert anna == models.Person(ANNA, "Änne Almond", ("Anna Almond", "Änne Almond"), "stranger", "introduction")
    assert [one.uid for one in people.find(kept, "alm ann")] == [ANNA]
    assert [one.uid for one in people.find(kept, "ANNE")] == [ANNA]
    assert people.find(kept, "lmond") == []
    assert people.find(kept, " ") == []
    assert people.uid_of(kept, "Anna Almond") == ANNA
    assert people.uid_of(kept, BELA) == BELA
    assert people.uid_of(kept, "ghost@outside.example") == "GHOST"
    assert people.uid_of(kept, "anna almond") is None
    assert people.own_aliases(kept) == {"Olga Own Name"}
    assert {one.uid: one.stands for one in people.listed(kept)}["GHOST"] == "outside"


def test_an_alias_of_a_ghost_is_nobody_s_alias(kept: Connection) -> None:
    people.learn(kept, ANNA, "anna@inside", "ping", 1)
    people.learn(kept, "GHOST", "anna@inside", "ping", 1, via="Bridge", proof="none")
    assert people.uid_of(kept, "anna@inside") == ANNA


def test_how_people_stand_changes_once(kept: Connection) -> None:
    people.learn(kept, ANNA, "Anna Almond", "ping", 1)
    assert people.set_stands(kept, ANNA, "contact")
    assert not people.set_stands(kept, ANNA, "contact")
    assert not people.set_stands(kept, BELA, "contact")
    assert people.set_blocked(kept, ANNA, True)
    assert people.set_present(kept, ANNA, True)
    assert not people.set_present(kept, ANNA, True)
    anna = people.view(kept, ANNA)
    assert anna is not None
    assert (anna.stands, anna.blocked, anna.present) == ("contact", True, True)
    people.forget_presence(kept)
    assert not getattr(people.view(kept, ANNA), "present", True)


@pytest.mark.parametrize(
    ("seen", "compared", "trouble", "stands"),
    [("", "", "", "unseen"), ("h1", "", "", "seen"), ("h1", "h1", "", "compared"), ("h1", "h1", "forked", "trouble")],
)
def test_how_keys_stand_follows_from_what_was_seen(
    kept: Connection, seen: str, compared: str, trouble: str, stands: str
) -> None:
    people.learn(kept, ANNA, "Anna Almond", "ping", 1)
    assert getattr(people.view(kept, ANNA), "keys", "") == "none"
    for place, head in enumerate(("h0", "h1")):
        kept.execute(insert(tables.log_record), {"uid": ANNA, "place": place, "record": b"", "head": head})
    blank = {column.name: 0 if column.name.endswith("_ms") else "" for column in tables.trust.c}
    row = {**blank, "uid": ANNA, "seen_head": seen, "compared_head": compared, "trouble": trouble}
    kept.execute(insert(tables.trust), row)
    assert getattr(people.view(kept, ANNA), "keys", "") == stands


def test_groups_and_who_is_in_them(kept: Connection) -> None:
    assert groups.put(kept, "Team", "invited", "Olga Own Name", ANNA, 1)
    assert not groups.put(kept, "Team", "joined", "", "", 2)
    groups.set_member(kept, "Team", ANNA, "Anna Almond", "joined", True)
    groups.set_member(kept, "Team", BELA, "Béla Birch", "invited", False)
    groups.set_member(kept, "Team", BELA, "Béla Beech", "joined", False)
    anna, bela = models.Member(ANNA, "Anna Almond", "joined", True), models.Member(BELA, "Béla Beech", "joined")
    assert groups.view(kept, "Team") == models.Group("Team", "joined", "Olga Own Name", (anna, bela))
    assert groups.joined(kept, "Team") == [ANNA, BELA]
    assert groups.drop_member(kept, "Team", ANNA)
    assert not groups.drop_member(kept, "Team", ANNA)
    groups.replace_members(kept, "Team", [anna])
    assert [one.members for one in groups.listed(kept)] == [(anna,)]
    groups.replace_members(kept, "Team", [])
    assert groups.joined(kept, "Team") == []
    assert groups.view(kept, "Other") is None


def test_pages_are_bounded(kept: Connection) -> None:
    for number in range(limits.PAGE_MAX + 5):
        messages.record(kept, a_message(number), OWN)
    assert len(threads.list_page(kept, "all", now_ms=0, limit=10_000).threads) == limits.PAGE_MAX
    assert len(threads.list_page(kept, "all", now_ms=0, limit=-1).threads) == 1
    assert len(messages.latest(kept, 10_000)) == limits.PAGE_MAX
