# SPDX-License-Identifier: AGPL-3.0-or-later
"""ID tokens and logout tokens, each check by itself (OpenID Connect Core §3.1.3.7, Back-Channel Logout §2.6, RFC 8725).

Pure: the keys and the time are arguments. A token is taken apart once, by this module, so that what is checked is what
was signed; the library does the arithmetic. `TokenRefused` names the check that failed, for the log only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey
from joserfc.jws import JWSRegistry

from gateway.sign_in import bounds
from gateway.sign_in.strict_json import strict_json
from tmtp_core import limits
from tmtp_core.crypto.encoding import from_text

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA", "RS384", "RS512", "PS384", "PS512", "ES384", "ES512")
"""All that sign with a key pair; never `none`, never one whose key both sides have."""
LOGOUT_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"

_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_BRINGS_A_KEY: Final = frozenset({"jwk", "jku", "x5u", "x5c"})
_CHANGES_ITS_MEANING: Final = frozenset({"crit", "b64", "zip", "enc", "cty"})
_TIME_MAX_S: Final = limits.DATE_MAX_MS // 1000


class TokenRefused(Exception):
    """A token proves nothing; the text is the check that failed, and holds nothing of the token."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What an ID token that holds says of a person. `session`: the provider's, "" for none; `claims`: all of it.

    `digest`: of what was signed, by which the token is known, however its signature is written.
    """

    issuer: str
    subject: str
    session: str
    nonce: str
    issued_s: int
    expires_s: int
    claims: Mapping[str, Any]
    digest: bytes


@dataclass(frozen=True, slots=True)
class LogoutClaims:
    """What a logout token that holds says: whose sign-ins end, or which; `token_id` is its own name."""

    issuer: str
    subject: str
    session: str
    issued_s: int
    token_id: str


@dataclass(frozen=True, slots=True)
class Expected:
    """From whom, and for whom, tokens are taken, and signed how."""

    issuer: str
    client_id: str
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Who is let in of those whom the provider knows: whose list `claim` has one of these names."""

    claim: str
    any_of: tuple[str, ...]

    def admits(self, claims: Claims) -> bool:
        """Whether a person is in one of the groups. A name counts as a whole, and only in a list."""
        groups = claims.claims.get(self.claim)
        if not isinstance(groups, list):
            return False
        return any(group in self.any_of for group in groups if isinstance(group, str))


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token taken apart, of which nothing is known yet but its form."""

    algorithm: str
    key_id: str | None
    kind: str
    payload: bytes
    signed: bytes
    signature: bytes


class KeySet:
    """The public keys of one provider that can verify something; the others it may have are left out."""

    def __init__(self, document: Any) -> None:
        """Raises ValueError for what is no JSON Web Key Set."""
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise ValueError("no set of keys")  # noqa: TRY004 - of a document, not of an argument
        self._keys = [key for entry in entries[: bounds.KEYS_MAX] if (key := _usable(entry)) is not None]

    def for_token(self, token: Unverified) -> Key | None:
        """The key that a token names; one without a name, only where there is nothing to choose."""
        fitting = [key for key in self._keys if _fits(key, token.algorithm)]
        if token.key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        named = [key for key in fitting if key.get("kid") == token.key_id]
        return named[0] if len(named) == 1 else None


def taken_apart(token: Any, expected: Expected) -> Unverified:
    """A compact JWS of a permitted algorithm, and nothing else. Raises `TokenRefused`."""
    if not isinstance(token, str) or not token:
        raise TokenRefused("no token")
    if len(token) > limits.SIGN_IN_TOKEN_MAX_BYTES:
        raise TokenRefused("too long")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise TokenRefused("not of three parts")
    try:
        header, payload, signature = (from_text(part) for part in parts)
        head = strict_json(header)
    except ValueError:
        raise TokenRefused("not well formed") from None
    if not isinstance(head, dict):
        raise TokenRefused("not well formed")
    if not head.keys().isdisjoint(_BRINGS_A_KEY):
        raise TokenRefused("it brings its own key")
    if not head.keys().isdisjoint(_CHANGES_ITS_MEANING):
        raise TokenRefused("a header that is not understood")
    algorithm, key_id, kind = head.get("alg"), head.get("kid"), head.get("typ", "JWT")
    if algorithm not in expected.algorithms:
        raise TokenRefused("its algorithm is not permitted")
    if not (key_id is None or isinstance(key_id, str)) or not isinstance(kind, str):
        raise TokenRefused("a header of the wrong type")
    return Unverified(algorithm, key_id, kind.lower(), payload, f"{parts[0]}.{parts[1]}".encode(), signature)


def verified(token: Unverified, key: Key | None) -> dict[str, Any]:
    """The claims of a token that this key signed. Raises `TokenRefused`."""
    if key is None or not _fits(key, token.algorithm):
        raise TokenRefused("no such key")
    try:
        holds = JWSRegistry.algorithms[token.algorithm].verify(token.signed, token.signature, key)
    except (JoseError, ValueError):
        holds = False
    if not holds:
        raise TokenRefused("its signature does not hold")
    try:
        claims = strict_json(token.payload)
    except ValueError:
        raise TokenRefused("not well formed") from None
    if not isinstance(claims, dict):
        raise TokenRefused("not well formed")
    return claims


def id_claims(
    token: Unverified, claims: dict[str, Any], expected: Expected, now_s: int, is_nonce: Callable[[str], bool]
) -> Claims:
    """Who signed in, here, just now, and for this. Raises `TokenRefused`."""
    if token.kind != "jwt":
        raise TokenRefused("another kind of token")
    if "events" in claims:
        raise TokenRefused("a logout token")
    _check_parties(claims, expected)
    issued_s, expires_s = _time(claims, "iat"), _time(claims, "exp")
    _check_times(claims, issued_s, expires_s, now_s)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not 0 < len(nonce) <= bounds.NONCE_MAX_CHARACTERS or not is_nonce(nonce):
        raise TokenRefused("not the nonce")
    subject, session = _text(claims, "sub"), _text(claims, "sid", optional=True)
    digest = blake2b(token.signed, digest_size=32).digest()
    return Claims(expected.issuer, subject, session, nonce, issued_s, expires_s, claims, digest)


def logout_claims(token: Unverified, claims: dict[str, Any], expected: Expected, now_s: int) -> LogoutClaims:
    """Whose sign-ins the provider ends, or which (Back-Channel Logout §2.6). Raises `TokenRefused`."""
    if token.kind not in {"logout+jwt", "jwt"}:  # §2.4: new providers say so, older ones do not
        raise TokenRefused("another kind of token")
    if "nonce" in claims:
        raise TokenRefused("an ID token")
    _check_parties(claims, expected)
    issued_s = _time(claims, "iat")
    _check_times(claims, issued_s, _time(claims, "exp"), now_s)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise TokenRefused("it ends no session")
    subject, session = _text(claims, "sub", optional=True), _text(claims, "sid", optional=True)
    if not subject and not session:
        raise TokenRefused("it names nobody")
    return LogoutClaims(expected.issuer, subject, session, issued_s, _text(claims, "jti"))


def _check_parties(claims: dict[str, Any], expected: Expected) -> None:
    """`iss`, `aud`, `azp`: an audience that is not ours besides could use the token here, so there is none."""
    if claims.get("iss") != expected.issuer:
        raise TokenRefused("another issuer")
    if claims.get("aud") not in (expected.client_id, [expected.client_id]):
        raise TokenRefused("for another audience")
    if "azp" in claims and claims["azp"] != expected.client_id:
        raise TokenRefused("for another party")


def _check_times(claims: dict[str, Any], issued_s: int, expires_s: int, now_s: int) -> None:
    leeway_s = limits.SIGN_IN_LEEWAY_S
    if expires_s <= issued_s or expires_s + leeway_s <= now_s:
        raise TokenRefused("expired")
    if issued_s - leeway_s > now_s or ("nbf" in claims and _time(claims, "nbf") - leeway_s > now_s):
        raise TokenRefused("not yet valid")
    if issued_s + limits.SIGN_IN_AGE_MAX_S + leeway_s <= now_s:
        raise TokenRefused("issued too long ago")


def _time(claims: dict[str, Any], name: str) -> int:
    """Seconds since 1970."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _TIME_MAX_S:  # True is an int, and no time
        raise TokenRefused(f"no {name}")
    return value


