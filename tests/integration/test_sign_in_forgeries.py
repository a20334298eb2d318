# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forged tokens, each by itself, at an instance that registers by sign-in (A1): refused, and nothing is created.

Every case names the check that refuses it, and brings a good token afterwards under the same nonce: what was refused
was the forgery and nothing else.
"""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.sign_in import Vouching
from tests.support.fake_provider import (
    CLIENT,
    EC,
    ED,
    P256_ORDER,
    RSA,
    STRANGER,
    WEAK,
    FakeProvider,
    b64,
    fake_provider,
    jws,
    public_jwk,
    vouching,
)
from tests.support.instance import ManualClock, TestInstance, running_instance
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint
from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text
from tmtp_core.crypto.sign_in import device_nonce

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # of a key that is too weak

REFUSED = "authentication required"


@dataclass
class Scene:
    """A provider, and an instance that asks it; `keys` are of one who wants to join, `nonce` is theirs."""

    fake: FakeProvider
    instance: TestInstance
    keys: AccountKeys
    made: Vouching
    person: str = "person-1"

    @property
    def nonce(self) -> str:
        return device_nonce(self.instance.service.identity.public_key, self.keys.device.signer.public)

    def claims(self, **more: Any) -> dict[str, Any]:
        return self.fake.claims(self.nonce, **{"sub": self.person, **more})

    def good(self, **more: Any) -> str:
        return self.fake.token(self.claims(**more))

    def raw(self, payload: bytes, header: Any = None) -> str:
        return jws(header or {"alg": "RS256", "kid": "rsa"}, payload, RSA)


@asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    clock = ManualClock()
    async with (
        fake_provider(clock) as fake,
        vouching(fake) as made,
        running_instance(folder, clock=clock, registration="oidc", sign_in=made.rule) as instance,
    ):
        yield Scene(fake, instance, AccountKeys.new(os.urandom), made)


async def attempt(scene: Scene, oidc: dict[str, Any] | None, keys: AccountKeys | None = None) -> str:
    """Register; what came of it."""
    instance = scene.instance
    connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), revision="2")
    try:
        registered = await connection.register_keys("laptop", keys or scene.keys, "_", oidc=oidc)
    except Disconnected as ended:
        return str(ended)
    finally:
        await connection.close()
    return registered.uid


def _pem(scene: Scene) -> bytes:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hs256(scene: Scene, key: bytes, kid: str = "rsa") -> str:
    return jws({"alg": "HS256", "kid": kid}, json.dumps(scene.claims()).encode(), key)


def _with_signature(token: str, signature: bytes) -> str:
    return token.rpartition(".")[0] + "." + b64(signature)


def _ec(scene: Scene) -> str:
    return scene.fake.token(scene.claims(), "ec", "ES256", EC)


def _twice(scene: Scene, name: str, value: Any) -> str:
    """A claim that comes twice, the good one last."""
    return scene.raw(
        b'{"%b":%b,%b' % (name.encode(), json.dumps(value).encode(), json.dumps(scene.claims()).encode()[1:])
    )


FORGERIES: dict[str, tuple[str, Callable[[Scene], Any]]] = {
    # -- from whom, for whom
    "another issuer": ("another issuer", lambda s: s.good(iss="https://evil.example")),
    "the issuer with a slash more": ("another issuer", lambda s: s.good(iss=s.fake.issuer + "/")),
    "the issuer in capitals": ("another issuer", lambda s: s.good(iss=s.fake.issuer.upper())),
    "an issuer that is a list": ("another issuer", lambda s: s.good(iss=[s.fake.issuer])),
    "no issuer": ("another issuer", lambda s: s.good(iss=None)),
    "another client's token": ("for another audience", lambda s: s.good(aud="another-client")),
    "another audience besides": ("for another audience", lambda s: s.good(aud=[CLIENT, "another-client"])),
    "an audience that holds ours": ("for another audience", lambda s: s.good(aud=CLIENT + "-admin")),
    "an audience that is an object": ("for another audience", lambda s: s.good(aud={CLIENT: True})),
    "no audience at all": ("for another audience", lambda s: s.good(aud=[])),
    "no audience": ("for another audience", lambda s: s.good(aud=None)),
    "another authorized party": ("for another party", lambda s: s.good(azp="another-client")),
    "an authorized party that is a list": ("for another party", lambda s: s.good(azp=[CLIENT])),
    # -- algorithms and keys
    "alg none": ("its algorithm is not permitted", lambda s: s.fake.token(s.claims(), alg="none") + b64(b"x")),
    "alg none, without a signature": ("not of three parts", lambda s: s.fake.token(s.claims(), alg="none")),
    "alg nOnE": ("its algorithm is not permitted", lambda s: s.fake.token(s.claims(), alg="nOnE") + b64(b"x")),
    "HS256 with the public key as PEM": ("its algorithm is not permitted", lambda s: _hs256(s, _pem(s))),
    "HS256 with the public key as JWK": (
        "its algorithm is not permitted",
        lambda s: _hs256(s, json.dumps(public_jwk(RSA, "rsa")).encode()),
    ),
    "HS256 with the modulus": (
        "its algorithm is not permitted",
        lambda s: _hs256(s, public_jwk(RSA, "rsa")["n"].encode()),
    ),
    "HS256 with a shared key of the set": (
        "its algorithm is not permitted",
        lambda s: _hs256(s, b"shared by both sides, as some do", "oct"),
    ),
    "HS256 with an empty key": ("its algorithm is not permitted", lambda s: _hs256(s, b"")),
    "no algorithm": (
        "its algorithm is not permitted",
        lambda s: jws({"kid": "rsa"}, json.dumps(s.claims()).encode(), RSA, "RS256"),
    ),
    "an algorithm that is a list": (
        "its algorithm is not permitted",
        lambda s: jws({"alg": ["RS256"], "kid": "rsa"}, json.dumps(s.claims()).encode(), RSA, "RS256"),
    ),
    "an algorithm that is not permitted": (
        "its algorithm is not permitted",
        lambda s: jws({"alg": "ES256K", "kid": "ec"}, json.dumps(s.claims()).encode(), EC),
    ),
    "a stranger's key": ("its signature does not hold", lambda s: s.fake.token(s.claims(), key=STRANGER)),
    "a key that nobody has": ("no such key", lambda s: s.fake.token(s.claims(), "unheard-of", key=STRANGER)),
    "the name of another key": ("no such key", lambda s: s.fake.token(s.claims(), "ec")),
    "an RSA key for an elliptic curve": ("no such key", lambda s: s.fake.token(s.claims(), "rsa", "ES256", EC)),
    "an Ed25519 key as RSA": ("no such key", lambda s: s.fake.token(s.claims(), "ed", "RS256", ED)),
    "PS256 with a key for RS256": ("no such key", lambda s: s.fake.token(s.claims(), "rsa", "PS256")),
    "a key for encryption": ("no such key", lambda s: s.fake.token(s.claims(), "enc", key=STRANGER)),
    "a key of 1,024 bits": ("no such key", lambda s: s.fake.token(s.claims(), "weak", key=WEAK)),
    "no key named, where there are several": (
        "no such key",
        lambda s: s.raw(json.dumps(s.claims()).encode(), {"alg": "RS256"}),
    ),
    "a key name that is a number": ("a header of the wrong type", lambda s: s.fake.token(s.claims(), 7)),  # type: ignore[arg-type]
    "a key name that is a path": (
        "no such key",
        lambda s: s.fake.token(s.claims(), "../../../../dev/null", key=STRANGER),
    ),
    "it brings its own key": (
        "it brings its own key",
        lambda s: s.fake.token(s.claims(), key=STRANGER, jwk=public_jwk(STRANGER, "rsa")),
    ),
    "it says where its key is": (
        "it brings its own key",
        lambda s: s.fake.token(s.claims(), key=STRANGER, jku=s.fake.issuer + "/other-keys"),
    ),
    "it says where its certificate is": (
        "it brings its own key",
        lambda s: s.fake.token(s.claims(), key=STRANGER, x5u=s.fake.issuer + "/x"),
    ),
    "it brings its certificate": (
        "it brings its own key",
        lambda s: s.fake.token(s.claims(), key=STRANGER, x5c=["MII="]),
    ),
    "a well signed one that brings a key all the same": (
        "it brings its own key",
        lambda s: s.fake.token(s.claims(), jwk=public_jwk(RSA, "rsa")),
    ),
    "an extension that must be understood": (
        "a header that is not understood",
        lambda s: s.fake.token(s.claims(), crit=["exp2"], exp2=1),
    ),
    "an extension of nothing": ("a header that is not understood", lambda s: s.fake.token(s.claims(), crit=[])),
    "a payload that is not encoded": (
        "a header that is not understood",
        lambda s: s.fake.token(s.claims(), b64=False, crit=["b64"]),
    ),
    "another kind of token": ("another kind of token", lambda s: s.fake.token(s.claims(), typ="at+jwt")),
    "a logout token": ("another kind of token", lambda s: s.fake.token(s.fake.logout_claims(), typ="logout+jwt")),
    "a logout token with a nonce": (
        "a logout token",
        lambda s: s.fake.token({**s.fake.logout_claims(), "nonce": s.nonce}),
    ),
    # -- signatures
    "a claim changed after signing": (
        "its signature does not hold",
        lambda s: ".".join(
            [(p := s.good(sub="person-2").split("."))[0], b64(json.dumps(s.claims(sub="admin")).encode()), p[2]]
        ),
    ),
    "the header changed after signing": (
        "its signature does not hold",
        lambda s: ".".join([b64(b'{"alg":"RS256","kid":"rsa","x":1}'), *s.good().split(".")[1:]]),
    ),
    "a signature of zeros, elliptic": ("its signature does not hold", lambda s: _with_signature(_ec(s), bytes(64))),
    "a signature of r = 0": (
        "its signature does not hold",
        lambda s: _with_signature(_ec(s), bytes(32) + (1).to_bytes(32)),
    ),
    "a signature of the order": (
        "its signature does not hold",
        lambda s: _with_signature(_ec(s), P256_ORDER.to_bytes(32) * 2),
    ),
    "a signature in DER": (
        "its signature does not hold",
        lambda s: _with_signature(_ec(s), b"\x30\x06\x02\x01\x01\x02\x01\x01"),
    ),
    "half a signature": (
        "its signature does not hold",
        lambda s: _with_signature(t := s.good(), from_text(t.rpartition(".")[2])[:128]),
    ),
    "a signature of zeros, RSA": ("its signature does not hold", lambda s: _with_signature(s.good(), bytes(256))),
    "a signature of ones, RSA": ("its signature does not hold", lambda s: _with_signature(s.good(), (1).to_bytes(256))),
    "a signature of zeros, Ed25519": (
        "its signature does not hold",
        lambda s: _with_signature(s.fake.token(s.claims(), "ed", "EdDSA", ED), bytes(64)),
    ),
    "no signature": ("not of three parts", lambda s: s.good().rpartition(".")[0] + "."),
    # -- times
    "expired": ("expired", lambda s: s.good(iat=s.fake.now_s - 700, exp=s.fake.now_s - 61)),
    "expired a year ago, issued tomorrow": (
        "expired",
        lambda s: s.good(iat=s.fake.now_s + 86_400, exp=s.fake.now_s - 31_536_000),
    ),
    "not yet valid": ("not yet valid", lambda s: s.good(nbf=s.fake.now_s + 61)),
    "issued in the future": ("not yet valid", lambda s: s.good(iat=s.fake.now_s + 61, exp=s.fake.now_s + 600)),
    "issued long ago, and valid for a year": (
        "issued too long ago",
        lambda s: s.good(iat=s.fake.now_s - 961, exp=s.fake.now_s + 31_536_000),
    ),
    "no expiry": ("no exp", lambda s: s.good(exp=None)),
    "no date": ("no iat", lambda s: s.good(iat=None)),
    "an expiry that is a text": ("no exp", lambda s: s.good(exp=str(s.fake.now_s + 300))),
    "an expiry that is true": ("no exp", lambda s: s.good(exp=True)),
    "an expiry that is infinite": (
        "not well formed",
        lambda s: s.raw(json.dumps(s.claims(exp=0)).replace('"exp": 0', '"exp": Infinity').encode()),
    ),
    "an expiry with a fraction": ("no exp", lambda s: s.good(exp=s.fake.now_s + 300.5)),
    "an expiry beyond all clocks": ("no exp", lambda s: s.good(exp=2**63)),
    "a date that is a list": ("no iat", lambda s: s.good(iat=[s.fake.now_s])),
    "a start that is a text": ("no nbf", lambda s: s.good(nbf="0")),
    # -- who, and for what
    "another nonce": ("not the nonce", lambda s: s.fake.token(s.fake.claims("another"))),
    "another device's nonce": (
        "not the nonce",
        lambda s: s.fake.token(
            s.fake.claims(
                device_nonce(s.instance.service.identity.public_key, AccountKeys.new(os.urandom).device.signer.public)
            )
        ),
    ),
    "a nonce of another service": (
        "not the nonce",
        lambda s: s.fake.token(s.fake.claims(device_nonce(bytes(32), s.keys.device.signer.public))),
    ),
    "no nonce": ("not the nonce", lambda s: s.fake.token(s.fake.claims(None))),
    "a nonce that is a list": ("not the nonce", lambda s: s.fake.token(s.fake.claims([s.nonce]))),  # type: ignore[arg-type]
    "no subject": ("no sub", lambda s: s.good(sub=None)),
    "an empty subject": ("no sub", lambda s: s.good(sub="")),
    "a subject that is a number": ("no sub", lambda s: s.good(sub=7)),
    "a subject that is a list": ("no sub", lambda s: s.good(sub=["person-1"])),
    "a subject that is too long": ("no sub", lambda s: s.good(sub="x" * 256)),
    "a subject with a zero in it": ("no sub", lambda s: s.good(sub="person\0-1")),
    "a subject in other letters": ("no sub", lambda s: s.good(sub="pеrson-1")),
    "a session that is an object": ("no sid", lambda s: s.good(sid={})),
    # -- groups
    "in another group": ("in none of the groups", lambda s: s.good(groups=["staff"])),
    "in no group": ("in none of the groups", lambda s: s.good(groups=[])),
    "without groups": ("in none of the groups", lambda s: s.good(groups=None)),
    "groups as a text that holds the name": ("in none of the groups", lambda s: s.good(groups="not-tmtp-at-all")),
    "groups as a text": ("in none of the groups", lambda s: s.good(groups="tmtp")),
    "groups as an object": ("in none of the groups", lambda s: s.good(groups={"tmtp": False})),
    "a group whose name holds the name": ("in none of the groups", lambda s: s.good(groups=["tmtp-former"])),
    "the group inside a list in the list": ("in none of the groups", lambda s: s.good(groups=[["tmtp"]])),
    "the group in capitals": ("in none of the groups", lambda s: s.good(groups=["TMTP"])),
    # -- form
    "the issuer twice": ("not well formed", lambda s: _twice(s, "iss", "https://evil.example")),
    "the subject twice": ("not well formed", lambda s: _twice(s, "sub", "admin")),
    "the audience twice": ("not well formed", lambda s: _twice(s, "aud", CLIENT)),
    "a header with alg twice": (
        "not well formed",
        lambda s: jws(b'{"alg":"none","alg":"RS256","kid":"rsa"}', json.dumps(s.claims()).encode(), RSA),
    ),
    "a name twice, deep inside": (
        "not well formed",
        lambda s: s.raw(json.dumps(s.claims(x=0)).replace('"x": 0', '"x": {"a":1,"a":2}').encode()),
    ),
    "too long": ("too long", lambda s: s.good(padding="x" * limits.SIGN_IN_TOKEN_MAX_BYTES)),
    "a list for a payload": ("not well formed", lambda s: s.raw(json.dumps([s.claims()]).encode())),
    "a list for a header": ("not well formed", lambda s: jws(b'["RS256"]', json.dumps(s.claims()).encode(), RSA)),
    "nested too deep": ("not well formed", lambda s: s.raw(b'{"a":' * 1_900 + b"1" + b"}" * 1_900)),
    "one token inside another": (
        "a header that is not understood",
        lambda s: s.raw(s.good().encode(), {"alg": "RS256", "kid": "rsa", "cty": "JWT"}),
    ),
    "not UTF-8": ("not well formed", lambda s: s.raw(json.dumps(s.claims()).encode() + b"\xff")),
    "UTF-16": ("not well formed", lambda s: s.raw(json.dumps(s.claims()).encode("utf-16"))),
    "bytes after the payload": ("not well formed", lambda s: s.raw(json.dumps(s.claims()).encode() + b"{}")),
    "two parts": ("not of three parts", lambda s: s.good().rpartition(".")[0]),
    "four parts": ("not of three parts", lambda s: s.good() + ".AAAA"),
    "five parts, as of an encrypted one": ("not of three parts", lambda s: "eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA"),
    "padding": ("not well formed", lambda s: s.good() + "=="),
    "a line end behind": ("not well formed", lambda s: s.good() + "\n"),
    "a blank inside": ("not well formed", lambda s: s.good().replace(".", ". ", 1)),
    "letters of the other base64": ("not well formed", lambda s: s.good()[:-4] + "+/+/"),
    "a header that is not base64": ("not well formed", lambda s: "{}" + s.good()[s.good().index(".") :]),
    "cut short": ("not of three parts", lambda s: s.good()[:200]),
    "nothing": ("no token", lambda s: ""),
    "only dots": ("not of three parts", lambda s: ".."),
    "a number": ("no token", lambda s: 7),
    "an object": ("no token", lambda s: {"id_token": s.good()}),
    "a list of one": ("no token", lambda s: [s.good()]),
    "null": ("no token", lambda s: None),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("forgeries") / "instance") as scene:
        yield scene


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forgery_opens_nothing(stage: Scene, name: str) -> None:
    scene = replace(stage, keys=AccountKeys.new(os.urandom), person=name)
    before = await scene.instance.service.list_accounts()
    reason, forge = FORGERIES[name]
    refused = scene.made.refused.copy()
    assert await attempt(scene, {"id_token": forge(scene)}) == REFUSED
    assert scene.made.refused - refused == {reason: 1}
    assert await scene.instance.service.list_accounts() == before
    assert len(await attempt(scene, {"id_token": scene.good()})) == 32
    assert len(await scene.instance.service.list_accounts()) == len(before) + 1
