# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations on accounts: join, come back, be linked, take a name, leave; and the service's look (B1, B2, B4)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tmtp_client import limits
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api import problems
from tmtp_client.api.rooms import Handlers, Rooms, absolute, changed
from tmtp_client.api.sign_ins import SignIns
from tmtp_client.connection import Refused, WrongService
from tmtp_client.engine import joining, looks
from tmtp_client.engine.being_linked import BeingLinked
from tmtp_client.engine.signing_in import OpenUrl
from tmtp_client.store import identity as identities
from tmtp_client.store.database import Database
from tmtp_client.sync import settings, state
from tmtp_client.trust.following import NAME
from tmtp_client.trust.safety import qr
from tmtp_client.vault.recovery import seed_of, words_of
from tmtp_core.ids import RandomBytes
from tmtp_core.names import check_name


class OnAccounts:
    """Their handlers. `stop` it at the end."""

    def __init__(self, rooms: Rooms, now_ms: Callable[[], int], random_bytes: RandomBytes) -> None:
        self._rooms = rooms
        self._random_bytes = random_bytes
        self._sign_ins = SignIns(random_bytes)
        home = rooms.home
        self._being_linked = BeingLinked(self._place, home.start, now_ms, home.tell_state, self._name_linked)
        rooms.home.coming = self._being_linked.coming
        rooms.home.when_locked = self._when_locked
        self._one_at_a_time = asyncio.Lock()

    def handlers(self) -> Handlers:
        """By their operations' names."""
        return {
            "accounts.list": self.list_accounts,
            "accounts.settle": self.settle,
            "accounts.join": self.join,
            "accounts.told": self.told,
            "accounts.recover": self.recover,
            "accounts.alias": self.set_alias,
            "accounts.leave": self.leave,
            "accounts.skin": self.skin,
            "accounts.revise_skin": self.revise_skin,
            "accounts.sign_in": self.sign_in,
            "devices.answer_link": self.answer_link,
        }

    async def stop(self) -> None:
        """End what is underway."""
        await self._sign_ins.stop()
        await self._being_linked.stop()

    async def _when_locked(self) -> None:
        await self._sign_ins.stop()
        await self._being_linked.rest()

    # -- coming ------------------------------------------------------------------------------------------------------
    async def list_accounts(self, p: o.Nothing) -> list[m.Account]:
        """All of them, by name."""
        return [await one.view() for one in self._rooms.home.accounts()]

    async def settle(self, p: o.Settle) -> list[m.Account]:
        """Until nothing is on its way any more, or cannot be: the account is refused, or the time is over."""
        accounts = [self._rooms.account(p.account)] if p.account else list(self._rooms.home.accounts())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(p.longest_s, 0.0)):
                await asyncio.gather(*(one.settled() for one in accounts))
        return [await one.view() for one in accounts]

    async def join(self, p: o.Join) -> m.Joined | m.SignIn:
        """Open an account; what was cut off goes on."""
        if p.sign_in:
            answer: m.Joined | m.SignIn = await self._sign_ins.finish(p.sign_in)
            return answer
        check_name(p.alias)
        if p.ca_file:
            absolute(p.ca_file, "ca_file")
        with problems.explained("address"):
            service = joining.service_at(p.address, invite=p.invite, pin=p.pin, ca_file=p.ca_file)
        joined: m.Joined | m.SignIn = await self._sign_ins.begin(lambda open_url: self._join(p, service, open_url))
        return joined

    async def told(self, p: o.OfAccount) -> m.Done:
        """The person has the recovery sheet."""
        database = self._rooms.context(p.account).database
        await joining.told(database)
        return m.Done()

    async def recover(self, p: o.Recover) -> m.Joined:
        """Come back, as a new device; then take the name."""
        check_name(p.alias)
        if p.ca_file:
            absolute(p.ca_file, "ca_file")
        with problems.explained("address"):
            service = joining.service_at(p.address, pin=p.pin, ca_file=p.ca_file)
        with problems.explained("words"):
            seed = seed_of(p.words)
        await self._sign_ins.stop()
        async with self._one_at_a_time, self._place(p.account) as place:
            await joining.recover(place, service, p.uid, seed, p.label, revoke_others=p.revoke_others)
        await self._rooms.home.start(p.account)
        await self._name(p.account, p.label)
        error = ""
        try:
            await self._take_alias(p.account, p.alias)
        except Refused as refused:
            error = str(refused)
        return m.Joined(await self._rooms.account(p.account).view(), error=error)

    async def answer_link(self, p: o.AnswerLink) -> m.Link:
        """As a new device of an account: the account runs once a device of it has signed."""
        with problems.explained("offer"):
            return await self._being_linked.answer(p.account, p.offer, p.label)

    async def sign_in(self, p: o.SignInAgain) -> m.Done | m.SignIn:
        """With the provider, again."""
        if p.sign_in:
            ended: m.Done | m.SignIn = await self._sign_ins.finish(p.sign_in)
            return ended
        context = self._rooms.context(p.account)

        async def sign_in(open_url: OpenUrl) -> m.Done:
            await joining.sign_in_again(context.identity, open_url)
            await self._rooms.home.stop(p.account)
            await self._rooms.home.start(p.account)
            return m.Done()

        done: m.Done | m.SignIn = await self._sign_ins.begin(sign_in)
        return done

    # -- being there -------------------------------------------------------------------------------------------------
    async def set_alias(self, p: o.SetAlias) -> m.Account:
        """Take a name, or choose one of one's own."""
        check_name(p.alias)
        await self._take_alias(p.account, p.alias)
        return await self._rooms.account(p.account).view()

    async def leave(self, p: o.OfAccount) -> m.Done:
        """Its key is destroyed."""
        with problems.explained("account", f"there is no account {p.account[:80]!r} on this device"):
            await self._rooms.home.leave(p.account)
        return m.Done()

    # -- the look ----------------------------------------------------------------------------------------------------
    async def skin(self, p: o.OfAccount) -> m.Skin:
        """The service's look, verified; without the service as it was last seen."""
        context = self._rooms.context(p.account)
        look = await looks.look(context)
        revised = await context.database.read(lambda c: settings.get(c, "skin"))
        return m.Skin(look, revised)

    async def revise_skin(self, p: o.ReviseSkin) -> m.Skin:
        """The person's own tokens, on all devices."""
        context = self._rooms.context(p.account)
        await changed(context, lambda c, at: state.set_setting(c, at, "skin", p.revised), field="revised")
        return await self.skin(o.OfAccount(p.account))

    # -- inside ------------------------------------------------------------------------------------------------------
    async def _join(self, p: o.Join, service: joining.Service, open_url: OpenUrl) -> m.Joined:
        loop = asyncio.get_running_loop()

        def on_work(tried: int, about: int) -> None:  # on a thread
            event = m.Event("progress", p.account, 0, m.ProgressEvent("join", tried, about))
            loop.call_soon_threadsafe(self._rooms.home.tell, event)

        ways = joining.Ways(open_url, p.wants_sign_in, on_work)
        async with self._one_at_a_time, self._place(p.account) as place:
            joined = await joining.join(place, service, p.alias, p.label, ways)
        account = await self._rooms.home.start(p.account)
        await self._name(p.account, p.label)
        words = words_of(joined.recovery) if joined.recovery else ""
        return m.Joined(await account.view(), words, qr(words) if words else "", joined.error)

    async def _name(self, account: str, label: str) -> None:
        """What its person calls this device is known to all devices of the account; nothing said: no name."""
        context = self._rooms.context(account)
        called = "".join(filter(str.isprintable, " ".join(label.split())))[: limits.DEVICE_LABEL_MAX_CHARACTERS]
        if called and context.trust is not None:
            key = NAME + context.trust.own.device
            await changed(context, lambda c, at: state.set(c, at, settings.KIND, key, {settings.FIELD: called}))

    async def _name_linked(self, account: str, label: str) -> None:
        """The others take it in once this device is confirmed (B4)."""
        with contextlib.suppress(problems.ProblemError, OSError):  # locked meanwhile, say: it can be named at any time
            await self._name(account, label)

    async def _take_alias(self, account: str, alias: str) -> None:
        context = self._rooms.context(account)
        asker = await context.soon()
        context.identity = await joining.take_alias(
            asker, context.database, context.identity, alias, context.request_id()
        )
        self._rooms.account(account).changed()

    @asynccontextmanager
    async def _place(self, name: str) -> AsyncIterator[joining.Place]:
        """Where a new account is kept before it runs. A new folder in which nothing came to be goes again."""
        vault = self._rooms.home.vault
        with problems.explained("account"):
            new = name not in vault.accounts()
            account = await asyncio.to_thread(vault.account, name, make=True)
        if any(one.context.name == name for one in self._rooms.home.accounts()):
            yield joining.Place(name, self._rooms.context(name).database, vault, self._random_bytes)
            return
        database = Database(account.folder, account.database_key)
        await database.open()
        try:
            yield joining.Place(name, database, vault, self._random_bytes)
        except (Refused, WrongService, problems.ProblemError):
            nobody = await database.read(identities.get) is None
            await database.close()
            if new and nobody:
                await asyncio.to_thread(vault.destroy, name)
            raise
        finally:
            await database.close()
