# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of the harness; the long one is `python -m tests.faults.killed_clients`."""

from pathlib import Path

import pytest

from tests.faults import killed_clients
from tests.support.night import NIGHTLY

KILLS, MESSAGES = (100, 2_500) if NIGHTLY else (4, 60)


@pytest.mark.slow
async def test_every_device_has_every_message_once(tmp_path: Path) -> None:
    """Prove 1 of the client's engine."""
    figures = await killed_clients.run(KILLS, MESSAGES, seed=20261, folder=tmp_path)
    assert figures["answered"] > 0
    assert sum(figures["killed"].values()) == KILLS
