# SPDX-License-Identifier: AGPL-3.0-or-later
"""Put the same load on this server and on another revision 1 server, in turns, and say how they compare.

    python -m bench.compare --peer HOST:PORT --clients 200 --rounds 3 --peer-pid PID --json var/bench/compare.json

Ours, theirs, ours, theirs: each pair of turns gives one ratio, so that what the machine does meanwhile weighs on both
sides. Every turn has new accounts and ends when everything has arrived, so that no turn pays for the one before it,
however slow the peer is. Exactly-once and order are checked on both sides; what the peer breaks is reported, and only
what ours breaks makes the exit code 1. Exit code 2 when one of them could not be measured.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.load import Crowd, Figures, Shape, measure
from bench.member import BenchFailed
from bench.server import BenchServer
from bench.worker import Place

_MEASURES: Final[dict[str, Callable[[Figures], float]]] = {
    "posts_per_s": lambda figures: figures.posts_per_s,
    "deliveries_per_s": lambda figures: figures.deliveries_per_s,
    "ack_p99_ms": lambda figures: figures.ack_ms.p99,
    "delivery_p99_ms": lambda figures: figures.delivery_ms.p99,
    "cpu_us_per_post": lambda figures: figures.cost.cpu_us_per_post if figures.cost is not None else math.nan,
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two servers. `pid`: its process on this machine, if its CPU is to be measured."""

    name: str
    place: Place
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of one measure, ours to the peer's. None: one side has no such figure, as nothing arrived within its window."""

    ours: float | None
    peer: float | None
    median: float | None
    least: float | None
    most: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all turns measured, in their order."""

    shape: Shape
    ours: list[Figures] = field(default_factory=list)
    peer: list[Figures] = field(default_factory=list)

    def ratios(self) -> dict[str, Ratio]:
        """By measure: the medians of both sides, and the ratios of the pairs of turns."""
        return {name: _ratio([*map(of, self.ours)], [*map(of, self.peer)]) for name, of in _MEASURES.items()}

    def report(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "shape": asdict(self.shape),
            "ratios": {name: asdict(ratio) for name, ratio in self.ratios().items()},
            "ours": [asdict(figures) for figures in self.ours],
            "peer": [asdict(figures) for figures in self.peer],
        }


def _ratio(ours: list[float], peer: list[float]) -> Ratio:
    pairs = [mine / theirs for mine, theirs in zip(ours, peer, strict=True) if math.isfinite(mine) and theirs > 0]
    return Ratio(
        ours=_median(ours),
        peer=_median(peer),
        median=_median(pairs),
        least=min(pairs, default=None),
        most=max(pairs, default=None),
    )


def _median(values: list[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return statistics.median(known) if known else None


def compare(ours: Side, peer: Side, shape: Shape, rounds: int, say: Callable[[str], None] = print) -> Comparison:
    """Load both in turns. Raises `BenchFailed`, with the name of the side that could not be measured."""
    comparison = Comparison(shape)
    for number in range(1, rounds + 1):
        for side, figures in ((ours, comparison.ours), (peer, comparison.peer)):
            try:
                with Crowd(side.place, 1) as crowd:
                    crowd.register(shape.clients)
                    figures.append(measure(crowd, shape, side.pid))
            except BenchFailed as failed:
                raise BenchFailed(f"round {number}, {side.name}: {failed}") from failed
            say(f"round {number}, {side.name}: {figures[-1].posts_per_s:,.0f} posts/s")
    return comparison


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the JSON."""
    given = _parser().parse_args(arguments)
    shape = Shape(
        clients=given.clients,
        in_flight=given.in_flight,
        size=given.size,
        recipients=given.recipients,
        seconds=given.seconds,
    )
    console = Console(stderr=True)
    with ExitStack() as stack:
        if given.ours is None:
            server = stack.enter_context(BenchServer())
            ours = Side("ours", Place("127.0.0.1", server.port), server.pid)
        else:
            ours = Side("ours", Place(given.ours[0], given.ours[1]), given.ours_pid)
        peer = Side("peer", Place(given.peer[0], given.peer[1], not given.peer_plain), given.peer_pid)
        try:
            comparison = compare(ours, peer, shape, given.rounds, console.print)
        except BenchFailed as failed:
            console.print(f"Not measured: {failed}", markup=False)
            return 2
    Console().print(_table(comparison))
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(finite(comparison.report()), indent=2) + "\n", "utf-8")
    for side, turns in (("ours", comparison.ours), ("peer", comparison.peer)):
        problems = [problem for figures in turns for problem in figures.problems]
        for problem in problems:
            console.print(f"BROKEN  {side}: {problem}", markup=False)
    return 1 if any(figures.problems for figures in comparison.ours) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare this server with another revision 1 server, in turns.")
    parser.add_argument("--peer", type=address, required=True, metavar="HOST:PORT", help="the other server")
    parser.add_argument("--peer-plain", action="store_true", help="it speaks without TLS")
    parser.add_argument("--peer-pid", type=int, metavar="PID", help="of the peer, on this machine: measure its CPU")
    parser.add_argument("--ours", type=address, metavar="HOST:PORT", help="a server of ours that runs (default: start)")
    parser.add_argument("--ours-pid", type=int, metavar="PID", help="of the server named by --ours")
    parser.add_argument("--clients", type=int, default=200, help="that post and receive (default: 200)")
    parser.add_argument("--in-flight", type=int, default=1, help="posts of each that await their acks (default: 1)")
    parser.add_argument("--size", type=int, default=1024, help="octets of a post (default: 1024)")
    parser.add_argument("--recipients", type=int, default=2, help="of each post (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--seconds", type=float, default=6.0, help="that each turn is measured (default: 6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    return parser


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, taken apart. Raises `argparse.ArgumentTypeError`."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _table(comparison: Comparison) -> Table:
    table = Table(title=f"{len(comparison.ours)} rounds, {comparison.shape.clients} clients")
    for column in ("", "ours", "peer", "ours / peer", "least – most"):
        table.add_column(column, justify="right" if column else "left")
    for name, ratio in comparison.ratios().items():
        spread = f"{shown(ratio.least)} – {shown(ratio.most)}"
        table.add_row(name, shown(ratio.ours), shown(ratio.peer), shown(ratio.median), spread)
    return table


def shown(value: float | None) -> str:
    """A figure, for a table."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def finite(value: Any) -> Any:
    """The same without NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
