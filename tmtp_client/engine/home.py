# SPDX-License-Identifier: AGPL-3.0-or-later
"""All accounts of a person on this device, in one process (B1, B8): opened and locked together, each with a key."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tmtp_client import limits
from tmtp_client.api import models
from tmtp_client.engine import staging
from tmtp_client.engine.account import Account
from tmtp_client.engine.context import Context, NowMs
from tmtp_client.engine.takeover import take_over_home
from tmtp_client.engine.unforeseen import report
from tmtp_client.store import changes
from tmtp_client.store import identity as identities
from tmtp_client.store.changes import Since
from tmtp_client.store.database import Database
from tmtp_client.store.kept_files import kept_files
from tmtp_client.trust.account import Trust
from tmtp_client.vault.disk import make_folder, write_durably
from tmtp_client.vault.vault import Vault, VaultDamaged
from tmtp_core.ids import RandomBytes

LOCK_FILE: Final = "engine.lock"
_SETTINGS_FILE: Final = "home.json"

Heard = Callable[[models.Event | None], None]
"""An event that is not kept; None: an account has committed."""


class HomeBusy(Exception):
    """Another process runs this home's accounts."""


class _Settings(Struct, frozen=True):
    """What is this device's own, and need not be secret."""

    idle_lock_s: int = 0


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """One process a home: its lock, as long as the block lasts. Raises `HomeBusy`, `OSError`."""
    make_folder(home)
    descriptor = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeBusy(f"another process runs the accounts in {home}") from None
        yield
    finally:
        os.close(descriptor)


