# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much one account may do (D3): pings a day, failed tries in a row, posts and octets an hour."""

from typing import Final

from tmtp_core import limits
from tmtp_core.domain.outcome import NO_DEVICE, Asker, Moment
from tmtp_core.domain.port import Account, Ledger, Spent
from tmtp_core.errors import RequestRefused

HOUR_MS: Final = 3600 * 1000
DAY_MS: Final = 24 * HOUR_MS

PINGS: Final = "pings"
FAILED: Final = "failed pings"
INTRODUCTIONS: Final = "introductions"
INVITATIONS: Final = "invitations"
REPORTS: Final = "reports"


def count_post(ledger: Ledger, account: Account, octets: int, moment: Moment) -> None:
    """One more post, of that many octets times its recipients. Raises `RequestRefused` above the quota of the hour."""
    spent, quotas = _this_hour(ledger, account, moment), moment.policy.quotas
    if spent.posts >= quotas.posts_per_hour:
        raise RequestRefused(f"quota: {quotas.posts_per_hour} posts an hour; try again later")
    if spent.octets + octets > quotas.bytes_per_hour:
        raise RequestRefused(f"quota: {quotas.bytes_per_hour} bytes an hour; try again later")
    spent.posts += 1
    spent.octets += octets


def tells_of_login(ledger: Ledger, account: Account, moment: Moment) -> bool:
    """Whether an account's devices hear of one more log-in. Nobody is refused for their number."""
    spent = _this_hour(ledger, account, moment)
    spent.logins += 1
    return spent.logins <= limits.LOGINS_TOLD_PER_HOUR


def count_find(ledger: Ledger, account: Account, moment: Moment) -> None:
    """One more look into the directory."""
    spent, quotas = _this_hour(ledger, account, moment), moment.policy.quotas
    if spent.finds >= quotas.finds_per_hour:
        raise RequestRefused(f"quota: {quotas.finds_per_hour} look-ups an hour; try again later")
    spent.finds += 1


def used_today(ledger: Ledger, account: Account, kind: str, moment: Moment) -> int:
    """What a durable count says for the 24 hours that began with its first use."""
    since_ms, count = ledger.meter(account, kind)
    return 0 if _is_over(since_ms, DAY_MS, moment) else count


def count_today(ledger: Ledger, account: Account, kind: str, moment: Moment, more: int = 1) -> None:
    """Add to a durable count."""
    since_ms, count = ledger.meter(account, kind)
    if _is_over(since_ms, DAY_MS, moment):
        since_ms, count = moment.ms, 0
    ledger.set_meter(account, kind, since_ms, count + more)


def check_ping(ledger: Ledger, account: Account, moment: Moment) -> None:
    """Whether one more ping may be tried at all. Raises `RequestRefused`."""
    quotas = moment.policy.quotas
    if used_today(ledger, account, PINGS, moment) >= quotas.pings_per_day:
        raise RequestRefused(f"quota: {quotas.pings_per_day} pings a day; try again later")
    if used_today(ledger, account, FAILED, moment) >= quotas.failed_pings_in_a_row:
        raise RequestRefused(f"quota: {quotas.failed_pings_in_a_row} pings in a row reached nobody; try again tomorrow")


def ping_failed(ledger: Ledger, account: Account, moment: Moment) -> None:
    """A ping named nobody. It counts for the day, and for the row."""
    count_today(ledger, account, PINGS, moment)
    count_today(ledger, account, FAILED, moment)


def ping_reached(ledger: Ledger, account: Account, other: Account, moment: Moment) -> None:
    """A ping named somebody, who may have blocked the sender: that makes no difference here. Oneself is no test."""
    count_today(ledger, account, PINGS, moment)
    if other.key != account.key and used_today(ledger, account, FAILED, moment):
        ledger.set_meter(account, FAILED, moment.ms, 0)


def count_report(ledger: Ledger, account: Account, moment: Moment) -> None:
    """One more report by this account. Raises `RequestRefused` above what one may make in a day."""
    if used_today(ledger, account, REPORTS, moment) >= limits.REPORTS_PER_DAY:
        raise RequestRefused(f"quota: {limits.REPORTS_PER_DAY} reports a day; try again later")
    count_today(ledger, account, REPORTS, moment)


def appends_by(device: int) -> str:
    """The count of a device's entries: one in a thief's hand must not use up what the others need."""
    return f"log {device}"


def count_log_append(ledger: Ledger, account: Account, asker: Asker, moment: Moment) -> None:
    """One more entry of the account's log by this device. Raises `RequestRefused` above what one may try in a day."""
    kind = appends_by(asker.device)
    most = limits.LOG_APPENDS_PER_DAY * (4 if asker.device == NO_DEVICE else 1)
    if used_today(ledger, account, kind, moment) >= most:
        raise RequestRefused(f"quota: {most} entries of the log a day; try again later")
    count_today(ledger, account, kind, moment)


def _is_over(since_ms: int, period_ms: int, moment: Moment) -> bool:
    """Whether a period has ended; also one that begins later than it could, since a clock ran ahead."""
    return not -period_ms < moment.ms - since_ms < period_ms


def _this_hour(ledger: Ledger, account: Account, moment: Moment) -> Spent:
    spent = ledger.spent(account)
    if _is_over(spent.since_ms, HOUR_MS, moment):
        spent.since_ms, spent.posts, spent.octets, spent.finds, spent.logins = moment.ms, 0, 0, 0, 0
    return spent
