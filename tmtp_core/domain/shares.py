# SPDX-License-Identifier: AGPL-3.0-or-later
"""What members receive, counted where an instance has a bridge: how much of it still comes by SMTP (C5)."""

from collections.abc import Sequence

from tmtp_core.domain.acquaintance import hears
from tmtp_core.domain.outcome import Moment
from tmtp_core.domain.port import Account, Ledger, Role


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
        one.key for one in direct if one.role is Role.MEMBER and hears(sender, one, moment, first_contact=first_contact)
    ]
    shown += [one.key for one in joined]
    if shown:
        ledger.received.count(shown, moment.ms, outside=sender.role is Role.GHOST)
