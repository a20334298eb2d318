# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is kept for a time only, and goes when that is over: once an hour, each in a decision of its own."""

from collections.abc import Callable

from tmtp_core import limits
from tmtp_core.store.ledger import SqlLedger

Forgetting = Callable[[SqlLedger], object]
"""A decision of the writer's; where it returns another one, there is more to forget."""


def forgetting(now_ms: int) -> tuple[Forgetting, ...]:
    """What the writer is asked to do."""
    return (
        _old_posts(now_ms - limits.REPOST_MEMORY_S * 1000),
        lambda ledger: ledger.forget_used(now_ms),
        lambda ledger: ledger.forget_received(now_ms),
        lambda ledger: ledger.forget_closed_reports(now_ms),
    )


def _old_posts(before_ms: int, after: int = 0) -> Forgetting:
    """Those of some devices at a time: of many devices there are millions, and who posts would wait for seconds."""

    def forget(ledger: SqlLedger) -> Forgetting | None:
        last = ledger.forget_old_posts(before_ms, after)
        return _old_posts(before_ms, last) if last is not None else None

    return forget
