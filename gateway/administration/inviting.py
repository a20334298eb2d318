# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom an intake's correspondents are invited by, once each, and who of them has joined (C5).

The instance makes a personal invitation, the intake keeps its link for the one it is for. The two cannot be changed
together, so the invitation's note says whom it is for: one that the intake was not told of, whose token nobody has, is
found again by that and revoked before another is made.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from bridges.smtp.control import models as s
from bridges.smtp.control.checks import one_form
from gateway.administration.audit import Act
from gateway.administration.errors import Invalid, NotFound
from gateway.administration.on_instances import Administered
from tmtp_core import limits
from tmtp_core.errors import RequestRefused, ServiceUnavailable

log = structlog.get_logger()

RULE: Final = "rule: life_cycle.invite"
"""Who has invited, where nobody did by hand."""

_GATEWAY: Final = "gateway"
_INVITE: Final = "smtp.correspondents.invite"

Ask = Callable[[str, str, Mapping[str, object], msgspec.Struct | None, str], Awaitable[Any]]
"""Has a bridge do something: its name, the operation, the arguments, the body, who asks. As `BridgeOperations`."""

Recorded = Callable[[Act, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Does something with its entry in the audit log."""


class Inviting:
    """For all bridges; `bridges`: the instance of each."""

    def __init__(self, bridges: Mapping[str, str], instances: Mapping[str, Administered], ask: Ask) -> None:
        self._bridges = bridges
        self._instances = instances
        self._ask = ask
        self._one_at_a_time = {name: asyncio.Lock() for name in bridges}

    async def invite(self, bridge: str, address: str, by: str) -> s.Correspondent:
        """Invite a correspondent, or find that he is. Raises `RequestRefused`, `ServiceUnavailable`."""
        async with self._one_at_a_time[bridge]:
            return await self._invite(bridge, address, by)

    async def _invite(self, bridge: str, address: str, by: str) -> s.Correspondent:
        instance = self._instances[self._bridges[bridge]]
        here = {"address": one_form(address)}
        if not here["address"]:
            raise Invalid(f"address: {address} is no mail address: name@domain, without <>")
        address = here["address"]
        known: s.Correspondent | None = None
        with contextlib.suppress(NotFound):  # of whom no mail was proved: he may be invited all the same
            known = await self._ask(bridge, "correspondents.show", here, None, by)
        if known is not None and known.invitation is not None and known.joined_ms is None:
            known = await self._tell_joined(bridge, known) or known
        if known is not None and known.joined_ms is not None:
            raise RequestRefused(f"{address} has joined already, as {known.joined_as}: nobody is left to invite")
        note = _note(bridge, address)
        for number in await instance.service.invitations_noted(note):
            if known is not None and known.state == "invited" and known.invitation == number:
                return known
            await instance.service.revoke_invitation(number)  # the bridge does not know it, so nobody has its link
        number, token = await instance.service.invite_in_person(note)
        link = instance.invitation(token, note, None).link
        try:
            told: s.Correspondent = await self._ask(
                bridge, "correspondents.invited", here, s.Invited(invitation=number, link=link), by
            )
        except (RequestRefused, ServiceUnavailable):
            with contextlib.suppress(RequestRefused, ServiceUnavailable):  # else it is found by its note
                await instance.service.revoke_invitation(number)
            raise
        return told

    async def look(self, bridge: str, recorded: Recorded) -> None:
        """Tell a bridge who has joined, and invite whom its rules want invited. Raises `ServiceUnavailable`."""
        await self._tell_all_joined(bridge)
        for address in await self._ask(bridge, "correspondents.wanting", {}, None, _GATEWAY):
            act = Act(RULE, _INVITE, self._bridges[bridge], f"{bridge} / {address}")
            with contextlib.suppress(RequestRefused):  # the log has it; others are invited all the same
                await recorded(act, lambda address=address: self.invite(bridge, address, RULE))  # type: ignore[misc]

    async def _tell_all_joined(self, bridge: str) -> None:
        """A page at a time, `limits.INVITED_PAGES_MAX` of them."""
        after: str | None = None
        for _ in range(limits.INVITED_PAGES_MAX):
            asked: dict[str, object] = {"state": "invited", "limit": s.PAGE_MAX}
            if after is not None:
                asked["after"] = after
            page: s.CorrespondentPage = await self._ask(bridge, "correspondents.list", asked, None, _GATEWAY)
            await self._tell_some_joined(bridge, page.correspondents)
            after = page.next
            if after is None:
                return
        log.warning("invited_not_all_looked_at", bridge=bridge, looked_at=limits.INVITED_PAGES_MAX * s.PAGE_MAX)

    async def _tell_some_joined(self, bridge: str, some: Sequence[s.Correspondent]) -> list[s.Correspondent]:
        numbered = [(one.invitation, one.address) for one in some if one.invitation is not None]
        # By its note as well: an instance that was restored gives numbers again that the intake has for others.
        invited = {(number, _note(bridge, address)): address for number, address in numbered}
        joiners = await self._instances[self._bridges[bridge]].service.joiners([number for number, _ in numbered])
        told = []
        for one in joiners:
            address = invited.get((one.invitation, one.note))
            if address is None:
                continue
            joined = s.Joined(invitation=one.invitation, joined_as=one.alias or one.uid, joined_ms=one.joined_ms)
            here = {"address": address}
            told.append(await self._ask(bridge, "correspondents.joined", here, joined, _GATEWAY))
            log.info("correspondent_joined", bridge=bridge, invitation=one.invitation)
        return told

    async def _tell_joined(self, bridge: str, known: s.Correspondent) -> s.Correspondent | None:
        """The correspondent as he is now, if he has joined by his invitation."""
        return next(iter(await self._tell_some_joined(bridge, [known])), None)


def _note(bridge: str, address: str) -> str:
    """By which an invitation, and who has joined by it, is known to be for this correspondent."""
    return f"{address} (invited by the intake {bridge})"
