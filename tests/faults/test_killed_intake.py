# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of an intake that is killed; the long one is `python -m tests.faults.killed_intake`."""

import os
from pathlib import Path

import pytest

from tests.faults import killed_intake

KILLS = 100 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 4


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    figures = await killed_intake.run(KILLS, seed=20281, folder=tmp_path)
    assert figures["kills"] == KILLS
    assert figures["mails accepted"] > figures["of them while the service was away"] > 0
