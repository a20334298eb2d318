# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real instance on loopback over TLS, with a clock that the test turns."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.certificates import spki_hash
from gateway.instance import ListenOn, RunningInstance
from tests.support.postgresql import ENGINE, database_of
from tmtp_core.domain.admission import Registration
from tmtp_core.domain.policy import Policy
from tmtp_core.domain.registering import RegistrationLimits
from tmtp_core.domain.sign_in import SignInRule
from tmtp_core.limits import InstanceLimits
from tmtp_core.store.places import Bucket

_SETTLE_S = 0.1
_START_NS = 1_790_000_000_000_000_000


class ManualClock:
    """Both clocks stand still until `advance`; `step_wall` moves the wall clock alone."""

    def __init__(self) -> None:
        self._wall_ns = _START_NS
        self._monotonic_s = 1_000.0

    def wall_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._wall_ns

    def monotonic_s(self) -> float:
        """Seconds since some moment."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._monotonic_s += seconds
        self._wall_ns += int(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP would."""
        self._wall_ns += int(seconds * 1e9)


class TestInstance:
    """Handle on a running instance; survives `restart`."""

    __test__ = False

    def __init__(self, folder: Path, clock: ManualClock, options: dict[str, Any]) -> None:
        self.folder = folder
        self.clock = clock
        self._options = options
        self._more: list[ListenOn] = self._options.pop("listen", [])  # beside the first address
        self._port = 0
        self.running: RunningInstance

    @property
    def service(self) -> Any:
        """The service inside."""
        return self.running.service

    @property
    def host(self) -> str:
        """Address to connect to."""
        return self.running.address[0]

    @property
    def port(self) -> int:
        """Port to connect to; the same after a restart."""
        return self._port

    @property
    def spki_pin(self) -> str:
        """`sha256:…` of its self-signed certificate."""
        return self.running.spki_pin

    async def start(self) -> None:
        """Start it, on the port it had before."""
        self.running = RunningInstance(
            name="test",
            folder=self.folder,
            addresses=[ListenOn("127.0.0.1", self._port), *self._more],
            clock=self.clock,
            random_bytes=os.urandom,
            **self._options,
        )
        await self.running.start(ticking=False)
        self._port = self.running.address[1]

    async def stop(self) -> None:
        """Stop it gracefully."""
        await self.running.stop(grace_s=1.0)

    async def restart(self) -> None:
        """Stop and start over the same data."""
        await self.stop()
        await self.start()

    async def advance(self, seconds: float) -> None:
        """Let time pass and everything that was due happen; first, what is on its way arrives."""
        await asyncio.sleep(_SETTLE_S)
        self.clock.advance(seconds)
        self.running.tick()
        await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let everything happen that follows from what was asked, commit after commit."""
        for _ in range(20):
            await self.service.decide(lambda ledger: ledger.count_messages())
            await asyncio.sleep(0)

    async def new_invitation(self, **options: Any) -> str:
        """A registration token."""
        token: str = await self.service.create_invitation(**options)
        return token


@asynccontextmanager
async def running_instance(
    folder: Path,
    *,
    clock: ManualClock | None = None,
    registration: str = "open",
    title: str = "Test Site",
    limits: dict[str, int] | None = None,
    registrations: RegistrationLimits | None = None,
    sign_in: SignInRule | None = None,
    policy: Policy | None = None,
    skin: bytes = b"",
    listen: tuple[ListenOn, ...] = (),
    proxy_certificates: tuple[Path, ...] = (),
    database: str | None = None,
    bucket: Bucket | None = None,
) -> AsyncIterator[TestInstance]:
    """Run an instance for the length of the block. `limits` are fields of `InstanceLimits`.

    `database` None: the folder's own, on the engine that the tests run on.
    """
    options = {
        "title": title,
        "registration": Registration(registration),
        "instance_limits": InstanceLimits(**(limits or {})),
        "registrations": registrations,
        "sign_in": sign_in,
        "policy": policy,
        "skin": skin,
        "listen": list(listen),
        "proxy_spki_hashes": tuple(spki_hash(certificate) for certificate in proxy_certificates),
        "database": database,
        "bucket": bucket,
    }
    if ENGINE == "postgresql" and database is None:
        options["database"] = await asyncio.to_thread(database_of, folder)
    instance = TestInstance(folder, clock or ManualClock(), options)
    await instance.start()
    try:
        yield instance
    finally:
        await instance.stop()
