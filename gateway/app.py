# SPDX-License-Identifier: AGPL-3.0-or-later
"""The composition root: settings in, running services out. The only place that imports everything."""

import asyncio
import fcntl
import os
import socket
from pathlib import Path

import structlog

from bridges.smtp.intake import SmtpIntake
from bridges.smtp.proof.prover import Trust
from bridges.smtp.rules import IntakeLimits, IntakeSettings, Route
from gateway.administration import LocalAdministration, reachable_host
from gateway.bridges import bridge_certificate, door, networks, sender_rule
from gateway.certificates import pin_hash
from gateway.control import SOCKET_NAME, ControlServer
from gateway.files import write_private
from gateway.instance import ListenOn, RunningInstance, StartFailed
from gateway.listeners.http import HttpListener
from gateway.listeners.tcp import TcpListener
from gateway.pictures import PictureRefused
from gateway.settings import Address, Instance, Listen, Settings, SmtpBridge
from gateway.skin import encoded
from tmtp_client.connection import AccountKeys, DeviceKeys, Endpoint, KeyLogin
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.crypto.signing import SEED_BYTES
from tmtp_core.domain.admission import Registration
from tmtp_core.domain.device_log import Signed
from tmtp_core.domain.policy import Acquaintance, Policy, Quotas
from tmtp_core.domain.quotas import DAY_MS
from tmtp_core.errors import RequestRefused, TmtpError
from tmtp_core.ids import RandomBytes
from tmtp_core.store.database import is_disk_trouble
from tmtp_core.store.folders import make_folder
from tmtp_core.store.opening import Bucket
from tmtp_core.store.trouble import database_errors
from tmtp_core.wire.address import ServiceAddress

log = structlog.get_logger()


class DataFolderInUse(StartFailed):
    """A gateway runs on this data folder already."""


