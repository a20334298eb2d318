# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make run`, the first thing that the README says: the demo organisation, twice in the same folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LAST_LINE = "/metrics"
_LINES_MAX = 60


def shown(folder: Path) -> str:
    """What it prints until it waits; then Ctrl-C, which it takes for what it is."""
    command = [sys.executable, ROOT / "scripts" / "demo.py", folder]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        try:
            for _ in range(_LINES_MAX):
                said.append(demo.stdout.readline())
                if not said[-1] or _LAST_LINE in said[-1]:
                    break
        finally:
            demo.send_signal(signal.SIGINT)
            said.append(demo.stdout.read())
        assert demo.wait() == 0, "".join(said)
    return "".join(said)


@pytest.mark.slow
def test_the_demo_shows_a_mail_and_a_message_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first = shown(tmp_path)
    assert "Ada Lovelace was invited and has joined members." in first
    assert "attached: order.csv" in first
    assert "attached: README.md" in first
    again = shown(tmp_path)
    assert "was invited" not in again
    assert "attached: README.md" in again
    everything = subprocess.run(
        [Path(sys.executable).parent / "tmtp", "accounts", "--json"],
        env={**os.environ, "TMTP_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [one["name"] for one in json.loads(everything.stdout)] == ["ada", "bob", "desk"]
