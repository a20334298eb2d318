# SPDX-License-Identifier: AGPL-3.0-or-later
"""The YAML file, typed (C4). `config/gateway.yaml` is its manual.

Every mistake is found in one pass and named with its line, with what is wrong and what would be right.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails

from gateway.yaml_source import Path as YamlPath
from gateway.yaml_source import Problem, YamlSource

_ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\.?[^\s@<>]*")
_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s]+):(?P<port>\d{1,5})")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:]+\](:\d{1,5})?")
_PIN = re.compile(r"sha256:[A-Za-z0-9_-]{43}")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class SettingsInvalid(Exception):
    """The file has mistakes: all of them, in the order of their lines."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(f"{len(problems)} mistakes")
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.column))


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Address(_Model):
    """Where to listen: a host (name or IP address) and a port; written `host:port`."""

    host: str
    port: int

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = _LISTEN.fullmatch(value)
        if match is None or int(match["port"]) > 65535:
            raise ValueError("an address is written host:port, for example 127.0.0.1:4433")
        return {"host": match["host"].strip("[]"), "port": int(match["port"])}

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Http(_Model):
    """Health and metrics for this machine."""

    listen: Address = Address(host="127.0.0.1", port=8080)


class Log(_Model):
    """What is logged. Never content, never a secret."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Listen(_Model):
    """One address of an instance: `tls` for everybody, `tcp` (plain) for loopback only; `wss` and `ws` the same as
    WebSockets, for programs and for pages of these `origins`.
    """

    tls: Address | None = None
    tcp: Address | None = None
    wss: Address | None = None
    ws: Address | None = None
    origins: list[str] = Field(default=[], max_length=64)

    def named(self) -> list[tuple[str, Address]]:
        """The addresses that are given; a good entry has exactly one."""
        kinds = (("tls", self.tls), ("tcp", self.tcp), ("wss", self.wss), ("ws", self.ws))
        return [(kind, address) for kind, address in kinds if address is not None]

    @property
    def address(self) -> Address:
        """The one address."""
        return self.named()[0][1]


class Tls(_Model):
    """The instance's certificate; both or none. None: self-signed, kept in `data_dir`.

    `proxy_pins`: of the certificates that clients see when a proxy in front of `tcp` ends their TLS.
    """

    certificate: Path | None = Field(default=None, strict=False)
    key: Path | None = Field(default=None, strict=False)
    proxy_pins: list[str] = Field(default=[], max_length=16)


class Protocol(_Model):
    """What is spoken. Revision 1 knows passwords only; its accounts lack what device keys give (B4)."""

    revision1: Literal["allow", "deny"] | None = None


class Groups(_Model):
    """Who bars members of a group, and lifts bars: any joined member, or the group's owner."""

    moderation: Literal["members", "owners"] = "members"


class DeliverySettings(_Model):
    """What is not delivered in time goes back to its sender and is deleted (A4). 0: it waits for ever."""

    return_after_days: int = Field(default=30, ge=0, le=3650)


class Limits(_Model):
    """Bounds of one instance."""

    message_max_bytes: int = Field(default=64 << 20, ge=1024, le=1 << 40)
    window_revision1: int = Field(default=16, ge=1, le=256)
    window_revision2: int = Field(default=64, ge=1, le=1024)
    connections_max: int = Field(default=20_000, ge=1, le=1_000_000)


class QuotaSettings(_Model):
    """How much one account may do (D3)."""

    pings_per_day: int = Field(default=200, ge=1, le=1_000_000)
    failed_pings_in_a_row: int = Field(default=20, ge=1, le=1_000_000)
    posts_per_hour: int = Field(default=10_000, ge=1, le=1 << 40)
    bytes_per_hour: int = Field(default=4 << 30, ge=1024, le=1 << 60)
    introductions_per_day: int = Field(default=64, ge=0, le=10_000)
    invitations_per_day: int = Field(default=20, ge=1, le=10_000)
    finds_per_hour: int = Field(default=60, ge=1, le=10_000)


class Instance(_Model):
    """One TMTP service."""

    name: Name
    title: str | None = Field(default=None, min_length=1, max_length=100)
    policy: Literal["members", "public"]
    registration: Literal["open", "invite", "oidc", "closed"] = "invite"
    acquaintance: Literal["ping", "introduction", "everyone"] | None = None
    protocol: Protocol = Protocol()
    invitations: Literal["admins", "members"] | None = None
    directory: bool | None = None
    groups: Groups = Groups()
    delivery: DeliverySettings = DeliverySettings()
    listen: list[Listen] = Field(min_length=1, max_length=16)
    tls: Tls = Tls()
    database: str | None = None
    limits: Limits = Limits()
    quotas: QuotaSettings = QuotaSettings()

    @property
    def strictness(self) -> str:
        """The setting `acquaintance`, or its default for this policy."""
        return self.acquaintance or ("everyone" if self.policy == "members" else "introduction")

    @property
    def revision1(self) -> bool:
        """Whether revision 1 is spoken: by default on public instances only."""
        return (self.protocol.revision1 or ("deny" if self.policy == "members" else "allow")) == "allow"

    @property
    def members_invite(self) -> bool:
        """Whether members make invitations: by default on public instances only."""
        return (self.invitations or ("admins" if self.policy == "members" else "members")) == "members"

    @property
    def has_directory(self) -> bool:
        """Whether aliases can be looked up: by default on members instances only."""
        return self.policy == "members" if self.directory is None else self.directory

    @property
    def announced_title(self) -> str:
        """The site name that clients show."""
        return self.title or self.name


