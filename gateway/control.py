# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control socket: the API on a Unix socket that only its owner may open, who may do everything (C1)."""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from gateway.administration import BY_NAME, Administration, Answer
from gateway.api import API, Api, OwnersSocket, Problem
from gateway.api.problems import MEDIA_TYPE, NO_SUCH_PATH, error_of
from gateway.instance import StartFailed
from gateway.listeners.local_http import LocalHttp
from tmtp_core.errors import ServiceUnavailable

SOCKET_NAME: Final = "control.sock"
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path, with its final zero
_TIMEOUT_S: Final = 60.0


class ControlServer:
    """Listens on `socket_path` until `stop`. Raises `StartFailed` when there can be no socket at this path."""

    def __init__(self, administration: Administration, socket_path: Path) -> None:
        self._administration = administration
        self._path = socket_path
        self._server: LocalHttp | None = None

    async def start(self) -> None:
        """Listen; a socket that a dead process left is replaced (the caller holds the data folder's lock)."""
        if len(os.fsencode(self._path)) > _SOCKET_PATH_MAX_BYTES:
            most = _SOCKET_PATH_MAX_BYTES
            raise StartFailed(
                f"{self._path} is too long for a socket ({most} bytes at most); choose a shorter data_dir"
            )
        server = LocalHttp(Api(self._administration, OwnersSocket()).application())
        try:
            self._path.unlink(missing_ok=True)
            await server.listen_at(self._path)
        except OSError as error:
            await server.stop()
            raise StartFailed(f"the control socket {self._path} cannot be made: {error.strerror}") from None
        self._server = server

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            await self._server.stop()
            self._server = None
            self._path.unlink(missing_ok=True)


class ControlClient:
    """Implements `gateway.administration.Performs` by asking the gateway that serves the socket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def perform(
        self, operation: str, arguments: Mapping[str, object], body: msgspec.Struct | None = None
    ) -> Answer:
        """See `Performs`."""
        known = BY_NAME[operation]
        path, query = known.url(arguments)
        raw = await self._call(known.method, path, query, body)
        wanted: Any = list[known.answer] if known.many else known.answer  # type: ignore[name-defined]
        answer: Answer = msgspec.json.decode(raw, type=wanted)
        return answer

    async def _call(self, method: str, path: str, query: dict[str, str], body: msgspec.Struct | None) -> bytes:
        sent = msgspec.json.encode(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if body is not None else None
        url = f"http://control{API}{path}"
        async with self._session.request(method, url, params=query, data=sent, headers=headers) as answer:
            raw = await answer.read()
            if answer.status == 200 and answer.content_type == "application/json":
                return raw
            problem = msgspec.json.decode(raw, type=Problem) if answer.content_type == MEDIA_TYPE else None
            if problem is None or problem.kind == NO_SUCH_PATH.name:
                raise ServiceUnavailable(
                    f"the running gateway answered with {answer.status}; it may be of another release: restart it"
                )
            raise error_of(problem)


@asynccontextmanager
async def control_client(socket_path: Path) -> AsyncIterator[ControlClient | None]:
    """A client for the gateway behind a socket, or None when none answers there."""
    connector = aiohttp.UnixConnector(str(socket_path))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        alive = False
        with contextlib.suppress(aiohttp.ClientConnectorError):
            async with session.get("http://control/"):
                alive = True
        yield ControlClient(session) if alive else None