def _text(claims: dict[str, Any], name: str, *, optional: bool = False) -> str:
    """An identifier: ASCII, not too long, without what a database could not hold."""
    if optional and name not in claims:
        return ""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= bounds.TEXT_MAX_CHARACTERS:
        raise TokenRefused(f"no {name}")
    if not value.isascii() or not value.isprintable():
        raise TokenRefused(f"no {name}")
    return value


def _usable(entry: Any) -> Key | None:
    """A key of the set as one that verifies; None for any other."""
    try:
        if entry["kty"] not in {"RSA", "EC", "OKP"} or "d" in entry:
            return None
        if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
            return None
        if entry["kty"] == "RSA" and not _is_strong(*(int.from_bytes(from_text(entry[name])) for name in ("n", "e"))):
            return None
        return JWKRegistry.import_key(entry)
    except Exception:  # whatever a library says of a key that somebody made up
        return None


def _is_strong(modulus: int, exponent: int) -> bool:
    """Whether an RSA key is neither broken soon nor a burden."""
    sized = bounds.RSA_BITS_MIN <= modulus.bit_length() <= bounds.RSA_BITS_MAX
    return sized and 2 < exponent < bounds.RSA_EXPONENT_MAX


def _fits(key: Key, algorithm: str) -> bool:
    """Whether a key is of the kind that an algorithm wants, and not meant for another one."""
    if key.key_type != _KEY_TYPES[algorithm[:2]] or key.get("alg", algorithm) != algorithm:
        return False
    if isinstance(key, ECKey):
        return key.curve_name == {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
    return not isinstance(key, OKPKey) or key.curve_name == "Ed25519"
