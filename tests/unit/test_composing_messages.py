# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person writes is judged while he is there to hear of it (B1, D2)."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.account_context import UID, Clock, bare_context
from tmtp_client import limits
from tmtp_client.api import models, operations
from tmtp_client.api.problems import ProblemError
from tmtp_client.engine import drafts, forwarding, staging
from tmtp_client.engine.arrival import Arrival
from tmtp_client.engine.composing import Composing
from tmtp_client.engine.context import Context
from tmtp_client.store import groups, messages, outbox, people, threads
from tmtp_client.store.database import Database
from tmtp_client.store.kept_files import kept_files
from tmtp_client.store.messages import NewAttachment, NewMessage
from tmtp_client.vault.files import Files, FileWriter
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead, Subscriber

BOB, EVE = "2" * 32, "3" * 32
THREAD = "00000000000000aa"


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[Context]:
    """Ada's account, who knows Bob and a chess club."""
    clock = Clock()
    context = bare_context(clock)
    database = Database(tmp_path, bytes(32))
    await database.open()
    context.database = database
    context.files = Files(tmp_path / "files", bytes(32), context.random_bytes)

    def known(c):  # type: ignore[no-untyped-def]
        people.learn(c, BOB, "Bob Builder", "ping", clock())
        people.learn(c, EVE, "Eve Example", "ping", clock())
        groups.put(c, "The Chess Club", "joined", "Ada Lovelace", "", clock())
        heard(c, THREAD, BOB, "Bob Builder", "What do you think?", subject="Plans")
        threads.add_readers(
            c, THREAD, [forwarding.models.Reader(BOB, "Bob Builder"), forwarding.models.Reader(UID, "Ada Lovelace")], ""
        )

    await database.write(known)
    yield context
    await database.close()


def heard(c, id: str, author: str, alias: str, text: str, subject: str = "", kind: str = "message") -> None:  # type: ignore[no-untyped-def]
    outgoing = author == UID
    state = "sent" if outgoing else "received"
    new = NewMessage(
        id,
        kind,  # type: ignore[arg-type]
        outgoing,
        author,
        alias,
        True,
        (),
        THREAD if kind == "message" else "",
        subject,
        text,
        f"2026-{id}",
        0,
        state,  # type: ignore[arg-type]
        True,
    )
    assert messages.record(c, new, frozenset())


async def kept(context: Context) -> list[outbox.Content]:
    """What waits, as it will be sent."""

    def read(c):  # type: ignore[no-untyped-def]
        return [entry.content for one in outbox.waiting(c) if (entry := outbox.find(c, one.request)) is not None]

    return await context.database.read(read)


def send(**fields: object) -> operations.Send:
    return operations.Send("test", **{"text": "Hello", **fields})  # type: ignore[arg-type]


async def test_a_new_thread_names_its_readers_for_existing_clients(context: Context) -> None:
    await Composing(context).send(send(to=("Bob Builder", "The Chess Club"), subject=" Tonight "))
    (one,) = await kept(context)
    assert one.to == ((BOB, 1), ("The Chess Club", 3))
    assert (one.subject, one.thread) == ("Tonight", "")
    assert [(cc.who, cc.whouid, cc.byuid, cc.date, cc.note, cc.subscribe) for cc in one.cc] == [
        ("Ada Lovelace", UID, UID, ".", "author", True),
        ("Bob Builder", BOB, UID, ".", "", True),
        ("The Chess Club", "The Chess Club", UID, ".", "", True),
    ]


async def test_a_reply_goes_to_the_readers_in_the_thread_and_leaves_its_subject_out(context: Context) -> None:
    await Composing(context).send(send(reply=THREAD, subject="Plans"))
    (one,) = await kept(context)
    assert (one.to, one.thread, one.subject, one.cc) == (((BOB, 1),), THREAD, "", ())


async def test_a_reply_to_a_ping_begins_a_thread(context: Context) -> None:
    await context.database.write(lambda c: heard(c, "00000000000000bb", BOB, "Bob Builder", "Hi", kind="ping"))
    await Composing(context).send(send(reply="00000000000000bb"))
    (one,) = await kept(context)
    assert (one.to, one.thread, len(one.cc)) == (((BOB, 1),), "", 2)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"to": ()}, "needs somebody"),
        ({"to": ("Carol Nobody",)}, "ping them first"),
        ({"to": ("Bob Builder",), "text": " \n"}, "a text or a file"),
        ({"to": ("Bob Builder",), "subject": "a\nb"}, "one line"),
        ({"to": ("Bob Builder",), "subject": "x" * 301}, "at most 300"),
        ({"to": ("Bob Builder",), "text": "half \ud83d"}, "half a character"),
        ({"to": ("Bob Builder",), "delay_s": -1}, "to be undone"),
        ({"to": ("Bob Builder",), "files": ("nothing",)}, "no file"),
        ({"reply": "ffff"}, "no message"),
        ({"reply": THREAD, "to": ("Eve Example",)}, "ask them in"),
    ],
)
async def test_what_makes_no_sense_is_said_at_once(context: Context, fields: dict[str, object], says: str) -> None:
    with pytest.raises(ProblemError, match=says):
        await Composing(context).send(send(**fields))
    assert await kept(context) == []


