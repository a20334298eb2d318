# SPDX-License-Identifier: AGPL-3.0-or-later
"""One identity provider: where its endpoints are, and with which keys it signs now (OpenID Connect Discovery 1.0).

Both are asked for at start and every hour; a token that names a key which is not there has the keys asked for again, at
most once a minute. While the provider is away its keys are good for a day.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from joserfc.jwk import Key

from gateway.sign_in import bounds
from gateway.sign_in.fetching import ProviderUnavailable, fetch
from gateway.sign_in.tokens import (
    Claims,
    Expected,
    GroupRule,
    KeySet,
    LogoutClaims,
    TokenRefused,
    Unverified,
    id_claims,
    logout_claims,
    taken_apart,
    verified,
)
from gateway.urls import check_url
from tmtp_core.clock import Clock

log = structlog.get_logger()

_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What an administrator knows of a provider. `login_url`, `token_url`: in place of those that it names itself.

    `login_parameters`: besides those of the protocol. `redirect_uri`: where it sends people back, where all clients of
    this service have one and the same. `ca`: the authorities that may vouch for it, in place of the system's.
    """

    issuer: str
    client_id: str
    label: str
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    scopes: tuple[str, ...] = ("openid",)
    login_url: str | None = None
    token_url: str | None = None
    login_parameters: dict[str, str] = field(default_factory=dict)
    redirect_uri: str | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider lets people sign in, where it changes codes for tokens, and where its keys are."""

    login: str
    token: str
    keys: str


class Provider:
    """`start` it, and `await stop()`. What it knows can be asked for at any time in between."""

    def __init__(self, settings: ProviderSettings, clock: Clock) -> None:
        self.settings = settings
        self.expected = Expected(settings.issuer, settings.client_id, settings.algorithms)
        self.endpoints: Endpoints | None = None
        self._clock = clock
        self._keys: KeySet | None = None
        self._asking = asyncio.Lock()
        self._asked_s = float("-inf")
        self._answered_s = float("-inf")
        self._failed = ""
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def now_s(self) -> int:
        """Seconds since 1970."""
        return self._clock.wall_ns() // 1_000_000_000

    async def start(self) -> None:
        """Begin to ask; a provider that is away keeps nothing from starting."""
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh_forever())

    async def stop(self) -> None:
        """Ask nothing more."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
            self._refreshing = None

    async def _key_for(self, token: Unverified) -> Key | None:
        """The key that a token names, asked for anew where it is not known. Raises `ProviderUnavailable`."""
        keys = self._fresh_keys()
        key = keys.for_token(token) if keys is not None else None
        if key is None and await self._asked_again():
            keys = self._fresh_keys()
            key = keys.for_token(token) if keys is not None else None
        if key is None and (keys is None or self._failed):
            raise ProviderUnavailable(self._failed or "its keys are too old")
        return key

    async def identified(self, token: Any, is_nonce: Callable[[str], bool], groups: GroupRule | None = None) -> Claims:
        """Who signed in. Raises `TokenRefused` or `ProviderUnavailable`. Signatures are checked beside the loop."""
        apart = taken_apart(token, self.expected)
        signed = await asyncio.to_thread(verified, apart, await self._key_for(apart))
        claims = id_claims(apart, signed, self.expected, self.now_s, is_nonce)
        if groups is not None and not groups.admits(claims):
            raise TokenRefused("in none of the groups")
        return claims

    async def logged_out(self, token: Any) -> LogoutClaims:
        """What a logout token says. Raises as `identified` does."""
        apart = taken_apart(token, self.expected)
        signed = await asyncio.to_thread(verified, apart, await self._key_for(apart))
        return logout_claims(apart, signed, self.expected, self.now_s)

    async def token_endpoint(self) -> str:
        """Where codes are changed for tokens. Raises `ProviderUnavailable`."""
        if self.endpoints is None:
            await self._asked_again()
        if self.endpoints is None:
            raise ProviderUnavailable(self._failed)
        return self.endpoints.token

    async def fetch(
        self, url: str, form: dict[str, str] | None = None, auth: aiohttp.BasicAuth | None = None
    ) -> object:
        """See `gateway.sign_in.fetching`: of this provider, for whom its own authorities vouch."""
        return await fetch(url, form, auth, self.settings.ca)

    def _fresh_keys(self) -> KeySet | None:
        fresh = self._clock.monotonic_s() - self._answered_s < bounds.KEYS_KEPT_S
        return self._keys if fresh else None

    async def _asked_again(self) -> bool:
        """Ask, unless somebody has just now; whether the answer may be another than before."""
        before_s = self._asked_s
        async with self._asking:
            if self._asked_s != before_s:
                return True  # who waited before us has asked
            if self._clock.monotonic_s() - self._asked_s < bounds.LOOK_AGAIN_S:
                return False
            await self._ask()
            return True

    async def _refresh_forever(self) -> None:
        while True:
            async with self._asking:
                await self._ask()
            await asyncio.sleep(bounds.RETRY_S if self._failed else bounds.KEYS_REFRESH_S)

    async def _ask(self) -> None:
        self._asked_s = self._clock.monotonic_s()
        try:
            endpoints = self._endpoints_in(await self.fetch(self.settings.issuer.rstrip("/") + _DISCOVERY))
            keys = KeySet(await self.fetch(endpoints.keys))
        except ProviderUnavailable as error:
            self._tell(error.why)
        except ValueError as error:
            self._tell(str(error))
        else:
            self.endpoints, self._keys = endpoints, keys
            self._answered_s = self._clock.monotonic_s()
            self._tell("")

    def _endpoints_in(self, document: Any) -> Endpoints:
        """Discovery §4.3: it is that issuer's own. Raises ValueError."""
        if not isinstance(document, dict) or document.get("issuer") != self.settings.issuer:
            raise ValueError("its configuration is not that of this issuer")
        named = (
            self.settings.login_url or document.get("authorization_endpoint"),
            self.settings.token_url or document.get("token_endpoint"),
            document.get("jwks_uri"),
        )
        return Endpoints(*(check_url(url) for url in named))

    def _tell(self, failed: str) -> None:
        """Say once that the provider is away, and once that it is back."""
        if failed and not self._failed:
            log.warning("sign_in_provider_unavailable", issuer=self.settings.issuer, reason=failed)
        elif self._failed and not failed:
            log.info("sign_in_provider_available", issuer=self.settings.issuer)
        self._failed = failed
