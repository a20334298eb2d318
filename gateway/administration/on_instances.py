# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operations on one instance: accounts, devices, groups, invitations, reports, queues (C1)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from gateway.administration import models as m
from gateway.administration.history import InstanceHistory, Kept
from gateway.administration.operations import Actor
from gateway.instance import RunningInstance
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.domain.administration import AccountSummary
from tmtp_core.domain.port import Status
from tmtp_core.domain.reports import ReportSummary
from tmtp_core.errors import RequestRefused
from tmtp_core.store.inventory import AccountsWanted, GroupSummary
from tmtp_core.store.reports import ReportsWanted
from tmtp_core.wire.address import ServiceAddress

Handler = Callable[[Actor, Any, Any], Awaitable[Any]]
"""Of one operation: who asks, the arguments and the body, both checked."""


class Administered:
    """One instance as administrators see it."""

    def __init__(self, running: RunningInstance, clock: Clock, address: Callable[[], ServiceAddress]) -> None:
        self.service = running.service
        self.certificate = running.certificate
        self.history = InstanceHistory(running.service, clock)
        self.address = address
        self.queues = Kept(lambda: running.service.list_queues(m.PAGE_MAX), clock)
        self.octets = Kept(running.service.octets_queued, clock)

    def invitation(self, token: str, note: str, expires_ms: int | None) -> m.NewInvitation:
        """A token with the link that carries it."""
        here = self.address()
        link = ServiceAddress(here.host, here.port, here.pin, token).link()
        return m.NewInvitation(token=token, link=link, note=note, expires_ms=expires_ms)


