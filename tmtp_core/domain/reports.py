# SPDX-License-Identifier: AGPL-3.0-or-later
"""What members tell the administrators of somebody, and how that ends: op 21 (D2, D3, docs/decisions/0030).

Nothing of the reported account is changed by a report, and no message is made of it: whoever is reported can tell
nothing. What follows is an administrator's act.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from tmtp_core import limits
from tmtp_core.domain import quotas
from tmtp_core.domain.accounts import active_account
from tmtp_core.domain.bridging import refuse_bridge
from tmtp_core.domain.outcome import Asker, Moment, Outcome
from tmtp_core.domain.port import Account, Ledger, Role, Status
from tmtp_core.errors import NotFound, RequestRefused
from tmtp_core.wire.messages import Acked
from tmtp_core.wire.revision2 import Report

DAY_MS: Final = 24 * 3600 * 1000

Closing = Literal["acted", "no_action", "unfounded"]
"""How a report ends: something was done about it; it is so and nothing needs to be done; it is not so."""


class Reports(Ledger, Protocol):
    """The ledger, with what only reports ask of it."""

    def open_reports(self, by: Account, about: Account) -> tuple[int, int]:
        """How many are open besides the one of this account about that: its own others, and all others."""
        ...

    def put_report(self, by: Account, about: Account, reason: str, words: str, now_ms: int) -> None:
        """A new open report; one of the same about the same that is open makes way."""
        ...

    def report_closed_ms(self, number: int) -> int | None:
        """When a report was closed, 0 for an open one; None: there is none of this number."""
        ...

    def close_report(self, number: int, outcome: str, note: str, now_ms: int) -> None:
        """Close an open one. Of the closed ones the eldest go beyond `limits.REPORTS_CLOSED_MAX`."""
        ...


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What an administrator sees of a report. `words` are the reporter's own, and nobody has verified them.

    `about_same`: how many open reports there are about the same account. `closed_ms` None: this one is open.
    """

    number: int
    reporter: str
    reporter_alias: str
    reported: str
    reported_alias: str
    reported_role: str
    reported_status: str
    reason: str
    words: str
    made_ms: int
    about_same: int
    closed_ms: int | None
    outcome: str
    note: str


def report(request: Report, ledger: Reports, asker: Asker, moment: Moment) -> Outcome:
    """Op 21. The same person reported again, while it is open, is one report. Raises `RequestRefused`."""
    account = active_account(ledger, asker)
    refuse_bridge(account)
    _check_words(request.text)
    quotas.count_post(ledger, account, 0, moment)  # also what is refused below costs something
    other = ledger.account(request.uid)
    if other is None or not _has_reached(ledger, other, account):
        raise RequestRefused(f"Report: uid {request.uid} not found among those who have written to you")
    own, everybodys = ledger.open_reports(account, other)
    if own >= limits.REPORTS_OPEN_PER_ACCOUNT_MAX:
        raise RequestRefused(f"Report: Exceeds {limits.REPORTS_OPEN_PER_ACCOUNT_MAX} open reports")
    if everybodys >= limits.REPORTS_OPEN_MAX:
        raise RequestRefused("Report: the administrators have too many open reports; tell them another way")
    quotas.count_report(ledger, account, moment)
    ledger.put_report(account, other, request.reason, request.text, moment.ms)
    return Outcome(answers=[Acked(request.id)])


def close(number: int, outcome: Closing, note: str, ledger: Reports, now_ms: int) -> None:
    """An administrator has dealt with a report. Raises `NotFound`, `RequestRefused` for one that is closed."""
    closed_ms = ledger.report_closed_ms(number)
    if closed_ms is None:
        raise NotFound(f"there is no report {number}; its author may have replaced it: look at the list again")
    if closed_ms:
        raise RequestRefused(f"report {number} was closed before")
    ledger.close_report(number, outcome, note, now_ms)


def _has_reached(ledger: Ledger, other: Account, account: Account) -> bool:
    """Whether somebody has pinged, written to, or invited this account, or is with it in a group."""
    if other.key == account.key or other.status is Status.REMOVED or other.role is Role.BRIDGE:
        return False
    return other.agreed_to(account.key) or ledger.share_group(account, other)


def _check_words(text: str) -> None:
    """As of a ping (D2): plain text without U+FFFD, of so many UTF-16 units."""
    if "\ufffd" in text:
        raise RequestRefused("Report: the words are not valid UTF-8")
    most = limits.REPORT_WORDS_MAX_UTF16_UNITS
    if len(text.encode("utf-16-le")) // 2 > most:
        raise RequestRefused(f"Report: the words have more than {most} UTF-16 units")
