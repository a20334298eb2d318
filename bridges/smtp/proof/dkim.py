# SPDX-License-Identifier: AGPL-3.0-or-later
"""DKIM (RFC 6376, 8301, 8463): every signature is looked at.

dkimpy does the canonicalisation, the hashes and the keys. What it leaves out or is lenient about is decided here,
before it: it looks at the first signature only, takes SHA-1, `l=`, a signature that does not cover From, key records
for other services or in test mode, and gives expired signatures ten hours.
"""

import base64
import hashlib
import hmac
import re
from email.utils import mktime_tz, parsedate_tz
from typing import Any, Final

import dkim
import nacl.exceptions
import nacl.signing
from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
from dkim.crypto import UnparsableKeyError, parse_public_key
from dkim.util import InvalidTagValueList, parse_tag_value

from bridges import limits
from bridges.smtp.proof.exchange import Signature
from bridges.smtp.proof.layout import Layout
from bridges.smtp.proof.resolver import Answered, Question

_ALGORITHMS: Final = {b"rsa-sha256": b"rsa", b"ed25519-sha256": b"ed25519"}
_LABEL: Final = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rb"(?=.{1,253}$)(?:%b\.)*%b" % (_LABEL, _LABEL))
_MANDATORY: Final = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")  # RFC 6376 §3.5
_NUMBER: Final = re.compile(rb"[0-9]{1,12}")
Tags = dict[bytes, bytes]

# dkimpy takes the value of b= out of a field by a pattern that is quadratic in the white space of a hostile one. This
# one finds the same and tries nothing twice.
dkim.RE_BTAG = re.compile(rb"([;\s]b\s*+=)(?:\s*+[a-zA-Z0-9+/=])*+(?:\r?\n\Z)?")


class NoPass(Exception):
    """This signature proves nothing; the text says why, for people."""


class _Later(Exception):
    """Nothing is known about its key, for now."""


