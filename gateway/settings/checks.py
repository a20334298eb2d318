# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one value alone cannot tell: settings that contradict each other, addresses used twice, files that are none."""

import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path as FilePath
from urllib.parse import urlsplit

from bridges.smtp.control.checks import PIN
from gateway.backup.keys import BackupKeyInvalid, parse_public
from gateway.certificates import server_context
from gateway.pictures import PictureRefused, made_anew
from gateway.settings.models import (
    S3,
    Address,
    AdministrationSettings,
    ConsoleSignIn,
    Instance,
    Listen,
    ProviderSettings,
    Settings,
    Skin,
    SmtpBridge,
    Tls,
)
from gateway.settings.smtp_checks import Found, smtp_checks
from gateway.settings.yaml_source import Path
from gateway.urls import check_url
from tmtp_core.schema import DatabaseUnfit
from tmtp_core.store.places import parsed_address
from tmtp_core.wire.look import CONTRAST_MIN, weak_pairs

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:]+\](:\d{1,5})?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,64}(/[A-Za-z0-9_-]{1,64}){0,3}/?")
_REDIRECT = re.compile(r"(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]|[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:)")
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_CONSOLE_URL = re.compile(r"https://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[1-9][0-9]{0,4})?")


def cross_checks(settings: Settings) -> Iterator[Found]:
    """Every mistake of that kind; paths are absolute already."""
    yield from _host_checks(settings.host)
    yield from _http_checks(settings)
    yield from _administration_checks(settings.administration)
    yield from _twice([(("instances", i, "name"), one.name) for i, one in enumerate(settings.instances)], "name")
    yield from _twice(list(_addresses(settings)), "address")
    for index, instance in enumerate(settings.instances):
        yield from _instance_checks(("instances", index), instance)
    yield from _twice(
        [(("bridges", "smtp", i, "name"), one.name) for i, one in enumerate(settings.bridges.smtp)], "name"
    )
    yield from _backup_checks(settings)
    for index, bridge in enumerate(settings.bridges.smtp):
        yield from _bridge_checks(("bridges", "smtp", index), bridge, settings)


def _host_checks(host: str | None) -> Iterator[Found]:
    if host is None or _HOST.fullmatch(host):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        right = "a name or an address alone, without port and https://: chat.example.org; xn--… where it is not ASCII"
        yield ("host",), f"{host} is neither a host's name nor an address", right


def _http_checks(settings: Settings) -> Iterator[Found]:
    if not settings.http.listen.loopback:
        yield (
            ("http", "listen"),
            f"{settings.http.listen} can be reached from outside, and this page asks nobody who they are",
            "listen on loopback, for example 127.0.0.1:8080, and put a reverse proxy in front",
        )


def _administration_checks(settings: AdministrationSettings) -> Iterator[Found]:
    yield from _certificate_checks(("administration", "tls"), settings.tls.certificate, settings.tls.key)
    if settings.listen is not None and not settings.listen.loopback and settings.tls.certificate is None:
        yield (
            ("administration", "listen"),
            f"{settings.listen} can be reached from outside, and without TLS its tokens would be seen by the network",
            "tls: {certificate: …, key: …}, or listen on loopback, for example 127.0.0.1:8443, behind a proxy",
        )
    if settings.sign_in is not None:
        yield from _console_sign_in_checks(("administration", "sign_in"), settings.sign_in)
    if settings.url is not None and not _CONSOLE_URL.fullmatch(settings.url):
        yield (
            ("administration", "url"),
            f"{settings.url} is not where a browser could find a console that keeps its cookies safe",
            "https:// and a name in lower case, with a port if it is not 443, and nothing behind it: "
            "https://console.example.org",
        )