class Gateway:
    """All instances and bridges of one settings file. `start` and `stop` once each; `StartFailed` says what to mend.

    `listening` False opens the instances for administration only: no listener, no bridge, no socket. `process`: 1, or
    the number of a further process on the same machine and settings, whose instances all are on PostgreSQL; it has no
    bridges and no control socket. `http`: where health and metrics of this process are, if not where the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        random_bytes: RandomBytes,
        *,
        process: int = 1,
        http: Address | None = None,
    ) -> None:
        self._settings = settings
        self._suffix = "" if process == 1 else f"-{process}"
        self._http_address = http or settings.http.listen
        self.first = process == 1
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock: int | None = None
        self._http: HttpListener | None = None
        self._control: ControlServer | None = None
        self.instances: dict[str, RunningInstance] = {}
        self.bridges: dict[str, SmtpIntake] = {}

    async def start(self, *, listening: bool = True) -> None:
        """Start everything, or nothing: whatever was started is stopped again before `StartFailed` leaves."""
        try:
            self._own_data_folder()
            for instance in self._settings.instances:
                await self._start_instance(instance, listening=listening)
            if listening:
                await self._start_http()
                if self.first:
                    await self._start_control()
                for bridge in self._settings.bridges.smtp if self.first else ():
                    try:
                        await self._start_bridge(bridge)
                    except RequestRefused as refusal:  # the instances are not to stay away for that
                        log.error("bridge_not_started", bridge=bridge.name, reason=refusal.text)
        except BaseException:
            await self.stop(grace_s=0.0)
            raise

    async def stop(self, grace_s: float = limits.STOP_GRACE_S) -> None:
        """Stop accepting, finish what was begun, close; at most about `grace_s` seconds. Idempotent."""
        end_s = self._clock.monotonic_s() + grace_s
        await asyncio.gather(*(bridge.stop(grace_s / 2) for bridge in self.bridges.values()))
        self.bridges = {}
        left_s = max(0.0, end_s - self._clock.monotonic_s())
        await asyncio.gather(
            *(server.stop() for server in (self._control, self._http) if server is not None),
            *(instance.stop(left_s) for instance in self.instances.values()),
        )
        self.instances = {}
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def evicted(self) -> str:
        """The name of an instance whose other processes have taken this one for dead, once there is one."""
        waiting = {
            asyncio.ensure_future(instance.service.evicted.wait()): name for name, instance in self.instances.items()
        }
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return waiting[done.pop()]

    @property
    def descriptors_needed(self) -> int:
        """How many files and sockets there are when every instance is as full as its settings allow."""
        return limits.DESCRIPTORS_FOR_FILES + sum(
            one.limits.connections_max + len(one.listen) * limits.HANDSHAKES_MAX for one in self._settings.instances
        )

    @property
    def http_address(self) -> tuple[str, int]:
        """Where health and metrics are."""
        assert self._http is not None
        return self._http.address

    def administration(self) -> LocalAdministration:
        """What an administrator can do to these instances."""
        return LocalAdministration(self.instances, {name: self.client_address(name) for name in self.instances})

    def client_address(self, name: str) -> ServiceAddress:
        """Where clients find an instance, with the pin of a self-signed certificate."""
        settings = next(one for one in self._settings.instances if one.name == name)
        running = self.instances[name]
        listen = next((one.tls for one in settings.listen if one.tls is not None), None)
        host, port = (listen.host, listen.port) if listen is not None else ("127.0.0.1", 0)
        if running.listeners and not port:
            port = running.address[1]
        pin = running.spki_pin if settings.tls.certificate is None else None
        return ServiceAddress(reachable_host(host), port, pin)

    # -- pieces ------------------------------------------------------------------------------------------------------
    def _own_data_folder(self) -> None:
        folder = self._settings.data_dir
        try:
            make_folder(folder)
            self._lock = os.open(folder / f"lock{self._suffix}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartFailed(f"data_dir {folder} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            mend = "stop it first, or use another data_dir" if self.first else "give this one another number"
            raise DataFolderInUse(f"a gateway{self._suffix} runs on {folder} already; {mend}") from None

    async def _start_instance(self, settings: Instance, *, listening: bool) -> None:
        try:
            skin = await asyncio.to_thread(encoded, settings.skin)
        except PictureRefused as refused:
            raise StartFailed(f"instance {settings.name} cannot show its {refused.purpose}: {refused}") from None
        try:
            running = RunningInstance(
                name=settings.name,
                title=settings.announced_title,
                folder=self._settings.data_dir / "instances" / settings.name,
                registration=Registration(settings.registration),
                addresses=[_listen_on(one) for one in settings.listen] if listening else [],
                clock=self._clock,
                random_bytes=self._random_bytes,
                instance_limits=limits.InstanceLimits(
                    message_max_bytes=settings.limits.message_max_bytes,
                    window_revision1=settings.limits.window_revision1,
                    window_revision2=settings.limits.window_revision2,
                    connections_max=settings.limits.connections_max,
                ),
                certificate=settings.tls.certificate,
                key=settings.tls.key,
                policy=_policy(settings),
                skin=skin,
                proxy_spki_hashes=tuple(pin_hash(pin) for pin in settings.tls.proxy_pins),
                database=settings.database,
                bucket=_bucket(settings),
            )
        except (OSError, TmtpError) as error:
            raise StartFailed(f"instance {settings.name} cannot open its data: {error}") from None
        except database_errors() as error:
            mend = "make room on its disk, or mend the disk, and start again"
            raise StartFailed(
                f"instance {settings.name} cannot read its database: {str(error).splitlines()[0]}; "
                + (mend if is_disk_trouble(error) else "restore the backup")
            ) from None
        self.instances[settings.name] = running
        await running.start(ticking=listening)
        for listener in running.listeners:
            host, port = listener.address
            log.info("listening", instance=settings.name, address=f"{host}:{port}", fingerprint=running.spki_pin)

    async def _start_http(self) -> None:
        address = self._http_address
        services = {name: instance.service for name, instance in self.instances.items()}
        self._http = HttpListener(services, address.host, address.port)
        try:
            await self._http.start()
        except OSError as error:
            raise StartFailed(f"http cannot listen on {address}: {error.strerror}; choose another address") from None

    async def _start_control(self) -> None:
        self._control = ControlServer(self.administration(), self._settings.data_dir / SOCKET_NAME)
        await self._control.start()

    async def _start_bridge(self, bridge: SmtpBridge) -> None:
        instance = self.instances[bridge.instance]
        credentials = self._settings.data_dir / "bridges" / f"{bridge.name}.key"
        login = await self._bridge_account(bridge, instance, credentials)
        host, port = next(
            listener.address for listener in instance.listeners if isinstance(listener, TcpListener) and listener.tls
        )
        folder = self._settings.data_dir / "bridges" / bridge.name
        certificate = await asyncio.to_thread(bridge_certificate, bridge, folder)
        intake = SmtpIntake(
            IntakeSettings(
                name=bridge.name,
                doors=tuple(door(one) for one in bridge.listen),
                hostname=bridge.hostname or socket.getfqdn(),
                senders=tuple(sender_rule(one) for one in bridge.senders),
                routes=tuple(
                    Route(one.recipient, one.active_attachments == "allow", one.original == "attach")
                    for one in bridge.routes
                ),
                endpoint=Endpoint(_dialable(host), port, instance.spki_pin),
                login=login,
                spool=folder / "spool",
                database=folder / "bridge.sqlite3",
                certificate=certificate,
                trust=Trust(
                    frozenset(sealer.lower() for sealer in bridge.arc_sealers), bridge.upstream.authserv_id or ""
                ),
                upstream=networks(bridge.upstream.addresses),
                proxies=networks(bridge.proxies),
                nameservers=tuple((one.host, one.port) for one in bridge.nameservers),
                limits=IntakeLimits(**bridge.limits.model_dump()),
            ),
            self._clock,
            self._random_bytes,
        )
        try:
            await intake.start()
        except OSError as error:
            raise StartFailed(
                f"bridge {bridge.name} cannot listen: {error.strerror or error}; choose another address or certificate"
            ) from None
        self.bridges[bridge.name] = intake
        for opened, address in intake.addresses:
            log.info("listening", bridge=bridge.name, address=address, lmtp=opened.lmtp, tls=opened.tls)

    async def _bridge_account(self, bridge: SmtpBridge, instance: RunningInstance, path: Path) -> KeyLogin:
        """The bridge's account on its instance, with the role and the routes that the file gives it (C2).

        The bridge holds the key of its only device. The recovery key is forgotten at once: who runs the service
        can let a bridge begin anew, which happens here when its key file is gone. Raises `RequestRefused` where the
        service does not let it in: it was barred.
        """
        keys = self._bridge_keys(path)
        entry, sigs = keys.genesis(instance.service.identity.public_key)
        routes = {route.recipient: route.to for route in bridge.routes}
        uid = await instance.service.ensure_bridge(bridge.name, routes, Signed(entry, sigs))
        return KeyLogin(uid, keys.device.signer, instance.service.identity.public)

    def _bridge_keys(self, path: Path) -> AccountKeys:
        """The keys of a bridge's device, made at its first start."""
        make_folder(path.parent)
        if not path.exists():
            write_private(path, self._random_bytes(2 * SEED_BYTES))
        kept = path.read_bytes()
        if len(kept) != 2 * SEED_BYTES:
            raise StartFailed(f"{path} must hold {2 * SEED_BYTES} bytes, not {len(kept)}: remove it, or restore it")
        return AccountKeys(DeviceKeys(kept[:SEED_BYTES], kept[SEED_BYTES:]), self._random_bytes(SEED_BYTES))


def _listen_on(listen: Listen) -> ListenOn:
    """One entry of `listen`, which names exactly one address."""
    address = listen.address
    return ListenOn(
        address.host,
        address.port,
        tls=listen.tls is not None or listen.wss is not None,
        websocket=listen.wss is not None or listen.ws is not None,
        origins=frozenset(origin.lower() for origin in listen.origins),
    )


def _bucket(settings: Instance) -> Bucket | None:
    """Where the file says that an instance's large payloads are, if not in its folder."""
    if settings.payloads is None:
        return None
    s3 = settings.payloads.s3
    return Bucket(s3.endpoint, s3.bucket, s3.region, s3.prefix)


def _policy(settings: Instance) -> Policy:
    """The rules that the file gives an instance."""
    days = settings.delivery.return_after_days
    return Policy(
        members=settings.policy == "members",
        acquaintance=Acquaintance(settings.strictness),
        revision1=settings.revision1,
        owners_moderate=settings.groups.moderation == "owners",
        members_invite=settings.members_invite,
        directory=settings.has_directory,
        return_after_ms=days * DAY_MS if days else None,
        quotas=Quotas(**settings.quotas.model_dump()),
    )


def _dialable(host: str) -> str:
    """Where a listener on this machine answers."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
