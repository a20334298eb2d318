# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many links: what one costs that says nothing, and what happens when all come back at once."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from bench.load import latency
from bench.scale import MIB, Result, Scale
from bench.server import BenchServer, usage
from bench.worker import Arrivals
from gateway.descriptors import raise_descriptors_max
from tmtp_core import limits

_WORKERS: Final = 2  # they mostly wait, and each has its own descriptors
_SETTLED_S: Final = 1.0


def idle(scale: Scale) -> Result:
    """10,000 TLS links that say nothing: their memory; then all pulse at once."""
    links = _possible(scale.links)
    with BenchServer() as server, scale.crowd(server, _WORKERS) as crowd:
        server.restart()  # the first start made certificate and database, and keeps in memory what it needed for that
        before = usage(server.pid).rss
        begin = time.monotonic()
        crowd.register(links)
        registered_s = time.monotonic() - begin
        time.sleep(_SETTLED_S)
        idle_now = usage(server.pid)
        pulsed_s = max(crowd.ask("pulse"))
        time.sleep(_SETTLED_S)
        after = usage(server.pid)
        return {
            "links": links,
            "kib_per_link": (idle_now.rss - before) / links / 1024,
            "rss_mb": idle_now.rss / 1e6,
            "rss_without_links_mb": before / 1e6,
            "registrations_per_s": links / registered_s,
            "cpu_us_per_pulse": (after.cpu_s - idle_now.cpu_s) * 1e6 / links,
            "ms_until_a_post_behind_all_pulses": pulsed_s * 1000,
            "problems": _whole(crowd.ask("alive"), links),
        }


def storm(scale: Scale) -> Result:
    """5,000 links drop at once, and all come back at the same moment by TLS and log-in; who is refused tries again."""
    links = _possible(scale.storm)
    with BenchServer() as server, scale.crowd(server, _WORKERS) as crowd:
        crowd.register(links)
        crowd.ask("leave")
        time.sleep(_SETTLED_S)
        before = usage(server.pid)
        begin = time.monotonic()
        arrivals: list[Arrivals] = crowd.ask("come_back", [(None, links) for _ in crowd.numbers])
        seconds = time.monotonic() - begin
        after = usage(server.pid)
        refusals = sum((one.refused for one in arrivals), Counter[str]())
        return {
            "links": links,
            "seconds_until_the_last": seconds,
            "log_ins_per_s": links / seconds,
            "log_in_ms": asdict(latency([one.in_ns for one in arrivals])),
            "refused_and_came_again": refusals.total(),
            "refusals": dict(refusals),
            "cpu_ms_per_log_in": (after.cpu_s - before.cpu_s) * 1000 / links,
            "rss_max_mib": after.rss_max / MIB,
            "bench_cpu": [round(one.busy, 2) for one in arrivals],
            "problems": _whole(crowd.ask("alive"), links),
        }


def _possible(links: int) -> int:
    """As many as this system lets the server have (`ulimit -Hn`)."""
    return min(links, raise_descriptors_max() - 2 * limits.DESCRIPTORS_FOR_FILES)


def _whole(alive: Sequence[int], links: int) -> list[str]:
    """A link that the server dropped was promised to stand."""
    lost = links - sum(alive)
    return [f"{lost} of {links} links were lost"] if lost else []