def _backup_checks(settings: Settings) -> Iterator[Found]:
    backup = settings.backup
    if backup.recipient is not None:
        try:
            parse_public(backup.recipient)
        except BackupKeyInvalid as invalid:
            yield ("backup", "recipient"), str(invalid), "the public key that tmtp-gateway backup-key prints"
    for name, folder in (("to", backup.to), ("journal", backup.journal)):
        if folder is not None and folder.is_relative_to(settings.data_dir):
            yield (
                ("backup", name),
                f"{folder} lies in data_dir, and is lost with it",
                "a folder on another disk, or on a machine that is mounted here",
            )


def _console_sign_in_checks(path: Path, chosen: ConsoleSignIn) -> Iterator[Found]:
    yield from _provider_checks((*path, "provider"), chosen.provider)
    if chosen.provider.redirect_uri is not None:
        yield (
            (*path, "provider", "redirect_uri"),
            "the console has its own place to come back to",
            "leave it out, and tell the provider: the console's address and /sign-in/provider/back",
        )
    if not chosen.groups.roles():
        yield (
            (*path, "groups"),
            "nobody could enter: no group has a role",
            "administrator: [the group of your administrators], and helpdesk or auditor where you want them",
        )
    if chosen.secret is not None and not (chosen.secret.is_file() and os.access(chosen.secret, os.R_OK)):
        yield (*path, "secret"), f"{chosen.secret} is not a file that can be read", "a file with the secret alone"


def _addresses(settings: Settings) -> Iterator[tuple[Path, str]]:
    yield ("http", "listen"), str(settings.http.listen)
    if settings.administration.listen is not None:
        yield ("administration", "listen"), str(settings.administration.listen)
    for i, instance in enumerate(settings.instances):
        for j, listen in enumerate(instance.listen):
            for kind, address in listen.named():
                yield ("instances", i, "listen", j, kind), str(address)
    for i, bridge in enumerate(settings.bridges.smtp):
        for j, door in enumerate(bridge.listen):
            for kind, where in door.named():
                yield ("bridges", "smtp", i, "listen", j, kind), str(where)


def _twice(values: list[tuple[Path, str]], what: str) -> Iterator[Found]:
    seen: set[str] = set()
    for path, value in values:
        if value in seen and not value.endswith(":0"):
            yield path, f"the {what} {value} is used already", f"choose another {what}"
        seen.add(value)


def _instance_checks(path: Path, instance: Instance) -> Iterator[Found]:
    if instance.registration == "open" and instance.policy == "members":
        yield (
            (*path, "registration"),
            "a members instance cannot be open to everybody (A1)",
            "registration: invite, or policy: public",
        )
    yield from _sign_in_checks(path, instance)
    for index, listen in enumerate(instance.listen):
        yield from _listen_checks((*path, "listen", index), listen)
    if instance.reached_at is not None and not instance.reached_at.port:
        yield (*path, "reached_at"), "clients need a port", "for example chat.example.org:4433"
    yield from _tls_checks((*path, "tls"), instance.tls)
    if instance.skin is not None:
        yield from _skin_checks((*path, "skin"), instance.skin)
    if instance.database is not None:
        try:
            parsed_address(instance.database)
        except DatabaseUnfit as unfit:
            yield (*path, "database"), str(unfit), "or database: null, which keeps an SQLite database under data_dir"
    if instance.payloads is not None:
        yield from _bucket_checks((*path, "payloads", "s3"), instance.payloads.s3, instance)


def _sign_in_checks(path: Path, instance: Instance) -> Iterator[Found]:
    chosen = instance.sign_in
    if instance.registration == "oidc" and chosen is None:
        yield (
            (*path, "registration"),
            "no provider is named with whom people would sign in",
            "sign_in: {provider: {issuer: https://…, client_id: …}} beside it",
        )
    if instance.registration == "oidc" and chosen is not None and not chosen.required:
        yield (*path, "sign_in", "required"), "who registers here signs in", "required: true, or registration: invite"
    for index, network in enumerate(instance.registrations.uncounted):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield (*path, "registrations", "uncounted", index), str(error), "for example 192.0.2.0/24"
    if chosen is None:
        return
    yield from _provider_checks((*path, "sign_in", "provider"), chosen.provider)


