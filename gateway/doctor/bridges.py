# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bridges: their folders and databases, whether they answer, and what they themselves want looked at (C2)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bridges.smtp.control.door import BridgeDoor, BridgeRefused
from bridges.smtp.control.models import Status
from bridges.smtp.control.socket import SOCKET_NAME, SocketDoor
from gateway.control import SOCKET_NAME as GATEWAYS_SOCKET
from gateway.control import control_client
from gateway.doctor.databases import integrity
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.settings import Settings, SmtpBridge
from tmtp_core.errors import RequestRefused, ServiceUnavailable

_DATABASE: Final = "bridge.sqlite3"
_KEY: Final = "device.key"
_BY: Final = "doctor"


def examine_bridges(settings: Settings, *, running: bool) -> Iterator[Finding]:
    """Each bridge of the settings file. `running`: whether the gateway does."""
    for bridge in settings.bridges.smtp:
        about = f"bridge {bridge.name}"
        folder = settings.data_dir / "bridges" / bridge.name
        if not (folder / _KEY).exists():
            yield warn(about, "it has no key yet", "start the gateway once: tmtp-gateway serve")
            continue
        if (folder / _DATABASE).exists():
            yield from integrity(about, folder / _DATABASE)
        if bridge.process == "own":
            yield from _own_process(about, settings, bridge, folder)
        elif running:
            yield from _asked(about, settings, bridge)


def _own_process(about: str, settings: Settings, bridge: SmtpBridge, folder: Path) -> Iterator[Finding]:
    start = f"tmtp-gateway bridge smtp -c {settings.source} --name {bridge.name}"
    door: BridgeDoor = SocketDoor(folder / SOCKET_NAME, start)
    try:
        status = asyncio.run(door.perform("status", {}, None, _BY))
    except BridgeRefused:
        yield warn(about, "its process does not answer here", f"{start}; or look on the machine that it runs on")
        return
    yield from _told(about, status, settings)


def _asked(about: str, settings: Settings, bridge: SmtpBridge) -> Iterator[Finding]:
    async def ask() -> Status | None:
        async with control_client(settings.data_dir / GATEWAYS_SOCKET) as client:
            answer = await client.perform("smtp.status", {"bridge": bridge.name}) if client is not None else None
        return answer if isinstance(answer, Status) else None

    try:
        status = asyncio.run(ask())
    except (RequestRefused, ServiceUnavailable) as error:
        yield fail(about, str(error), "look at the gateway's log, and start it again")
        return
    if status is not None:  # else the gateway does not answer, which is said elsewhere
        yield from _told(about, status, settings)


def _told(about: str, status: Status, settings: Settings) -> Iterator[Finding]:
    """What it says of itself."""
    for line in status.attention:
        yield warn(about, line, f"tmtp-gateway smtp status -c {settings.source} --name {status.name}")
    if not status.attention:
        yield ok(about, f"it runs, with {status.senders_active} vetted senders; {status.held} mails are held")
