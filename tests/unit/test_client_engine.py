# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine between a scripted service and a history: what comes is kept, what waits is sent, once each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from tests.support.client_peer import POSTED, PeerLink, ScriptedPeer, delivery_event, ping_event, scripted_peer
from tmtp_client import limits
from tmtp_client.engine.engine import Engine, safe_file_name
from tmtp_client.engine.history import History, Identity, Outgoing, Recorded, StoredFile
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import Attached, PostHead, decode_post_head, encode_post_head, text_size

ADA_UID = "A" * 32


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_FIRST_S", 0.01)


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[ScriptedPeer]:
    async with scripted_peer(tmp_path) as peer:
        yield peer


class Device:
    """Ada's device with its engine running, and the service's end of its link."""

    def __init__(self, history: History, engine: Engine, link: PeerLink) -> None:
        self.history = history
        self.engine = engine
        self.link = link

    async def receive(self, event: m2.StoredEvent, data: bytes = b"") -> Recorded | None:
        """Deliver one message, wait for its ack; what is in the history then."""
        await self.link.send(event, data)
        request, _ = await self.link.request()
        assert isinstance(request, m.Ack)
        assert request.id == event.id
        return self.history.message(event.id)


@asynccontextmanager
async def device(peer: ScriptedPeer, folder: Path) -> AsyncIterator[Device]:
    endpoint = peer.endpoint
    history = History(folder / "history.sqlite3")
    identity = Identity(
        ADA_UID, "N" * 40, "Ada Lovelace", endpoint.host, endpoint.port, endpoint.pin, None, "Test Site"
    )
    async with Engine(history, identity).running() as engine:
        link = await peer.link()
        await link.greet()
        try:
            yield Device(history, engine, link)
        finally:
            await link.close()
    history.close()


def post(head: PostHead, text: bytes = b"", *files: bytes) -> tuple[bytes, int]:
    """The data of a post, and its datahead."""
    start = encode_post_head(head)
    return start + text + b"".join(files), len(start)


def contents(files: list[StoredFile]) -> list[bytes]:
    """What the attachments hold."""
    return [Path(file.path).read_bytes() for file in files]


