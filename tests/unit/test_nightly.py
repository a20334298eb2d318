# SPDX-License-Identifier: AGPL-3.0-or-later
"""A night's work: each step as far as its share goes, every failure said with how to run it again."""

import argparse
import json
import random
import shlex
from pathlib import Path

import pytest

from tests import nightly
from tests.nightly import ROOT, Step, duration_s, fuzzed, night, steps


def quiet(text: str) -> None:
    """Nobody listens."""


def test_rounds_have_seeds_of_their_own_until_all_is_done(tmp_path: Path) -> None:
    work = Step("work", f"echo {{seed}} {{count}} >> {tmp_path}/done", "cuts", 10, 30, 1)
    (outcome,) = night([work], 3600, random.Random(1), tmp_path / "out", quiet)
    assert (outcome.result, outcome.done, len(set(outcome.seeds))) == ("passed", 30, 3)
    assert (tmp_path / "done").read_text("utf-8") == "".join(f"{seed} 10\n" for seed in outcome.seeds)
    (again,) = night([work], 3600, random.Random(1), tmp_path / "out", quiet)
    assert again.seeds == outcome.seeds


def test_without_time_each_step_has_one_round(tmp_path: Path) -> None:
    told = night([Step(name, "true", "cuts", 10, 30, 1) for name in "ab"], 0, random.Random(1), tmp_path, quiet)
    assert [(one.result, one.done) for one in told] == [("passed", 10), ("passed", 10)]


def test_a_failure_is_said_with_its_seed_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    broken = Step("a b", "echo lost {seed}; exit 1", "cuts", 10, 30, 1, {"PROFILE": "long one"})
    told = night([broken, Step("good", "true", "runs", 1, 1, 1)], 3600, random.Random(1), tmp_path, said.append)
    assert [one.result for one in told] == ["failed", "passed"]
    seed = told[0].seeds[-1]
    assert told[0].again == f"PROFILE='long one' echo lost {seed}; exit 1"
    assert any(told[0].again in line for line in said)
    assert f"lost {seed}" in (tmp_path / "a-b.log").read_text("utf-8")
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["passed"] is False
    assert [step["result"] for step in summary["steps"]] == ["failed", "passed"]
    text = (tmp_path / "summary.txt").read_text("utf-8")
    assert str(seed) in text
    assert "failed" in text


def test_what_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly, "HUNG_S", 0.3)
    alive = tmp_path / "alive"
    stuck = Step("stuck", f"(while true; do touch {alive}; sleep 0.05; done) & wait", "runs", 1, 1, 1)
    (outcome,) = night([stuck], 3600, random.Random(1), tmp_path, quiet)
    assert outcome.result == "hung"
    alive.unlink(missing_ok=True)
    nightly.time.sleep(0.3)
    assert not alive.exists()


def test_the_steps_name_what_there_is() -> None:
    assert len(fuzzed()) > 5
    for step in steps():
        words = [word for word in shlex.split(step.line(1)) if "=" not in word]
        for word in words:
            assert not word.startswith("tests/") or (ROOT / word).exists(), word
            module = ROOT / f"{word.replace('.', '/')}.py"
            assert not word.startswith("tests.") or module.exists(), word


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200)])
def test_a_budget_is_a_time(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "0h", "2 h", "-1h", "2d"])
def test_a_budget_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration_s(text)
