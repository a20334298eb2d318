# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an administrator's acts lead to while people come and go, and what he sees of them (C1)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gateway.control import ControlClient
from gateway.instance import StartFailed
from tests.support.devices import KeyDevice, newcomer
from tests.support.gateway import running_gateway
from tests.support.instance import TestInstance, running_instance
from tests.support.outside import bridge
from tests.support.people import form_group, instance_with, people
from tests.support.postgresql import ON_SQLITE
from tests.support.raw_peer import RawPeer
from tmtp_core import limits
from tmtp_core.domain.port import Status
from tmtp_core.errors import NotFound, ServiceUnavailable
from tmtp_core.latency import Latencies, quantile_ms, since
from tmtp_core.store.database import Database
from tmtp_core.store.inventory import AccountsWanted
from tmtp_core.store.writer import Job
from tmtp_core.wire import messages as m


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    async with running_instance(tmp_path / "instance") as running:
        yield running


async def test_an_administrators_message_comes_once(instance: TestInstance) -> None:
    """Also to a device whose log-in is in the same commit."""
    ada = await newcomer(instance, "Ada Lovelace")
    await ada.quit()
    held = threading.Event()
    instance.service._writer.submit(Job(lambda ledger: held.wait(10), lambda result: None))
    entering = asyncio.create_task(ada.log_in())
    await asyncio.sleep(0.3)  # its log-in waits for the writer
    given = asyncio.create_task(instance.service.give_alias("Ada Lovelace", "Support Desk"))
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(entering, given)
    told = [event.newalias for event in await ada.all_of(m.UserEvent)]
    assert told.count("Support Desk") == 1


