# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client reports nobody to a service that takes no reports, and says so (D2, D3; docs/decisions/0030)."""

from pathlib import Path

import pytest

from tests.support.gateway import endpoint, running_gateway
from tests.support.homes import has_text, joined, joined_at_service, ping, running_home, send
from tests.support.revision1 import only_revision_1
from tmtp_client.api.problems import ProblemError
from tmtp_client.engine import reporting
from tmtp_core.service import Service


async def test_not_to_a_service_of_revision_1(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        only_revision_1(endpoint(gateway, "public"), tmp_path / "front") as old,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined_at_service(a, "old", old, "Ada Lovelace")
        bob = await joined_at_service(b, "old", old, "Bob Builder")
        await ping(bob, "Ada Lovelace", "buy this")
        await has_text(ada, "buy this")
        assert not (await ada.view()).reports
        with pytest.raises(ProblemError, match="takes no reports"):
            await reporting.report(ada.context, bob.context.uid, "spam", "")


async def test_not_to_an_older_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the link at a request that it does not know, and at each further try."""
    monkeypatch.setattr(Service, "_features", lambda self: ("directory",))
    async with (
        running_gateway(tmp_path) as gateway,
        running_home(tmp_path / "a") as a,
        running_home(tmp_path / "b") as b,
    ):
        ada = await joined(a, gateway, "public", "Ada Lovelace")
        bob = await joined(b, gateway, "public", "Bob Builder")
        await ping(bob, "Ada Lovelace", "buy this")
        await has_text(ada, "buy this")
        link = await ada.context.current()
        assert not (await ada.view()).reports
        with pytest.raises(ProblemError, match="older release"):
            await reporting.report(ada.context, bob.context.uid, "spam", "")
        await ping(ada, "Bob Builder", "on the same link")
        await send(ada, "Bob Builder", text="and further")
        await has_text(bob, "and further")
        assert await ada.context.current() is link
