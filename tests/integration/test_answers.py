# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of members' answers to people who write by SMTP (C5): told whom to invite, or sent as mail."""

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest

from bridges import limits
from bridges.smtp import answering as answering_room
from bridges.smtp import outgoing as outgoing_room
from bridges.smtp.store.database import BridgeDatabase
from gateway.administration import models
from gateway.app import Gateway
from tests.integration.test_bridges_smtp import a_mail, content, smtp
from tests.support.devices import fresh_id
from tests.support.gateway import SETTINGS, Desk, administer, member, running_gateway
from tests.support.relay import PASSWORD, USER, Relay, make_certificates, relay
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import Attached, PostHead, encode_post_head

PARTNER = "orders@partner.example"
SMARTHOST = SETTINGS.replace("to: Support Desk}", "to: Support Desk, reply: smarthost}")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits a minute for a second try."""
    for name in ("OUTGOING_FIRST_PAUSE_S", "OUTGOING_LONGEST_PAUSE_S", "OUTGOING_LOOK_S", "TELL_AGAIN_S"):
        monkeypatch.setattr(limits, name, 0.1)


def settings(one: Relay | None = None, *more: str, **changed: str) -> str:
    """Those of a gateway whose route answers by this relay, if there is one."""
    lines = [one.settings(**changed)] if one is not None else []
    return (SMARTHOST if one is not None else SETTINGS) + "".join(f"      {line}\n" for line in (*lines, *more))


@asynccontextmanager
async def answering(folder: Path, given: str) -> AsyncIterator[tuple[Gateway, Desk]]:
    """A gateway with a desk that has got a mail."""
    async with running_gateway(folder, given) as gateway, member(gateway, "public", "Support Desk") as desk:
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        await desk.until(1)
        yield gateway, desk


async def answer(
    desk: Desk, text: str = "Thank you.", files: tuple[tuple[str, bytes], ...] = (), to: int = 0, **head: Any
) -> m.Acked:
    """Answer what came as number `to`, as a client does: to whom it came from, in its thread."""
    event, _ = desk.got[to]
    assert isinstance(event, m.Delivery)
    thread = content(desk.got[to])[0].threadid or event.id
    attached = tuple(Attached(f"u:{name}", len(data)) for name, data in files)
    given = {"threadid": thread, "alias": "Support Desk", "subject": "An answer", "attach": attached, **head}
    encoded = encode_post_head(PostHead(**given))
    data = encoded + text.encode() + b"".join(data for _, data in files)
    return await desk.connection.post(fresh_id(), [m.Recipient(event.from_, m.TO_UID)], data, datahead=len(encoded))


def told(desk: Desk, number: int) -> str:
    """What the bridge itself said, in the thread of the first message, to this member."""
    event, _ = desk.got[number]
    head, text, _ = content(desk.got[number])
    assert isinstance(event, m.Delivery)
    assert event.via is not None
    assert (event.via.address, event.via.proof) == (PARTNER, "gateway")
    assert event.from_ == desk.got[0][0].from_
    assert head.threadid == content(desk.got[0])[0].threadid
    assert all(line.startswith("[gateway] ") for line in text.splitlines())
    return text


def outgoing(folder: Path) -> list[Path]:
    """Mails that wait."""
    return list((folder / "data/bridges/intake/outgoing").iterdir())


async def settled(folder: Path) -> None:
    """Nothing waits any more."""
    async with asyncio.timeout(20):
        while outgoing(folder):
            await asyncio.sleep(0.05)


# -- invite --------------------------------------------------------------------------------------------------------
async def test_by_default_the_member_is_told_once_whom_to_invite(tmp_path: Path) -> None:
    url = "https://example.org/write-to-us"
    async with answering(tmp_path, settings(None, f"invitation_url: {url}")) as (gateway, desk):
        await answer(desk)
        await desk.until(2)
        text = told(desk, 1)
        assert f"{PARTNER} still writes by SMTP, and cannot be answered" in text
        assert f"Ask an administrator to invite {PARTNER}, at {url}." in text
        for _ in range(3):
            await answer(desk)  # the same thread, the same day
        await smtp(gateway, lambda client: client.send_message(a_mail(**{"Message-ID": "<2@p>"})))
        await desk.until(3)
        await answer(desk, to=2)  # another thread
        got = await desk.until(4)
        assert content(got[3])[0].threadid == content(got[2])[0].threadid != content(got[0])[0].threadid
        assert "was not sent" in content(got[3])[1]
        assert outgoing(tmp_path) == []
        await asyncio.sleep(0.3)  # what was not to come had time to
        assert len(desk.got) == 4


async def test_each_member_of_a_group_is_told_and_nobody_else(tmp_path: Path) -> None:
    """An answer of one is no news to the others; who answers too must hear that it went nowhere."""
    given = settings().replace("to: Support Desk}", "to: The Team}")
    async with (
        running_gateway(tmp_path, given) as gateway,
        member(gateway, "public", "Support Desk") as desk,
        member(gateway, "public", "Bob Builder") as bob,
    ):
        await administer(
            gateway, "groups.found", models.FoundGroup(gid="The Team", who="Support Desk"), instance="public"
        )
        await desk.connection.group_invite(fresh_id(), "The Team", "Support Desk", "Bob Builder")
        await bob.until(1)
        await bob.connection.ask(m.GroupEdit(fresh_id(), "join", "The Team"))
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        for one in (desk, bob):
            async with asyncio.timeout(20):
                while not any(isinstance(event, m.Delivery) for event, _ in one.got):
                    await asyncio.sleep(0.05)
            one.got[:] = [got for got in one.got if isinstance(got[0], m.Delivery)]
        await answer(desk)
        await desk.until(2)
        assert "was not sent" in told(desk, 1)
        assert len(bob.got) == 1
        event = bob.got[0][0]
        await bob.connection.post(fresh_id(), [m.Recipient(event.from_, m.TO_UID)], b"an answer without a head")
        got = await bob.until(2)
        assert "was not sent" in content(got[1])[1]
        assert len(desk.got) == 2


# -- smarthost -----------------------------------------------------------------------------------------------------
async def test_who_answers_before_the_mail_is_written_down_here_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service hands a mail on as soon as it has it; a disk may take its time with what the intake notes of it."""
    write = BridgeDatabase.write

    async def slowly(self: BridgeDatabase, work: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0.5)
        return await write(self, work)

    async with (
        relay(tmp_path / "relay") as ours,
        running_gateway(tmp_path, settings(ours)) as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        monkeypatch.setattr(BridgeDatabase, "write", slowly)
        sending = asyncio.create_task(smtp(gateway, lambda client: client.send_message(a_mail())))
        await desk.until(1)
        assert not sending.done()
        await answer(desk)
        await sending
        (mail,) = await ours.until(1)
        assert mail.text.strip() == "Thank you."
        assert len(desk.got) == 1


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_an_answer_goes_out_as_mail_and_the_conversation_goes_on(tmp_path: Path, tls: str) -> None:
    async with (
        relay(tmp_path / "relay", tls=tls) as ours,
        answering(tmp_path, settings(ours, tls=tls)) as (gateway, desk),
    ):
        await answer(
            desk, "Good morning to you, Grüße.\n> An order\nDone.", (("Rechnung ü.pdf", b"\x00\r\n.\r\n%PDF"),)
        )
        taken = (await ours.until(1))[0]
        assert (taken.sender, taken.recipients) == ("support@example.org", [PARTNER])
        assert ours.tried == [(USER, PASSWORD.encode())]
        mail = taken.mail
        assert mail["From"].addresses[0].addr_spec == "support@example.org"
        assert mail["From"].addresses[0].display_name == "Support Desk"
        assert mail["To"] == PARTNER
        assert mail["Subject"] == "Re: An order"
        assert mail["In-Reply-To"] == mail["References"] == "<1@p>"
        assert re.fullmatch(r"<[0-9a-f]{32}@example\.org>", mail["Message-ID"])
        assert mail["Date"].datetime.tzinfo is not None
        assert mail["Auto-Submitted"] is None
        assert taken.text.splitlines() == ["Good morning to you, Grüße.", "> An order", "Done."]
        files = list(mail.iter_attachments())
        assert [(one.get_filename(), one.get_content()) for one in files] == [("Rechnung ü.pdf", b"\x00\r\n.\r\n%PDF")]
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[^\x00-\x7f]", taken.content)
        await settled(tmp_path)

        back = a_mail(**{"Message-ID": "<2@p>", "In-Reply-To": mail["Message-ID"], "Subject": "AW: Re: An order"})
        await smtp(gateway, lambda client: client.send_message(back))
        got = await desk.until(2)
        assert content(got[1])[0].threadid == content(got[0])[0].threadid
        await answer(desk, "And again.", to=1)
        second = (await ours.until(2))[1].mail
        assert second["Subject"] == "AW: Re: An order"
        assert second["In-Reply-To"] == "<2@p>"
        assert second["References"].split() == [mail["Message-ID"], "<2@p>"]
        await settled(tmp_path)
        await answer(desk, "One thing more.", to=1)
        third = (await ours.until(3))[2].mail
        assert third["In-Reply-To"] == second["Message-ID"]
        assert third["References"].split() == [mail["Message-ID"], "<2@p>", second["Message-ID"]]
        assert ours.plain == []
        assert len(desk.got) == 2


async def test_an_answer_goes_to_the_correspondent_of_the_thread_only(tmp_path: Path) -> None:
    """No relay: neither the head of a post nor another thread's name says where it goes (D3)."""
    given = SMARTHOST.replace("192.0.2.0/24", "127.0.0.0/8")
    async with (
        relay(tmp_path / "relay") as ours,
        running_gateway(tmp_path, given + f"      {ours.settings()}\n") as gateway,
        member(gateway, "public", "Support Desk") as desk,
        member(gateway, "public", "Sales Desk") as sales,
    ):
        await smtp(gateway, lambda client: client.send_message(a_mail()))
        await desk.until(1)
        far = a_mail(**{"From": "far@partner.example", "Message-ID": "<9@far>", "Subject": "Secret plans"})
        await smtp(gateway, lambda client: client.send_message(far, from_addr="far@partner.example"))
        await desk.until(2)
        other = content(desk.got[1])[0].threadid
        await answer(desk, "To orders, in the thread of far.", threadid=other)
        taken = (await ours.until(1))[0]
        assert taken.recipients == [PARTNER]
        assert "far" not in str(taken.mail["References"] or "") + taken.mail["Subject"]
        await answer(desk, "A thread of my own.", threadid="", subject="Something new")
        taken = (await ours.until(2))[1]
        assert (taken.recipients, taken.mail["Subject"]) == ([PARTNER], "Something new")
        assert taken.mail["References"] is None
        # Sales hears by a route that does not send mail, though the other does.
        to_sales = a_mail(**{"To": "sales@example.org", "Message-ID": "<3@p>"})
        await smtp(gateway, lambda client: client.send_message(to_sales))
        await sales.until(1)
        await sales.connection.post(
            fresh_id(), [m.Recipient(sales.got[0][0].from_, m.TO_UID)], b"out", from_="Sales Desk"
        )
        text = content((await sales.until(2))[1])[1]
        assert "was not sent" in text
        assert len(ours.mails) == 2


async def test_nothing_that_anybody_wrote_makes_a_header(tmp_path: Path) -> None:
    hostile = "Re: x\r\nBcc: all@victim.example\r\n\r\nbody\u2028\x00\udcff"
    name = 'a\r\nContent-Type: text/html\r\n\r\n<script>"; x="../../\u202egpj.exe'
    raw = (
        (
            f"From: {PARTNER}\r\nTo: support@example.org\r\nSubject: =?utf-8?q?x=0D=0ABcc:_all@victim.example?=\r\n"
            "Message-ID: <1@p> \r\nReferences: <a@b>\x0b<c d> <e\x00@f> " + "<" + "r" * 400 + "@long>\r\n\r\nhello\r\n"
        )
        .encode()
        .replace(b"\x00", b"")
    )
    async with (
        relay(tmp_path / "relay") as ours,
        running_gateway(tmp_path, settings(ours)) as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        await smtp(gateway, lambda client: client.sendmail(PARTNER, ["support@example.org"], raw))
        await desk.until(1)
        await answer(
            desk, "\x00\x1b[2J.\r\n.\n\rQUIT\r\n", ((name, b"x"), (name, b"y"), ("u:", b"")), alias="A\r\nB: c"
        )
        await answer(desk, "new", subject=hostile.encode("utf-8", "replace").decode(), threadid="")
        for taken in await ours.until(2):
            mail = taken.mail
            assert taken.recipients == [PARTNER]
            assert mail["Bcc"] is None
            assert {key.lower() for key in mail} <= {
                "message-id", "in-reply-to", "references", "from", "to", "subject", "date",
                "mime-version", "content-type", "content-transfer-encoding",
            }  # fmt: skip
            assert len(mail.keys()) == len({key.lower() for key in mail})
            assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[^\x00-\x7f]|\x00", taken.content)
            assert max(map(len, taken.content.split(b"\r\n"))) <= 998
            header = taken.content.partition(b"\r\n\r\n")[0]
            assert b"victim.example\r\n" not in header.replace(b"Bcc: all@victim.example", b"")
        first = ours.mails[0].mail
        names = [one.get_filename() for one in first.iter_attachments()]
        assert len(set(names)) == 3
        assert not any(re.search(r'[\x00-\x1f\u202e"/\\<>]', one) for one in names)
        assert {one.get_content_type() for one in first.iter_attachments()} <= {"application/octet-stream"} | {
            "application/x-msdos-program", "application/x-msdownload"
        }  # fmt: skip


# -- trouble -------------------------------------------------------------------------------------------------------
async def test_what_the_relay_puts_off_goes_later_and_once(tmp_path: Path) -> None:
    said = iter(["RCPT 451 4.2.0 greylisted", "DATA 452 4.3.1 full", "MAIL 421 4.3.2 closing", "RCPT 450 4.2.1 busy"])
    current = [next(said)]

    def says(verb: str, address: str) -> str | None:
        if not current or not current[0].startswith(verb):
            return None
        reply = current.pop().partition(" ")[2]
        current.extend([one] if (one := next(said, "")) else [])
        return reply

    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        ours.says = says
        await answer(desk)
        await ours.until(1)
        await settled(tmp_path)
        assert current == []
        assert len(ours.mails) == 1
        assert len(desk.got) == 1


@pytest.mark.parametrize(
    ("verb", "reply"),
    [("RCPT", "550 5.1.1 No such user here"), ("DATA", "554 5.7.1 Spam\r\n"), ("MAIL", "552 5.3.4 Too big")],
)
async def test_what_the_relay_refuses_the_member_is_told(tmp_path: Path, verb: str, reply: str) -> None:
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        ours.says = lambda at, address: reply.strip() if at == verb else None
        await answer(desk)
        await desk.until(2)
        text = told(desk, 1)
        assert f"Your message to {PARTNER} was not sent: the mail server did not take it" in text
        assert reply.split()[1] in text
        await settled(tmp_path)
        ours.says = lambda at, address: None
        await answer(desk, "Another try.")
        await ours.until(1)
        assert len(desk.got) == 2


async def test_a_relay_that_is_away_is_waited_for_over_a_restart(tmp_path: Path) -> None:
    async with relay(tmp_path / "relay") as ours:
        port, given = ours.port, settings(ours)
    async with answering(tmp_path, given) as (_, desk):
        await answer(desk)
        async with asyncio.timeout(20):
            while not outgoing(tmp_path):
                await asyncio.sleep(0.05)
    left = await asyncio.to_thread(lambda: [path.read_bytes() for path in outgoing(tmp_path)])
    async with relay(tmp_path / "relay", port=port) as ours, running_gateway(tmp_path, given):
        taken = (await ours.until(1))[0]
        assert taken.content == left[0]
        await settled(tmp_path)
        assert len(ours.mails) == 1


async def _other_authority(ours: Relay) -> dict[str, str]:
    await asyncio.to_thread(make_certificates, ours.folder, "other")
    return {"ca": str(ours.folder / "other.pem")}


async def _system_authorities(ours: Relay) -> dict[str, str]:
    return {"ca": "null"}


async def _other_name(ours: Relay) -> dict[str, str]:
    return {"host": "localhost"}


async def _wrong_password(ours: Relay) -> dict[str, str]:
    await asyncio.to_thread((ours.folder / "password").write_text, "guessed\n")
    return {}


async def _open_password(ours: Relay) -> dict[str, str]:
    await asyncio.to_thread((ours.folder / "password").chmod, 0o640)
    return {}


async def _no_password(ours: Relay) -> dict[str, str]:
    return {}  # taken away when the gateway runs: at its start it is asked for


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_other_authority, "its certificate is not trusted"),
        (_system_authorities, "its certificate is not trusted"),
        (_other_name, "its certificate is not trusted"),
        (_wrong_password, "535"),
        (_open_password, "others can read it: chmod 600"),
        (_no_password, "No such file"),
    ],
)
async def test_a_relay_that_cannot_be_trusted_gets_nothing_and_administrators_hear_of_it(
    tmp_path: Path, spoil: Callable[[Relay], Any], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with relay(tmp_path / "relay") as ours:
        given = settings(ours, "tell: sales@example.org", **await spoil(ours)).replace("level: error", "level: debug")
        async with answering(tmp_path, given) as (gateway, desk), member(gateway, "public", "Sales Desk") as sales:
            if spoil is _no_password:
                await asyncio.to_thread((ours.folder / "password").unlink)
            await answer(desk)
            event, _ = (await sales.until(1))[0]
            head, text, _ = content(sales.got[0])
            assert isinstance(event, m.Delivery)
            assert event.via is not None
            assert (event.via.address, event.via.proof) == ("postmaster@mx.example.org", "gateway")
            assert head.subject == "[gateway] For administrators"
            assert text.startswith("[gateway] Answers of members wait")
            assert said in text
            await asyncio.sleep(0.5)  # some tries more
            assert len(sales.got) == 1
            assert len(desk.got) == 1
            assert ours.mails == []
            assert outgoing(tmp_path) != []
            if said != "535":
                assert ours.tried == []
            assert ours.plain == []
            logged = capfd.readouterr()
            for secret in (PASSWORD, "guessed", "pass w"):
                assert secret not in text + logged.out + logged.err


async def test_a_relay_without_tls_gets_nothing(tmp_path: Path) -> None:
    async with relay(tmp_path / "relay", tls="none") as ours:
        given = settings(ours, "tell: sales@example.org")
        async with answering(tmp_path, given) as (gateway, desk), member(gateway, "public", "Sales Desk") as sales:
            await answer(desk)
            assert "STARTTLS" in content((await sales.until(1))[0])[1]
            assert ours.tried == ours.mails == ours.plain == []


async def test_after_days_of_trying_the_member_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTGOING_DAYS", 0)
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        ours.says = lambda verb, address: "451 4.7.1 later" if verb == "RCPT" else None
        await answer(desk)
        await desk.until(2)
        assert "it could not be sent for 0 days; at last: 451 4.7.1 later" in told(desk, 1)
        await settled(tmp_path)


async def test_an_answer_that_is_too_large_or_unreadable_is_told_and_stops_no_other(tmp_path: Path) -> None:
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        await answer(desk, "x" * 2_000_001)
        await desk.until(2)
        assert "2000000 are the most" in told(desk, 1)
        ghost = m.Recipient(desk.got[0][0].from_, m.TO_UID)
        for data, datahead in ((b"{not json", 9), (b'{"attach":[{"name":"u:x","size":99}]}', 37)):
            await desk.connection.post(fresh_id(), [ghost], data, datahead=datahead)
        await desk.until(4)
        assert all("it cannot be read" in content(got)[1] for got in desk.got[2:])
        await answer(desk, "Fits.")
        assert (await ours.until(1))[0].text == "Fits.\r\n"


async def test_a_machine_with_the_null_sender_is_not_answered(tmp_path: Path) -> None:
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (gateway, desk):
        intake: Any = gateway.bridges["intake"]
        from bridges.smtp.store.tables import correspondent  # noqa: PLC0415

        known = correspondent.update().where(correspondent.c.address == PARTNER).values(machine="null-sender")
        changed = await intake._database.write(lambda connection: connection.execute(known).rowcount)
        assert changed == 1
        await answer(desk)
        await desk.until(2)
        assert "a machine wrote this mail" in told(desk, 1)
        assert ours.mails == []


async def test_a_mail_without_an_id_is_answered_in_its_thread(tmp_path: Path) -> None:
    mail = EmailMessage()
    for name, value in (("From", PARTNER), ("To", "support@example.org"), ("Subject", "No id")):
        mail[name] = value
    mail.set_content("x")
    async with (
        relay(tmp_path / "relay") as ours,
        running_gateway(tmp_path, settings(ours)) as gateway,
        member(gateway, "public", "Support Desk") as desk,
    ):
        await smtp(
            gateway, lambda client: client.sendmail(PARTNER, ["support@example.org"], mail.as_bytes(policy=SMTP))
        )
        await desk.until(1)
        await answer(desk)
        sent = (await ours.until(1))[0].mail
        assert (sent["Subject"], sent["References"]) == ("Re: No id", None)
        back = a_mail(**{"Message-ID": "<2@p>", "In-Reply-To": sent["Message-ID"]})
        await smtp(gateway, lambda client: client.send_message(back))
        got = await desk.until(2)
        assert content(got[1])[0].threadid == got[0][0].id


async def test_a_full_disk_leaves_the_answer_with_the_service_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OUTGOING_DISK_PAUSE_S", 0.1)
    full, tries = True, 0
    write = outgoing_room._write

    def sometimes(path: Path, mail: bytes) -> None:
        nonlocal tries
        tries += 1
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, mail)

    monkeypatch.setattr(outgoing_room, "_write", sometimes)
    async with relay(tmp_path / "relay") as ours:
        async with answering(tmp_path, settings(ours)) as (gateway, desk):
            await answer(desk, "It waits.")
            async with asyncio.timeout(20):
                while tries < 3:
                    await asyncio.sleep(0.05)
            await smtp(gateway, lambda client: client.send_message(a_mail(**{"Message-ID": "<2@p>"})))
            await desk.until(2)  # mail comes in meanwhile
        assert ours.mails == []
        async with running_gateway(tmp_path, settings(ours)):  # the service has it still
            await asyncio.sleep(0.3)
            full = False
            assert (await ours.until(1))[0].text == "It waits.\r\n"
            await settled(tmp_path)
            assert len(ours.mails) == 1


