# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of the harness; the long one is `python -m tests.faults.killed_answers`."""

from pathlib import Path

import pytest

from tests.faults import killed_answers
from tests.support.night import NIGHTLY

KILLS = 100 if NIGHTLY else 4


@pytest.mark.slow
async def test_no_answer_is_lost_and_one_that_goes_twice_shows_it(tmp_path: Path) -> None:
    figures = await killed_answers.run(KILLS, seed=20261, folder=tmp_path)
    assert figures["answers"] > 0
    assert figures["repeated"] > 0  # or nothing was killed where it hurts
