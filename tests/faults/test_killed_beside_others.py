# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of two processes of which one is killed; the long one is `python -m tests.faults.killed_beside_others`."""

from pathlib import Path

import pytest

from tests.faults import killed_beside_others
from tests.support.night import NIGHTLY
from tests.support.postgresql import binaries, cluster

KILLS = 100 if NIGHTLY else 4


@pytest.mark.slow
@pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql")
async def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    figures = await killed_beside_others.run(KILLS, seed=20261, folder=tmp_path, cluster=cluster())
    assert figures["posts acknowledged"] > KILLS
    assert figures["kills"] == KILLS
