# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signing in to the console with an identity provider: its groups say who may enter, and how far (C1, OpenID Connect).

The provider is asked each time; a person who came so gets no passkey, which would outlast his place in the group.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.settings.models import ConsoleSignIn
from gateway.sign_in import Begun, Claims, CodeFlow, GroupRule, Provider, TokenRefused
from gateway.sign_in.opening import provider_for
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.crypto.encoding import to_text
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes

BACK = "/sign-in/provider/back"


@dataclass(frozen=True, slots=True)
class _Way:
    """Somebody who is at the provider."""

    begun: Begun
    until_s: float


class ByProvider:
    """Who came back from the provider, and with which role. `url`: where the console is for browsers."""

    def __init__(
        self, chosen: ConsoleSignIn, secret: str | None, url: Callable[[], str], clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self.provider: Provider = provider_for(chosen.provider, clock)
        self.label = self.provider.settings.label
        self._groups = chosen.groups
        self._secret = secret
        self._url = url
        self._clock = clock
        self._random_bytes = random_bytes
        self._ways: dict[str, _Way] = {}

    async def begin(self) -> tuple[str, str]:
        """Where to send the browser, and what it shows when it comes back. `ServiceUnavailable`: nobody answers."""
        begun = await self._flow().begin()
        now_s = self._clock.monotonic_s()
        self._ways = {name: one for name, one in self._ways.items() if one.until_s > now_s}
        while len(self._ways) >= limits.CONSOLE_CEREMONIES_MAX:
            del self._ways[next(iter(self._ways))]
        way = to_text(self._random_bytes(limits.CONSOLE_SECRET_BYTES))
        self._ways[way] = _Way(begun, now_s + limits.CONSOLE_CEREMONY_S)
        return begun.url, way

    async def finish(self, way: str, query: Mapping[str, str]) -> tuple[str, str]:
        """The person and the role. `RequestRefused`: the answer is not good, or no group of the person may enter."""
        gone = self._ways.pop(way, None)
        if gone is None or gone.until_s <= self._clock.monotonic_s():
            raise RequestRefused("that took too long; try again")
        if "error" in query:
            raise RequestRefused(f"{self.label} did not sign you in; try again")
        try:
            claims = await self._flow().finish(
                gone.begun, code=query.get("code", ""), state=query.get("state", ""), issuer=query.get("iss")
            )
        except TokenRefused:
            raise RequestRefused(f"the answer of {self.label} is not good; try again") from None
        for role, groups in self._groups.roles():
            if GroupRule(self._groups.claim, tuple(groups)).admits(claims):
                return _called(self.label, claims), role
        raise RequestRefused(
            f"{self.label} knows you, but none of your groups may enter the console; ask who runs the gateway"
        )

    def _flow(self) -> CodeFlow:
        return CodeFlow(self.provider, self._url() + BACK, self._random_bytes, secret=self._secret)


def _called(label: str, claims: Claims) -> str:
    """How a person is called here: by the provider's own id, before which stands the name that people know."""
    named = (claims.claims.get(claim) for claim in ("name", "preferred_username", "email"))
    name = next((one for one in named if isinstance(one, str) and one.strip()), "")
    subject = claims.subject
    if len(subject) > limits.CONSOLE_NAME_MAX_CHARACTERS // 2:
        subject = hashlib.sha256(subject.encode()).hexdigest()[:32]
    return f"{name.strip()[: limits.CONSOLE_NAME_MAX_CHARACTERS // 2]} ({label[:20]}: {subject})".strip()
