# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever is asked of the API, in form or not: never a 5xx, and nothing that its description does not say (C1).

Schemathesis makes the requests from the description that the running gateway itself gives out. More of them:
HYPOTHESIS_PROFILE=nightly pytest tests/integration/administration/test_api_properties.py
"""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.administration import ROLES, local_user, models
from gateway.api import API
from gateway.api.openapi import document
from gateway.app import Gateway
from tests.support.gateway import SETTINGS, member, running_gateway
from tests.support.night import NIGHTLY
from tmtp_core import limits
from tmtp_core.wire import revision2 as m2

EXAMPLES_MAX = 2_000 if NIGHTLY else 15
"""Made at random for each operation, beside all that schemathesis thinks of by itself."""

TOKENS = 25

LAST = "accounts.remove"
"""The others need somebody to act on."""


@dataclass
class Served:
    """A gateway in a thread of its own, and tokens that may do everything, to be used in turn."""

    url: str = ""
    tokens: dict[int, str] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    turn: Iterator[int] = field(default_factory=itertools.count)

    def authorization(self) -> dict[str, str]:
        """For the next request."""
        some = list(self.tokens.values())
        return {"Authorization": f"Bearer {some[next(self.turn) % len(some)]}"}

    async def serve(self, folder: Path) -> None:
        """Until it is told to end."""
        settings = SETTINGS + 'administration: {listen: "127.0.0.1:0"}\n'
        async with (
            running_gateway(folder, settings) as gateway,
            member(gateway, "members", "Ada Lovelace") as ada,
            member(gateway, "members", "Charles Babbage") as charles,
        ):
            await charles.connection.ping("1", "Charles Babbage", "Ada Lovelace", "odd")
            await ada.connection.ask(m2.Report("1", charles.uid, "other", "odd"))
            owner = gateway.administration.on_behalf_of(local_user())
            group = models.FoundGroup(gid="Sales Team", who="Ada Lovelace")
            await owner.perform("groups.found", {"instance": "members"}, group)
            await self._make_tokens(gateway)
            self.url = "http://{}:{}".format(*gateway.administration_address)
            self.ready.set()
            while not self.ended.is_set():
                await asyncio.sleep(0.05)
                await self._make_tokens(gateway)

    async def _make_tokens(self, gateway: Gateway) -> None:
        """As many as there were: some are revoked on the way."""
        owner = gateway.administration.on_behalf_of(local_user())
        for number in self.tokens.keys() - {one.number for one in await gateway.administration.tokens.list()}:
            del self.tokens[number]
        while len(self.tokens) < TOKENS:
            wanted = models.CreateToken(name="everything", scopes=sorted(ROLES["owner"]))
            made = await owner.perform("tokens.create", {}, wanted)
            assert isinstance(made, models.NewToken)
            self.tokens[made.number] = made.token


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "API_REQUESTS_PER_MINUTE", 1_000_000)
        patch.setattr(limits, "API_FAILURES_PER_MINUTE", 1_000_000)
        patch.setattr(limits, "ADMINISTRATION_TOKENS_MAX", 1_000_000)
        one = Served()
        thread = threading.Thread(target=asyncio.run, args=(one.serve(tmp_path_factory.mktemp("api")),))
        thread.start()
        try:
            assert one.ready.wait(30)
            yield one
        finally:
            one.ended.set()
            thread.join()


schema = schemathesis.openapi.from_dict(json.loads(document(API)))


def asks(case: schemathesis.Case, served: Served) -> None:
    case.call_and_validate(
        base_url=served.url + API, headers=served.authorization(), excluded_checks=[positive_data_acceptance]
    )


@schema.exclude(operation_id=LAST).parametrize()
@settings(max_examples=EXAMPLES_MAX, suppress_health_check=list(HealthCheck))
def test_nothing_is_answered_that_is_not_described(case: schemathesis.Case, served: Served) -> None:
    asks(case, served)


@schema.include(operation_id=LAST).parametrize()
@settings(max_examples=EXAMPLES_MAX, suppress_health_check=list(HealthCheck))
def test_nor_when_accounts_are_removed(case: schemathesis.Case, served: Served) -> None:
    asks(case, served)


def test_the_gateway_gives_out_this_description(served: Served) -> None:
    url = f"{served.url}{API}/openapi.json"
    assert requests.get(url, headers=served.authorization(), timeout=10).content == document(API)
    assert requests.get(url, timeout=10).status_code == 401
