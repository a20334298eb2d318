# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which refusals are written down one by one: anybody can be refused, as often as he likes, and the log only grows.
A repeat of what was delivered is one of them: whoever has got a signed mail can hand it in as often as he likes.

So many of a network are written, and so many in all; what is beyond that in an hour is counted, and an entry says how
many those were.
"""

from collections import Counter
from typing import Final

from bridges import limits
from bridges.smtp.control.evidence import ActDone

_HOUR_MS: Final = 3_600_000
_ELSEWHERE: Final = "elsewhere"
_BY: Final = "rule: refusals are counted"


class Refusals:
    """Counts those of the hour. In memory: what was counted and not told yet is lost with the process."""

    def __init__(self) -> None:
        self._hour = 0
        self._written: Counter[str] = Counter()
        self._total = 0
        self._counted: Counter[str] = Counter()
        self._over: list[ActDone] = []

    def is_written(self, network: str, decisions: int, at_ms: int) -> bool:
        """Whether one more of a network is, with so many decisions; if not, it is counted."""
        self._turn(at_ms)
        known = network in self._written or len(self._written) < limits.REFUSALS_NETWORKS_MAX
        name = network if known else _ELSEWHERE
        room = (
            self._written[name] + decisions <= limits.REFUSALS_WRITTEN_OF_NETWORK
            and self._total + decisions <= limits.REFUSALS_WRITTEN
        )
        if room:
            self._written[name] += decisions
            self._total += decisions
        else:
            self._counted[name] += 1
        return room

    def to_tell(self, at_ms: int) -> list[ActDone]:
        """Entries about hours that are over, each once."""
        self._turn(at_ms)
        told, self._over = self._over, []
        return told

    def _turn(self, at_ms: int) -> None:
        hour = at_ms // _HOUR_MS
        if hour <= self._hour:
            return
        self._over += [
            ActDone(_BY, "mails.refused", network, f"{count} more mails within an hour")
            for network, count in self._counted.most_common(limits.REFUSALS_TOLD_MAX)
        ]
        self._hour, self._total = hour, 0
        self._written, self._counted = Counter(), Counter()
