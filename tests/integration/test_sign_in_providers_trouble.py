# SPDX-License-Identifier: AGPL-3.0-or-later
"""Providers that are away, slow, odd, or lead astray, and what that costs an instance (A1)."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.sign_in import Provider, ProviderSettings, Vouching, bounds
from tests.integration.test_sign_in import how_many, scene
from tests.support.fake_provider import (
    CLIENT,
    OTHER_RSA,
    fake_provider,
    public_jwk,
    vouching,
)
from tests.support.instance import ManualClock, running_instance
from tests.support.sign_in import (
    REFUSED,
    greeting,
    is_uid,
    new_keys,
    nonce_of,
    register,
)
from tmtp_core import limits
from tmtp_core.domain.sign_in import NonceRule, SignedIn, SignInRule
from tmtp_core.errors import UNAVAILABLE

AWAY = "the sign-in provider cannot be reached, try again later"


async def _redirects(request: web.Request) -> web.Response:
    raise web.HTTPFound("/other-keys")


async def _is_huge(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with_room = True
    while with_room:
        try:
            await answer.write(b" " * 65_536)
        except ConnectionError:
            with_room = False
    return answer


async def _dribbles(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        try:
            await answer.write(b" ")
        except ConnectionError:
            return answer
        await asyncio.sleep(0.02)


async def _is_compressed(request: web.Request) -> web.Response:
    return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})


async def _is_no_set(request: web.Request) -> web.Response:
    return web.json_response({"keys": "none"})


async def _says_twice(request: web.Request) -> web.Response:
    return web.Response(text='{"keys":[],"keys":[]}')


async def _fails(request: web.Request) -> web.Response:
    return web.Response(status=500)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_redirects, "answered with 302"),
        (_is_huge, "more than it should"),
        (_dribbles, "TimeoutError"),
        (_is_compressed, "compressed"),
        (_is_no_set, "no set of keys"),
        (_says_twice, "a name twice"),
        (_fails, "answered with 500"),
    ],
)
async def test_a_provider_that_answers_oddly_is_away(
    tmp_path: Path, answer: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The good set is at /other-keys: who followed a redirect would let the person in."""
    if answer is _dribbles:
        monkeypatch.setattr(bounds, "FETCH_TIMEOUT_S", 0.5)
    clock = ManualClock()
    async with fake_provider(clock) as fake:

        async def sometimes(request: web.Request) -> web.StreamResponse:
            good = request.path == "/other-keys"
            return web.json_response(fake.keys) if good else await answer(request)

        fake.answer = sometimes
        with capture_logs() as logged:
            async with (
                vouching(fake) as made,
                running_instance(tmp_path, clock=clock, registration="oidc", sign_in=made.rule) as instance,
            ):
                keys = new_keys()
                token = {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}
                assert await register(instance, token, keys) == AWAY
                assert await how_many(instance) == 0
                assert "/other-keys" not in fake.asked
                fake.answer = None
                monkeypatch.undo()  # what answers may take its time here
                clock.advance(bounds.LOOK_AGAIN_S)
                again = {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}
                assert is_uid(await register(instance, again, keys))
        told = [one["reason"] for one in logged if one["event"] == "sign_in_provider_unavailable"]
        assert len(told) == 1, told
        assert reason in told[0]


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"issuer": "https://evil.example"}, "not that of this issuer"),
        ({"jwks_uri": "http://192.0.2.1/keys"}, "asked by https"),
        ({"jwks_uri": "file:///etc/passwd"}, "no address"),
        ({"jwks_uri": ["x"]}, "no address"),
        ({"token_endpoint": "https://user:secret@id.example/token"}, "no address"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no address"),
    ],
)
async def test_a_configuration_that_leads_astray_is_not_followed(configuration: dict[str, Any], words: str) -> None:
    clock = ManualClock()
    async with fake_provider(clock) as fake:
        fake.configuration = configuration
        provider = Provider(ProviderSettings(fake.issuer, CLIENT, "x"), clock)
        with capture_logs() as logged:
            await provider.start()
            async with asyncio.timeout(60):
                while not logged:
                    await asyncio.sleep(0.01)
            await provider.stop()
        assert words in logged[0]["reason"]
        assert provider.endpoints is None


