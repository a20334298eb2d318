# SPDX-License-Identifier: AGPL-3.0-or-later
"""Everything that is measured, in one run on one machine: a table, JSON, and a plot.

    make bench                                          # some six minutes
    python -m bench.suite --only steady --only idle     # some of it
    python -m bench.suite --seconds 20 --json FILE      # longer, and where the figures go
    python -m bench.suite --markdown                    # and the tables of docs/performance.md

Figures of one machine at one moment mean little; ratios within one run mean something. The disk is measured beside the
load, since it sets the limit. Exit code 1 when a post was lost, doubled, or out of order anywhere; never for a figure.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn

from rich.console import Console

from bench.attachment import attachments
from bench.backlog import backlog
from bench.history import history
from bench.links import idle, storm
from bench.plot import PlotImpossible, draw
from bench.processes import processes
from bench.reach import AIMS
from bench.report import flat, markdown, show
from bench.scale import Result, Scale, Scenario
from bench.scenarios import groups, letters, offered, pipelined, stalled, steady, thousand
from bench.server import BenchFailed

_WIDTH: Final = 170  # of tables that no terminal shows
_OUT: Final = Path("var/bench/bench.json")

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.__name__: scenario
    for scenario in (
        steady,
        thousand,
        pipelined,
        letters,
        groups,
        offered,
        stalled,
        attachments,
        idle,
        storm,
        backlog,
        processes,
        history,
    )
}


def run(names: Iterable[str], scale: Scale, say: Callable[[str, Result | None, float], None]) -> dict[str, Result]:
    """Measure these scenarios. `say` hears (name, None, 0) before and (name, result, seconds) after each."""
    results: dict[str, Result] = {}
    for name in names:
        say(name, None, 0.0)
        begin = time.monotonic()
        try:
            results[name] = SCENARIOS[name](scale)
        except BenchFailed as failed:
            results[name] = {"problems": [str(failed)]}
        say(name, results[name], time.monotonic() - begin)
    return results


def report(results: dict[str, Result]) -> dict[str, Any]:
    """What is written as JSON: the circumstances, what was to be reached, all results."""
    reach = [
        {"what": aim.what, "aim": aim.text, "measured": measured, "reached": aim.reached(measured)}
        for aim in AIMS
        if (measured := aim.measured(results)) is not None
    ]
    return {**_circumstances(), "reach": reach, "results": results}


def main() -> None:
    """Run it, print the tables, write JSON and plot."""
    parser = argparse.ArgumentParser(description="Measure the service on this machine.")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this scenario; may come again")
    parser.add_argument(
        "--seconds", type=float, default=Scale().seconds, help="that each load is measured (default: 3)"
    )
    parser.add_argument("--workers", type=int, help="processes that make a load (default: half the cores, at most 4)")
    parser.add_argument("--json", type=Path, default=_OUT, metavar="FILE", help=f"where to write (default: {_OUT})")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/performance.md too")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)  # so that no process is left behind
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    begin = time.monotonic()
    try:
        results = run(
            given.only or SCENARIOS,
            Scale(seconds=given.seconds, workers=given.workers),
            lambda name, result, seconds: _say(console, name, result, seconds),
        )
    except KeyboardInterrupt:
        console.print("Interrupted; nothing was written.")
        raise SystemExit(130) from None
    show(console, results)
    everything = report(results)
    if given.markdown:
        print(markdown(everything, results))
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(everything, indent=2) + "\n", "utf-8")
    written = [str(given.json)]
    try:
        written.append(str(draw(everything, given.json.with_suffix(".svg"))))
    except PlotImpossible as impossible:
        console.print(str(impossible))
    console.print(f"Written to {' and '.join(written)}, {time.monotonic() - begin:.0f} s.")
    sys.exit(1 if any(result["problems"] for result in results.values()) else 0)


def _say(console: Console, name: str, result: Result | None, seconds: float) -> None:
    if result is None:
        summary = (SCENARIOS[name].__doc__ or "").partition("\n\n")[0].strip()
        console.print(f"[bold]{name}[/bold]: {summary}")
        return
    for figure, value in flat(result):
        console.print(f"  {figure:<40} {value}", highlight=False)
    console.print(f"  [dim]{seconds:.0f} s[/dim]")


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _circumstances() -> dict[str, Any]:
    """Where and what this was."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "commit": commit.stdout.strip(),
        "machine": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


if __name__ == "__main__":
    main()
