# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that waits for a person (C2): kept safely, shown safely, decided on exactly once."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from bridges import limits
from bridges.mime.pool import ParserPool
from bridges.smtp.control import models as m
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.control.evidence import ActDone, Evidence, Found
from bridges.smtp.store.held import compare_and_set
from bridges.smtp.store.tables import held, sender
from bridges.smtp.waiting.deciding import Decision
from bridges.smtp.waiting.held_mail import suggested, suggested_record
from tests.support.instance import ManualClock
from tests.support.waiting import ACCEPTED, AUTHOR, SALES, SUPPORT, Waiting, a_mail, evidence, patient, waiting

RELEASE = m.DecideHeld(action="release")
REJECT = m.DecideHeld(action="reject", reason="advertising")
VET = m.DecideHeld(action="vet_and_release", reason="a supplier")
INVITE = m.DecideHeld(action="vet_release_and_invite")


@pytest.fixture
async def parser(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ParserPool]:
    patient(monkeypatch)
    monkeypatch.setattr(limits, "SPOOL_LOOK_S", 0.02)
    monkeypatch.setattr(limits, "SERVICE_WAIT_S", 0.05)
    pool = ParserPool()
    yield pool
    await pool.stop()


@pytest.fixture
async def kept(tmp_path: Path, parser: ParserPool) -> AsyncIterator[Waiting]:
    async with waiting(tmp_path, parser) as made:
        yield made


async def held_one(kept: Waiting, name: str = "one", *recipients: str) -> int:
    number = await kept.hold(name, *recipients)
    assert number is not None
    return number


def on_disk(kept: Waiting) -> set[str]:
    return {path.name for path in (kept.folder / "hold").iterdir()}


async def acts(kept: Waiting) -> list[ActDone]:
    return [entry for entry in await kept.entries() if isinstance(entry, ActDone)]


async def records(kept: Waiting) -> list[tuple[int, str]]:
    rows = await kept.database.read(lambda connection: connection.execute(sender.select()).all())
    return [(row.number, row.address) for row in rows]


# -- in ----------------------------------------------------------------------------------------------------------------
async def test_the_file_is_on_the_disk_before_the_row_and_only_ours_to_read(
    kept: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real_sync, real_write = os.fsync, kept.database.write

    def sync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_sync(descriptor)

    async def write(work: object) -> object:
        done.append("row")
        return await real_write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(kept.database, "write", write)
    before = os.umask(0)
    try:
        assert await held_one(kept) == 1
    finally:
        os.umask(before)
    assert done == ["1.eml", "hold", "row"]
    paths = (kept.folder / "hold", kept.folder / "hold/1.eml")
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o600]
    assert (kept.folder / "hold/1.eml").read_bytes() == a_mail("one")


async def test_the_same_mail_is_held_once_while_it_waits(kept: Waiting) -> None:
    """For the same recipients; also when it comes twice at the same time."""
    numbers = await asyncio.gather(*(kept.hold("one", SUPPORT, SALES) for _ in range(4)))
    assert len(set(numbers)) == 1
    assert await kept.hold("one", "SALES@example.org", SUPPORT) == numbers[0]
    other = await held_one(kept, "one", SUPPORT)
    assert other != numbers[0]
    assert on_disk(kept) == {f"{numbers[0]}.eml", f"{other}.eml"}
    assert kept.holding.figures == (2, 2 * len(a_mail("one")), [])
    await kept.holding.decide(other, REJECT, "ann")
    assert await held_one(kept, "one", SUPPORT) not in {other, numbers[0]}


