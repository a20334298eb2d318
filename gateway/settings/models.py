# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings, typed (C4): one model a block of the file, with its defaults. `config/gateway.yaml` is their manual."""

import ipaddress
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from gateway.pictures import Purpose
from tmtp_core.wire.look import Corners, Font, Palette, Spacing

_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s]+):(?P<port>\d{1,5})")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA", "RS384", "RS512", "PS384", "PS512", "ES384", "ES512"]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$", to_lower=True)]


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

    @model_serializer
    def _written(self) -> str:
        return str(self)

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


class PaletteSettings(_Model):
    """Colours by what they are for; see `tmtp_core.wire.look.Palette`."""

    background: Colour
    surface: Colour
    text: Colour
    muted: Colour
    accent: Colour
    on_accent: Colour

    @property
    def palette(self) -> Palette:
        """As clients get it."""
        return Palette(**self.model_dump())


class Skin(_Model):
    """How the service looks in clients, whose users may revise it (B2)."""

    light: PaletteSettings
    dark: PaletteSettings
    font: Font = "system"
    headings: Font = "system"
    spacing: Spacing = "normal"
    corners: Corners = "soft"
    logo: Path | None = Field(default=None, strict=False)
    backdrop: Path | None = Field(default=None, strict=False)

    def pictures(self) -> list[tuple[Purpose, Path]]:
        """Those that are given."""
        named: list[tuple[Purpose, Path | None]] = [("logo", self.logo), ("backdrop", self.backdrop)]
        return [(purpose, path) for purpose, path in named if path is not None]


class S3(_Model):
    """A bucket of an S3-compatible object storage. Its credentials are in the environment, never here."""

    endpoint: str
    bucket: str
    region: str = "us-east-1"
    prefix: str = ""


class PayloadSettings(_Model):
    """Where messages too large for a row are kept, if not in files under `data_dir`."""

    s3: S3


class RegistrationSettings(_Model):
    """How fast strangers are taken, where they may register (A2)."""

    per_address_per_hour: int = Field(default=20, ge=1, le=1_000_000)
    per_minute: int = Field(default=30, ge=0, le=1_000_000)
    uncounted: list[str] = Field(default=["127.0.0.0/8", "::1/128"], max_length=1_000)


class ProviderSettings(_Model):
    """An identity provider that speaks OpenID Connect."""

    issuer: str
    client_id: str = Field(min_length=1, max_length=255)
    label: str | None = Field(default=None, min_length=1, max_length=100)
    algorithms: list[Algorithm] = Field(default=["RS256", "PS256", "ES256", "EdDSA"], min_length=1)
    scopes: list[str] = Field(default=["openid"], max_length=32)
    login_url: str | None = None
    token_url: str | None = None
    login_parameters: dict[str, str] = {}
    redirect_uri: str | None = None
    ca: Path | None = Field(default=None, strict=False)


class GroupSettings(_Model):
    """Of whom the provider knows, who may register: whose list `claim` names one of these groups."""

    claim: str = Field(min_length=1, max_length=255)
    any_of: list[str] = Field(min_length=1, max_length=1_000)


class SignInSettings(_Model):
    """Sign-in with an identity provider (A1). `required`: nobody registers without."""

    required: bool = True
    provider: ProviderSettings
    groups: GroupSettings | None = None
    accounts_per_person: int = Field(default=1, ge=1, le=1_000)