class Proof(_Model):
    """One way to show that mail is a sender's own: the network it must come from."""

    network: str


class Sender(_Model):
    """An approved SMTP sender; every proof must hold."""

    address: str
    proof: list[Proof] = Field(min_length=1, max_length=16)


class Route(_Model):
    """Mail for `recipient` reaches the alias or group `to`."""

    recipient: str
    to: str = Field(min_length=1)


class SmtpLimits(_Model):
    """Bounds of one SMTP intake."""

    message_max_bytes: int = Field(default=25 << 20, ge=1024, le=1 << 30)
    connections_max: int = Field(default=100, ge=1, le=10_000)
    connections_per_address_max: int = Field(default=20, ge=1, le=10_000)
    recipients_max: int = Field(default=100, ge=1, le=1_000)


class SmtpBridge(_Model):
    """One SMTP intake (C2)."""

    name: Name
    instance: Name
    listen: Address
    hostname: str | None = None
    senders: list[Sender] = Field(default=[], max_length=10_000)
    routes: list[Route] = Field(default=[], max_length=10_000)
    limits: SmtpLimits = SmtpLimits()


class Bridges(_Model):
    """The controlled ways in."""

    smtp: list[SmtpBridge] = []


class Settings(_Model):
    """The whole file."""

    data_dir: Path = Field(default=Path("data"), strict=False)
    http: Http = Http()
    log: Log = Log()
    instances: list[Instance] = Field(min_length=1, max_length=64)
    bridges: Bridges = Bridges()


def load_settings(path: Path) -> Settings:
    """Read and check a settings file; relative paths in it start at its folder.

    Raises `SettingsInvalid` with every mistake, or OSError when the file cannot be read.
    """
    source = YamlSource(path.read_bytes().decode("utf-8", errors="replace"))
    if source.problems:
        raise SettingsInvalid(source.problems)
    base = path.resolve().parent
    try:
        settings = Settings.model_validate(source.data if source.data is not None else {})
    except ValidationError as error:
        raise SettingsInvalid([_explained(source, detail) for detail in error.errors()]) from None
    settings = _with_base(settings, base)
    problems = [source.problem(*found) for found in _cross_checks(settings)]
    if problems:
        raise SettingsInvalid(problems)
    return settings


def _with_base(settings: Settings, base: Path) -> Settings:
    """Make all paths absolute."""
    instances = [
        instance.model_copy(
            update={
                "tls": Tls(
                    certificate=base / instance.tls.certificate if instance.tls.certificate else None,
                    key=base / instance.tls.key if instance.tls.key else None,
                    proxy_pins=instance.tls.proxy_pins,
                )
            }
        )
        for instance in settings.instances
    ]
    return settings.model_copy(update={"data_dir": base / settings.data_dir, "instances": instances})


# -- what one value cannot know --------------------------------------------------------------------------------------
Found = tuple[YamlPath, str, str]
"""Path, what is wrong, what would be right."""


def _cross_checks(settings: Settings) -> Iterator[Found]:
    yield from _http_checks(settings)
    yield from _twice([(("instances", i, "name"), one.name) for i, one in enumerate(settings.instances)], "name")
    yield from _twice(list(_addresses(settings)), "address")
    for index, instance in enumerate(settings.instances):
        yield from _instance_checks(("instances", index), instance)
    yield from _twice(
        [(("bridges", "smtp", i, "name"), one.name) for i, one in enumerate(settings.bridges.smtp)], "name"
    )
    for index, bridge in enumerate(settings.bridges.smtp):
        yield from _bridge_checks(("bridges", "smtp", index), bridge, settings)


def _http_checks(settings: Settings) -> Iterator[Found]:
    if not settings.http.listen.loopback:
        yield (
            ("http", "listen"),
            f"{settings.http.listen} can be reached from outside, and this page asks nobody who they are",
            "listen on loopback, for example 127.0.0.1:8080, and put a reverse proxy in front",
        )


