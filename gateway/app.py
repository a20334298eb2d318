# SPDX-License-Identifier: AGPL-3.0-or-later
"""The composition root: settings in, running services out. The only place that imports everything."""

import asyncio
import fcntl
import os
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from aiohttp.web import RouteDef

from bridges.smtp.control.door import BridgeDoor, BridgeRefused
from bridges.smtp.control.socket import SocketDoor
from gateway.administration import DATABASE_FILE, Administration, AdministrationDatabase
from gateway.api import AdministrationListener, Api, BearerTokens
from gateway.backup.taking import tidy_up
from gateway.bridge_process import process_door
from gateway.certificates import pin_hash, server_context
from gateway.control import SOCKET_NAME, ControlServer
from gateway.core_settings import bucket_of, journal_of, listen_on, policy_of, registrations_of
from gateway.instance import RunningInstance, StartFailed
from gateway.listeners.http import HttpListener
from gateway.pictures import PictureRefused
from gateway.renewing import Renewing
from gateway.settings import Address, AdministrationSettings, Instance, Settings, SmtpBridge
from gateway.skin import encoded
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.domain.admission import Registration
from tmtp_core.errors import RequestRefused, TmtpError
from tmtp_core.ids import RandomBytes
from tmtp_core.store.database import is_disk_trouble
from tmtp_core.store.folders import make_folder
from tmtp_core.store.trouble import database_errors, error_text
from tmtp_core.wire.address import ServiceAddress

