# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vetting records (C2): seeded, made by hand, suspended by whom and by what, and never by a forger."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import Evidence
from bridges.smtp.peers import Networks, customer_of, network_of
from bridges.smtp.policy.rules import SenderRule
from bridges.smtp.senders.vetting import Vetting
from bridges.smtp.settings import Route
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions

DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2
AUTHOR = "orders@partner.example"
BY_DKIM = m.VetSender(proof=[m.Proof(dkim="partner.example")], address=AUTHOR)
BY_NETWORK = m.VetSender(proof=[m.Proof(network="192.0.2.0/24")], domain="partner.example")
EVIDENCE = Evidence(
    peer="192.0.2.7", mail_from="", author=AUTHOR, domain="partner.example", mail="", size=1
)  # fmt: skip


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS

    def wall_ns(self) -> int:
        return self.now_ms * 1_000_000

    def monotonic_s(self) -> float:
        return self.now_ms / 1_000


@dataclass
class Bench:
    """The records of one intake, opened; `told`: what administrators were told; `covered`: whom new records vet."""

    vetting: Vetting
    database: BridgeDatabase
    decisions: Decisions
    clock: Clock
    told: list[str]
    changed: list[int]
    covered: list[tuple[int, str, str]] = field(default_factory=list)
    mails: int = 0

    @property
    def record(self) -> SenderRule:
        record = self.vetting.rules.sender(AUTHOR)
        assert record is not None
        return record

    async def passed(self, *, taken: bool = True, **changed: Any) -> None:
        evidence, record, now_ms = self._mail(changed), self.record, self.clock.now_ms
        await self.database.write(lambda db: self.vetting.passed(db, record, evidence, now_ms, taken=taken))

    async def failed(self, times: int = 1, **changed: Any) -> None:
        mails, record, now_ms = [self._mail(changed) for _ in range(times)], self.record, self.clock.now_ms
        await self.database.write(lambda db: [self.vetting.failed(db, record, mail, now_ms) for mail in mails])
        await asyncio.sleep(0)

    def _mail(self, changed: dict[str, Any]) -> Evidence:
        self.mails += 1
        return msgspec.structs.replace(EVIDENCE, **{"mail": str(self.mails), **changed})

    async def acts(self) -> list[tuple[str, str, str]]:
        page = await self.decisions.page(None, 100)
        bodies = [msgspec.json.decode(entry.body) for entry in page.entries]
        return [(body["by"], body["act"], body["target"]) for body in reversed(bodies)]


@asynccontextmanager
async def bench(
    folder: Path, *seeds: m.VetSender, clock: Clock | None = None, upstream: Networks | None = None
) -> AsyncIterator[Bench]:
    clock = clock or Clock()
    database = BridgeDatabase(folder / "bridge.sqlite3")
    decisions = Decisions(database, clock, 400)
    told: list[str] = []
    changed: list[int] = []
    covered: list[tuple[int, str, str]] = []
    vetting = Vetting(
        "intake",
        database,
        clock,
        [Route("support@example.org"), Route("sales@example.org")],
        upstream or Networks(),
        decisions.append,
        lambda connection, number, address, domain, at_ms: covered.append((number, address, domain)),
        told.append,
        lambda: changed.append(1),
    )
    await database.open()
    try:
        await vetting.open(seeds)
        yield Bench(vetting, database, decisions, clock, told, changed, covered)
    finally:
        await database.close()


async def test_what_the_settings_file_says_is_so(tmp_path: Path) -> None:
    clock = Clock()
    async with bench(tmp_path, BY_DKIM, BY_NETWORK, clock=clock) as one:
        first, second = await one.vetting.list()
        assert (first.address, first.domain, first.source, first.created_by) == (
            AUTHOR,
            "",
            "settings",
            "settings file",
        )
        assert (second.address, second.domain, second.state) == ("", "partner.example", "active")
        assert one.covered == [(1, AUTHOR, ""), (2, "", "partner.example")]
        assert one.vetting.vets(AUTHOR)
        assert one.vetting.vets("else@partner.example")
        assert not one.vetting.vets("else@other.example")
    async with bench(tmp_path, BY_DKIM, BY_NETWORK, clock=clock) as one:  # the same again is no news
        assert len(await one.acts()) == 2
    clock.now_ms += 1
    changed = msgspec.structs.replace(BY_DKIM, owner="Purchasing", quota_per_day=3)
    async with bench(tmp_path, changed, clock=clock) as one:
        first, second = await one.vetting.list()
        assert (first.number, first.owner, first.quota_per_day, first.state) == (1, "Purchasing", 3, "active")
        assert (second.state, second.why) == ("withdrawn", "it is gone from the settings file")
        assert not one.vetting.vets("else@partner.example")
        settings = "settings file"
        assert (await one.acts())[2:] == [
            (settings, "senders.vet", AUTHOR),
            (settings, "senders.withdraw", "all of partner.example"),
        ]
    async with bench(tmp_path, BY_NETWORK, clock=clock) as one:  # and back: a new record
        assert [sender.number for sender in await one.vetting.list("active")] == [3]


