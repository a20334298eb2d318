# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short flood of real mail through a real intake to a real device (C2): none lost, none doubled. No times."""

import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from bench.intake import Flood, Intake, Outcome, Postfix, Process, Receiver, main, measure
from bench.peers.process import NotHere
from tests.support.downloads import debian
from tests.support.senders import libraries

FLOOD = Flood(mails=int(os.environ.get("TMTP_FLOOD_MAILS", "300")))


@pytest.fixture(autouse=True)
def smtp_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Postfix is not installed, its smtp-source out of Debian's package."""
    if shutil.which("smtp-source", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        root = debian("postfix")
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{root}/usr/sbin")
        monkeypatch.setenv("LD_LIBRARY_PATH", libraries(root)["LD_LIBRARY_PATH"])


def flooded(server: Intake | Postfix) -> Outcome:
    """A server that has had the flood."""
    with server:
        return uvloop.run(measure(server, FLOOD))


@pytest.mark.parametrize("process", ["own", "gateway"])
def test_nothing_is_lost_and_nothing_doubled(process: Process) -> None:
    outcome = flooded(Intake(FLOOD.sessions, process))
    assert outcome.problems == ()
    assert (outcome.delivered, outcome.lost, outcome.doubled) == (FLOOD.mails, 0, 0)
    assert outcome.cpu_ms > 0


def test_postfix_and_dovecot_are_measured_in_the_same_way() -> None:
    try:
        server = Postfix()
    except NotHere as missing:
        pytest.skip(f"Postfix and Dovecot: {missing}")  # installed by scripts/bench.sh peers, not for the tests
    outcome = flooded(server)
    assert outcome.problems == ()
    assert (outcome.delivered, outcome.lost, outcome.doubled) == (FLOOD.mails, 0, 0)


class _Careless(Receiver):
    """Sees the first of its mails twice, and the last never."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def progress(self) -> tuple[int, float]:
        return self._receiver.progress()

    async def arrived(self) -> Counter[str]:
        arrived = await self._receiver.arrived()
        if len(arrived) >= FLOOD.mails:
            first, *_, last = arrived  # in their order
            arrived[first] += 1
            del arrived[last]
        return arrived


class _Watched(Intake):
    @asynccontextmanager
    async def receiver(self) -> AsyncIterator[Receiver]:
        async with super().receiver() as receiver:
            yield _Careless(receiver)


def test_what_is_lost_or_doubled_is_found_out() -> None:
    outcome = flooded(_Watched(FLOOD.sessions, "gateway"))
    assert (outcome.lost, outcome.doubled, outcome.broken) == (1, 1, True)


def test_it_says_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "intake.json"
    assert main(["--ours", "--mails", "60", "--sessions", "4", "--size", "500", "--json", str(file)]) == 0
    assert "delivered mails/s" in capsys.readouterr().out
    assert file.exists()
