# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates that are replaced while they are in use, of what is no instance: the administrators' page, the intakes.

Instances look after their own, which clients pin and devices name (`gateway.instance`).
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.certificates import CertificateFiles
from tmtp_core import limits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Watched:
    what: str
    files: CertificateFiles
    use: Callable[[], None]


class Renewing:
    """Has new connections get what the files hold now: when they have changed, and when it is asked to look."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._looking: asyncio.Task[None] | None = None

    def add(self, what: str, certificate: Path, key: Path, use: Callable[[], None]) -> None:
        """From now on `use` is called, on the loop, when the two are another good pair; it may raise OSError."""
        files = CertificateFiles(certificate, key)
        files.load()
        self._watched.append(_Watched(what, files, use))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_forever())

    def reload(self) -> None:
        """Use what the files hold now; where that is no good, what was before."""
        for one in self._watched:
            self._renew(one)

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(limits.CERTIFICATE_LOOK_INTERVAL_S)
            for one in self._watched:
                if await asyncio.to_thread(one.files.have_settled_anew):
                    self._renew(one)

    def _renew(self, one: _Watched) -> None:
        try:
            ends_s = one.files.load().ends_s
            one.use()
        except (OSError, ssl.SSLError, ValueError) as error:
            log.error(
                "certificate_not_reloaded",
                of=one.what,
                file=str(one.files.certificate),
                error=str(error),
                mend="the one before is still used; put a certificate and its own key there",
            )
        else:
            log.info("certificate_reloaded", of=one.what, ends_s=ends_s)
