# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom an intake's correspondents are invited by: once each, whatever goes wrong in between; and who has joined (C5)."""

import asyncio
import shutil
import smtplib
from pathlib import Path

import pytest

from bridges.smtp.control import models as s
from bridges.smtp.control.door import BridgeRefused
from bridges.smtp.desk import Desk
from gateway.administration import ROLES, Actor, Denied, Invalid, NotFound, models
from gateway.administration.inviting import RULE
from gateway.app import Gateway
from tests.support.gateway import SETTINGS, administer, member, running_gateway
from tmtp_core import limits
from tmtp_core.errors import RequestRefused, ServiceUnavailable
from tmtp_core.wire.address import parse_address

JO = "jo@partner.example"
HELD = SETTINGS.replace("to: Support Desk}", "to: Support Desk, unknown: hold}")


async def invite(gateway: Gateway, address: str = JO) -> s.Correspondent:
    found = await administer(gateway, "smtp.correspondents.invite", bridge="intake", address=address)
    assert isinstance(found, s.Correspondent)
    return found


async def show(gateway: Gateway, address: str = JO) -> s.Correspondent:
    found = await administer(gateway, "smtp.correspondents.show", bridge="intake", address=address)
    assert isinstance(found, s.Correspondent)
    return found


async def open_ones(gateway: Gateway, address: str = JO) -> list[int]:
    """The numbers of the open invitations that are for this address."""
    found = await administer(gateway, "invitations.list", instance="public")
    return [one.invitation for one in found if one.note.startswith(address)]


def token_of(link: str) -> str:
    token = parse_address(link).invite
    assert token is not None
    return token


