# SPDX-License-Identifier: AGPL-3.0-or-later
"""Devices with keys, as a test plays them: honest ones, and those in a thief's hand."""

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from nacl.public import PrivateKey

from tests.support.instance import TestInstance
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint, Payload, Refused
from tmtp_core.crypto.account_log import RECOVERY, Entry, LogState
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.log_records import Signature, compose, decode_records, verify
from tmtp_core.crypto.signing import Signer
from tmtp_core.domain.device_log import Signed
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2

E = TypeVar("E", bound=m.Stored)

PATIENCE_S = 60.0
_ids = itertools.count(1)


def fresh_id() -> str:
    """A request id that no test used before."""
    return f"request {next(_ids)}"


def fresh_signer() -> Signer:
    """A new Ed25519 key."""
    return Signer(os.urandom(32))


def fresh_box() -> str:
    """A new public X25519 key."""
    return to_text(bytes(PrivateKey.generate().public_key))


class KeyDevice:
    """One device: its key, the account it belongs to, and a connection that keeps what it gets."""

    def __init__(self, instance: TestInstance, uid: str, signer: Signer, recovery: Signer) -> None:
        self.instance = instance
        self.uid = uid
        self.signer = signer
        self.recovery = recovery  # a test knows it; whether the device does is the test's business
        self.got: list[tuple[m2.StoredEvent, bytes]] = []
        self.present: list[tuple[str, int]] = []
        self.deaf = False  # it keeps nothing, and so acknowledges nothing
        self.connection: Connection
        self._heard = asyncio.Event()
        self._taken = 0

    @property
    def name(self) -> str:
        """The device's key as text."""
        return self.signer.public

    # -- connections -------------------------------------------------------------------------------------------------
    async def open(self) -> Connection:
        """A connection that has only greeted."""
        endpoint = Endpoint(self.instance.host, self.instance.port, self.instance.spki_pin)
        return await Connection.open(endpoint, self._keep, self._see, revision="2")

    async def log_in(self) -> m.Info:
        """Log in on a new connection. Raises `Disconnected`."""
        connection = await self.open()
        try:
            info = await connection.login_by_key(self.uid, self.signer)
        except BaseException:
            await connection.close()
            raise
        self.connection = connection
        return info

    async def _keep(self, event: m2.StoredEvent, payload: Payload) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        self.got.append((event, await payload.read()))
        self._heard.set()

    def _see(self, ohi: m.Ohi) -> None:
        self.present.append((ohi.from_, ohi.status))

    async def next(self, kind: type[E], where: Callable[[E], bool] = lambda event: True) -> tuple[E, bytes]:
        """The next message of a kind that was not taken before; others are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._taken < len(self.got):
                    event, data = self.got[self._taken]
                    self._taken += 1
                    if isinstance(event, kind) and where(event):
                        return event, data
                self._heard.clear()
                await self._heard.wait()

    async def all_of(self, kind: type[E]) -> list[E]:
        """All messages of a kind so far; everything that was on its way has come (a request's answer proves it)."""
        await self.connection.ask(m.UserEdit(fresh_id(), newalias=(await self.aliases())[0]))
        await self.connection.ask(m.UserEdit(fresh_id(), newalias=(await self.aliases())[0]))
        return [event for event, _ in self.got if isinstance(event, kind)]

    async def aliases(self) -> list[str]:
        """The account's aliases, from the service's own table."""
        return await self.instance.service.decide(lambda ledger: list(ledger.account(self.uid).aliases))

    # -- requests ----------------------------------------------------------------------------------------------------
    async def post(self, *recipients: str, data: bytes = b"content", **options: Any) -> m.Acked:
        """Post to uids."""
        entries = [m.Recipient(one, m.TO_UID) for one in recipients]
        return await self.connection.post(fresh_id(), entries, data, **options)

    async def ping(self, alias: str, text: str = "hello") -> m.Acked:
        """Ping as one's first alias."""
        return await self.connection.ping(fresh_id(), (await self.aliases())[0], alias, text)

    async def block(self, uid: str, act: str = "block") -> m.Acked:
        """Block or unblock."""
        return await self.connection.ask(m2.BlockEdit(fresh_id(), act, uid))

    async def report(self, uid: str, reason: str = "spam", text: str = "") -> m.Acked:
        """Tell the administrators of somebody."""
        return await self.connection.ask(m2.Report(fresh_id(), uid, reason, text))

    # -- the log -----------------------------------------------------------------------------------------------------
    async def log(self, uid: str | None = None) -> LogState:
        """A log as the service tells it, verified."""
        service = self.connection.service.result().service
        assert service is not None
        state, since = None, 0
        while True:
            page, data = await self.connection.inquire(m2.LogFetch(fresh_id(), uid or self.uid, since))
            assert isinstance(page, m2.LogPage)
            records = decode_records(data)
            state = verify(records, uid=uid or self.uid, service_key=service.key, known=state)
            since += len(records)
            if not page.more:
                assert state.head_text == page.head
                return state

    async def append(self, act: Any, *signers: "Signer | KeyDevice", recovery: bool = False, **fields: str) -> m.Acked:
        """An entry on top of the present log, signed by this device, or by those named. Raises `Refused`."""
        entry, sigs = await self.composed(act, *signers, recovery=recovery, **fields)
        return await self.connection.ask(m2.LogAppend(fresh_id(), entry, sigs))

    async def composed(
        self, act: Any, *signers: "Signer | KeyDevice", recovery: bool = False, **fields: str
    ) -> tuple[str, tuple[Signature, ...]]:
        """The same, not sent."""
        head = await self.instance.service.decide(lambda ledger: ledger.account(self.uid).log.head_text)
        keys = [one.signer if isinstance(one, KeyDevice) else one for one in signers]
        by = {key.public: key for key in keys}
        if recovery:
            by[RECOVERY] = self.recovery
        elif not by:
            by = {self.name: self.signer}
        return compose(Entry(act, head, **fields), by, self.service_key)

    @property
    def service_key(self) -> bytes:
        """To which all logs of the service are bound."""
        return self.instance.service.identity.public_key

    async def add_device(self) -> "KeyDevice":
        """Add a further device, provisional, and log it in."""
        other = KeyDevice(self.instance, self.uid, fresh_signer(), self.recovery)
        await self.append("add", self, other, device=other.name, box=fresh_box())
        await other.log_in()
        return other

    async def add_full_device(self, confirmer: "KeyDevice | None" = None) -> "KeyDevice":
        """Add a device and have it confirmed, by another full device or the recovery key."""
        other = await self.add_device()
        if confirmer is not None:
            await confirmer.append("confirm", target=other.name)
        else:
            await self.append("confirm", recovery=True, target=other.name)
        return other

    async def enter_by_recovery(self) -> m.Info:
        """A link of the recovery key's, as no device. Raises `Disconnected`."""
        self.connection = await self.open()
        return await self.connection.login_by_recovery(self.uid, self.recovery)

    async def recover(self) -> "KeyDevice":
        """A device that only the recovery key brings into the account: it looks at the log, adds the device, leaves."""
        sheet = KeyDevice(self.instance, self.uid, fresh_signer(), self.recovery)
        await sheet.enter_by_recovery()
        log = await sheet.log()
        other = KeyDevice(self.instance, self.uid, fresh_signer(), self.recovery)
        add = Entry("add", log.head_text, device=other.name, box=fresh_box())
        entry, sigs = compose(add, {RECOVERY: self.recovery, other.name: other.signer}, self.service_key)
        await sheet.connection.ask(m2.LogAppend(fresh_id(), entry, sigs))
        await sheet.quit()
        await other.log_in()
        return other

    async def ends(self) -> str:
        """Why the connection ended; it must."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.connection.closed()

    async def quit(self) -> None:
        """Log out."""
        await self.connection.quit()


def genesis_of(instance: TestInstance, keys: AccountKeys) -> Signed:
    """The first entry of an account's log at this instance, signed."""
    return Signed(*keys.genesis(instance.service.identity.public_key))


async def newcomer(instance: TestInstance, alias: str, invite: str | None = None) -> KeyDevice:
    """A new account's first device, logged in."""
    keys = AccountKeys.new(os.urandom)
    device = KeyDevice(instance, "", keys.device.signer, keys.recovery)
    device.connection = await device.open()
    registered = await device.connection.register_keys("laptop", keys, alias, invite)
    assert registered.error in {"", "choose an alias"}
    device.uid = registered.uid
    return device


async def acquainted(one: KeyDevice, other: KeyDevice) -> None:
    """Both ping one another."""
    await one.ping((await other.aliases())[0])
    await other.ping((await one.aliases())[0])


async def refusal(attempt: Any) -> str:
    """The words in which an attempt was refused, by an ack or by the end of the link; it must be."""
    try:
        await attempt
    except (Refused, Disconnected) as refused:
        return str(refused)
    raise AssertionError("this was not refused")
