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
from nacl.public import PublicKey

from gateway.backup.journal import JournalFile
from gateway.certificates import Certificate, CertificateFiles, ensure_self_signed
from gateway.files import alone_in, write_private
from gateway.listeners.tcp import TcpListener
from gateway.listeners.websocket import WebSocketListener
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.crypto.credentials import KEY_BYTES
from tmtp_core.crypto.possession import NO_TLS
from tmtp_core.crypto.signing import SEED_BYTES, Signer
from tmtp_core.domain.admission import Registration
from tmtp_core.domain.policy import Policy
from tmtp_core.domain.registering import RegistrationLimits
from tmtp_core.domain.sign_in import SignInRule
from tmtp_core.ids import RandomBytes
from tmtp_core.service import Service, ServiceSettings
from tmtp_core.store.folders import make_folder
from tmtp_core.store.places import Bucket

log = structlog.get_logger()

_TICK_S = 1.0
_SERVICE_KEY = "service.key"


class StartFailed(Exception):
    """The gateway cannot start; the text says why and what would mend it."""


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where the journal beside the backups is, and whose key it is for."""

    folder: Path
    recipient: PublicKey


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
    `journal`: where to keep one, and for whom (docs/backup.md); a database elsewhere has its own ways for that.
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
        registrations: RegistrationLimits | None = None,
        sign_in: SignInRule | None = None,
        policy: Policy | None = None,
        skin: bytes = b"",
        proxy_spki_hashes: tuple[bytes, ...] = (),
        database: str | None = None,
        bucket: Bucket | None = None,
        journal: JournalPlace | None = None,
    ) -> None:
        self.name = name
        self._folder = folder
        self._clock = clock
        self._addresses = addresses
        make_folder(folder)
        self._shared = database is not None
        with alone_in(folder):  # two processes that start at once make one key and one certificate
            self._self_signed = certificate is None or key is None
            self._tls_files = CertificateFiles(*self._certificate_paths(certificate, key, title))
            self.certificate = self._loaded_certificate()
            loop = asyncio.get_running_loop()
            seed_path = folder / _SERVICE_KEY
            kept_seed = _kept(seed_path, SEED_BYTES)
            seed = kept_seed or random_bytes(SEED_BYTES)
            self.journal = None
            if journal is not None and database is None:
                self.journal = JournalFile(journal.folder, name, journal.recipient, Signer(seed), self._report)
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
                    registrations=registrations or RegistrationLimits(),
                    sign_in=sign_in,
                    skin=skin,
                    database=database,
                    bucket=bucket,
                    journal=self.journal,
                ),
                clock,
                random_bytes,
                _in_loop(loop),
                self._report,
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
        self.pin_changed: list[Callable[[str], None]] = []  # hear of a certificate with another key
        self._next_look_s = clock.monotonic_s() + limits.CERTIFICATE_LOOK_INTERVAL_S
        self.listeners: list[TcpListener | WebSocketListener] = []
        self._ticking: asyncio.Task[None] | None = None

    @property
    def spki_pin(self) -> str:
        """How clients pin the certificate."""
        return self.certificate.pin

    @property
    def healthy(self) -> bool:
        """Whether the last commit worked."""
        return self.service.healthy

    def figures(self) -> dict[str, float]:
        """For `/metrics`: the service's, and those of what is around it."""
        behind = self.journal.behind if self.journal is not None else 0
        return {
            **self.service.figures(),
            "certificate_ends_timestamp_seconds": float(self.certificate.ends_s),
            "journal_behind": float(behind),
        }

    @property
    def address(self) -> tuple[str, int]:
        """Where the first listener listens."""
        return self.listeners[0].address

    async def start(self, *, ticking: bool = True) -> None:
        """Serve. With `ticking` False the caller calls `tick` (tests with a clock of their own)."""
        self.service.start()
        for on in self._addresses:
            listener = self._listener(on)
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
        if self._clock.monotonic_s() >= self._next_look_s:
            self._next_look_s = self._clock.monotonic_s() + limits.CERTIFICATE_LOOK_INTERVAL_S
            if self._tls_files.have_settled_anew():
                self.reload_certificate()
        if self.journal is not None and self.journal.behind:
            self.journal.retry()
        for listener in self.listeners:
            listener.sweep(self._clock)

    def reload_certificate(self) -> None:
        """Use what the files of the certificate hold now, for new connections; where it is no good, what was before."""
        try:
            loaded = self._tls_files.load()
        except (OSError, ssl.SSLError, ValueError) as error:
            log.error(
                "certificate_not_reloaded",
                instance=self.name,
                file=str(self._tls_files.certificate),
                error=str(error),
                mend="the one before is still used; put a certificate and its own key there",
            )
            return
        before, self.certificate = self.certificate, loaded
        for on, listener in zip(self._addresses, self.listeners, strict=True):
            if on.tls:
                listener.use(loaded.context, self._spki_hashes(on))
        log.info("certificate_reloaded", instance=self.name, fingerprint=loaded.pin, ends_s=loaded.ends_s)
        if loaded.pin != before.pin:
            if self._self_signed:
                log.warning(
                    "certificate_key_changed",
                    instance=self.name,
                    mend="clients have pinned the key before: give them the new fingerprint, or put the old key back",
                )
            for heard in self.pin_changed:
                heard(loaded.pin)

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
        if self.journal is not None:
            await asyncio.to_thread(self.journal.close)
        await asyncio.gather(*(listener.close(grace_s) for listener in self.listeners))
        self.listeners = []

    def _spki_hashes(self, on: ListenOn) -> tuple[bytes, ...]:
        """Of the certificates that clients may see at this address."""
        if on.tls:
            return (self.certificate.spki, *self._proxy_spki_hashes)
        return self._proxy_spki_hashes or (NO_TLS,)  # else nobody ends TLS in front of it: there is none

    def _listener(self, on: ListenOn) -> TcpListener | WebSocketListener:
        spki_hashes = self._spki_hashes(on)
        own = self.certificate.context if on.tls else None
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

    def _report(self, event: str, fields: dict[str, object]) -> None:
        """From any thread."""
        log.error(event, instance=self.name, **fields)

    def _certificate_paths(self, certificate: Path | None, key: Path | None, title: str) -> tuple[Path, Path]:
        if certificate is not None and key is not None:
            return certificate, key
        try:
            return ensure_self_signed(self._folder, title)
        except ValueError:
            raise StartFailed(
                f"{self._folder / 'tls.key'} is no key, and tls.crt is missing: restore both from the backup, or "
                "remove the key, and clients must be given a new fingerprint"
            ) from None

    def _loaded_certificate(self) -> Certificate:
        files = self._tls_files
        try:
            return files.load()
        except (OSError, ssl.SSLError, ValueError) as error:
            raise StartFailed(
                f"instance {self.name} cannot use its certificate {files.certificate} with the key {files.key}: {error}"
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
