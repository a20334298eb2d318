# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of an intake that is killed; the long one is `python -m tests.faults.killed_intake`."""

from pathlib import Path

import pytest

from tests.faults import killed_intake
from tests.support.night import NIGHTLY

KILLS = 100 if NIGHTLY else 4


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    figures = await killed_intake.run(KILLS, seed=20281, folder=tmp_path)
    assert figures["kills"] == KILLS
    assert figures["mails accepted"] > figures["of them while the service was away"] > 0
