# SPDX-License-Identifier: AGPL-3.0-or-later
"""What waits for a person at a provider of sign-in: it goes on while a client opens the provider's page for him."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from tmtp_client.api import problems
from tmtp_client.api.models import SignIn
from tmtp_core.ids import RandomBytes

_NAME_BYTES: Final = 16
_ENDED: Final = "this sign-in has ended: begin again"

Work = Callable[[Callable[[str, str], None]], Coroutine[Any, Any, Any]]
"""Takes what it calls with the provider's name and the address that the person's browser is to open."""


class SignIns:
    """Those that are underway, by a name that only who began one knows.

    A person signs in at one place at a time: whoever begins anew has given up what was before, and need not wait.
    """

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes
        self._underway: dict[str, asyncio.Task[Any]] = {}

    async def begin(self, work: Work) -> Any:
        """The work's result, or `SignIn` when it has to wait for the person."""
        await self.stop()
        loop = asyncio.get_running_loop()
        address: asyncio.Future[str] = loop.create_future()

        def open_url(provider: str, url: str) -> None:
            if not address.done():
                address.set_result(url)

        task = loop.create_task(work(open_url))
        try:
            await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            address.cancel()
            return await task
        name = self._random_bytes(_NAME_BYTES).hex()
        self._underway[name] = task
        task.add_done_callback(_looked_at)
        return SignIn(address.result(), name)

    async def finish(self, name: str) -> Any:
        """The result of what was begun, once the person was there. Asked again while it waits: the same."""
        task = self._underway.get(name)
        if task is None:
            raise problems.not_found(_ENDED, "sign_in")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise problems.not_found(_ENDED, "sign_in") from None
            raise
        finally:
            if task.done():
                self._underway.pop(name, None)

    async def stop(self) -> None:
        """End all of them."""
        tasks = list(self._underway.values())
        self._underway.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _looked_at(task: asyncio.Task[Any]) -> None:
    """How it ended is told to whoever asks; nobody may."""
    if not task.cancelled():
        task.exception()