class Home:
    """The accounts of one home, whose lock (`owned`) the caller has. `open` it, and `close` it at the end."""

    def __init__(self, vault: Vault, clock: NowMs, random_bytes: RandomBytes) -> None:
        self.vault = vault
        self._clock = clock
        self._random_bytes = random_bytes
        self._accounts: dict[str, Account] = {}
        self._listeners: list[Heard] = []
        self._changing = asyncio.Lock()
        self._settings = _read_settings(vault.home / _SETTINGS_FILE)
        self._stirred = asyncio.Event()
        self._idle: asyncio.Task[None] | None = None
        self._stirred_ms = clock()
        self.coming: Callable[[], tuple[models.Coming, ...]] = tuple
        self.when_locked: Callable[[], Awaitable[None]] = _nothing
        self.damaged: dict[str, str] = {}  # accounts that could not be opened, and why

    # -- opening and locking -----------------------------------------------------------------------------------------
    async def open(self) -> None:
        """Make the vault at the first start; open it where that takes no person, and start the accounts.

        Raises `OSError`, `VaultDamaged`.
        """
        self._idle = asyncio.create_task(self._lock_when_idle())
        async with self._changing:
            if not self.vault.is_made:
                await asyncio.to_thread(self.vault.make)
            elif self.vault.locked:
                await asyncio.to_thread(self.vault.open_alone)
            if not self.vault.locked:
                await self._start_all()

    async def close(self) -> None:
        """Stop everything. Idempotent."""
        if self._idle is not None:
            self._idle.cancel()
            await asyncio.gather(self._idle, return_exceptions=True)
        async with self._changing:
            try:
                await self._stop_all()
            finally:
                self.vault.lock()

    async def unlock(self, secret: str) -> None:
        """Open the vault and start all accounts. Raises `WrongSecret`, `OSError`, `VaultDamaged`."""
        async with self._changing:
            await asyncio.to_thread(self.vault.unlock, secret)
            self._stirred_ms = self._clock()
            await self._start_all()
        self.stir()
        await self.tell_state()

    async def lock(self) -> None:
        """Forget the keys, so that nothing is opened any more; end connections, close databases."""
        async with self._changing:
            self.vault.lock()
            try:
                await self.when_locked()
            finally:
                await self._stop_all()
        await self.tell_state()

    @property
    def locked(self) -> bool:
        """Whether nothing but its state can be told: also when it is about to be locked, since nobody was there."""
        return self.vault.locked or self._is_overdue()

    async def at_rest(self) -> None:
        """Wait until it is open or locked: in between it is open and has no accounts, and nobody is to be told so."""
        async with self._changing:
            pass

    # -- accounts ----------------------------------------------------------------------------------------------------
    def account(self, name: str) -> Account:
        """A running account. Raises LookupError."""
        try:
            return self._accounts[name]
        except KeyError:
            raise LookupError(self.damaged.get(name) or f"there is no account {name}") from None

    def accounts(self) -> Sequence[Account]:
        """All of them, by name; none while it is locked."""
        return [self._accounts[name] for name in sorted(self._accounts)]

    async def start(self, name: str) -> Account:
        """Run an account of the vault, which is open. Raises LookupError, `OSError`, `VaultDamaged`, `Locked`."""
        async with self._changing:
            if name not in self._accounts:
                self._accounts[name] = await self._run(name)
            account = self._accounts[name]
        await self.tell_state()
        return account

    async def stop(self, name: str) -> None:
        """Run it no more, and close its database; idempotent."""
        async with self._changing:
            await self._end(name)
        await self.tell_state()

    async def leave(self, name: str) -> None:
        """Stop an account and destroy its key, and with it all it has here. Raises LookupError, `OSError`."""
        async with self._changing:
            if name not in self._accounts and name not in self.vault.accounts():
                raise LookupError(f"there is no account {name}")
            await self._end(name)
            try:
                await asyncio.to_thread(self.vault.destroy, name)
                self.damaged.pop(name, None)
            except OSError as error:
                if name in self.vault.accounts():  # its key is there: it is not gone because it does not run
                    self.damaged[name] = error.strerror or str(error)
                raise
            finally:
                await self.tell_state()

    # -- what it tells -----------------------------------------------------------------------------------------------
    async def state(self) -> models.Home:
        """As a person sees it."""
        locked = self.locked
        accounts = [] if locked else [one async for one in self._views()]
        return models.Home(
            version=models.VERSION,
            locked=locked,
            slots=self.vault.slots(),
            idle_lock_s=self._settings.idle_lock_s,
            protected=self.vault.protected,
            accounts=tuple(accounts),
            damaged=dict(self.damaged),
            coming=() if locked else self.coming(),
        )

    async def _views(self) -> AsyncIterator[models.Account]:
        """Of each account, but those that end meanwhile."""
        for account in self.accounts():
            try:
                yield await account.view()
            except OSError:
                if account in self._accounts.values():
                    raise

    def listen(self, heard: Heard) -> Callable[[], None]:
        """Be told of passing events, and by None that an account has committed; the answer ends that. Never waits."""
        self._listeners.append(heard)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(heard)

        return end

    async def latest(self) -> Mapping[str, int]:
        """The number of each open account's latest event; no account while the home is locked."""
        numbers = {}
        for account in self.accounts():
            with contextlib.suppress(OSError):  # closed just now
                numbers[account.context.name] = await account.context.database.read(changes.latest)
        return numbers

    async def since(self, account: str, number: int, limit: int) -> Since:
        """Kept events after a number, at most so many. An account that is not open: none, up to the same number."""
        running = self._accounts.get(account)
        with contextlib.suppress(OSError):  # closed just now
            if running is not None:
                return await running.events_since(number, limit)
        return Since((), number)

    def tell(self, event: models.Event | None) -> None:
        """Whoever listens hears it. Never waits."""
        for heard in tuple(self._listeners):
            heard(event)

    async def tell_state(self) -> None:
        """Watchers hear how the home is now."""
        self.tell(models.Event("home", "", 0, models.HomeEvent(await self.state())))

    # -- the idle lock -----------------------------------------------------------------------------------------------
    def stir(self) -> None:
        """A person did something: the idle lock begins anew. Too late once it is due."""
        if not self.locked:
            self._stirred_ms = self._clock()
        self._stirred.set()

    async def set_idle_lock(self, idle_s: int) -> None:
        """Lock after so many seconds in which nobody did anything; 0: never. Kept. Raises ValueError, `OSError`."""
        if not 0 <= idle_s <= limits.IDLE_LOCK_MAX_S:
            raise ValueError(f"a whole number of seconds from 0 to {limits.IDLE_LOCK_MAX_S}")
        settings = _Settings(idle_lock_s=idle_s)
        raw = msgspec.json.encode(settings)
        await asyncio.to_thread(write_durably, self.vault.home / _SETTINGS_FILE, raw)
        self._stirred_ms = self._clock()
        self._settings = settings
        self.stir()
        await self.tell_state()

    async def _lock_when_idle(self) -> None:
        """Also a vault that opens by itself: it is locked until its person asks.

        By both clocks: one stands still while a laptop sleeps, the other can be put back.
        """
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        while True:
            idle_s = self._settings.idle_lock_s
            if idle_s and not self.vault.locked and (self._is_overdue() or loop.time() - since_s >= idle_s):
                try:
                    await self.lock()
                except Exception as error:  # it is locked all the same, and is to lock itself the next time, too
                    report("the idle lock", error)
            waits_s = None if not idle_s or self.vault.locked else min(idle_s, limits.IDLE_LOOK_S)
            self._stirred.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(waits_s):
                    await self._stirred.wait()
                since_s = loop.time()

    def _is_overdue(self) -> bool:
        idle_s = self._settings.idle_lock_s
        return idle_s > 0 and self._clock() - self._stirred_ms >= idle_s * 1000

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _start_all(self) -> None:
        """Every account of the vault, and what the first clients left in plain text; one that cannot be opened does not
        keep the others from it.
        """
        self.damaged.update(await take_over_home(self.vault, self._clock, self._random_bytes))
        for name in await asyncio.to_thread(self.vault.accounts):
            if name in self._accounts:
                continue
            try:
                self._accounts[name] = await self._run(name)
                self.damaged.pop(name, None)
            except LookupError:  # it is being joined, and is nobody yet
                continue
            except OSError as error:
                self.damaged[name] = error.strerror or str(error)
            except (ValueError, VaultDamaged) as error:
                self.damaged[name] = str(error)

    async def _run(self, name: str) -> Account:
        kept = await asyncio.to_thread(self.vault.account, name)
        database = Database(kept.folder, kept.database_key, self._committed)
        await database.open()
        try:
            identity = await database.read(identities.get)
            if identity is None:
                raise LookupError(f"the account {name} has not been opened yet")  # noqa: TRY301
            await database.write(lambda c: staging.expire(c, self._clock()))
            keep = await database.read(kept_files)
            await asyncio.to_thread(kept.files.sweep, keep)
            trust = None
            if identity.keys is not None:
                trust = Trust(identity.uid, identity.keys, identity.service_key, self._clock, self._random_bytes)

            def tell(type: str, data: Struct) -> None:
                self.tell(models.Event(type, name, 0, data))

            context = Context(
                name=name,
                identity=identity,
                database=database,
                files=kept.files,
                trust=trust,
                clock=self._clock,
                random_bytes=self._random_bytes,
                tell=tell,
            )
            account = Account(context)
            await account.start()
        except BaseException:
            await database.close()
            raise
        return account

    async def _stop_all(self) -> None:
        """Each of them to its end. Raises what one of them raised."""
        ended = await asyncio.gather(*(self._end(name) for name in tuple(self._accounts)), return_exceptions=True)
        for failed in ended:
            if failed is not None:
                raise failed

    async def _end(self, name: str) -> None:
        account = self._accounts.pop(name, None)
        if account is not None:
            account.context.closing.set()  # before anything is waited for: an export would take hours
            try:
                await account.stop()
            finally:
                await account.context.database.close()

    def _committed(self) -> None:
        self.tell(None)


async def _nothing() -> None:
    """Nobody has anything underway."""


def _read_settings(path: Path) -> _Settings:
    """A file that cannot be read is as if nobody had set anything."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Settings)
    except (OSError, msgspec.MsgspecError):
        return _Settings()
