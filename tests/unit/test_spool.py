# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mail that was acknowledged while the service was away (C2): it is there after every crash, arrives once, in order."""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridges import limits
from bridges.mime.pool import ParserPool
from bridges.smtp.control.evidence import ActDone
from bridges.smtp.store import files
from tests.support.instance import ManualClock
from tests.support.waiting import ACCEPTED, AUTHOR, SALES, SUPPORT, Waiting, a_mail, evidence, patient, waiting

BEN = "ben@partner.example"


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


def outcomes(entries: list[object]) -> list[tuple[str, str]]:
    """What the log says became of mail in the spool: recipient and outcome."""
    return [(one.recipient, one.outcome) for entry in entries if isinstance(entry, ActDone) for one in entry.decided]


async def seen(kept: Waiting, count: int) -> list[tuple[str, str]]:
    """What the service got, once it is so many."""
    async with asyncio.timeout(60):
        while len(kept.service.got) < count:
            await asyncio.sleep(0.01)
    return kept.service.got


# -- what is on the disk -----------------------------------------------------------------------------------------------
async def test_nothing_is_acknowledged_before_it_is_on_the_disk(
    kept: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files and the folder before the name, and then the folder of the name (storage: names lie in folders)."""
    done: list[tuple[str, str]] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        real_sync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        done.append(("rename", target.name))
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "rename", rename)
    assert await kept.keep("one")
    number = f"{1:016}"
    assert done == [
        ("sync", "mail"),
        ("sync", "about.json"),
        ("sync", f"new-{number}"),
        ("rename", number),
        ("sync", "spool"),
    ]


async def test_only_the_intake_reads_it(kept: Waiting, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert await kept.keep("one")
    finally:
        os.umask(before)
    folder = tmp_path / "spool" / f"{1:016}"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir(), folder.parent)}
    assert modes == {folder.name: 0o700, "mail": 0o600, "about.json": 0o600, "spool": 0o700}


async def test_what_is_in_place_is_taken_up_and_half_of_a_mail_is_not(tmp_path: Path, parser: ParserPool) -> None:
    async with waiting(tmp_path, parser) as first:
        assert await first.keep("one")
        assert await first.keep("two", SUPPORT, SALES)
    half = tmp_path / "spool" / f"new-{3:016}"
    half.mkdir()
    (half / "mail").write_bytes(b"half")
    (tmp_path / "spool/tmpsession").mkdir()
    (tmp_path / "spool" / f"old-{9:016}").mkdir()
    async with waiting(tmp_path, parser) as second:
        names = sorted(path.name for path in (tmp_path / "spool").iterdir())
        assert names == [f"{1:016}", f"{2:016}"]
        assert second.spool.figures == (2, len(a_mail("one")) + len(a_mail("two")), [])
        async with second.draining():
            await second.emptied()
        assert sorted(second.service.got) == [("About one", SUPPORT), ("About two", SALES), ("About two", SUPPORT)]
        assert list((tmp_path / "spool").iterdir()) == []


async def test_a_mail_that_the_disk_has_damaged_is_put_aside_and_said(tmp_path: Path, parser: ParserPool) -> None:
    async with waiting(tmp_path, parser) as first:
        assert await first.keep("one")
        assert await first.keep("two")
    (tmp_path / "spool" / f"{2:016}" / "about.json").write_bytes(b"{")
    for _ in range(2):
        async with waiting(tmp_path, parser) as again:
            assert again.spool.figures.mails == 1
            assert "1 damaged" in again.spool.figures.attention[0]
            assert (tmp_path / "spool" / f"damaged-{2:016}" / "mail").read_bytes() == a_mail("two")
            assert await again.keep("three")  # whose number is nobody else's
            assert not (tmp_path / "spool" / f"{2:016}").exists()
            async with again.draining():
                await again.emptied()
            assert await again.keep("one")


@pytest.mark.parametrize("failing", ["mail", "about.json", f"new-{1:016}", "spool"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_fails_leaves_nothing_half(
    kept: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: int
) -> None:
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == failing:
            raise OSError(error, os.strerror(error))
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError) as failed:
        await kept.keep("one")
    assert failed.value.errno == error
    assert list((tmp_path / "spool").iterdir()) == []
    assert kept.spool.figures == (0, 0, [])
    monkeypatch.undo()
    assert await kept.keep("one")


@pytest.mark.parametrize(("mails_max", "bytes_max"), [(2, 1 << 30), (100, 2 * len(a_mail("one")))])
async def test_it_has_bounds(tmp_path: Path, parser: ParserPool, mails_max: int, bytes_max: int) -> None:
    """Also for those that come at the same time; what has left makes room."""
    async with waiting(tmp_path, parser, mails_max=mails_max, bytes_max=bytes_max) as kept:
        names = [f"{number:03}" for number in range(6)]
        assert sum(await asyncio.gather(*(kept.keep(name) for name in names))) == 2
        assert not await kept.keep("six")
        async with kept.draining():
            await kept.emptied()
        assert await kept.keep("six")


async def test_the_same_mail_again_is_kept_once_while_it_waits(kept: Waiting) -> None:
    """Of a sender that got no answer; for a further recipient it is another one."""
    assert await kept.keep("one", SUPPORT, SALES)
    assert await kept.keep("one", SUPPORT)
    assert kept.spool.figures.mails == 1
    async with kept.draining():
        await kept.emptied()
    assert await kept.keep("one", SALES)
    assert kept.spool.figures.mails == 1
    async with kept.draining():
        await kept.emptied()
    assert sorted(kept.service.got) == [("About one", SALES), ("About one", SUPPORT)]


async def test_whoever_gives_up_waiting_leaves_nothing_uncounted(kept: Waiting) -> None:
    keeping = asyncio.create_task(kept.keep("one"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await kept.spool.stop()
    assert kept.spool.figures.mails == 1
    async with kept.draining():
        await kept.emptied()
    assert kept.service.got == [("About one", SUPPORT)]


# -- out of it ---------------------------------------------------------------------------------------------------------
async def test_it_waits_for_the_service_and_is_in_order_for_each_correspondence(kept: Waiting) -> None:
    kept.service.there.clear()
    kept.service.takes_s = 0.001
    async with kept.draining():
        for number in range(12):
            assert await kept.keep(f"{number:02}", *((SUPPORT, SALES) if number % 3 else (SUPPORT,)))
            assert await kept.keep(f"b{number:02}", author=BEN)
        assert kept.service.got == []
        kept.service.there.set()
        await kept.emptied()
    got = kept.service.got
    assert len(got) == 12 + 8 + 12
    for whose in ("About b", "About 0", "About 1"):
        for recipient in (SUPPORT, SALES):
            subjects = [subject for subject, to in got if to == recipient and subject.startswith(whose)]
            assert subjects == sorted(subjects)
    assert 1 < kept.service.most_at_once <= limits.SPOOL_POSTS_MAX
    assert sorted(outcomes(await kept.entries())) == sorted((to, "delivered") for _, to in got)


async def test_a_service_that_goes_away_in_between_costs_nothing(kept: Waiting) -> None:
    kept.service.takes_s = 0.01
    async with kept.draining():
        for number in range(10):
            assert await kept.keep(f"{number:02}")
        await seen(kept, 3)
        kept.service.there.clear()
        await asyncio.sleep(0.2)
        there = len(kept.service.got)
        assert kept.spool.figures.mails == 10 - there > 0
        kept.service.there.set()
        await kept.emptied()
    assert kept.service.got == [(f"About {number:02}", SUPPORT) for number in range(10)]


async def test_a_kill_between_the_post_and_the_removal_delivers_once(
    tmp_path: Path, parser: ParserPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after it is remembered: the post has one id, and the database knows."""
    clock = ManualClock()
    async with waiting(tmp_path / "a", parser, clock) as first:
        assert await first.keep("one")
        shutil.copytree(tmp_path / "a/spool", tmp_path / "spool before")
        async with first.draining():
            await first.emptied()
        got = first.service.got
    shutil.copytree(tmp_path / "spool before", tmp_path / "a/spool", dirs_exist_ok=True)
    async with waiting(tmp_path / "a", parser, clock) as second:
        async with second.draining():
            await second.emptied()
        assert got + second.service.got == [("About one", SUPPORT)]
        assert outcomes(await second.entries()) == [(SUPPORT, "delivered"), (SUPPORT, "duplicate")]


async def test_a_database_that_fails_makes_it_wait_and_not_forget(
    kept: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, failing = kept.database.write, True

    async def write(work: object) -> object:
        if failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await real_write(work)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.database, "write", write)
    assert await kept.keep("one")
    async with kept.draining():
        await seen(kept, 1)
        await kept.idle()
        assert kept.spool.figures.mails == 1
        failing = False
        kept.clock.advance(limits.SPOOL_PAUSE_FIRST_S)
        await kept.emptied()
    assert kept.service.got == [("About one", SUPPORT)]
    assert outcomes(await kept.entries()) == [(SUPPORT, "delivered")]


async def test_what_cannot_be_removed_is_removed_later(kept: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    real_sync, failing = files.sync_folder, True

    def sync(folder: Path) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")
        real_sync(folder)

    assert await kept.keep("one")
    monkeypatch.setattr(files, "sync_folder", sync)
    async with kept.draining():
        await seen(kept, 1)
        await kept.idle()
        assert kept.spool.figures.mails == 1
        failing = False
        await kept.emptied()
    assert kept.service.got == [("About one", SUPPORT)]
    assert outcomes(await kept.entries()) == [(SUPPORT, "delivered")]


async def test_what_the_service_puts_off_is_tried_again_with_growing_pauses_and_blocks_only_its_own(
    kept: Waiting, parser: ParserPool
) -> None:
    kept.service.says[SALES] = "deferred"
    assert await kept.keep("one", SUPPORT, SALES)
    assert await kept.keep("two", SUPPORT, SALES)
    async with kept.draining():
        assert await seen(kept, 2) == [("About one", SUPPORT), ("About two", SUPPORT)]
        await kept.idle()
        assert kept.spool.figures.mails == 2
        kept.service.says[SALES] = "delivered"
        kept.clock.advance(limits.SPOOL_PAUSE_FIRST_S - 1)
        await asyncio.sleep(0.1)
        assert len(kept.service.got) == 2
        kept.clock.advance(1)
        await kept.emptied()
    assert kept.service.got[2:] == [("About one", SALES), ("About two", SALES)]


async def test_the_pauses_grow(kept: Waiting) -> None:
    kept.service.says[SUPPORT] = "deferred"
    assert await kept.keep("one")
    tried = 0
    real_post = kept.service.post

    async def post(*arguments: object) -> object:
        nonlocal tried
        tried += 1
        return await real_post(*arguments)  # type: ignore[arg-type]

    kept.service.post = post  # type: ignore[assignment, method-assign]
    at: list[float] = []
    async with kept.draining():
        for minute in range(16):
            before = tried
            await asyncio.sleep(3 * limits.SPOOL_LOOK_S)
            await kept.idle()
            if tried > before or minute == 0:
                at.append(minute)
            kept.clock.advance(60)
    assert at == [0, 1, 3, 7, 15]


async def test_after_five_days_it_is_held_for_a_person_and_said(kept: Waiting) -> None:
    kept.service.says[SALES] = "deferred"
    assert await kept.keep("one", SUPPORT, SALES)
    async with kept.draining():
        await seen(kept, 1)
        await kept.idle()
        kept.clock.advance(limits.SPOOL_KEPT_S + 1)
        await kept.emptied()
    (there,) = await kept.holding.list("held")
    assert (there.author, there.subject, there.recipients) == (AUTHOR, "About one", [SALES])
    assert there.why.startswith("accepted, and then not delivered: 451")
    assert outcomes(await kept.entries()) == [(SUPPORT, "delivered"), (SALES, "held")]


@pytest.mark.parametrize("why", ["refused", "no route", "unreadable"])
async def test_what_will_never_be_delivered_is_held(kept: Waiting, why: str) -> None:
    if why == "refused":
        kept.service.says[SUPPORT] = "refused"
    elif why == "no route":
        kept.routes = {SALES}
    author = "eve@partner.example" if why == "unreadable" else AUTHOR
    assert await kept.spool.keep(a_mail("one", author), ACCEPTED, evidence("one"), [SUPPORT])
    async with kept.draining():
        await kept.emptied()
    (there,) = await kept.holding.list("held")
    assert there.recipients == [SUPPORT]
    assert outcomes(await kept.entries()) == [(SUPPORT, "held")]
    assert kept.service.got == []


async def test_where_the_hold_is_full_too_it_stays_and_is_said(tmp_path: Path, parser: ParserPool) -> None:
    """It was acknowledged: it is not ours to lose."""
    async with waiting(tmp_path, parser, mails_max=1) as kept:
        held = await kept.hold("zero")
        assert held is not None
        kept.service.says[SUPPORT] = "refused"
        assert await kept.keep("one")
        async with kept.draining():
            async with asyncio.timeout(30):
                while not kept.spool.figures.attention:
                    await asyncio.sleep(0.01)
            assert "550 5.7.1" in kept.spool.figures.attention[0]
            assert await kept.entries() == []
            await kept.idle()  # so that it is known when it is due again
            kept.service.says[SUPPORT] = "delivered"
            kept.clock.advance(limits.SPOOL_PAUSE_FIRST_S)
            await kept.emptied()
        assert kept.spool.figures.attention == []
        assert kept.service.got == [("About one", SUPPORT)]


async def test_nothing_new_overtakes_what_waits(kept: Waiting) -> None:
    """What the service itself puts off is not waited for: the next one's sender is told so himself."""
    assert not kept.spool.is_behind(AUTHOR, SUPPORT)
    kept.service.there.clear()
    assert await kept.keep("one")
    assert kept.spool.is_behind("Ann@partner.example", "SUPPORT@example.org")
    assert not kept.spool.is_behind(AUTHOR, SALES)
    assert not kept.spool.is_behind(BEN, SUPPORT)
    kept.service.says[SUPPORT] = "deferred"
    kept.service.there.set()
    async with kept.draining():
        async with asyncio.timeout(30):
            while kept.spool.is_behind(AUTHOR, SUPPORT):
                await asyncio.sleep(0.01)
    assert kept.spool.figures.mails == 1