# -- receiving -------------------------------------------------------------------------------------------------------
async def test_a_ping_is_kept_and_makes_its_sender_known(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(ping_event(7, b"hello <b>"), b"hello <b>")
        assert kept is not None
        assert (kept.kind, kept.alias, kept.text, kept.outgoing) == ("ping", "Ada Lovelace", "hello <b>", False)
        assert ada.history.contact("Ada Lovelace") == "U" * 32


async def test_a_post_is_kept_with_its_attachments(peer: ScriptedPeer, tmp_path: Path) -> None:
    files = (b"\x00" * 200_000, b"", b"x")
    names = ("u:plan.pdf", "u:empty", "f:form")
    attach = tuple(Attached(name, len(file)) for name, file in zip(names, files, strict=True))
    data, datahead = post(PostHead(threadid="", alias="Bob", subject="The plan", attach=attach), b"Here", *files)
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(delivery_event(7, len(data), datahead), data)
        assert kept is not None
        assert (kept.subject, kept.text, kept.thread) == ("The plan", "Here", kept.id)
        stored = ada.history.files(kept.id)
        assert contents(stored) == list(files)
        assert stored[0].name == "plan.pdf"


async def test_the_name_in_a_payload_is_only_a_claim(peer: ScriptedPeer, tmp_path: Path) -> None:
    """D1: what the sender calls himself names nobody; only what the service checked does."""
    data, datahead = post(PostHead(threadid="", alias="Bob Builder"), b"it is me")
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(delivery_event(7, len(data), datahead), data)
        assert kept is not None
        assert kept.alias != "Bob Builder"
        assert "Bob Builder" in kept.alias
        assert ada.history.contact("Bob Builder") is None
        await ada.receive(ping_event(8, b"x"), b"x")
        kept = await ada.receive(delivery_event(9, len(data), datahead), data)
        assert kept is not None
        assert kept.alias == "Ada Lovelace"  # as the service said when that uid pinged


async def test_the_name_that_the_service_has_verified_is_the_one_that_is_shown(
    peer: ScriptedPeer, tmp_path: Path
) -> None:
    """Whatever the payload says (D1); and it names a contact, to whom one can write."""
    data, datahead = post(PostHead(threadid="", alias="Bob Builder"), b"it is me")
    async with device(peer, tmp_path) as ada:
        verified = structs.replace(delivery_event(7, len(data), datahead), alias="Mallory Mal")
        kept = await ada.receive(verified, data)
        assert kept is not None
        assert kept.alias == "Mallory Mal"
        assert ada.history.contact("Mallory Mal") == "U" * 32
        assert ada.history.contact("Bob Builder") is None


async def test_who_writes_from_outside_is_marked_as_that(peer: ScriptedPeer, tmp_path: Path) -> None:
    """By the service's mark, whatever the bridge put into the payload; and nobody takes it for a contact (C2)."""
    data, datahead = post(PostHead(threadid="", alias="Bob Builder"), b"pay this")
    async with device(peer, tmp_path) as ada:
        via = m.Via("intake", "orders@partner.example", "network")
        marked = structs.replace(delivery_event(7, len(data), datahead), alias="orders@partner.example", via=via)
        kept = await ada.receive(marked, data)
        assert kept is not None
        assert kept.alias == "orders@partner.example (by SMTP)"
        assert ada.history.contacts() == []


async def test_what_comes_twice_is_kept_once_and_acknowledged_twice(peer: ScriptedPeer, tmp_path: Path) -> None:
    data, datahead = post(PostHead(threadid="", attach=(Attached("u:a", 3),)), b"text", b"abc")
    async with device(peer, tmp_path) as ada:
        for _ in range(2):
            await ada.receive(delivery_event(7, len(data), datahead), data)
        assert len(ada.history.latest(10)) == 1
        assert len(list((tmp_path / "attachments").iterdir())) == 1


@pytest.mark.parametrize(
    ("datahead", "data"),
    [
        (4, b"{}}}"),
        (2, b"[]"),
        (30, b'{"attach":[{"name":"u:a","size":99}]}'[:30]),
        (37, b'{"attach":[{"name":"u:a","size":99}]}'),
        (15, b'{"alias":"\xff\xff\xff"}...'),
        (1_000, b"[" * 1_000),
    ],
)
async def test_a_head_that_makes_no_sense_stops_nothing(
    peer: ScriptedPeer, tmp_path: Path, datahead: int, data: bytes
) -> None:
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(delivery_event(7, len(data), datahead), data)
        assert kept is not None
        assert "cannot be read" in kept.text
        (file,) = ada.history.files(kept.id)
        assert contents([file]) == [data]  # acknowledged, so the service has it no more
        assert await ada.receive(ping_event(8, b"x"), b"x") is not None


async def test_my_other_device_shows_what_i_sent(peer: ScriptedPeer, tmp_path: Path) -> None:
    data, datahead = post(PostHead(threadid="", alias="Ada Lovelace"), b"sent elsewhere")
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(delivery_event(7, len(data), datahead, from_=ADA_UID), data)
        assert kept is not None
        assert kept.outgoing
        sync, datahead = post(PostHead(nodesync=True), b"state")
        assert await ada.receive(delivery_event(8, len(sync), datahead, from_=ADA_UID), sync) is None


async def test_heads_of_existing_clients_are_understood(peer: ScriptedPeer, tmp_path: Path) -> None:
    """They write names in any case, null for what is empty, and no size for an empty file."""
    head = (
        b'{"Alias":"Bob Builder","ThreadId":"","Subject":"Plan","Cc":null,'
        b'"Attach":[{"Name":"u:plan.txt","Size":3},{"Name":"u:empty","Ffn":""}]}'
    )
    data = head + b"Here" + b"abc"
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(delivery_event(7, len(data), len(head)), data)
        assert kept is not None
        assert (kept.subject, kept.text) == ("Plan", "Here")
        assert "Bob Builder" in kept.alias
        files = ada.history.files(kept.id)
        assert [(file.name, file.size) for file in files] == [("plan.txt", 3), ("empty", 0)]
        assert contents(files) == [b"abc", b""]


async def test_a_note_is_kept_like_a_post(peer: ScriptedPeer, tmp_path: Path) -> None:
    data, datahead = post(PostHead(threadid=f"{5:016x}"), b"Carol joins us")
    event = m.Notify(
        id=f"{7:016x}", from_="U" * 32, posted=POSTED, datalen=len(data), datahead=datahead, postid=f"{6:016x}"
    )
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(event, data)
        assert kept is not None
        assert (kept.text, kept.thread) == ("Carol joins us", f"{5:016x}")


async def test_only_my_own_devices_sync_with_me(peer: ScriptedPeer, tmp_path: Path) -> None:
    data, datahead = post(PostHead(nodesync=True), b"unseen")
    async with device(peer, tmp_path) as ada:
        kept = await ada.receive(delivery_event(7, len(data), datahead), data)
        assert kept is not None
        assert kept.text == "unseen"


@pytest.mark.parametrize("identifier", ["../../../escaped", "/tmp/escaped", "", "7", "0" * 15 + "G", "\u0000" * 16])
async def test_an_id_that_is_none_writes_nowhere(peer: ScriptedPeer, tmp_path: Path, identifier: str) -> None:
    """D5: whoever breaks into a service must not write files on its members' devices."""
    data, datahead = post(PostHead(attach=(Attached("u:a.desktop", 3),)), b"", b"abc")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    async with device(peer, tmp_path / "deep" / "er") as ada:
        event = m.Delivery(id=identifier, from_="U" * 32, posted=POSTED, datalen=len(data), datahead=datahead)
        await ada.link.send(event, data)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(ada.link.request(), 10.0)
        assert ada.history.latest(10) == []
        assert files_below(tmp_path, "*a.desktop") == []


def files_below(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))


