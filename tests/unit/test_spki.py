# SPDX-License-Identifier: AGPL-3.0-or-later
"""The hash of a certificate's key, as OpenSSL would compute it too (docs/protocol.md, *Keys and signatures*)."""

import base64
import contextlib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.certificates import make_self_signed, spki_hash, spki_pin
from tmtp_client.connection import certificate_pin
from tmtp_core.crypto import spki

# Of a key that is for RSA-PSS only, which most libraries decode as RSA and would encode as such: made with
#   openssl req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:1024 -nodes -subj /CN=x -days 36500
RSA_PSS = base64.b64decode(
    "MIICXDCCAZGgAwIBAgIUdJvYyajcLrizu3lXo4TPjH27/VcwQQYJKoZIhvcNAQEKMDSgDzANBglghkgBZQMEAgEFAKEcMBoGCSqGSIb3DQEBCDAN"
    "BglghkgBZQMEAgEFAKIDAgFeMAwxCjAIBgNVBAMMAXgwIBcNMjYxMTI1MjE1MjAzWhgPMjEyNjExMDEyMTUyMDNaMAwxCjAIBgNVBAMMAXgwgZ0w"
    "CwYJKoZIhvcNAQEKA4GNADCBiQKBgQDHPZcszZR0bJUDB/wTPxaXGnsAGTkrf6mWOqe3yQ/dmtOtJenfTCAMkg9Eqi9BeqcfFy6HNewIFSd03Vfm"
    "1toIJNzm6Q1OyUkNIg1NJP8Bdp5Tn7xOb8kV3lwt2FBJI4Ui4H+Xn+9cH/kogITIBQmjHXjk+f75sw19qOcamhZESwIDAQABo1MwUTAdBgNVHQ4E"
    "FgQUMHN079yNfY6yK/CHI+0UvZPnSscwHwYDVR0jBBgwFoAUMHN079yNfY6yK/CHI+0UvZPnSscwDwYDVR0TAQH/BAUwAwEB/zBBBgkqhkiG9w0B"
    "AQowNKAPMA0GCWCGSAFlAwQCAQUAoRwwGgYJKoZIhvcNAQEIMA0GCWCGSAFlAwQCAQUAogMCAV4DgYEAgecVfAqlJl1svrEQLmFssVH9KmOuzcbf"
    "f9E3+bbjA85FcHug1WS8y0WGLw8O+msPDt81ZND5JrT5h1jUGP4hETdUS/KtzIUGsn8eDY9yfi9iYdEUo3hMoF572GwTABWbJ5gu+icsZYBjRI6C"
    "Y4oJwNFLY9Ucb2Jb99wv3W9Gi64="
)


def test_it_is_the_key_as_it_stands_in_the_certificate() -> None:
    """`openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum` says the same."""
    assert spki.spki_hash(RSA_PSS).hex() == "96c6acea8a9909a3fb71dc4b764b1b997d315bfec4b7a3a14dd700ac2e3693d4"


def test_for_a_usual_key_it_is_what_everybody_computes(tmp_path: Path) -> None:
    make_self_signed(tmp_path / "c.pem", tmp_path / "k.pem", "localhost", datetime.now(UTC))
    certificate = x509.load_pem_x509_certificate((tmp_path / "c.pem").read_bytes())
    encoded = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki_hash(tmp_path / "c.pem") == hashlib.sha256(encoded).digest()
    assert spki_pin(tmp_path / "c.pem") == certificate_pin(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize("cut", [0, 1, 3, 40, 200, len(RSA_PSS) - 1])
def test_what_is_cut_off_is_no_certificate(cut: int) -> None:
    with pytest.raises(ValueError, match="certificate"):
        spki.spki_hash(RSA_PSS[:cut])


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_without_surprise(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        spki.spki_hash(data)


def test_the_first_certificate_of_a_file_is_the_service_s_own(tmp_path: Path) -> None:
    paths = [(tmp_path / f"{name}.crt", tmp_path / f"{name}.key") for name in ("own", "issuer")]
    for certificate, key in paths:
        make_self_signed(certificate, key, certificate.stem, datetime.now(UTC))
    own, issuer = (certificate.read_bytes() for certificate, _ in paths)
    chain = tmp_path / "chain.crt"
    chain.write_bytes(b"subject=CN = own\n" + own + issuer)
    key = x509.load_pem_x509_certificate(own).public_key()
    octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki_hash(chain) == hashlib.sha256(octets).digest()
    chain.write_bytes(b"no certificate")
    with pytest.raises(ValueError, match="no certificate"):
        spki_hash(chain)
