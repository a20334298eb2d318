# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything that is measured, in one run on one machine: figures that compare, as a table and as JSON.

    make bench                                          # about three minutes
    python -m bench.suite --only steady --only idle     # some of it
    python -m bench.suite --seconds 20 --json FILE      # longer, and where the figures go

Figures of one machine at one moment mean little; ratios within one run mean something. The disk is measured before and
after, since it sets the limit. Exit code 1 when a post was lost, doubled, or out of order anywhere.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.load import Crowd, Figures, Shape, measure
from bench.member import BenchFailed
from bench.server import BenchServer, fsyncs_per_s, usage
from bench.worker import Place

_ROUNDS: Final = 2  # of each side of a ratio, in turns
_OUT: Final = Path("var/bench/bench.json")

Scenario = Callable[[float], dict[str, Any]]


def steady(seconds: float) -> dict[str, Any]:
    """200 clients, 1 KB to two recipients, one post each in flight: against the disk, and against one commit a post."""
    ours: list[Figures] = []
    theirs: list[Figures] = []
    disk: list[float] = []
    for _ in range(_ROUNDS):
        for stop_and_wait, figures in ((False, ours), (True, theirs)):
            with BenchServer(stop_and_wait=stop_and_wait) as server:
                disk.append(fsyncs_per_s(server.folder))
                figures.append(_loaded(server, Shape(seconds=seconds)))
    posts = _median(ours, lambda one: one.posts_per_s)
    alone = _median(theirs, lambda one: one.posts_per_s)
    return {
        **_summary(ours[-1]),
        "posts_per_s": posts,
        "fsyncs_per_s": statistics.median(disk),
        "posts_per_fsync": posts / statistics.median(disk),
        "one_commit_a_post_posts_per_s": alone,
        "against_one_commit_a_post": posts / alone,
        "problems": [problem for one in (*ours, *theirs) for problem in one.problems],
    }


def pipelined(seconds: float) -> dict[str, Any]:
    """200 clients with five posts each in flight."""
    return _alone(Shape(in_flight=5, seconds=seconds))


def thousand(seconds: float) -> dict[str, Any]:
    """1,000 clients."""
    return _alone(Shape(clients=1_000, seconds=seconds))


def letters(seconds: float) -> dict[str, Any]:
    """200 clients, 6.7 KB a post: a letter with its formatting."""
    return _alone(Shape(size=6_700, seconds=seconds))


def groups(seconds: float) -> dict[str, Any]:
    """Posts to groups of 100, at 40 a second: 4,000 deliveries."""
    return _alone(Shape(clients=200, groups_of=100, rate=40, seconds=seconds))


def offered(seconds: float) -> dict[str, Any]:
    """1,000 posts a second, come what may: how long each of them takes."""
    return _alone(Shape(clients=200, rate=1_000, seconds=seconds))


def idle(seconds: float, links: int = 5_000) -> dict[str, Any]:
    """5,000 links that say nothing: their memory; then all pulse, drop, and come back at once."""
    with BenchServer() as server, Crowd(_place(server), 2) as crowd:
        before = usage(server.pid).rss
        begin = time.monotonic()
        crowd.register(links)
        registered_s = time.monotonic() - begin
        memory = (usage(server.pid).rss - before) / links
        cpu = usage(server.pid).cpu_s
        crowd.ask("pulse")
        time.sleep(1)
        pulses = usage(server.pid).cpu_s - cpu
        crowd.ask("leave")
        return {
            "links": links,
            "kib_per_link": memory / 1024,
            "registrations_per_s": links / registered_s,
            "cpu_us_per_pulse": pulses * 1e6 / links,
            "log_ins_per_s": links / max(crowd.ask("come_back")),
            "problems": [],
        }


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.__name__: scenario for scenario in (steady, pipelined, thousand, letters, groups, offered, idle)
}


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="Measure the service on this machine.")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this scenario; may come again")
    parser.add_argument("--seconds", type=float, default=6.0, help="that each load is measured (default: 6)")
    parser.add_argument("--json", type=Path, default=_OUT, metavar="FILE", help=f"where to write (default: {_OUT})")
    given = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    console = Console()
    for name in given.only or SCENARIOS:
        scenario = SCENARIOS[name]
        console.print(f"[bold]{name}[/bold]: {(scenario.__doc__ or '').strip()}")
        try:
            results[name] = scenario(given.seconds)
        except BenchFailed as failed:
            results[name] = {"problems": [str(failed)]}
        _print(console, name, results[name])
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps({**_circumstances(), "results": results}, indent=2) + "\n", "utf-8")
    console.print(f"Written to {given.json}.")
    broken = [problem for result in results.values() for problem in result["problems"]]
    sys.exit(1 if broken else 0)


def _alone(shape: Shape) -> dict[str, Any]:
    with BenchServer() as server:
        return _summary(_loaded(server, shape))


def _loaded(server: BenchServer, shape: Shape) -> Figures:
    with Crowd(_place(server), 1) as crowd:
        crowd.register(shape.clients)
        return measure(crowd, shape, server.pid)


def _place(server: BenchServer) -> Place:
    return Place("127.0.0.1", server.port)


def _summary(figures: Figures) -> dict[str, Any]:
    return asdict(figures)


def _median(figures: list[Figures], of: Callable[[Figures], float]) -> float:
    return statistics.median(map(of, figures))


def _print(console: Console, name: str, result: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for figure, value in _flat(result):
        table.add_row(figure, value)
    console.print(table)


def _flat(result: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Names and values, with what is nested named by its path."""
    rows: list[tuple[str, str]] = []
    for name, value in result.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{above}{name}.")
        elif isinstance(value, float | int):
            rows.append((above + name, f"{value:,.2f}" if value < 100 else f"{value:,.0f}"))
        elif value:
            rows.append((above + name, ", ".join(map(str, value))))
    return rows


def _circumstances() -> dict[str, str]:
    """Where and what this was."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "commit": commit.stdout.strip(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


if __name__ == "__main__":
    main()