async def test_members_of_a_group_become_known(peer: ScriptedPeer, tmp_path: Path) -> None:
    """The service checks that the alias is the joiner's; an invitation's names somebody else than its sender."""
    async with device(peer, tmp_path) as ada:
        for number, (act, alias, newalias) in enumerate(
            (("invite", "Carol the Guest", None), ("join", "Bob Builder", None), ("alias", "Bob Builder", "Bob Again"))
        ):
            await ada.receive(
                m.MemberEvent(
                    id=f"{number:016x}",
                    from_="U" * 32,
                    posted=POSTED,
                    datalen=0,
                    act=act,
                    gid="Builders of Engines",
                    alias=alias,
                    newalias=newalias,
                )
            )
        assert ada.history.contacts() == [("Bob Again", "U" * 32), ("Bob Builder", "U" * 32)]


@pytest.mark.parametrize(
    ("claimed", "kept"),
    [
        ("u:plan.pdf", "plan.pdf"),
        ("u:../../etc/passwd", "passwd"),
        ("u:a\\b\\c.txt", "c.txt"),
        ("u:..", "attachment"),
        ("u:", "attachment"),
        ("u:.bashrc", "bashrc"),
        ("u:gpj.\u202eexe", "gpj._exe"),
        ("u:a\x00b\nc", "a_b_c"),
        ("u:Straße 日本.txt", "Straße 日本.txt"),
    ],
)
def test_an_attachment_has_a_name_and_nothing_but_a_name(claimed: str, kept: str) -> None:
    assert safe_file_name(claimed) == kept


@pytest.mark.parametrize("length", [300, 1_000_000])
def test_a_long_name_keeps_its_end(length: int) -> None:
    """A million letters fit the head of one post, and must not keep the device busy for minutes."""
    kept = safe_file_name("u:" + "é" * length + ".pdf")
    assert kept.endswith("é.pdf")
    assert len(kept.encode()) <= limits.FILE_NAME_MAX_BYTES


# -- sending ---------------------------------------------------------------------------------------------------------
def outgoing(request_id: str = "r1", *files: Path) -> Outgoing:
    return Outgoing(
        request_id, "message", "B" * 32, "Bob Builder", "Plan", "text", "", tuple(str(file) for file in files)
    )


async def test_what_waits_is_sent_with_its_head_and_attachments(peer: ScriptedPeer, tmp_path: Path) -> None:
    file = tmp_path / "plan (1).pdf"
    file.write_bytes(b"x" * 100_000)
    async with device(peer, tmp_path) as ada:
        ada.history.queue(outgoing("r1", file))
        request, data = await ada.link.request()
        assert isinstance(request, m.Post)
        assert request.id == "r1"
        assert request.for_ == (m.Recipient("B" * 32, m.TO_UID),)
        head = decode_post_head(data[: request.datahead])
        size = text_size(head, request.datahead, request.datalen)
        assert data[request.datahead :][:size] == b"text"
        assert data.endswith(b"x" * 100_000)
        assert (head.threadid, head.alias, head.subject) == ("", "Ada Lovelace", "Plan")
        assert head.attach == (Attached("u:plan (1).pdf", 100_000),)
        # Existing clients answer a thread by its cc, and stop working when there is none.
        assert [(one.who, one.whouid) for one in head.cc] == [("Ada Lovelace", ADA_UID), ("Bob Builder", "B" * 32)]
        assert all(one.subscribe and one.by == "Ada Lovelace" and one.byuid == ADA_UID for one in head.cc)
        await ada.link.send(m.Acked("r1", f"{5:016x}", POSTED))
        await settled(ada.history)
        kept = ada.history.message(f"{5:016x}")
        assert kept is not None
        assert (kept.outgoing, kept.seen, kept.thread) == (True, True, kept.id)


