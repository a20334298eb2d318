# SPDX-License-Identifier: AGPL-3.0-or-later
"""An organisation's own relay, on loopback: TLS with a certificate of a private authority, AUTH, and replies of a test."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "tmtp", "a pass wörd: of the relay"


@dataclass
class Relay:
    """What it is, and what it took. `says`: the reply to "MAIL", "RCPT" or "DATA", None: it is taken."""

    port: int
    folder: Path
    says: Callable[[str, str], str | None] = lambda verb, address: None
    mails: list["Taken"] = field(default_factory=list)
    tried: list[tuple[str, bytes]] = field(default_factory=list)  # user and password
    plain: list[str] = field(default_factory=list)  # commands that came outside TLS
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, count: int) -> list["Taken"]:
        """The first `count` mails."""
        async with asyncio.timeout(60):
            while len(self.mails) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.mails

    def settings(self, **changed: str) -> str:
        """As the settings file has it."""
        given = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "ca": str(self.folder / "ca.pem"),
            "user": USER,
            "password": str(self.folder / "password"),
            **changed,
        }
        return "smarthost: {" + ", ".join(f"{name}: {value}" for name, value in given.items()) + "}"


@dataclass
class Taken:
    """A mail as it came in, and its envelope."""

    sender: str
    recipients: list[str]
    content: bytes
    options: list[str]

    @property
    def mail(self) -> EmailMessage:
        """As a mail program reads it."""
        mail = BytesParser(policy=SMTP_POLICY).parsebytes(self.content)
        assert isinstance(mail, EmailMessage)
        return mail

    @property
    def text(self) -> str:
        """Its text."""
        body = self.mail.get_body(("plain",))
        assert body is not None
        return str(body.get_content())


class _Handler:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if server.transport.get_extra_info("sslcontext") is None:
            self._relay.plain.append("MAIL")
        said = self._relay.says("MAIL", address)
        if said is not None:
            return said
        envelope.mail_from, envelope.mail_options = address, options
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        said = self._relay.says("RCPT", address)
        if said is not None:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        said = self._relay.says("DATA", envelope.rcpt_tos[0])
        if said is not None:
            return said
        taken = Taken(envelope.mail_from, envelope.rcpt_tos, envelope.original_content, envelope.mail_options)
        self._relay.mails.append(taken)
        self._relay.heard.set()
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        if server.transport.get_extra_info("sslcontext") is None:
            self._relay.plain.append("AUTH")
        assert isinstance(data, LoginPassword)
        self._relay.tried.append((data.login.decode(), data.password))
        return AuthResult(success=data == LoginPassword(USER.encode(), PASSWORD.encode()), handled=False)


def make_certificates(folder: Path, name: str = "ca") -> None:
    """An authority of this name, and, of `ca`, the relay's own certificate for 127.0.0.1."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
    now = datetime.datetime.now(datetime.UTC)

    def signed(subject: x509.Name, key: Any, *, ca: bool) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(9))
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
        if not ca:
            names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / f"{name}.pem").write_bytes(signed(issuer, authority, ca=True))
    if name == "ca":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
        (folder / "relay.pem").write_bytes(signed(subject, key, ca=False))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "relay.key").write_bytes(pem)


def prepare(folder: Path) -> None:
    """Certificates and the password file."""
    folder.mkdir(exist_ok=True)
    make_certificates(folder)
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)


@asynccontextmanager
async def relay(folder: Path, *, tls: str = "starttls", port: int = 0) -> AsyncIterator[Relay]:
    """A relay for the length of the block. `tls`: starttls, implicit, or none: it offers none."""
    if not folder.exists():
        await asyncio.to_thread(prepare, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(context.load_cert_chain, folder / "relay.pem", folder / "relay.key")
    loop = asyncio.get_running_loop()
    one = Relay(port, folder)
    handler = _Handler(one)
    sessions: list[SMTP] = []

    def session() -> SMTP:
        made = SMTP(
            handler,
            hostname="relay.example.org",
            enable_SMTPUTF8=True,
            tls_context=context if tls == "starttls" else None,
            authenticator=handler.authenticate,
            auth_require_tls=tls == "starttls",
            loop=loop,
        )
        sessions.append(made)
        return made

    server = await loop.create_server(session, "127.0.0.1", port, ssl=context if tls == "implicit" else None)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for made in sessions:
            if made.transport is not None:
                made.transport.abort()
        await server.wait_closed()
