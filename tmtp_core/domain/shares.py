# SPDX-License-Identifier: AGPL-3.0-or-later
"""What members receive, counted where an instance has a bridge: how much of it still comes by SMTP (C5)."""

from collections.abc import Sequence
from typing import Final

from tmtp_core.domain.acquaintance import hears
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Account, Ledger, Role

_MEMBER: Final = Role.MEMBER  # to look one up in its class costs more than all the rest here (CPython 3.11)
_GHOST: Final = Role.GHOST


def note_received(
    ledger: Ledger,
    sender: Account,
    direct: Sequence[Account],
    moment: Moment,
    joined: Sequence[Account] = (),
    *,
    first_contact: bool = False,
) -> None:
    """One message of `sender`: who is named (`direct`) and hears him, and all who are reached through a group.

    Where `ledger.received.counting` only: others pay nothing for it.
    """
    shown = [
        one.key
        for one in direct
        # Without a block of his nothing is hidden from anybody.
        if one.role is _MEMBER and (not one.blocked or hears(sender, one, moment, first_contact=first_contact))
    ]
    shown += [one.key for one in joined]
    if shown:
        ledger.received.count(shown, moment.ms, outside=sender.role is _GHOST)
