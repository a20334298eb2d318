# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the sending device signs of a sealed message (B9; docs/protocol.md, *Sealed messages*).

It stands inside what is sealed, first. It names everything that the message is: sender, device, request, recipients,
the heads of their logs, thread, suite, epoch, the outer head with the sealed keys, size and hash of every piece. It is
signed together with the service's key. A copy of it serves at no other service, for no other recipient, in no other
thread, behind no other head, and with no other words.
"""

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct
from nacl import bindings
from nacl.exceptions import CryptoError

from tmtp_core import limits
from tmtp_core.crypto.content_key import DEVICES, SHARED, for_account
from tmtp_core.crypto.encoding import from_text, to_text
from tmtp_core.crypto.signing import HASH_BYTES, SIGNATURE_BYTES, Signer, check_public_key, signed_by
from tmtp_core.crypto.stream import KEY_BYTES, EnvelopeRefused
from tmtp_core.wire.messages import WIRE_NAMES, Recipient
from tmtp_core.wire.payload import Number

E2E: Final = b"tmtp-e2e"
VERSION: Final = 1
_COUNT_BYTES: Final = 8
SEALED_LINK_BYTES: Final = _COUNT_BYTES + HASH_BYTES + bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
_ONCE: Final = bytes(bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
"""The nonce of a key that is used once."""


class Piece(Struct, frozen=True):
    """Octets that follow: how many, and their BLAKE2b-256."""

    size: Number
    hash: str


class Link(Struct, frozen=True, omit_defaults=True):
    """A place in the chain of a device's sealed messages to one account: so many were sealed to it before, and the hash
    of the manifest of the last that the service has not given back; "": there was none.
    """

    count: Number = 0
    last: str = ""


class Addressee(Struct, frozen=True, omit_defaults=True):
    """An account that the message is for: the head of its log as the sender had it, and its sealed `Link`.

    `head` is empty of an account without a log, which only suite 1 reaches.
    """

    uid: str
    head: str = ""
    link: str = ""


class Manifest(Struct, frozen=True, omit_defaults=True, kw_only=True, rename=WIRE_NAMES):
    """`sender` is a uid, `device` its public key, `request` the `id` of op 7, `time` its clock in ms since 1970, `for_`
    as in op 7. `accounts` are all whom it is for, the sender's own among them. `outer` is the hash of the outer head,
    `inner` the inner head, `subject` the hash of the subject in it.
    """

    v: int
    sender: str
    device: str
    request: str
    time: Number
    for_: tuple[Recipient, ...]
    accounts: tuple[Addressee, ...]
    thread: str = ""
    suite: int
    epoch: Number = 0
    outer: str
    inner: Piece
    subject: str
    text: Piece
    attachments: tuple[Piece, ...] = ()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Text and attachments, in their order."""
        return (self.text, *self.attachments)

    @property
    def heads(self) -> dict[str, str]:
        """The head of each account's log, as the sender had it."""
        return {one.uid: one.head for one in self.accounts}

    @property
    def links(self) -> dict[str, str]:
        """Each account's sealed place in the chain of the sending device."""
        return {one.uid: one.link for one in self.accounts}


class _Versioned(Struct, frozen=True):
    """What every version has."""

    v: Number


def digest(data: bytes) -> str:
    """BLAKE2b-256, as manifests write it."""
    return to_text(blake2b(data, digest_size=HASH_BYTES).digest())


def encode(manifest: Manifest) -> bytes:
    """The octets that are signed."""
    return msgspec.json.encode(manifest)


def decode(raw: bytes) -> Manifest:
    """Undo `encode`, and nothing else: there is one way to write a manifest. Raises `EnvelopeRefused`."""
    if len(raw) > limits.MANIFEST_MAX_BYTES:
        raise EnvelopeRefused(f"a manifest has at most {limits.MANIFEST_MAX_BYTES} octets")
    try:
        version = msgspec.json.decode(raw, type=_Versioned).v
        if version > VERSION:  # before anything that is new there is called wrong
            raise EnvelopeRefused(f"it was sealed by a newer version ({version}) than this one knows")
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeRefused(f"this is no manifest: {error}") from None
    if encode(manifest) != raw:  # a name twice, an unknown one: two readers could read two manifests
        raise EnvelopeRefused("the manifest is not written as manifests are")
    try:
        _check(manifest)
    except ValueError as error:
        raise EnvelopeRefused(f"the manifest makes no sense: {error}") from None
    return manifest


