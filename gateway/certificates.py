# SPDX-License-Identifier: AGPL-3.0-or-later
"""TLS for the listeners: a configured certificate, or a self-signed one made at first start (A7).

Clients of a self-signed service pin its key: `sha256:` and the base64url SHA-256 of the SPKI. The pin
stays the same as long as the key does.
"""

import base64
import hashlib
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.files import write_private
from tmtp_core.crypto import spki

_VALID_FOR = timedelta(days=3650)  # pinned by key, so its end protects nobody
_CLOCK_SKEW = timedelta(days=1)
_COMMON_NAME_MAX_BYTES: Final = 64  # RFC 5280 §A.1, ub-common-name, as libraries count it
_CERTIFICATE: Final = re.compile(  # RFC 7468 §5
    "-----BEGIN (?:X509 )?CERTIFICATE-----([^-]*)-----END (?:X509 )?CERTIFICATE-----"
)


def make_self_signed(certificate: Path, key: Path, name: str, now: datetime, *, keep_key: bool = False) -> None:
    """Make a P-256 key and a certificate for it; the key is readable for its owner only.

    With `keep_key` the key is there, and clients have pinned it. Raises ValueError where it is none that was made here.
    """
    # ruff: noqa: PLC0415 - 9 MB, and only the first start makes a certificate
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    private_key = ec.generate_private_key(ec.SECP256R1())
    if keep_key:
        kept = load_pem_private_key(key.read_bytes(), None)
        if not isinstance(kept, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key} is no key that was made here")
        private_key = kept
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _common_name(name))])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private_key, hashes.SHA256())
    )
    if not keep_key:
        write_private(key, private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_private(certificate, built.public_bytes(Encoding.PEM))


def _common_name(name: str) -> str:
    """As much of it as a certificate has room for: a letter may take four of its octets."""
    return name.encode()[:_COMMON_NAME_MAX_BYTES].decode("utf-8", "ignore")


def ensure_self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """The paths of an instance's own certificate and key, made when there are none yet. A key that is there stays.

    Raises ValueError where only the key is there, and is none.
    """
    certificate, key = folder / "tls.crt", folder / "tls.key"
    if not (certificate.exists() and key.exists()):
        make_self_signed(certificate, key, name, datetime.now(UTC), keep_key=key.exists())
    return certificate, key


def spki_pin(certificate: Path) -> str:
    """`sha256:` and the base64url SHA-256 of the certificate's public key, as clients pin it."""
    return "sha256:" + base64.urlsafe_b64encode(spki_hash(certificate)).rstrip(b"=").decode()


def spki_hash(certificate: Path) -> bytes:
    """SHA-256 of the certificate's public key: what a device signs when it logs in (docs/protocol.md)."""
    return spki.spki_hash(_first(certificate))


def _first(certificate: Path) -> bytes:
    """The service's own certificate in a file, in DER."""
    found = _CERTIFICATE.search(certificate.read_text("ascii", "replace"))
    if found is None:
        raise ValueError("there is no certificate in this file")
    return base64.b64decode(found[1])


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, ready for listeners. `spki`: the SHA-256 of its public key; `ends_s`: since 1970."""

    context: ssl.SSLContext
    spki: bytes
    pin: str
    ends_s: int


class CertificateFiles:
    """A certificate and its key, which may be replaced while they are in use: by `certbot renew`, for one."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.key = key
        self._loaded: object = None  # what the files were like when they were read last
        self._seen: object = None

    def load(self) -> Certificate:
        """Read both (disk). Raises OSError, ssl.SSLError or ValueError when they cannot be used together."""
        self._loaded = self._seen = self._state()
        pin, spki_of_it = spki_pin(self.certificate), spki_hash(self.certificate)
        context = server_context(self.certificate, self.key)
        return Certificate(context, spki_of_it, pin, spki.valid_until_s(_first(self.certificate)))

    def have_settled_anew(self) -> bool:
        """Whether they have changed since they were read, and not since the last call: both were written (disk)."""
        state, self._seen = self._state(), self._seen
        settled = state == self._seen and state != self._loaded
        self._seen = state
        return settled

    def _state(self) -> object:
        state: list[object] = []
        for path in (self.certificate, self.key):
            try:
                found = path.stat()
                state.append((found.st_mtime_ns, found.st_size, found.st_ino))
            except OSError as error:
                state.append(error.errno)
        return tuple(state)


def pin_hash(pin: str) -> bytes:
    """The SHA-256 in a pin. Raises ValueError for what is none."""
    kind, _, text = pin.partition(":")
    digest = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if kind == "sha256" else b""
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"{pin} is no pin: sha256: and 43 characters of base64url")
    return digest


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, with this certificate. Raises OSError or ssl.SSLError when it cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate, key)
    return context
