# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is kept for a time only, and goes when that is over: once an hour, each in a decision of its own."""

from collections.abc import Callable

from tmtp_core import limits
from tmtp_core.store.ledger import SqlLedger


def forgetting(now_ms: int) -> tuple[Callable[[SqlLedger], object], ...]:
    """What the writer is asked to do."""
    before_ms = now_ms - limits.REPOST_MEMORY_S * 1000
    return (
        lambda ledger: ledger.forget_old_posts(before_ms),
        lambda ledger: ledger.forget_used(now_ms),
        lambda ledger: ledger.forget_received(now_ms),
        lambda ledger: ledger.forget_closed_reports(now_ms),
    )
