# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sign-in with a real provider, through its own pages (A1, C1): both revisions, the command line, the gateway's own."""

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio

from gateway.administration import models
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.sign_in import CodeFlow, GroupRule, Provider, ProviderSettings, TokenRefused
from gateway.sign_in.fetching import ProviderUnavailable, fetch
from tests.integration.test_client_commands import Terminal
from tests.integration.test_joining import enters, place
from tests.support.authority import Authority
from tests.support.canaille import Canaille, code_in, running_canaille
from tests.support.commands import Commands
from tests.support.gateway import accounts_of, administer, endpoint, running_gateway
from tests.support.sign_in import is_uid, new_keys
from tmtp_client.connection import AccountKeys, Connection, Disconnected
from tmtp_client.engine import joining
from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.sign_in import device_nonce
from tmtp_core.domain.sign_in import SignedOut
from tmtp_core.wire import messages as m

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def canaille() -> AsyncIterator[Canaille]:
    """One provider for all tests of this file; each has an instance of its own."""
    async with running_canaille() as running:
        yield running


@asynccontextmanager
async def gateway_with(
    folder: Path,
    canaille: Canaille,
    registration: str = "oidc",
    required: str = "true",
    more: str = "",
    ca: str = "null",
) -> AsyncIterator[Gateway]:
    """A whole gateway, as its file describes it."""
    folder.mkdir(exist_ok=True)
    settings = f"""\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
log: {{level: error}}
instances:
  - name: club
    policy: public
    registration: {registration}
    listen: [{{tls: "127.0.0.1:0"}}]
    sign_in:
      required: {required}
      provider:
        issuer: {canaille.issuer}
        client_id: tmtp
        label: The club
        algorithms: [RS256, PS256, RS512, PS512]
        scopes: [openid, groups]
        redirect_uri: {canaille.redirect_uri}
        ca: {ca}
{more}
"""
    async with running_gateway(folder, settings) as gateway:
        while not (await greeted(gateway)).authby:
            await asyncio.sleep(0.05)
        yield gateway


async def greeted(gateway: Gateway, revision: str = "1") -> m.TmtpRevAnswer:
    connection = await Connection.open(endpoint(gateway, "club"), revision=revision)
    await connection.close()
    return connection.service.result()


async def token_for(canaille: Canaille, provider: m.SignIn, who: str, nonce: str | None = None) -> dict[str, Any]:
    """The provider's whole answer to a client that does what wire.md §10 says, and PKCE, which this provider wants."""
    verifier = base64.urlsafe_b64encode(os.urandom(48)).decode()
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    more = {"state": "s", "code_challenge": challenge, "code_challenge_method": "S256"}
    parameters = provider.login[1]
    if nonce is not None:
        more["nonce"] = nonce
    url = f"{provider.login[0]}?{parameters}&{urlencode(more)}"
    code, _ = code_in(await canaille.sign_in(url, who))
    form = f"{provider.token[1]}&{urlencode({'code': code, 'code_verifier': verifier})}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=canaille.trust)) as session,
        session.post(provider.token[0], data=form, headers=headers) as answer,
    ):
        answered: dict[str, Any] = await answer.json()
    assert "id_token" in answered, answered
    return answered


async def join(gateway: Gateway, oidc: dict[str, Any] | None, keys: AccountKeys | None = None) -> str:
    connection = await Connection.open(endpoint(gateway, "club"), revision="2" if keys else "1")
    try:
        if keys is None:
            return (await connection.register("n", "_", None, oidc)).uid
        return (await connection.register_keys("n", keys, "_", oidc=oidc)).uid
    except Disconnected as refused:
        return str(refused)
    finally:
        await connection.quit()


def nonce_for(greeting: m.TmtpRevAnswer, keys: AccountKeys) -> str:
    assert greeting.service is not None
    return device_nonce(from_text(greeting.service.key), keys.device.signer.public)


