# SPDX-License-Identifier: AGPL-3.0-or-later
"""Registration by sign-in with a provider (A1, C4): whose an account is, what is good once, and what providers do."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from aiohttp import ClientSession
from structlog.testing import capture_logs

from gateway.clock import SystemClock
from gateway.sign_in import TokenRefused, Vouching
from tests.support.fake_provider import (
    CLIENT,
    EC,
    ED,
    OTHER_RSA,
    P256_ORDER,
    RSA,
    FakeProvider,
    b64,
    fake_provider,
    vouching,
)
from tests.support.gateway import accounts_of, running_gateway
from tests.support.gateway import endpoint as gateway_endpoint
from tests.support.instance import ManualClock, TestInstance, running_instance
from tests.support.raw_peer import RawPeer, framed
from tests.support.sign_in import (
    REFUSED,
    endpoint,
    greeting,
    is_uid,
    log_in,
    new_keys,
    nonce_for_revision_1,
    nonce_of,
    register,
)
from tmtp_client.connection import AccountKeys, Connection
from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.sign_in import device_nonce
from tmtp_core.domain.sign_in import SIGNED_OUT


@asynccontextmanager
async def scene(
    folder: Path, registration: str = "oidc", **options: Any
) -> AsyncIterator[tuple[FakeProvider, TestInstance, Vouching]]:
    """A provider, an instance that asks it, and what stands between them."""
    clock = ManualClock()
    async with (
        fake_provider(clock) as fake,
        vouching(fake, **options) as made,
        running_instance(folder, clock=clock, registration=registration, sign_in=made.rule) as instance,
    ):
        yield fake, instance, made


async def how_many(instance: TestInstance) -> int:
    return len(await instance.service.list_accounts())


async def test_the_log_says_what_was_refused_and_not_each_time(tmp_path: Path) -> None:
    """Whoever likes can bring tokens; and nothing of them is repeated (D5)."""
    async with scene(tmp_path) as (_, instance, _):
        with capture_logs() as logged:
            for _ in range(9):
                assert await register(instance, {"id_token": "a-secret.of.somebody"}) == REFUSED
        told = [one for one in logged if one["event"] == "sign_in_refused"]
        assert [one["count"] for one in told] == [1, 2, 4, 8]
        assert "secret" not in str(logged)


# -- who gets in -----------------------------------------------------------------------------------------------------
async def test_a_revision_1_client_signs_in_as_the_wire_describes_it(tmp_path: Path) -> None:
    """wire.md §3.2, §3.4, §10: what `tmtprev` announces, and the provider's whole answer in op 1."""
    async with scene(tmp_path) as (fake, instance, _):
        greeted = await greeting(instance)
        (provider,) = greeted.authby
        assert (greeted.auth, provider.label) == (2, "The provider")
        assert (provider.login[0], provider.token[0]) == (fake.issuer + "/authorize", fake.issuer + "/token")
        asked = {name: value for name, (value,) in parse_qs(provider.login[1]).items()}
        nonce = asked.pop("nonce")
        back = "http://127.0.0.1:8463/"
        assert asked == {"client_id": CLIENT, "response_type": "code", "scope": "openid", "redirect_uri": back}
        assert dict(pair.split("=") for pair in provider.token[1].split("&"))["grant_type"] == "authorization_code"
        assert await register(instance, None) == REFUSED
        token = {"id_token": fake.token(fake.claims(nonce)), "token_type": "Bearer", "expires_in": 300}
        assert is_uid(await register(instance, {**token, "access_token": "a", "refresh_token": "r"}))


@pytest.mark.parametrize("required", [True, False])
async def test_a_revision_2_client_signs_in_where_it_must_and_where_it_may(tmp_path: Path, required: bool) -> None:
    async with scene(tmp_path, "open", required=required) as (fake, instance, _):
        assert (await greeting(instance, "2")).auth == (2 if required else 1)
        assert is_uid(await register(instance, None, new_keys())) is not required
        keys = new_keys()
        assert await register(instance, {"id_token": "forged"}, keys) == REFUSED
        uid = await register(instance, {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}, keys)
        assert is_uid(uid)
        assert await log_in(instance, uid, keys) == "login ok"