async def test_an_invitation_is_made_once_and_told_who_asks_again(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        first = await invite(gateway)
        assert (first.state, first.changed_by.startswith("local user")) == ("invited", True)
        assert await open_ones(gateway) == [first.invitation]
        again = await asyncio.gather(*(invite(gateway) for _ in range(5)))
        assert {(one.invitation, one.link) for one in again} == {(first.invitation, first.link)}
        assert (await invite(gateway, "JO@Partner.Example")).link == first.link
        assert await open_ones(gateway) == [first.invitation]
        (act, *_) = (await administer(gateway, "smtp.decisions.list", bridge="intake", search=JO)).entries
        assert b'"act":"correspondents.invited"' in bytes(act.body)
        assert first.link.encode() not in bytes(act.body)
        audited = (await gateway.administration.audit.page(None, 10)).entries
        made = [one for one in audited if one.operation == "smtp.correspondents.invite"]
        assert {(one.instance, one.target.lower(), one.outcome) for one in made} == {
            ("public", f"intake / {JO}", "done")
        }
        assert len(made) == 7


async def test_however_an_address_is_written_it_is_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        first, second = await invite(gateway, "Jo@PARTNER.example"), await invite(gateway)
        assert (second.invitation, second.link, second.address) == (first.invitation, first.link, JO)
        assert await open_ones(gateway) == [first.invitation]


async def test_two_who_ask_at_once_get_one_invitation(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        found = await asyncio.gather(*(invite(gateway) for _ in range(8)))
        assert len({one.link for one in found}) == 1
        assert await open_ones(gateway) == [found[0].invitation]


async def test_one_that_could_not_be_told_to_the_intake_is_good_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has its token: it must not lie open."""
    perform = Desk.perform

    async def away(self, operation, arguments, body, by):  # type: ignore[no-untyped-def]
        if operation == "correspondents.invited":
            raise BridgeRefused("away", "the bridge's process does not answer")
        return await perform(self, operation, arguments, body, by)

    async with running_gateway(tmp_path) as gateway:
        with monkeypatch.context() as patch:
            patch.setattr(Desk, "perform", away)
            with pytest.raises(ServiceUnavailable, match="does not answer"):
                await invite(gateway)
        assert await open_ones(gateway) == []
        told = await invite(gateway)
        assert await open_ones(gateway) == [told.invitation]


async def test_one_that_a_crash_left_is_revoked_and_those_of_people_are_not(tmp_path: Path) -> None:
    """Killed between the two: the instance has one that the intake was never told of."""
    async with running_gateway(tmp_path) as gateway:
        service = gateway.instances["public"].service
        left, _ = await service.invite_in_person(f"{JO} (invited by the intake intake)")
        own = await administer(gateway, "invitations.create", models.CreateInvitation(note=JO), instance="public")
        others, _ = await service.invite_in_person(f"{JO} (invited by the intake other)")
        told = await invite(gateway)
        assert told.invitation not in {left, others}
        kept = await open_ones(gateway)
        assert left not in kept
        assert {told.invitation, others} < set(kept)
        assert len(kept) == 3  # and the one that somebody made by hand with this note
        assert own.note == JO


async def test_one_that_was_revoked_is_made_anew(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        first = await invite(gateway)
        await administer(gateway, "invitations.revoke", instance="public", invitation=first.invitation)
        second = await invite(gateway)
        assert second.link != first.link
        assert await open_ones(gateway) == [second.invitation]
        assert (await show(gateway)).link == second.link


async def test_who_joins_is_told_to_the_intake_and_is_not_invited_again(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        invited = await invite(gateway)
        await gateway.administration.look_at_invited("intake")
        assert (await show(gateway)).state == "invited"
        async with member(gateway, "public", "Jo Partner", token_of(invited.link)):
            await gateway.administration.look_at_invited("intake")
            joined = await show(gateway)
            assert (joined.state, joined.joined_as, joined.link) == ("joined", "Jo Partner", "")
            assert joined.joined_ms is not None
            assert joined.invited_ms is not None
            assert joined.joined_ms >= joined.invited_ms
            with pytest.raises(RequestRefused, match="has joined already, as Jo Partner"):
                await invite(gateway)
        assert await open_ones(gateway) == []


async def test_the_gateway_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INVITED_LOOK_INTERVAL_S", 0.1)
    async with running_gateway(tmp_path) as gateway:
        invited = await invite(gateway)
        async with member(gateway, "public", "Jo Partner", token_of(invited.link)), asyncio.timeout(60):
            while (await show(gateway)).state != "joined":
                await asyncio.sleep(0.05)


async def test_who_has_just_joined_is_not_invited_a_second_time_either(tmp_path: Path) -> None:
    """Before anybody has looked."""
    async with running_gateway(tmp_path) as gateway:
        invited = await invite(gateway)
        async with member(gateway, "public", "Jo Partner", token_of(invited.link)):
            with pytest.raises(RequestRefused, match="has joined already, as Jo Partner"):
                await invite(gateway)
        assert (await show(gateway)).state == "joined"


async def test_after_an_older_database_came_back_nobody_is_taken_for_who_was_invited(tmp_path: Path) -> None:
    """The intake, on another machine, has lost nothing; the instance gives the same numbers once more (C5)."""
    database, older = tmp_path / "data/instances/public/service.sqlite3", tmp_path / "older.sqlite3"
    async with running_gateway(tmp_path):
        pass
    await asyncio.to_thread(shutil.copyfile, database, older)
    async with running_gateway(tmp_path) as gateway:
        jo = await invite(gateway)
    await asyncio.to_thread(shutil.copyfile, older, database)
    async with running_gateway(tmp_path) as gateway:
        anne = await invite(gateway, "anne@partner.example")
        assert anne.invitation == jo.invitation
        async with member(gateway, "public", "Anne Partner", token_of(anne.link)):
            await gateway.administration.look_at_invited("intake")
            assert (await show(gateway)).state == "invited"
            assert (await show(gateway, "anne@partner.example")).joined_as == "Anne Partner"
            assert (await invite(gateway)).link != jo.link  # which is good for nothing now


async def test_an_invitation_for_an_outsider_vouches_for_no_name_that_mail_is_routed_to(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        invited = await invite(gateway)
        with pytest.raises(AssertionError):  # the alias is refused
            async with member(gateway, "public", "Nobody Yet", token_of(invited.link)):
                pass


async def test_by_rule_whoever_is_vetted_is_invited(tmp_path: Path) -> None:
    settings = SETTINGS.replace("      hostname:", "      life_cycle: {invite: when_vetted}\n      hostname:", 1)
    async with running_gateway(tmp_path, settings) as gateway, member(gateway, "public", "Support Desk") as desk:
        host, port = gateway.bridges["intake"].address
        await asyncio.to_thread(mailed, host, port, "orders@partner.example")
        await desk.until(1)
        assert (await show(gateway, "orders@partner.example")).state == "vetted"
        await gateway.administration.look_at_invited("intake")
        invited = await show(gateway, "orders@partner.example")
        assert (invited.state, invited.changed_by) == ("invited", RULE)
        assert await open_ones(gateway, "orders@partner.example") == [invited.invitation]
        await gateway.administration.look_at_invited("intake")
        assert (await show(gateway, "orders@partner.example")).link == invited.link
        audited = (await gateway.administration.audit.page(None, 10)).entries
        made = [(one.actor, one.outcome) for one in audited if one.operation == "smtp.correspondents.invite"]
        assert made == [(RULE, "done")]


def mailed(host: str, port: int, sender: str) -> None:
    with smtplib.SMTP(host, port) as relay:
        relay.sendmail(sender, ["support@example.org"], f"From: {sender}\r\nSubject: An order\r\n\r\nTen, please.\r\n")


async def held_mail(gateway: Gateway, sender: str = JO) -> s.HeldMail:
    host, port = gateway.bridges["intake"].address
    await asyncio.to_thread(mailed, host, port, sender)
    (waiting,) = await administer(gateway, "smtp.held.list", bridge="intake", state="held")
    assert isinstance(waiting, s.HeldMail)
    return waiting


async def test_vet_release_and_invite_is_one_act(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, HELD) as gateway, member(gateway, "public", "Support Desk") as desk:
        mail = await held_mail(gateway)
        record = s.VetSender(address=JO, proof=[s.Proof(network="127.0.0.0/8")])
        body = s.DecideHeld(action="vet_release_and_invite", vet=record)
        decided = await administer(gateway, "smtp.held.decide", body, bridge="intake", number=mail.number)
        assert decided.outcomes == {"support@example.org": "delivered"}
        assert decided.record is not None
        await desk.until(1)
        invited = await show(gateway)
        assert invited.state == "invited"
        assert await open_ones(gateway) == [invited.invitation]
        with pytest.raises(RequestRefused, match="local user"):
            await administer(gateway, "smtp.held.decide", body, bridge="intake", number=mail.number)
        assert await open_ones(gateway) == [invited.invitation]


async def test_a_release_whose_invitation_fails_says_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform = Desk.perform

    async def away(self, operation, arguments, body, by):  # type: ignore[no-untyped-def]
        if operation == "correspondents.invited":
            raise BridgeRefused("away", "the bridge's disk failed")
        return await perform(self, operation, arguments, body, by)

    monkeypatch.setattr(Desk, "perform", away)
    async with running_gateway(tmp_path, HELD) as gateway, member(gateway, "public", "Support Desk") as desk:
        mail = await held_mail(gateway)
        record = s.VetSender(address=JO, proof=[s.Proof(network="127.0.0.0/8")])
        body = s.DecideHeld(action="vet_release_and_invite", vet=record)
        with pytest.raises(ServiceUnavailable, match=f"the mail was released, but {JO} is not invited"):
            await administer(gateway, "smtp.held.decide", body, bridge="intake", number=mail.number)
        await desk.until(1)


@pytest.mark.parametrize(
    ("without", "action"),
    [("smtp:write", "vet_and_release"), ("invitations:write", "vet_release_and_invite"), ("smtp:hold", "release")],
)
async def test_a_decision_takes_the_right_to_all_that_it_does(
    tmp_path: Path, without: str, action: s.HeldAction
) -> None:
    async with running_gateway(tmp_path, HELD) as gateway:
        mail = await held_mail(gateway)
        actor = Actor("token 9", ROLES["administrator"] - {without})
        record = s.VetSender(address=JO, proof=[s.Proof(network="127.0.0.0/8")])
        body = s.DecideHeld(action=action, vet=record)
        with pytest.raises(Denied, match=without):
            await gateway.administration.perform(
                actor, "smtp.held.decide", {"bridge": "intake", "number": mail.number}, body
            )
        (waits,) = await administer(gateway, "smtp.held.list", bridge="intake", state="held")
        assert waits.number == mail.number


async def test_who_may_not_invite_invites_no_correspondent(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        actor = Actor("token 9", ROLES["administrator"] - {"invitations:write"})
        with pytest.raises(Denied, match="invitations:write"):
            await gateway.administration.perform(
                actor, "smtp.correspondents.invite", {"bridge": "intake", "address": JO}
            )
        assert await open_ones(gateway) == []


async def test_the_link_is_for_who_could_make_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        link = (await invite(gateway)).link
        auditor = gateway.administration.on_behalf_of(Actor("an auditor", ROLES["auditor"]))
        here = {"bridge": "intake", "address": JO}
        seen = await auditor.perform("smtp.correspondents.show", here)
        page = await auditor.perform("smtp.correspondents.list", {"bridge": "intake"})
        assert isinstance(seen, s.Correspondent)
        assert isinstance(page, s.CorrespondentPage)
        assert (seen.link, [one.link for one in page.correspondents]) == ("", [""])
        assert link


async def test_what_is_no_address_or_no_bridge_is_said(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(Invalid):
            await invite(gateway, "no address at all")
        with pytest.raises(NotFound, match="there is no bridge other; the file has: intake"):
            await administer(gateway, "smtp.status", bridge="other")
        some = Actor("token 4", ROLES["owner"], frozenset({"members"}))
        for bridge in ("intake", "other"):
            with pytest.raises(Denied, match=f"may not act on the bridge {bridge}"):
                await gateway.administration.perform(some, "smtp.status", {"bridge": bridge})
        assert await administer(gateway, "invitations.list", instance="public") == []