@pytest.mark.parametrize(("mails_max", "bytes_max"), [(2, 1 << 30), (100, 2 * len(a_mail("one")))])
async def test_it_has_bounds(tmp_path: Path, parser: ParserPool, mails_max: int, bytes_max: int) -> None:
    async with waiting(tmp_path, parser, mails_max=mails_max, bytes_max=bytes_max) as kept:
        numbers = await asyncio.gather(*(kept.hold(f"{number:03}") for number in range(6)))
        there = [number for number in numbers if number is not None]
        assert len(there) == 2
        await kept.holding.decide(there[0], REJECT, "ann")
        assert await kept.hold("six") is not None
        assert await kept.hold("007") is None
    async with waiting(tmp_path, parser, mails_max=mails_max, bytes_max=bytes_max) as again:
        assert await again.hold("007") is None


@pytest.mark.parametrize("failing", ["1.eml", "hold", "row"])
async def test_a_disk_that_fails_leaves_nothing_half(
    kept: Waiting, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_sync(descriptor)

    async def write(work: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    if failing == "row":
        monkeypatch.setattr(kept.database, "write", write)
    with pytest.raises(OSError, match="No space"):
        await kept.hold("one")
    monkeypatch.undo()
    assert on_disk(kept) == set()
    assert kept.holding.figures == (0, 0, [])
    assert await kept.holding.list() == []
    assert await kept.hold("one") is not None


# -- shown -------------------------------------------------------------------------------------------------------------
async def test_it_is_shown_as_safe_text(kept: Waiting) -> None:
    mail = EmailMessage()
    for name, value in {"From": AUTHOR, "To": SUPPORT, "Subject": "Hello", "Message-ID": "<1@p>"}.items():
        mail[name] = value
    mail.set_content(
        "<p>Good <b>morning</b></p><script>x()</script><img src='https://t.example/x.png'>", subtype="html"
    )
    mail.add_attachment(b"MZ", maintype="application", subtype="octet-stream", filename="order.exe")
    raw = mail.as_bytes().replace(b"\n", b"\r\n")
    number = await kept.holding.keep(raw, ACCEPTED, evidence("one"), "Hello", [SUPPORT], "nobody has vetted its sender")
    assert number is not None
    shown = await kept.holding.show(number)
    assert "Good morning" in shown.text
    assert "script" not in shown.text
    assert "t.example" not in shown.text
    assert [(one.name, one.size) for one in shown.attachments] == [("order.exe", 2)]
    assert shown.attachments[0].active
    assert shown.mail.why == "nobody has vetted its sender"
    assert shown.suggested[0] == m.Proof(dkim="partner.example")
    assert shown.trace[:2] == [
        f"from 192.0.2.7, HELO nothing, envelope sender <{AUTHOR}>",
        "DKIM: d=partner.example, aligned, pass",
    ]
    assert on_disk(kept) == {"1.eml"}
    assert list((kept.folder / "spool").iterdir()) == []


async def test_what_cannot_be_read_says_so_and_can_only_be_rejected(kept: Waiting) -> None:
    nest = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(100))
    raw = f"From: {AUTHOR}\r\n".encode() + nest
    number = await kept.holding.keep(raw, ACCEPTED, evidence("one"), "", [SUPPORT], "it cannot be read")
    assert number is not None
    shown = await kept.holding.show(number)
    assert (shown.text, shown.attachments) == ("", [])
    assert "nested" in shown.unreadable
    with pytest.raises(BridgeRefused, match="only rejected"):
        await kept.holding.decide(number, RELEASE, "ann")
    assert (await kept.holding.show(number)).mail.state == "held"
    await kept.holding.decide(number, REJECT, "ann")
    assert kept.service.got == []


async def test_a_mail_of_two_authors_reaches_nobody(kept: Waiting) -> None:
    raw = a_mail("one", "eve@partner.example")
    number = await kept.holding.keep(raw, ACCEPTED, evidence("one"), "", [SUPPORT], "two readings")
    assert number is not None
    with pytest.raises(BridgeRefused, match="two ways"):
        await kept.holding.decide(number, RELEASE, "ann")
    assert (await kept.holding.show(number)).mail.state == "held"
    assert (await kept.holding.show(number)).text.strip() == "This is one."


async def test_they_are_listed_newest_first(kept: Waiting) -> None:
    numbers = [await held_one(kept, f"{number}") for number in range(5)]
    await kept.holding.decide(numbers[1], REJECT, "ann")
    assert [one.number for one in await kept.holding.list()] == [5, 4, 3, 2, 1]
    assert [one.number for one in await kept.holding.list("held", before=4, limit=2)] == [3, 1]
    assert [one.number for one in await kept.holding.list("rejected")] == [2]
    with pytest.raises(BridgeRefused) as refused:
        await kept.holding.show(99)
    assert refused.value.kind == "not found"


def test_the_strongest_proof_is_suggested_first() -> None:
    dkim, spf = Found("dkim", "partner.example", "pass", True), Found("spf", "partner.example", "pass", True)
    other = Found("dkim", "list.example", "pass", False)
    failed = Found("dkim", "partner.example", "fail", True)
    network = m.Proof(network="10.1.2.3/32")

    def proofs(*found: Found, **more: object) -> list[m.Proof]:
        known = {"found": found, "peer": "10.1.2.3", **more}
        return suggested(msgspec.structs.replace(evidence("one"), **known))

    assert proofs(other, spf, dkim) == [m.Proof(dkim="partner.example"), m.Proof(spf="aligned"), network]
    assert proofs(failed, spf) == [m.Proof(spf="aligned"), network]
    assert proofs(other) == [network]
    assert proofs(peer="fd00::1") == [m.Proof(network="fd00::1/128")]
    assert proofs(peer="::ffff:10.1.2.3") == [network]
    assert proofs(key="00" * 32)[0] == m.Proof(client_certificate=f"sha256:{'A' * 43}")
    # Where the session proves nothing, it is not said to.
    assert proofs(mail_from="bounces@mailer.example") == proofs(upstream=True) == proofs(peer="") == []
    assert proofs(dkim, author="", mail_from="") == []
    # Nor is a forger's own address, by which he would be let in with one act.
    assert proofs(failed, peer="8.8.8.8") == proofs(failed, peer="2600::1") == []
    assert suggested_record(replace(evidence("one", found=(failed,)), peer="8.8.8.8"), "known") is None


# -- decided -----------------------------------------------------------------------------------------------------------
async def test_release(kept: Waiting) -> None:
    number = await held_one(kept, "one", SUPPORT, SALES)
    done = await kept.holding.decide(number, m.DecideHeld(action="release", reason="known"), "ann")
    assert done.outcomes == {SUPPORT: "delivered", SALES: "delivered"}
    assert (done.record, done.invite, done.mail.state, done.mail.decided_by) == (None, "", "released", "ann")
    assert sorted(kept.service.got) == [("About one", SALES), ("About one", SUPPORT)]
    assert kept.service.words[0] == "dkim=partner.example, released by an administrator"
    assert on_disk(kept) == set()
    assert kept.holding.figures == (0, 0, [])
    (act,) = await acts(kept)
    assert (act.by, act.act, act.target, act.detail) == ("ann", "held.decide", "1", "release: known")
    assert act.mail == "hash of one"
    assert act.decided[0].trace == ("held: unknown", "release by ann")
    assert (await kept.holding.show(number)).unreadable == "it is not kept any more"


async def test_reject_tells_nobody(kept: Waiting) -> None:
    number = await held_one(kept)
    done = await kept.holding.decide(number, REJECT, "ann")
    assert (done.outcomes, done.mail.state) == ({SUPPORT: "refused"}, "rejected")
    assert kept.service.got == []
    assert on_disk(kept) == set()
    assert [act.detail for act in await acts(kept)] == ["reject: advertising"]


async def test_vet_and_release_makes_the_record_that_is_suggested(kept: Waiting) -> None:
    done = await kept.holding.decide(await held_one(kept), VET, "ann")
    row = await kept.database.read(lambda connection: connection.execute(sender.select()).one())
    assert (row.address, row.reason, row.created_by) == (AUTHOR, "a supplier", "ann")
    assert msgspec.json.decode(row.proof, type=list[m.Proof]) == [m.Proof(dkim="partner.example")]
    assert (done.record, done.invite) == (row.number, "")
    # The next one of the same author finds the record.
    again = await kept.holding.decide(await held_one(kept, "two"), INVITE, "ben")
    assert (again.record, again.invite) == (row.number, AUTHOR)
    assert len(kept.service.got) == 2


async def test_a_record_that_is_refused_leaves_the_mail_as_it_was(kept: Waiting) -> None:
    kept.vetting.refuses = "This is no proof"
    number = await held_one(kept)
    with pytest.raises(BridgeRefused, match="no proof"):
        await kept.holding.decide(number, VET, "ann")
    shown = (await kept.holding.show(number)).mail
    assert (shown.state, shown.decided_by, shown.decided_ms) == ("held", "", None)
    assert kept.service.got == []


async def test_a_record_is_one_for_its_author(kept: Waiting) -> None:
    number = await held_one(kept)
    proof = [m.Proof(dkim="partner.example")]
    for other in (
        m.VetSender(proof=proof, address="eve@partner.example"),
        m.VetSender(proof=proof, domain="b.example"),
    ):
        with pytest.raises(BridgeRefused) as refused:
            await kept.holding.decide(number, m.DecideHeld(action="vet_and_release", vet=other), "ann")
        assert refused.value.kind == "invalid"
    domain = m.VetSender(proof=proof, domain="partner.example")
    done = await kept.holding.decide(number, m.DecideHeld(action="vet_and_release", vet=domain), "ann")
    assert done.record is not None


async def test_nothing_is_vetted_where_nothing_shows_whose_mail_it_is(kept: Waiting) -> None:
    known = Evidence(peer="", mail_from="", author=AUTHOR, domain="partner.example", mail="x", size=1)
    number = await kept.holding.keep(a_mail("one"), ACCEPTED, known, "", [SUPPORT], "unknown")
    assert number is not None
    with pytest.raises(BridgeRefused, match="Nothing shows whose"):
        await kept.holding.decide(number, VET, "ann")
    await kept.holding.decide(number, RELEASE, "ann")


async def test_two_administrators_at_once(kept: Waiting) -> None:
    """Whatever each wants: one of them does it, the other is told who did; many rounds."""
    kept.service.takes_s = 0.001
    actions = [RELEASE, REJECT, VET, INVITE]
    for number in range(40):
        there = await held_one(kept, f"{number:03}")
        wants = [actions[number % 4], actions[(number // 4) % 4], actions[number % 3]]
        done = await asyncio.gather(
            *(kept.holding.decide(there, body, name) for body, name in zip(wants, ("ann", "ben", "cy"), strict=True)),
            return_exceptions=True,
        )
        made = [one for one in done if isinstance(one, m.HeldDecided)]
        refused = [one for one in done if isinstance(one, BridgeRefused)]
        assert (len(made), len(refused)) == (1, 2), done
        for one in refused:
            assert one.kind == "refused"
            assert str(one).startswith(made[0].mail.decided_by)
        with pytest.raises(BridgeRefused, match=rf"{made[0].mail.decided_by} has re(leas|ject)ed this mail at 20"):
            await kept.holding.decide(there, RELEASE, "dora")
    decided = await acts(kept)
    assert sorted(int(act.target) for act in decided) == list(range(1, 41))
    released = sum(not act.detail.startswith("reject") for act in decided)
    assert 0 < len(kept.service.got) == len(set(kept.service.got)) == released
    assert on_disk(kept) == set()
    assert len(await records(kept)) == 1


async def test_whoever_hangs_up_does_not_stop_it_halfway(kept: Waiting) -> None:
    kept.service.takes_s = 0.05
    number = await held_one(kept)
    deciding = asyncio.create_task(kept.holding.decide(number, RELEASE, "ann"))
    async with asyncio.timeout(30):
        while not kept.service.at_once:
            await asyncio.sleep(0.001)
    deciding.cancel()
    await asyncio.gather(deciding, return_exceptions=True)
    await kept.holding.stop()
    assert kept.service.got == [("About one", SUPPORT)]
    assert (await kept.holding.show(number)).mail.state == "released"


async def test_while_the_service_is_away_the_spool_takes_over(kept: Waiting) -> None:
    kept.service.there.clear()
    done = await kept.holding.decide(await held_one(kept), RELEASE, "ann")
    assert (done.outcomes, done.mail.state) == ({SUPPORT: "spooled"}, "released")
    assert on_disk(kept) == set()
    assert kept.spool.figures.mails == 1
    async with kept.draining():
        kept.service.there.set()
        await kept.emptied()
    assert kept.service.got == [("About one", SUPPORT)]
    assert [(act.by, act.decided[0].outcome) for act in await acts(kept)] == [
        ("ann", "spooled"),
        ("rule: spool", "delivered"),
    ]


async def test_where_the_spool_is_full_too_it_waits_as_before(tmp_path: Path, parser: ParserPool) -> None:
    async with waiting(tmp_path, parser, mails_max=1) as kept:
        kept.service.says[SALES] = "deferred"
        number = await held_one(kept, "one", SUPPORT, SALES)
        assert await kept.keep("zero", SALES)
        with pytest.raises(BridgeRefused) as refused:
            await kept.holding.decide(number, RELEASE, "ann")
        assert refused.value.kind == "away"
        assert (await kept.holding.show(number)).mail.state == "held"
        assert await acts(kept) == []
        kept.service.says[SALES] = "delivered"
        done = await kept.holding.decide(number, RELEASE, "ann")
        assert done.outcomes == {SUPPORT: "duplicate", SALES: "delivered"}  # whom it had reached was remembered
        assert sorted(kept.service.got) == [("About one", SALES), ("About one", SUPPORT)]


async def test_what_the_service_refuses_stays_held(kept: Waiting) -> None:
    """Of several recipients one that takes it is enough for it to be gone."""
    kept.service.says[SALES] = "refused"
    number = await held_one(kept, "one", SALES)
    with pytest.raises(BridgeRefused, match="still held"):
        await kept.holding.decide(number, RELEASE, "ann")
    assert (await kept.holding.show(number)).mail.state == "held"
    both = await held_one(kept, "two", SUPPORT, SALES)
    done = await kept.holding.decide(both, RELEASE, "ann")
    assert done.outcomes == {SUPPORT: "delivered", SALES: "refused"}


# -- crashes and disks -------------------------------------------------------------------------------------------------
class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
async def test_a_kill_while_it_is_decided_is_carried_on(
    tmp_path: Path, parser: ParserPool, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """After so many changes of the database. The same decision, by the same administrator; one record, one delivery."""
    clock = ManualClock()
    async with waiting(tmp_path, parser, clock) as first:
        number = await held_one(first)
        real_write, done = first.database.write, 0

        async def write(work: object) -> object:
            nonlocal done
            if done == writes:
                raise Killed
            done += 1
            return await real_write(work)  # type: ignore[arg-type]

        monkeypatch.setattr(first.database, "write", write)
        with pytest.raises(Killed):
            await first.holding._deciding.decide(number, INVITE, "ann")
        posted = list(first.service.got)
        row = await first.database.read(lambda connection: connection.execute(held.select()).one())
        assert row.state == ("held" if writes == 0 else "deciding")
    async with waiting(tmp_path, parser, clock) as second:
        second.service._ids |= first.service._ids
        await second.holding.carry_on()
        state = (await second.holding.show(number)).mail
        if writes == 0:
            assert (state.state, posted) == ("held", [])
            return
        assert (state.state, state.decided_by) == ("released", "ann")
        assert posted + second.service.got == [("About one", SUPPORT)]
        assert len(await records(second)) == 1
        (act,) = await acts(second)
        assert (act.by, act.detail) == ("ann", "vet_release_and_invite")
        assert act.decided[0].record == 1
        assert on_disk(second) == set()
        await second.holding.carry_on()
        assert len(await acts(second)) == 1


async def test_a_decision_that_cannot_be_carried_on_keeps_no_other_from_it(kept: Waiting) -> None:
    """Nor mail from expiring: its file may be gone, or make the parser fall each time."""
    numbers = [await held_one(kept, name) for name in ("one", "two", "three")]
    decided = msgspec.json.encode(Decision("release", "ann")).decode()
    deciding = {"state": "deciding", "decision": decided, "decided_by": "ann", "decided_ms": 1}

    def cut_off(connection: Connection) -> None:
        for number in numbers[:2]:
            compare_and_set(connection, number, "held", deciding)

    await kept.database.write(cut_off)
    (kept.folder / f"hold/{numbers[0]}.eml").unlink()
    kept.clock.advance(14 * 86_400)
    running = asyncio.create_task(kept.holding.run())
    async with asyncio.timeout(60):
        while [one.state for one in await kept.holding.list()] != ["expired", "released", "deciding"]:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_a_disk_that_fails_halfway_is_carried_on(kept: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write, done = kept.database.write, 0

    async def write(work: object) -> object:
        nonlocal done
        done += 1
        if done == 2:
            raise OSError(errno.EIO, "Input/output error")
        return await real_write(work)  # type: ignore[arg-type]

    number = await held_one(kept)
    monkeypatch.setattr(kept.database, "write", write)
    with pytest.raises(BridgeRefused) as refused:
        await kept.holding.decide(number, RELEASE, "ann")
    assert refused.value.kind == "away"
    with pytest.raises(BridgeRefused, match="ann decided on this mail"):
        await kept.holding.decide(number, REJECT, "ben")
    monkeypatch.setattr(limits, "HOLD_LOOK_S", 0.01)
    running = asyncio.create_task(kept.holding.run())
    async with asyncio.timeout(30):
        while (await kept.holding.show(number)).mail.state != "released":
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert kept.service.got == [("About one", SUPPORT)]


async def test_files_and_rows_without_each_other_are_mended_and_said(tmp_path: Path, parser: ParserPool) -> None:
    async with waiting(tmp_path, parser) as first:
        gone, stays = await held_one(first), await held_one(first, "two")
    (tmp_path / "hold" / f"{gone}.eml").unlink()
    (tmp_path / "hold/7.eml").write_bytes(b"never acknowledged")
    (tmp_path / "hold/nonsense").write_bytes(b"")
    async with waiting(tmp_path, parser) as second:
        assert on_disk(second) == {f"{stays}.eml"}
        assert second.holding.figures[:2] == (1, len(a_mail("two")))
        assert "1 held mails had no file" in second.holding.figures.attention[0]
        assert (await second.holding.show(gone)).mail.state == "expired"
        assert [(act.by, act.target) for act in await acts(second)] == [("rule: its file is gone", str(gone))]
        assert await second.hold("three") == 8


# -- expired -----------------------------------------------------------------------------------------------------------
async def test_what_nobody_decides_on_is_gone_after_its_time(kept: Waiting) -> None:
    old = await held_one(kept)
    kept.clock.advance(86_400)
    new = await held_one(kept, "two")
    kept.clock.advance(13 * 86_400 - 1)
    await kept.holding.expire()
    assert len(on_disk(kept)) == 2
    kept.clock.advance(1)
    await kept.holding.expire()
    await kept.holding.expire()
    assert on_disk(kept) == {f"{new}.eml"}
    assert kept.holding.figures.mails == 1
    assert [(act.by, act.act, act.target) for act in await acts(kept)] == [
        ("rule: hold.expires_days", "held.expire", str(old))
    ]
    with pytest.raises(BridgeRefused, match="gone since 20"):
        await kept.holding.decide(old, RELEASE, "ann")
    assert kept.service.got == []
    kept.clock.advance(limits.HOLD_ROWS_KEPT_S + 1)
    await kept.holding.expire()
    assert [one.number for one in await kept.holding.list()] == [new]


async def test_no_number_is_given_twice(tmp_path: Path, parser: ParserPool) -> None:
    """Also when nothing is left of the mail that had it."""
    clock = ManualClock()
    for number in (1, 2):
        async with waiting(tmp_path, parser, clock) as kept:
            assert await held_one(kept) == number
            await kept.holding.decide(number, REJECT, "ann")
            clock.advance(limits.HOLD_ROWS_KEPT_S + 1)
            await kept.holding.expire()
            assert await kept.holding.list() == []


async def test_expiry_and_a_decision_at_once(kept: Waiting) -> None:
    for number in range(20):
        there = await held_one(kept, f"{number}")
        kept.clock.advance(14 * 86_400)
        _, done = await asyncio.gather(
            kept.holding.expire(), kept.holding.decide(there, RELEASE, "ann"), return_exceptions=True
        )
        state = (await kept.holding.show(there)).mail.state
        assert state == ("released" if isinstance(done, m.HeldDecided) else "expired"), done
    assert kept.holding.figures == (0, 0, [])
    assert len(await acts(kept)) == 20
    assert on_disk(kept) == set()


async def test_one_network_of_strangers_does_not_fill_the_hold(tmp_path: Path, parser: ParserPool) -> None:
    """What nothing proves may come as often as somebody likes; what is proved still has room."""
    unproved = (Found("dkim", "partner.example", "fail", True),)
    async with waiting(tmp_path, parser, mails_max=8) as kept:

        async def hold(name: str, found: tuple[Found, ...], peer: str) -> int | None:
            known = replace(evidence(name, found=found), peer=peer)
            return await kept.holding.keep(a_mail(name), ACCEPTED, known, name, [SUPPORT], "unknown")

        flood = [await hold(f"flood {n}", unproved, f"192.0.2.{n}") for n in range(4)]
        assert [number is not None for number in flood] == [True, True, False, False]
        assert await hold("another stranger", unproved, "198.51.100.7") is not None
        assert await hold("proved", (), "192.0.2.9") is not None
        await kept.holding.open()  # as after a start
        assert await hold("flood 4", unproved, "192.0.2.4") is None
        assert flood[0] is not None
        await kept.holding.decide(flood[0], m.DecideHeld(action="reject"), "ann")
        assert await hold("flood 5", unproved, "192.0.2.5") is not None
        assert await hold("flood 6", unproved, "192.0.2.6") is None


async def test_nor_with_large_mails(tmp_path: Path, parser: ParserPool) -> None:
    """Forty mails of 25 MiB are a gibibyte."""
    unproved = (Found("dkim", "partner.example", "fail", True),)
    size = len(a_mail("flood 0"))
    async with waiting(tmp_path, parser, bytes_max=8 * size) as kept:

        async def hold(name: str, peer: str, times: int = 1) -> int | None:
            known = replace(evidence(name, found=unproved), peer=peer)
            mail = a_mail(name) + b"x" * (times - 1) * size
            return await kept.holding.keep(mail, ACCEPTED, known, name, [SUPPORT], "unknown")

        flood = [await hold(f"flood {n}", f"192.0.2.{n}") for n in range(4)]
        assert [number is not None for number in flood] == [True, True, False, False]
        await kept.holding.open()  # as after a start
        assert await hold("flood 4", "192.0.2.4") is None
        assert flood[0] is not None
        await kept.holding.decide(flood[0], REJECT, "ann")
        assert await hold("flood 5", "192.0.2.5") is not None
        assert await hold("large 0", "198.51.100.7", times=4) is not None  # one always, as large as there is room
        assert await hold("flood 6", "198.51.100.8") is None
