# SPDX-License-Identifier: AGPL-3.0-or-later
"""What other rules would have done with the mail of the last days (C5): tried on a log that is decided on really."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import insert

from bridges import limits
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import ActDone, Decided, Evidence, Found, MailDecided, Outcome
from bridges.smtp.policy import policy
from bridges.smtp.policy.policy import Known
from bridges.smtp.policy.rules import Rules, sender_rule
from bridges.smtp.reports.replay import replay
from bridges.smtp.settings import Route
from bridges.smtp.store import senders
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.decisions import Decisions
from bridges.smtp.store.tables import correspondent
from tests.support.instance import ManualClock

DAY_MS = 86_400_000
DESK, SALES = "support@example.org", "sales@example.org"
ROUTES = [m.ReplayedRoute(recipient=DESK), m.ReplayedRoute(recipient=SALES)]
SIGNED = m.Proof(dkim="x.example")
FROM_ITS_HOST = m.Proof(spf="aligned")
X = m.VetSender(domain="x.example", proof=[SIGNED])
OUTCOMES: dict[str, Outcome] = {"take": "delivered", "hold": "held", "refuse": "refused", "defer": "deferred"}
DKIM = Found("dkim", "x.example", "pass", True)
SPF = Found("spf", "x.example", "pass", True)


class Log:
    """A log of what these rules decided."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.now_ms = self.clock.wall_ns() // 10**6
        self.database = BridgeDatabase(path)
        self.decisions = Decisions(self.database, self.clock, kept_days=400)
        self.rules = Rules([sender_rule(X, 1)], [Route(DESK), Route(SALES)])
        self.known = Known()

    async def mail(
        self, author: str = "ann@x.example", mail: str = "1", days: float = 1, *recipients: str, **evidence: Any
    ) -> None:
        """A transaction so many days ago, decided by the rules; `outcome`: what else became of it."""
        outcome = evidence.pop("outcome", None)
        given = {"found": (DKIM, SPF), "looked": True, **evidence}
        known = Evidence("192.0.2.1", author, author, author.partition("@")[2], mail, 100, **given)
        at_ms = self.now_ms - int(days * DAY_MS)
        rulings = policy.rule(known, recipients or (DESK,), self.rules, self.known, at_ms)
        decided = tuple(
            Decided(recipient, outcome or OUTCOMES[ruling.do], ruling.trace, ruling.record)
            for recipient, ruling in rulings.items()
        )
        await self.database.write(
            lambda connection: self.decisions.append(connection, MailDecided(known, decided), at_ms)
        )

    async def replay(
        self, *tried: m.VetSender, routes: list[m.ReplayedRoute] | None = None, days: int = 30
    ) -> m.ReplayAnswer:
        asked = m.Replay(senders=list(tried), routes=ROUTES if routes is None else routes, days=days)
        return await replay(self.database, asked, (), self.now_ms)

    async def changes(self, *tried: m.VetSender, **options: Any) -> list[tuple[str, str, str, str, int]]:
        return shown((await self.replay(*tried, **options)).changes)


def shown(changes: Iterable[m.ReplayChange]) -> list[tuple[str, str, str, str, int]]:
    return [(one.author, one.recipient, one.before, one.after, one.messages) for one in changes]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    opened = Log(tmp_path / "bridge.sqlite3")
    await opened.database.open()
    yield opened
    await opened.database.close()


async def test_the_same_rules_do_the_same(log: Log) -> None:
    await log.mail("ann@x.example", "1", 3, DESK, SALES)
    await log.mail("bo@x.example", "2", 2, found=())
    await log.mail("cy@y.example", "3", 1)
    await log.mail("", "", 1, unreadable="it has 2 From headers")
    answer = await log.replay(X)
    assert (answer.messages, answer.unchanged, answer.unknown, answer.changes) == (5, 5, 0, [])
    assert answer.before == answer.after == {"delivered": 2, "refused": 3}


async def test_what_is_vetted_no_more_would_be_refused(log: Log) -> None:
    await log.mail("ann@x.example", "1", 3, DESK, SALES)
    await log.mail("ann@x.example", "2", 2, DESK)
    answer = await log.replay()
    assert shown(answer.changes) == [
        ("ann@x.example", DESK, "delivered", "refused", 2),
        ("ann@x.example", SALES, "delivered", "refused", 1),
    ]
    assert answer.changes[0].trace == ["ann@x.example has no vetting record"]
    assert (answer.before, answer.after) == ({"delivered": 3}, {"refused": 3})


