# SPDX-License-Identifier: AGPL-3.0-or-later
"""What becomes of members' answers to people who write by SMTP (C5): told whom to invite, or sent as mail."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridges import limits
from bridges.smtp.store.database import BridgeDatabase
from gateway.administration import models
from gateway.app import Gateway
from tests.integration.test_bridges_smtp import a_mail, content, smtp
from tests.support.devices import fresh_id
from tests.support.gateway import SETTINGS, Desk, administer, member, running_gateway
from tests.support.relay import PASSWORD, USER, Relay, relay
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
    async with asyncio.timeout(60):
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
            async with asyncio.timeout(60):
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