def _addresses(settings: Settings) -> Iterator[tuple[YamlPath, str]]:
    yield ("http", "listen"), str(settings.http.listen)
    for i, instance in enumerate(settings.instances):
        for j, listen in enumerate(instance.listen):
            for kind, address in listen.named():
                yield ("instances", i, "listen", j, kind), str(address)
    for i, bridge in enumerate(settings.bridges.smtp):
        yield ("bridges", "smtp", i, "listen"), str(bridge.listen)


def _twice(values: list[tuple[YamlPath, str]], what: str) -> Iterator[Found]:
    seen: set[str] = set()
    for path, value in values:
        if value in seen and not value.endswith(":0"):
            yield path, f"the {what} {value} is used already", f"choose another {what}"
        seen.add(value)


def _instance_checks(path: YamlPath, instance: Instance) -> Iterator[Found]:
    if instance.registration == "open" and instance.policy == "members":
        yield (
            (*path, "registration"),
            "a members instance cannot be open to everybody (A1)",
            "registration: invite, or policy: public",
        )
    if instance.registration == "oidc":
        yield (
            (*path, "registration"),
            "sign-in with a provider is not part of this release",
            "registration: invite, and one invitation a person",
        )
    for index, listen in enumerate(instance.listen):
        yield from _listen_checks((*path, "listen", index), listen)
    yield from _tls_checks((*path, "tls"), instance.tls)
    if instance.database is not None:
        wrong = "PostgreSQL is not part of this release"
        if not instance.database.startswith("postgresql+asyncpg://"):
            wrong = "this is no database this program knows"
        yield (*path, "database"), wrong, "database: null, which keeps an SQLite database under data_dir"


def _listen_checks(path: YamlPath, listen: Listen) -> Iterator[Found]:
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


def _tls_checks(path: YamlPath, tls: Tls) -> Iterator[Found]:
    if (tls.certificate is None) != (tls.key is None):
        yield path, "certificate and key come together", "give both, or neither for a self-signed certificate"
    for index, pin in enumerate(tls.proxy_pins):
        if not _PIN.fullmatch(pin):
            yield (*path, "proxy_pins", index), f"{pin} is no pin", "sha256: and 43 characters of base64url"
    for field, file in (("certificate", tls.certificate), ("key", tls.key)):
        if file is not None and not (file.is_file() and os.access(file, os.R_OK)):
            yield (*path, field), f"{file} is not a file that can be read", "give the path of a PEM file"


def _bridge_checks(path: YamlPath, bridge: SmtpBridge, settings: Settings) -> Iterator[Found]:
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
    for index, sender in enumerate(bridge.senders):
        where = (*path, "senders", index)
        if not _ADDRESS.fullmatch(sender.address):
            yield (*where, "address"), f"{sender.address} is no mail address", "name@domain, without <>"
        for place, proof in enumerate(sender.proof):
            try:
                ipaddress.ip_network(proof.network)
            except ValueError as error:
                yield (*where, "proof", place, "network"), str(error), "for example 192.0.2.0/24"
    for index, route in enumerate(bridge.routes):
        if not _ADDRESS.fullmatch(route.recipient):
            yield (
                (*path, "routes", index, "recipient"),
                f"{route.recipient} is no mail address",
                "name@domain, without <>",
            )
    recipients = [
        ((*path, "routes", index, "recipient"), route.recipient.lower()) for index, route in enumerate(bridge.routes)
    ]
    yield from _twice(recipients, "recipient")


# -- pydantic's words, in ours ---------------------------------------------------------------------------------------
def _explained(source: YamlSource, detail: ErrorDetails) -> Problem:
    path: YamlPath = tuple(detail["loc"])
    key = path[-1] if path else "the file"
    context = detail.get("ctx", {})
    shown = _shown(detail["input"])
    manual = "see config/gateway.yaml"
    words: dict[str, tuple[str, str]] = {
        "extra_forbidden": (f"there is no setting {key}", _nearest(path)),
        "missing": (f"{key} is missing", f"add {key}:; {manual}"),
        "literal_error": (f"{shown} is not allowed here", f"one of {context.get('expected')}"),
        "string_pattern_mismatch": (
            f"{shown} cannot be a name",
            "lower-case letters, digits and -, a letter first, 32 at most",
        ),
        "value_error": (f"{shown} does not fit", str(context.get("error"))),
        "model_type": ("this must be a block of settings", manual),
    }
    otherwise = (f"{shown} does not fit", detail["msg"].replace("Input should be", "it should be"))
    return source.problem(path, *words.get(detail["type"], otherwise))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(path: YamlPath) -> str:
    """The known settings beside an unknown one, the likeliest first."""
    model: Any = Settings
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_of(field.annotation) if field is not None else None
        if model is None:
            return "see config/gateway.yaml"
    known = list(model.model_fields)
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else "one of " + ", ".join(known)


def _model_of(annotation: Any) -> Any:
    """The model inside an annotation such as `list[Instance]` or `Tls | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_of(inner)
        if found is not None:
            return found
    return None