async def test_what_is_vetted_now_would_be_delivered(log: Log) -> None:
    await log.mail("cy@y.example", "1", 3, found=(Found("dkim", "y.example", "pass", True),))
    y = m.VetSender(address="Cy@y.example", proof=[m.Proof(dkim="y.example")])
    (change,) = (await log.replay(X, y)).changes
    assert shown([change]) == [("cy@y.example", DESK, "refused", "delivered", 1)]
    assert change.trace[-1] == f"route {DESK}"


async def test_routes_are_tried_too(log: Log) -> None:
    await log.mail("cy@y.example", "1", 3, DESK, SALES)
    await log.mail("ann@x.example", "2", 3, SALES)
    holding = [m.ReplayedRoute(recipient="Support@Example.org", unknown="hold")]
    assert await log.changes(X, routes=holding) == [
        ("ann@x.example", SALES, "delivered", "refused", 1),
        ("cy@y.example", DESK, "refused", "held", 1),
    ]
    only_desk = replace(X, routes=[DESK])
    assert await log.changes(only_desk) == [("ann@x.example", SALES, "delivered", "refused", 1)]


async def test_what_nobody_looked_at_nobody_knows(log: Log) -> None:
    """Signatures were looked at, as that rule asked; whether SPF would have passed is in no log."""
    await log.mail("ann@x.example", "1", 3, found=(DKIM,), looked=False)
    await log.mail("ann@x.example", "2", 3, found=(DKIM, SPF))
    answer = await log.replay(replace(X, proof=[SIGNED, FROM_ITS_HOST]))
    assert (answer.messages, answer.unchanged, answer.unknown, answer.changes) == (2, 1, 1, [])
    assert answer.after == {"delivered": 1, "unknown": 1}
    await log.mail("cy@y.example", "3", 3, found=(), looked=False)
    assert (await log.replay(X, m.VetSender(domain="y.example", proof=[SIGNED]))).unknown == 1
    network = m.VetSender(domain="y.example", proof=[m.Proof(network="192.0.2.0/24")])
    assert await log.changes(X, network) == [("cy@y.example", DESK, "refused", "delivered", 1)]


async def test_tries_of_one_mail_are_one_message(log: Log) -> None:
    """C5: counts sum messages, not rows."""
    await log.mail("ann@x.example", "1", 3, found=(), unsure=("dkim",))  # put off
    await log.mail("ann@x.example", "1", 2.9)
    await log.mail("ann@x.example", "1", 2.8, outcome="duplicate")
    await log.mail("ann@x.example", "1", 2.7, found=())  # somebody has it, and sends it without its signature
    await log.mail("ann@x.example", "2", 2, outcome="duplicate")  # the first copy is not in these days
    answer = await log.replay()
    assert shown(answer.changes) == [("ann@x.example", DESK, "delivered", "refused", 2)]
    assert answer.messages == 2


async def test_what_people_and_machines_did_with_it_is_no_change_of_rules(log: Log) -> None:
    """The service was away or refused it, the disk was full, somebody released it: the rules said the same."""
    await log.mail("ann@x.example", "1", 3, outcome="spooled")
    await log.mail("ann@x.example", "2", 3, outcome="refused")
    await log.mail("ann@x.example", "3", 3, outcome="deferred")
    log.rules = Rules([sender_rule(X, 1)], [Route(DESK, hold_unknown=True)])
    await log.mail("cy@y.example", "4", 3)
    await log.mail("cy@y.example", "5", 3, outcome="deferred")
    released = ActDone("admin", "held.decide", "1", "", (Decided(DESK, "delivered", ()),), "4")
    await log.database.write(lambda connection: log.decisions.append(connection, released, log.now_ms))
    answer = await log.replay(X, routes=[m.ReplayedRoute(recipient=DESK, unknown="hold")])
    assert (answer.changes, answer.unchanged) == ([], 5)
    assert answer.before == {"delivered": 1, "refused": 1, "deferred": 2, "held": 1}


async def test_a_suspension_of_then_is_no_rule(log: Log) -> None:
    await log.database.write(lambda connection: senders.add(connection, X, "settings", "settings file", 1))
    log.rules = Rules([sender_rule(X, 1, "its proof failed")], [Route(DESK)])
    await log.mail("ann@x.example", "1", 3)
    assert await log.changes(X) == []
    assert await log.changes() == [("ann@x.example", DESK, "deferred", "refused", 1)]


