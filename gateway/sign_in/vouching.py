# SPDX-License-Identifier: AGPL-3.0-or-later
"""A provider vouches for whoever registers at one instance, and says when it does no longer (A1)."""

from collections import Counter
from hashlib import blake2b
from typing import Any
from urllib.parse import urlencode

import structlog

from gateway.sign_in.provider import Provider
from gateway.sign_in.tokens import GroupRule, TokenRefused
from tmtp_core import limits
from tmtp_core.domain.port import Identity
from tmtp_core.domain.sign_in import AUTHENTICATION_REQUIRED, NonceRule, SignedIn, SignedOut, SignInRule
from tmtp_core.errors import LoginRefused
from tmtp_core.wire.messages import SignIn

log = structlog.get_logger()

_AGAIN_MS = (limits.SIGN_IN_AGE_MAX_S + 2 * limits.SIGN_IN_LEEWAY_S) * 1000


class Vouching:
    """One provider at one instance. `rule` is what the instance's service is given.

    `refused`: how many tokens failed each check.
    """

    def __init__(
        self,
        instance: str,
        provider: Provider,
        groups: GroupRule | None = None,
        *,
        required: bool = True,
        accounts_max: int = 1,
    ) -> None:
        self.provider = provider
        self.rule = SignInRule(self._announced, self._verify, required, accounts_max)
        self._instance = instance
        self.refused: Counter[str] = Counter()
        self._groups = groups

    async def signed_out(self, token: Any) -> SignedOut:
        """Whom a logout token of the provider concerns. Raises `TokenRefused` or `ServiceUnavailable`."""
        try:
            told = await self.provider.logged_out(token)
        except TokenRefused as refused:
            self._count("sign_out_refused", refused)
            raise
        once = _once("logout", told.issuer, told.token_id)
        until_ms = told.issued_s * 1000 + _AGAIN_MS
        return SignedOut(told.issuer, told.subject, told.session, told.issued_s, once, until_ms)

    def _announced(self, nonce: str | None) -> tuple[SignIn, ...]:
        """Where to sign in, as wire.md §10 writes it; nothing while the provider has never been heard of."""
        settings, endpoints = self.provider.settings, self.provider.endpoints
        if endpoints is None:
            return ()
        back = {"redirect_uri": settings.redirect_uri} if settings.redirect_uri else {}
        login = {
            **settings.login_parameters,
            "client_id": settings.client_id,
            "response_type": "code",
            "scope": " ".join(settings.scopes),
            **back,
            **({"nonce": nonce} if nonce is not None else {}),
        }
        token = {"client_id": settings.client_id, "grant_type": "authorization_code", **back}
        return (SignIn(settings.label, (endpoints.login, urlencode(login)), (endpoints.token, urlencode(token))),)

    async def _verify(self, oidc: dict[str, Any], nonce: NonceRule) -> SignedIn:
        """See `SignInRule`."""
        try:
            claims = await self.provider.identified(oidc.get("id_token"), nonce.is_right, self._groups)
        except TokenRefused as refused:
            self._count("sign_in_refused", refused)
            raise LoginRefused(AUTHENTICATION_REQUIRED) from None
        identity = Identity(claims.issuer, claims.subject, claims.session)
        once = _once("nonce", claims.issuer, claims.nonce) if nonce.for_one_token else claims.digest
        return SignedIn(identity, claims.issued_s, once, claims.issued_s * 1000 + _AGAIN_MS)

    def _count(self, event: str, refused: TokenRefused) -> None:
        """Whoever likes can bring tokens: the log says how many failed which check each time that they have doubled."""
        self.refused[str(refused)] += 1
        count = self.refused[str(refused)]
        if not count & (count - 1):
            log.info(event, instance=self._instance, reason=str(refused), count=count)


def _once(what: str, issuer: str, name: str) -> bytes:
    """By what something is known that is good once."""
    return blake2b(f"{what}\0{issuer}\0{name}".encode(), digest_size=32).digest()