async def test_an_invitation_and_a_sign_in_are_both_asked_for_and_used_together(tmp_path: Path) -> None:
    """A1: an instance may want both. What one of them refuses uses up nothing of the other."""
    async with scene(tmp_path, "invite") as (fake, instance, _):
        invite, keys = await instance.new_invitation(), new_keys()
        good = {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}
        assert await register(instance, good, keys) == "invitation required"
        assert await register(instance, None, keys, invite) == REFUSED
        assert await register(instance, {"id_token": "forged"}, keys, invite) == REFUSED
        assert is_uid(await register(instance, good, keys, invite))
        other = new_keys()
        good = {"id_token": fake.token(fake.claims(nonce_of(instance, other), sub="person-2"))}
        assert await register(instance, good, other, invite) == "invitation required"


@pytest.mark.parametrize("name", ["Oidc", "OIDC", "oidc"])
async def test_names_of_the_providers_answer_match_in_any_case(tmp_path: Path, name: str) -> None:
    """wire.md §1.2: revision 1's names do, and a null is not given, at every depth."""
    async with scene(tmp_path) as (fake, instance, _):
        token = fake.token(fake.claims(await nonce_for_revision_1(instance)))
        peer = await RawPeer().connect(instance)
        answer = {"Id_Token": token, "ID_TOKEN": None, "token_type": "Bearer"}
        await peer.send(framed({"op": 0, "id": "1"}) + framed({"Op": 1, "NewNode": "n", "NewAlias": "_", name: answer}))
        assert b"login ok" in await peer.until(b"login ok")
        peer.close()


