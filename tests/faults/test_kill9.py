# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of the kill -9 harness; the long one is `python -m tests.faults.kill9`."""

from pathlib import Path

import pytest

from tests.faults import kill9
from tests.support.night import NIGHTLY

KILLS = 200 if NIGHTLY else 5


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    figures = await kill9.run(KILLS, seed=20260, folder=tmp_path)
    assert figures["posts acknowledged"] > KILLS
    assert figures["kills"] == KILLS