def _provider_checks(path: Path, provider: ProviderSettings) -> Iterator[Found]:
    named = {"issuer": provider.issuer, "login_url": provider.login_url, "token_url": provider.token_url}
    for name, url in named.items():
        if url is None:
            continue
        try:
            check_url(url)
        except ValueError as error:
            yield (*path, name), str(error), "https://…, or http: on this machine"
        else:
            if name == "issuer" and urlsplit(url).query:
                yield (*path, name), "an issuer has no query", "as its discovery document names it"
    if provider.redirect_uri is not None and not _REDIRECT.match(provider.redirect_uri):
        yield (
            (*path, "redirect_uri"),
            f"{provider.redirect_uri} is nowhere that a client could be",
            "for example http://127.0.0.1:8463/, the same as the provider was told",
        )
    if "openid" not in provider.scopes:
        yield (*path, "scopes"), "openid is missing", "scopes: [openid], and what groups take"
    if provider.ca is not None:
        try:
            ssl.create_default_context(cafile=provider.ca)
        except OSError as error:
            wrong = f"{provider.ca} cannot be used: {error.strerror or error}"
            yield (*path, "ca"), wrong, "the certificates of your authority, in PEM"


def _bucket_checks(path: Path, bucket: S3, instance: Instance) -> Iterator[Found]:
    if instance.database is None:
        yield (
            path[:-1],
            "with SQLite an instance lives on one machine, and a bucket would only part its backup in two",
            "payloads: null, or a PostgreSQL database",
        )
    try:
        url = urlsplit(bucket.endpoint)
        good = url.scheme in ("https", "http") and url.hostname and url.path in ("", "/") and url.port != 0
        bare = not (url.query or url.fragment or "@" in url.netloc)
    except ValueError:
        good = bare = False
    if not good or not bare:  # not repeated: it may hold a secret
        yield (*path, "endpoint"), "this is not the address of an object storage", "https://host or https://host:port"
    elif url.scheme == "http" and not Address(host=url.hostname or "", port=0).loopback:
        yield (*path, "endpoint"), "http: would show messages to the network", f"https://{url.netloc}"
    for field, value, form, right in (
        ("bucket", bucket.bucket, _BUCKET, "3 to 63 lower-case letters, digits, - and ."),
        ("region", bucket.region, _REGION, "as your provider calls it, for example eu-central-1"),
        ("prefix", bucket.prefix, _PREFIX, 'letters, digits, - and _, parts by /: "messages/example"'),
    ):
        if not form.fullmatch(value):
            yield (*path, field), f"{value!r} is no {field}", right
    if importlib.util.find_spec("botocore") is None:
        yield path, "what speaks S3 is not installed", "pip install 'tmtp-gateway[s3]'"


def _listen_checks(path: Path, listen: Listen) -> Iterator[Found]:
    if len(listen.named()) != 1:
        yield path, "each entry names exactly one address", 'for example: {tls: "0.0.0.0:4433"}'
    for kind, address in (("tcp", listen.tcp), ("ws", listen.ws)):
        if address is not None and not address.loopback:
            secure = {"tcp": "tls", "ws": "wss"}[kind]
            yield (
                (*path, kind),
                f"plain {kind.upper()} on {address} would show passwords and messages to the network",
                f"{secure}: there, or {kind}: on 127.0.0.1",
            )
    if listen.origins and listen.wss is None and listen.ws is None:
        yield (
            (*path, "origins"),
            "only pages have an origin, and only WebSockets are for pages",
            "wss: or ws: beside it",
        )
    for index, origin in enumerate(listen.origins):
        if not _ORIGIN.fullmatch(origin):
            yield (*path, "origins", index), f"{origin} is no origin", "for example https://chat.example.org"