async def test_an_existing_client_signs_in_and_joins(tmp_path: Path, canaille: Canaille) -> None:
    async with gateway_with(tmp_path, canaille) as gateway:
        greeting = await greeted(gateway)
        assert greeting.auth == 2
        answer = await token_for(canaille, greeting.authby[0], "ada")
        assert await join(gateway, None) == "authentication required"
        assert is_uid(await join(gateway, answer))
        assert await join(gateway, answer) == "authentication required"  # it was used
        again = await token_for(canaille, (await greeted(gateway)).authby[0], "ada")
        assert await join(gateway, again) == "you have an account here already"
        other = await token_for(canaille, (await greeted(gateway)).authby[0], "bob")
        assert is_uid(await join(gateway, other))


async def test_a_private_authority_vouches_for_the_provider_where_the_settings_name_it(tmp_path: Path) -> None:
    """A1: over TLS, and by this authority alone."""
    authority = Authority.in_folder(tmp_path)
    async with running_canaille(authority=authority) as canaille:
        assert canaille.issuer.startswith("https://")
        async with gateway_with(tmp_path / "gateway", canaille, ca=str(authority.own)) as gateway:
            answer = await token_for(canaille, (await greeted(gateway)).authby[0], "ada")
            assert is_uid(await join(gateway, answer))
        with pytest.raises(ProviderUnavailable) as stranger:
            await fetch(canaille.issuer + "/.well-known/openid-configuration")
        assert "ClientConnectorCertificateError" in stranger.value.why
        with pytest.raises(ProviderUnavailable) as gone:
            await fetch(canaille.issuer + "/.well-known/openid-configuration", ca=tmp_path / "gone.pem")
        assert "FileNotFoundError" in gone.value.why
        await asyncio.sleep(0.1)  # TLS says good-bye


async def test_administrators_see_whose_an_account_is(tmp_path: Path, canaille: Canaille) -> None:
    """C1: as the provider names them, in the API and in the commands; nothing of it where nobody signed in."""
    async with gateway_with(tmp_path, canaille, "open", "false") as gateway:
        answer = await token_for(canaille, (await greeted(gateway)).authby[0], "ada")
        by_sign_in, without = await join(gateway, answer), await join(gateway, None)
        ada = models.Identity(issuer=canaille.issuer, subject="ada")
        seen = {one.uid: one.identity for one in await accounts_of(gateway, "club")}
        assert seen == {by_sign_in: ada, without: None}
        shown = [await administer(gateway, "accounts.show", instance="club", who=who) for who in seen]
        assert [one.account.identity for one in shown] == [ada, None]
        commands, config = Commands(), ("-c", str(tmp_path / "gateway.yaml"), "-i", "club")
        try:
            listed = await asyncio.to_thread(commands.run, "account", "list", *config)
            one, other = [
                (await asyncio.to_thread(commands.run, "account", "show", who, *config)).stdout for who in seen
            ]
        finally:
            commands.close()
        assert re.search(rf"{re.escape(by_sign_in)} *│ ada ", listed.stdout), listed
        assert f"signs in as: ada at {canaille.issuer}" in one
        assert "signs in as" not in other


@pytest.mark.parametrize("required", ["true", "false"])
async def test_a_device_with_a_key_signs_in_where_it_must_and_where_it_may(
    tmp_path: Path, canaille: Canaille, required: str
) -> None:
    async with gateway_with(tmp_path, canaille, "open", required) as gateway:
        greeting = await greeted(gateway, "2")
        assert greeting.auth == {"true": 2, "false": 1}[required]
        assert "nonce=" not in greeting.authby[0].login[1]
        assert (is_uid(await join(gateway, None, new_keys()))) is (required == "false")
        keys, thief = new_keys(), new_keys()
        answer = await token_for(canaille, greeting.authby[0], "ada", nonce_for(greeting, keys))
        assert await join(gateway, answer, thief) == "authentication required"
        assert await join(gateway, answer) == "authentication required"
        assert is_uid(await join(gateway, answer, keys))


