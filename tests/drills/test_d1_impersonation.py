# SPDX-License-Identifier: AGPL-3.0-or-later
"""D1: an attacker sends messages that appear to be from people you trust."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.devices import KeyDevice, acquainted, fresh_id, newcomer, refusal
from tests.support.instance import TestInstance, running_instance
from tests.support.outside import Bridge, bridge
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.wire import messages as m
from tmtp_core.wire.payload import PostHead, encode_post_head

BOSS = "Ilse Bossmann"


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    policy = Policy(acquaintance=Acquaintance.INTRODUCTION)
    async with running_instance(tmp_path / "instance", policy=policy) as running:
        yield running


async def scene(instance: TestInstance) -> tuple[KeyDevice, KeyDevice, KeyDevice]:
    """The boss, a member who trusts her, and an attacker who is a member too."""
    boss, ada, mallory = [await newcomer(instance, alias) for alias in (BOSS, "Ada Lovelace", "Mallory Mal")]
    await acquainted(boss, ada)
    await acquainted(mallory, ada)
    return boss, ada, mallory


@pytest.mark.parametrize(
    "alias",
    [
        "Ilse Bossmann",  # the same
        "ilse bossmann",  # in another case
        "Ilse  Bossmann",  # with another blank
        "Ilsе Bossmann",  # a Cyrillic e
        "Ilse Bossmаnn",  # a Cyrillic a
        "lIse Bossmann",  # l for I, I for l
        "Ilse Bossrnann",  # rn for m
        "Ｉｌｓｅ Ｂｏｓｓｍａｎｎ",  # full width
        "Ilse Bossmann ",  # a blank behind
        "Ilse\u00a0Bossmann",  # a blank that does not break
        "Ilse\u200bBossmann",  # a blank of no width
        "Ilse Bossmann\u202e",  # right to left
        "𝐈𝐥𝐬𝐞 𝐁𝐨𝐬𝐬𝐦𝐚𝐧𝐧",  # mathematical letters
        "boss@example.org",  # the form of an address
        "boss＠example.org",  # the same, full width
    ],
)
async def test_no_alias_looks_like_the_bosss(instance: TestInstance, alias: str) -> None:
    _, ada, mallory = await scene(instance)
    assert "AddAlias" in await refusal(mallory.connection.ask(m.UserEdit(fresh_id(), newalias=alias)))
    with pytest.raises(AssertionError):  # nor at registration: the account is there, and has no such name
        await newcomer(instance, alias)
    assert [event for event in await ada.all_of(m.PingEvent) if event.alias not in {BOSS, "Mallory Mal"}] == []


async def test_no_group_has_the_bosss_name(instance: TestInstance) -> None:
    _, _, mallory = await scene(instance)
    for gid in (BOSS, "ILSE BOSSMANN", "boss@example.org"):
        invite = mallory.connection.group_invite(fresh_id(), gid, "Mallory Mal", "Ada Lovelace")
        assert "GroupInvite" in await refusal(invite)


async def test_a_name_is_taken_for_ever(instance: TestInstance) -> None:
    await scene(instance)
    await instance.service.remove_account(BOSS)
    with pytest.raises(AssertionError):
        await newcomer(instance, BOSS)


async def test_a_forged_from_is_refused(instance: TestInstance) -> None:
    boss, ada, mallory = await scene(instance)
    assert await refusal(mallory.post(ada.uid, from_=BOSS)) == "from must identify sender"
    assert "from must identify sender" in await refusal(
        mallory.connection.ping(fresh_id(), BOSS, "Ada Lovelace", "it is me, your boss")
    )
    invite = mallory.connection.group_invite(fresh_id(), "The Board Room", BOSS, "Ada Lovelace")
    assert "not for iByUid" in await refusal(invite)
    for event in await ada.all_of(m.Delivery):
        assert event.from_ != boss.uid


async def test_the_payloads_alias_is_not_the_verified_one(instance: TestInstance) -> None:
    """What the payload says may be a lie; beside it stands what the service has checked."""
    boss, ada, mallory = await scene(instance)
    head = encode_post_head(PostHead(threadid="", alias=BOSS, subject="Urgent: pay this", cc=(), attach=()))
    await mallory.connection.post(fresh_id(), [m.Recipient(ada.uid, m.TO_UID)], head + b"now", datahead=len(head))
    event, data = await ada.next(m.Delivery)
    assert BOSS.encode() in data
    assert (event.from_, event.alias) == (mallory.uid, "Mallory Mal")
    assert event.from_ != boss.uid


async def test_a_member_forges_no_ghost(instance: TestInstance) -> None:
    """`as` and `via` are a bridge's and the service's: a member's are not heard of."""
    _, ada, mallory = await scene(instance)
    await mallory.post(ada.uid, as_=m.Outsider("orders@partner.example", "dkim"))
    event, _ = await ada.next(m.Delivery)
    assert (event.from_, event.alias, event.via) == (mallory.uid, "Mallory Mal", None)


async def test_who_is_outside_is_not_taken_for_who_is_written_alike(instance: TestInstance) -> None:
    """Capitals make nobody another person. Other letters do, also those that become others where case is folded."""
    boss, _, _ = await scene(instance)
    async with bridge(instance, {"support@example.org": BOSS}) as intake:
        for written in ("gross@partner.example", "Gross@Partner.example", "groß@partner.example"):
            await intake.post("support@example.org", written)
        one, again, other = [(await boss.next(m.Delivery))[0] for _ in range(3)]
    assert (one.from_, one.alias) == (again.from_, again.alias)
    assert other.from_ != one.from_
    assert other.via is not None
    assert (other.alias, other.via.address) == ("groß@partner.example", "groß@partner.example")


async def test_a_bridge_speaks_as_nobody_who_is_here(instance: TestInstance) -> None:
    boss, ada, _ = await scene(instance)
    async with bridge(instance, {"support@example.org": BOSS}) as intake:
        for forged in (
            "Ada Lovelace",
            ada.uid,
            "Mallory Mal",
            " boss@example.org",
            "a@b\u202e.example",
            "x" * 400 + "@y",
        ):
            assert "as:" in await refusal(intake.post("support@example.org", forged))
        await _spoken_as(intake, boss, "ada.lovelace@example.org")
        await _spoken_as(intake, boss, "mallory@mal.example")
        first, _ = await _spoken_as(intake, boss, "Mallory@MAL.example")
        again, _ = await _spoken_as(intake, boss, "mallory@mal.example")
        assert first.from_ == again.from_  # one ghost an address: a block is not one letter wide


async def _spoken_as(intake: Bridge, boss: KeyDevice, address: str) -> tuple[m.Delivery, bytes]:
    """Whatever the address says: the message is a ghost's, and marked."""
    await intake.post("support@example.org", address)
    event, data = await boss.next(m.Delivery)
    members = {one.uid for one in await intake.instance.service.list_accounts() if one.role == "member"}
    assert event.from_ not in members
    assert event.alias == address.lower()
    assert event.via == m.Via("intake", address.lower(), "network")
    return event, data
