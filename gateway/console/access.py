# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may enter the console, as the operations on it need it (`gateway.administration.ConsoleAccess`)."""

from collections.abc import Callable

from gateway.administration import models as m
from gateway.console.people import People


class Access:
    """Implements `ConsoleAccess`; `url` says where the console is."""

    def __init__(self, people: People, url: Callable[[], str]) -> None:
        self._people = people
        self._url = url

    async def make(self, wanted: m.CreateSignInLink) -> m.SignInLink:
        """See `ConsoleAccess`."""
        secret, expires_ms = await self._people.make_link(wanted.person, wanted.role)
        return m.SignInLink(url=f"{self._url()}/sign-in/link/{secret}", expires_ms=expires_ms)

    async def everybody(self) -> list[m.ConsolePerson]:
        """See `ConsoleAccess`."""
        return await self._people.everybody()

    async def remove(self, person: str) -> None:
        """See `ConsoleAccess`."""
        await self._people.remove(person)
