# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever happens to messages, in whichever order: their threads' counts, and the search index, are what a look at all
that is kept gives (B1).
"""

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import Connection, insert, select, text

from tests.support.history import OWN, a_file, a_message, history, id_of, posted_at
from tmtp_client.store import index, messages, threads
from tmtp_client.store.tables import attachment, message, thread

TEXTS = st.sampled_from(["", "red apples", "Olga Own Name, look", "green pears 梨", "http://red.example"])
SUBJECTS = st.sampled_from(["", "fruit", "vegetables", "果物"])
NUMBERS = st.integers(1, 12)
FILES = st.lists(st.sampled_from(["list.pdf", "pear.png"]), max_size=2)
EVERYTHING = ("red", "apples", "olga", "pears", "fruit", "vegetables", "梨", "果物", "list", "png", "anna", "bela")
COLUMNS = ("subject", "text", "names", "files", "topic")


def counted(connection: Connection) -> dict[str, dict[str, Any]]:
    """What threads should be, from their messages."""
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(select(message).order_by(message.c.number)):
        nothing = {"messages": 0, "unseen": 0, "mentions": 0, "files": 0, "subject": "", "last": ("", "")}
        one = found.setdefault(row.thread, nothing)
        one["messages"] += 1
        one["unseen"] += not row.seen
        one["mentions"] += bool(not row.seen and row.mentions)
        one["files"] += len(connection.execute(select(attachment).where(attachment.c.message == row.id)).all())
        if row.subject and (row.id == row.thread or not one["subject"]):
            one["subject"] = row.subject
        if (row.posted, row.id) > one["last"]:
            one |= {"last": (row.posted, row.id), "last_text": row.text[:200], "last_alias": row.alias}
    return found


def kept(connection: Connection) -> dict[str, dict[str, Any]]:
    names = ("messages", "unseen", "mentions", "files", "subject", "last_text", "last_alias")
    return {
        row.id: {**{name: getattr(row, name) for name in names}, "last": (row.last_posted, row.last_message)}
        for row in connection.execute(select(thread))
    }


def looked_up(connection: Connection) -> dict[tuple[str, str], list[str]]:
    """In which messages the index has which word, column by column, and which keys."""
    asked = [(word, f'{{{column}}} : "{word}"') for word in EVERYTHING for column in COLUMNS]
    keys = [index.EVERY, *(index.key("h", what) for what in ("file", "link", "image")), index.key("g", "The Team")]
    asked += [(key, f'"{key}"') for key in keys]
    found = text("SELECT m.id FROM search JOIN message AS m ON m.number = search.rowid WHERE search MATCH :asked")
    return {one: sorted(connection.scalars(found, {"asked": one[1]})) for one in asked}


def looked_up_afresh(connection: Connection) -> dict[tuple[str, str], list[str]]:
    """The same in an index that is made of what is kept now."""
    with history() as other:
        for table in (message, thread, attachment):
            rows = [dict(row) for row in connection.execute(select(table)).mappings()]
            if rows:
                other.execute(insert(table), rows)
        for id in other.scalars(select(thread.c.id)).all():
            index.put_thread(other, id)
        return looked_up(other)


class History(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.connection = self.stack.enter_context(history())

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(
        number=NUMBERS,
        of=NUMBERS,
        minutes=st.integers(0, 5),
        words=TEXTS,
        subject=SUBJECTS,
        files=FILES,
        seen=st.booleans(),
        group=st.booleans(),
    )
    def comes(
        self, number: int, of: int, minutes: int, words: str, subject: str, files: list[str], seen: bool, group: bool
    ) -> None:
        before = messages.view(self.connection, id_of(number))
        new = a_message(
            number,
            words,
            thread=of,
            posted=posted_at(minutes),
            subject=subject,
            seen=seen,
            to=(("The Team", 2),) if group else (),
            attachments=tuple(map(a_file, files)),
        )
        assert messages.record(self.connection, new, OWN) is (before is None)
        if before is not None:
            assert messages.view(self.connection, id_of(number)) == before

    @rule(number=NUMBERS, words=TEXTS, subject=SUBJECTS, files=FILES)
    def is_opened(self, number: int, words: str, subject: str, files: list[str]) -> None:
        known = messages.view(self.connection, id_of(number)) is not None
        attachments = tuple(map(a_file, files))
        assert known is messages.replace_content(
            self.connection, id_of(number), subject=subject, text=words, attachments=attachments, own=OWN, suite=2
        )

    @rule(number=NUMBERS, of=NUMBERS)
    def moves(self, number: int, of: int) -> None:
        messages.change(self.connection, id_of(number), thread=id_of(of))

    @rule(number=NUMBERS, alias=st.sampled_from(["Anna Almond", "Bela Birch"]))
    def is_from_another(self, number: int, alias: str) -> None:
        messages.change(self.connection, id_of(number), alias=alias)

    @rule(numbers=st.lists(NUMBERS, max_size=4))
    def goes(self, numbers: list[int]) -> None:
        messages.remove(self.connection, [id_of(number) for number in numbers])

    @rule(numbers=st.lists(NUMBERS, max_size=4), seen=st.booleans())
    def is_seen(self, numbers: list[int], seen: bool) -> None:
        messages.mark_seen(self.connection, [id_of(number) for number in numbers], seen)

    @rule(of=NUMBERS, upto=st.none() | NUMBERS, seen=st.booleans())
    def all_is_seen(self, of: int, upto: int | None, seen: bool) -> None:
        messages.mark_thread_seen(self.connection, id_of(of), "" if upto is None else id_of(upto), seen)

    @rule(of=NUMBERS, archived=st.booleans())
    def is_archived(self, of: int, archived: bool) -> None:
        threads.set_flags(self.connection, id_of(of), archived=archived)

    @invariant()
    def counts_are_what_is_kept(self) -> None:
        if hasattr(self, "connection"):
            assert kept(self.connection) == counted(self.connection)

    @invariant()
    def the_index_is_what_is_kept(self) -> None:
        if hasattr(self, "connection"):
            assert looked_up(self.connection) == looked_up_afresh(self.connection)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=settings.default.max_examples // 10, stateful_step_count=25, deadline=None)


def test_no_statement_of_a_message_is_left_when_its_transaction_is_undone() -> None:
    with history() as connection:
        savepoint = connection.begin_nested()
        messages.record(connection, a_message(1, "red apples"), OWN)
        savepoint.rollback()
        assert kept(connection) == {}
        assert not any(looked_up(connection).values())


@pytest.mark.parametrize("late", [True, False])
def test_a_group_is_known_by_whichever_message_says_it(late: bool) -> None:
    with history() as connection:
        for number in (2, 1) if late else (1, 2):
            to = (("The Team", 2),) if number == 1 else ()
            messages.record(connection, a_message(number, thread=1, to=to), OWN)
        found = threads.view(connection, id_of(1))
        assert found is not None
        assert found.gid == "The Team"
        assert len(looked_up(connection)[index.key("g", "The Team"), f'"{index.key("g", "The Team")}"']) == 2
