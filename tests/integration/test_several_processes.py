# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two services on one PostgreSQL database are one service (A4, A6, B4; docs/scaling.md).

Both run in this process, with everything of their own that two processes have: a slot, a writer, caches, a bus.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.devices import KeyDevice, fresh_id, newcomer, refusal
from tests.support.instance import ManualClock, TestInstance, running_instance
from tests.support.postgresql import Cluster, binaries, cluster
from tmtp_core import limits
from tmtp_core.domain.policy import Acquaintance, Policy, Quotas
from tmtp_core.errors import UNAVAILABLE, ServiceUnavailable
from tmtp_core.store.ledger import SqlLedger
from tmtp_core.store.trouble import CommitUnknown
from tmtp_core.store.writer import Job
from tmtp_core.wire import messages as m

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql")

PATIENCE_S = 60.0
EVERYONE = Policy(acquaintance=Acquaintance.EVERYONE)


class Pair:
    """Two services on one database."""

    def __init__(self, one: TestInstance, other: TestInstance, database: str) -> None:
        self.one = one
        self.other = other
        self.database = database
        self.hanging: set[TestInstance] = set()

    async def live(self) -> None:
        """The clocks of the tests stand still; the leases run by the database's."""
        while True:
            for instance in {self.one, self.other} - self.hanging:
                instance.service._bus.renew()
            await asyncio.sleep(1)

    def ask(self, sql: str) -> list[str]:
        """What the database says."""
        return cluster().ask(sql, self.database)

    def break_bus(self, instance: TestInstance) -> None:
        """End the connection over which an instance hears of the other."""
        slot = instance.service._bus.slot
        held = f"locktype = 'advisory' AND objid = {slot} AND objsubid = 2"
        assert self.ask(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {held}")

    async def advance(self, seconds: float) -> None:
        """Let time pass for both."""
        for instance in (self.one, self.other):
            await instance.advance(seconds)


@asynccontextmanager
async def a_pair(folder: Path, policy: Policy = EVERYONE) -> AsyncIterator[Pair]:
    database = await asyncio.to_thread(cluster().new_database)
    async with (
        running_instance(folder / "instance", policy=policy, database=database, clock=ManualClock()) as one,
        running_instance(folder / "instance", policy=policy, database=database, clock=ManualClock()) as other,
    ):
        pair = Pair(one, other, database)
        living = asyncio.create_task(pair.live())
        try:
            yield pair
        finally:
            living.cancel()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.01)


def move(device: KeyDevice, to: TestInstance) -> None:
    device.instance = to


