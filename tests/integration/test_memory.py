# SPDX-License-Identifier: AGPL-3.0-or-later
"""Links that have ended are gone from memory, however many come and go."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.instance import ListenOn
from gateway.listeners.link import Link
from gateway.memory import Tidying
from tests.support.instance import TestInstance, running_instance
from tests.support.raw_peer import PATIENCE_S, RawPeer
from tmtp_core import limits

PLACES = ("Aachen", "Bergen", "Calais", "Dublin", "Exeter", "Ferrara", "Ghent", "Hull")
COUNT = len(PLACES)


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestInstance]:
    also = ListenOn("127.0.0.1", 0, websocket=True)
    async with running_instance(tmp_path / "instance", listen=(also,)) as running:
        yield running


def links_in_memory() -> int:
    return sum(isinstance(one, Link) for one in gc.get_objects())


@pytest.mark.parametrize("websocket", [False, True])
async def test_ended_links_leave_no_memory_taken(
    instance: TestInstance, monkeypatch: pytest.MonkeyPatch, websocket: bool
) -> None:
    monkeypatch.setattr(limits, "ENDED_LINKS_KEPT", COUNT)
    listener, tidying = instance.running.listeners[1 if websocket else 0], Tidying()
    gc.collect()
    gc.disable()
    try:
        before = links_in_memory()
        for number in range(COUNT):
            assert not tidying.look(listener.ended, len(listener.links))
            (await RawPeer(websocket=websocket).register(instance, f"Passer-by {PLACES[number]}")).close()
            async with asyncio.timeout(PATIENCE_S):
                while listener.ended <= number:
                    await asyncio.sleep(0.01)
        assert links_in_memory() > before
        assert tidying.look(listener.ended, len(listener.links))
        assert links_in_memory() == before
        assert not tidying.look(listener.ended, len(listener.links))
    finally:
        gc.enable()


def test_of_many_that_stand_a_quarter_must_have_ended() -> None:
    tidying = Tidying()
    standing = 8 * limits.ENDED_LINKS_KEPT
    assert not tidying.look(2 * limits.ENDED_LINKS_KEPT - 1, standing)
    assert tidying.look(2 * limits.ENDED_LINKS_KEPT, standing)
