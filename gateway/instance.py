# SPDX-License-Identifier: AGPL-3.0-or-later
"""One running instance: its service, its listeners, and the second hand that drives both."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.certificates import ensure_self_signed, server_context, spki_hash, spki_pin
from gateway.files import alone_in, write_private
from gateway.listeners.tcp import TcpListener
from gateway.listeners.websocket import WebSocketListener
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.crypto.credentials import KEY_BYTES
from tmtp_core.crypto.possession import NO_TLS
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.domain.admission import Registration, SignInRule
from tmtp_core.domain.policy import Policy
from tmtp_core.ids import RandomBytes
from tmtp_core.service import Service, ServiceSettings
from tmtp_core.store.folders import make_folder
from tmtp_core.store.opening import Bucket

log = structlog.get_logger()

_TICK_S = 1.0
_SERVICE_KEY = "service.key"


class StartFailed(Exception):
    """The gateway cannot start; the text says why and what would mend it."""


@dataclass(frozen=True, slots=True)
class ListenOn:
    """One address: TLS or plain, TCP or WebSocket; `origins` are those of pages that may connect."""

    host: str
    port: int
    tls: bool = True
    websocket: bool = False
    origins: frozenset[str] = frozenset()


class RunningInstance:
    """A service with its listeners.

    `addresses`: where to listen. `certificate` and `key` None: self-signed.
    `proxy_spki_hashes`: of the certificates that clients see when something in front of this program ends their TLS.
    `database`, `bucket`: see `ServiceSettings`; where a database is given, others may listen on the same addresses.
    """

    def __init__(
        self,
        *,
        name: str,
        title: str,
        folder: Path,
        registration: Registration,
        addresses: list[ListenOn],
        clock: Clock,
        random_bytes: RandomBytes,
        instance_limits: limits.InstanceLimits | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        sign_in: SignInRule | None = None,
        policy: Policy | None = None,
        skin: bytes = b"",
        proxy_spki_hashes: tuple[bytes, ...] = (),
        database: str | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self.name = name
        self._folder = folder
        self._clock = clock
        self._addresses = addresses
        make_folder(folder)
        self._shared = database is not None
        with alone_in(folder):  # two processes that start at once make one key and one certificate
            self._certificate, self._key = self._tls_files(certificate, key, title)
            try:
                self.spki_pin = spki_pin(self._certificate)
            except (OSError, ValueError) as error:
                raise StartFailed(f"instance {name} cannot use its certificate {self._certificate}: {error}") from None
            loop = asyncio.get_running_loop()
            seed_path = folder / _SERVICE_KEY
            kept_seed = _kept(seed_path, SEED_BYTES)
            seed = kept_seed or random_bytes(SEED_BYTES)
            self.service = Service(
                ServiceSettings(
                    name=name,
                    title=title,
                    folder=folder,
                    registration=registration,
                    credential_key=_credential_key(folder, random_bytes),
                    signing_seed=seed,
                    policy=policy or Policy(),
                    limits=instance_limits or limits.InstanceLimits(),
                    sign_in=sign_in,
                    skin=skin,
                    database=database,
                    bucket=bucket,
                ),
                clock,
                random_bytes,
                _in_loop(loop),
                lambda event, fields: log.error(event, instance=name, **fields),
            )
            if kept_seed is None:
                if self.service.has_logs:
                    self.service.abandon()
                    raise StartFailed(
                        f"{seed_path} is missing, and without it no client knows this service: "
                        "restore it from the backup"
                    )
                write_private(seed_path, seed)
        self._proxy_spki_hashes = proxy_spki_hashes
        self.listeners: list[TcpListener | WebSocketListener] = []
        self._ticking: asyncio.Task[None] | None = None

    @property
    def certificate(self) -> Path:
        """The file of its certificate."""
        return self._certificate

    @property
    def address(self) -> tuple[str, int]:
        """Where the first listener listens."""
        return self.listeners[0].address

    async def start(self, *, ticking: bool = True) -> None:
        """Serve. With `ticking` False the caller calls `tick` (tests with a clock of their own)."""
        context = self._context()
        self.service.start()
        for on in self._addresses:
            listener = self._listener(on, context)
            try:
                await listener.start()
            except OSError as error:
                await self.stop()
                raise StartFailed(
                    f"instance {self.name} cannot listen on {on.host}:{on.port}: {error.strerror}; "
                    "choose another address"
                ) from None
            self.listeners.append(listener)
        if ticking:
            self._ticking = asyncio.get_running_loop().create_task(self._tick_forever())

    def tick(self) -> None:
        """Look at every deadline."""
        self.service.tick()
        for listener in self.listeners:
            listener.sweep(self._clock)

    async def stop(self, grace_s: float = limits.STOP_GRACE_S) -> None:
        """Stop accepting, finish commits, send what is due, close. Idempotent."""
        for listener in self.listeners:
            listener.stop_accepting()
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
            self._ticking = None
        await self.service.stop()
        await asyncio.gather(*(listener.close(grace_s) for listener in self.listeners))
        self.listeners = []

    def _listener(self, on: ListenOn, context: ssl.SSLContext) -> TcpListener | WebSocketListener:
        spki_hashes: tuple[bytes, ...] = self._proxy_spki_hashes
        if on.tls:
            spki_hashes = (spki_hash(self._certificate), *spki_hashes)
        elif not spki_hashes:  # nobody ends TLS in front of this address: there is none
            spki_hashes = (NO_TLS,)
        own = context if on.tls else None
        listener: TcpListener | WebSocketListener
        if on.websocket:
            listener = WebSocketListener(self.service, on.host, on.port, own, spki_hashes, on.origins)
        else:
            listener = TcpListener(self.service, on.host, on.port, own, spki_hashes)
        listener.shares_port = self._shared
        return listener

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.tick()

    def _tls_files(self, certificate: Path | None, key: Path | None, title: str) -> tuple[Path, Path]:
        if certificate is not None and key is not None:
            return certificate, key
        return ensure_self_signed(self._folder, title)

    def _context(self) -> ssl.SSLContext:
        try:
            return server_context(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise StartFailed(
                f"instance {self.name} cannot use its certificate {self._certificate} with the key {self._key}: {error}"
            ) from None


def _in_loop(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    """Run a callable in the loop, from any thread; after the loop's end nobody is left to hear it."""
    home = threading.get_ident()

    def in_loop(act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):
            if threading.get_ident() == home:
                loop.call_soon(act)
            else:
                loop.call_soon_threadsafe(act)  # wakes it by a write to a socket

    return in_loop


def _credential_key(folder: Path, random_bytes: RandomBytes) -> bytes:
    """The key of the hashes of credentials, made with the database. Raises `StartFailed` when it was lost."""
    path = folder / "credential.key"
    kept = _kept(path, KEY_BYTES)
    if kept is not None:
        return kept
    if (folder / "service.sqlite3").exists():
        raise StartFailed(f"{path} is missing, and without it nobody can log in: restore it from the backup")
    made = random_bytes(KEY_BYTES)
    write_private(path, made)
    return made


def _kept(path: Path, size: int) -> bytes | None:
    """A secret of the instance, if it is there. Raises `StartFailed` when it is no longer whole."""
    if not path.exists():
        return None
    secret = path.read_bytes()
    if len(secret) != size:
        raise StartFailed(f"{path} must hold {size} bytes, not {len(secret)}: restore it from the backup")
    return secret
