# SPDX-License-Identifier: AGPL-3.0-or-later
"""D2: an attacker puts anything into a first contact: masquerading links, programs, polished scams."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.devices import KeyDevice, fresh_id, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.wire import messages as m

SCAM = b"<html><a href='https://evil.example'>your bank</a><script src=//evil.example></script></html>"


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    policy = Policy(acquaintance=Acquaintance.INTRODUCTION)
    async with running_instance(tmp_path / "instance", policy=policy) as running:
        yield running


async def strangers(instance: TestInstance) -> tuple[KeyDevice, KeyDevice]:
    """A member, and an attacker whom she does not know."""
    return await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Mallory Mal")


async def test_nothing_but_a_ping_reaches_a_stranger(instance: TestInstance) -> None:
    ada, mallory = await strangers(instance)
    assert await refusal(mallory.post(ada.uid, data=SCAM)) == "not acquainted"
    assert await refusal(mallory.post(mallory.uid, ada.uid, data=SCAM)) == "not acquainted"
    note = m.PostNotify(fresh_id(), (), (m.Recipient(ada.uid, m.TO_UID),), datalen=len(SCAM) + 1, notelen=len(SCAM))
    await mallory.connection._send(m.encode_head(note) + SCAM + b"x")
    group = mallory.connection.group_invite(fresh_id(), "Win a prize", "Mallory Mal", "Ada Lovelace", "come in")
    await group
    await mallory.connection.post(fresh_id(), [m.Recipient("Win a prize", m.TO_GROUP_NOT_SELF)], SCAM)
    await ada.all_of(m.Delivery)
    kinds = {type(event) for event, _ in ada.got}
    assert kinds <= {m.InviteEvent, m.UserEvent, m.LoginEvent}
    assert all(SCAM not in data for _, data in ada.got)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"x" * 141, "data too long for request type"),
        ("😀".encode() * 71, "data too long for request type"),  # 142 UTF-16 units
        (b"x" * 100_000, "data too long for request type"),
        (b"\xff\xfeprogram", "data not valid UTF8"),
        (b"\x7fELF\x80\x81", "data not valid UTF8"),
    ],
)
async def test_a_ping_holds_no_letter_and_no_program(instance: TestInstance, text: bytes, answer: str) -> None:
    ada, mallory = await strangers(instance)
    for head in (
        m.Ping(fresh_id(), "Mallory Mal", "Ada Lovelace", len(text)),
        m.GroupInvite(fresh_id(), "Win a prize", "Mallory Mal", "Ada Lovelace", len(text)),
    ):
        await mallory.log_in() if not mallory.connection.is_open else None
        await mallory.connection._send(m.encode_head(head) + text)
        assert await mallory.ends() == answer
    await ada.all_of(m.PingEvent)
    assert ada.got == [] or all(isinstance(event, m.UserEvent | m.LoginEvent) for event, _ in ada.got)


async def test_what_a_ping_says_arrives_as_it_is(instance: TestInstance) -> None:
    """Markup in a ping is text: it is handed over octet by octet, with no head that could call it anything else."""
    ada, mallory = await strangers(instance)
    text = "<a href='https://evil.example'>your bank</a>\n**bold**"
    await mallory.ping("Ada Lovelace", text)
    event, data = await ada.next(m.PingEvent)
    assert data.decode() == text
    assert (event.alias, event.from_) == ("Mallory Mal", mallory.uid)
    assert event.datalen == len(data)


async def test_no_letter_fits_into_a_name(instance: TestInstance) -> None:
    _, mallory = await strangers(instance)
    letter = "Dear customer your account is blocked please visit evil dot example and sign in now"
    assert "longer than 64 characters" in await refusal(mallory.connection.ask(m.UserEdit(fresh_id(), newalias=letter)))
    invite = mallory.connection.group_invite(fresh_id(), letter, "Mallory Mal", "Ada Lovelace")
    assert "longer than 64 characters" in await refusal(invite)