class Instance(_Model):
    """One TMTP service."""

    name: Name
    title: str | None = Field(default=None, min_length=1, max_length=100)
    policy: Literal["members", "public"]
    registration: Literal["open", "invite", "oidc", "closed"] = "invite"
    registrations: RegistrationSettings = RegistrationSettings()
    sign_in: SignInSettings | None = None
    acquaintance: Literal["ping", "introduction", "everyone"] | None = None
    protocol: Protocol = Protocol()
    invitations: Literal["admins", "members"] | None = None
    directory: bool | None = None
    groups: Groups = Groups()
    delivery: DeliverySettings = DeliverySettings()
    listen: list[Listen] = Field(min_length=1, max_length=16)
    reached_at: Address | None = None
    tls: Tls = Tls()
    database: str | None = None
    payloads: PayloadSettings | None = None
    limits: Limits = Limits()
    quotas: QuotaSettings = QuotaSettings()
    skin: Skin | None = None

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
    """One way to show that mail is a sender's own; a good entry has exactly one."""

    dkim: str | None = None
    spf: Literal["aligned"] | None = None
    network: str | None = None
    client_certificate: str | None = None

    def named(self) -> list[str]:
        """Those that are given."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class Sender(_Model):
    """An approved SMTP sender, an address or a whole domain of the From header; every proof must hold."""

    address: str | None = None
    domain: str | None = None
    proof: list[Proof] = Field(min_length=1, max_length=16)
    owner: str = Field(default="", max_length=500)
    reason: str = Field(default="", max_length=500)
    expires: date | None = None
    routes: list[str] | None = Field(default=None, min_length=1, max_length=1_000)
    quota_per_day: int | None = Field(default=None, ge=1, le=10_000_000)


class Route(_Model):
    """Mail for `recipient` reaches the alias or group `to`; what of it is passed on.

    `unknown`: what becomes of mail whose sender is not vetted. `reply`: what becomes of a member's answer.
    """

    recipient: str
    to: str = Field(min_length=1)
    active_attachments: Literal["withhold", "allow"] = "withhold"
    original: Literal["drop", "attach"] = "drop"
    unknown: Literal["refuse", "hold"] = "refuse"
    reply: Literal["invite", "smarthost"] = "invite"


class Hold(_Model):
    """Bounds of the mail that waits for a person's decision."""

    expires_days: int = Field(default=14, ge=1, le=365)
    mails_max: int = Field(default=1_000, ge=1, le=1_000_000)
    bytes_max: int = Field(default=1 << 30, ge=1 << 20, le=1 << 50)


class Spool(_Model):
    """Bounds of the mail that is accepted while the instance is away."""

    mails_max: int = Field(default=10_000, ge=0, le=10_000_000)
    bytes_max: int = Field(default=1 << 30, ge=1 << 20, le=1 << 50)


class LifeCycle(_Model):
    """What moves a correspondent on by itself (C5); None: a person does.

    `refuse_after_joined_days`: then his mail by SMTP is refused.
    """

    invite: Literal["by_hand", "when_vetted"] = "by_hand"
    refuse_after_joined_days: int | None = Field(default=None, ge=0, le=3_650)


class Smarthost(_Model):
    """The organisation's own relay for members' answers. `password`: a file with it. `ca`: PEM, of a private CA."""

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=587, ge=1, le=65_535)
    tls: Literal["starttls", "implicit"] = "starttls"
    ca: Path | None = Field(default=None, strict=False)
    user: str | None = Field(default=None, min_length=1, max_length=255)
    password: Path | None = Field(default=None, strict=False)


class SmtpLimits(_Model):
    """Bounds of one SMTP intake."""

    message_max_bytes: int = Field(default=25 << 20, ge=1024, le=1 << 30)
    connections_max: int = Field(default=100, ge=1, le=10_000)
    connections_per_address_max: int = Field(default=20, ge=1, le=10_000)
    recipients_max: int = Field(default=100, ge=1, le=1_000)


class LmtpAddress(_Model):
    """Where LMTP is spoken: `unix:PATH`, or `host:port`."""

    path: Path | None = Field(default=None, strict=False)
    tcp: Address | None = None

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        kind, colon, path = value.partition(":")
        if kind == "unix" and colon:
            if not path:
                raise ValueError("a socket is written unix:PATH, for example unix:./run/lmtp.sock")
            return {"path": path}
        return {"tcp": Address.model_validate(value)}

    def __str__(self) -> str:
        return str(self.tcp) if self.tcp is not None else f"unix:{self.path}"


class SmtpListen(_Model):
    """One door of an SMTP intake: SMTP with STARTTLS, SMTP in TLS, or LMTP for a mail server in front."""

    smtp: Address | None = None
    smtps: Address | None = None
    lmtp: LmtpAddress | None = None

    def named(self) -> list[tuple[str, Address | LmtpAddress]]:
        """The addresses that are given; a good entry has exactly one."""
        kinds = (("smtp", self.smtp), ("smtps", self.smtps), ("lmtp", self.lmtp))
        return [(kind, address) for kind, address in kinds if address is not None]


class SmtpTls(_Model):
    """The certificate of an SMTP intake; both or none. None: self-signed, kept in `data_dir`."""

    certificate: Path | None = Field(default=None, strict=False)
    key: Path | None = Field(default=None, strict=False)


