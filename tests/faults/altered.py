# SPDX-License-Identifier: AGPL-3.0-or-later
"""The gateway with one of its syncs left out, or with checkpoints more often: for the tests only.

    python -m tests.faults.altered WHAT serve -c FILE

A harness that misses what these must lose proves nothing.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from gateway.cli import process
from gateway.program import main
from gateway.settings import Address, load_settings
from tmtp_core import limits
from tmtp_core.store import database, payloads

OFTEN_PAGES = 60
OFTEN_S = 0.5


class _Unsynced(ModuleType):
    """`os`, but for `fsync`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        """Promise, and do nothing."""


def without_synchronous() -> None:
    """The database commits without waiting for the disk."""
    database._PRAGMAS = tuple("PRAGMA synchronous=OFF" if "synchronous" in one else one for one in database._PRAGMAS)


def without_payload_sync() -> None:
    """Payload files are not synced; the folder with their names is."""
    payloads.os = _Unsynced("os")


def without_folder_sync() -> None:
    """The folder of payloads is not synced once it is made; the files are."""
    payloads.sync_folder = lambda folder: None


def checkpoints_often() -> None:
    """Both kinds of checkpoint come so often that cuts meet them."""
    limits.CHECKPOINT_INTERVAL_S = OFTEN_S
    database._PRAGMAS = (*database._PRAGMAS, f"PRAGMA wal_autocheckpoint={OFTEN_PAGES}")


ALTERED = {
    one.__name__: one for one in (without_synchronous, without_payload_sync, without_folder_sync, checkpoints_often)
}


def program(what: str) -> tuple[str, ...]:
    """How Python starts it."""
    return ("-m", "tests.faults.altered", what)


def here(config: Path, number: int, http: str | None) -> NoReturn:
    """Serve in this process: what was altered here would be as before in a process of its own."""
    process.serve(load_settings(config), number, Address.model_validate(http) if http else None)


if __name__ == "__main__":
    ALTERED[sys.argv.pop(1)]()
    process.become = here
    main()
