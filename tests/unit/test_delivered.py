# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was delivered is known again for as long as is said (C2)."""

import os
from pathlib import Path

from bridges import limits
from bridges.mime import Letter
from bridges.smtp.store.database import BridgeDatabase
from bridges.smtp.store.delivered import Correspondence, Delivered
from tests.support.instance import ManualClock

WHICH = Correspondence("orders@partner.example", "support@example.org")
NAMES = ("smtp-1", "aa")
LETTER = Letter("orders@partner.example", "", "", "<1@p>", (), "", "", (), ())


async def test_what_comes_again_after_that_time_is_known_again_as_long(tmp_path: Path) -> None:
    clock = ManualClock()
    database = BridgeDatabase(tmp_path / "bridge.sqlite3")
    await database.open()
    delivered = Delivered(database, clock, os.urandom)
    await delivered.open()
    for _ in range(3):
        assert not (await delivered.known(NAMES, WHICH, LETTER)).delivered
        await database.write(lambda connection: delivered.note(connection, NAMES, WHICH, LETTER, "t"))
        for names in (NAMES, (NAMES[0], "bb"), ("smtp-2", NAMES[1])):
            assert (await delivered.known(names, WHICH, LETTER)).delivered
        assert not (await delivered.known(("smtp-2", "bb"), WHICH, LETTER)).delivered
        clock.advance(limits.DUPLICATES_KEPT_S + 1)
    await database.close()