async def settled(history: History) -> None:
    """Wait until the outbox is empty."""
    async with asyncio.timeout(20.0):
        while history.waiting():
            await asyncio.sleep(0.01)


async def test_a_post_without_an_answer_is_tried_again_under_its_id(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(outgoing())
        first, data = await ada.link.request()
        await ada.link.close()
        link = await peer.link()
        await link.greet()
        second, again = await link.request()
        assert (first, data) == (second, again)
        await link.send(m.Acked("r1", f"{5:016x}", POSTED))
        await settled(ada.history)
        assert len(ada.history.latest(10)) == 1
        await link.close()


async def test_a_post_outlives_the_process_that_was_asked(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(outgoing())
        first, _ = await ada.link.request()
    async with device(peer, tmp_path) as ada:
        second, _ = await ada.link.request()
        assert first == second


async def test_what_is_refused_stays_with_its_reason_and_stops_nothing(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(replace(outgoing("r1"), kind="ping", to="Nobody Here"))
        ada.history.queue(outgoing("r2"))
        request, _ = await ada.link.request()
        assert isinstance(request, m.Ping)
        await ada.link.send(m.Acked("r1", error="Lookup: iAlias Nobody Here not found"))
        request, _ = await ada.link.request()
        assert isinstance(request, m.Post)
        await ada.link.send(m.Acked("r2", f"{5:016x}", POSTED))
        await settled(ada.history)
        left = ada.history.outgoing("r1")
        assert left is not None
        assert "not found" in left.error


async def test_a_file_that_is_gone_is_said_and_stops_nothing(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(outgoing("r1", tmp_path / "gone.pdf"))
        ada.history.queue(outgoing("r2"))
        request, _ = await ada.link.request()
        assert isinstance(request, m.Post)
        assert request.id == "r2"
        left = ada.history.outgoing("r1")
        assert left is not None
        assert "gone.pdf" in left.error


async def test_an_answer_names_its_thread_and_no_cc(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(replace(outgoing(), thread=f"{5:016x}"))
        request, data = await ada.link.request()
        assert isinstance(request, m.Post)
        head = decode_post_head(data[: request.datahead])
        assert (head.threadid, head.cc) == (f"{5:016x}", ())


@pytest.mark.parametrize("reason", ["data too long for request type", "data not valid UTF8", "invalid header"])
async def test_what_the_service_hangs_up_on_is_not_tried_for_ever(
    peer: ScriptedPeer, tmp_path: Path, reason: str
) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(outgoing("r1"))
        ada.history.queue(outgoing("r2"))
        await ada.link.request()
        await ada.link.send(m.QuitNotice(reason))
        await ada.link.close()
        link = await peer.link()
        await link.greet()
        request, _ = await link.request()
        assert isinstance(request, m.Post)
        assert request.id == "r2"
        left = ada.history.outgoing("r1")
        assert left is not None
        assert left.error == reason
        await link.close()


async def test_what_cannot_be_said_on_the_wire_is_refused_here(peer: ScriptedPeer, tmp_path: Path) -> None:
    async with device(peer, tmp_path) as ada:
        ada.history.queue(replace(outgoing("r1"), kind="ping", to="x" * 70_000))
        ada.history.queue(outgoing("r2"))
        request, _ = await asyncio.wait_for(ada.link.request(), 10.0)
        assert isinstance(request, m.Post)
        assert request.id == "r2"
        left = ada.history.outgoing("r1")
        assert left is not None
        assert "header" in left.error


async def test_settled_waits_for_a_message_that_is_still_coming(peer: ScriptedPeer, tmp_path: Path) -> None:
    """Everything that was queued before the log-in stands before the log-in's own message (wire.md §3.7)."""
    login = m.LoginEvent(id=f"{9:016x}", from_=ADA_UID, posted=POSTED, datalen=0, node="tbd")
    async with device(peer, tmp_path) as ada:
        settled = asyncio.create_task(ada.engine.settled(0.05, 10.0))
        ada.link.writer.write(m.encode_head(delivery_event(7, 10)) + b"first")
        await asyncio.sleep(0.3)
        assert not settled.done()
        ada.link.writer.write(b"-last")
        await ada.link.request()
        await asyncio.sleep(0.3)
        assert not settled.done()
        await ada.receive(login)
        await asyncio.wait_for(settled, 10.0)
        assert ada.history.latest(1)[0].text == "first-last"