class InstanceOperations:
    """Performs them. What it raises is in `gateway.administration.errors`."""

    def __init__(self, instances: Mapping[str, Administered], clock: Clock) -> None:
        self._instances = instances
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        """By the names of the operations."""
        return {
            "history": self._history,
            "accounts.list": self._list_accounts,
            "accounts.show": self._show_account,
            "accounts.bar": self._bar,
            "accounts.unbar": self._unbar,
            "accounts.remove": self._remove,
            "accounts.reset": self._reset,
            "accounts.alias": self._give_alias,
            "devices.bar": self._bar_device,
            "groups.list": self._list_groups,
            "groups.show": self._show_group,
            "groups.found": self._found_group,
            "invitations.list": self._list_invitations,
            "invitations.create": self._create_invitation,
            "invitations.create_many": self._create_invitations,
            "invitations.revoke": self._revoke_invitation,
            "reports.list": self._list_reports,
            "reports.close": self._close_report,
            "queues.list": self._list_queues,
        }

    async def _history(self, actor: Actor, asked: Any, body: None) -> m.History:
        return self._instances[asked.instance].history.shown()

    # -- accounts and devices ----------------------------------------------------------------------------------------
    async def _list_accounts(self, actor: Actor, asked: Any, body: None) -> m.AccountPage:
        limit = asked.limit or m.PAGE_MAX
        status = Status[asked.status.upper()] if asked.status is not None else None
        wanted = AccountsWanted(asked.search or "", status, asked.after, limit + 1)
        found = await self._instances[asked.instance].service.list_accounts(wanted)
        shown = [_account(one) for one in found[:limit]]
        return m.AccountPage(accounts=shown, next=shown[-1].uid if len(found) > limit else None)

    async def _show_account(self, actor: Actor, asked: Any, body: None) -> m.AccountDetail:
        account, devices, groups = await self._instances[asked.instance].service.show_account(asked.who)
        shown = [m.Device(**asdict(device)) for device in devices]
        return m.AccountDetail(account=_account(account), devices=shown, groups=groups)

    async def _bar(self, actor: Actor, asked: Any, body: None) -> m.Account:
        return _account(await self._instances[asked.instance].service.bar_account(asked.who))

    async def _unbar(self, actor: Actor, asked: Any, body: None) -> m.Account:
        return _account(await self._instances[asked.instance].service.lift_bar(asked.who))

    async def _remove(self, actor: Actor, asked: Any, body: None) -> m.Account:
        return _account(await self._instances[asked.instance].service.remove_account(asked.who))

    async def _reset(self, actor: Actor, asked: Any, body: None) -> m.NewInvitation:
        instance = self._instances[asked.instance]
        until_ms = self._now_ms() + limits.RESET_VALID_MS
        return instance.invitation(await instance.service.reset_account(asked.who), f"reset of {asked.who}", until_ms)

    async def _give_alias(self, actor: Actor, asked: Any, body: m.GiveAlias) -> m.Account:
        return _account(await self._instances[asked.instance].service.give_alias(asked.who, body.alias))

    async def _bar_device(self, actor: Actor, asked: Any, body: None) -> m.Account:
        return _account(await self._instances[asked.instance].service.bar_device(asked.who, asked.device))

    # -- groups ------------------------------------------------------------------------------------------------------
    async def _list_groups(self, actor: Actor, asked: Any, body: None) -> list[m.Group]:
        service = self._instances[asked.instance].service
        return [_group(one) for one in await service.list_groups(asked.after or "", asked.limit or m.PAGE_MAX)]

    async def _show_group(self, actor: Actor, asked: Any, body: None) -> m.GroupDetail:
        return await self._group_detail(asked.instance, asked.gid)

    async def _found_group(self, actor: Actor, asked: Any, body: m.FoundGroup) -> m.GroupDetail:
        await self._instances[asked.instance].service.found_group(body.gid, body.who)
        return await self._group_detail(asked.instance, body.gid)

    async def _group_detail(self, instance: str, gid: str) -> m.GroupDetail:
        group, members = await self._instances[instance].service.show_group(gid)
        shown = [m.GroupMember(uid=one.uid, alias=one.alias, standing=_standing(one.standing)) for one in members]
        return m.GroupDetail(group=_group(group), members=shown)

    # -- invitations -------------------------------------------------------------------------------------------------
    async def _list_invitations(self, actor: Actor, asked: Any, body: None) -> list[m.Invitation]:
        service = self._instances[asked.instance].service
        found = await service.list_invitations(asked.after or 0, asked.limit or m.PAGE_MAX)
        return [m.Invitation(**asdict(one)) for one in found]

    async def _create_invitation(self, actor: Actor, asked: Any, body: m.CreateInvitation) -> m.NewInvitation:
        self._check_end(body.expires_ms)
        instance = self._instances[asked.instance]
        token = await instance.service.create_invitation(body.uses, body.expires_ms, body.note, vouches=_vouches(actor))
        return instance.invitation(token, body.note, body.expires_ms)

    async def _create_invitations(self, actor: Actor, asked: Any, body: m.CreateInvitations) -> list[m.NewInvitation]:
        self._check_end(body.expires_ms)
        instance = self._instances[asked.instance]
        tokens = await instance.service.create_invitations(body.notes, body.expires_ms, vouches=_vouches(actor))
        return [
            instance.invitation(token, note, body.expires_ms) for token, note in zip(tokens, body.notes, strict=True)
        ]

    async def _revoke_invitation(self, actor: Actor, asked: Any, body: None) -> m.Done:
        await self._instances[asked.instance].service.revoke_invitation(asked.invitation)
        return m.Done()

    def _check_end(self, expires_ms: int | None) -> None:
        if expires_ms is not None and expires_ms <= self._now_ms():
            raise RequestRefused("the invitation would end before it begins: expires_ms lies in the past")

    # -- reports -----------------------------------------------------------------------------------------------------
    async def _list_reports(self, actor: Actor, asked: Any, body: None) -> list[m.Report]:
        wanted = ReportsWanted(asked.state == "closed", asked.after or 0, asked.limit or m.PAGE_MAX, asked.about or "")
        found = await self._instances[asked.instance].service.list_reports(wanted)
        return [_report(one) for one in found]

    async def _close_report(self, actor: Actor, asked: Any, body: m.CloseReport) -> m.Done:
        await self._instances[asked.instance].service.close_report(asked.report, body.outcome, body.note)
        return m.Done()

    # -- queues ------------------------------------------------------------------------------------------------------
    async def _list_queues(self, actor: Actor, asked: Any, body: None) -> list[m.Queue]:
        found = await self._instances[asked.instance].queues.get()
        return [
            m.Queue(uid=one.uid, alias=one.alias, deliveries=one.deliveries, bytes=one.octets, oldest_ms=one.oldest_ms)
            for one in found[: asked.limit or m.PAGE_MAX]
        ]

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000


def _vouches(actor: Actor) -> bool:
    """Whether whom an actor invites may take a name that mail is routed to: who may give such a name vouches for it."""
    return "accounts:write" in actor.scopes


def _account(one: AccountSummary) -> m.Account:
    identity = (
        m.Identity(issuer=one.identity.issuer, subject=one.identity.subject) if one.identity is not None else None
    )
    return m.Account(**{**asdict(one), "aliases": list(one.aliases), "identity": identity})


def _report(one: ReportSummary) -> m.Report:
    said = asdict(one)
    return m.Report(report=said.pop("number"), **said)


def _group(one: GroupSummary) -> m.Group:
    return m.Group(**asdict(one))


def _standing(name: str) -> Any:
    """`MemberStatus` in small letters is what the model says."""
    return name