class Signatures:
    """All DKIM signatures of one mail."""

    def __init__(self, mail: bytes, now_s: int) -> None:
        self._signer = dkim.DKIM(mail, minkey=limits.DKIM_KEY_MIN_BITS)
        self._layout = Layout(self._signer.headers, self._signer.body)
        self._now_s = now_s
        self._body_hashes: dict[bytes, bytes] = {}
        found = [field for field in self._signer.headers if field[0].lower() == b"dkim-signature"]
        self.too_many = max(0, len(found) - limits.DKIM_SIGNATURES_MAX)
        self._all = [(field, *_tags_of(field[1], self._checked)) for field in found[: limits.DKIM_SIGNATURES_MAX]]

    def questions(self) -> list[Question]:
        """The keys of those that could pass."""
        return [key_question(tags) for _, tags, wrong in self._all if not wrong]

    def verified(self, known: dict[Question, Answered]) -> tuple[Signature, ...]:
        """What each of them is worth."""
        return tuple(self._verified(field, tags, wrong, known) for field, tags, wrong in self._all)

    def _verified(self, field: Any, tags: Tags, wrong: str, known: dict[Question, Answered]) -> Signature:
        domain, selector, algorithm = (
            tags.get(name, b"").decode("ascii", "replace")[:253] for name in (b"d", b"s", b"a")
        )

        def worth(state: str, reason: str = "") -> Signature:
            covered = tuple(name.decode("ascii", "replace") for name in signed_fields(tags)) if state == "pass" else ()
            return Signature(domain.lower(), selector.lower(), algorithm, state, reason, covered)

        if wrong:
            return worth("fail", wrong)
        try:
            key = _key(tags, known[key_question(tags)])
            self._verify(field, tags, key)
        except NoPass as no_pass:
            return worth("fail", str(no_pass))
        except _Later as later:
            return worth("temporary", str(later))
        except Exception as error:  # whatever a hostile signature makes of the library, it is no pass
            return worth("fail", f"malformed ({type(error).__name__})")
        return worth("pass")

    def _checked(self, tags: Tags) -> None:
        """What must hold before its key is asked for. Raises `NoPass`."""
        missing = [name.decode() for name in _MANDATORY if not tags.get(name)]
        if missing:
            raise NoPass(f"it lacks {missing[0]}=")
        if tags[b"v"] != b"1":
            raise NoPass("its version is not 1")
        if tags[b"a"] not in _ALGORITHMS:
            raise NoPass(f"the algorithm {tags[b'a'][:20].decode('ascii', 'replace')} proves nothing any more, or yet")
        if b"l" in tags:
            raise NoPass("it covers the beginning of the body only (l=)")
        if not _NAME.fullmatch(tags[b"d"]) or not _NAME.fullmatch(tags[b"s"]):
            raise NoPass("its domain or selector is no name")
        # RFC 6376 §5.4 wants From; what of the header is shown must be covered too.
        shown = {b"from", b"subject"} & {b"from", *(name.lower() for name, _ in self._signer.headers)}
        for name in sorted(shown - set(signed_fields(tags))):
            raise NoPass(f"it does not cover the {name.decode().title()} header")
        if why := self._layout.wrong(signed_fields(tags)):
            raise NoPass(why)
        if tags.get(b"q", b"dns/txt") != b"dns/txt":
            raise NoPass("its key is not in DNS")
        domain, identity = tags[b"d"].lower(), tags.get(b"i", b"@" + tags[b"d"]).lower().rpartition(b"@")[2]
        if identity != domain and not identity.endswith(b"." + domain):
            raise NoPass("its i= is not of its domain")
        self._check_times(tags)

    def _check_times(self, tags: Tags) -> None:
        for name in (b"t", b"x"):
            if name in tags and not _NUMBER.fullmatch(tags[name]):
                raise NoPass(f"its {name.decode()}= is no time")
        if b"t" in tags and int(tags[b"t"]) > self._now_s + limits.CLOCK_SKEW_S:
            raise NoPass("it was made in the future")
        made_s = self._made_s(tags)
        if made_s is None:
            raise NoPass("it does not say when it was made (t=, or Date)")
        if made_s > self._now_s + limits.DATE_AHEAD_MAX_S:
            raise NoPass("its Date is in the future")
        if made_s < self._now_s - limits.SIGNATURE_AGE_MAX_S:
            raise NoPass(f"it is older than {limits.SIGNATURE_AGE_MAX_S / 86_400:g} days")
        if b"x" in tags and int(tags[b"x"]) < self._now_s - limits.CLOCK_SKEW_S:
            raise NoPass("it has expired")

    def _made_s(self, tags: Tags) -> float | None:
        """When it was made, as far as it says so itself; else when the mail was, if it covers that."""
        if b"t" in tags:
            return int(tags[b"t"])
        if b"date" not in signed_fields(tags):
            return None
        dates = [value for name, value in self._signer.headers if name.lower() == b"date"]
        parsed = parsedate_tz(dates[0].decode("ascii", "replace")) if len(dates) == 1 else None
        try:
            return mktime_tz(parsed) if parsed is not None else None
        except (ValueError, OverflowError):
            return None

    def _verify(self, field: Any, tags: Tags, key: dict[str, Any]) -> None:
        """Raises `NoPass` unless body and header are what was signed."""
        signer = self._signer
        if not hmac.compare_digest(self._body_hash(tags), _octets(tags[b"bh"])):
            raise NoPass("the body was changed")
        signer.pk, signer.keysize, signer.ktag, signer.seqtlsrpt = key["key"], key["bits"], key["type"], False
        headers_only = {name: value for name, value in tags.items() if name != b"bh"}
        if not signer.verify_sig_process(headers_only, signed_fields(tags), field, None):
            raise NoPass("the header was changed, or another key signed it")

    @property
    def body(self) -> str:
        """A hash of the body that is the same whatever a signature lets others change in it."""
        return self._body_hash({b"c": b"relaxed/relaxed"}).hex()

    def _body_hash(self, tags: Tags) -> bytes:
        """SHA-256 of the body as `c=` wants it, made once for each way of canonicalisation."""
        try:
            policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
        except InvalidCanonicalizationPolicyError:
            raise NoPass("its c= is unknown") from None
        way = policy.body_algorithm.name
        if way not in self._body_hashes:
            self._body_hashes[way] = hashlib.sha256(policy.canonicalize_body(self._signer.body)).digest()
        return self._body_hashes[way]


