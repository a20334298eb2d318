# SPDX-License-Identifier: AGPL-3.0-or-later
"""Senders' keys and signatures for tests: DKIM made by dkimpy and, where it would not make such a thing, by hand."""

import base64
import subprocess
import time
from functools import cache
from typing import Any

import dkim
import nacl.signing
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from dkim.canonicalization import Relaxed

from bridges.smtp.proof.resolver import LookupFailed, Question


@cache
def rsa_key(bits: int = 2048, which: int = 0) -> rsa.RSAPrivateKey:
    """One of the RSA keys of this run."""
    return rsa.generate_private_key(65_537, bits)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """A private key as dkimpy takes it."""
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def rsa_record(key: rsa.RSAPrivateKey, tags: str = "") -> bytes:
    """The TXT record of an RSA key; `tags` before its p=."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.DER, form)
    return f"v=DKIM1; k=rsa; {tags}p={base64.b64encode(public).decode()}".encode()


@cache
def openssl_rsa(bits: int) -> tuple[bytes, bytes]:
    """A key of a length that the cryptography package does not make: the private one in PEM, the public one in base64."""
    private = subprocess.run(["openssl", "genrsa", "-traditional", str(bits)], capture_output=True, check=True).stdout
    form = ["openssl", "rsa", "-pubout", "-outform", "DER"]
    public = subprocess.run(form, input=private, capture_output=True, check=True).stdout
    return private, base64.b64encode(public)


@cache
def ed25519_key() -> nacl.signing.SigningKey:
    """The Ed25519 key of this run."""
    return nacl.signing.SigningKey.generate()


def ed25519_record() -> bytes:
    """Its TXT record."""
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(bytes(ed25519_key().verify_key))


def signed(mail: bytes, domain: str = "partner.example", selector: str = "rsa", **options: Any) -> bytes:
    """The mail with one more DKIM signature on top, by dkimpy, over From, To, Subject, Date and Message-ID."""
    headers = options.pop("include_headers", [b"from", b"to", b"subject", b"date", b"message-id"])
    algorithm = options.pop("signature_algorithm", b"rsa-sha256")
    key = (
        base64.b64encode(bytes(ed25519_key()))
        if algorithm.startswith(b"ed25519")
        else pem(options.pop("key", rsa_key()))
    )
    made: bytes = dkim.sign(
        mail,
        selector.encode(),
        domain.encode(),
        key,
        include_headers=headers,
        signature_algorithm=algorithm,
        canonicalize=options.pop("canonicalize", (b"relaxed", b"relaxed")),
        **options,
    )
    return made + mail


def signed_by_hand(
    mail: bytes, tags: dict[str, str], key: rsa.RSAPrivateKey | None = None, hash_name: str = "sha256"
) -> bytes:
    """The mail with a relaxed/relaxed RSA signature that is right in itself, whatever `tags` say or leave out ("")."""
    head, _, body = mail.partition(b"\r\n\r\n")
    kind = {"sha256": hashes.SHA256(), "sha1": hashes.SHA1(), "sha512": hashes.SHA512()}[hash_name]
    digest = hashes.Hash(kind)
    octets = Relaxed.canonicalize_body(body)
    digest.update(octets[: int(tags["l"])] if tags.get("l") else octets)
    values = {
        "v": "1",
        "a": f"rsa-{hash_name}",
        "c": "relaxed/relaxed",
        "d": "partner.example",
        "s": "rsa",
        "h": "from:to:subject:date",
        "bh": base64.b64encode(digest.finalize()).decode(),
        **tags,
        "b": "",
    }
    text = "; ".join(f"{name}={value}" for name, value in values.items() if value or name == "b")
    fields = [line.partition(b":") for line in head.split(b"\r\n")]
    covered = b""
    left = list(fields)
    for name in values["h"].lower().split(":"):
        for place in range(len(left) - 1, -1, -1):
            if left[place][0].lower() == name.encode():
                field = left.pop(place)
                covered += b"".join(b"%b:%b" % one for one in Relaxed.canonicalize_headers([(field[0], field[2])]))
                break
    covered += b"dkim-signature:" + Relaxed.canonicalize_headers([(b"", text.encode())])[0][1].rstrip()
    signature = (key or rsa_key()).sign(covered, padding.PKCS1v15(), kind)
    return f"DKIM-Signature: {text}{base64.b64encode(signature).decode()}\r\n".encode() + mail


def sealed(mail: bytes, domain: str, results: str, selector: str = "rsa") -> bytes:
    """The mail with one more ARC set, in which `domain` says that it saw `results`."""
    mail = f"Authentication-Results: {domain}; {results}\r\n".encode() + mail
    headers = [b"from", b"to", b"subject", b"date"]
    made = dkim.arc_sign(
        mail, selector.encode(), domain.encode(), pem(rsa_key()), domain.encode(), include_headers=headers
    )
    return b"".join(made) + mail


def mail_of(author: str = "orders@partner.example", body: str = "Good morning.\r\n", **headers: str) -> bytes:
    """A plain mail; a header of "" is left out."""
    fields = {
        "From": author,
        "To": "support@example.org",
        "Subject": "An order",
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()),
        "Message-ID": "<1@partner.example>",
        **headers,
    }
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value).encode() + b"\r\n" + body.encode()


class Records:
    """A resolver over a table: name to TXT, or (name, kind) to values; an exception is raised."""

    def __init__(self, table: dict[Any, Any]) -> None:
        self._table = {key if isinstance(key, tuple) else (key, "TXT"): value for key, value in table.items()}
        self.asked: list[Question] = []

    async def resolve(self, question: Question, timeout_s: float) -> tuple[bytes, ...]:
        self.asked.append(question)
        found = self._table.get((question.name, question.kind), ())
        if found is LookupFailed:
            raise LookupFailed(question.name)
        values = found if isinstance(found, (list, tuple)) else [found]
        return tuple(value if isinstance(value, bytes) else str(value).encode() for value in values)
