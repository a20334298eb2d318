# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a provider says that it has ended somebody's sign-in (OpenID Connect Back-Channel Logout 1.0 §2.5 to §2.8).

`POST /sign-in/INSTANCE/logout`, a form with `logout_token`. It is answered when what follows is durable.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from gateway.bodies import BodyRefused, fields_of
from gateway.sign_in.tokens import TokenRefused
from gateway.sign_in.vouching import Vouching
from tmtp_core import limits
from tmtp_core.domain.sign_in import SignedOut
from tmtp_core.errors import ServiceUnavailable

SignOut = Callable[[SignedOut], Awaitable[bool]]

PATH: Final = "/sign-in/{instance}/logout"
_NOT_KEPT: Final = {"Cache-Control": "no-store"}


def logout_routes(instances: Mapping[str, tuple[Vouching, SignOut]]) -> list[web.RouteDef]:
    """The endpoint, for the instances that have a provider: who verifies its words, and who acts on them."""

    async def handler(request: web.Request) -> web.Response:
        found = instances.get(request.match_info["instance"])
        if found is None:
            return web.Response(status=404, headers=_NOT_KEPT)
        vouching, sign_out = found
        try:
            form = await fields_of(request, limits.SIGN_OUT_MAX_BYTES)
            (token,) = form.get("logout_token", [""])[:1]
            await sign_out(await vouching.signed_out(token))
        except BodyRefused as refused:
            error = {"error": "invalid_request", "error_description": str(refused)}
            return web.json_response(error, status=refused.status, headers=_NOT_KEPT)
        except TokenRefused:
            return web.json_response({"error": "invalid_request"}, status=400, headers=_NOT_KEPT)
        except ServiceUnavailable:
            return web.json_response({"error": "temporarily_unavailable"}, status=503, headers=_NOT_KEPT)
        return web.Response(status=200, headers=_NOT_KEPT)

    return [web.post(PATH, handler)]