@pytest.mark.parametrize(
    ("text", "fits"), [("é" * 140, True), ("é" * 141, False), ("😀" * 70, True), ("😀" * 71, False)]
)
async def test_a_ping_has_140_utf_16_units(context: Context, text: str, fits: bool) -> None:
    if fits:
        await Composing(context).ping("Bob Builder", text)
    else:
        with pytest.raises(ProblemError, match="at most 140"):
            await Composing(context).ping("Bob Builder", text)


async def test_two_files_of_one_name_get_two_names(context: Context, tmp_path: Path) -> None:
    staged = []
    for octets in (b"one", b"two"):
        (tmp_path / "a.txt").write_bytes(octets)
        staged.append((await staging.stage(context, tmp_path / "a.txt")).file)
    await Composing(context).send(send(to=("Bob Builder",), files=tuple(staged)))
    (one,) = await kept(context)
    assert [file.name for file in one.files] == ["a.txt", "a (2).txt"]
    with pytest.raises(ProblemError, match="needs this file"):
        await staging.drop(context, staged[0])


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\plan.txt", "plan.txt"),
        ("invoice\u202efdp.exe", "invoice_fdp.exe"),
        ("x" * 300 + ".tar", "x" * 196 + ".tar"),
        ("", "attachment"),
    ],
)
def test_a_file_name_is_only_a_name(given: str, name: str) -> None:
    assert staging.file_name(given) == name


