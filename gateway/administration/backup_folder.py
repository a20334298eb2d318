# SPDX-License-Identifier: AGPL-3.0-or-later
"""How old the newest backup is, for whoever looks at the service (C1)."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.administration import models as m
from gateway.backup.taking import backups_in
from gateway.settings.models import BackupSettings
from tmtp_core import limits


class BackupFolder:
    """The folder that `backup: to:` names. It may be on another machine, and that may not answer: who looks is told so
    after `limits.BACKUPS_PATIENCE_S`, and one thread at most waits for it longer.
    """

    def __init__(
        self, backup: BackupSettings, backups_of: Callable[[Path], list[tuple[int, Path]]] = backups_in
    ) -> None:
        self._backup = backup
        self._backups_of = backups_of
        self._looking: asyncio.Future[m.Backups] | None = None

    async def look(self) -> m.Backups:
        """What is there now, or when a look began that is not over."""
        if self._backup.recipient is None:
            return m.Backups(state="not_set_up", kept=0, newest_ms=None)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_future()
            threading.Thread(target=self._work, args=(self._looking,), daemon=True).start()  # it keeps no process
        await asyncio.wait({self._looking}, timeout=limits.BACKUPS_PATIENCE_S)
        return self._looking.result() if self._looking.done() else _UNREADABLE

    def _work(self, looking: asyncio.Future[m.Backups]) -> None:
        try:
            found = self._backups_of(self._backup.to)
            newest_ms = found[-1][0] if found else None
            seen = m.Backups(state="kept" if found else "none", kept=len(found), newest_ms=newest_ms)
        except OSError:
            seen = _UNREADABLE
        with suppress(RuntimeError):  # the loop has ended meanwhile
            looking.get_loop().call_soon_threadsafe(looking.set_result, seen)


_UNREADABLE = m.Backups(state="unreadable", kept=0, newest_ms=None)