async def test_a_gateway_that_knows_a_command_not_is_said_to_be_of_another_release(tmp_path: Path) -> None:
    async with running_gateway(tmp_path):
        connector = aiohttp.UnixConnector(str(tmp_path / "data" / "control.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(ServiceUnavailable, match="answered with 404; it may be of another release"):
                await ControlClient(session)._call("GET", "/instances/members/something/new", {}, None)


async def test_the_control_socket_is_its_owners_whatever_others_do_meanwhile(tmp_path: Path) -> None:
    """No umask closes it: that would be the one of every folder which another task makes just then."""
    seen: list[int] = []

    async def look() -> None:
        while True:
            folder = tmp_path / f"made{len(seen)}"
            folder.mkdir()
            seen.append(folder.stat().st_mode & 0o777)
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    async with running_gateway(tmp_path):
        looking.cancel()
        assert (tmp_path / "data" / "control.sock").stat().st_mode & 0o777 == 0o600
    assert len(seen) > 1
    assert set(seen) == {seen[0]}


async def test_a_control_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data" / "control.sock").mkdir(parents=True)
    with pytest.raises(StartFailed, match=r"control\.sock cannot be made"):
        async with running_gateway(tmp_path):
            pass


# -- what is seen ----------------------------------------------------------------------------------------------------
async def found(instance: TestInstance, **wanted: object) -> list[str]:
    """First aliases of the accounts on a page."""
    return [one.aliases[0] for one in await instance.service.list_accounts(AccountsWanted(**wanted))]


async def away_with(device: KeyDevice) -> None:
    """It is not connected any more, and the service knows."""
    await device.quit()
    await device.instance.settle()


async def test_accounts_come_in_pages_oldest_first(instance: TestInstance) -> None:
    names = [f"Person Number {number}" for number in range(7)]
    everybody = await people(instance, *names)
    assert await found(instance) == names
    first = await instance.service.list_accounts(AccountsWanted(limit=3))
    second = await instance.service.list_accounts(AccountsWanted(limit=3, after=first[-1].uid))
    third = await instance.service.list_accounts(AccountsWanted(limit=3, after=second[-1].uid))
    assert [one.uid for one in (*first, *second, *third)] == [one.uid for one in everybody]
    with pytest.raises(NotFound, match="after which"):
        await instance.service.list_accounts(AccountsWanted(after="nobody"))
    for one in everybody:
        await one.quit()


async def test_accounts_are_found_by_parts_of_names_and_of_uids(instance: TestInstance) -> None:
    everybody = await people(instance, "Ada Lovelace", "Ödön von Horváth", "100% of Bob_")
    await instance.service.give_alias("Ada Lovelace", "Support Desk")
    assert await found(instance, search="love") == ["Ada Lovelace"]
    assert await found(instance, search="PORT DE") == ["Ada Lovelace"]
    assert await found(instance, search="ödÖN") == ["Ödön von Horváth"]
    assert await found(instance, search="\u0430da") == ["Ada Lovelace"]  # a Cyrillic letter looks like hers (D1)
    named = ("Ada Lovelace", "Ödön von Horváth", "100% of Bob_")
    percent = [name for one, name in zip(everybody, named, strict=True) if "%" in name or one.uid.startswith("%")]
    assert await found(instance, search="%") == percent  # uids may begin with it
    assert await found(instance, search="_") == ["100% of Bob_"]
    assert await found(instance, search=everybody[1].uid[:9]) == ["Ödön von Horváth"]
    assert await found(instance, search=everybody[1].uid[:9].lower()) == ["Ödön von Horváth"]
    assert await found(instance, search="nobody is like that") == []
    assert await found(instance, search=" ") == []
    for one in everybody:
        await one.quit()


async def test_who_writes_by_mail_is_shown_by_his_address_and_found_by_it(tmp_path: Path) -> None:
    """C1, C2: a ghost has no alias; whoever is to bar one must know which."""
    async with instance_with(tmp_path, "introduction") as instance:
        (desk,) = await people(instance, "Support Desk")
        async with bridge(instance, {"support@example.org": "Support Desk"}) as intake:
            await intake.post("support@example.org", "Offers@Spam.example")
        (seen,) = await instance.service.list_accounts(AccountsWanted(search="@spam.EX"))
        assert (seen.role, seen.aliases, seen.address) == ("ghost", (), "offers@spam.example")
        shown, _, _ = await instance.service.show_account(seen.uid)
        assert shown.address == seen.address
        assert (await instance.service.show_account(desk.uid))[0].address == ""


async def test_an_account_is_shown_as_it_is(instance: TestInstance) -> None:
    ada, bob = await people(instance, "Ada Lovelace", "Bob Stone")
    await form_group("The Chess Club", ada, bob)
    await away_with(bob)
    waited = (await instance.service.list_accounts())[1].queued
    await ada.post(bob.uid)
    (seen_ada, seen_bob) = await instance.service.list_accounts()
    assert (seen_ada.connected, seen_ada.devices, seen_ada.queued) == (1, 1, 0)
    assert (seen_bob.connected, seen_bob.devices, seen_bob.queued) == (0, 1, waited + 1)
    assert seen_bob.created_ms == instance.clock.wall_ns() // 1_000_000
    account, devices, groups = await instance.service.show_account("Bob Stone")
    assert account == seen_bob
    assert groups == ["The Chess Club"]
    assert [(one.connected, one.queued) for one in devices] == [(False, waited + 1)]
    assert [one.connected for one in await instance.service.list_devices("Ada Lovelace")] == [True]
    barred = await instance.service.bar_account("Ada Lovelace")
    assert (barred.status, barred.created_ms) == ("barred", seen_ada.created_ms)
    assert await found(instance, status=Status.BARRED) == ["Ada Lovelace"]
    assert await found(instance, status=Status.ACTIVE) == ["Bob Stone"]
    removed = await instance.service.remove_account("Bob Stone")
    assert (removed.status, removed.devices, removed.queued) == ("removed", 0, 0)
    assert await found(instance) == ["Ada Lovelace"]
    with pytest.raises(NotFound):
        await instance.service.show_account("Bob Stone")


async def test_groups_and_whom_they_know(instance: TestInstance) -> None:
    ada, bob, carol = await people(instance, "Ada Lovelace", "Bob Stone", "Carol Danvers")
    await form_group("The Chess Club", ada, bob)
    await ada.connection.group_invite("invites carol", "The Chess Club", "Ada Lovelace", "Carol Danvers")
    await form_group("A Book Circle", carol)
    await instance.service.found_group("Zebra Watchers", "Bob Stone")
    listed = await instance.service.list_groups()
    assert [one.gid for one in listed] == ["The Chess Club", "Zebra Watchers"]
    assert [(one.owner, one.joined, one.invited, one.barred) for one in listed] == [
        (ada.uid, 2, 1, 0),
        (bob.uid, 1, 0, 0),
    ]
    assert [one.gid for one in await instance.service.list_groups(limit=1)] == ["The Chess Club"]
    assert [one.gid for one in await instance.service.list_groups(after="The Chess Club")] == ["Zebra Watchers"]
    group, members = await instance.service.show_group("The Chess Club")
    assert group == listed[0]
    assert [(one.alias, one.standing) for one in members] == [
        ("Ada Lovelace", "joined"),
        ("Bob Stone", "joined"),
        ("Carol Danvers", "invited"),
    ]
    with pytest.raises(NotFound):
        await instance.service.show_group("Nothing of That Name")
    for one in (ada, bob, carol):
        await one.quit()


async def test_invitations_come_in_pages_while_they_are_good(instance: TestInstance) -> None:
    now_ms = instance.clock.wall_ns() // 1_000_000
    await instance.service.create_invitations(["one", "two", "three"], now_ms + 60_000)
    await instance.service.create_invitation(note="four")
    first = await instance.service.list_invitations(limit=2)
    second = await instance.service.list_invitations(first[-1].invitation, 5)
    assert [one.note for one in (*first, *second)] == ["one", "two", "three", "four"]
    await instance.service.revoke_invitation(first[0].invitation)
    with pytest.raises(NotFound):
        await instance.service.revoke_invitation(first[0].invitation)
    assert (await instance.service.census()).invitations == 3
    instance.clock.advance(61)
    assert [one.note for one in await instance.service.list_invitations()] == ["four"]
    assert (await instance.service.census()).invitations == 1


async def test_queues_are_told_by_how_long_they_wait(instance: TestInstance) -> None:
    ada, bob, carol, dan = await people(instance, "Ada Lovelace", "Bob Stone", "Carol Danvers", "Dan the Man")
    await dan.block(ada.uid)
    for one in (bob, carol, dan):
        await away_with(one)
    assert await instance.service.list_queues() == []
    assert await instance.service.oldest_queued_ms() is None
    assert await instance.service.octets_queued() == 0
    began_ms = instance.clock.wall_ns() // 1_000_000
    for step, (whom, octets) in enumerate([(carol, 10), (bob, 100_000), (carol, 1_000), (dan, 5)]):
        instance.clock.advance(1)
        await ada.post(whom.uid, data=bytes(octets))
        assert await instance.service.oldest_queued_ms() == began_ms + 1_000
        assert len(await instance.service.list_queues()) == [1, 2, 2, 3][step]
    first, second, third = await instance.service.list_queues()
    assert (first.alias, first.uid, first.deliveries) == ("Carol Danvers", carol.uid, 2)
    assert (second.alias, second.deliveries, second.oldest_ms) == ("Bob Stone", 1, began_ms + 2_000)
    assert 1_010 < first.octets < 3_000
    assert 100_000 < second.octets < 101_000
    assert (third.deliveries, third.octets) == (1, 0)  # hidden from Dan, who has blocked her: it has no octets for him
    assert [one.alias for one in await instance.service.list_queues(1)] == ["Carol Danvers"]
    census = await instance.service.census()
    assert (census.accounts, census.barred, census.oldest_ms) == (4, 0, began_ms + 1_000)
    assert await instance.service.octets_queued() > 101_015
    await ada.quit()


async def test_who_looks_does_not_wait_for_the_writer(instance: TestInstance) -> None:
    ada = await newcomer(instance, "Ada Lovelace")
    held = threading.Event()
    instance.service._writer.submit(Job(lambda ledger: held.wait(10), lambda result: None))
    try:
        await asyncio.sleep(0.1)
        assert await found(instance) == ["Ada Lovelace"]
        assert await instance.service.list_queues() == []
    finally:
        held.set()
    await ada.quit()


@ON_SQLITE
async def test_a_checkpoint_does_not_wait_for_who_looks(tmp_path: Path) -> None:
    """And is made up for, when he has looked: deleted content leaves the log (A4)."""
    database = Database(tmp_path / "service.sqlite3")
    looking, looked = threading.Event(), threading.Event()

    def look(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT count(*) FROM account").scalar()
        looking.set()
        looked.wait(20)

    reading = asyncio.create_task(asyncio.to_thread(database.read, look))
    await asyncio.to_thread(looking.wait, 20)
    database.do(lambda connection: connection.exec_driver_sql("INSERT INTO counter VALUES ('canary', 1)"))
    assert not database.checkpoint()
    assert (tmp_path / "service.sqlite3-wal").stat().st_size > 0
    looked.set()
    await reading
    assert database.checkpoint()
    assert (tmp_path / "service.sqlite3-wal").stat().st_size == 0
    with pytest.raises(DBAPIError, match="readonly"):
        database.read(lambda connection: connection.exec_driver_sql("DELETE FROM counter"))
    database.close()


async def test_of_many_deliveries_it_is_told_about_how_many_octets_they_have(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = await people(instance, "Ada Lovelace", "Bob Stone")
    await away_with(bob)
    for _ in range(12):
        await ada.post(bob.uid, data=bytes(1_000))
    (exactly,) = await instance.service.list_queues()
    everything = await instance.service.octets_queued()
    monkeypatch.setattr(limits, "OCTETS_COUNTED_MAX", 5)
    monkeypatch.setattr(limits, "OCTETS_COUNTED_AT_ONCE", 5)
    (about,) = await instance.service.list_queues()
    assert about.deliveries == exactly.deliveries == 12
    assert abs(about.octets - exactly.octets) < 200
    assert await instance.service.octets_queued() == everything == exactly.octets
    await ada.quit()


# -- how long acks take ----------------------------------------------------------------------------------------------
async def test_the_time_to_an_ack_is_from_the_sending(instance: TestInstance) -> None:
    """And not from the post: a device that was away for a day is not slow."""
    ada = await newcomer(instance, "Ada Lovelace")
    peer = await RawPeer().register(instance, "Bob Stone")
    peer.vanish()
    await instance.settle()
    service, posts = instance.service, instance.service.figures()["posts_total"]
    await ada.post(peer.uid)
    assert service.figures()["posts_total"] == posts + 1
    await instance.advance(100)
    before = service.ack_latencies.counts()
    assert sum(before) == service.figures()["acks_total"]
    again = RawPeer()
    await again.connect(instance)
    await again.send(m.encode_head(m.TmtpRev("1")) + m.encode_head(m.Login(peer.uid, peer.node)))
    read = await again.until(b'"op":"delivery"')
    await instance.advance(3)
    await again.acknowledge(read)
    while service.figures()["acks_total"] == sum(before):
        await instance.settle()
    took = since(before, service.ack_latencies.counts())
    assert sum(took) >= 1
    assert quantile_ms(took, 0.99) == 3_250.0
    again.close()
    await ada.quit()


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.0001, 0.001, 0.0333, 0.5, 1.0, 7.7, 600.0, 1e6])
def test_what_is_told_of_a_duration_is_near_to_it(seconds: float) -> None:
    latencies = Latencies()
    latencies.record(seconds)
    told_ms = quantile_ms(latencies.counts(), 0.5)
    assert told_ms is not None
    expected_s = min(max(seconds, 2**-14), 1024.0)
    assert expected_s * 1000 * 0.999 <= told_ms <= expected_s * 1000 * 1.14


def test_quantiles_part_what_was_counted() -> None:
    latencies = Latencies()
    for number in range(1, 1_001):
        latencies.record(number / 1000)
    half, nearly_all = (quantile_ms(latencies.counts(), part) for part in (0.5, 0.99))
    assert half is not None
    assert nearly_all is not None
    assert 500 <= half <= 563
    assert 990 <= nearly_all <= 1_125
    assert quantile_ms(since(latencies.counts(), latencies.counts()), 0.5) is None