def _check(manifest: Manifest) -> None:
    """Raise ValueError unless every field is what it should be by itself."""
    if manifest.v < VERSION:
        raise ValueError(f"version {manifest.v}")
    if manifest.suite not in (SHARED, DEVICES):
        raise ValueError(f"suite {manifest.suite}")
    if not manifest.sender or not manifest.request:
        raise ValueError("it names no sender or no request")
    check_public_key(manifest.device)
    for one in (manifest.inner, *manifest.pieces):
        from_text(one.hash, HASH_BYTES)
    for text in (manifest.outer, manifest.subject):
        from_text(text, HASH_BYTES)
    if len(manifest.attachments) > limits.SEALED_ATTACHMENTS_MAX:
        raise ValueError(f"it has more than {limits.SEALED_ATTACHMENTS_MAX} attachments")
    if manifest.inner.size > limits.INNER_HEAD_MAX_BYTES:
        raise ValueError(f"its inner head has more than {limits.INNER_HEAD_MAX_BYTES} octets")
    _check_accounts(manifest)


def _check_accounts(manifest: Manifest) -> None:
    if len(manifest.accounts) > limits.SEALED_ACCOUNTS_MAX:
        raise ValueError(f"it is for more than {limits.SEALED_ACCOUNTS_MAX} accounts")
    uids = {one.uid for one in manifest.accounts}
    if len(uids) != len(manifest.accounts) or "" in uids:
        raise ValueError("an account stands twice, or has no uid")
    if manifest.sender not in uids:
        raise ValueError("the sender's own account is not among those it is for")
    for one in manifest.accounts:
        if one.head or manifest.suite == DEVICES or one.uid == manifest.sender:
            from_text(one.head, HASH_BYTES)
        from_text(one.link, SEALED_LINK_BYTES)


def sign(device: Signer, service_key: bytes, raw: bytes) -> bytes:
    """The signature over a manifest's octets, for this service."""
    return from_text(device.sign(E2E, service_key, raw), SIGNATURE_BYTES)


def check(device: str, signature: bytes, service_key: bytes, raw: bytes) -> None:
    """Raise `EnvelopeRefused` unless this device signed these octets for this service."""
    if not signed_by(device, to_text(signature), E2E, service_key, raw):
        raise EnvelopeRefused("the signature does not hold")


# -- the chain -------------------------------------------------------------------------------------------------------
def seal_link(key: bytes, uid: str, link: Link) -> str:
    """With the sender's content key, for one account: other recipients do not learn how much it is written to."""
    last = from_text(link.last, HASH_BYTES) if link.last else bytes(HASH_BYTES)
    octets = link.count.to_bytes(_COUNT_BYTES) + last
    account_key = for_account(key, uid)[KEY_BYTES:]
    return to_text(bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(octets, None, _ONCE, account_key))


def open_link(key: bytes, sealed: str) -> Link:
    """With an account's content key. Raises `EnvelopeRefused`."""
    try:
        octets = from_text(sealed, SEALED_LINK_BYTES)
        octets = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(octets, None, _ONCE, key[KEY_BYTES:])
    except (ValueError, CryptoError):
        raise EnvelopeRefused("its place among the sender's messages cannot be read") from None
    count, last = int.from_bytes(octets[:_COUNT_BYTES]), octets[_COUNT_BYTES:]
    if count > limits.SEALED_NUMBER_MAX or (not count and any(last)):
        raise EnvelopeRefused("its place among the sender's messages makes no sense")
    return Link(count, to_text(last) if any(last) else "")
