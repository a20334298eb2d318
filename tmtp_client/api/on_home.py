# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on the home: what opens it, when it locks (B8)."""

import asyncio
from collections.abc import Callable

from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import Handlers, Home


class OnHome:
    """Their handlers."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "home.state": self.state,
            "home.unlock": self.unlock,
            "home.lock": self.lock,
            "home.passphrase": self.set_passphrase,
            "home.keyring": self.use_keyring,
            "home.forget_keyring": self.forget_keyring,
            "home.idle_lock": self.set_idle_lock,
        }

    async def state(self, p: o.Nothing) -> m.Home:
        """This device."""
        await self._home.at_rest()
        return await self._home.state()

    async def unlock(self, p: o.Unlock) -> m.Home:
        """Open it; one that is open stays so."""
        await self._home.unlock(p.secret)
        return await self._home.state()

    async def lock(self, p: o.Nothing) -> m.Home:
        """Close it."""
        await self._home.lock()
        return await self._home.state()

    async def set_passphrase(self, p: o.SetPassphrase) -> m.Home:
        """Set, change or take away the passphrase."""
        with problems.explained("new"):
            return await self._changed(lambda: self._home.vault.set_passphrase(p.new))

    async def use_keyring(self, p: o.Nothing) -> m.Home:
        """Let the system's keyring open it."""
        with problems.explained():
            return await self._changed(self._home.vault.use_keyring)

    async def forget_keyring(self, p: o.Nothing) -> m.Home:
        """Let the system's keyring open it no more."""
        return await self._changed(self._home.vault.forget_keyring)

    async def set_idle_lock(self, p: o.SetIdleLock) -> m.Home:
        """Lock by itself."""
        with problems.explained("idle_s"):
            await self._home.set_idle_lock(p.idle_s)
        return await self._home.state()

    async def _changed(self, work: Callable[[], None]) -> m.Home:
        """Of the vault: Argon2id takes its time."""
        await asyncio.to_thread(work)
        await self._home.tell_state()
        return await self._home.state()