def _tags_of(value: bytes, check: Any) -> tuple[Tags, str]:
    """The tags of a signature, and what is wrong with it, if anything."""
    if len(value) > limits.SIGNATURE_FIELD_MAX_BYTES:
        return {}, f"it is longer than {limits.SIGNATURE_FIELD_MAX_BYTES} bytes"
    try:
        tags: Tags = parse_tag_value(value)
    except InvalidTagValueList:
        return {}, "it is malformed"
    try:
        check(tags)
    except NoPass as no_pass:
        return tags, str(no_pass)
    return tags, ""


def signed_fields(tags: Tags) -> list[bytes]:
    """The names in `h=`, in lower case, without the white space that folds them."""
    return [name.strip().lower() for name in tags[b"h"].split(b":")]


def key_question(tags: Tags) -> Question:
    """Where the key of a signature is (RFC 6376 §3.6.2.1)."""
    return Question(f"{tags[b's'].decode()}._domainkey.{tags[b'd'].decode()}".lower(), "TXT")


def _octets(value: bytes) -> bytes:
    return base64.b64decode(re.sub(rb"\s+", b"", value))


def _key(tags: Tags, answered: Answered) -> dict[str, Any]:
    """The key of a signature (RFC 6376 §3.6.1). Raises `NoPass` or `_Later`."""
    if answered.failed:
        raise _Later("its key cannot be looked up just now")
    if answered.spent:
        raise NoPass(f"more than {limits.DNS_LOOKUPS_MAX} DNS look-ups: its key was not asked for")
    if len(answered.values) != 1:
        raise NoPass("there is no key for it" if not answered.values else "there are several keys for it")
    try:
        record: Tags = parse_tag_value(answered.values[0])
    except InvalidTagValueList:
        raise NoPass("its key record is malformed") from None
    kind = record.get(b"k", b"rsa")
    if record.get(b"v", b"DKIM1") != b"DKIM1" or kind != _ALGORITHMS[tags[b"a"]]:
        raise NoPass("its key record is for another algorithm")
    if not record.get(b"p"):
        raise NoPass("its key was revoked")
    if not {b"*", b"email"} & set(_listed(record.get(b"s", b"*"))):
        raise NoPass("its key is not for mail")
    if b"sha256" not in _listed(record.get(b"h", b"sha256")):
        raise NoPass("its key is not for SHA-256")
    flags = _listed(record.get(b"t", b""))
    if b"y" in flags:
        raise NoPass("its key is in test mode")
    if b"s" in flags and tags.get(b"i", b"@" + tags[b"d"]).lower().rpartition(b"@")[2] != tags[b"d"].lower():
        raise NoPass("its key is not for subdomains in i=")
    return _parsed_key(kind, record[b"p"])


def _listed(value: bytes) -> list[bytes]:
    return [one.strip() for one in value.split(b":")]


def _parsed_key(kind: bytes, text: bytes) -> dict[str, Any]:
    try:
        octets = _octets(text)
        if kind == b"ed25519":
            return {"key": nacl.signing.VerifyKey(octets), "bits": 256, "type": kind}
        rsa = parse_public_key(octets)
    except (ValueError, TypeError, IndexError, UnparsableKeyError, nacl.exceptions.CryptoError):
        raise NoPass("its key cannot be read") from None
    bits = rsa["modulus"].bit_length()
    if not limits.DKIM_KEY_MIN_BITS <= bits <= limits.DKIM_KEY_MAX_BITS:
        raise NoPass(f"its RSA key has {bits} bits, not {limits.DKIM_KEY_MIN_BITS} to {limits.DKIM_KEY_MAX_BITS}")
    return {"key": rsa, "bits": bits, "type": kind}
