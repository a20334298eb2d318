# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an administrator can do, the same whether the gateway runs or not (C1).

`LocalAdministration` acts on instances of this process; `gateway.control` carries the same calls over the
control socket.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.instance import RunningInstance
from tmtp_core import limits
from tmtp_core.domain.administration import AccountSummary, DeviceSummary, InvitationSummary
from tmtp_core.errors import RequestRefused
from tmtp_core.wire.address import ServiceAddress

Act = Literal["bar", "unbar", "remove"]


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """A token, told once, and the link that carries it."""

    token: str
    link: str


class Administration(Protocol):
    """Every call raises `RequestRefused` with a text for the administrator when it cannot be done."""

    async def create_invitation(self, instance: str, uses: int, expires_ms: int | None, note: str) -> NewInvitation:
        """A new registration token."""
        ...

    async def list_accounts(self, instance: str) -> list[AccountSummary]:
        """All accounts, oldest first."""
        ...

    async def administer(self, instance: str, act: Act, who: str) -> AccountSummary:
        """Bar, unbar or remove the account of a uid or alias."""
        ...

    async def reset_account(self, instance: str, who: str) -> NewInvitation:
        """An invitation with which one new device begins the account's log anew (B4)."""
        ...

    async def give_alias(self, instance: str, who: str, alias: str) -> AccountSummary:
        """A further alias for a member: also one that mail is routed to (C2)."""
        ...

    async def found_group(self, instance: str, gid: str, who: str) -> AccountSummary:
        """A new group with a member as its owner, who is told: also under a name that mail is routed to (C2)."""
        ...

    async def list_devices(self, instance: str, who: str) -> list[DeviceSummary]:
        """The devices of an account, oldest first."""
        ...

    async def bar_device(self, instance: str, who: str, device: int) -> AccountSummary:
        """Delete one device of a revision 1 account (B4)."""
        ...

    async def list_invitations(self, instance: str) -> list[InvitationSummary]:
        """Invitations with uses left, administrators' and members'."""
        ...

    async def revoke_invitation(self, instance: str, invitation: int) -> None:
        """Nobody can use it any more."""
        ...


class LocalAdministration:
    """Implements `Administration` on instances of this process; `addresses` is where clients find each."""

    def __init__(self, instances: Mapping[str, RunningInstance], addresses: Mapping[str, ServiceAddress]) -> None:
        self._instances = instances
        self._addresses = addresses

    async def create_invitation(self, instance: str, uses: int, expires_ms: int | None, note: str) -> NewInvitation:
        """See `Administration`."""
        if not 1 <= uses <= limits.INVITATION_USES_MAX:
            raise RequestRefused(f"an invitation has 1 to {limits.INVITATION_USES_MAX} uses, not {uses}")
        if expires_ms is not None and not 0 < expires_ms <= limits.DATE_MAX_MS:
            raise RequestRefused("an invitation ends in the year 9999 at the latest; or give no end")
        if len(note) > limits.INVITATION_NOTE_MAX_CHARACTERS:
            raise RequestRefused(f"a note has {limits.INVITATION_NOTE_MAX_CHARACTERS} characters at most")
        return self._told(instance, await self._named(instance).service.create_invitation(uses, expires_ms, note))

    async def list_accounts(self, instance: str) -> list[AccountSummary]:
        """See `Administration`."""
        return await self._named(instance).service.list_accounts()

    async def administer(self, instance: str, act: Act, who: str) -> AccountSummary:
        """See `Administration`."""
        service = self._named(instance).service
        acts = {"bar": service.bar_account, "unbar": service.lift_bar, "remove": service.remove_account}
        return await acts[act](who)

    async def reset_account(self, instance: str, who: str) -> NewInvitation:
        """See `Administration`."""
        return self._told(instance, await self._named(instance).service.reset_account(who))

    async def give_alias(self, instance: str, who: str, alias: str) -> AccountSummary:
        """See `Administration`."""
        return await self._named(instance).service.give_alias(who, alias)

    async def found_group(self, instance: str, gid: str, who: str) -> AccountSummary:
        """See `Administration`."""
        return await self._named(instance).service.found_group(gid, who)

    async def list_devices(self, instance: str, who: str) -> list[DeviceSummary]:
        """See `Administration`."""
        return await self._named(instance).service.list_devices(who)

    async def bar_device(self, instance: str, who: str, device: int) -> AccountSummary:
        """See `Administration`."""
        return await self._named(instance).service.bar_device(who, device)

    async def list_invitations(self, instance: str) -> list[InvitationSummary]:
        """See `Administration`."""
        return await self._named(instance).service.list_invitations()

    async def revoke_invitation(self, instance: str, invitation: int) -> None:
        """See `Administration`."""
        await self._named(instance).service.revoke_invitation(invitation)

    def _told(self, instance: str, token: str) -> NewInvitation:
        """A token with the link that carries it."""
        address = self._addresses[instance]
        return NewInvitation(token, ServiceAddress(address.host, address.port, address.pin, token).link())

    def _named(self, instance: str) -> RunningInstance:
        found = self._instances.get(instance)
        if found is None:
            known = ", ".join(self._instances) or "none"
            raise RequestRefused(f"there is no instance {instance}; the file has: {known}")
        return found


def reachable_host(host: str) -> str:
    """A listening address as others would dial it: this machine's name where it listens everywhere."""
    return socket.getfqdn() if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not listened on
