# SPDX-License-Identifier: AGPL-3.0-or-later
"""The authorization code flow, for pages of the gateway itself: PKCE, state and nonce always (RFC 9700 §2.1).

Between `begin` and `finish` the person is at the provider; what `begin` returned is kept meanwhile where only this
browser's session finds it, and for one `finish`.
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import urlencode

import aiohttp

from gateway.sign_in import bounds
from gateway.sign_in.fetching import ProviderUnavailable
from gateway.sign_in.provider import Provider
from gateway.sign_in.tokens import Claims, GroupRule, TokenRefused
from tmtp_core.crypto.encoding import to_text
from tmtp_core.ids import RandomBytes


@dataclass(frozen=True, slots=True)
class Begun:
    """One person's way to the provider: `url` is where to send the browser; the rest is nobody else's business."""

    url: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class CodeFlow:
    """Asks who somebody is. `redirect_uri` is one that the provider was told of; `secret`: if it gave one."""

    def __init__(
        self,
        provider: Provider,
        redirect_uri: str,
        random_bytes: RandomBytes,
        *,
        secret: str | None = None,
        groups: GroupRule | None = None,
    ) -> None:
        self._provider = provider
        self._redirect_uri = redirect_uri
        self._random_bytes = random_bytes
        self._secret = secret
        self._groups = groups

    async def begin(self) -> Begun:
        """Send the browser to `url`. Raises `ServiceUnavailable` while the provider is away."""
        await self._provider.token_endpoint()
        endpoints, settings = self._provider.endpoints, self._provider.settings
        assert endpoints is not None
        state, nonce = (to_text(self._random_bytes(bounds.STATE_BYTES)) for _ in range(2))
        verifier = to_text(self._random_bytes(bounds.VERIFIER_BYTES))
        asked = {
            **settings.login_parameters,
            "client_id": settings.client_id,
            "response_type": "code",
            "scope": " ".join(settings.scopes),
            "redirect_uri": self._redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in endpoints.login else "?"
        return Begun(f"{endpoints.login}{joint}{urlencode(asked)}", state, nonce, verifier)

    async def finish(self, begun: Begun, *, code: str, state: str, issuer: str | None = None) -> Claims:
        """Who came back with this code and state; `issuer` is the parameter `iss`, where there was one (RFC 9207).

        Raises `TokenRefused`, or `ServiceUnavailable` while the provider is away.
        """
        provider = self._provider
        if not hmac.compare_digest(begun.state.encode(), state.encode()):
            raise TokenRefused("not the state")
        if issuer is not None and issuer != provider.settings.issuer:
            raise TokenRefused("another issuer")
        token = await self._changed(code, begun.verifier)
        return await provider.identified(
            token, lambda nonce: hmac.compare_digest(nonce.encode(), begun.nonce.encode()), self._groups
        )

    async def _changed(self, code: str, verifier: str) -> object:
        """The ID token for a code."""
        settings = self._provider.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if self._secret is None:
            form["client_id"] = settings.client_id
        else:
            auth = aiohttp.BasicAuth(settings.client_id, self._secret)
        answer = await self._provider.fetch(await self._provider.token_endpoint(), form, auth)
        if not isinstance(answer, dict):
            raise ProviderUnavailable("its token endpoint answers with no token")
        return answer.get("id_token")


def code_challenge(verifier: str) -> str:
    """RFC 7636 §4.2."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
