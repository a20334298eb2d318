# SPDX-License-Identifier: AGPL-3.0-or-later
"""An HTTP server for this machine: health and metrics, the control socket. Nobody's stop waits for its peers."""

import asyncio
import socket
from pathlib import Path

from aiohttp import web

from tmtp_core import limits


class LocalHttp:
    """Serves one application on one address or socket, until `stop`."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=limits.HTTP_STOP_GRACE_S)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, if that is an address."""
        host, port = self._runner.addresses[0][:2]
        return host, port

    async def listen(self, host: str, port: int) -> None:
        """Listen on an address. Raises OSError when it cannot be had."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def listen_at(self, path: Path) -> None:
        """Listen on a Unix socket, which its owner only can open. Raises OSError when it cannot be had."""
        await self._runner.setup()
        await web.SockSite(self._runner, _owners_socket(path)).start()

    async def stop(self) -> None:
        """Take no more, give requests that are being answered a moment, and drop whoever does not take his answer."""
        server = self._runner.server
        transports = [one.transport for one in server.connections if one.transport is not None] if server else []
        await self._runner.cleanup()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)  # they hear of it


def _owners_socket(path: Path) -> socket.socket:
    """A socket at a path. Its mode is set before it listens; a umask would be every other thread's as well."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError:
        bound.close()
        raise
    return bound