async def test_what_is_posted_here_arrives_there(tmp_path: Path) -> None:
    """Small and large, in order and once, and the sender's other device, on the other service, has its copy."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        copy = await alice.add_full_device()
        await copy.quit()
        move(copy, pair.other)
        await copy.log_in()
        for number in range(60):
            await alice.post(bob.uid, data=b"%d" % number)
        await alice.post(bob.uid, data=bytes(200_000))
        for device in (bob, copy):
            for number in range(60):
                assert (await device.next(m.Delivery))[1] == b"%d" % number
            assert len((await device.next(m.Delivery))[1]) == 200_000
        await bob.post(alice.uid, data=b"thank you")
        assert (await alice.next(m.Delivery))[1] == b"thank you"
        for device in (alice, bob, copy):
            await device.quit()
        await pair.one.settle()
        assert pair.ask("SELECT count(*) FROM message") == ["0"]
        assert list((tmp_path / "instance" / "payloads").iterdir()) == []
        assert pair.ask("SELECT count(*) FROM link") == ["0"]


async def test_two_that_take_the_last_copies_at_once_leave_nothing_behind(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        here, there = await newcomer(pair.one, "Somebody Here"), await newcomer(pair.other, "Somebody There")
        await asyncio.gather(*(alice.post(here.uid, there.uid, data=bytes(70_000)) for _ in range(40)))
        for device in (here, there):
            for _ in range(40):
                await device.next(m.Delivery)
        for device in (alice, here, there):
            await device.quit()
        assert pair.ask("SELECT count(*) FROM message") == ["0"]
        assert list((tmp_path / "instance" / "payloads").iterdir()) == []


async def test_who_arrives_while_something_is_posted_elsewhere_misses_nothing(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")

        async def come_and_go() -> None:
            for _ in range(15):
                await bob.quit()
                await bob.log_in()

        async def post() -> None:
            for number in range(150):
                await alice.post(bob.uid, data=b"%d" % number)

        await asyncio.gather(come_and_go(), post())
        came: dict[str, bytes] = {}
        while len(came) < 150:  # what comes while it says good-bye is not acknowledged, and comes again
            event, data = await bob.next(m.Delivery)
            came.setdefault(event.id, data)
        assert list(came.values()) == [b"%d" % number for number in range(150)]
        for device in (alice, bob):
            await device.quit()


async def test_a_node_is_one_processs_at_a_time(tmp_path: Path) -> None:
    """An old link that lives keeps it, one that is silent loses it, as within one process (decision 0003)."""
    async with a_pair(tmp_path) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        second = KeyDevice(pair.other, alice.uid, alice.signer, alice.recovery)
        assert await refusal(second.log_in()) == "node already connected"  # the first one answers the probe
        await alice.connection.ask(m.UserEdit(fresh_id(), newalias="Ada the First"))

        alice.deaf = True  # and acknowledges nothing, so that it shows no life
        entering = asyncio.create_task(second.log_in())
        await until(lambda: bool(pair.one.service._entrance._contests))
        await pair.one.advance(limits.CONTEST_S + 1)
        assert (await entering).info == "login ok"
        await alice.ends()
        await second.quit()


async def test_a_device_moves_on(tmp_path: Path) -> None:
    """Where it logged out it may at once come back elsewhere, and its numbers go on from there."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.one, "Bob the Builder")
        await bob.quit()
        pair.one.clock.step_wall(3600)  # the clock of the first is an hour ahead
        numbers = []
        for number in range(6):
            acked = await alice.post(bob.uid, data=b"%d" % number)
            numbers.append(acked.msgid)
            await alice.quit()
            move(alice, pair.other if number % 2 == 0 else pair.one)
            await alice.log_in()
        assert len(set(numbers)) == 6
        await bob.log_in()
        assert [(await bob.next(m.Delivery))[1] for _ in range(6)] == [b"%d" % number for number in range(6)]
        for device in (alice, bob):
            await device.quit()


