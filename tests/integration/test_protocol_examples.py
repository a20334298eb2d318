# SPDX-License-Identifier: AGPL-3.0-or-later
"""The examples of docs/protocol.md are true: a client that knows only that page talks to the service."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.instance import TestInstance, running_instance
from tests.vectors import examples
from tests.vectors.examples import Example, ExampleRun, read_examples
from tmtp_core.crypto.log_records import Signature
from tmtp_core.domain.device_log import Signed
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.domain.port import Identity
from tmtp_core.domain.registering import RegistrationLimits
from tmtp_core.domain.sign_in import NonceRule, SignedIn, SignInRule
from tmtp_core.errors import LoginRefused
from tmtp_core.wire.messages import SignIn

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocol.md"
EXAMPLES = list(read_examples(PAGE))
LOGIN = "client_id=tmtp&response_type=code&scope=openid"
TOKEN = "client_id=tmtp&grant_type=authorization_code"


async def _read(oidc: dict[str, Any], nonce: NonceRule) -> SignedIn:
    """A provider that vouches for everybody; of its tokens the page says one thing, and that is checked."""
    if not nonce.is_right(oidc["id_token"].removeprefix("a token with the nonce ")):
        raise LoginRefused("authentication required")
    return SignedIn(Identity("https://id.example", "eve"), 0, b"once", 1 << 50)


class Administrator:
    """The instance as the examples need it: where it is, and what an administrator does there."""

    def __init__(self, instance: TestInstance) -> None:
        self._instance = instance
        self.host, self.port = instance.host, instance.port

    async def new_bridge(self, name: str, routes: dict[str, str], entry: str, sigs: dict[str, str]) -> str:
        """An account with the role bridge."""
        genesis = Signed(entry, tuple(Signature(by, sig) for by, sig in sigs.items()))
        uid: str = await self._instance.service.ensure_bridge(name, routes, genesis, replies=True)
        return uid


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
async def test_example(example: Example, tmp_path: Path) -> None:
    policy = Policy(
        acquaintance=Acquaintance(example.settings.get("acquaintance", "everyone")),
        members_invite="members_invite" in example.settings,
    )
    providers = (SignIn("Our provider", ("https://id.example/auth", LOGIN), ("https://id.example/token", TOKEN)),)
    rule = SignInRule(lambda nonce: providers, _read) if "sign_in" in example.settings else None
    pace = RegistrationLimits(1_000, 1, ()) if "crowd" in example.settings else None
    async with running_instance(tmp_path / "instance", policy=policy, sign_in=rule, registrations=pace) as instance:
        if pace is not None:
            instance.service._reception.opened()
        administrator: Any = Administrator(instance)
        original = examples._spki_hash
        seen = await asyncio.to_thread(original, instance.host, instance.port)
        examples._spki_hash = lambda host, port: seen
        try:
            await ExampleRun(example, PAGE, administrator).play()
        finally:
            examples._spki_hash = original


def test_every_operation_of_revision_2_has_an_example() -> None:
    lines = [line for example in EXAMPLES for _, line in example.lines]
    shown = {int(op) for line in lines for op in re.findall(r'> \{"op":(\d+)', line)}
    assert shown >= {0, 1, 2, 3, 7, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20}
