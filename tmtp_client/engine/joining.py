# SPDX-License-Identifier: AGPL-3.0-or-later
"""Coming to an account, coming back to it, signing in again (A1, B1, B4). Nothing is printed, no browser opened here.

A device's keys are kept before the service hears of them, so that what was cut off is taken up again by the next try,
with the same device. The recovery key is kept until its person has it (`told`), and afterwards nowhere: it overrides
every device. What stays is a slot of the vault that its words open.

Messages are not for these connections: they are acknowledged to none of them, and come to the account once it runs.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Connection as Rows

from tmtp_client import limits
from tmtp_client.connection import (
    AccountKeys,
    Connection,
    DeviceKeys,
    Disconnected,
    Endpoint,
    LogInRefused,
    OnWork,
    Payload,
    Refused,
    RefusedHere,
    WrongService,
)
from tmtp_client.engine.signing_in import OpenUrl, signed_in
from tmtp_client.store import identity as identities
from tmtp_client.store.database import Database
from tmtp_client.store.identity import Identity
from tmtp_client.vault.vault import Vault
from tmtp_core.crypto.account_log import RECOVERY, ActName, Entry, LogState
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.log_records import LogInvalid, compose, decode_records, verify
from tmtp_core.crypto.sign_in import device_nonce
from tmtp_core.crypto.signing import Signer
from tmtp_core.ids import RandomBytes
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.address import ServiceAddress, parse_address

_NOT_TAKEN: Final = {
    "invitation required": "the invitation is not good, or no more: it was used, revoked, or has expired",
    "authentication required": (
        "the service does not take this sign-in: ask whoever runs it whether your account at the provider may join"
    ),
    "you have an account here already": (
        "you have an account on this service already: come back to it with its recovery sheet, or add this device from "
        "one that it has"
    ),
}
"""What a service says to who joins, and what that means for a person."""
SIGN_IN_REQUIRED: Final = 2
"""`auth` of `tmtprev` (wire.md §10); 1 is possible."""


class Occupied(RefusedHere):
    """The name on this device is another account's, or one's that is not finished: nothing was asked of the service."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where to go, and how to know that it is the one."""

    address: ServiceAddress
    ca_file: str | None

    @property
    def endpoint(self) -> Endpoint:
        """To connect to."""
        ca = Path(self.ca_file) if self.ca_file else None
        return Endpoint(self.address.host, self.address.port, self.address.pin, ca)

    def identity(
        self, greeting: m.TmtpRevAnswer, uid: str, alias: str, keys: DeviceKeys | None, *, node: str = "", label: str
    ) -> Identity:
        """Who this device is there."""
        return Identity(
            uid=uid,
            node=node,
            alias=alias,
            host=self.address.host,
            port=self.address.port,
            pin=self.address.pin,
            ca_file=self.ca_file,
            service=greeting.name,
            keys=keys,
            service_key=greeting.service.key if greeting.service is not None else "",
            label=label,
        )


@dataclass(frozen=True, slots=True)
class Ways:
    """How a person signs in: also where it is not asked for (`wants_sign_in`). `open_url` is given the provider's name
    and the address that the person's own browser is to open; `on_work` hears how far a registration's work is.
    """

    open_url: OpenUrl
    wants_sign_in: bool = False
    on_work: OnWork | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an account is kept: its name, its open database, and the vault, open."""

    name: str
    database: Database
    vault: Vault
    random_bytes: RandomBytes


@dataclass(frozen=True, slots=True)
class Joined:
    """An account on this device. `recovery`: the seed of its recovery key, to be shown and then `told`; empty: there is
    none to show. `error`: why the alias was not given. `other_devices`: how many more the account has.
    """

    identity: Identity
    recovery: bytes = field(default=b"", repr=False)
    error: str = ""
    other_devices: int = 0


class Asker(Protocol):
    """A connection of the account that runs."""

    async def ask(self, request: m.UserEdit) -> m.Acked:
        """Raises `Refused` or `Disconnected`."""
        ...


def service_at(address: str, *, invite: str = "", pin: str = "", ca_file: str = "") -> Service:
    """What was typed: host:port or a tmtp:// link, and what that has not. Raises ValueError that says what is wrong."""
    parsed = parse_address(address)
    named = ServiceAddress(parsed.host, parsed.port, pin or parsed.pin, invite or parsed.invite)
    if not ca_file:
        return Service(named, None)
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also of a file that holds no certificate
        raise ValueError(f"{ca_file} holds no certificates that can be used: {error.strerror or error}") from None
    return Service(named, str(Path(ca_file).resolve()))