async def test_every_algorithm_that_is_permitted_is_verified(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        for kid, algorithm, key in (
            ("rsa", "RS256", RSA),
            ("pss", "PS256", RSA),
            ("ec", "ES256", EC),
            ("ed", "EdDSA", ED),
        ):
            keys = new_keys()
            claims = fake.claims(nonce_of(instance, keys), sub=algorithm)
            assert is_uid(await register(instance, {"id_token": fake.token(claims, kid, algorithm, key)}, keys))


# -- once ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("restart", [False, True])
async def test_a_token_is_good_once_also_after_a_restart(tmp_path: Path, restart: bool) -> None:
    async with scene(tmp_path, accounts_max=5) as (fake, instance, _):
        token = {"id_token": fake.token(fake.claims(await nonce_for_revision_1(instance)))}
        assert is_uid(await register(instance, token))
        if restart:
            await instance.restart()
        assert await register(instance, token) == REFUSED
        assert await how_many(instance) == 1


async def test_another_token_under_the_same_nonce_is_no_other_sign_in(tmp_path: Path) -> None:
    async with scene(tmp_path, accounts_max=5) as (fake, instance, _):
        nonce = await nonce_for_revision_1(instance)
        assert is_uid(await register(instance, {"id_token": fake.token(fake.claims(nonce))}))
        assert await register(instance, {"id_token": fake.token(fake.claims(nonce, auth_time=1))}) == REFUSED
        assert await how_many(instance) == 1


async def test_a_signature_that_was_bent_makes_no_other_token(tmp_path: Path) -> None:
    """ECDSA knows two signatures of everything: (r, s) and (r, n - s). The second one holds, and opens nothing more."""
    async with scene(tmp_path, accounts_max=5) as (fake, instance, made):
        token = fake.token(fake.claims(await nonce_for_revision_1(instance)), "ec", "ES256", EC)
        signed, _, signature = token.rpartition(".")
        raw = from_text(signature)
        bent = f"{signed}.{b64(raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"
        assert is_uid(await register(instance, {"id_token": token}))
        assert await register(instance, {"id_token": bent}) == REFUSED
        assert not made.refused  # it was well signed; and used
        assert await how_many(instance) == 1


async def test_a_sign_in_that_was_not_used_is_forgotten_when_nobody_can_bring_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        token = {"id_token": fake.token(fake.claims(await nonce_for_revision_1(instance)))}
        assert is_uid(await register(instance, token))
        await instance.advance(limits.REPOST_FORGET_INTERVAL_S)
        await instance.settle()

        def count(ledger: Any) -> int:
            return int(ledger._connection.exec_driver_sql("SELECT count(*) FROM used").scalar())

        assert await instance.service.decide(count) == 0
        assert await register(instance, token) == REFUSED


@pytest.mark.parametrize("nonce", ["", "x", "A" * 54, b64(bytes(40)), b64((1_790_000_000_000).to_bytes(8) + bytes(32))])
async def test_a_nonce_that_this_service_did_not_make_is_none(tmp_path: Path, nonce: str) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        assert await register(instance, {"id_token": fake.token(fake.claims(nonce))}) == REFUSED


async def test_a_nonce_ages_and_is_known_again_after_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        nonce = await nonce_for_revision_1(instance)
        await instance.restart()
        instance.clock.advance(limits.SIGN_IN_AGE_MAX_S + 1)
        assert await register(instance, {"id_token": fake.token(fake.claims(nonce))}) == REFUSED
        instance.clock.step_wall(-1)
        assert is_uid(await register(instance, {"id_token": fake.token(fake.claims(nonce))}))


async def test_a_nonce_of_another_instance_is_none(tmp_path: Path) -> None:
    async with (
        scene(tmp_path / "one") as (fake, instance, made),
        running_instance(tmp_path / "other", clock=instance.clock, registration="oidc", sign_in=made.rule) as other,
    ):
        token = {"id_token": fake.token(fake.claims(await nonce_for_revision_1(other)))}
        assert await register(instance, token) == REFUSED
        assert is_uid(await register(other, token))


# -- whose an account is ---------------------------------------------------------------------------------------------
async def test_a_person_has_one_account_unless_the_setting_says_otherwise(tmp_path: Path) -> None:
    async with scene(tmp_path, accounts_max=2) as (fake, instance, _):
        for _ in range(2):
            keys = new_keys()
            token = fake.token(fake.claims(nonce_of(instance, keys)))
            assert is_uid(await register(instance, {"id_token": token}, keys))
        keys = new_keys()
        token = fake.token(fake.claims(nonce_of(instance, keys)))
        assert await register(instance, {"id_token": token}, keys) == "you have an account here already"
        token = fake.token(fake.claims(nonce_of(instance, keys), sub="person-2"))
        assert is_uid(await register(instance, {"id_token": token}, keys))


async def test_who_was_barred_opens_no_second_account_and_who_was_removed_does(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, _):
        keys = new_keys()
        uid = await register(instance, {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}, keys)
        await instance.service.bar_account(uid)
        other = new_keys()
        token = {"id_token": fake.token(fake.claims(nonce_of(instance, other)))}
        assert await register(instance, token, other) == "you have an account here already"
        assert await log_in(instance, uid, keys) == "login failed"
        await instance.service.remove_account(uid)
        assert is_uid(await register(instance, token, other))


async def test_the_same_registration_again_is_answered_again(tmp_path: Path) -> None:
    """The answer was lost: the device signs in again, and hears of the account that it has."""
    async with scene(tmp_path) as (fake, instance, _):
        keys = new_keys()
        token = {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}
        uid = await register(instance, token, keys)
        assert await register(instance, token, keys) == uid
        assert await how_many(instance) == 1


# -- the provider ends it --------------------------------------------------------------------------------------------
async def test_who_was_signed_out_is_barred_until_he_signs_in_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, made):
        keys = new_keys()
        uid = await register(instance, {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}, keys)
        notice = await made.signed_out(fake.token(fake.logout_claims(), typ="logout+jwt"))
        assert await instance.service.sign_out(notice)
        assert (await instance.service.list_accounts())[0].status == "barred"
        assert not await instance.service.sign_out(notice)
        await instance.restart()
        assert await log_in(instance, uid, keys) == REFUSED
        stranger = new_keys()
        assert await log_in(instance, uid, stranger) == "login failed"
        of_another = fake.token(fake.claims(nonce_of(instance, keys), sub="person-2", iat=fake.now_s + 1))
        assert await log_in(instance, uid, keys, {"id_token": of_another}) == REFUSED
        spare = fake.token(fake.claims(nonce_of(instance, keys), auth_time=1))
        instance.clock.advance(1)
        assert await log_in(instance, uid, keys, {"id_token": "forged"}) == REFUSED
        assert await log_in(instance, uid, keys, {"id_token": spare}) == REFUSED  # from before the sign-out
        again = {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}
        assert await log_in(instance, uid, keys, again) == "login ok"
        assert await log_in(instance, uid, keys) == "login ok"
        late = fake.token(fake.logout_claims(jti="2", iat=fake.now_s - 1))
        assert await instance.service.sign_out(await made.signed_out(late))
        assert await log_in(instance, uid, keys) == "login ok"  # that was long under way
        assert await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims(jti="3"))))
        assert await log_in(instance, uid, keys) == REFUSED
        assert await log_in(instance, uid, keys, again) == REFUSED  # it is older than this sign-out


async def test_an_administrators_bar_is_not_lifted_by_a_sign_in(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, made):
        keys = new_keys()
        uid = await register(instance, {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}, keys)
        await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims())))
        await instance.service.bar_account(uid)
        instance.clock.advance(1)
        again = {"id_token": fake.token(fake.claims(nonce_of(instance, keys)))}
        assert await log_in(instance, uid, keys, again) == REFUSED
        assert await log_in(instance, uid, keys) == "login failed"
        await instance.service.lift_bar(uid)
        assert await log_in(instance, uid, keys) == "login ok"


