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

PAGE = Path(__file__).parent.parent.parent / "docs" / "protocol.md"
EXAMPLES = list(read_examples(PAGE))


class Administrator:
    """The instance as the examples need it: where it is, and what an administrator does there."""

    def __init__(self, instance: TestInstance) -> None:
        self._instance = instance
        self.host, self.port = instance.host, instance.port

    async def new_bridge(self, name: str, routes: dict[str, str], entry: str, sigs: dict[str, str]) -> str:
        """An account with the role bridge."""
        genesis = Signed(entry, tuple(Signature(by, sig) for by, sig in sigs.items()))
        uid: str = await self._instance.service.ensure_bridge(name, routes, genesis)
        return uid


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
async def test_example(example: Example, tmp_path: Path) -> None:
    policy = Policy(
        acquaintance=Acquaintance(example.settings.get("acquaintance", "everyone")),
        members_invite="members_invite" in example.settings,
    )
    async with running_instance(tmp_path / "instance", policy=policy) as instance:
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
