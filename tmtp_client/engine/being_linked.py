# SPDX-License-Identifier: AGPL-3.0-or-later
"""This device becomes one of an account (B4): it answers the first text, and waits until a device of the account signs.

Its keys are kept before the answer is shown, so that the same first text is answered in the same way after a crash.
How each waits, and why it waits no more, is told until another text is answered under its name.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from msgspec.structs import replace

from tmtp_client import limits
from tmtp_client.api.models import Coming, Link
from tmtp_client.connection import (
    AccountKeys,
    Connection,
    DeviceKeys,
    Disconnected,
    Endpoint,
    Payload,
    Refused,
    WrongService,
)
from tmtp_client.engine.joining import Place
from tmtp_client.store import identity as identities
from tmtp_client.store.identity import Identity
from tmtp_client.trust import Trust, linking
from tmtp_client.trust.linking import LinkRefused, Offer
from tmtp_client.vault.vault import Locked, VaultDamaged
from tmtp_core.wire import revision2 as m2

OpenPlace = Callable[[str], AbstractAsyncContextManager[Place]]


class BeingLinked:
    """Accounts of which this device is not one yet. `start` runs an account that is there; `stop` this at the end.

    `name` tells the account's devices what its person calls this one (account, label); it fails at nothing.
    """

    def __init__(
        self,
        open_place: OpenPlace,
        start: Callable[[str], Awaitable[Any]],
        now_ms: Callable[[], int],
        tell: Callable[[], Awaitable[None]] | None = None,
        name: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._open_place = open_place
        self._start = start
        self._now_ms = now_ms
        self._tell = tell
        self._name = name
        self._coming: dict[str, Coming] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._tries: set[asyncio.Task[bool]] = set()

    async def answer(self, name: str, text: str, label: str) -> Link:
        """The second text, for an account that will be called `name` here. Raises `LinkRefused`."""
        offer = linking.read_offer(text)
        async with self._open_place(name) as place:
            keys = await _own_keys(place, offer)
        before = self._waiting.pop(name, None)
        if before is not None:
            before.cancel()
        link = linking.answer(offer, keys)
        self._waiting[name] = asyncio.create_task(self._wait(name, offer, label))
        await self._told(name, Coming(name, offer.service, link.fingerprint))
        return link

    def coming(self) -> tuple[Coming, ...]:
        """The accounts that are waited for, or are no more, by name."""
        return tuple(self._coming[name] for name in sorted(self._coming))

    async def stop(self) -> None:
        """Wait no longer: the same first text may be answered once more."""
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()

    async def rest(self) -> None:
        """The home is locked now: what is open for a try is closed; the next one waits until it is open again."""
        tries = tuple(self._tries)
        for one in tries:
            one.cancel()
        await asyncio.gather(*tries, return_exceptions=True)

    async def _wait(self, name: str, offer: Offer, label: str) -> None:
        """Until the account takes this device in; then it runs."""
        try:
            async with asyncio.timeout(limits.LINK_PATIENCE_S):
                while not await self._try(name, offer, label or socket.gethostname()):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(limits.LINK_POLL_S)
            with contextlib.suppress(Locked):  # by now: it starts with the others
                await self._start(name)
        except TimeoutError:
            await self._gave_up(name, "No device of the account added this one in time. Begin again there.")
        except (LinkRefused, WrongService, Refused) as refused:
            await self._gave_up(name, str(refused))
        except (OSError, LookupError, VaultDamaged) as error:
            await self._gave_up(name, f"The account cannot be opened here: {error}")
        else:
            await self._told(name, None)
            if self._name is not None:
                await self._name(name, label)

    async def _try(self, name: str, offer: Offer, label: str) -> bool:
        """Once, unless `rest` ends it."""
        trying = asyncio.create_task(self._taken_in(name, offer, label))
        self._tries.add(trying)
        try:
            await asyncio.wait({trying})
            return not trying.cancelled() and trying.result()
        finally:
            self._tries.discard(trying)
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)

    async def _taken_in(self, name: str, offer: Offer, label: str) -> bool:
        """Also while the home is locked it is waited for, and its keys are not in memory then."""
        connection = None
        try:
            keys = await self._kept_keys(name, offer)
            endpoint = Endpoint(offer.host, offer.port, offer.pin or None, None)
            connection = await Connection.open(endpoint, _unkept, revision="2")
            await connection.login_by_key(offer.uid, keys.signer, offer.service_key)
            async with self._open_place(name) as place:
                await self._keep(place, connection, offer, keys, label)
        except ssl.SSLCertVerificationError as untrusted:  # waiting does not mend it
            words = f"The certificate of {offer.host} cannot be trusted ({untrusted.verify_message})."
            raise WrongService(words) from None
        except (Disconnected, OSError, TimeoutError, Locked):
            return False
        finally:
            if connection is not None:
                await connection.close()
        return True

    async def _kept_keys(self, name: str, offer: Offer) -> DeviceKeys:
        async with self._open_place(name) as place:
            kept = await place.database.read(lambda c: identities.pending(c, offer.service_key))
            if kept is None:
                raise LinkRefused("The account was left on this device meanwhile. Begin again on the other one.")
            return kept.device

    async def _gave_up(self, name: str, trouble: str) -> None:
        await self._told(name, replace(self._coming[name], trouble=trouble))

    async def _told(self, name: str, coming: Coming | None) -> None:
        if coming is None:
            self._coming.pop(name, None)
        else:
            self._coming[name] = coming
        if self._tell is not None:
            await self._tell()

    async def _keep(self, place: Place, connection: Connection, offer: Offer, keys: DeviceKeys, label: str) -> None:
        """Once the log bears out that it is the account that was offered. Raises `LinkRefused`: nothing is kept."""
        trust = Trust(offer.uid, keys, offer.service_key, self._now_ms, place.random_bytes)
        await trust.settle(connection, place.database)
        wrong = await place.database.write(lambda c: linking.check_joined(c, trust.logs, trust.own, offer))
        if wrong:
            # Its keys stand in a log already, and nobody adds them to one again: who begins anew has others.
            await place.database.write(identities.forget_pending)
            raise LinkRefused(wrong)
        identity = Identity(
            uid=offer.uid,
            node="",
            alias=offer.alias,
            host=offer.host,
            port=offer.port,
            pin=offer.pin or None,
            ca_file=None,
            service=offer.service,
            keys=keys,
            service_key=offer.service_key,
            label=label,
        )
        await place.database.write(lambda c: identities.put(c, identity))
        await place.database.write(identities.forget_pending)


async def _own_keys(place: Place, offer: Offer) -> DeviceKeys:
    """Those of an answer before, or new ones, which are kept."""
    known = await place.database.read(identities.get)
    pending = await place.database.read(lambda c: identities.pending(c, offer.service_key))
    if known is not None or (pending is not None and pending.recovery_seed):
        raise LinkRefused(f"there is an account {place.name} already; choose another name for this one")
    if pending is not None:
        return pending.device
    fresh = AccountKeys(DeviceKeys.new(place.random_bytes), b"")
    await place.database.write(lambda c: identities.put_pending(c, offer.service_key, fresh))
    return fresh.device


async def _unkept(event: m2.StoredEvent, payload: Payload) -> None:
    """Nothing is acknowledged here, where nothing is kept."""
    await asyncio.get_running_loop().create_future()
