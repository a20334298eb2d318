# SPDX-License-Identifier: AGPL-3.0-or-later
"""The control socket: `Administration` over HTTP and JSON on a Unix socket that only its owner may open."""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import web

from gateway.administration import Act, Administration, NewInvitation
from gateway.instance import StartFailed
from gateway.listeners.local_http import LocalHttp
from tmtp_core.domain.administration import AccountSummary, DeviceSummary, InvitationSummary
from tmtp_core.errors import RequestRefused, ServiceUnavailable

SOCKET_NAME: Final = "control.sock"
_SOCKET_PATH_MAX_BYTES: Final = 107  # sun_path, with its final zero
_BODY_MAX_BYTES: Final = 64 << 10
_TIMEOUT_S: Final = 60.0


class _CreateInvitation(msgspec.Struct, forbid_unknown_fields=True):
    uses: int
    expires_ms: int | None
    note: str


class _Administer(msgspec.Struct, forbid_unknown_fields=True):
    who: str


class _GiveAlias(msgspec.Struct, forbid_unknown_fields=True):
    who: str
    alias: str


class _FoundGroup(msgspec.Struct, forbid_unknown_fields=True):
    gid: str
    who: str


class _BarDevice(msgspec.Struct, forbid_unknown_fields=True):
    who: str
    device: int


class _RevokeInvitation(msgspec.Struct, forbid_unknown_fields=True):
    invitation: int


class ControlServer:
    """Listens on `socket_path` until `stop`. Raises `StartFailed` when the path is too long for a socket."""

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
        self._path.unlink(missing_ok=True)
        app = web.Application(client_max_size=_BODY_MAX_BYTES)
        app.router.add_post("/instances/{instance}/invitations", _answering(self._create_invitation))
        app.router.add_get("/instances/{instance}/accounts", _answering(self._list_accounts))
        app.router.add_post("/instances/{instance}/accounts/{act:bar|unbar|remove}", _answering(self._administer))
        app.router.add_post("/instances/{instance}/accounts/reset", _answering(self._reset_account))
        app.router.add_post("/instances/{instance}/accounts/alias", _answering(self._give_alias))
        app.router.add_post("/instances/{instance}/groups", _answering(self._found_group))
        app.router.add_post("/instances/{instance}/devices", _answering(self._list_devices))
        app.router.add_post("/instances/{instance}/devices/bar", _answering(self._bar_device))
        app.router.add_get("/instances/{instance}/invitations", _answering(self._list_invitations))
        app.router.add_post("/instances/{instance}/invitations/revoke", _answering(self._revoke_invitation))
        self._server = LocalHttp(app)
        before = os.umask(0o177)
        try:
            await self._server.listen_at(self._path)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            await self._server.stop()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _create_invitation(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_CreateInvitation)
        return await self._administration.create_invitation(
            request.match_info["instance"], wanted.uses, wanted.expires_ms, wanted.note
        )

    async def _list_accounts(self, request: web.Request) -> Any:
        return await self._administration.list_accounts(request.match_info["instance"])

    async def _administer(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_Administer)
        act: Any = request.match_info["act"]
        return await self._administration.administer(request.match_info["instance"], act, wanted.who)

    async def _reset_account(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_Administer)
        return await self._administration.reset_account(request.match_info["instance"], wanted.who)

    async def _give_alias(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_GiveAlias)
        return await self._administration.give_alias(request.match_info["instance"], wanted.who, wanted.alias)

    async def _found_group(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_FoundGroup)
        return await self._administration.found_group(request.match_info["instance"], wanted.gid, wanted.who)

    async def _list_devices(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_Administer)
        return await self._administration.list_devices(request.match_info["instance"], wanted.who)

    async def _bar_device(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_BarDevice)
        return await self._administration.bar_device(request.match_info["instance"], wanted.who, wanted.device)

    async def _list_invitations(self, request: web.Request) -> Any:
        return await self._administration.list_invitations(request.match_info["instance"])

    async def _revoke_invitation(self, request: web.Request) -> Any:
        wanted = msgspec.json.decode(await request.read(), type=_RevokeInvitation)
        await self._administration.revoke_invitation(request.match_info["instance"], wanted.invitation)
        return None