async def test_presence_is_told_everywhere(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        await alice.connection.ask(m.OhiEdit(fresh_id(), "init", (m.Recipient(bob.uid, m.TO_UID),)))
        await until(lambda: bob.present == [(alice.uid, 1)])
        await bob.quit()
        info = await bob.log_in()
        assert info.ohi == (alice.uid,)
        async with running_instance(
            tmp_path / "instance", policy=EVERYONE, database=pair.database, clock=ManualClock()
        ) as third:  # hears of who is present when it comes
            await bob.quit()
            move(bob, third)
            await until(lambda: alice.uid in third.service._board.present_for(bob.uid))
            assert (await bob.log_in()).ohi == (alice.uid,)
            await bob.quit()
        move(bob, pair.other)
        await bob.log_in()
        bob.present.clear()
        await alice.quit()
        await until(lambda: bob.present == [(alice.uid, 2)])
        await bob.quit()


async def test_a_block_hides_presence_everywhere(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        await alice.connection.ask(m.OhiEdit(fresh_id(), "init", (m.Recipient(bob.uid, m.TO_UID),)))
        await until(lambda: bob.present == [(alice.uid, 1)])
        await bob.block(alice.uid)
        await until(lambda: bob.present == [(alice.uid, 1), (alice.uid, 2)])
        await alice.post(bob.uid, data=b"hidden")  # the first service knows of the block, too
        await bob.block(alice.uid, "unblock")
        await alice.post(bob.uid, data=b"shown")
        assert (await bob.next(m.Delivery))[1] == b"shown"
        for device in (alice, bob):
            await device.quit()


async def test_what_is_decided_here_holds_there(tmp_path: Path) -> None:
    """Consent, devices, groups, bars: what the other service has in memory gives way."""
    async with a_pair(tmp_path, Policy(acquaintance=Acquaintance.INTRODUCTION)) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        assert "acquaint" in await refusal(alice.post(bob.uid))
        await bob.ping("Alice Liddell")
        await alice.ping("Bob the Builder")
        await alice.post(bob.uid, data=b"now we know each other")
        assert (await bob.next(m.Delivery))[1] == b"now we know each other"

        second = await bob.add_full_device()  # the first service knows Bob with one device
        await alice.post(bob.uid, data=b"to both")
        for device in (bob, second):
            assert (await device.next(m.Delivery))[1] == b"to both"

        await alice.connection.ask(m.GroupInvite(fresh_id(), "The Two of Us", "Alice Liddell", "Bob the Builder"))
        await bob.next(m.InviteEvent)
        await bob.connection.ask(m.GroupEdit(fresh_id(), "join", "The Two of Us", newalias="Bob the Builder"))
        await alice.connection.post(fresh_id(), [m.Recipient("The Two of Us", m.TO_GROUP_NOT_SELF)], b"to the group")
        assert (await bob.next(m.Delivery))[1] == b"to the group"

        await pair.one.service.bar_account("Bob the Builder")
        assert await bob.ends() == "account barred"
        assert await refusal(bob.log_in()) == "login failed"
        await pair.other.service.lift_bar("Bob the Builder")
        await bob.log_in()
        for device in (alice, bob):
            await device.quit()


async def test_a_revoked_devices_link_ends_wherever_it_is(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        second = await alice.add_full_device()
        await second.quit()
        move(second, pair.other)
        await second.log_in()
        await alice.append("suspend", target=second.name)
        assert "suspended" in await second.ends()
        await alice.quit()


async def test_the_dead_are_buried_and_their_devices_move_on(tmp_path: Path) -> None:
    """A service that is not heard of loses its slot; it commits nothing more, and says so."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        await alice.connection.ask(m.OhiEdit(fresh_id(), "init", (m.Recipient(bob.uid, m.TO_UID),)))
        await until(lambda: bob.present == [(alice.uid, 1)])
        while pair.ask("SELECT pg_postmaster_start_time() < clock_timestamp() - interval '11 s'") != ["t"]:
            await asyncio.sleep(0.5)  # nobody is dead so soon after the database has come
        pair.hanging.add(pair.one)
        slot = pair.one.service._bus.slot
        pair.ask(f"UPDATE process SET seen_ms = seen_ms - 3600000 WHERE slot = {slot}")  # as if it hung for an hour
        second = KeyDevice(pair.other, alice.uid, alice.signer, alice.recovery)
        assert (await second.log_in()).info == "login ok"  # nobody is asked
        assert pair.ask(f"SELECT count(*) FROM process WHERE slot = {slot}") == ["0"]
        assert await refusal(alice.post(bob.uid)) in {UNAVAILABLE, "the service closed the connection"}
        await asyncio.wait_for(pair.one.service.evicted.wait(), PATIENCE_S)
        assert not pair.one.service.has_room
        pair.other.running.tick()
        await until(lambda: bob.present[-1] == (alice.uid, 2))
        await second.post(bob.uid, data=b"from the other side")
        assert (await bob.next(m.Delivery))[1] == b"from the other side"
        for device in (second, bob):
            await device.quit()


async def test_a_database_that_goes_away_comes_back(tmp_path: Path) -> None:
    """Nobody is told that something is stored which is not; then everything goes on by itself (A4)."""
    own = await asyncio.to_thread(Cluster)
    await asyncio.to_thread(own.start)
    try:
        database = own.new_database()
        folder = tmp_path / "instance"
        async with (
            running_instance(folder, policy=EVERYONE, database=database) as one,
            running_instance(folder, policy=EVERYONE, database=database) as other,
        ):
            alice, bob = await newcomer(one, "Alice Liddell"), await newcomer(other, "Bob the Builder")
            await alice.post(bob.uid, data=b"before")
            assert (await bob.next(m.Delivery))[1] == b"before"
            await asyncio.to_thread(own.stop)
            assert "unavailable" in await refusal(alice.post(bob.uid, data=b"meanwhile"))
            await asyncio.to_thread(own.start)
            await alice.log_in()
            await alice.post(bob.uid, data=b"after")
            assert (await bob.next(m.Delivery))[1] == b"after"
            await until(lambda: one.service.healthy and other.service.healthy)
            for device in (alice, bob):
                await device.quit()
    finally:
        await asyncio.to_thread(own.remove)


async def test_a_first_contact_counts_once(tmp_path: Path) -> None:
    """Who is written to for the first time is decided upon twice, and counted once."""
    policy = Policy(acquaintance=Acquaintance.EVERYONE, quotas=Quotas(posts_per_hour=3))
    async with a_pair(tmp_path, policy) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        others = [await newcomer(pair.other, f"Other Person {number}") for number in range(4)]
        for other in others[:3]:
            await alice.post(other.uid)
        assert "quota" in await refusal(alice.post(others[3].uid))
        assert pair.one.service._writer.figures.repeated > 0
        for device in (alice, *others):
            await device.quit()


async def test_a_start_sweeps_its_own_orphans_and_nobody_elses(tmp_path: Path) -> None:
    """Another process may be writing a payload just now; what a dead one left goes when its slot is taken again."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.one, "Bob the Builder")
        await bob.quit()
        await alice.post(bob.uid, data=bytes(100_000))
        slots = [instance.service._bus.slot for instance in (pair.one, pair.other)]
        payloads = tmp_path / "instance" / "payloads"
        (named,) = payloads.iterdir()
        orphans = [payloads / f"{slot:x}-left" for slot in slots]
        for orphan in orphans:
            orphan.write_bytes(b"x")
        await pair.other.restart()
        assert [orphan.exists() for orphan in orphans] == [True, False]
        assert named.exists()
        move(bob, pair.other)
        await bob.log_in()
        assert len((await bob.next(m.Delivery))[1]) == 100_000
        for device in (alice, bob):
            await device.quit()


async def test_what_postgresql_does_not_take_harms_only_who_sent_it(tmp_path: Path) -> None:
    """Text with a zero character: SQLite stores it. The others of its batch are committed."""
    async with a_pair(tmp_path) as pair:
        service = pair.one.service

        def poisoned(ledger: SqlLedger) -> None:
            ledger._writing.execute(text("SELECT 1 / :nothing").bindparams(nothing=0))

        results = await asyncio.gather(
            service.decide(lambda ledger: "before"),
            service.decide(poisoned),
            service.decide(lambda ledger: "after"),
            return_exceptions=True,
        )
        assert [type(result).__name__ for result in results] == ["str", "ServiceUnavailable", "str"]
        alice = await newcomer(pair.one, "Alice Liddell")
        failures = service.figures()["commit_failures_total"]
        assert await refusal(alice.ping("Alice\0Liddell")) == "Lookup: iAlias Alice\0Liddell not found"
        await service.create_invitation(note="a note\0 with a zero")
        assert [one.note for one in await service.list_invitations()] == ["a note\ufffd with a zero"]
        assert service.figures()["commit_failures_total"] == failures
        with pytest.raises(ServiceUnavailable):
            await service.create_invitation(expires_ms=1 << 63)
        await alice.quit()


async def test_a_link_that_only_the_database_knows_of_keeps_nobody_out(tmp_path: Path) -> None:
    """A log-in whose commit was not answered may be durable all the same."""
    async with a_pair(tmp_path) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        await alice.quit()
        await pair.one.settle()
        slot = pair.one.service._bus.slot
        pair.ask(f"INSERT INTO link (device, slot) SELECT key, {slot} FROM device")
        move(alice, pair.other)
        assert (await alice.log_in()).info == "login ok"
        await alice.quit()


async def test_a_process_that_stops_in_a_transaction_stops_nobody_for_long(tmp_path: Path) -> None:
    """Its connection ends with its lease, and the lock that it holds is free; no default of the database's matters."""
    async with a_pair(tmp_path) as pair:
        said = pair.one.service._database.do(
            lambda connection: [
                connection.scalar(text(f"SHOW {name}"))
                for name in ("idle_in_transaction_session_timeout", "transaction_isolation", "tcp_user_timeout")
            ]
        )
        assert said == ["10s", "read committed", "10000"]


async def test_presence_that_is_toggled_is_told_as_often(tmp_path: Path) -> None:
    """PostgreSQL makes one of two notices of a transaction that are alike."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        to_bob = (m.Recipient(bob.uid, m.TO_UID),)
        for number in range(60):
            await alice.connection.ask(m.OhiEdit(fresh_id(), "drop" if number % 2 else "add", to_bob))
        await until(lambda: len(bob.present) == 60)
        assert bob.present == [(alice.uid, 1), (alice.uid, 2)] * 30
        for device in (alice, bob):
            await device.quit()


async def test_a_senders_order_holds_while_notices_are_away(tmp_path: Path) -> None:
    """What was posted elsewhere comes first, also to who would hear of the second post at once, and of the first later."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.other, "Alice Liddell"), await newcomer(pair.one, "Bob the Builder")
        for number in range(10):
            pair.break_bus(pair.one)
            await alice.post(bob.uid, data=b"%d there" % number)
            await alice.quit()
            move(alice, pair.one)
            await alice.log_in()
            await alice.post(bob.uid, data=b"%d here" % number)
            for where in (b"there", b"here"):
                assert (await bob.next(m.Delivery))[1] == b"%d " % number + where
            await alice.quit()
            await until(lambda: pair.one.service._listens)
            move(alice, pair.other)
            await alice.log_in()
        for device in (alice, bob):
            await device.quit()


async def test_who_only_looks_is_let_in_beside_others(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        await alice.post(alice.uid)
        await pair.one.settle()
        database, alone = pair.one.service._database, []
        transaction = database.transaction

        def noted(**how: bool) -> Any:
            alone.append(how["alone"])
            return transaction(**how)

        database.transaction = noted
        await alice.log()
        await alice.post(alice.uid)
        assert alone
        assert not any(alone)
        await alice.quit()


async def test_a_payload_whose_commit_was_not_answered_stays(tmp_path: Path) -> None:
    """Also when its batch is tried job by job, since another job of it was at fault (A4)."""
    async with a_pair(tmp_path) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.one, "Bob the Builder")
        await bob.quit()
        await alice.post(bob.uid)
        await pair.one.settle()
        writer = pair.one.service._writer
        commit, lost = writer._commit, []

        def unanswered(jobs: list[Any], *rest: Any, **options: Any) -> Any:
            if len(jobs) > 1:
                raise ValueError("another job of the batch is at fault")
            done = commit(jobs, *rest, **options)
            if jobs and jobs[0].files and not lost:
                lost.append(jobs[0])
                raise CommitUnknown("the commit was not answered")
            return done

        writer._commit = unanswered
        blocked = threading.Event()
        writer.submit(Job(lambda ledger: blocked.wait(PATIENCE_S), lambda result: None))
        to_bob = [m.Recipient(bob.uid, m.TO_UID)]
        posting = asyncio.create_task(alice.connection.post("large", to_bob, bytes(100_000)))
        await until(lambda: len(writer._jobs) == 1)  # its payload is durable, and it waits
        writer.submit(Job(lambda ledger: None, lambda result: None))
        blocked.set()
        assert "unavailable" in await refusal(posting)
        assert lost
        await pair.one.settle()
        await alice.log_in()
        await alice.connection.post("large", to_bob, bytes(100_000))
        await bob.log_in()
        assert (await bob.next(m.Delivery))[1] == b"content"
        assert len((await bob.next(m.Delivery))[1]) == 100_000
        for device in (alice, bob):
            await device.quit()


async def test_who_is_barred_while_a_process_has_no_connection_is_cut_all_the_same(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as pair:
        alice = await newcomer(pair.one, "Alice Liddell")
        await pair.one.settle()
        await asyncio.sleep(0.5)  # it has looked at what it was told of: the next look is the one after the bar
        pair.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tmtp-gateway'")
        with contextlib.suppress(ServiceUnavailable):  # its own connection is gone, too
            await pair.other.settle()
        await pair.other.service.bar_account("Alice Liddell")
        assert await alice.ends() == "account barred"
