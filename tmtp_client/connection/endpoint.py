# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a service is, and how to know that it is the one (B1)."""

import asyncio
import base64
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tmtp_client import limits
from tmtp_core.crypto import spki


class WrongService(Exception):
    """The certificate is not the one that was pinned: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and how to know it: by `pin` (`sha256:<base64url of the SPKI's SHA-256>`), else by CA."""

    host: str
    port: int
    pin: str | None = None
    ca_file: Path | None = None


def client_context(endpoint: Endpoint) -> ssl.SSLContext:
    """TLS for this endpoint. With a pin the key itself is checked, and neither names nor dates of the certificate."""
    if endpoint.pin is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no authorities, which would cost 20 ms a connection
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=str(endpoint.ca_file) if endpoint.ca_file is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_pin(endpoint: Endpoint, writer: asyncio.StreamWriter) -> None:
    """Raise `WrongService` unless the peer holds the pinned key, where there is a pin."""
    if endpoint.pin is None:
        return
    tls = cast(ssl.SSLObject, writer.get_extra_info("ssl_object"))
    certificate = tls.getpeercert(binary_form=True)
    if certificate is None or certificate_pin(certificate) != endpoint.pin:
        raise WrongService(
            f"the service at {endpoint.host}:{endpoint.port} is not the one that was pinned; nothing was sent to it"
        )


def certificate_pin(certificate_der: bytes) -> str:
    """The pin of a certificate's key: `sha256:` and the base64url SHA-256 of its SPKI."""
    return "sha256:" + base64.urlsafe_b64encode(spki.spki_hash(certificate_der)).rstrip(b"=").decode()


def spki_hash(writer: asyncio.StreamWriter) -> bytes | None:
    """SHA-256 of the SPKI of the certificate that the peer showed; None on a connection without TLS."""
    tls = cast(ssl.SSLObject | None, writer.get_extra_info("ssl_object"))
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    return spki.spki_hash(certificate) if certificate is not None else None


def set_user_timeout(writer: asyncio.StreamWriter) -> None:
    """A peer that vanished is noticed in seconds, where the system can do that."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.TCP_USER_TIMEOUT_MS)


def said(error: BaseException) -> str:
    """Why no connection came about, for a person: the system's words, not those of a library."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing answers at its address"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror | TimeoutError):
        if error.errno:
            return os.strerror(error.errno)
        if str(error).startswith("Multiple exceptions"):  # asyncio, of a name that has several addresses
            return "nothing answers at any of its addresses"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
