# SPDX-License-Identifier: AGPL-3.0-or-later
"""The doors: certificates, and whether somebody can come in where the settings say so."""

import http.client
import socket
import ssl
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.certificates import Certificate, CertificateFiles
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.settings import Address, Instance, Settings
from tmtp_core.clock import Clock
from tmtp_core.crypto.spki import spki_hash

_ENDS_SOON_S: Final = 14 * 24 * 3600
_PATIENCE_S: Final = 5.0
_METRICS_MAX_BYTES: Final = 1 << 20
_OTHERS: Final = 0o077
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on


def examine_doors(settings: Settings, clock: Clock, *, running: bool) -> Iterator[Finding]:
    """Each instance's certificate and addresses, the bridges' and the page with the metrics."""
    for instance in settings.instances:
        about = f"instance {instance.name}"
        certificate = yield from _certificate(about, instance, settings, clock)
        for listen in instance.listen:
            for kind, address in listen.named():
                shown = certificate if kind in {"tls", "wss"} else None
                yield from _door(f"{about}, {kind}", address, shown, running=running)
    for bridge in settings.bridges.smtp:
        for door in bridge.listen:
            for kind, place in door.named():
                at = place if isinstance(place, Address) else place.tcp
                if at is not None:
                    yield from _door(f"bridge {bridge.name}, {kind}", at, None, running=running)
    if running:
        yield from _health(settings.http.listen)


def _certificate(
    about: str, instance: Instance, settings: Settings, clock: Clock
) -> Generator[Finding, None, Certificate | None]:
    folder = settings.data_dir / "instances" / instance.name
    own = instance.tls.certificate is None
    crt, key = instance.tls.certificate or folder / "tls.crt", instance.tls.key or folder / "tls.key"
    if own and not crt.exists():
        yield ok(about, "the first start makes its certificate")
        return None
    try:
        loaded = CertificateFiles(crt, key).load()
    except (OSError, ValueError) as error:
        yield fail(
            about, f"{crt} and {key} cannot be used together: {error}", "put a certificate and its own key there"
        )
        return None
    yield from _private(about, key)
    left_s = loaded.ends_s - clock.wall_ns() / 1e9
    if own:  # pinned by key: its end protects nobody, and ends nothing
        yield ok(about, f"its certificate is self-signed; clients pin {loaded.pin}")
    elif left_s < 0:
        yield fail(about, f"{crt} has ended {-left_s / 86400:.0f} days ago: clients refuse it", "renew it")
    elif left_s < _ENDS_SOON_S:
        yield warn(
            about, f"{crt} ends in {left_s / 86400:.0f} days", "renew it; a running gateway takes it up by itself"
        )
    else:
        yield ok(about, f"its certificate is good for {left_s / 86400:.0f} days")
    return loaded


def _private(about: str, key: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & _OTHERS & ~0o040:  # a group of those who may have it is a usual way
        yield fail(about, f"others on this machine may read {key}", f"chmod 600 {key}", lambda: key.chmod(0o600))


def _door(about: str, address: Address, certificate: Certificate | None, *, running: bool) -> Iterator[Finding]:
    if not address.port:
        return  # the system chooses it anew at each start
    host = _ANY.get(address.host, address.host)
    if not running:
        yield from _free(about, address)
        return
    try:
        with closing(socket.create_connection((host, address.port), _PATIENCE_S)) as connection:
            shown = _shown_by(connection) if certificate is not None else None
    except OSError as error:
        yield fail(about, f"nobody answers at {address}: {error.strerror or error}", "look at the gateway's log")
        return
    if certificate is not None and shown != certificate.spki:
        yield fail(
            about,
            f"at {address} another certificate is shown than the files hold",
            "kill -HUP the gateway; its log says what is wrong with the files",
        )
    else:
        yield ok(about, f"{address} answers")


def _shown_by(connection: socket.socket) -> bytes:
    """The key of the certificate that is shown, by its hash; which authority made it is not the question here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(connection) as tls:
        return spki_hash(tls.getpeercert(binary_form=True) or b"")


def _free(about: str, address: Address) -> Iterator[Finding]:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind, protocol)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
    except OSError as error:
        yield fail(
            about,
            f"{address} cannot be had: {error.strerror or error}",
            "choose another address, or end the program that has it (ss -ltnp)",
        )
    else:
        yield ok(about, f"{address} is free")


def _health(address: Address) -> Iterator[Finding]:
    if not address.port:
        return
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PATIENCE_S)
    with closing(connection):
        try:
            connection.request("GET", "/readyz")
            ready = connection.getresponse()
            text = ready.read(_METRICS_MAX_BYTES).decode("utf-8", "replace").strip()
            connection.request("GET", "/metrics")
            metrics = connection.getresponse().read(_METRICS_MAX_BYTES).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            yield fail("gateway", f"its health at {address} does not answer: {error}", "look at its log")
            return
    if ready.status == 200:
        yield ok("gateway", "every instance is ready")
    else:
        yield fail("gateway", text or "it is not ready", "look at its log: commit_failed says what its disk said")
    behind = [
        line for line in metrics.splitlines() if line.startswith("tmtp_journal_behind{") and not line.endswith(" 0.0")
    ]
    if behind:
        yield fail(
            "journal",
            f"its disk does not take what was barred, blocked and revoked: {'; '.join(behind)}",
            "mend the folder of backup.journal; what waits is written by itself",
        )