async def join(place: Place, service: Service, alias: str, label: str, ways: Ways) -> Joined:
    """Open an account; this device becomes its first. Again, if it was cut off: also when only its person was not told.

    Raises `Refused`, `Disconnected`, `WrongService`, `Locked`, OSError, TimeoutError.
    """
    known, pending = await place.database.read(_known)
    if known is not None and pending is None:
        who = known.alias or known.uid
        raise Occupied(f"the account {place.name} is {who} on {known.service} already; choose another name")
    if known is not None and (known.host, known.port) != (service.address.host, service.address.port):
        raise Occupied(f"the account {place.name} is on {known.service}; its recovery sheet was not shown yet")
    if known is not None and pending is not None:
        return await _sealed(place, Joined(known, pending.recovery_seed))
    try:
        return await _join(place, service, alias, label or socket.gethostname(), ways)
    except Disconnected as error:
        why = _NOT_TAKEN.get(str(error))
        if str(error) == "invitation required" and service.address.invite is None:
            why = "this takes an invitation; ask whoever runs the service for one"
        if why is None:
            raise
        raise RefusedHere(why) from None


async def told(database: Database) -> None:
    """The person has the recovery sheet: its key is nowhere on this device from now on."""
    await database.write(identities.forget_pending)
    await database.checkpoint()


async def recover(
    place: Place, service: Service, uid: str, seed: bytes, label: str, *, revoke_others: bool = False
) -> Joined:
    """Come back to an account by its recovery key, `seed`; this device becomes one of it. Its alias is to be taken by
    `take_alias` once it runs.

    Raises `Refused`, `Disconnected`, `WrongService`, `Locked`, OSError, TimeoutError.
    """
    recovery = Signer(seed)
    known, _ = await place.database.read(_known)
    if known is not None:
        who = known.alias or known.uid
        raise Occupied(f"the account {place.name} is {who} on {known.service} already; choose another name")
    async with _greeted(service) as (connection, greeting):
        if greeting.service is None:
            raise RefusedHere("the service speaks revision 1 only, which knows no recovery keys")
        await connection.login_by_recovery(uid, recovery)
        log = await verified_log(connection, uid, greeting.service.key, place.random_bytes)
        keys = await _returning_keys(place, greeting.service.key, log)
        chain = Chain(connection, uid, log, place.random_bytes)
        own = keys.signer.public
        if own not in log.devices:
            await chain.append("add", {RECOVERY: recovery, own: keys.signer}, device=own, box=keys.box)
        others = [device.key for device in chain.log.unrevoked() if device.key != own]
        while revoke_others and others:  # one may be added meanwhile, by whoever has a device of this account
            await chain.append("revoke", {RECOVERY: recovery}, target=others[0])
            others = [device.key for device in chain.log.unrevoked() if device.key != own]
    identity = service.identity(greeting, uid, "", keys, label=label or socket.gethostname())
    await place.database.write(lambda c: identities.put(c, identity))
    await _sealed(place, Joined(identity, seed))
    await told(place.database)
    return Joined(identity, other_devices=len(others))


async def take_alias(asker: Asker, database: Database, identity: Identity, name: str, request_id: str) -> Identity:
    """Take a name, or show that one has it already: asking again for one's own succeeds. Messages go out under it.

    Raises `Refused` or `Disconnected`.
    """
    await asker.ask(m.UserEdit(request_id, newalias=name))
    named = replace(identity, alias=name)
    await database.write(lambda c: identities.put(c, named))
    return named


