# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `tmtp` makes of a provider that answers oddly, and of a service that sends people astray (A1)."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tmtp_client import limits
from tmtp_client.connection import AccountKeys, Refused
from tmtp_client.engine.joining import Ways, proof_of_person
from tmtp_client.engine.signing_in import _posted, signed_in
from tmtp_core.wire import messages as m

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def provider(answer: Answer) -> AsyncIterator[str]:
    """Where codes are changed for tokens."""
    app = web.Application()
    app.router.add_post("/token", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    finally:
        await runner.cleanup()


async def _in_pieces(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for piece in (b'{"id_', b'token": ', b'"t"}'):
        await answer.write(piece)
        await asyncio.sleep(0.05)
    return answer


async def _too_much(request: web.Request) -> web.Response:
    return web.Response(body=b" " * (limits.TOKEN_ANSWER_MAX_BYTES + 1))


async def _elsewhere(request: web.Request) -> web.Response:
    raise web.HTTPFound("/token")


async def _no_json(request: web.Request) -> web.Response:
    return web.Response(text="<html>")


async def _a_list(request: web.Request) -> web.Response:
    return web.json_response([])


async def test_an_answer_may_come_in_pieces() -> None:
    async with provider(_in_pieces) as url:
        assert await _posted(url, {"code": "x"}) == {"id_token": "t"}


@pytest.mark.parametrize("answer", [_too_much, _elsewhere, _no_json, _a_list])
async def test_what_is_no_answer_is_refused(answer: Answer) -> None:
    async with provider(answer) as url:
        with pytest.raises(Refused, match="the provider answers with"):
            await _posted(url, {"code": "x"})


async def test_a_provider_that_is_away_is_said_to_be() -> None:
    with pytest.raises(OSError, match="does not answer"):
        await _posted("http://127.0.0.1:9/token", {})


@pytest.mark.parametrize(
    ("login", "parameters", "words"),
    [
        ("http://id.example/login", "client_id=x", "not reached by https"),
        ("file:///etc/passwd", "client_id=x", "not reached by https"),
        ("https://user@id.example/login", "client_id=x", "not reached by https"),
        ("https://id.example/login", "redirect_uri=https%3A%2F%2Fevil.example%2F", "not this device"),
        ("https://id.example/login", "redirect_uri=http%3A%2F%2F192.0.2.1%2F", "not this device"),
    ],
)
async def test_a_service_sends_nobody_astray(login: str, parameters: str, words: str) -> None:
    """A service that was broken into may name any provider, and have its answer sent anywhere."""
    told: list[str] = []
    named = m.SignIn("x", (login, parameters), ("https://id.example/token", ""))
    with pytest.raises(Refused, match=words):
        await signed_in(named, "n", lambda label, url: told.append(url))
    assert told == []


@pytest.mark.parametrize("device", [True, False])
async def test_nobody_signs_in_where_the_token_would_not_be_this_devices(
    device: bool,
) -> None:
    """A revision 1 service may have its nonce from another one, at which it would register in one's name (D4)."""
    told: list[str] = []
    here = "http://127.0.0.1:9"
    provider = m.SignIn("x", (f"{here}/login", "client_id=x&nonce=of-another"), (f"{here}/token", ""))
    greeting = m.TmtpRevAnswer(id="1", name="x", auth=2, authby=(provider,))
    keys = AccountKeys.new(os.urandom).device if device else None
    with pytest.raises(Refused, match="not bound to this device"):
        await proof_of_person(greeting, keys, Ways(lambda label, url: told.append(url)))
    assert told == []
