# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bench's own promise: it sees every post arrive once and in order, and notices when one does not. No times."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import client_engine
from bench.load import Crowd, Shape, measure
from bench.member import Member, Tally
from bench.plot import draw
from bench.reach import AIMS
from bench.report import markdown
from bench.scale import Result, Scale
from bench.server import BenchServer
from bench.suite import SCENARIOS, report, run
from bench.worker import Place

PATIENCE_S = 60
SMALL = Scale(
    seconds=0.4,
    warm_up_s=0.1,
    disk_s=0.1,
    rounds=1,
    clients=20,
    many=40,
    rate=100.0,
    group=10,
    links=40,
    storm=40,
    queued=600,
    offline=12,
    drained=4,
    few=50,
    attachment=3_000_000,
    pairs=2,
    history=600,
)


WHOLE = os.environ.get("TMTP_TEST_BENCH") == "whole"  # as every night
BY_DAY = ("steady", "groups", "stalled", "attachments", "idle", "storm", "history")
"""One of each kind that needs no minute: the others are the same load in other shapes, a filled database, PostgreSQL."""
CHOSEN = tuple(SCENARIOS) if WHOLE else BY_DAY


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """The suite, made small."""
    return run(CHOSEN, SMALL, lambda name, result, seconds: None)


@pytest.mark.parametrize("name", CHOSEN)
def test_each_scenario_sees_everything_arrive_once_and_in_order(results: dict[str, Result], name: str) -> None:
    assert results[name]["problems"] == []


def test_what_is_to_be_reached_was_measured_and_can_be_told_and_drawn(
    results: dict[str, Result], tmp_path: Path
) -> None:
    assert {aim.path[0] for aim in AIMS} <= set(SCENARIOS)
    aims = [aim for aim in AIMS if aim.path[0] in CHOSEN]
    assert [aim.what for aim in aims if aim.measured(results) is None] == []
    everything = json.loads(json.dumps(report(results)))
    assert len(everything["reach"]) == len(aims) > 5
    told = markdown(everything, everything["results"])
    assert all(aim.what in told for aim in aims)
    drawn = draw(everything, tmp_path / "bench.svg").read_text("utf-8")
    assert drawn.rstrip().endswith("</svg>")


@pytest.mark.parametrize(
    "shape",
    [
        Shape(clients=20, rate=200, size=100_000, recipients=3, seconds=0.5, warm_up_s=0.1),
        Shape(clients=20, in_flight=3, hub=True, stalled=True, seconds=0.5, warm_up_s=0.1),
    ],
    ids=["open loop, large", "closed loop, one hangs"],
)
def test_a_short_load_on_two_processes_arrives_once_and_in_order(shape: Shape) -> None:
    with BenchServer() as server, Crowd(Place("127.0.0.1", server.port), 2) as crowd:
        crowd.register(shape.clients)
        for _ in range(2):
            figures = measure(crowd, shape, server.pid)
            assert figures.problems == []
            assert figures.posts_per_s > 0
            assert figures.cost is not None
            assert len(figures.bench_cpu) == 2
        crowd.ask("leave")
        assert sum(len(arrived.in_ns) for arrived in crowd.ask("come_back")) == shape.clients


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([0, 1, 2], []), ([0, 2], ["got post 2 of member 7, not 1"]), ([0, 0], ["got post 0 of member 7, not 1"])],
    ids=["in order", "one is missing", "one is doubled"],
)
def test_it_notices_what_must_not_happen(numbers: list[int], said: list[str]) -> None:
    tally = Tally()
    member = Member(3, tally)
    for number in numbers:
        member.take_delivery(Member.stamp(7, number, 0), 1)
    assert [problem.partition("member 3 ")[2] for problem in tally.problems] == said


def test_engines_send_and_receive_all_of_it_and_the_rest_is_measured() -> None:
    figures = client_engine.measure(client_engine.Size(messages=20, history=300, idle_s=0.2))
    assert figures["problems"] == []
    assert [figures[name]["count"] for name in ("sent", "received_sealed", "received_plain")] == [20, 20, 20]
    assert (figures["received_sealed"]["sealed"], figures["received_plain"]["sealed"]) == (20, 20)
    assert figures["daemon"]["searches"] > 0


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process(tmp_path: Path, told: signal.Signals) -> None:
    command = [sys.executable, "-m", "bench.suite", "--only", "pipelined", "--seconds", "600", "--json", "x.json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    suite = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        _until(lambda: len(_in_session(suite.pid)) >= 4)  # the suite, the service, a worker, Python's own watcher of it
        if told is signal.SIGINT:
            os.killpg(suite.pid, told)  # as a terminal does
        else:
            suite.send_signal(told)
        assert suite.wait(PATIENCE_S) == 128 + told
        _until(lambda: not _in_session(suite.pid))
    finally:
        for pid in _in_session(suite.pid):
            os.kill(pid, signal.SIGKILL)
        suite.wait()
    assert not (tmp_path / "x.json").exists()


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _in_session(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found
