# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of one instance, as its administrator set them (C4)."""

from dataclasses import dataclass, field
from enum import Enum


class Acquaintance(Enum):
    """Who may post to whom (A3): `acquaintance:` in the settings."""

    PING = "ping"  # those who pinged, posted or redeemed an invitation
    INTRODUCTION = "introduction"  # those too whom a common acquaintance addressed in one message
    EVERYONE = "everyone"  # all members of the instance; pings, blocks and limits stay


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much one account may do. An hour begins with its first post; a day with its first ping."""

    pings_per_day: int = 200
    failed_pings_in_a_row: int = 20
    posts_per_hour: int = 10_000
    bytes_per_hour: int = 4 << 30
    introductions_per_day: int = 64
    invitations_per_day: int = 20
    finds_per_hour: int = 60


@dataclass(frozen=True, slots=True)
class Policy:
    """What an instance allows.

    `members`: the instance is members-only (A1), so bridges and ghosts have no place in it. `return_after_ms` None:
    what is not delivered waits for ever.
    """

    members: bool = False
    acquaintance: Acquaintance = Acquaintance.EVERYONE
    revision1: bool = True
    owners_moderate: bool = False
    members_invite: bool = False
    directory: bool = True
    return_after_ms: int | None = 30 * 24 * 3600 * 1000
    quotas: Quotas = field(default_factory=Quotas)