if TYPE_CHECKING:  # each takes some megabytes: loaded where there is a bridge, a console, a provider
    from bridges.smtp.intake import SmtpIntake
    from gateway.bridge_doors import EitherDoor
    from gateway.console import Console
    from gateway.console.provider import ByProvider
    from gateway.sign_in import Vouching

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
        self._own_name = ""
        self._lock: int | None = None
        self._http: HttpListener | None = None
        self._renewing = Renewing()
        self._control: ControlServer | None = None
        self._administration: Administration | None = None
        self._administration_listener: AdministrationListener | None = None
        self.console: Console | None = None
        self._by_provider: ByProvider | None = None
        self._vouching: dict[str, Vouching] = {}
        self.instances: dict[str, RunningInstance] = {}
        self.bridges: dict[str, SmtpIntake] = {}
        self._folder_doors: dict[str, EitherDoor] = {}
        self._listening = False

    async def start(self, *, listening: bool = True) -> None:
        """Start everything, or nothing: whatever was started is stopped again before `StartFailed` leaves."""
        self._listening = listening
        try:
            self._own_name = self._settings.host or ""
            if not self._own_name:
                self._own_name = await asyncio.to_thread(socket.getfqdn)  # it may ask the network, and take seconds
            self._own_data_folder()
            if self.first:
                tidy_up(self._settings.data_dir)
            for instance in self._settings.instances:
                await self._start_instance(instance, listening=listening)
            if self.first:
                await self._open_administration(listening=listening)
            if listening:
                await self._start_http()
                if self.first:
                    await self._start_control()
                    await self._start_administration_listener()
                if self.first:
                    await self._start_bridges()
        except BaseException:
            await self.stop(grace_s=0.0)
            raise

    async def stop(self, grace_s: float = limits.STOP_GRACE_S) -> None:
        """Stop accepting, finish what was begun, close; at most about `grace_s` seconds. Idempotent."""
        end_s = self._clock.monotonic_s() + grace_s
        self._renewing.stop()
        await asyncio.gather(*(bridge.stop(grace_s / 2) for bridge in self.bridges.values()))
        self.bridges = {}
        await asyncio.gather(*(door.close() for door in self._folder_doors.values()))
        self._folder_doors = {}
        left_s = max(0.0, end_s - self._clock.monotonic_s())
        await asyncio.gather(
            self._stop_servers(),
            *(instance.stop(left_s) for instance in self.instances.values()),
            *(vouching.provider.stop() for vouching in self._vouching.values()),
        )
        if self._by_provider is not None:
            await self._by_provider.provider.stop()
            self._by_provider = None
        self.instances = {}
        self._vouching = {}
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def reload_certificates(self) -> None:
        """New connections get what the certificates' files hold now (SIGHUP)."""
        for instance in self.instances.values():
            instance.reload_certificate()
        self._renewing.reload()

    async def _stop_servers(self) -> None:
        """First whoever asks, then what is asked: what became of acts under way is still written down."""
        servers = (self._control, self._http, self._administration_listener)
        await asyncio.gather(*(server.stop() for server in servers if server is not None))
        if self._administration is not None:
            await self._administration.stop()
            self._administration = None

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
        """See the function of this name."""
        return descriptors_needed(self._settings)

    @property
    def http_address(self) -> tuple[str, int]:
        """Where health and metrics are."""
        assert self._http is not None
        return self._http.address

    @property
    def administration(self) -> Administration:
        """What administrators can do to these instances; the first process has it."""
        assert self._administration is not None
        return self._administration

    @property
    def administration_address(self) -> tuple[str, int]:
        """Where the API is, if the settings want it anywhere."""
        assert self._administration_listener is not None
        return self._administration_listener.address

    def client_address(self, name: str) -> ServiceAddress:
        """Where clients find an instance, with the pin of a self-signed certificate, if that is what they see there."""
        settings = next(one for one in self._settings.instances if one.name == name)
        running = self.instances[name]
        pin = running.spki_pin if settings.tls.certificate is None else None
        if settings.reached_at is not None:
            by_proxy = settings.tls.proxy_pins or not any(one.tls or one.wss for one in settings.listen)
            return ServiceAddress(settings.reached_at.host, settings.reached_at.port, None if by_proxy else pin)
        listen = next((one.tls for one in settings.listen if one.tls is not None), None)
        host, port = (listen.host, listen.port) if listen is not None else ("127.0.0.1", 0)
        if running.listeners and not port:
            port = running.address[1]
        return ServiceAddress(self._reachable(host), port, pin)

    def _reachable(self, host: str) -> str:
        """A listening address as others would dial it: by the name in the settings, where others can dial it at all;
        without one, by this machine's where it listens everywhere.
        """
        if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not listened on
            return self._own_name
        return host if Address(host=host, port=0).loopback else self._settings.host or host

    def _bridge_door(self, name: str) -> BridgeDoor:
        """How administrators reach a bridge. Raises `BridgeRefused`."""
        if name in self.bridges:
            return self.bridges[name].desk
        bridge = next(one for one in self._settings.bridges.smtp if one.name == name)
        if self._listening:
            if bridge.process == "own":
                return self._process_of(name)
            raise BridgeRefused("away", f"the bridge {name} does not run; the gateway's log says why")
        if name not in self._folder_doors:
            from gateway.bridge_doors import EitherDoor, FolderDoor  # noqa: PLC0415 - see above
            from gateway.bridge_folder import BridgeFolder  # noqa: PLC0415 - see above

            folder = BridgeFolder.of(self._settings.data_dir, name)
            there = FolderDoor(bridge, folder, self._clock, self._random_bytes)
            self._folder_doors[name] = EitherDoor(self._process_of(name), there)
        return self._folder_doors[name]

    def _process_of(self, bridge: str) -> SocketDoor:
        return process_door(self._settings.source, bridge, self._settings.data_dir / "bridges" / bridge)

    async def _running_bridges(self) -> frozenset[str]:
        """The names of those that run, here or in processes of their own."""
        own = [one.name for one in self._settings.bridges.smtp if one.process == "own"]
        return frozenset({*self.bridges, *[name for name in own if await self._process_of(name).answers()]})

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
        vouching = self._vouching_for(settings)
        try:
            running = RunningInstance(
                name=settings.name,
                title=settings.announced_title,
                folder=self._settings.data_dir / "instances" / settings.name,
                registration=Registration(settings.registration),
                addresses=[listen_on(one) for one in settings.listen] if listening else [],
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
                policy=policy_of(settings),
                registrations=registrations_of(settings),
                sign_in=vouching.rule if vouching is not None else None,
                skin=skin,
                proxy_spki_hashes=tuple(pin_hash(pin) for pin in settings.tls.proxy_pins),
                database=settings.database,
                bucket=bucket_of(settings),
                journal=journal_of(self._settings.backup),
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
        if vouching is not None and listening:
            self._vouching[settings.name] = vouching
            await vouching.provider.start()
        await running.start(ticking=listening)
        for listener in running.listeners:
            host, port = listener.address
            log.info("listening", instance=settings.name, address=f"{host}:{port}", fingerprint=running.spki_pin)

    async def _start_http(self) -> None:
        address = self._http_address
        self._http = HttpListener(self.instances, address.host, address.port, self._sign_out_routes())
        try:
            await self._http.start()
        except OSError as error:
            raise StartFailed(f"http cannot listen on {address}: {error.strerror}; choose another address") from None

    async def _open_administration(self, *, listening: bool) -> None:
        folder = self._settings.data_dir
        try:
            self._administration = Administration(
                self._settings,
                self.instances,
                self.client_address,
                self._running_bridges,
                self._bridge_door,
                await asyncio.to_thread(AdministrationDatabase, folder),
                self._clock,
                self._random_bytes,
            )
            await self._administration.start(recording=listening)
        except TmtpError as error:
            raise _unusable(folder, str(error)) from None
        except database_errors() as error:
            raise _unusable(folder, error_text(error)) from None

    def _vouching_for(self, settings: Instance) -> "Vouching | None":
        """Who vouches for the people of an instance, if it asks somebody."""
        if settings.sign_in is None:
            return None
        from gateway.sign_in.opening import vouching_for  # noqa: PLC0415 - see above

        return vouching_for(settings.name, settings.sign_in, self._clock)

    def _sign_out_routes(self) -> list[RouteDef]:
        """Where providers say that they have signed somebody out."""
        if not self._vouching:
            return []
        from gateway.sign_in.logout import logout_routes  # noqa: PLC0415 - see above

        return logout_routes(
            {name: (one, self.instances[name].service.sign_out) for name, one in self._vouching.items()}
        )

    async def _start_bridges(self) -> None:
        for bridge in self._settings.bridges.smtp:
            try:
                await self._start_bridge(bridge)
            except RequestRefused as refusal:  # the instances are not to stay away for that
                log.error("bridge_not_started", bridge=bridge.name, reason=refusal.text)

    async def _start_bridge(self, bridge: SmtpBridge) -> None:
        from gateway.bridge_account import provided_folder  # noqa: PLC0415 - see above
        from gateway.bridge_folder import BridgeFolder  # noqa: PLC0415 - see above

        instance, folder = self.instances[bridge.instance], BridgeFolder.of(self._settings.data_dir, bridge.name)
        if bridge.process == "own":
            await provided_folder(bridge, instance, folder, self._random_bytes)
            return
        from gateway.bridges import opened_intake  # noqa: PLC0415 - see above

        opened = await opened_intake(bridge, instance, folder, self._clock, self._random_bytes)
        self.bridges[bridge.name] = opened
        self._renewing.add(f"bridge {bridge.name}", *opened.certificate, opened.reload_certificate)

    async def _start_control(self) -> None:
        self._control = ControlServer(self.administration, self._settings.data_dir / SOCKET_NAME)
        await self._control.start()

    async def _start_administration_listener(self) -> None:
        settings = self._settings.administration
        if settings.listen is None:
            return
        certificate, key = settings.tls.certificate, settings.tls.key
        context = None
        if certificate is not None and key is not None:
            context = server_context(certificate, key)
            self._renewing.add("administration", certificate, key, partial(context.load_cert_chain, certificate, key))
        gate = BearerTokens(self.administration.tokens, self._clock)
        app = Api(self.administration, gate, secure=context is not None).application()
        self._add_console(app, settings)
        listener = AdministrationListener(app, settings.listen.host, settings.listen.port, context)
        try:
            await listener.start()
        except OSError as error:
            raise StartFailed(
                f"administration cannot listen on {settings.listen}: {error.strerror}; choose another address"
            ) from None
        self._administration_listener = listener
        if self._by_provider is not None:
            await self._by_provider.provider.start()
        log.info("listening", administration="{}:{}".format(*listener.address), tls=context is not None)

    def _add_console(self, app: web.Application, settings: AdministrationSettings) -> None:
        assert settings.listen is not None
        from gateway.console import Console, site_of  # noqa: PLC0415 - see above

        if settings.sign_in is not None:
            from gateway.console.provider import ByProvider  # noqa: PLC0415 - see above

            secret = settings.sign_in.secret
            try:
                text = secret.read_text("utf-8").strip() if secret is not None else None
            except (OSError, ValueError) as error:
                raise StartFailed(f"administration cannot read the secret {secret}: {error}") from None
            self._by_provider = ByProvider(settings.sign_in, text, self._console_url, self._clock, self._random_bytes)
        self.console = Console(
            self.administration,
            {one.name: one.announced_title for one in self._settings.instances},
            site_of(settings.listen.host, settings.url, self._reachable(settings.listen.host)),
            self._console_url,
            self._clock,
            self._random_bytes,
            self._by_provider,
        )
        self.console.add_to(app)

    def _console_url(self) -> str:
        """Where the console is for browsers: under a name where there is one, for passkeys."""
        settings = self._settings.administration
        assert settings.listen is not None
        if settings.url is not None:
            return settings.url
        host = "localhost" if settings.listen.loopback else self._reachable(str(settings.listen).rpartition(":")[0])
        scheme = "http" if settings.tls.certificate is None else "https"
        return f"{scheme}://{Address(host=host, port=self.administration_address[1])}"


def descriptors_needed(settings: Settings) -> int:
    """How many files and sockets there are when every instance is as full as its settings allow."""
    administration = limits.API_CONNECTIONS_MAX + limits.HANDSHAKES_MAX if settings.administration.listen else 0
    instances = sum(one.limits.connections_max + len(one.listen) * limits.HANDSHAKES_MAX for one in settings.instances)
    return limits.DESCRIPTORS_FOR_FILES + instances + administration


def _unusable(folder: Path, why: str) -> StartFailed:
    return StartFailed(
        f"the administrators' database {folder / DATABASE_FILE} cannot be used: {why}; "
        "mend that, or restore it from the backup"
    )