async def test_a_session_that_ends_is_no_other_one(tmp_path: Path) -> None:
    """Back-Channel Logout §2.6: with `sid` it is one session's end; with `sub` alone, that of all of a person's."""
    async with scene(tmp_path, accounts_max=2) as (fake, instance, made):
        uids = []
        for session in ("session-1", "session-2"):
            keys = new_keys()
            token = fake.token(fake.claims(nonce_of(instance, keys), sid=session))
            uids.append(await register(instance, {"id_token": token}, keys))

        async def ends(**claims: Any) -> dict[str, str]:
            jti = json.dumps(claims)
            await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims(jti=jti, **claims))))
            return {one.uid: one.status for one in await instance.service.list_accounts()}

        assert set((await ends(sid="session-3")).values()) == {"active"}
        assert set((await ends(sub="person-2")).values()) == {"active"}
        assert await ends(sub=None, sid="session-1") == {uids[0]: "barred", uids[1]: "active"}
        assert set((await ends()).values()) == {"barred"}


async def test_a_second_sign_out_counts_from_then(tmp_path: Path) -> None:
    """A token from between two sign-outs lifts no bar, whoever kept it."""
    async with scene(tmp_path) as (fake, instance, made):
        keys = new_keys()

        def token() -> dict[str, Any]:
            return {"id_token": fake.token(fake.claims(nonce_of(instance, keys), exp=fake.now_s + 900))}

        uid = await register(instance, token(), keys)
        instance.clock.advance(10)
        assert await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims(jti="1"))))
        instance.clock.advance(10)
        between = token()
        instance.clock.advance(10)
        assert await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims(jti="2"))))
        instance.clock.advance(10)
        assert await log_in(instance, uid, keys, between) == REFUSED
        assert await log_in(instance, uid, keys, token()) == "login ok"
        await instance.service.bar_account(uid)
        assert await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims(jti="3"))))
        instance.clock.advance(10)
        assert await log_in(instance, uid, keys, token()) != "login ok"  # it is the administrator's bar


@pytest.mark.parametrize("named", [{}, {"sid": "s1"}, {"sid": "s1", "sub": None}])
async def test_a_sign_out_holds_for_who_has_no_account_yet(tmp_path: Path, named: dict[str, Any]) -> None:
    """Whoever was dismissed registers with no token from before that, also after a restart; with a later one he may."""
    async with scene(tmp_path, accounts_max=9) as (fake, instance, made):

        async def joins(token: str, keys: AccountKeys) -> bool:
            return is_uid(await register(instance, {"id_token": token}, keys))

        def token(keys: AccountKeys, **claims: Any) -> str:
            return fake.token(fake.claims(nonce_of(instance, keys), **{"exp": fake.now_s + 900, "sid": "s1", **claims}))

        one, other, third, later = new_keys(), new_keys(), new_keys(), new_keys()
        kept, of_another, of_his_other_session = token(one), token(other, sub="2", sid="s2"), token(third, sid="s3")
        instance.clock.advance(60)
        assert await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims(**named))))
        await instance.restart()
        instance.clock.advance(600)
        assert not await joins(kept, one)
        assert await joins(of_another, other)
        assert await joins(of_his_other_session, third) is bool(named)
        assert await joins(token(later), later)


async def test_the_links_of_who_is_signed_out_end_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as (fake, instance, made):
        keys = new_keys()
        connection = await Connection.open(endpoint(instance), revision="2")
        token = fake.token(fake.claims(nonce_of(instance, keys)))
        await connection.register_keys("laptop", keys, "_", oidc={"id_token": token})
        await instance.service.sign_out(await made.signed_out(fake.token(fake.logout_claims())))
        assert await connection.closed() == SIGNED_OUT
        await connection.close()