def _answering(act: Callable[[web.Request], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that answers with JSON: 200 the result, 409 a refusal, 400 a request that makes no sense."""

    async def handler(request: web.Request) -> web.Response:
        try:
            body, status = msgspec.json.encode(await act(request)), 200
        except RequestRefused as refusal:
            body, status = msgspec.json.encode({"error": refusal.text}), 409
        except ServiceUnavailable as error:
            body, status = msgspec.json.encode({"error": str(error)}), 503
        except msgspec.DecodeError as error:
            body, status = msgspec.json.encode({"error": str(error)}), 400
        return web.Response(body=body, status=status, content_type="application/json")

    return handler


class ControlClient:
    """Implements `Administration` by asking the gateway that serves the socket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def create_invitation(self, instance: str, uses: int, expires_ms: int | None, note: str) -> NewInvitation:
        """See `Administration`."""
        body = {"uses": uses, "expires_ms": expires_ms, "note": note}
        return msgspec.convert(await self._call("POST", instance, "invitations", body), NewInvitation)

    async def list_accounts(self, instance: str) -> list[AccountSummary]:
        """See `Administration`."""
        return msgspec.convert(await self._call("GET", instance, "accounts", None), list[AccountSummary])

    async def administer(self, instance: str, act: Act, who: str) -> AccountSummary:
        """See `Administration`."""
        return msgspec.convert(await self._call("POST", instance, f"accounts/{act}", {"who": who}), AccountSummary)

    async def reset_account(self, instance: str, who: str) -> NewInvitation:
        """See `Administration`."""
        return msgspec.convert(await self._call("POST", instance, "accounts/reset", {"who": who}), NewInvitation)

    async def give_alias(self, instance: str, who: str, alias: str) -> AccountSummary:
        """See `Administration`."""
        body = {"who": who, "alias": alias}
        return msgspec.convert(await self._call("POST", instance, "accounts/alias", body), AccountSummary)

    async def found_group(self, instance: str, gid: str, who: str) -> AccountSummary:
        """See `Administration`."""
        body = {"gid": gid, "who": who}
        return msgspec.convert(await self._call("POST", instance, "groups", body), AccountSummary)

    async def list_devices(self, instance: str, who: str) -> list[DeviceSummary]:
        """See `Administration`."""
        return msgspec.convert(await self._call("POST", instance, "devices", {"who": who}), list[DeviceSummary])

    async def bar_device(self, instance: str, who: str, device: int) -> AccountSummary:
        """See `Administration`."""
        body = {"who": who, "device": device}
        return msgspec.convert(await self._call("POST", instance, "devices/bar", body), AccountSummary)

    async def list_invitations(self, instance: str) -> list[InvitationSummary]:
        """See `Administration`."""
        return msgspec.convert(await self._call("GET", instance, "invitations", None), list[InvitationSummary])

    async def revoke_invitation(self, instance: str, invitation: int) -> None:
        """See `Administration`."""
        await self._call("POST", instance, "invitations/revoke", {"invitation": invitation})

    async def _call(self, method: str, instance: str, what: str, body: dict[str, Any] | None) -> Any:
        url = f"http://control/instances/{quote(instance, safe='')}/{what}"
        async with self._session.request(method, url, json=body) as answer:
            if answer.content_type != "application/json":
                raise ServiceUnavailable(
                    f"the running gateway answered with {answer.status}; it may be of another release: restart it"
                )
            decoded = msgspec.json.decode(await answer.read())
            if answer.status != 200:
                raise RequestRefused(decoded["error"])
            return decoded


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
