# SPDX-License-Identifier: AGPL-3.0-or-later
"""Searches find what is there, and nothing else; whatever is asked is no error (B1)."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.support.history import ANNA, BELA, ME, OWN, a_file, a_message, history, id_of, posted_at
from tmtp_client import limits
from tmtp_client.api.models import Found
from tmtp_client.store import groups, messages, people, threads
from tmtp_client.store.search import Filter, Hit, Hits, find, merged, parse
from tmtp_client.store.words import MARK_BEGIN, MARK_END, Phrase

DAY_MIN = 24 * 60


@pytest.fixture
def kept() -> Iterator[Connection]:
    with history() as connection:
        people.learn(connection, ME, "Olga Own Name", "self", 1)
        people.learn(connection, ANNA, "Anna Almond", "ping", 1)
        people.learn(connection, BELA, "Béla Birch", "ping", 1)
        groups.put(connection, "Orchard Team", "joined", "Olga Own Name", "", 1)
        for message in (
            a_message(1, "Apples are red, see https://apples.example", subject="Fruit in autumn"),
            a_message(
                2, "Pears are green", thread=1, author=BELA, alias="Béla Birch", attachments=(a_file("pear.png"),)
            ),
            a_message(3, "My answer about pears", thread=1, author=ME, outgoing=True, to=((ANNA, 1), (BELA, 1))),
            a_message(4, "The minutes: apple apples, Äpfel", subject="Meeting", to=(("Orchard Team", 2),)),
            a_message(5, "来週の会議の資料です。ﾘﾝｺﾞも", posted=posted_at(40 * DAY_MIN)),
            a_message(6, "Please fill", attachments=(a_file("survey", kind="form", form="f"), a_file("Übersicht.pdf"))),
        ):
            messages.record(connection, message, OWN)
        threads.set_flags(connection, id_of(4), archived=True)
        threads.set_tag(connection, id_of(1), "Important things", True)
        yield connection


def ids(connection: Connection, query: str) -> set[int]:
    return {int(hit.found.message.id, 16) for hit in find(connection, parse(query)).hits}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("apples", {1, 4}),
        ("APPLES green", set()),
        ("apple", {4}),
        ("appl*", {1, 4}),
        ("apfel", {4}),
        ('"are red"', {1}),
        ('"red are"', set()),
        ("pears -green", {3}),
        ('are -"are red"', {2}),
        ("-apples", {2, 3, 5, 6}),
        ("bela", {2}),
        ("png", {2}),
        ("ubersicht", {6}),
        ("autumn", {1, 2, 3}),  # all of the thread
        ("会議", {5}),
        ("議", {5}),
        ("会議の資料", {5}),
        ("資料会議", set()),
        ("りんご", {5}),
        ("来週　会議", {5}),
        ("from:anna", {1, 4, 5, 6}),
        ("from:béla", {2}),
        ('from:"bela birch"', {2}),
        (f"from:{BELA}", {2}),
        ("from:me", {3}),
        ("to:bela", {3}),
        ("to:me", {1, 2, 4, 5, 6}),
        ("to:orchard", {4}),
        ("-from:anna", {2, 3}),
        ("-to:me", {3}),
        ("in:fruit", {1, 2, 3}),
        ('in:"fruit in autumn" pears', {2, 3}),
        ("in:orchard", {4}),
        ("-in:fruit", {4, 5, 6}),
        ("in:inbox apples", {1}),
        ("in:archive", {4}),
        ("in:archive apples", {4}),
        ("-in:archive", {1, 2, 3, 5, 6}),
        ("has:file", {2, 6}),
        ("has:form", {6}),
        ("has:link", {1}),
        ("has:image", {2}),
        ("has:file -has:image", {6}),
        ("after:2025-02", {5}),
        ("before:2025-02", {1, 2, 3, 4, 6}),
        ("before:2025", set()),
        ("after:2026", set()),
        ("after:2025 before:2025/02/01 apples", {1, 4}),
        ("-before:2025-02", {5}),
        ("tag:important", set()),
        ('tag:"important things"', {1, 2, 3}),
        ('tag:"IMPORTANT things" green', {2}),
        ('-tag:"important things" apples', {4}),
        ("", set()),
        ("   ", set()),
        ("!!! ***", set()),
    ],
)
def test_a_query_finds(kept: Connection, query: str, found: set[int]) -> None:
    assert ids(kept, query) == found


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("from:nobody", 'Nobody here is called "nobody".'),
        ("to:nobody", 'Nobody here, and no group, is called "nobody".'),
        ("tag:none", 'There is no tag "none".'),
        ("has:everything", '"has:everything": known are file, form, link and image.'),
        ("after:tomorrow", '"after:tomorrow" is no date; a date is 2025, 2025-03 or 2025-03-31.'),
        ("after:2025-02-30", '"after:2025-02-30" is no date; a date is 2025, 2025-03 or 2025-03-31.'),
        ('from:""', '"from:" stands without a name.'),
        ('"are red', "A quotation mark has no other one: what follows it is taken as one phrase."),
    ],
)
def test_what_is_not_understood_is_said(kept: Connection, query: str, problem: str) -> None:
    assert find(kept, parse(query)).problem == problem


def test_what_is_no_operator_is_words(kept: Connection) -> None:
    assert ids(kept, "https://apples.example") == {1}
    assert ids(kept, "minutes:apple") == {4}
    assert parse("has:everything").wanted == (Phrase(("has", "everything")),)


def test_an_unknown_name_that_is_left_out_leaves_out_nobody(kept: Connection) -> None:
    assert ids(kept, "apples -from:nobody") == {1, 4}


def test_days_begin_where_the_person_is() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert parse("after:2025-03-01", tokyo).filters == (Filter("after", "2025-02-28T15:00:00.000Z", False),)
    assert parse("after:2025.3.1").filters == (Filter("after", "2025-03-01T00:00:00.000Z", False),)
    assert parse("before:0001", tokyo).problem  # before all time
    assert parse("before:0000").problem


def test_the_device_s_own_days_begin_as_its_clock_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Budapest")
    time.tzset()
    try:
        assert parse("after:2025-07-01", None).filters == (Filter("after", "2025-06-30T22:00:00.000Z", False),)
        assert parse("after:2025-01-01", None).filters == (Filter("after", "2024-12-31T23:00:00.000Z", False),)
        assert parse("after:0001", None).problem
    finally:
        monkeypatch.undo()
        time.tzset()


def test_searches_end(kept: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEARCH_RANKED_MAX", 3)
    for query in ("from:anna", "after:2025", "-zzz"):
        result = merged([find(kept, parse(query), limit=2)], limit=2)
        assert (len(result.found), result.more) == (2, True)
        result = merged([find(kept, parse(query), limit=4)], limit=2, skip=2)
        assert (len(result.found), result.more) == (1, False)


def test_typists_quotation_marks_and_wide_signs_are_signs() -> None:
    assert parse("“are red” ｆｒｏｍ").wanted == (Phrase(("are", "red")), Phrase(("from",)))
    assert parse("from：anna").filters == (Filter("from", "anna", False),)
    assert parse("appl＊").wanted == (Phrase(("appl",), prefix=True),)


def test_a_word_in_the_subject_is_worth_more_than_in_the_text_and_else_the_newer_comes_first() -> None:
    with history() as connection:
        messages.record(connection, a_message(1, "plum " + "filler " * 20), OWN)
        messages.record(connection, a_message(2, "other " * 20, subject="plum"), OWN)
        messages.record(connection, a_message(3, "plum " + "filler " * 20), OWN)
        for number in range(4, 40):
            messages.record(connection, a_message(number, "something else"), OWN)
        hits = find(connection, parse("plum")).hits
        assert [int(hit.found.message.id, 16) for hit in hits] == [2, 3, 1]


def test_what_is_found_comes_in_pages(kept: Connection) -> None:
    first = find(kept, parse("from:anna"), account="one", limit=3)
    second = find(kept, parse("from:anna"), account="one", limit=3, skip=3)
    assert first.more
    assert not second.more
    every = [hit.found.message.id for hit in first.hits + second.hits]
    assert every == [id_of(number) for number in (6, 5, 4, 1)]
    assert {hit.found.account for hit in first.hits} == {"one"}


def test_found_messages_show_their_subject_and_what_matched(kept: Connection) -> None:
    (hit,) = find(kept, parse("green")).hits
    assert hit.found.subject == "Fruit in autumn"
    assert hit.found.snippet == f"Pears are {MARK_BEGIN}green{MARK_END}"
    assert hit.found.message.attachments[0].name == "pear.png"


def test_of_long_texts_the_beginning_is_given() -> None:
    with history() as connection:
        messages.record(connection, a_message(1, "word " * limits.SNIPPET_SCAN_MAX), OWN)
        (hit,) = find(connection, parse("word")).hits
        assert len(hit.found.message.text) == limits.SNIPPET_SCAN_MAX
        whole = messages.view(connection, id_of(1))
        assert whole is not None
        assert len(whole.text) == 5 * limits.SNIPPET_SCAN_MAX


def test_messages_that_came_late_are_found_by_their_dates(kept: Connection) -> None:
    messages.record(kept, a_message(9, "apples of old", posted=posted_at(-DAY_MIN)), OWN)
    assert ids(kept, "before:2025") == {9}
    assert ids(kept, "apples before:2025") == {9}
    assert ids(kept, "apples after:2025") == {1, 4}
    assert ids(kept, "apples -after:2025") == {9}


def test_threads_of_many_messages_narrow_a_search(monkeypatch: pytest.MonkeyPatch, kept: Connection) -> None:
    monkeypatch.setattr(limits, "SEARCH_NAMED_MAX", 2)
    assert ids(kept, 'tag:"important things" green') == {2}
    assert ids(kept, 'tag:"important things"') == {1, 2, 3}


def test_an_operator_that_fits_too_many_says_so(monkeypatch: pytest.MonkeyPatch, kept: Connection) -> None:
    monkeypatch.setattr(limits, "QUERY_NAMES_MAX", 1)
    people.learn(kept, "ANNE", "Anna Another", "ping", 1)
    assert find(kept, parse("from:anna")).problem == '"from:anna" fits too many names; some are left out.'


def test_long_queries_are_cut_and_say_so() -> None:
    assert "first 1000 characters" in parse("word " * 300).problem
    query = parse("w " * 100)
    assert len(query.wanted) == limits.QUERY_ITEMS_MAX
    assert "first 32 words" in query.problem


def test_several_accounts_are_searched_as_one(kept: Connection) -> None:
    one = find(kept, parse("from:anna"), account="one", limit=3)
    two = find(kept, parse("from:bela"), account="two", limit=3)
    result = merged([one, two], limit=2)
    assert result.more
    assert [found.message.id for found in result.found] == [id_of(5), id_of(6)]  # the later
    rest = merged([find(kept, parse("from:anna"), account="one", limit=9), two], limit=9, skip=2)
    assert [(found.account, found.message.id) for found in rest.found] == [
        ("one", id_of(4)),
        ("two", id_of(2)),
        ("one", id_of(1)),
    ]
    assert not rest.more


def test_the_better_comes_first_whichever_account_it_is_in() -> None:
    message = messages_view()
    good, bad = (Hit(score, "2025", Found(name, message, "", "")) for score, name in ((-3.0, "a"), (-1.0, "b")))
    assert [one.account for one in merged([Hits((bad,), problem="p"), Hits((good,), problem="p")], limit=5).found] == [
        "a",
        "b",
    ]
    assert merged([Hits(problem="p"), Hits(problem="p"), Hits(problem="q")], limit=5).problem == "p q"


def messages_view() -> object:
    with history() as connection:
        messages.record(connection, a_message(1), OWN)
        return messages.view(connection, id_of(1))


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    query=st.lists(
        st.text(max_size=8)
        | st.sampled_from(
            (
                *("-", '"', "*", ":", "AND", "OR", "NOT", "NEAR(", "(", ")", "{subject}", "^", "+", "'", ";", "%", "_"),
                *("from:", "to:me", "in:", "-in:", "has:", "tag:", "before:", "after:2025", "--", '-"', '"*', "\\"),
                *("\0", "\ue000m", "会"),
            )
        ),
        max_size=8,
    )
)
def test_nothing_that_is_asked_is_an_error(query: list[str]) -> None:
    connection = SHARED[0]
    for between in ("", " "):
        asked = parse(between.join(query))
        found = find(connection, asked)
        assert len(found.hits) <= 50
        again = find(connection, asked)
        assert found == again


@pytest.fixture(autouse=True, scope="module")
def shared() -> Iterator[None]:
    """One history for all that hypothesis asks."""
    with history() as connection:
        messages.record(connection, a_message(1, "Apples 会議 and OR not", subject="from"), OWN)
        SHARED[:] = [connection]
        yield
        SHARED.clear()


SHARED: list[Connection] = []


# -- against a naive search ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kept:
    """A message of the naive model."""

    number: int
    subject: str
    text: str
    file: str


LATIN = st.sampled_from(["red", "reds", "tree", "Tree", "été", "ETE", "a1"])
UNSPACED = st.text("会議の資料", min_size=1, max_size=4)
TEXTS = st.lists(LATIN | UNSPACED, max_size=5).map(" ".join)
ITEMS = st.one_of(
    st.tuples(st.just("word"), LATIN),
    st.tuples(st.just("part"), UNSPACED),
    st.tuples(st.just("prefix"), st.sampled_from(["r", "re", "red", "t", "e", "a"])),
    st.tuples(st.just("phrase"), st.lists(LATIN, min_size=2, max_size=2).map(" ".join)),
)
ACCENTS = str.maketrans("éÉ", "ee")


def plain(text: str) -> str:
    return text.translate(ACCENTS).lower()


def naive(kind: str, value: str, kept: Kept) -> bool:
    """Whether a message has it: looked for in the texts themselves."""
    value = plain(value)
    for column in (kept.subject, kept.text, kept.file):
        text = plain(column)
        words = re.findall(r"[a-z0-9]+", text)
        if kind == "word" and value in words:
            return True
        if kind == "part" and any(value in run for run in re.findall("[会議の資料]+", text)):
            return True
        if kind == "prefix" and any(word.startswith(value) for word in words):
            return True
        if kind == "phrase" and re.search(rf"(?:^|[ ]){value}(?:$|[ ])", text):
            return True
    return False


@settings(max_examples=settings.default.max_examples // 2, deadline=None)
@given(
    texts=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=8),
    changed=st.lists(st.tuples(st.integers(1, 8), TEXTS), max_size=3),
    gone=st.sets(st.integers(1, 8), max_size=2),
    wanted=st.lists(ITEMS, max_size=2),
    unwanted=st.lists(ITEMS, max_size=2),
)
def test_a_search_finds_what_a_naive_one_does(
    texts: list[tuple[str, str, str]],
    changed: list[tuple[int, str]],
    gone: set[int],
    wanted: list[tuple[str, str]],
    unwanted: list[tuple[str, str]],
) -> None:
    written = {
        "word": "{}",
        "part": "{}",
        "prefix": "{}*",
        "phrase": '"{}"',
    }
    with history() as connection:
        model = {}
        for number, (subject, text, file) in enumerate(texts, 1):
            model[number] = Kept(number, subject, text, file)
            attachments = (a_file(file),)
            new = a_message(number, text, subject=subject, alias="", attachments=attachments)
            messages.record(connection, new, frozenset())
        for number, text in changed:
            if number in model:
                model[number] = Kept(number, model[number].subject, text, model[number].file)
                messages.change(connection, id_of(number), text=text)
        messages.remove(connection, [id_of(number) for number in gone])
        query = " ".join(
            [written[kind].format(value) for kind, value in wanted]
            + ["-" + written[kind].format(value) for kind, value in unwanted]
        )
        expected = {
            number
            for number, one in model.items()
            if number not in gone
            and query
            and all(naive(*item, one) for item in wanted)
            and not any(naive(*item, one) for item in unwanted)
        }
        assert ids(connection, query) == expected
        hits = find(connection, parse(query)).hits
        for hit in hits:
            matched = any(naive(*item, Kept(0, "", hit.found.message.text, "")) for item in wanted)
            assert (MARK_BEGIN in hit.found.snippet) == matched