_BAD_LOGOUTS: dict[str, tuple[str, Any]] = {
    "an ID token": ("an ID token", lambda f: f.token(f.claims("nonce"))),
    "an ID token with the event": ("an ID token", lambda f: f.token({**f.logout_claims(), "nonce": "n"})),
    "another kind": ("another kind of token", lambda f: f.token(f.logout_claims(), typ="at+jwt")),
    "no event": ("it ends no session", lambda f: f.token(f.logout_claims(events=None))),
    "another event": ("it ends no session", lambda f: f.token(f.logout_claims(events={"http://x.example/login": {}}))),
    "an event that is a list": (
        "it ends no session",
        lambda f: f.token(f.logout_claims(events=["http://schemas.openid.net/event/backchannel-logout"])),
    ),
    "an event that is no object": (
        "it ends no session",
        lambda f: f.token(f.logout_claims(events={"http://schemas.openid.net/event/backchannel-logout": True})),
    ),
    "nobody": ("it names nobody", lambda f: f.token(f.logout_claims(sub=None))),
    "an empty subject": ("no sub", lambda f: f.token(f.logout_claims(sub="", sid="s"))),
    "no name of its own": ("no jti", lambda f: f.token(f.logout_claims(jti=None))),
    "another issuer": ("another issuer", lambda f: f.token(f.logout_claims(iss="https://evil.example"))),
    "another audience": ("for another audience", lambda f: f.token(f.logout_claims(aud="other"))),
    "expired": ("expired", lambda f: f.token(f.logout_claims(iat=f.now_s - 900, exp=f.now_s - 61))),
    "no expiry": ("no exp", lambda f: f.token(f.logout_claims(exp=None))),
    "old": ("issued too long ago", lambda f: f.token(f.logout_claims(iat=f.now_s - 961, exp=f.now_s + 9_999))),
    "a stranger's key": ("its signature does not hold", lambda f: f.token(f.logout_claims(), key=OTHER_RSA)),
    "alg none": ("not of three parts", lambda f: f.token(f.logout_claims(), alg="none")),
}


@pytest.mark.parametrize("name", _BAD_LOGOUTS)
async def test_a_forged_logout_token_signs_nobody_out(tmp_path: Path, name: str) -> None:
    clock = ManualClock()
    async with fake_provider(clock) as fake, vouching(fake) as made:
        reason, forge = _BAD_LOGOUTS[name]
        with pytest.raises(TokenRefused, match=reason):
            await made.signed_out(forge(fake))
        assert (await made.signed_out(fake.token(fake.logout_claims()))).subject == "person-1"


CLUB = """\
data_dir: ./data
http: {listen: "127.0.0.1:0"}
log: {level: error}
instances:
  - name: club
    policy: public
    registration: oidc
    listen: [{tls: "127.0.0.1:0"}]
    sign_in: {provider: {issuer: "ISSUER", client_id: tmtp, label: Club}}
  - {name: other, policy: public, listen: [{tls: "127.0.0.1:0"}]}
"""


async def test_a_provider_signs_people_out_over_http(tmp_path: Path) -> None:
    """Back-Channel Logout §2.5, §2.8; what is answered with 200 is durable."""
    async with (
        fake_provider(SystemClock()) as fake,
        running_gateway(tmp_path, CLUB.replace("ISSUER", fake.issuer)) as gateway,
    ):
        keys = new_keys()
        connection = await Connection.open(gateway_endpoint(gateway, "club"), revision="2")
        service_key = gateway.instances["club"].service.identity.public_key
        token = fake.token(fake.claims(device_nonce(service_key, keys.device.signer.public)))
        await connection.register_keys("laptop", keys, "_", oidc={"id_token": token})
        url = "http://{}:{}/sign-in/".format(*gateway.http_address)
        good = {"logout_token": fake.token(fake.logout_claims(), typ="logout+jwt")}
        async with ClientSession() as http:

            async def answer(path: str, **body: Any) -> int:
                async with http.post(url + path, **body) as answered:
                    assert answered.headers.get("Cache-Control") == "no-store"
                    return answered.status

            assert await answer("club/logout", data={"logout_token": token}) == 400
            assert await answer("club/logout", data={}) == 400
            assert await answer("club/logout", json=good) == 400
            assert await answer("club/logout", data={"logout_token": "x" * 40_000}) == 413
            for charset in ("punycode", "no-such-thing"):
                kind = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
                assert await answer("club/logout", data=urlencode(good).encode(), headers=kind) == 400
            assert await answer("other/logout", data=good) == 404
            assert await answer("nowhere/logout", data=good) == 404
            assert connection.is_open
            assert await answer("club/logout", data=good) == 200
            assert await connection.closed() == SIGNED_OUT
            assert [one.status for one in await accounts_of(gateway, "club")] == ["barred"]
            assert await answer("club/logout", data=good) == 200
            async with http.get(url + "club/logout") as answered:
                assert answered.status == 405
        await connection.close()


async def test_where_no_provider_is_named_nobody_is_signed_out(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, ClientSession() as http:
        url = "http://{}:{}/sign-in/members/logout".format(*gateway.http_address)
        async with http.post(url, data={"logout_token": "x"}) as answered:
            assert answered.status == 404