async def sign_in_again(identity: Identity, open_url: OpenUrl) -> None:
    """After the provider has signed the person out: until then the service lets none of his devices in.

    Raises `Refused`, `Disconnected`, `WrongService`, OSError, TimeoutError.
    """
    keys = identity.keys
    if keys is None:
        raise RefusedHere("an account without keys cannot; ask whoever runs the service")
    service = Service(ServiceAddress(identity.host, identity.port, identity.pin), identity.ca_file)
    ways = Ways(open_url, wants_sign_in=True)
    async with _greeted(service) as (_, greeting):
        _same_service(greeting, identity.service_key)
    if not _asks_who(greeting, ways):
        raise RefusedHere("this service asks no provider")
    oidc = await proof_of_person(greeting, keys, ways)
    async with _greeted(service) as (connection, _):
        try:
            await connection.login_by_key(identity.uid, keys.signer, identity.service_key, oidc)
        except LogInRefused as refused:
            if str(refused) != "authentication required":
                raise
            raise RefusedHere(
                "the service does not take this sign-in: it is not the person's whose account this is, or he may not "
                "come in any more"
            ) from None


# -- joining ---------------------------------------------------------------------------------------------------------
async def _join(place: Place, service: Service, alias: str, label: str, ways: Ways) -> Joined:
    async with _greeted(service) as (connection, greeting):
        keys = await _joining_keys(place, greeting)
        if not _asks_who(greeting, ways):
            return await _register(place, service, (connection, greeting), alias, label, keys, None, ways.on_work)
    oidc = await proof_of_person(greeting, keys.device if keys is not None else None, ways)
    async with _greeted(service) as (connection, again):  # no link stays open for as long as a person needs
        if again.service != greeting.service:
            raise WrongService("another service answers than before; nothing was signed for it")
        return await _register(place, service, (connection, again), alias, label, keys, oidc, ways.on_work)


async def _register(
    place: Place,
    service: Service,
    to: tuple[Connection, m.TmtpRevAnswer],
    alias: str,
    label: str,
    keys: AccountKeys | None,
    oidc: dict[str, Any] | None,
    on_work: OnWork | None,
) -> Joined:
    """As the device with these keys, or with a password where the service knows revision 1 only."""
    connection, greeting = to
    invite = service.address.invite
    if keys is not None:
        registered = await connection.register_keys(label, keys, alias, invite, oidc=oidc, on_work=on_work)
    else:
        registered = await connection.register(label, alias, invite, oidc)
    named = "" if registered.error else alias
    device = keys.device if keys is not None else None
    identity = service.identity(greeting, registered.uid, named, device, node=registered.nodeid, label=label)
    await place.database.write(lambda c: identities.put(c, identity))
    seed = keys.recovery_seed if keys is not None else b""
    return await _sealed(place, Joined(identity, seed, registered.error))


async def _joining_keys(place: Place, greeting: m.TmtpRevAnswer) -> AccountKeys | None:
    """Those of a join that was cut off, or new ones, which are kept; None where the service knows revision 1 only.

    Raises `Refused` where the service knew revision 2 when this was begun: it is never stepped down.
    """
    if greeting.service is None:
        if await place.database.read(identities.is_pending):
            raise RefusedHere(
                "the service speaks revision 1 only now, and knew revision 2 when this was begun: somebody else may "
                "answer in its place; ask who runs it"
            )
        return None
    service_key = greeting.service.key
    keys = await place.database.read(lambda c: identities.pending(c, service_key))
    if keys is None:
        keys = fresh = AccountKeys.new(place.random_bytes)
        await place.database.write(lambda c: identities.put_pending(c, service_key, fresh))
    elif not keys.recovery_seed:
        raise Occupied(f"{place.name} is on its way back to an account: finish that, or choose another name")
    return keys


async def _sealed(place: Place, joined: Joined) -> Joined:
    """The recovery sheet opens this device's vault, too."""
    if joined.recovery:
        await asyncio.to_thread(place.vault.add_recovery, joined.recovery, place.name)
    return joined


def _known(c: Rows) -> tuple[Identity | None, AccountKeys | None]:
    """Who this device is, and what its person was not told yet."""
    known = identities.get(c)
    return known, identities.pending(c, known.service_key) if known is not None else None


def _same_service(greeting: m.TmtpRevAnswer, service_key: str) -> None:
    if greeting.service is None or greeting.service.key != service_key:
        raise WrongService("the service has not the key that it had; nothing was signed for it")


