# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may write, and who can be reached (C2): default deny."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from tmtp_client.connection import Endpoint, KeyLogin

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class SenderRule:
    """An approved sender: its address, and the networks its mail must come from (all of them)."""

    address: str
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Mail for `recipient` may pass; where it leads is the service's business.

    `active_attachments`: whether those that could do something are passed on. `original`: whether the mail as it came
    is an attachment, with everything that is in it.
    """

    recipient: str
    active_attachments: bool = False
    original: bool = False


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds of one intake."""

    message_max_bytes: int = 25 << 20
    connections_max: int = 100
    connections_per_address_max: int = 20
    recipients_max: int = 100


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """All that one intake needs to know. `login` is the bridge's own device."""

    name: str
    host: str
    port: int
    hostname: str
    senders: tuple[SenderRule, ...]
    routes: tuple[Route, ...]
    endpoint: Endpoint
    login: KeyLogin
    spool: Path
    database: Path
    limits: IntakeLimits = field(default_factory=IntakeLimits)


class Rules:
    """Looks a sender or a recipient up. Domains match in any case, local parts as written or in lower case."""

    def __init__(self, settings: IntakeSettings) -> None:
        self._senders = {folded(rule.address): rule for rule in settings.senders}
        self._routes = {folded(route.recipient): route for route in settings.routes}

    def sender(self, address: str, peer: str) -> SenderRule | None:
        """The rule for mail that claims to be from `address` and comes from the IP address `peer`."""
        rule = self._senders.get(folded(address))
        if rule is None:
            return None
        try:
            ip = ipaddress.ip_address(peer)
        except ValueError:
            return None
        mapped = getattr(ip, "ipv4_mapped", None)
        return rule if all((mapped or ip) in network for network in rule.networks) else None

    def route(self, recipient: str) -> Route | None:
        """The route of a recipient."""
        return self._routes.get(folded(recipient))


def folded(address: str) -> str:
    """An address as it is compared. Hardly any mail server tells local parts apart by case."""
    return address.strip().casefold()