async def test_a_full_disk_sends_no_answer_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5: the relay has it, and the disk does not take that: it has it once, however long that lasts."""
    monkeypatch.setattr(limits, "OUTGOING_DISK_PAUSE_S", 0.05)
    full, tries = True, 0
    note = outgoing_room.Outbox._set

    def sometimes(box: Any, connection: Any, message: str, **fields: object) -> None:
        nonlocal tries
        tries += 1
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        note(box, connection, message, **fields)

    monkeypatch.setattr(outgoing_room.Outbox, "_set", sometimes)
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        await answer(desk)
        async with asyncio.timeout(20):
            while tries < 4:
                await asyncio.sleep(0.05)
        assert len(ours.mails) == 1
        full = False
        await settled(tmp_path)
        await answer(desk, "Another.")
        assert [one.text for one in await ours.until(2)] == ["Thank you.\r\n", "Another.\r\n"]
        assert len(ours.mails) == 2


async def test_what_cannot_be_composed_is_told_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = answering_room.mail_of

    def broken(given: Any, *rest: Any) -> bytes:
        if "poison" in given.text:
            raise RuntimeError("a fault of the library")
        return compose(given, *rest)

    monkeypatch.setattr(answering_room, "mail_of", broken)
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        await answer(desk, "poison")
        await desk.until(2)
        assert "it cannot be written as a mail" in told(desk, 1)
        await answer(desk, "Fine.")
        assert (await ours.until(1))[0].text == "Fine.\r\n"


async def test_the_gateway_itself_reads_no_answers(tmp_path: Path) -> None:
    """Nobody is told to invite the postmaster, and no mail goes to him."""
    async with relay(tmp_path / "relay") as ours:
        given = settings(ours, "tell: support@example.org", ca="null")
        async with answering(tmp_path, given) as (_, desk):
            await answer(desk)
            got = await desk.until(2)
            event = got[1][0]
            assert isinstance(event, m.Delivery)
            assert event.alias == "postmaster@mx.example.org"
            await answer(desk, to=1)
            text = content((await desk.until(3))[2])[1]
            assert "nobody reads what is written to it" in text
            assert ours.mails == []


async def test_too_many_answers_that_wait_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTGOING_MAX", 2)
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
        ours.says = lambda verb, address: "451 4.7.1 later" if verb == "RCPT" else None
        for number in range(3):
            await answer(desk, f"answer {number}")
        await desk.until(2)
        assert "too many answers wait to be sent" in told(desk, 1)
        ours.says = lambda verb, address: None
        await ours.until(2)
        await settled(tmp_path)
        await answer(desk, "room again")
        assert (await ours.until(3))[2].text == "room again\r\n"


async def test_a_route_that_no_longer_answers_by_mail_invites(tmp_path: Path) -> None:
    """What was noted of its conversations opens no way out, though the relay is there for other routes."""
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (gateway, desk):
        intake: Any = gateway.bridges["intake"]
        routes = intake.answering._routes
        routes["support@example.org"] = replace(routes["support@example.org"], reply="invite")
        await answer(desk)
        await desk.until(2)
        assert "still writes by SMTP" in told(desk, 1)
        assert outgoing(tmp_path) == ours.mails == []


async def test_what_waits_for_a_relay_that_is_no_longer_named_is_told(tmp_path: Path) -> None:
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (gateway, desk):
        ours.says = lambda verb, address: "451 4.7.1 later" if verb == "RCPT" else None
        await answer(desk)
        async with asyncio.timeout(20):
            while not outgoing(tmp_path):
                await asyncio.sleep(0.05)
        intake: Any = gateway.bridges["intake"]
        intake.answering._relay = None
        await desk.until(2)
        assert "answers are not sent as mail any more" in told(desk, 1)
        await settled(tmp_path)