async def test_records_of_administrators_stay(log: Log) -> None:
    y = m.VetSender(domain="y.example", proof=[m.Proof(network="192.0.2.0/24")])
    log.rules = Rules([sender_rule(X, 1), sender_rule(y, 2)], [Route(DESK)])
    await log.mail("cy@y.example", "1", 3)
    assert await log.changes(X) == [("cy@y.example", DESK, "delivered", "refused", 1)]
    await log.database.write(lambda connection: senders.add(connection, y, "administrator", "admin", 1))
    assert await log.changes(X) == []
    stricter = replace(y, proof=[m.Proof(dkim="y.example")])  # the file vets the same
    assert await log.changes(X, stricter) == [("cy@y.example", DESK, "delivered", "refused", 1)]


async def test_expiry_counts_at_the_time_of_each_mail(log: Log) -> None:
    await log.mail("ann@x.example", "1", 5)
    await log.mail("ann@x.example", "2", 3)
    expiring = replace(X, expires_ms=log.now_ms - 4 * DAY_MS)
    assert await log.changes(expiring) == [("ann@x.example", DESK, "delivered", "refused", 1)]


async def test_quotas_are_used_up_day_by_day(log: Log) -> None:
    midnight = (log.now_ms % DAY_MS) / DAY_MS
    for number in range(5):
        await log.mail("ann@x.example", f"a{number}", midnight + 1.5)
    for number in range(3):
        await log.mail("ann@x.example", f"b{number}", midnight + 0.5)
    await log.mail("ann@x.example", "b0", midnight + 0.4, outcome="duplicate")
    answer = await log.replay(replace(X, quota_per_day=3))
    assert shown(answer.changes) == [("ann@x.example", DESK, "delivered", "deferred", 2)]
    assert answer.changes[0].trace[-1] == "3 of 3 messages today"


async def test_who_had_joined_was_refused_then_and_not_before(log: Log) -> None:
    row = {
        **dict.fromkeys(("first_seen_ms", "last_seen_ms", "changed_ms"), 1),
        **dict.fromkeys(("machine", "link", "joined_as", "changed_by"), ""),
    }
    refused = {
        **row,
        "address": "ann@x.example",
        "state": "refused",
        "proof": "weak",
        "refused_ms": log.now_ms - 3 * DAY_MS,
    }
    await log.database.write(lambda connection: connection.execute(insert(correspondent), refused) and None)
    await log.mail("ann@x.example", "1", 5)
    log.known = Known(state="refused")
    await log.mail("ann@x.example", "2", 2)
    await log.mail("bo@x.example", "3", 2)  # who was put back since, by hand
    assert await log.changes(X) == []
    await log.mail("ann@x.example", "4", 2, found=())
    assert (await log.replay(replace(X, proof=[m.Proof(network="192.0.2.0/24")]))).after == {
        "delivered": 1,
        "refused": 3,
    }


async def test_only_so_many_days(log: Log) -> None:
    await log.mail("ann@x.example", "1", 6.9)
    await log.mail("ann@x.example", "2", 7.1)
    assert (await log.replay(X, days=7)).messages == 1
    assert (await log.replay(X, days=8)).messages == 2


async def test_rules_that_cannot_be_are_named(log: Log) -> None:
    wrong = m.VetSender(address="ann@x.example", domain="x.example", proof=[SIGNED])
    with pytest.raises(BridgeRefused, match=r"senders\[1\]") as refused:
        await log.replay(X, wrong)
    assert refused.value.kind == "invalid"


async def test_many_kinds_of_changes_are_bounded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPLAY_CHANGES_MAX", 2)
    monkeypatch.setattr(limits, "DECISIONS_AT_ONCE", 2)
    for number, count in enumerate((1, 3, 2)):
        for mail in range(count):
            await log.mail(f"p{number}@x.example", f"{number} {mail}", 1)
    answer = await log.replay()
    assert shown(answer.changes) == [
        ("p1@x.example", DESK, "delivered", "refused", 3),
        ("p2@x.example", DESK, "delivered", "refused", 2),
    ]
    assert (answer.messages, answer.unchanged, answer.after) == (6, 0, {"refused": 6})