async def test_a_suspension_outlives_a_restart_unless_the_entry_says_something_else(tmp_path: Path) -> None:
    async with bench(tmp_path, BY_DKIM) as one:
        await one.vetting.suspend(1, "ada", "looked odd")
    async with bench(tmp_path, BY_DKIM) as one:
        assert one.record.suspended == "looked odd"
        assert one.vetting.attention == [f"record 1, {AUTHOR}, is suspended: looked odd"]
    words = msgspec.structs.replace(BY_DKIM, owner="Purchasing", reason="asked for by Ada")
    async with bench(tmp_path, words) as one:  # who answers for it is nothing that mail is decided by
        assert one.record.suspended == "looked odd"
        assert (await one.vetting.show(1)).owner == "Purchasing"
    mended = msgspec.structs.replace(BY_DKIM, proof=[m.Proof(dkim="mail.partner.example")])
    async with bench(tmp_path, mended) as one:
        assert not one.record.suspended
        assert one.vetting.attention == []


async def test_the_file_has_the_last_word_about_whom_it_names(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        assert (await one.vetting.vet(BY_DKIM, "ada")).source == "administrator"
    async with bench(tmp_path, BY_DKIM) as one:
        states = [(sender.source, sender.state) for sender in await one.vetting.list()]
        assert states == [("administrator", "withdrawn"), ("settings", "active")]
        with pytest.raises(BridgeRefused, match="stands in the settings file: change it there"):
            await one.vetting.vet(BY_DKIM, "ada")
        with pytest.raises(BridgeRefused, match="stands in the settings file: remove it there, or suspend it"):
            await one.vetting.withdraw(2, "ada", "")


async def test_a_record_made_by_hand(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        given = m.VetSender(
            proof=[m.Proof(dkim="Partner.Example"), m.Proof(spf="aligned")],
            address="Orders@Partner.example",
            owner="Purchasing",
            reason="asked for by Ada",
            expires_ms=NOON_MS + 1,
            routes=["Support@example.org"],
            quota_per_day=5,
        )
        changes = len(one.changed)
        made = await one.vetting.vet(given, "ada")
        assert (made.number, made.address, made.created_by, made.created_ms) == (1, AUTHOR, "ada", NOON_MS)
        assert (made.owner, made.routes, made.quota_per_day) == ("Purchasing", ["support@example.org"], 5)
        assert made.proof == [m.Proof(dkim="partner.example"), m.Proof(spf="aligned")]
        assert one.record.routes == {"support@example.org"}
        assert one.record.words == "dkim=partner.example, spf=aligned"
        assert one.covered == [(1, AUTHOR, "")]
        await asyncio.sleep(0)
        assert len(one.changed) == changes + 1
        with pytest.raises(BridgeRefused, match="has record 1 already: withdraw that first"):
            await one.vetting.vet(given, "ada")
        suspended = await one.vetting.suspend(1, "ada", "a doubt")
        assert (suspended.state, suspended.why) == ("suspended", "a doubt")
        assert one.record.suspended == "a doubt"
        with pytest.raises(BridgeRefused, match="record 1 is suspended already"):
            await one.vetting.suspend(1, "ada", "")
        assert (await one.vetting.resume(1, "bob", "no doubt")).state == "active"
        assert one.record.suspended == ""
        with pytest.raises(BridgeRefused, match="record 1 is not suspended"):
            await one.vetting.resume(1, "ada", "")
        one.clock.now_ms += 1  # now it has expired, and another can take its place
        assert (await one.vetting.show(1)).state == "expired"
        assert one.vetting.attention == [f"record 1, {AUTHOR}, has expired: renew or withdraw it"]
        anew = await one.vetting.vet(msgspec.structs.replace(given, expires_ms=None), "ada")
        assert anew.number == 2
        assert (await one.vetting.withdraw(2, "ada", "gone")).state == "withdrawn"
        assert one.vetting.rules.sender(AUTHOR) is None
        with pytest.raises(BridgeRefused, match="record 2 is withdrawn: vet the sender anew"):
            await one.vetting.resume(2, "ada", "")
        with pytest.raises(BridgeRefused, match="there is no record 3"):
            await one.vetting.show(3)
        assert [act for _, act, _ in await one.acts()] == [
            "senders.vet",
            "senders.suspend",
            "senders.resume",
            "senders.withdraw",
            "senders.vet",
            "senders.withdraw",
        ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"address": None}, "a sender is an address or a domain"),
        ({"domain": "partner.example"}, "a sender is an address or a domain"),
        ({"address": "nobody"}, "address: nobody is no mail address"),
        ({"address": "a(b)@partner.example"}, "no address that mail could come from"),
        ({"proof": [m.Proof()]}, r"proof\[0\]: each entry names exactly one proof"),
        ({"proof": [m.Proof(dkim="other.test")]}, "never aligned with partner.example"),
        ({"proof": [m.Proof(network="0.0.0.0/0")]}, r"proof\[0\].network: 0.0.0.0/0 is everybody"),
        ({"proof": [m.Proof(network="127.0.0.0/8")]}, "overlaps 127.0.0.1/32 of upstream"),
        ({"proof": [m.Proof(client_certificate="x")]}, "x is no pin"),
        ({"routes": ["ceo@example.org"]}, r"routes\[0\]: there is no route for ceo@example.org: one of sales@"),
        ({"expires_ms": NOON_MS}, "that day is over"),
    ],
)
async def test_what_a_record_cannot_say(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    import ipaddress  # noqa: PLC0415

    upstream = Networks((ipaddress.ip_network("127.0.0.1/32"),))
    async with bench(tmp_path, upstream=upstream) as one:
        with pytest.raises(BridgeRefused, match=said) as refused:
            await one.vetting.vet(msgspec.structs.replace(BY_DKIM, **changed), "ada")
        assert refused.value.kind == "invalid"
        assert await one.acts() == []


async def test_records_are_found(tmp_path: Path) -> None:
    async with bench(tmp_path, BY_NETWORK) as one:
        for number in range(5):
            owner = "100%" if number == 3 else "Purchasing"
            said = m.VetSender(proof=BY_DKIM.proof, address=f"a{number}@partner.example", owner=owner)
            await one.vetting.vet(said, "ada")
        await one.vetting.suspend(4, "ada", "")

        async def numbers(*asked: Any) -> list[int]:
            return [sender.number for sender in await one.vetting.list(*asked)]

        assert await numbers() == [1, 2, 3, 4, 5, 6]
        assert await numbers(None, "", 2, 2) == [3, 4]
        assert await numbers("suspended") == [4]
        assert await numbers("active", "PURCH") == [2, 3, 6]
        assert await numbers(None, "0%") == [5]
        assert await numbers("expired") == []


# -- quota ---------------------------------------------------------------------------------------------------------------
async def test_a_quota_is_a_days_and_outlives_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    async with bench(tmp_path, BY_DKIM, clock=clock) as one:
        take_back = one.vetting.reserve(1, clock.now_ms)
        assert one.vetting.today(1, clock.now_ms) == 1
        take_back()
        assert one.vetting.today(1, clock.now_ms) == 0
        for _ in range(2):
            one.vetting.reserve(1, clock.now_ms)
            await one.passed()
        await one.passed(taken=False)  # a duplicate
        assert one.vetting.today(1, clock.now_ms) == 2
    async with bench(tmp_path, BY_DKIM, clock=clock) as one:
        assert one.vetting.today(1, clock.now_ms) == 2
        assert (await one.vetting.show(1)).today == 2
        late = one.vetting.reserve(1, clock.now_ms)
        clock.now_ms = (NOON_MS // DAY_MS + 1) * DAY_MS - 1
        assert one.vetting.today(1, clock.now_ms) == 3
        clock.now_ms += 1  # midnight, UTC
        assert one.vetting.today(1, clock.now_ms) == 0
        assert (await one.vetting.show(1)).today == 0
        one.vetting.reserve(1, clock.now_ms)
        late()  # yesterday's is nothing to this day
        assert one.vetting.today(1, clock.now_ms) == 1
        assert one.vetting.today(1, clock.now_ms - 1) == 1  # nor does a mail that began yesterday begin it anew
        assert one.vetting.today(1, clock.now_ms) == 1


# -- it suspends itself --------------------------------------------------------------------------------------------------
async def test_a_proof_that_stops_passing_suspends_its_record(tmp_path: Path) -> None:
    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed(peer="192.0.2.99")  # a neighbour in the same /24
        await one.failed(2)
        assert not one.record.suspended
        assert one.told == []
        await one.failed()
        assert "failed for 3 mails in a row" in one.record.suspended
        assert len(one.told) == 1
        assert one.told[0].startswith(f"Mail from {AUTHOR} is suspended: its proof failed")
        assert "resume record 1" in one.told[0]
        assert (await one.acts())[-1] == ("rule: its proof stopped passing", "senders.suspend", AUTHOR)
        assert (await one.vetting.show(1)).failed_ms == NOON_MS
        await one.failed(3)  # said once
        assert len(one.told) == 1
        await one.vetting.resume(1, "ada", "their signer is mended")
        assert (await one.vetting.show(1)).failures == 0
        await one.failed(2)
        assert not one.record.suspended
    async with bench(tmp_path, BY_DKIM) as one:  # what has failed outlives a restart
        await one.failed()
        assert one.record.suspended


async def test_only_failures_in_a_row_suspend(tmp_path: Path) -> None:
    async with bench(tmp_path, BY_DKIM) as one:
        for _ in range(5):
            await one.passed()
            await one.failed(2)
        assert not one.record.suspended
        assert (await one.vetting.show(1)).failures == 2


async def test_one_mail_fails_once(tmp_path: Path) -> None:
    """Sent to many recipients, or tried again and again, it is one mail whose signature broke."""
    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed()
        await one.failed(5, mail="the same")
        assert not one.record.suspended


@pytest.mark.parametrize("peer", ["198.51.100.1", "192.0.3.7", "2001:db8:2::1", ""])
async def test_a_forger_cannot_suspend(tmp_path: Path, peer: str) -> None:
    """From wherever the record's proof has not passed, however often, on however many days."""
    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed(peer="192.0.2.7")
        await one.passed(peer="2001:db8:1::1")
        for _ in range(40):
            await one.failed(12, peer=peer)
            one.clock.now_ms += DAY_MS
        assert not one.record.suspended
        assert one.told == []
        count = await one.database.read(lambda db: db.exec_driver_sql("SELECT count(*) FROM sender_failure").scalar())
        assert 0 < count <= 31 * limits.FAILURES_PER_DAY_MAX  # and it writes no more than that
        await one.failed(3, peer="192.0.2.8")  # which is a month ago by now: nobody's network any more
        assert not one.record.suspended
        await one.passed(peer="192.0.2.7")
        await one.failed(3, peer="192.0.2.8")
        assert one.record.suspended


async def test_a_forgers_flood_hides_no_failures_of_the_senders_own(tmp_path: Path) -> None:
    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed()
        await one.failed(50, peer="198.51.100.1")
        await one.failed(3)
        assert one.record.suspended


async def test_behind_a_server_in_front_days_count(tmp_path: Path) -> None:
    """It says no network: ten in a row, on three days, and none that passes in between."""
    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed(upstream=True)
        await one.failed(30, upstream=True)
        one.clock.now_ms += DAY_MS
        await one.failed(30, upstream=True)
        assert not one.record.suspended
        await one.passed(upstream=True)
        for day in range(3):
            assert not one.record.suspended
            one.clock.now_ms += DAY_MS
            await one.failed(3 if day < 2 else 4, upstream=True)
        assert "10 mails on 3 days, and passed for none" in one.record.suspended


async def test_another_proof_begins_anew(tmp_path: Path) -> None:
    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed()
        await one.failed(2)
    mended = msgspec.structs.replace(BY_DKIM, proof=[m.Proof(dkim="mail.partner.example")])
    async with bench(tmp_path, mended) as one:
        await one.failed(5)
        assert not one.record.suspended  # it has passed from nowhere yet


async def test_a_change_that_is_undone_suspends_nobody(tmp_path: Path) -> None:
    """What is in memory is what is on the disk."""

    class Undone(Exception):
        pass

    async with bench(tmp_path, BY_DKIM) as one:
        await one.passed()
        await one.failed(2)
        evidence, record = one._mail({}), one.record

        def work(connection: Any) -> None:
            one.vetting.failed(connection, record, evidence, one.clock.now_ms)
            raise Undone

        with pytest.raises(Undone):
            await one.database.write(work)
        await asyncio.sleep(0)
        assert not one.record.suspended
        assert one.told == []
        assert (await one.vetting.show(1)).state == "active"


@pytest.mark.parametrize(
    ("peer", "network", "customer"),
    [
        ("192.0.2.7", "192.0.2.0/24", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.0/24", "192.0.2.7"),
        ("2001:db8:1:2::3", "2001:db8:1::/48", "2001:db8:1:2::/64"),
        ("fe80::3%eth0", "fe80::/48", "fe80::/64"),
        ("", "unix", ""),
    ],
)
def test_whose_neighbours_count_as_one(peer: str, network: str, customer: str) -> None:
    assert network_of(peer) == network
    assert customer_of(peer) == customer


async def test_many_records_are_read_at_once(tmp_path: Path) -> None:
    seeds = [m.VetSender(proof=BY_DKIM.proof, address=f"{os.urandom(8).hex()}@partner.example") for _ in range(500)]
    async with bench(tmp_path, *seeds) as one:
        assert len(one.vetting.rules.senders) == 500
        assert one.vetting.vets(seeds[-1].address or "")