async def test_a_file_that_cannot_be_taken_in_is_closed(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(files: Files) -> FileWriter:
        raise OSError(errno.ENOSPC, "the disk is full")

    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    monkeypatch.setattr(Files, "writer", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="full"):
        await staging.stage(context, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_pipe_is_no_file(context: Context, tmp_path: Path) -> None:
    import os  # noqa: PLC0415 - for this alone

    os.mkfifo(tmp_path / "pipe")
    async with asyncio.timeout(60):
        with pytest.raises(ProblemError, match="it is no file"):
            await staging.stage(context, tmp_path / "pipe")


# -- who may make this account say its words again -------------------------------------------------------------------
def asking(author: str, thread: str = THREAD) -> Arrival:
    cc = (Subscriber("Mallory", "9" * 32, "Eve", author, ".", "", subscribe=True),)
    event = m.Notify(id="00000000000000cc", from_=author, posted="2026", datalen=0, postid="00000000000000cb")
    return Arrival(event, 0, PostHead(threadid=thread, cc=cc))


@pytest.mark.parametrize(("author", "follows"), [(BOB, True), (EVE, False)], ids=["a reader", "a stranger"])
async def test_only_a_reader_brings_in_others_to_whom_one_confirms(
    context: Context, author: str, follows: bool
) -> None:
    await context.database.write(lambda c: heard(c, "00000000000000ab", UID, "Ada Lovelace", "My secret plan"))
    took = await context.database.write(
        lambda c: forwarding.noted(c, context, asking(author), "00000000000000cb") is not None
    )
    confirmations = await context.database.read(
        lambda c: [row.kind for row in c.execute(outbox.select(outbox.outbox)) if row.kind == "confirmation"]
    )
    assert (took, len(confirmations)) == (follows, int(follows))
    readers = await context.database.read(lambda c: {one.alias for one in threads.readers(c, THREAD)})
    assert ("Mallory" in readers) is follows


async def test_a_copy_takes_no_messages_place(context: Context) -> None:
    """Whoever claims an id in a copy, the message that really has it still comes."""
    text = forwarding.thread_copy.write(
        "00000000000000dd", [forwarding.thread_copy.Copied("00000000000000ee", UID, "Ada", "2026", "", "I owe Eve")], []
    ).decode()
    event = m.Delivery(id="00000000000000df", from_=EVE, posted="2026", datalen=1, notify=1)
    arrival = Arrival(event, 0, PostHead(threadid="00000000000000dd", copies=True), text)
    assert await context.database.write(lambda c: forwarding.copied(c, context, arrival)) == 1

    def look(c):  # type: ignore[no-untyped-def]
        view = messages.view(c, "00000000000000df-0")
        assert view is not None
        assert (view.state, view.verified, view.outgoing) == ("unconfirmed", False, False)
        assert messages.view(c, "00000000000000ee") is None

    await context.database.read(look)


async def test_a_stranger_cannot_put_a_copy_into_a_thread(context: Context) -> None:
    text = forwarding.thread_copy.write(
        THREAD, [forwarding.thread_copy.Copied("00000000000000ee", BOB, "Bob", "2026", "", "I owe Eve")], []
    ).decode()
    event = m.Delivery(id="00000000000000df", from_=EVE, posted="2026", datalen=1, notify=1)
    arrival = Arrival(event, 0, PostHead(threadid=THREAD, copies=True), text)
    with pytest.raises(ValueError, match="does not read this thread"):
        await context.database.write(lambda c: forwarding.copied(c, context, arrival))


# -- limits ----------------------------------------------------------------------------------------------------------
async def test_nothing_is_written_that_no_recipient_would_read(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    composing = Composing(context)
    for due_ms in (1 << 62, 1 << 63, 1 << 80):
        with pytest.raises(ProblemError, match="next five years"):
            await composing.send(send(to=("Bob Builder",), due_ms=due_ms))
    with pytest.raises(ProblemError, match="half a character"):
        await composing.add(operations.AddReaders("test", THREAD, ("Eve Example",), "\ud800"))
    monkeypatch.setattr(limits, "PAYLOAD_HEAD_MAX_BYTES", limits.POST_HEAD_MARGIN_BYTES + 100)
    with pytest.raises(ProblemError, match="too many people, files or messages"):
        await composing.send(send(to=("Bob Builder",), subject="x" * 100))
    monkeypatch.setattr(limits, "RECIPIENTS_MAX", 1)
    with pytest.raises(ProblemError, match="at most 1 people"):
        await composing.add(operations.AddReaders("test", THREAD, ("Eve Example",), "note"))
    assert await kept(context) == []


async def test_a_forward_has_no_more_files_than_a_message_may_and_none_is_hashed_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = b"h" * 32

    def two_files(c):  # type: ignore[no-untyped-def]
        new = [NewAttachment("file", f"{number}.txt", "", 1, f"f{number}", 1, hash=hashed) for number in range(2)]
        messages.replace_content(c, THREAD, subject="Plans", text="x", attachments=new, own=frozenset())

    await context.database.write(two_files)
    asked = operations.Forward("test", THREAD, (THREAD,), ("Eve Example",), "")
    await Composing(context).forward(asked)
    (one,) = await kept(context)
    assert [file.hash for file in one.files] == [hashed, hashed]
    monkeypatch.setattr(limits, "ATTACHMENTS_MAX", 1)
    with pytest.raises(ProblemError, match="at most 1 files"):
        await Composing(context).forward(asked)


async def test_a_forward_has_no_more_messages_than_are_read(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COPIED_MAX", 0)
    with pytest.raises(ProblemError, match="it takes 0 messages at most"):
        await Composing(context).forward(operations.Forward("test", THREAD, (THREAD,), ("Eve Example",), ""))


async def test_a_copy_has_no_more_messages_than_are_read(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COPIED_MAX", 0)
    with pytest.raises(ProblemError, match="more than 0 messages"):
        await Composing(context).add(operations.AddReaders("test", THREAD, ("Eve Example",), ""))


async def test_an_alias_like_a_uid_takes_nobodys_mail(context: Context) -> None:
    await context.database.write(lambda c: people.learn(c, "9" * 32, BOB, "ping", 1))
    await Composing(context).send(send(to=(BOB,)))
    (one,) = await kept(context)
    assert one.to == ((BOB, 1),)


async def test_a_file_that_was_handed_over_and_never_sent_goes(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    forgotten, drafted, waiting = [(await staging.stage(context, path)).file for _ in range(3)]
    await context.database.write(
        lambda c: drafts.save(c, context.at(), models.Draft("new-1", text="x", files=(drafted,)))
    )
    await Composing(context).send(send(to=("Bob Builder",), files=(waiting,), due_ms=context.clock() + 10**10))
    now_ms = context.clock() + limits.STAGED_DAYS * 86_400_000
    assert await context.database.write(lambda c: staging.expire(c, now_ms)) == 0
    assert await context.database.write(lambda c: staging.expire(c, now_ms + 1)) == 1
    keep = await context.database.read(kept_files)
    assert keep == {drafted, waiting}
    assert context.files.sweep(keep) == 1
    assert forgotten not in keep
