# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service is to reach, and what a run of `bench.suite` measured of it.

Aims are ratios and costs, since those mean something on a noisy machine; no program fails because of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Results = Mapping[str, Mapping[str, Any]]
"""Of each scenario that was run, its result."""

GO_REFERENCE_POSTS_PER_S: Final = (900, 2_300)  # fsync a message, stop and wait; on a machine of this size
PROTOTYPE_POSTS_PER_S: Final = (7_400, 18_000)  # of ours, without policy checks; on a machine of this size


@dataclass(frozen=True, slots=True)
class Aim:
    """One line of the table. `path`: where its figure is in the results; `at_least`: whether more is better."""

    what: str
    path: tuple[str, ...]
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def text(self) -> str:
        """The aim, for people."""
        return f"{'≥' if self.at_least else '≤'} {spelled(self.limit, self.unit)}"

    def measured(self, results: Results) -> float | None:
        """Its figure, if it was measured."""
        value: Any = results
        for name in self.path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, int | float) else None

    def reached(self, measured: float) -> bool:
        """Whether that is what was aimed at."""
        return measured >= self.limit if self.at_least else measured <= self.limit


AIMS: Final = (
    Aim("acknowledged posts for each fsync of the disk, 200 clients", ("steady", "posts_per_fsync"), 1.5, True, "×"),
    Aim("posts/s against one commit a post, 200 clients", ("steady", "ratios", "posts", "median"), 5, True, "×"),
    Aim("deliveries/s against the same, 200 clients", ("steady", "ratios", "deliveries", "median"), 5, True, "×"),
    Aim(
        "p99 from post to delivery against the same, 200", ("steady", "ratios", "delivery_p99", "median"), 1, False, "×"
    ),
    Aim("posts/s against one commit a post, 1,000 clients", ("thousand", "ratios", "posts", "median"), 5, True, "×"),
    Aim("deliveries/s against the same, 1,000 clients", ("thousand", "ratios", "deliveries", "median"), 5, True, "×"),
    Aim(
        "p99 from post to delivery against the same, 1,000",
        ("thousand", "ratios", "delivery_p99", "median"),
        1,
        False,
        "×",
    ),
    Aim("CPU of a post, 1 KB to two recipients", ("steady", "cost", "cpu_us_per_post"), 200, False, "µs"),
    Aim("p99 of an ack, 1,000 posts/s offered", ("offered", "ack_ms", "p99"), 20, False, "ms"),
    Aim("memory of an idle TLS link", ("idle", "kib_per_link"), 32, False, "KiB"),
    Aim("memory of the whole service with 10,000 of them", ("idle", "rss_mb"), 350, False, "MB"),
    Aim("others' p99 of an ack, one of 1,000 stalls", ("stalled", "ratios", "ack_p99"), 2, False, "×"),
    Aim("others' p99 of a delivery, one of 1,000 stalls", ("stalled", "ratios", "delivery_p99"), 2, False, "×"),
    Aim("memory, one of 1,000 stalls, against none", ("stalled", "ratios", "rss_max"), 1.2, False, "×"),
    Aim("cost of a post, 1,000,000 queued against 1,000", ("backlog", "ratios", "post"), 1.3, False, "×"),
    Aim("cost of a delivery, 1,000,000 queued against 1,000", ("backlog", "ratios", "delivery"), 1.3, False, "×"),
    Aim("the same, each read from the disk first", ("backlog", "ratios", "delivery_from_the_disk"), 1.3, False, "×"),
    Aim("restart to ready, 1,000,000 queued", ("backlog", "start_s"), 5, False, "s"),
    Aim("CPU of a post, two processes on PostgreSQL, against SQLite", ("processes", "ratios", "cpu"), 2.5, False, "×"),
    Aim("posts/s, two processes on PostgreSQL against one", ("processes", "ratios", "posts"), 1, True, "×"),
    Aim(
        "p99 to a delivery, two thirds by another process",
        ("processes", "across", "delivery_ms", "p99"),
        50,
        False,
        "ms",
    ),
    Aim("memory gained by 100 MB attachments, several at once", ("attachments", "rss_growth_mib"), 64, False, "MiB"),
    Aim(
        "a client starts and shows its first page, 100,000 messages",
        ("history", "start_to_first_page_s"),
        1.5,
        False,
        "s",
    ),
    Aim("p95 of a search in them", ("history", "search_ms", "p95"), 50, False, "ms"),
    Aim("the same against plain FTS5 queries", ("history", "ratios", "search_p95"), 1, False, "×"),
    Aim("memory of that client", ("history", "rss_mib"), 250, False, "MiB"),
)


def spelled(value: float, unit: str = "") -> str:
    """A figure with three digits that matter, and its unit."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()