# -- signing in ------------------------------------------------------------------------------------------------------
def _asks_who(greeting: m.TmtpRevAnswer, ways: Ways) -> bool:
    """Whether a provider of sign-in is to be asked."""
    return greeting.auth == SIGN_IN_REQUIRED or (ways.wants_sign_in and greeting.auth > 0)


async def proof_of_person(greeting: m.TmtpRevAnswer, device: DeviceKeys | None, ways: Ways) -> dict[str, Any]:
    """What the provider says of the person, for this device only.

    `Refused` where the service knows no device keys: what it would be given, it could give to another in one's name.
    """
    if not greeting.authby:
        raise TimeoutError("the service cannot reach its provider of sign-in now; try again later")
    if device is None or greeting.service is None:
        raise RefusedHere(
            "this service speaks revision 1 only, where a sign-in is not bound to this device: another service could "
            "have sent you here to come in under your name; ask who runs it for revision 2"
        )
    nonce = device_nonce(from_text(greeting.service.key), device.signer.public)
    return {"id_token": await signed_in(greeting.authby[0], nonce, ways.open_url)}


# -- an account's log ------------------------------------------------------------------------------------------------
class Chain:
    """The log of an account, which others may add to while one signs."""

    def __init__(self, connection: Connection, uid: str, log: LogState, random_bytes: RandomBytes) -> None:
        self.log = log
        self._connection = connection
        self._uid = uid
        self._random_bytes = random_bytes

    async def append(self, act: ActName, signers: dict[str, Signer], **fields: str) -> None:
        """Sign an entry on top of the log as it is, and again when it has moved on. Raises `Refused`."""
        for _ in range(limits.LOG_TRIES_MAX):
            made, sigs = compose(Entry(act, self.log.head_text, **fields), signers, self.log.service_key)
            taken = True
            try:
                await self._connection.ask(m2.LogAppend(_request_id(self._random_bytes), made, sigs))
            except Refused as refused:
                if "moved on" not in str(refused):
                    raise
                taken = False
            key = to_text(self.log.service_key)
            self.log = await verified_log(self._connection, self._uid, key, self._random_bytes, self.log)
            if taken:
                return
        raise RefusedHere("somebody else changes this account all the time; try again")


async def verified_log(
    connection: Connection, uid: str, service_key: str, random_bytes: RandomBytes, known: LogState | None = None
) -> LogState:
    """An account's log, checked record by record from what is known. Raises `Disconnected` when it does not hold."""
    log = known
    while True:
        since = log.count if log is not None else 0
        page, data = await connection.inquire(m2.LogFetch(_request_id(random_bytes), uid, since))
        try:
            records = decode_records(data)
            log = verify(records, uid=uid, service_key=service_key, known=log)
        except LogInvalid as invalid:
            raise Disconnected(f"the service's log of this account does not hold: {invalid}") from None
        if not (isinstance(page, m2.LogPage) and page.more and records):
            return log


async def _returning_keys(place: Place, service_key: str, log: LogState) -> DeviceKeys:
    """The keys with which an earlier try was cut off, or new ones. Raises `Refused` in the midst of a join."""
    pending = await place.database.read(lambda c: identities.pending(c, service_key))
    if pending is not None and pending.recovery_seed:
        raise Occupied(f"an account is being opened under the name {place.name}: finish that, or choose another name")
    if pending is not None and log.standing(pending.device.signer.public, log.time_ms) != "revoked":
        return pending.device
    keys = AccountKeys(DeviceKeys.new(place.random_bytes), b"")
    await place.database.write(lambda c: identities.put_pending(c, service_key, keys))
    return keys.device


# -- connections -----------------------------------------------------------------------------------------------------
@asynccontextmanager
async def _greeted(service: Service) -> AsyncIterator[tuple[Connection, m.TmtpRevAnswer]]:
    """A connection on which nobody has entered yet."""
    connection = await Connection.open(service.endpoint, _unkept, revision="2")
    try:
        yield connection, connection.service.result()
    finally:
        await connection.close()


async def _unkept(event: m2.StoredEvent, payload: Payload) -> None:
    """Nothing is acknowledged here, where nothing is kept."""
    await asyncio.get_running_loop().create_future()


def _request_id(random_bytes: RandomBytes) -> str:
    return random_bytes(16).hex()
