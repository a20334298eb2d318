# SPDX-License-Identifier: AGPL-3.0-or-later
"""Members' answers by SMTP that meet trouble (C5): nothing is lost, nothing goes twice, and who should know is told."""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest

from bridges import limits
from bridges.smtp.answers import answering as answering_room
from bridges.smtp.answers import outgoing as outgoing_room
from tests.integration.test_answers import PARTNER, answer, answering, impatient, outgoing, settings, settled, told
from tests.integration.test_bridges_smtp import a_mail, content, smtp
from tests.support.devices import fresh_id
from tests.support.gateway import member, running_gateway
from tests.support.relay import PASSWORD, Relay, make_certificates, relay
from tmtp_core.wire import messages as m

__all__ = ["impatient"]  # the fixture of both: no test waits a minute for a second try


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
        async with asyncio.timeout(60):
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
            async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
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


async def test_a_fault_of_ours_does_not_end_the_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear of it, and no answer would go out until the next start."""
    real, asked = outgoing_room.Outbox.due, 0

    async def broken(self: outgoing_room.Outbox) -> list[outgoing_room.Outgoing]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError("a fault")
        return await real(self)

    monkeypatch.setattr(limits, "LOOP_AGAIN_S", 0.05)
    monkeypatch.setattr(outgoing_room.Outbox, "due", broken)
    async with relay(tmp_path / "relay") as ours, answering(tmp_path, settings(ours)) as (_, desk):
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
        async with asyncio.timeout(60):
            while not outgoing(tmp_path):
                await asyncio.sleep(0.05)
        intake: Any = gateway.bridges["intake"]
        intake.answering._relay = None
        await desk.until(2)
        assert "answers are not sent as mail any more" in told(desk, 1)
        await settled(tmp_path)
