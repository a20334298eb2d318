# SPDX-License-Identifier: AGPL-3.0-or-later
"""The server's end of TLS, octets in and octets out (RFC 3207, 8314).

pyOpenSSL, because a sender may be known by the key of its certificate whoever signed that: the ssl module takes only
certificates that it can verify, and would turn away everybody else who offers one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tmtp_core.crypto.spki import spki_hash

if TYPE_CHECKING:
    from OpenSSL import SSL

_CHUNK_BYTES = 65_536


class TlsFailed(Exception):
    """The other end does not speak TLS as it should; nothing more can be said to it."""


def server_context(certificate: Path, key: Path, *, ask_for_certificates: bool) -> "SSL.Context":
    """TLS 1.2 or newer with this certificate; where it asks for one of the client's, it takes any. Raises OSError.

    To take any needs a function of ours in OpenSSL's hands, and that memory which is written and run: where a unit of
    systemd forbids such, `MemoryDenyWriteExecute=no` has to allow it.
    """
    # ruff: noqa: PLC0415 - 9 MB that a gateway without a bridge does without
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(key))
        context.check_privatekey()
    except SSL.Error:
        raise OSError(f"{certificate} and {key} cannot be used together") from None
    if ask_for_certificates:  # who it is is decided by comparing the key, whose possession the handshake proves
        try:
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        except MemoryError:
            raise OSError(
                "a client_certificate of a sender needs memory that is written and run, which this system forbids: "
                "allow it (MemoryDenyWriteExecute=no in a drop-in of the unit), or prove that sender otherwise"
            ) from None
    return context


class TlsEnd:
    """One connection. `send` takes what is to leave."""

    def __init__(self, context: "SSL.Context", send: Callable[[bytes], None]) -> None:
        from OpenSSL import SSL

        self._ssl = SSL
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._send = send
        self.ready = False
        self.ended = False  # the other end said that nothing more comes
        self.peer_key = b""
        """SHA-256 of the key of the client's certificate, once `ready`; empty without one."""

    def feed(self, data: bytes) -> bytes:
        """Octets from the network; what they say. Raises `TlsFailed`."""
        self._connection.bio_write(data)
        try:
            if not self.ready:
                self._shake_hands()
            return self._said() if self.ready else b""
        except self._ssl.Error:
            raise TlsFailed from None
        finally:
            self._flush()

    def write(self, data: bytes) -> None:
        """Say something."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._connection.send(bytes(view[:_CHUNK_BYTES])) :]
        except self._ssl.Error:
            return  # it is closing; the network says so too
        finally:
            self._flush()

    def close(self) -> None:
        """Say that nothing more comes."""
        try:
            self._connection.shutdown()
        except self._ssl.Error:
            return
        finally:
            self._flush()

    def _shake_hands(self) -> None:
        try:
            self._connection.do_handshake()
        except self._ssl.WantReadError:
            return
        self.ready = True
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is not None:
            from cryptography.hazmat.primitives.serialization import Encoding

            self.peer_key = spki_hash(certificate.public_bytes(Encoding.DER))

    def _said(self) -> bytes:
        said: list[bytes] = []
        while True:
            try:
                said.append(self._connection.recv(_CHUNK_BYTES))
            except self._ssl.WantReadError:
                return b"".join(said)
            except self._ssl.ZeroReturnError:
                self.ended = True
                return b"".join(said)

    def _flush(self) -> None:
        while True:
            try:
                self._send(self._connection.bio_read(_CHUNK_BYTES))
            except self._ssl.Error:
                return
