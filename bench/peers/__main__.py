# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run this server and its peers in turns on the same work, and print what each gives for what promise.

    python -m bench.peers                                # all of them: about ten minutes
    python -m bench.peers --only ejabberd --rounds 1     # ours and this one
    python -m bench.peers --clients 20 --seconds 10 --size 6700 --json var/bench/peers.json

Four kinds of turns: `steady`, where each client posts again as soon as it has its ack; `offered`, a low rate that every
server can follow, where latency is its own; `away`, where recipients are offline and the server is killed (SIGKILL)
before they come back; and one under strace, which only counts syncs. Lost, doubled and reordered messages of the peers
are reported: only what ours breaks makes the exit code 1.
"""

import argparse
import asyncio
import json
import math
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.table import Table

from bench.compare import finite, shown
from bench.member import BenchFailed
from bench.peers.ejabberd import Ejabberd
from bench.peers.mail import Mail
from bench.peers.mosquitto import Mosquitto
from bench.peers.ours import Ours
from bench.peers.process import NotHere, PeerServer
from bench.peers.run import away_and_killed, online
from bench.peers.work import Outcome, Work

PEERS: Final[tuple[type[PeerServer], ...]] = (Mosquitto, Ejabberd, Mail)
_ALL: Final[tuple[type[PeerServer], ...]] = (Ours, *PEERS)
_OFFERED: Final = 25.0  # posts a second
_TRACED_S: Final = 2.0
_TURNS: Final[dict[str, Callable[[PeerServer, Work], Any]]] = {
    "steady": online,
    "offered": lambda server, work: online(server, replace(work, rate=_OFFERED)),
    "away": away_and_killed,
    "syncs": lambda server, work: online(server, replace(work, seconds=_TRACED_S), count_syncs=True),
}
_ONCE: Final = frozenset({"syncs"})  # whatever the number of rounds: it is no time that is measured

_Measure = Callable[[Outcome], float | None]
_MEASURES: Final[dict[str, dict[str, _Measure]]] = {
    "steady": {
        "posts/s": lambda one: one.posts_per_s,
        "deliveries/s, sustained": lambda one: one.through_per_s,
        "ack p50 ms": lambda one: one.ack_ms.p50,
        "ack p99 ms": lambda one: one.ack_ms.p99,
        "delivery p99 ms": lambda one: one.delivery_ms.p99,
        "CPU µs/post": lambda one: one.cpu_us_per_post,
        "written/post": lambda one: one.written_per_post,
        "lost": lambda one: one.lost,
        "doubled": lambda one: one.doubled,
        "reordered": lambda one: one.reordered,
        "bench CPU": lambda one: one.bench_cpu,
    },
    "offered": {
        "posts/s": lambda one: one.posts_per_s,
        "ack p50 ms": lambda one: one.ack_ms.p50,
        "ack p99 ms": lambda one: one.ack_ms.p99,
        "delivery p50 ms": lambda one: one.delivery_ms.p50,
        "delivery p99 ms": lambda one: one.delivery_ms.p99,
        "CPU µs/post": lambda one: one.cpu_us_per_post,
        "reordered": lambda one: one.reordered,
    },
    "away": {
        "posts/s": lambda one: one.posts_per_s,
        "ack p99 ms": lambda one: one.ack_ms.p99,
        "written/post": lambda one: one.written_per_post,
        "drained/s": lambda one: one.through_per_s,
        "acknowledged": lambda one: one.acknowledged,
        "lost": lambda one: one.lost,
        "doubled": lambda one: one.doubled,
        "reordered": lambda one: one.reordered,
    },
    "syncs": {"syncs/post": lambda one: one.syncs_per_post},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, write the JSON."""
    given = _parser().parse_args(arguments)
    console = Console(stderr=True)
    work = Work(clients=given.clients, size=given.size, seconds=given.seconds)
    servers: list[type[PeerServer]] = [Ours, *(peer for peer in PEERS if not given.only or peer.name in given.only)]
    turns = given.turn or list(_TURNS)
    outcomes: dict[str, dict[str, list[Outcome]]] = {turn: {} for turn in turns}
    versions: dict[str, str] = {}
    for turn in turns:
        for number in range(1 if turn in _ONCE else given.rounds):
            for kind in servers:
                console.print(f"{turn} {number + 1}: {kind.name}")
                outcome = _one(kind, turn, work, versions, console)
                if outcome is not None:
                    outcomes[turn].setdefault(kind.name, []).append(outcome)
    for turn, of in outcomes.items():
        if of:
            Console().print(_table(turn, of))
    for kind in servers:
        if kind.name in versions:
            Console().print(f"{kind.name} ({versions[kind.name]}): an ack means {kind.promise}", markup=False)
    if given.json is not None:
        _write(given.json, work, versions, outcomes)
    ours = [one for of in outcomes.values() for one in of.get(Ours.name, [])]
    return 1 if not ours or any(one.broken for one in ours) else 0


def _one(kind: type[PeerServer], turn: str, work: Work, versions: dict[str, str], console: Console) -> Outcome | None:
    """One turn with a server of its own; None, with the reason said, where that was not possible."""
    outcome: Outcome | None = None
    try:
        with kind() as server:
            versions[kind.name] = server.version()
            few = replace(work, clients=min(work.clients, kind.clients_max))
            outcome = uvloop.run(_TURNS[turn](server, few))
    except* (NotHere, BenchFailed, OSError, TimeoutError, asyncio.CancelledError) as failed:
        console.print(f"{kind.name}, {turn}: not measured: {failed.exceptions[0]}", markup=False)
    for problem in outcome.problems if outcome is not None else ():
        console.print(f"{kind.name}, {turn}: {problem}", markup=False)
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run this server and what Debian offers in turns on the same work.")
    parser.add_argument(
        "--only", action="append", choices=[peer.name for peer in PEERS], help="this peer; may come again"
    )
    parser.add_argument("--turn", action="append", choices=list(_TURNS), help="this kind of turn; may come again")
    parser.add_argument("--clients", type=int, default=50, help="each with one post in flight (default: 50)")
    parser.add_argument("--size", type=int, default=1024, help="octets of a message (default: 1024)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server (default: 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="that clients post in a turn (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser


def _table(turn: str, outcomes: dict[str, list[Outcome]]) -> Table:
    """The medians of the turns, each with the least and the most of them."""
    table = Table(title=turn)
    for column in ("", *outcomes):
        table.add_column(column, justify="right" if column else "left")
    for name, measure in _MEASURES[turn].items():
        row = []
        for of in outcomes.values():
            values = [value for one in of if (value := measure(one)) is not None and math.isfinite(value)]
            middle = shown(statistics.median(values) if values else None)
            spread = f" ({shown(min(values))}–{shown(max(values))})" if values and min(values) < max(values) else ""
            row.append(middle + spread)
        table.add_row(name, *row)
    return table


def _write(file: Path, work: Work, versions: dict[str, str], outcomes: dict[str, dict[str, list[Outcome]]]) -> None:
    report = {
        "machine": platform.platform(),
        "work": asdict(work),
        "versions": versions,
        "promises": {kind.name: kind.promise for kind in _ALL if kind.name in versions},
        "turns": {
            turn: {name: [asdict(one) for one in some] for name, some in of.items()} for turn, of in outcomes.items()
        },
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(finite(report), indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