async def test_who_is_not_in_the_group_does_not_join(tmp_path: Path, canaille: Canaille) -> None:
    group = "      groups: {claim: groups, any_of: [tmtp]}"
    async with gateway_with(tmp_path, canaille, more=group) as gateway:
        greeting = await greeted(gateway, "2")
        for who, let_in in (("bob", False), ("ada", True)):
            keys = new_keys()
            answer = await token_for(canaille, greeting.authby[0], who, nonce_for(greeting, keys))
            assert (is_uid(await join(gateway, answer, keys))) is let_in
        assert len(await accounts_of(gateway, "club")) == 1


async def test_tmtp_join_sends_a_person_to_the_provider_and_back(tmp_path: Path, canaille: Canaille) -> None:
    """RFC 8252: the browser comes back to this device; nobody else could use the code."""
    async with gateway_with(tmp_path / "gateway", canaille) as gateway:
        terminal = Terminal(tmp_path / "ada")
        process = await terminal.start(
            "join", gateway.client_address("club").link(), "--alias", "Ada Lovelace", "--no-browser"
        )
        back = await canaille.sign_in(await address_in(process), "ada")
        async with aiohttp.ClientSession() as browser:
            for odd in (canaille.redirect_uri + "favicon.ico", canaille.redirect_uri + "?code=x&state=guessed"):
                async with browser.get(odd) as page:
                    assert page.status in {400, 404}
            async with browser.get(back) as page:
                assert "You are signed in" in await page.text()
        out, err = await process.communicate()
        assert (process.returncode, "You are Ada Lovelace on club" in out.decode()) == (0, True), err.decode()
        (account,) = await accounts_of(gateway, "club")
        assert account.aliases == ["Ada Lovelace"]
        assert (await terminal.run("whoami")).code == 0


async def test_tmtp_sign_in_brings_back_who_was_signed_out(tmp_path: Path, canaille: Canaille) -> None:
    async with gateway_with(tmp_path / "gateway", canaille) as gateway:
        terminal = Terminal(tmp_path / "ada")
        link = gateway.client_address("club").link()
        process = await terminal.start("join", link, "--alias", "Ada Lovelace", "--no-browser")
        await came_back(await canaille.sign_in(await address_in(process), "ada"))
        await process.communicate()
        now_s = SystemClock().wall_ns() // 10**9
        until_ms = (now_s + limits.SIGN_IN_AGE_MAX_S + 2 * limits.SIGN_IN_LEEWAY_S) * 1000
        notice = SignedOut(canaille.issuer, "ada", "", now_s, b"once", until_ms)
        assert await gateway.instances["club"].service.sign_out(notice)
        refused = await terminal.run("alias", "Ada, plans")
        assert (refused.code, "authentication required" in refused.err) == (1, True)
        watched = await terminal.run("watch")
        assert (watched.code, "sign in again: tmtp sign-in" in watched.err) == (1, True), watched.err
        await asyncio.sleep(1.1)  # providers count in seconds, and the same one is not later
        process = await terminal.start("sign-in", "--no-browser")
        await came_back(await canaille.sign_in(await address_in(process), "ada"))
        out, err = await process.communicate()
        assert (process.returncode, "You are Ada Lovelace on club again" in out.decode()) == (0, True), err.decode()
        assert (await terminal.run("alias", "Ada, plans")).code == 0


async def test_an_account_of_a_vault_is_opened_and_signed_in_again(tmp_path: Path, canaille: Canaille) -> None:
    """The same without a terminal: the address is handed to whoever opens it."""
    urls: asyncio.Queue[str] = asyncio.Queue()

    async def person() -> None:
        await came_back(await canaille.sign_in(await urls.get(), "ada"))

    def open_url(label: str, url: str) -> None:
        assert label == "The club"
        urls.put_nowait(url)

    async with gateway_with(tmp_path / "gateway", canaille) as gateway, place(tmp_path / "home") as here:
        service = joining.service_at(gateway.client_address("club").link())
        joined, _ = await asyncio.gather(
            joining.join(here, service, "Ada Lovelace", "laptop", joining.Ways(open_url)), person()
        )
        assert (joined.identity.alias, len(joined.recovery)) == ("Ada Lovelace", 32)
        (account,) = await accounts_of(gateway, "club")
        assert account.aliases == ["Ada Lovelace"]
        now_s = SystemClock().wall_ns() // 10**9
        until_ms = (now_s + limits.SIGN_IN_AGE_MAX_S + 2 * limits.SIGN_IN_LEEWAY_S) * 1000
        notice = SignedOut(canaille.issuer, "ada", "", now_s, b"once more", until_ms)
        assert await gateway.instances["club"].service.sign_out(notice)
        with pytest.raises(Disconnected, match="authentication required"):
            await enters(here)
        await asyncio.sleep(1.1)  # providers count in seconds, and the same one is not later
        await asyncio.gather(joining.sign_in_again(joined.identity, open_url), person())
        assert (await enters(here)).info == "login ok"


