# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on pictures with a QR code (B4, B7)."""

import asyncio
from pathlib import Path

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import Handlers, absolute
from tmtp_client.engine.code_reading import CodeReader


class OnCodes:
    """Their handlers."""

    def __init__(self) -> None:
        self._reader = CodeReader()

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {"codes.read": self.read}

    async def read(self, p: o.ReadCode) -> m.Text:
        """A picture of this device."""
        path = absolute(p.path, "path")
        try:
            picture = await asyncio.to_thread(_beginning, path)
        except OSError as error:
            raise problems.usage(f"{path.name}: {error.strerror}", "path") from None
        return m.Text(await self._reader.read(picture, p.of))


def _beginning(path: Path) -> bytes:
    """All of it, where it may be so long; else more than may be."""
    with path.open("rb") as file:
        return file.read(limits.CODE_PICTURE_MAX_BYTES + 1)
