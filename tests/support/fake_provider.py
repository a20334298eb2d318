# SPDX-License-Identifier: AGPL-3.0-or-later
"""An identity provider made by hand, on loopback: it signs whatever a test wants, also what no real one would."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.sign_in import GroupRule, Provider, ProviderSettings, Vouching
from tmtp_core.clock import Clock

CLIENT = "tmtp"
THE_GROUP = GroupRule("groups", ("tmtp",))
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER_RSA = rsa.generate_private_key(65537, 2048)
STRANGER = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(data: bytes) -> str:
    """As a JWS writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    """A number of a JWK."""
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


def public_jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    """The public half of a key, for a set."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e), **more}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "kid": kid, "x": number(point.x, 32), "y": number(point.y, 32), **more}
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(key.public_key().public_bytes_raw()), **more}


def sign(key: Any, algorithm: str, data: bytes) -> bytes:
    """A signature, of whatever kind."""
    if algorithm.lower() == "none":
        return b""
    if isinstance(key, bytes):
        return hmac.digest(key, data, hashlib.sha256)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if algorithm == "PS256":
        return bytes(key.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()))
    return bytes(key.sign(data, padding.PKCS1v15(), hashes.SHA256()))


def jws(header: Any, payload: bytes, key: Any, algorithm: str | None = None) -> str:
    """A token with exactly this header and payload."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    signed = f"{b64(raw)}.{b64(payload)}"
    algorithm = algorithm or (header["alg"] if isinstance(header, dict) else "RS256")
    return f"{signed}.{b64(sign(key, str(algorithm), signed.encode()))}"


class FakeProvider:
    """What it answers is the test's to change: `keys`, `configuration`, or a whole `answer`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.keys: Any = {
            "keys": [
                public_jwk(RSA, "rsa", use="sig", alg="RS256"),
                public_jwk(OTHER_RSA, "rsa-2", use="sig", alg="RS256"),
                public_jwk(RSA, "pss", use="sig", alg="PS256"),
                public_jwk(EC, "ec", use="sig"),
                public_jwk(ED, "ed"),
                public_jwk(WEAK, "weak"),
                public_jwk(STRANGER, "enc", use="enc"),
                {"kty": "oct", "kid": "oct", "k": b64(b"shared by both sides, as some do")},
            ]
        }
        self.configuration: dict[str, Any] = {}
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None  # to who asks for keys
        self.asked: list[str] = []
        self.issuer = ""

    @property
    def now_s(self) -> int:
        """By the instance's clock."""
        return self.clock.wall_ns() // 1_000_000_000

    def claims(self, nonce: str, **more: Any) -> dict[str, Any]:
        """Of a good ID token, but for what the test says; None takes one out."""
        good = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "person-1",
            "iat": self.now_s,
            "exp": self.now_s + 300,
            "nonce": nonce,
            "groups": ["staff", "tmtp"],
        }
        return {name: value for name, value in {**good, **more}.items() if value is not None}

    def logout_claims(self, **more: Any) -> dict[str, Any]:
        """Of a good logout token, but for what the test says; None takes one out."""
        good = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "person-1",
            "iat": self.now_s,
            "exp": self.now_s + 120,
            "jti": "logout-1",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }
        return {name: value for name, value in {**good, **more}.items() if value is not None}

    def token(self, claims: dict[str, Any], kid: str = "rsa", alg: str = "RS256", key: Any = RSA, **more: Any) -> str:
        """A token as a provider signs it, with more in its header."""
        return jws({"alg": alg, "kid": kid, "typ": "JWT", **more}, json.dumps(claims).encode(), key)

    async def _configuration(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        default = {
            "issuer": self.issuer,
            "authorization_endpoint": self.issuer + "/authorize",
            "token_endpoint": self.issuer + "/token",
            "jwks_uri": self.issuer + "/keys",
        }
        return web.json_response({**default, **self.configuration})

    async def _keys(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return await self.answer(request) if self.answer is not None else web.json_response(self.keys)


@asynccontextmanager
async def fake_provider(clock: Clock) -> AsyncIterator[FakeProvider]:
    """One that listens for the length of the block."""
    fake = FakeProvider(clock)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", fake._configuration)
    app.router.add_get("/{path:(?:other-)?keys}", fake._keys)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


@asynccontextmanager
async def vouching(fake: FakeProvider, groups: GroupRule | None = THE_GROUP, **options: Any) -> AsyncIterator[Vouching]:
    """What stands between an instance and the provider; it has asked once."""
    settings = ProviderSettings(fake.issuer, CLIENT, "The provider", redirect_uri="http://127.0.0.1:8463/")
    made = Vouching("test", Provider(settings, fake.clock), groups, **options)
    await made.provider.start()
    try:
        while not made.provider.endpoints and not fake.answer:
            await asyncio.sleep(0.01)
        yield made
    finally:
        await made.provider.stop()
