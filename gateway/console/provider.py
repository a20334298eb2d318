# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signing in to the console with an identity provider: its groups say who may enter, and how far (C1, OpenID Connect).

The provider is asked each time; a person who came so gets no passkey, which would outlast his place in the group.
"""

import hashlib
from collections.abc import Callable, Mapping

from gateway.console.sealing import Sealing
from gateway.settings.models import ConsoleSignIn
from gateway.sign_in import Begun, Claims, CodeFlow, GroupRule, Provider, TokenRefused
from gateway.sign_in.opening import provider_for
from tmtp_core import limits
from tmtp_core.clock import Clock
from tmtp_core.errors import RequestRefused
from tmtp_core.ids import RandomBytes

BACK = "/sign-in/provider/back"
_WAY = "to the provider"


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
        self._random_bytes = random_bytes
        self._sealing = Sealing(clock, random_bytes)

    async def begin(self) -> tuple[str, str]:
        """Where to send the browser, and what it shows when it comes back: nothing is kept here for whoever begins.

        `ServiceUnavailable`: nobody answers.
        """
        begun = await self._flow().begin()
        way = {"state": begun.state, "nonce": begun.nonce, "verifier": begun.verifier}
        return begun.url, self._sealing.seal(_WAY, way)

    async def finish(self, way: str, query: Mapping[str, str]) -> tuple[str, str]:
        """The person and the role. `RequestRefused`: the answer is not good, or no group of the person may enter."""
        gone = self._sealing.spend(_WAY, way)
        if "error" in query:
            raise RequestRefused(f"{self.label} did not sign you in; try again")
        try:
            claims = await self._flow().finish(
                Begun("", **gone), code=query.get("code", ""), state=query.get("state", ""), issuer=query.get("iss")
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
