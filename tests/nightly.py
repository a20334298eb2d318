# SPDX-License-Identifier: AGPL-3.0-or-later
"""The long profiles of the tests, as far as a budget of time goes: what a machine does while people sleep.

    scripts/nightly.sh                       # two hours
    scripts/nightly.sh --budget 30m --only "power cuts"
    scripts/nightly.sh --with bench --with peers

Each step is made of rounds, each round with a seed of its own, until as much was done as it is for or its share of the time is
used up; at least one round is done. What a step leaves of its share goes to those after it. A table, and the same as JSON in
var/nightly, say what was run, how far, with which seeds, and how a failure is run again. Exit code 1 when anything failed.
"""

import argparse
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).parent.parent
OUT: Final = ROOT / "var" / "nightly"
HUNG_S: Final = 3600.0  # no round takes as long
_SEED_MAX: Final = 2**31 - 1
_DURATION: Final = re.compile(r"([1-9]\d{0,4})([smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}

Result = Literal["passed", "failed", "hung", "interrupted", "running"]


@dataclass(frozen=True, slots=True)
class Step:
    """`command` for one round of `a_round` units: `{seed}` and `{count}` in it are put in. `share`: of the time, to others'."""

    name: str
    command: str
    unit: str
    a_round: int
    in_all: int
    share: int
    environment: dict[str, str] = field(default_factory=dict)

    def line(self, seed: int) -> str:
        """What a person types to do one round again."""
        more = "".join(f"{name}={shlex.quote(value)} " for name, value in self.environment.items())
        return more + self.command.format(seed=seed, count=self.a_round)


@dataclass(slots=True)
class Outcome:
    """How a step went. `again`: the command of the round that failed."""

    name: str
    unit: str
    wanted: int
    done: int = 0
    seconds: float = 0.0
    seeds: list[int] = field(default_factory=list)
    result: Result = "running"
    again: str = ""
    log: str = ""


def fuzzed() -> list[str]:
    """The test modules that search for what breaks a property."""
    files = sorted(ROOT.glob("tests/**/test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "from hypothesis import" in file.read_text("utf-8")]


def steps() -> list[Step]:
    """What a night is for."""
    fuzz = {"HYPOTHESIS_PROFILE": "nightly", "HYPOTHESIS_EXAMPLES": "2000"}
    postgresql = {"TMTP_TEST_ENGINE": "postgresql", "TMTP_TEST_BENCH": "whole"}
    return [
        Step("tests on PostgreSQL", "pytest tests/integration tests/drills", "runs", 1, 1, 20, postgresql),
        Step(
            "fuzzing",
            f"pytest --hypothesis-seed={{seed}} {' '.join(fuzzed())}",
            "examples a test",
            2_000,
            100_000,
            20,
            fuzz,
        ),
        Step(
            "data of every earlier form",
            "HYPOTHESIS_PROFILE=nightly pytest tests/integration/test_upgrade.py",
            "runs",
            1,
            1,
            5,
        ),
        Step(
            "the wire, byte by byte",
            "HYPOTHESIS_PROFILE=nightly pytest tests/integration/test_wire_vectors.py -k byte_by_byte",
            "runs",
            1,
            1,
            5,
        ),
        Step(
            "ends of data",
            "TMTP_SESSION_WORDS=8 pytest tests/unit/test_end_of_data.py",
            "runs",
            1,
            1,
            5,
        ),
        Step(
            "journeys, filmed",
            "HYPOTHESIS_PROFILE=nightly pytest tests/browser/test_client_journeys.py",
            "runs",
            1,
            1,
            5,
            {"TMTP_TEST_VIDEO": "1"},
        ),
        Step(
            "mail flood",
            "TMTP_FLOOD_MAILS={count} pytest tests/integration/test_intake_load.py -k nothing",
            "mails",
            10_000,
            10_000,
            5,
        ),
        Step(
            "lies of a service",
            "pytest --hypothesis-seed={seed} tests/unit/test_trust_by_chance.py",
            "histories a lie",
            50,
            2_000,
            10,
            {"HYPOTHESIS_PROFILE": "nightly", "HYPOTHESIS_EXAMPLES": "30000"},
        ),
        Step("pages in every look", "HYPOTHESIS_PROFILE=nightly pytest tests/browser", "runs", 1, 1, 10),
        Step(
            "pages on a slow machine",
            "TMTP_BROWSER_SLOWNESS={count} pytest tests/browser -k client",
            "times slower",
            6,
            6,
            10,
        ),
        Step("power cuts", "python -m tests.faults.power_cut --cuts {count} --seed {seed}", "cuts", 50, 1_000, 20),
        Step(
            "power cuts, syncs fail",
            "python -m tests.faults.power_cut --failing-syncs --cuts {count} --seed {seed}",
            "cuts",
            50,
            200,
            10,
        ),
        Step("kill -9", "python -m tests.faults.kill9 --kills {count} --seed {seed}", "kills", 50, 400, 10),
        Step(
            "kill -9 beside others",
            "python -m tests.faults.killed_beside_others --kills {count} --seed {seed}",
            "kills",
            20,
            100,
            10,
        ),
        Step(
            "kill -9 of an intake",
            "python -m tests.faults.killed_intake --kills {count} --seed {seed}",
            "kills",
            25,
            100,
            10,
        ),
        Step(
            "kill -9 of clients",
            "python -m tests.faults.killed_clients --kills {count} --seed {seed}",
            "kills",
            25,
            200,
            10,
        ),
    ]


OPTIONAL: Final = {
    "intake": Step("intake", "python -m bench.intake --rounds 3 --json var/nightly/intake.json", "runs", 1, 1, 10),
    "bench": Step("bench", "bash scripts/bench.sh --json var/nightly/bench.json", "runs", 1, 1, 10),
    "peers": Step("peers", "bash scripts/bench.sh peers --json var/nightly/peers.json", "runs", 1, 1, 20),
    "idle": Step("idle", "python -m bench.idle_service --json var/nightly/idle.json", "runs", 1, 1, 20),
}
"""Only measured: what `--with` adds."""


def night(
    wanted: Sequence[Step], budget_s: float, chance: random.Random, out: Path, say: Callable[[str], None]
) -> list[Outcome]:
    """Do all steps within the budget, as far as it goes, and write the summary after each. Ctrl-C ends it."""
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + budget_s
    outcomes = [Outcome(step.name, step.unit, step.in_all) for step in wanted]
    for number, (step, outcome) in enumerate(zip(wanted, outcomes, strict=True)):
        left_s = max(0.0, end - time.monotonic())
        share_s = left_s * step.share / sum(later.share for later in wanted[number:])
        say(f"== {step.name}: up to {step.in_all} {step.unit}, {share_s / 60:.0f} min")
        try:
            _rounds(step, outcome, time.monotonic() + share_s, chance, out)
        except KeyboardInterrupt:
            outcome.result = "interrupted"
            raise
        finally:
            write_summary(outcomes[: number + 1], out)
        say(f"   {outcome.result}: {outcome.done} {step.unit} in {outcome.seconds:.0f} s")
        if outcome.again:
            say(f"   again: {outcome.again}\n   log: {outcome.log}")
    return outcomes


def _rounds(step: Step, outcome: Outcome, end: float, chance: random.Random, out: Path) -> None:
    log = out / f"{re.sub('[^a-z0-9]+', '-', step.name.lower())}.log"
    outcome.log = str(log)
    begin = time.monotonic()
    with log.open("wb") as file:
        while outcome.done < step.in_all and (not outcome.seeds or time.monotonic() < end):
            seed = chance.randint(1, _SEED_MAX)
            outcome.seeds.append(seed)
            result = _round(step, seed, file.fileno())
            outcome.seconds = round(time.monotonic() - begin, 1)
            if result != "passed":
                outcome.result, outcome.again = result, step.line(seed)
                return
            outcome.done += step.a_round
    outcome.result = "passed"


def _round(step: Step, seed: int, log: int) -> Result:
    """One round, with all that it started ended with it."""
    os.write(log, f"$ {step.line(seed)}\n".encode())
    process = subprocess.Popen(
        ["bash", "-c", step.command.format(seed=seed, count=step.a_round)],
        cwd=ROOT,
        env={**os.environ, "PYTEST_TIMEOUT": "0", **step.environment},  # HUNG_S bounds the whole round
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        return "passed" if process.wait(HUNG_S) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "hung"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def table(outcomes: Sequence[Outcome]) -> str:
    """The summary, for people."""
    rows = [("step", "result", "done", "of", "unit", "minutes", "first seed")]
    rows += [
        (
            one.name,
            one.result,
            str(one.done),
            str(one.wanted),
            one.unit,
            f"{one.seconds / 60:.1f}",
            str(one.seeds[0]) if one.seeds else "",
        )
        for one in outcomes
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"again: {one.again}" for one in outcomes if one.again)]) + "\n"


def write_summary(outcomes: Sequence[Outcome], out: Path) -> None:
    """For people and for programs."""
    (out / "summary.txt").write_text(table(outcomes), "utf-8")
    told = {"passed": all(one.result == "passed" for one in outcomes), "steps": [asdict(one) for one in outcomes]}
    (out / "summary.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def duration_s(text: str) -> float:
    """`90s`, `30m`, `2h`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text} is no time; for example 30m or 2h")
    return float(int(match[1]) * _SECONDS[match[2]])


def main() -> int:
    """The command line."""
    names = [step.name for step in steps()]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--budget", type=duration_s, default="2h", metavar="TIME", help="30m, 2h, … (default 2h)")
    parser.add_argument("--only", action="append", choices=names, metavar="STEP", help=f"one of: {', '.join(names)}")
    parser.add_argument("--with", action="append", choices=list(OPTIONAL), dest="more", help="what is measured, too")
    parser.add_argument("--seed", type=int, help="of all seeds; default: a new one, which is said")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randint(1, _SEED_MAX)
    wanted = [step for step in steps() if not arguments.only or step.name in arguments.only]
    wanted += [OPTIONAL[name] for name in arguments.more or ()]

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    say(f"The night's seed is {seed}: --seed {seed} makes the same seeds again.")
    try:
        outcomes = night(wanted, arguments.budget, random.Random(seed), OUT, say)
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    say(f"\n{table(outcomes)}\nThe same as JSON: {OUT / 'summary.json'}")
    return 0 if all(one.result == "passed" for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
