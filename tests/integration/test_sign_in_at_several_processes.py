# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sign-in where two processes serve one instance (A1; docs/scaling.md): a token is one's, a sign-out is for both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.sign_in import Vouching
from tests.integration.test_several_processes import Pair
from tests.support.fake_provider import FakeProvider, fake_provider, vouching
from tests.support.instance import ManualClock, running_instance
from tests.support.postgresql import binaries, cluster
from tests.support.sign_in import (
    REFUSED,
    endpoint,
    is_uid,
    log_in,
    new_keys,
    nonce_for_revision_1,
    nonce_of,
    register,
)
from tmtp_client.connection import Connection
from tmtp_core.domain.sign_in import SIGNED_OUT

pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql")


@asynccontextmanager
async def a_pair(folder: Path, accounts_max: int = 1) -> AsyncIterator[tuple[FakeProvider, Vouching, Pair]]:
    """Two processes' services, and the provider that both ask."""
    clock = ManualClock()
    database = await asyncio.to_thread(cluster().new_database)
    async with (
        fake_provider(clock) as fake,
        vouching(fake, accounts_max=accounts_max) as made,
        running_instance(folder, clock=clock, registration="oidc", sign_in=made.rule, database=database) as one,
        running_instance(folder, clock=clock, registration="oidc", sign_in=made.rule, database=database) as other,
    ):
        pair = Pair(one, other, database)
        living = asyncio.create_task(pair.live())
        try:
            yield fake, made, pair
        finally:
            living.cancel()


async def test_a_token_at_both_at_once_opens_one_account(tmp_path: Path) -> None:
    """Its nonce was made by one of them, and is known to the other."""
    async with a_pair(tmp_path, accounts_max=9) as (fake, _, pair):
        token = {"id_token": fake.token(fake.claims(await nonce_for_revision_1(pair.one)))}
        answers = await asyncio.gather(*(register(one, token) for one in (pair.one, pair.other) * 3))
        assert sorted(is_uid(answer) for answer in answers) == [False] * 5 + [True]
        assert {answer for answer in answers if not is_uid(answer)} == {REFUSED}
        assert len(await pair.other.service.list_accounts()) == 1


async def test_a_person_at_both_at_once_has_one_account(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as (fake, _, pair):

        async def one(instance: object) -> str:
            keys = new_keys()
            claims = fake.claims(nonce_of(pair.one, keys))
            return await register(instance, {"id_token": fake.token(claims)}, keys)  # type: ignore[arg-type]

        answers = await asyncio.gather(*(one(instance) for instance in (pair.one, pair.other) * 3))
        assert sorted(is_uid(answer) for answer in answers) == [False] * 5 + [True]
        assert {answer for answer in answers if not is_uid(answer)} == {"you have an account here already"}


async def test_a_sign_out_told_to_one_ends_the_links_of_the_other(tmp_path: Path) -> None:
    async with a_pair(tmp_path) as (fake, made, pair):
        keys = new_keys()
        connection = await Connection.open(endpoint(pair.other), revision="2")
        token = fake.token(fake.claims(nonce_of(pair.one, keys)))
        uid = (await connection.register_keys("laptop", keys, "_", oidc={"id_token": token})).uid
        await pair.one.service.sign_out(await made.signed_out(fake.token(fake.logout_claims())))
        assert await connection.closed() == SIGNED_OUT
        await connection.close()
        assert await log_in(pair.other, uid, keys) == REFUSED
        pair.one.clock.advance(1)
        again = {"id_token": fake.token(fake.claims(nonce_of(pair.one, keys)))}
        assert await log_in(pair.one, uid, keys, again) == "login ok"
        assert await log_in(pair.other, uid, keys) == "login ok"
