# SPDX-License-Identifier: AGPL-3.0-or-later
"""A private authority, as organisations have one: nobody knows it but by its own certificate."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True)
class Authority:
    """`own` is its certificate; `certificate` and `key` are those of a server on 127.0.0.1 for which it vouches."""

    own: Path
    certificate: Path
    key: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """Make all three."""
        root_key, server_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
        root = _builder("An authority", "An authority", root_key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        server = _builder("127.0.0.1", "An authority", server_key).add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        made = cls(folder / "authority.pem", folder / "server.pem", folder / "server.key")
        made.own.write_bytes(root.sign(root_key, SHA256()).public_bytes(Encoding.PEM))
        made.certificate.write_bytes(server.sign(root_key, SHA256()).public_bytes(Encoding.PEM))
        made.key.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


def _builder(subject: str, issuer: str, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        subject_name=_name(subject),
        issuer_name=_name(issuer),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + timedelta(days=1),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
