# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reports (D2, D3; docs/decisions/0030): who may make one about whom, how many, and what the reported can tell."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.devices import KeyDevice, acquainted, fresh_id, refusal
from tests.support.instance import TestInstance
from tests.support.outside import bridge
from tests.support.people import DAY_S, form_group, instance_with, people
from tmtp_client.connection import Disconnected
from tmtp_core import limits
from tmtp_core.domain.policy import Quotas
from tmtp_core.domain.reports import ReportSummary
from tmtp_core.errors import NotFound, RequestRefused
from tmtp_core.store import tables as t
from tmtp_core.store.reports import ReportsWanted
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2


async def reports(instance: TestInstance, *, closed: bool = False) -> list[ReportSummary]:
    """All that there are, open or closed."""
    listed: list[ReportSummary] = await instance.service.list_reports(ReportsWanted(closed=closed))
    return listed


async def test_who_was_pinged_tells_the_administrators(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping") as instance:
        ada, eve = await people(instance, "Ada Lovelace", "Eve Dropper")
        assert "reports" in ada.connection.service.result().features
        await eve.ping("Ada Lovelace", "buy this")
        answer = await ada.report(eve.uid, "spam", "the third time this week; she wrote: “buy this”")
        assert (answer.error, answer.msgid) == ("", "")
        (one,) = await reports(instance)
        assert (one.reporter, one.reporter_alias) == (ada.uid, "Ada Lovelace")
        assert (one.reported, one.reported_alias, one.reported_role) == (eve.uid, "Eve Dropper", "member")
        assert (one.reason, one.words) == ("spam", "the third time this week; she wrote: “buy this”")
        assert (one.reported_status, one.about_same, one.closed_ms, one.outcome) == ("active", 1, None, "")
        assert (await instance.service.census()).reports == 1
        assert await instance.service.list_reports(ReportsWanted(about=eve.uid)) == [one]
        assert await instance.service.list_reports(ReportsWanted(about=ada.uid)) == []
        await instance.restart()  # it is durable, not only said to be
        assert await reports(instance) == [one]


async def test_only_of_who_has_reached_one(tmp_path: Path) -> None:
    """A report must not tell who is a member here: every other uid is answered as one that nobody has."""
    async with instance_with(tmp_path, "introduction") as instance:
        ada, bob, carol, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Carol Danvers", "Dan Dare 1st")
        nobody = "Z" * len(bob.uid)
        told = {await _words(ada, uid) for uid in (bob.uid, nobody, ada.uid)}
        assert told == {"Report: uid … not found among those who have written to you"}
        await ada.ping("Bob Builder")  # one's own ping is no word of his
        assert await _words(ada, bob.uid) in told
        await acquainted(carol, ada)
        await acquainted(carol, bob)
        await carol.post(ada.uid, bob.uid)  # introduced, and silent
        assert await _words(ada, bob.uid) in told
        await bob.post(ada.uid)
        await ada.report(bob.uid, "abuse")
        await form_group("The Chess Club", carol, ada, dan)
        assert await _words(bob, dan.uid) in told
        await ada.report(dan.uid, "impersonation")
        assert [(one.reported, one.reason) for one in await reports(instance)] == [
            (bob.uid, "abuse"),
            (dan.uid, "impersonation"),
        ]


async def _words(device: KeyDevice, uid: str) -> str:
    return (await refusal(device.report(uid))).replace(uid, "…")


async def test_somebody_outside_is_reported_and_a_bridge_reports_nobody(tmp_path: Path) -> None:
    """C2: a ghost is somebody like others."""
    async with instance_with(tmp_path, "introduction") as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        async with bridge(instance, {"ada@example.org": "Ada Lovelace"}) as intake:
            await intake.post("ada@example.org", "offers@spam.example")
            mail, _ = await ada.next(m.Delivery)
            await ada.report(mail.from_, "spam", "I never asked for these")
            (one,) = await reports(instance)
            assert (one.reported_alias, one.reported_role) == ("offers@spam.example", "ghost")
            assert "may only post" in await refusal(intake.report(ada.uid))
            assert await _words(ada, intake.uid) == "Report: uid … not found among those who have written to you"


async def test_the_reported_one_can_tell_nothing(tmp_path: Path) -> None:
    """The same requests of who was reported and of who was not: answers, their order, what comes of them, what is
    decided for them. Asserted on effects, never on the clock.
    """
    async with instance_with(tmp_path, "introduction") as instance:
        ada, bob, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Dan Dare 1st")
        phone = await ada.add_device()
        for other in (bob, dan):
            await acquainted(ada, other)
            await other.post(ada.uid)
        for one in (bob, dan):
            await one.all_of(m.Delivery)
        heard, on_phone = (len(bob.got), len(dan.got)), len(phone.got)
        await ada.report(bob.uid, "abuse", "he wrote so")

        async def does(one: KeyDevice) -> list[Any]:
            acks = [
                await one.post(ada.uid, data=b"1"),
                await one.ping("Ada Lovelace"),
                await one.connection.ask(m.OhiEdit(fresh_id(), "add", (m.Recipient(ada.uid),))),
                await one.connection.ask(m2.BlockEdit(fresh_id(), "introductions_off")),
            ]
            return [[bool(ack.msgid), bool(ack.posted), ack.error] for ack in acks]

        before = instance.service.figures()["decisions_total"]
        of_reported = await does(bob)
        between = instance.service.figures()["decisions_total"]
        assert await does(dan) == of_reported
        assert instance.service.figures()["decisions_total"] - between == between - before
        for one in (bob, dan):
            await one.all_of(m.Delivery)
        of_bob, of_dan = ([type(event) for event, _ in one.got[n:]] for one, n in zip((bob, dan), heard, strict=True))
        assert of_bob == of_dan
        await phone.all_of(m.Delivery)
        assert not [event for event, _ in phone.got[on_phone:] if isinstance(event, m2.BlockEvent)]
        shown, devices, groups = await instance.service.show_account(bob.uid)
        assert (shown.status, len(devices), groups) == ("active", 1, [])


async def test_reported_again_before_it_is_closed_is_one_report(tmp_path: Path) -> None:
    """Under a new number: who closes what he has read does not close what he has not."""
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob, eve = await people(instance, "Ada Lovelace", "Bob Builder", "Eve Dropper")
        for one in (ada, bob):
            await eve.ping((await one.aliases())[0])
        await ada.report(eve.uid, "other", "odd")
        (first,) = await reports(instance)
        await ada.report(eve.uid, "abuse", "worse")
        await bob.report(eve.uid, "spam")
        again, of_bob = await reports(instance)
        assert (again.reason, again.words, again.about_same) == ("abuse", "worse", 2)
        assert (of_bob.reporter, of_bob.about_same) == (bob.uid, 2)
        with pytest.raises(NotFound, match="replaced"):
            await instance.service.close_report(first.number, "acted", "")
        await instance.service.close_report(again.number, "acted", "barred her")
        with pytest.raises(RequestRefused, match="closed before"):
            await instance.service.close_report(again.number, "unfounded", "")
        await ada.report(eve.uid, "abuse", "she is back")
        assert [one.words for one in await reports(instance)] == ["", "she is back"]
        (closed,) = await reports(instance, closed=True)
        assert (closed.number, closed.outcome, closed.note) == (again.number, "acted", "barred her")


async def test_words_are_few_and_plain(tmp_path: Path) -> None:
    """D2: as those of a ping, and some more."""
    async with instance_with(tmp_path, "ping") as instance:
        ada, eve = await people(instance, "Ada Lovelace", "Eve Dropper")
        await eve.ping("Ada Lovelace")
        most = limits.REPORT_WORDS_MAX_UTF16_UNITS
        assert f"more than {most}" in await refusal(ada.report(eve.uid, "spam", "x" * (most + 1)))
        assert f"more than {most}" in await refusal(ada.report(eve.uid, "spam", "x" + "🙂" * (most // 2)))
        assert "UTF-8" in await refusal(ada.report(eve.uid, "spam", "a\ufffdb"))
        await ada.report(eve.uid, "spam", "🙂" * (most // 2))
        assert [one.words for one in await reports(instance)] == ["🙂" * (most // 2)]
        with pytest.raises(Disconnected, match="invalid header"):
            await ada.report(eve.uid, "because")


async def test_so_many_a_day_and_so_many_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORTS_OPEN_PER_ACCOUNT_MAX", 2)
    monkeypatch.setattr(limits, "REPORTS_OPEN_MAX", 3)
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob, *others = await people(instance, "Ada Lovelace", "Bob Builder", *(f"Eve Number {n}" for n in "123"))
        for one in others:
            await one.ping("Ada Lovelace")
            await one.ping("Bob Builder")
        first, second, third = (one.uid for one in others)
        await ada.report(first)
        await ada.report(second)
        assert "Exceeds 2 open" in await refusal(ada.report(third))
        await ada.report(second, "abuse")  # it takes the place of its own
        await bob.report(first)
        assert "too many open" in await refusal(bob.report(second))
        await instance.service.close_report((await reports(instance))[0].number, "no_action", "")
        for _ in range(limits.REPORTS_PER_DAY - 3):
            await ada.report(third)
        assert f"{limits.REPORTS_PER_DAY} reports a day" in await refusal(ada.report(third))
        await instance.service.close_report((await reports(instance))[0].number, "no_action", "")
        await bob.report(third)  # what others may is theirs
        await instance.advance(DAY_S)
        for device in (ada, bob):
            await device.quit()
        await ada.log_in()
        await ada.report(third, "other", "a day later")
        assert len(await reports(instance)) == 3


async def test_trying_uids_is_counted_like_posts(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping", quotas=Quotas(posts_per_hour=3)) as instance:
        (ada,) = await people(instance, "Ada Lovelace")
        for _ in range(3):
            assert "not found" in await refusal(ada.report("Z" * len(ada.uid)))
        assert "quota" in await refusal(ada.report("Z" * len(ada.uid)))


async def test_what_is_closed_goes_in_time_and_with_either_account(tmp_path: Path) -> None:
    async with instance_with(tmp_path, "ping") as instance:
        ada, bob, eve, dan = await people(instance, "Ada Lovelace", "Bob Builder", "Eve Dropper", "Dan Dare 1st")
        for one in (eve, dan):
            await one.ping("Ada Lovelace")
            await one.ping("Bob Builder")
        for reporter in (ada, bob):
            await reporter.report(eve.uid)
            await reporter.report(dan.uid)
        await instance.service.close_report((await reports(instance))[0].number, "unfounded", "")
        for device in (ada, bob, eve, dan):
            await device.quit()
        await instance.service.remove_account(bob.uid)  # his words go with him
        assert [(one.reporter, one.reported) for one in await reports(instance)] == [(ada.uid, dan.uid)]
        await instance.service.remove_account(dan.uid)  # of whom nothing is left to decide
        assert await reports(instance) == []
        await instance.advance((limits.REPORTS_CLOSED_KEPT_DAYS - 1) * DAY_S)
        assert len(await reports(instance, closed=True)) == 1
        await instance.advance(DAY_S + limits.REPOST_FORGET_INTERVAL_S)
        await instance.settle()
        assert await reports(instance, closed=True) == []
        left = await instance.service.look(lambda connection: connection.execute(t.report.select()).all())
        assert left == []


async def test_of_closed_ones_the_eldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORTS_CLOSED_MAX", 2)
    async with instance_with(tmp_path, "ping") as instance:
        ada, eve = await people(instance, "Ada Lovelace", "Eve Dropper")
        await eve.ping("Ada Lovelace")
        for words in ("1", "2", "3"):
            await ada.report(eve.uid, "spam", words)
            await instance.service.close_report((await reports(instance))[0].number, "no_action", "")
        assert [one.words for one in await reports(instance, closed=True)] == ["2", "3"]
