# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the operations need of the engine, and what their handlers share."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection as Rows

from tmtp_client.api import models, problems
from tmtp_client.api.events import Source
from tmtp_client.api.operations import BY_NAME
from tmtp_client.engine.context import Context
from tmtp_client.sync.registers import At
from tmtp_client.vault.vault import Vault

Got = TypeVar("Got")
Handlers = Mapping[str, Callable[[Any], Awaitable[Any]]]

NO_MESSAGE: Final = "no message here is called so, or more than one"
NO_KEYS: Final = "the service of this account knows no keys of devices yet (it speaks revision 1)"
NO_THREAD: Final = "there is no such conversation"


class Account(Protocol):
    """A running account (tmtp_client.engine.account)."""

    @property
    def context(self) -> Context:
        """What its parts share."""

    async def view(self) -> models.Account:
        """As a person sees it."""

    async def settled(self) -> None:
        """Wait until what the service has kept is here and what is due is sent, or neither can be."""

    def changed(self) -> None:
        """Something about it has changed that watchers should hear of."""

    def reopen(self, messages: Iterable[str]) -> None:
        """These messages were sealed, and their key may be here now."""


class Home(Source, Protocol):
    """All accounts of a person on this device (tmtp_client.engine.home)."""

    coming: Callable[[], tuple[models.Coming, ...]]
    """Which accounts this device waits to be added to."""
    when_locked: Callable[[], Awaitable[None]]
    """Ends what is underway that has databases open which are not those of running accounts."""

    @property
    def vault(self) -> Vault:
        """What opens it."""

    @property
    def locked(self) -> bool:
        """Whether nothing but its state can be told."""

    def stir(self) -> None:
        """A person did something: the idle lock begins anew."""

    async def state(self) -> models.Home:
        """As a person sees it."""

    async def at_rest(self) -> None:
        """Wait until it is open or locked, and not in between."""

    async def unlock(self, secret: str) -> None:
        """Open the vault and start all accounts. Raises `WrongSecret`."""

    async def lock(self) -> None:
        """Stop all accounts, close their databases, forget the keys."""

    async def set_idle_lock(self, idle_s: int) -> None:
        """Lock after so many seconds in which nobody did anything; 0: never. Kept. Raises ValueError."""

    def account(self, name: str) -> Account:
        """Raises LookupError."""

    def accounts(self) -> Sequence[Account]:
        """All of them, by name; none while it is locked."""

    async def start(self, name: str) -> Account:
        """Run an account that was just made in the vault."""

    async def stop(self, name: str) -> None:
        """Run it no more."""

    def tell(self, event: models.Event | None) -> None:
        """Whoever listens hears it. Never waits."""

    async def tell_state(self) -> None:
        """Watchers hear how the home is now."""

    async def leave(self, name: str) -> None:
        """Stop an account and destroy its key, and with it all it has here. Raises LookupError."""


class Rooms:
    """How handlers get at accounts."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def account(self, name: str) -> Account:
        """Raises `ProblemError`."""
        try:
            return self.home.account(name)
        except LookupError as error:  # it is not there, or cannot be opened: its text says which
            raise problems.not_found(str(error)[:500], "account") from None

    def context(self, name: str) -> Context:
        """The same, what its parts share."""
        return self.account(name).context

    def some(self, name: str) -> list[Context]:
        """The account of this name, or all of them where it is empty."""
        return [self.context(name)] if name else [one.context for one in self.home.accounts()]


async def changed(context: Context, work: Callable[[Rows, At], Got], *, field: str = "", what: str = "") -> Got:
    """A person's edit, which his other devices are told of. See `problems.explained`."""
    at = context.at()
    with problems.explained(field, what):
        result = await context.database.write(lambda c: work(c, at))
    context.to_sync.set()
    return result


def found(value: Got | None, what: str, field: str) -> Got:
    """A value that has to be there. Raises `ProblemError`."""
    if value is None:
        raise problems.not_found(what, field)
    return value


def absolute(text: str, field: str) -> Path:
    """A path as it is meant: the engine may run in another folder than who asks. Raises `ProblemError`."""
    path = Path(text)
    if "\0" in text:
        raise problems.usage("no path has such a character in it", field)
    if not path.is_absolute():
        raise problems.usage("say the whole path, from / on", field)
    return path


def complete(*parts: Handlers) -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """All handlers in one table. Raises AssertionError for an operation that two have, or that is none."""
    table: dict[str, Callable[[Any], Awaitable[Any]]] = {}
    for part in parts:
        assert not part.keys() & table.keys()
        assert part.keys() <= BY_NAME.keys()
        table |= part
    return table