async def came_back(url: str) -> None:
    async with aiohttp.ClientSession() as browser, browser.get(url) as page:
        assert "You are signed in" in await page.text()


async def test_tmtp_join_says_why_nobody_came_back(tmp_path: Path, canaille: Canaille) -> None:
    async with gateway_with(tmp_path / "gateway", canaille) as gateway:
        terminal = Terminal(tmp_path / "ada")
        link = gateway.client_address("club").link()
        process = await terminal.start("join", link, "--alias", "Ada Lovelace", "--no-browser")
        url = await address_in(process)
        (state,) = re.findall(r"[?&]state=([^&]+)", url)
        async with aiohttp.ClientSession() as browser:
            refused = f"{canaille.redirect_uri}?error=access_denied&error_description=not+today&state={state}"
            async with browser.get(refused) as page:
                assert "not signed in" in await page.text()
        _, err = await process.communicate()
        assert process.returncode == 1
        assert "not today" in err.decode()
        assert await accounts_of(gateway, "club") == []


async def test_the_flow_for_the_gateways_own_pages(canaille: Canaille) -> None:
    """`begin` and `finish`, as an administrators' console uses them."""
    settings = ProviderSettings(canaille.issuer, "tmtp", "The club", ("RS256", "RS512", "PS512"), ("openid", "groups"))
    provider = Provider(settings, SystemClock())
    await provider.start()
    try:
        flow = CodeFlow(provider, canaille.redirect_uri, os.urandom, groups=GroupRule("groups", ("tmtp",)))
        begun = await flow.begin()
        code, state = code_in(await canaille.sign_in(begun.url, "ada"))
        with pytest.raises(TokenRefused, match="not the state"):
            await flow.finish(begun, code=code, state="another")
        with pytest.raises(TokenRefused, match="another issuer"):
            await flow.finish(begun, code=code, state=state, issuer="https://evil.example")
        claims = await flow.finish(begun, code=code, state=state, issuer=canaille.issuer)
        assert (claims.subject, claims.claims["groups"]) == ("ada", ["tmtp"])
        with pytest.raises(TokenRefused, match="not the nonce"):
            await _finished(flow, canaille, "ada", nonce=begun.nonce)
        with pytest.raises(TokenRefused, match="in none of the groups"):
            await _finished(flow, canaille, "bob")
        # Last, since Canaille may refuse other exchanges after these.
        with pytest.raises(ProviderUnavailable):  # a code is good once, says the provider
            await flow.finish(begun, code=code, state=state)
        other = await flow.begin()
        code, state = code_in(await canaille.sign_in(other.url, "ada"))
        with pytest.raises(ProviderUnavailable):  # without the verifier the code is good for nothing
            await flow.finish(type(other)(other.url, other.state, other.nonce, begun.verifier), code=code, state=state)
    finally:
        await provider.stop()


async def _finished(flow: CodeFlow, canaille: Canaille, who: str, *, nonce: str | None = None) -> None:
    """Sign in and finish, perhaps as if another nonce had been sent."""
    begun = await flow.begin()
    code, state = code_in(await canaille.sign_in(begun.url, who))
    await flow.finish(replace(begun, nonce=nonce or begun.nonce), code=code, state=state)


async def address_in(process: asyncio.subprocess.Process) -> str:
    """Where `tmtp` sends the person."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while line := (await process.stderr.readline()).decode().strip():
            if line.startswith("http"):
                return line
    raise AssertionError((await process.communicate())[1].decode())