class Upstream(_Model):
    """Mail servers in front of an intake, and in whose name their Authentication-Results are believed."""

    addresses: list[str] = Field(default=[], max_length=64)
    authserv_id: str | None = Field(default=None, min_length=1, max_length=255)


class SmtpBridge(_Model):
    """One SMTP intake (C2)."""

    name: Name
    instance: Name
    listen: list[SmtpListen] = Field(min_length=1, max_length=16)
    tls: SmtpTls = SmtpTls()
    hostname: str | None = None
    upstream: Upstream = Upstream()
    proxies: list[str] = Field(default=[], max_length=64)
    arc_sealers: list[str] = Field(default=[], max_length=256)
    nameservers: list[Address] = Field(default=[], max_length=16)
    senders: list[Sender] = Field(default=[], max_length=10_000)
    routes: list[Route] = Field(default=[], max_length=10_000)
    limits: SmtpLimits = SmtpLimits()
    process: Literal["gateway", "own"] = "gateway"
    invitation_url: str | None = Field(default=None, max_length=500)
    tell: str | None = None
    hold: Hold = Hold()
    spool: Spool = Spool()
    life_cycle: LifeCycle = LifeCycle()
    smarthost: Smarthost | None = None
    decisions_kept_days: int = Field(default=400, ge=90, le=3_650)

    @field_validator("listen", mode="before")
    @classmethod
    def _one_address(cls, value: Any) -> Any:
        """An address alone is SMTP there; one entry needs no list."""
        if isinstance(value, str):
            value = {"smtp": value}
        return [value] if isinstance(value, dict) else value


class SmtpRules(_Model):
    """Who may write to whom: the part of an intake's block that can be tried by itself. None: as it stands."""

    senders: list[Sender] | None = Field(default=None, max_length=10_000)
    routes: list[Route] | None = Field(default=None, max_length=10_000)


class Bridges(_Model):
    """The controlled ways in."""

    smtp: list[SmtpBridge] = []


class AdministrationTls(_Model):
    """The certificate of the page for administrators; both or none."""

    certificate: Path | None = Field(default=None, strict=False)
    key: Path | None = Field(default=None, strict=False)


class ConsoleGroups(_Model):
    """Which of the provider's groups have which role in the console: the first role of which one is in a list."""

    claim: str = Field(default="groups", min_length=1, max_length=255)
    administrator: list[str] = Field(default=[], max_length=1_000)
    helpdesk: list[str] = Field(default=[], max_length=1_000)
    auditor: list[str] = Field(default=[], max_length=1_000)

    def roles(self) -> list[tuple[str, list[str]]]:
        """The roles that a provider can give, the greatest first. An owner is made by the command line only."""
        named = (("administrator", self.administrator), ("helpdesk", self.helpdesk), ("auditor", self.auditor))
        return [(role, groups) for role, groups in named if groups]


class ConsoleSignIn(_Model):
    """Sign-in to the console with an identity provider; `secret`: a file with what the provider gave its client."""

    provider: ProviderSettings
    secret: Path | None = Field(default=None, strict=False)
    groups: ConsoleGroups


class AdministrationSettings(_Model):
    """Where administrators' programs and, with a console, their browsers reach this service; None: nowhere."""

    listen: Address | None = None
    tls: AdministrationTls = AdministrationTls()
    url: str | None = None
    sign_in: ConsoleSignIn | None = None


class BackupSettings(_Model):
    """Backups (docs/backup.md). `recipient`: a public key; None: no journal, and each backup is told for whom.

    `journal` None: the folder `to`.
    """

    recipient: str | None = None
    to: Path = Field(default=Path("backups"), strict=False)
    keep: int = Field(default=7, ge=1, le=10_000)
    journal: Path | None = Field(default=None, strict=False)

    @property
    def journal_folder(self) -> Path:
        """Where the journal is."""
        return self.journal or self.to


class Settings(_Model):
    """The whole file."""

    _source: Path | None = PrivateAttr(default=None)
    data_dir: Path = Field(default=Path("data"), strict=False)
    host: str | None = None
    http: Http = Http()
    administration: AdministrationSettings = AdministrationSettings()
    log: Log = Log()
    instances: list[Instance] = Field(min_length=1, max_length=64)
    bridges: Bridges = Bridges()
    backup: BackupSettings = BackupSettings()

    @property
    def source(self) -> Path | None:
        """The file that these were read from."""
        return self._source
