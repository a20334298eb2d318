# SPDX-License-Identifier: AGPL-3.0-or-later
"""Joining and signing in with a real provider over the local API: the page opens the address, the engine waits (A1, B1)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from gateway.app import Gateway
from gateway.clock import SystemClock
from tests.integration.test_sign_in_provider import gateway_with
from tests.support.canaille import Canaille, running_canaille
from tests.support.client_engine import Person, device, until
from tests.support.gateway import accounts_of
from tmtp_client.api import frames
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.problems import ProblemError
from tmtp_core import limits as core_limits
from tmtp_core.domain.sign_in import SignedOut

ADA, BOB = "Ada Lovelace", "Bob Babbage"
GROUP = "      groups: {claim: groups, any_of: [tmtp]}"  # Ada is in it


@pytest.fixture
async def canaille() -> AsyncIterator[Canaille]:
    async with running_canaille() as running:
        yield running


def joining(gateway: Gateway, alias: str = ADA, account: str = "club") -> o.Join:
    return o.Join(account, gateway.client_address("club").link(), alias, "laptop")


async def back(canaille: Canaille, sign_in: m.SignIn, who: str) -> None:
    """The person was at the provider's pages, and his browser comes back to this device."""
    url = await canaille.sign_in(sign_in.url, who)
    german = {"Accept-Language": "de-DE, en;q=0.8"}
    async with aiohttp.ClientSession(headers=german) as browser, browser.get(url) as page:
        assert "Du bist angemeldet" in await page.text()


async def finished(person: Person, asked: o.Join, sign_in: m.SignIn) -> m.Joined:
    joined = await person("accounts.join", o.Join(asked.account, asked.address, asked.alias, sign_in=sign_in.sign_in))
    assert isinstance(joined, m.Joined)
    return joined


async def refused(asked: object) -> frames.Problem:
    with pytest.raises(ProblemError) as raised:
        await asked  # type: ignore[misc]
    return raised.value.problem


async def test_a_page_sends_a_person_to_the_provider_and_gets_the_account(tmp_path: Path, canaille: Canaille) -> None:
    async with gateway_with(tmp_path / "gateway", canaille) as gateway, device(tmp_path / "ada") as ada:
        asked = joining(gateway)
        sign_in = await ada("accounts.join", asked)
        assert isinstance(sign_in, m.SignIn)
        assert sign_in.url.startswith(canaille.issuer + "/")
        waiting = asyncio.create_task(finished(ada, asked, sign_in))
        await back(canaille, sign_in, "ada")
        joined = await waiting
        assert (joined.account.alias, len(joined.recovery.split())) == (ADA, 24)
        await ada.online("club")
        gone = await refused(ada("accounts.join", o.Join("club", asked.address, ADA, sign_in=sign_in.sign_in)))
        assert (gone.code, gone.field) == ("not_found", "sign_in")
        # Signed out by the provider, and in again.
        now_s = SystemClock().wall_ns() // 10**9
        until_ms = (now_s + core_limits.SIGN_IN_AGE_MAX_S + 2 * core_limits.SIGN_IN_LEEWAY_S) * 1000
        notice = SignedOut(canaille.issuer, "ada", "", now_s, b"once", until_ms)
        assert await gateway.instances["club"].service.sign_out(notice)

        async def out() -> m.Account | None:
            [one] = await ada("accounts.list")
            return one if one.state == "refused" else None

        assert "authentication" in (await until(out)).trouble
        await asyncio.sleep(1.1)  # providers count in seconds, and the same one is not later
        again = await ada("accounts.sign_in", o.OfAccount("club"))
        assert isinstance(again, m.SignIn)
        await back(canaille, again, "ada")
        done = await ada("accounts.sign_in", o.SignInAgain("club", again.sign_in))
        assert done == m.Done()
        await ada.online("club")


async def test_whom_the_service_does_not_take_is_told_so_and_nothing_is_left(
    tmp_path: Path, canaille: Canaille
) -> None:
    async with gateway_with(tmp_path / "gateway", canaille, more=GROUP) as gateway, device(tmp_path / "bob") as bob:
        asked = joining(gateway, BOB)
        sign_in = await bob("accounts.join", asked)
        await back(canaille, sign_in, "bob")
        problem = await refused(finished(bob, asked, sign_in))
        assert problem.code == "refused"
        assert "does not take" in problem.text
        assert "cannot be reached" not in problem.text
        assert not (tmp_path / "bob" / "accounts" / "club").exists()
        assert await accounts_of(gateway, "club") == []


async def test_who_has_an_account_already_is_told_how_to_get_at_it(tmp_path: Path, canaille: Canaille) -> None:
    async with (
        gateway_with(tmp_path / "gateway", canaille) as gateway,
        device(tmp_path / "ada") as ada,
        device(tmp_path / "new") as new,
    ):
        asked = joining(gateway)
        sign_in = await ada("accounts.join", asked)
        await back(canaille, sign_in, "ada")
        await finished(ada, asked, sign_in)
        sign_in = await new("accounts.join", asked)
        await asyncio.sleep(1.1)
        await back(canaille, sign_in, "ada")
        problem = await refused(finished(new, asked, sign_in))
        assert problem.code == "refused"
        assert "recovery sheet" in problem.text


async def test_a_person_who_says_no_at_the_provider_is_told_in_words(tmp_path: Path, canaille: Canaille) -> None:
    async with gateway_with(tmp_path / "gateway", canaille) as gateway, device(tmp_path / "ada") as ada:
        asked = joining(gateway)
        sign_in = await ada("accounts.join", asked)
        state = sign_in.url.partition("state=")[2].partition("&")[0]
        said = f"{canaille.redirect_uri}?error=access_denied&error_description=not+today&state={state}"
        async with aiohttp.ClientSession() as browser, browser.get(said) as page:
            assert "not signed in" in await page.text()
        problem = await refused(finished(ada, asked, sign_in))
        assert problem.text == "the provider did not let you in: not today"


async def test_a_sign_in_that_was_given_up_holds_up_no_other(tmp_path: Path, canaille: Canaille) -> None:
    """The person closed the provider's page; the next attempt, or another service, need not wait for ten minutes."""
    async with gateway_with(tmp_path / "gateway", canaille) as gateway, device(tmp_path / "ada") as ada:
        first = await ada("accounts.join", joining(gateway))
        waiting = asyncio.create_task(refused(finished(ada, joining(gateway), first)))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            second = await ada("accounts.join", joining(gateway, account="elsewhere"))
            problem = await waiting  # whoever waits for it hears that it has ended
        assert problem.code == "not_found"
        await back(canaille, second, "ada")
        assert (await finished(ada, joining(gateway, account="elsewhere"), second)).account.name == "elsewhere"


async def test_locking_ends_a_sign_in_and_closes_what_it_had_open(tmp_path: Path, canaille: Canaille) -> None:
    async with gateway_with(tmp_path / "gateway", canaille) as gateway, device(tmp_path / "ada") as ada:
        sign_in = await ada("accounts.join", joining(gateway))
        waiting = asyncio.create_task(refused(finished(ada, joining(gateway), sign_in)))
        await asyncio.sleep(0.1)
        assert _open_histories(tmp_path / "ada")
        async with asyncio.timeout(60):
            assert (await ada("home.lock")).locked
            assert not _open_histories(tmp_path / "ada")
            assert (await waiting).code in {"not_found", "locked"}


def _open_histories(home: Path) -> list[str]:
    """Databases of this home that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(str(home)) and "history.db" in target:
            found.append(target)
    return found
