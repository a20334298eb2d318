# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one intake is told: its doors, routes, bounds and relay, and whom the settings file vets (C2).

The gateway makes these of its settings file, in which every mistake is named before.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bridges.smtp.control.models import VetSender
from bridges.smtp.peers import Networks
from bridges.smtp.proof.prover import Trust
from tmtp_client.connection import Endpoint, KeyLogin


@dataclass(frozen=True, slots=True)
class Route:
    """Mail for `recipient` may pass; where it leads is the service's business, which calls it `to`.

    `active_attachments`: whether those that could do something are passed on. `original`: whether the mail as it came
    is an attachment, with everything that is in it. `reply`: what becomes of members' answers. `hold_unknown`: whether
    mail waits for a person whose sender nobody has vetted.
    """

    recipient: str
    active_attachments: bool = False
    original: bool = False
    to: str = ""
    reply: Literal["invite", "smarthost"] = "invite"
    hold_unknown: bool = False


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds of one intake."""

    message_max_bytes: int = 25 << 20
    connections_max: int = 100
    connections_per_address_max: int = 20
    recipients_max: int = 100


@dataclass(frozen=True, slots=True)
class HoldBounds:
    """Of mail that waits for a person's decision."""

    expires_days: int = 14
    mails_max: int = 1_000
    bytes_max: int = 1 << 30


@dataclass(frozen=True, slots=True)
class SpoolBounds:
    """Of mail that is accepted while the service is away."""

    mails_max: int = 10_000
    bytes_max: int = 1 << 30


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """What moves a correspondent on by itself (C5). `refuse_after_joined_days` None: a person does."""

    invite: Literal["by_hand", "when_vetted"] = "by_hand"
    refuse_after_joined_days: int | None = None


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Where the relay is. `implicit`: TLS from the first octet on, else STARTTLS. `ca`: PEM, for a private authority.

    `hostname`: what this side calls itself. `user` None: no AUTH. `password`: a file, open to its owner only.
    """

    host: str
    port: int
    hostname: str
    implicit: bool = False
    ca: Path | None = None
    user: str | None = None
    password: Path | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. `path`: a Unix socket, else `host` and `port`. `lmtp`: RFC 2033. `tls`: from the first octet on."""

    host: str = ""
    port: int = 0
    path: Path | None = None
    lmtp: bool = False
    tls: bool = False


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """All that one intake needs to know. `login` is the bridge's own device.

    `upstream`: mail servers in front, whose address says nothing about the sender. `proxies`: what begins with a PROXY
    header. `certificate`: PEM files of certificate and key. `nameservers`: () for those of the machine. `senders`: what
    the settings file vets. `spool`: for mail that is being read; emptied at start. `waiting`: of what is in the spool.
    `tell`: the recipient of the route to administrators.
    """

    name: str
    doors: tuple[Door, ...]
    hostname: str
    senders: tuple[VetSender, ...]
    routes: tuple[Route, ...]
    endpoint: Endpoint
    login: KeyLogin
    spool: Path
    database: Path
    certificate: tuple[Path, Path] | None = None
    trust: Trust = field(default_factory=Trust)
    upstream: Networks = field(default_factory=Networks)
    proxies: Networks = field(default_factory=Networks)
    nameservers: tuple[tuple[str, int], ...] = ()
    invitation_url: str | None = None
    tell: str | None = None
    smarthost: RelaySettings | None = None
    limits: IntakeLimits = field(default_factory=IntakeLimits)
    hold: HoldBounds = field(default_factory=HoldBounds)
    waiting: SpoolBounds = field(default_factory=SpoolBounds)
    life_cycle: LifeCycle = field(default_factory=LifeCycle)
    decisions_kept_days: int = 400
