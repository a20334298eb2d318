# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway bridge smtp`: one intake, in a process of its own, until told to stop (C2).

It has its folder, and nothing else of the gateway's: no instance's data, no administrators' database.
"""

import asyncio
import contextlib
import os
import signal

import structlog

from bridges.smtp.control.socket import SOCKET_NAME, ControlSocket
from bridges.smtp.intake import SmtpIntake
from gateway.bridge_folder import BridgeFolder, ServicePlace
from gateway.bridges import endpoint_of, started_intake
from gateway.cli.serving import secure_descriptors, tell_alive
from gateway.clock import SystemClock
from gateway.instance import StartFailed
from gateway.logs import configure_logs
from gateway.renewing import Renewing
from gateway.settings import Settings, SmtpBridge
from gateway.supervision import Supervisor
from tmtp_core import limits

log = structlog.get_logger()


async def serve_bridge_until_told(settings: Settings, bridge: SmtpBridge, folder: BridgeFolder) -> None:
    """Start it, wait for SIGTERM or SIGINT, stop it. Raises `StartFailed`."""
    configure_logs(settings.log.level, settings.log.format)
    supervisor = Supervisor.from_environment(os.environ)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    hangup = asyncio.Event()  # taken from the first moment: by default this signal ends a process
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    secure_descriptors(limits.DESCRIPTORS_FOR_FILES + bridge.limits.connections_max)
    keys, place = await asyncio.to_thread(lambda: (folder.keys(), folder.service()))
    intake = await started_intake(bridge, folder, place, keys, SystemClock(), os.urandom)
    renewing, control = Renewing(), ControlSocket(intake.desk, folder.path / SOCKET_NAME)
    look = asyncio.Event()
    background: list[asyncio.Task[None]] = []
    try:
        try:
            await control.start()
        except OSError as error:
            raise StartFailed(f"bridge {bridge.name} cannot be administered: {error.strerror or error}") from None
        renewing.add(f"bridge {bridge.name}", *intake.certificate, intake.reload_certificate)

        def look_again() -> None:
            renewing.reload()
            look.set()

        loop.add_signal_handler(signal.SIGHUP, look_again)
        if hangup.is_set():
            look_again()
        log.info("ready", bridge=bridge.name, control=str(folder.path / SOCKET_NAME))
        supervisor.ready(f"bridge {bridge.name}")
        background = [
            loop.create_task(tell_alive(supervisor)),
            loop.create_task(_follow(bridge.name, intake, folder, place, look)),
        ]
        await told.wait()
    finally:
        log.info("stopping")
        supervisor.stopping()
        renewing.stop()
        for task in background:
            task.cancel()
        await control.stop()
        await intake.stop(limits.STOP_GRACE_S)
    log.info("stopped")


async def _follow(
    name: str, intake: SmtpIntake, folder: BridgeFolder, place: ServicePlace, look: asyncio.Event
) -> None:
    """Find the service where the gateway says that it is, for ever: its certificate may get another key.

    `look`: at once.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.CERTIFICATE_LOOK_INTERVAL_S):
                await look.wait()
        look.clear()
        try:
            now = await asyncio.to_thread(folder.service)
        except StartFailed as failed:
            log.warning("bridge_service_unknown", bridge=name, error=str(failed))
            continue
        if now == place:
            continue
        if (now.uid, now.service_key) != (place.uid, place.service_key):
            log.error("bridge_of_another_service", bridge=name, mend="start this process again")
        intake.follow(endpoint_of(now))
        place = now
        log.info("bridge_service_moved", bridge=name, host=now.host, port=now.port, fingerprint=now.pin)
