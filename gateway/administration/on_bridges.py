# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operations on one SMTP intake: asked of the intake itself, which may be another process (C2, C5)."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bridges.smtp.control import models as s
from bridges.smtp.control.door import BRIDGE_OPERATIONS, BridgeDoor, BridgeRefused
from gateway.administration.errors import Denied, Invalid, NotFound
from gateway.administration.inviting import Inviting
from gateway.administration.on_instances import Administered, Handler
from gateway.administration.operations import Actor
from tmtp_core.errors import RequestRefused, ServiceUnavailable

Doors = Callable[[str], BridgeDoor]
"""The way to a bridge, by its name. Raises `BridgeRefused` where there is none just now."""

_PREFIX: Final = "smtp."
_MEMBERS_DAYS: Final = 30  # as `ReportMember` says
_VETS: Final = {"vet_and_release", "vet_release_and_invite"}
_INVITES: Final = {"vet_release_and_invite"}


class BridgeOperations:
    """Performs them. What it raises is in `gateway.administration.errors`, or `ServiceUnavailable`."""

    def __init__(self, bridges: Mapping[str, str], instances: Mapping[str, Administered], doors: Doors) -> None:
        """`bridges`: the instance of each."""
        self._bridges = bridges
        self._instances = instances
        self._doors = doors
        self.inviting = Inviting(bridges, instances, self.perform)

    def handlers(self) -> dict[str, Handler]:
        """By the names of the operations."""
        passed_on = {_PREFIX + name: self._passing(name) for name in BRIDGE_OPERATIONS if name not in _NOT_PASSED_ON}
        return {
            **passed_on,
            "smtp.held.decide": self._decide,
            "smtp.correspondents.invite": self._invite,
            "smtp.correspondents.list": self._list_correspondents,
            "smtp.correspondents.show": self._show_correspondent,
            "smtp.report": self._report,
        }

    def _passing(self, operation: str) -> Handler:
        """What the intake does alone."""

        async def handle(actor: Actor, asked: Any, body: msgspec.Struct | None) -> Any:
            return await self._ask(actor, operation, asked, body)

        return handle

    async def _ask(self, actor: Actor, operation: str, asked: Any, body: msgspec.Struct | None) -> Any:
        arguments = {name: value for name, value in msgspec.structs.asdict(asked).items() if name != "bridge"}
        return await self.perform(asked.bridge, operation, arguments, body, actor.name)

    async def perform(
        self,
        bridge: str,
        operation: str,
        arguments: Mapping[str, object],
        body: msgspec.Struct | None,
        by: str,
    ) -> Any:
        """Have an intake do something. Arguments that are None are left out."""
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            return await self._doors(bridge).perform(operation, given, body, by)
        except BridgeRefused as refused:
            raise error_of_bridge(refused) from None

    async def _decide(self, actor: Actor, asked: Any, body: s.DecideHeld) -> s.HeldDecided:
        if body.action in _VETS:
            _need(actor, "smtp:write", "make a vetting record")
        if body.action in _INVITES:
            _need(actor, "invitations:write", "invite")
        decided: s.HeldDecided = await self._ask(actor, "held.decide", asked, body)
        if decided.invite:
            try:
                await self.inviting.invite(asked.bridge, decided.invite, actor.name)
            except (RequestRefused, ServiceUnavailable) as error:
                what = f"the mail was released, but {decided.invite} is not invited: {error}"
                raise type(error)(what) from None
        return decided

    async def _invite(self, actor: Actor, asked: Any, body: None) -> s.Correspondent:
        _need(actor, "invitations:write", "invite")
        return await self.inviting.invite(asked.bridge, asked.address, actor.name)

    async def _report(self, actor: Actor, asked: Any, body: None) -> s.Report:
        """The intake knows what came by it, the instance what each member received."""
        report: s.Report = await self._ask(actor, "report", asked, body)
        shares = await self._instances[self._bridges[asked.bridge]].service.shares(_MEMBERS_DAYS)
        members = [s.ReportMember(alias=one.alias, smtp=one.smtp, tmtp=one.tmtp) for one in shares]
        return msgspec.structs.replace(report, members=members)

    async def _list_correspondents(self, actor: Actor, asked: Any, body: None) -> s.CorrespondentPage:
        page: s.CorrespondentPage = await self._ask(actor, "correspondents.list", asked, body)
        return s.CorrespondentPage(correspondents=[_shown(actor, one) for one in page.correspondents], next=page.next)

    async def _show_correspondent(self, actor: Actor, asked: Any, body: None) -> s.Correspondent:
        return _shown(actor, await self._ask(actor, "correspondents.show", asked, body))


_NOT_PASSED_ON: Final = {"correspondents.wanting", "correspondents.invited", "correspondents.joined"}
"""What the gateway itself asks an intake, and tells it."""


def _shown(actor: Actor, correspondent: s.Correspondent) -> s.Correspondent:
    """Whoever has the link of an invitation can use it: it is for who could make one."""
    if "invitations:write" in actor.scopes:
        return correspondent
    return msgspec.structs.replace(correspondent, link="")


def _need(actor: Actor, scope: Any, what: str) -> None:
    if scope not in actor.scopes:
        raise Denied(f"{actor.name} may not {what}: it takes {scope}")


def error_of_bridge(refused: BridgeRefused) -> RequestRefused | ServiceUnavailable:
    """What an intake raised, as everything else that administrators ask for."""
    text = str(refused)
    if refused.kind == "away":
        return ServiceUnavailable(text)
    kinds: dict[str, type[RequestRefused]] = {"not found": NotFound, "invalid": Invalid, "refused": RequestRefused}
    return kinds[refused.kind](text)