async def test_a_new_key_is_looked_for_once_a_minute_at_most(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        asked = fake.asked.count("/keys")
        keys = new_keys()
        good = fake.token(fake.claims(nonce_of(instance, keys)), "new", "RS256", OTHER_RSA)
        assert await register(instance, {"id_token": good}, keys) == REFUSED
        assert fake.asked.count("/keys") == asked  # it was asked at the start, less than a minute ago
        fake.keys["keys"] = [public_jwk(OTHER_RSA, "new")]
        instance.clock.advance(bounds.LOOK_AGAIN_S)
        forged = [fake.token(fake.claims("x"), f"guess-{place}", key=OTHER_RSA) for place in range(5)]
        answers = await asyncio.gather(*(register(instance, {"id_token": one}, new_keys()) for one in forged))
        assert set(answers) == {REFUSED}
        assert fake.asked.count("/keys") == asked + 1
        again = fake.token(fake.claims(nonce_of(instance, keys)), "new", "RS256", OTHER_RSA)
        assert is_uid(await register(instance, {"id_token": again}, keys))
        old = new_keys()
        withdrawn = fake.token(fake.claims(nonce_of(instance, old), sub="person-2"))
        assert await register(instance, {"id_token": withdrawn}, old) == REFUSED


async def test_while_a_provider_is_away_its_keys_are_good_for_a_day(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, made):
        fake.answer = _fails
        instance.clock.advance(bounds.KEYS_KEPT_S - 1)
        keys = new_keys()
        token = fake.token(fake.claims(nonce_of(instance, keys)))
        assert is_uid(await register(instance, {"id_token": token}, keys))
        instance.clock.advance(1)
        other = new_keys()
        token = fake.token(fake.claims(nonce_of(instance, other), sub="person-2"))
        assert await register(instance, {"id_token": token}, other) == AWAY
        assert made.provider.endpoints is not None


async def test_while_a_provider_was_never_heard_of_nobody_is_let_in_and_all_else_works(tmp_path: Path) -> None:
    clock = ManualClock()
    provider = Provider(ProviderSettings("http://127.0.0.1:9", CLIENT, "x"), clock)
    made = Vouching("test", provider)
    await provider.start()
    async with running_instance(tmp_path, clock=clock, registration="oidc", sign_in=made.rule) as instance:
        greeted = await greeting(instance, "2")
        assert (greeted.auth, greeted.authby) == (2, ())
        assert await register(instance, {"id_token": "a.b.c"}, new_keys()) == REFUSED
    await provider.stop()


async def test_only_so_many_sign_ins_are_checked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_INS_CHECKED_MAX", 2)
    async with scene(tmp_path) as (fake, instance, _):
        waiting = asyncio.Event()

        async def waits(request: web.Request) -> web.Response:
            await waiting.wait()
            return web.json_response(fake.keys)

        fake.answer = waits
        instance.clock.advance(bounds.LOOK_AGAIN_S)
        token = {"id_token": fake.token(fake.claims("x"), "unknown", key=OTHER_RSA)}
        slow = [asyncio.ensure_future(register(instance, token, new_keys())) for _ in range(2)]
        while len(instance.service._reception._checks) < 2:
            await asyncio.sleep(0.01)
        assert "try again" in await register(instance, token, new_keys())
        waiting.set()
        assert set(await asyncio.gather(*slow)) == {REFUSED}


async def test_a_stop_waits_for_no_provider(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        waiting = asyncio.Event()

        async def waits(request: web.Request) -> web.Response:
            await waiting.wait()
            return web.Response()

        fake.answer = waits
        instance.clock.advance(bounds.LOOK_AGAIN_S)
        token = {"id_token": fake.token(fake.claims("x"), "unknown", key=OTHER_RSA)}
        slow = asyncio.ensure_future(register(instance, token, new_keys()))
        while not instance.service._reception._checks:
            await asyncio.sleep(0.01)
        await instance.restart()
        assert not is_uid(await slow)
        waiting.set()


async def test_a_check_that_fails_by_a_fault_of_ours_ends_the_link(tmp_path: Path) -> None:
    """A link that waits for its log-in has no deadline: it would stay for as long as its peer likes."""

    async def broken(oidc: dict[str, Any], nonce: NonceRule) -> SignedIn:
        raise ZeroDivisionError

    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    rule = SignInRule(lambda nonce: (), broken)
    async with running_instance(tmp_path, registration="oidc", sign_in=rule) as instance:
        async with asyncio.timeout(60):
            assert await register(instance, {}, new_keys()) == UNAVAILABLE
        while not failed:  # and it is told
            gc.collect()
            await asyncio.sleep(0)