def _tls_checks(path: Path, tls: Tls) -> Iterator[Found]:
    for index, pin in enumerate(tls.proxy_pins):
        if not PIN.fullmatch(pin):
            yield (*path, "proxy_pins", index), f"{pin} is no pin", "sha256: and 43 characters of base64url"
    yield from _certificate_checks(path, tls.certificate, tls.key)


def _certificate_checks(path: Path, certificate: FilePath | None, key: FilePath | None) -> Iterator[Found]:
    if (certificate is None) != (key is None):
        yield path, "certificate and key come together", "give both, or neither"
    for field, file in (("certificate", certificate), ("key", key)):
        if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
            yield (*path, field), f"{file} is not a file that can be read", "give the path of a PEM file"
            return
    if certificate is not None and key is not None:
        try:
            server_context(certificate, key)
        except OSError as error:
            yield (
                (*path, "certificate"),
                f"{certificate} and {key} cannot be used together: {error.strerror or error}",
                "a certificate and its own key, in PEM",
            )


def _skin_checks(path: Path, skin: Skin) -> Iterator[Found]:
    for name, colours in (("light", skin.light), ("dark", skin.dark)):
        weakest = {weak.upper: weak for weak in sorted(weak_pairs(colours.palette), key=lambda weak: -weak.contrast)}
        for weak in weakest.values():
            colour, ground = getattr(colours, weak.upper), getattr(colours, weak.lower)
            yield (
                (*path, name, weak.upper),
                f"{weak.upper} {colour} on {weak.lower} {ground} has a contrast of {weak.contrast:.2f}:1, "
                f"and {CONTRAST_MIN}:1 is the least that people can read",
                f'{weak.upper}: "{weak.better}", or another {weak.lower}',
            )
    for purpose, file in skin.pictures():
        if not (file.is_file() and os.access(file, os.R_OK)):
            yield (*path, purpose), f"{file} is not a file that can be read", "give the path of a PNG, JPEG or WebP"


def picture_checks(settings: Settings) -> Iterator[Found]:
    """Pictures of skins that cannot be shown. Each is decoded in a process of its own, which takes a moment."""
    for index, instance in enumerate(settings.instances):
        for purpose, file in instance.skin.pictures() if instance.skin is not None else ():
            try:
                made_anew(file, purpose)
            except PictureRefused as refused:
                yield ("instances", index, "skin", purpose), str(refused), "give a PNG, JPEG or WebP"


def _bridge_checks(path: Path, bridge: SmtpBridge, settings: Settings) -> Iterator[Found]:
    target = next((instance for instance in settings.instances if instance.name == bridge.instance), None)
    public = [instance.name for instance in settings.instances if instance.policy == "public"]
    suggestion = f"instance: {public[0]}" if public else "add an instance with policy: public"
    if target is None:
        yield (*path, "instance"), f"there is no instance {bridge.instance}", suggestion
    elif target.policy == "members":
        yield (
            (*path, "instance"),
            f"{bridge.instance} is a members instance, and mail from SMTP never enters one (C2)",
            suggestion,
        )
    elif all(listen.tls is None for listen in target.listen):
        yield (*path, "instance"), f"{bridge.instance} has no tls: address that a bridge could use", "add one to it"
    yield from smtp_checks(path, bridge)
    yield from _tls_checks((*path, "tls"), Tls(certificate=bridge.tls.certificate, key=bridge.tls.key))
    yield from _recipient_checks(path, bridge)


def _recipient_checks(path: Path, bridge: SmtpBridge) -> Iterator[Found]:
    recipients = [
        ((*path, "routes", index, "recipient"), route.recipient.lower()) for index, route in enumerate(bridge.routes)
    ]
    yield from _twice(recipients, "recipient")


def rules_checks(bridge: SmtpBridge) -> Iterator[Found]:
    """The mistakes of a block's senders and routes; paths begin at the block."""
    yield from (found for found in smtp_checks((), bridge) if found[0][0] in {"senders", "routes"})
    yield from _recipient_checks((), bridge)
