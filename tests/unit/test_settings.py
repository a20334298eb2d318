# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings file (C4): every mistake with its line, what is wrong and what would be right."""

from datetime import UTC, date, datetime
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.certificates import make_self_signed
from gateway.settings import Problem, Settings, SettingsInvalid, load_bridges, load_settings

GOOD = """\
data_dir: ./data
instances:
  - name: members
    policy: members
    listen: [{tls: "127.0.0.1:4433"}]
  - name: public
    policy: public
    registration: open
    listen: [{tls: "127.0.0.1:4434"}, {tcp: "127.0.0.1:4435"}]
bridges:
  smtp:
    - name: intake
      instance: public
      listen: 127.0.0.1:2525
      senders: [{address: a@b.example, proof: [network: 127.0.0.0/8]}]
      routes: [{recipient: c@d.example, to: Support Desk}]
"""


LIGHT = '{background: "#f6f7f9", surface: "#ffffff", text: "#1c1e21", muted: "#5b6470", accent: "#0b57d0", on_accent: "#fff0ff"}'
DARK = '{background: "#131417", surface: "#1D1F24", text: "#e8eaed", muted: "#a3abb6", accent: "#8ab4f8", on_accent: "#0c1b33"}'
PALETTES = {
    "LIGHT": LIGHT,
    "DARK": DARK,
    "WEAK": DARK.replace("#a3abb6", "#555555"),
    "NONE": DARK.replace("#e8eaed", "white"),
}


def problems(tmp_path: Path, text: str) -> list[Problem]:
    file = tmp_path / "gateway.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsInvalid) as invalid:
        load_settings(file)
    return invalid.value.problems


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "gateway.yaml"
    file.write_text(text, "utf-8")
    return load_settings(file)


def test_a_good_file(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    assert settings.data_dir == tmp_path / "data"
    assert [instance.strictness for instance in settings.instances] == ["everyone", "introduction"]
    assert settings.instances[0].registration == "invite"
    assert str(settings.bridges.smtp[0].listen[0].smtp) == "127.0.0.1:2525"


def test_defaults_follow_the_policy(tmp_path: Path) -> None:
    members, public = load(tmp_path, GOOD).instances
    assert (members.revision1, members.members_invite, members.has_directory) == (False, False, True)
    assert (public.revision1, public.members_invite, public.has_directory) == (True, True, False)


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "wrong", "right"),
    [
        ("data_dir: ./data", "host: https://chat.example.org", 1, "host", "neither a host's name nor an address", "chat.example.org"),
        ("    listen: [{tls: \"127.0.0.1:4433\"}]", "    listen: []", 5, "instances[0].listen", "[] is not enough", "at least 1"),
        ("data_dir: ./data", 'host: "chat.example.org:4433"', 1, "host", "neither", "without port"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, ca: none.pem}}", 8, "instances[1].sign_in.provider.ca", "none.pem cannot be used: No such file", "in PEM"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, ca: gateway.yaml}}", 8, "instances[1].sign_in.provider.ca", "cannot be used", "in PEM"),
        ("data_dir: ./data", "datadir: x", 1, "datadir", "there is no setting", "did you mean data_dir?"),
        ("policy: members", "policy: membres", 4, "instances[0].policy", "'membres' is not allowed", "'members' or"),
        ("policy: members", "policy: public\n    registration: maybe", 5, "instances[0].registration", "maybe", "one of"),
        ("    policy: members\n", "", 3, "instances[0].policy", "is missing", "add policy:"),
        ("name: members", "name: My Members", 3, "instances[0].name", "cannot be a name", "lower-case"),
        ("name: public", "name: members", 6, "instances[1].name", "used already", "choose another"),
        ('"127.0.0.1:4433"', '"localhost"', 5, "instances[0].listen[0].tls", "does not fit", "host:port"),
        ('"127.0.0.1:4433"', '"127.0.0.1:99999"', 5, "instances[0].listen[0].tls", "does not fit", "host:port"),
        ('tcp: "127.0.0.1:4435"', 'tcp: "0.0.0.0:4435"', 9, "instances[1].listen[1].tcp", "plain TCP", "tls:"),
        ('tcp: "127.0.0.1:4435"', 'ws: "0.0.0.0:4435"', 9, "instances[1].listen[1].ws", "plain WS", "wss:"),
        ('tcp: "127.0.0.1:4435"', 'tcp: "127.0.0.1:4435", ws: "127.0.0.1:4436"', 9, "instances[1].listen[1]", "exactly one", "tls:"),
        ('"127.0.0.1:4435"', '"127.0.0.1:4435", origins: ["https://x.example"]', 9, "instances[1].listen[1].origins", "only pages", "wss: or ws:"),
        ('tcp: "127.0.0.1:4435"', 'ws: "127.0.0.1:4435", origins: ["x.example"]', 9, "instances[1].listen[1].origins[0]", "no origin", "https://"),
        ('{tls: "127.0.0.1:4434"}, ', "", 13, "bridges.smtp[0].instance", "no tls: address", "add one"),
        ("registration: open", "tls: {proxy_pins: [x]}", 8, "instances[1].tls.proxy_pins[0]", "no pin", "sha256:"),
        ("registration: open", "protocol: {revision1: maybe}", 8, "instances[1].protocol.revision1", "maybe", "'allow' or 'deny'"),
        ("registration: open", "skin: {light: LIGHT, dark: DARK, font: Comic Sans}", 8, "instances[1].skin.font", "Comic Sans", "one of"),
        ("registration: open", "skin: {light: LIGHT, dark: DARK, css: x}", 8, "instances[1].skin.css", "no setting css", "one of light"),
        ("registration: open", "skin: {light: LIGHT}", 8, "instances[1].skin.dark", "dark is missing", "add dark:"),
        ("registration: open", "skin: {light: LIGHT, dark: WEAK}", 8, "instances[1].skin.dark.muted", "muted #555555 on surface #1d1f24 has a contrast of 2.21:1", 'muted: "#8'),
        ("registration: open", "skin: {light: LIGHT, dark: NONE}", 8, "instances[1].skin.dark.text", "'white' is no colour", "six hex digits"),
        ("registration: open", "skin: {light: LIGHT, dark: DARK, logo: none.png}", 8, "instances[1].skin.logo", "not a file", "path of a PNG"),
        ("registration: open", "groups: {moderation: me}", 8, "instances[1].groups.moderation", "me", "'members' or 'owners'"),
        ("registration: open", "delivery: {return_after_days: -1}", 8, "instances[1].delivery.return_after_days", "-1", "greater"),
        ("registration: open", "quotas: {pings_per_day: 0}", 8, "instances[1].quotas.pings_per_day", "0", "greater"),
        ("4434", "4433", 9, "instances[1].listen[0].tls", "used already", "choose another"),
        ("policy: public\n    registration: open", "policy: members\n    registration: open", 8, "instances[1].registration", "A1", "invite"),
        ("registration: open", "registration: oidc", 8, "instances[1].registration", "no provider is named", "sign_in:"),
        ("registration: open", "registration: oidc\n    sign_in: {required: false, provider: {issuer: https://id.example, client_id: x}}", 9, "instances[1].sign_in.required", "signs in", "required: true"),
        ("registration: open", "sign_in: {provider: {issuer: http://id.example, client_id: x}}", 8, "instances[1].sign_in.provider.issuer", "by https", "https://"),
        ("registration: open", "sign_in: {provider: {issuer: id.example, client_id: x}}", 8, "instances[1].sign_in.provider.issuer", "no address", "https://"),
        ("registration: open", "sign_in: {provider: {issuer: \"https://id.example?x\", client_id: x}}", 8, "instances[1].sign_in.provider.issuer", "no query", "discovery"),
        ("registration: open", "sign_in: {provider: {issuer: https://a:b@id.example, client_id: x}}", 8, "instances[1].sign_in.provider.issuer", "no address", "https://"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, token_url: ftp://x.example}}", 8, "instances[1].sign_in.provider.token_url", "by https", "https://"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, redirect_uri: http://chat.example/}}", 8, "instances[1].sign_in.provider.redirect_uri", "nowhere", "127.0.0.1"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, scopes: [email]}}", 8, "instances[1].sign_in.provider.scopes", "openid", "scopes: [openid]"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, algorithms: [none]}}", 8, "instances[1].sign_in.provider.algorithms[0]", "'none'", "one of"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, algorithms: [HS256]}}", 8, "instances[1].sign_in.provider.algorithms[0]", "HS256", "one of"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x, client_secret: y}}", 8, "instances[1].sign_in.provider.client_secret", "no setting", "client_id"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example}}", 8, "instances[1].sign_in.provider.client_id", "is missing", "add client_id"),
        ("registration: open", "sign_in: {provider: {issuer: https://id.example, client_id: x}, groups: {claim: groups}}", 8, "instances[1].sign_in.groups.any_of", "is missing", "add any_of"),
        ("registration: open", "registrations: {uncounted: [10.0.0.1/8]}", 8, "instances[1].registrations.uncounted[0]", "host bits", "for example"),
        ("registration: open", "registrations: {per_address_per_hour: 0}", 8, "instances[1].registrations.per_address_per_hour", "0", "greater"),
        ("registration: open", "database: mysql://x", 8, "instances[1].database", "no database", "null"),
        ("registration: open", "payloads: {s3: {endpoint: https://s3.example, bucket: tmtp}}", 8, "instances[1].payloads", "with SQLite", "PostgreSQL"),
        ("registration: open", "payloads: {s3: {endpoint: http://s3.example, bucket: tmtp}}", 8, "instances[1].payloads.s3.endpoint", "show messages", "https://s3.example"),
        ("registration: open", "payloads: {s3: {endpoint: https://a:b@s3.example, bucket: tmtp}}", 8, "instances[1].payloads.s3.endpoint", "not the address", "https://host"),
        ("registration: open", "payloads: {s3: {endpoint: s3.example, bucket: tmtp}}", 8, "instances[1].payloads.s3.endpoint", "not the address", "https://host"),
        ("registration: open", "payloads: {s3: {endpoint: https://s3.example, bucket: My Bucket}}", 8, "instances[1].payloads.s3.bucket", "no bucket", "3 to 63"),
        ("registration: open", "payloads: {s3: {endpoint: https://s3.example, bucket: tmtp, region: ''}}", 8, "instances[1].payloads.s3.region", "no region", "eu-central-1"),
        ("registration: open", "payloads: {s3: {endpoint: https://s3.example, bucket: tmtp, prefix: /../x}}", 8, "instances[1].payloads.s3.prefix", "no prefix", "letters"),
        ("registration: open", "payloads: {s3: {endpoint: https://s3.example, bucket: tmtp, secret_key: x}}", 8, "instances[1].payloads.s3.secret_key", "there is no setting", "one of"),
        ("registration: open", "payloads: {s3: {bucket: tmtp}}", 8, "instances[1].payloads.s3.endpoint", "is missing", "add endpoint"),
        ("registration: open", "limits: {message_max_bytes: -1}", 8, "instances[1].limits.message_max_bytes", "-1", "greater"),
        ("registration: open", "tls: {certificate: x.pem}", 8, "instances[1].tls", "come together", "both"),
        ("instance: public", "instance: members", 13, "bridges.smtp[0].instance", "C2", "instance: public"),
        ("instance: public", "instance: nowhere", 13, "bridges.smtp[0].instance", "no instance", "instance: public"),
        ("address: a@b.example", "address: nobody", 15, "bridges.smtp[0].senders[0].address", "no mail address", "name@domain"),
        ("address: a@b.example", "domain: b", 15, "bridges.smtp[0].senders[0].domain", "no domain", "partner.example"),
        ("address: a@b.example", "address: a@b.example, domain: b.example", 15, "bridges.smtp[0].senders[0]", "an address or a domain", "name@domain"),
        ("proof: [network: 127.0.0.0/8]}", "proof: [spf: aligned]}, {address: A@b.example, proof: [spf: aligned]}", 15, "bridges.smtp[0].senders[1].address", "has a rule already", "all must hold"),
        ("network: 127.0.0.0/8", "{network: 127.0.0.0/8, spf: aligned}", 15, "bridges.smtp[0].senders[0].proof[0]", "exactly one proof", "dkim: DOMAIN"),
        ("network: 127.0.0.0/8", "spf: relaxed", 15, "bridges.smtp[0].senders[0].proof[0].spf", "relaxed", "'aligned'"),
        ("network: 127.0.0.0/8", "dkim: b", 15, "bridges.smtp[0].senders[0].proof[0].dkim", "no domain", "d="),
        ("network: 127.0.0.0/8", "dkim: b.test", 15, "bridges.smtp[0].senders[0].proof[0].dkim", "never aligned with b.example", "signs for itself"),
        ("network: 127.0.0.0/8", "client_certificate: x", 15, "bridges.smtp[0].senders[0].proof[0].client_certificate", "no pin", "sha256:"),
        ("listen: 127.0.0.1:2525", "listen: {smtp: '127.0.0.1:2525', smtps: '127.0.0.1:2526'}", 14, "bridges.smtp[0].listen[0]", "exactly one", "smtps:"),
        ("listen: 127.0.0.1:2525", "listen: {lmtp: 'unix:'}", 14, "bridges.smtp[0].listen[0].lmtp", "does not fit", "unix:PATH"),
        ("listen: 127.0.0.1:2525", "listen: {lmtp: '127.0.0.1:4433'}", 14, "bridges.smtp[0].listen[0].lmtp", "used already", "choose another"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      upstream: {authserv_id: mx.example}", 15, "bridges.smtp[0].upstream.authserv_id", "everybody", "addresses:"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      upstream: {addresses: [everybody]}", 15, "bridges.smtp[0].upstream.addresses[0]", "everybody", "or unix"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      proxies: [unix]", 15, "bridges.smtp[0].proxies[0]", "unix", "127.0.0.1/32"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      arc_sealers: [lists]", 15, "bridges.smtp[0].arc_sealers[0]", "no domain", "d="),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      nameservers: ['dns.example:53']", 15, "bridges.smtp[0].nameservers[0]", "no IP address", "127.0.0.1:53"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      tls: {key: x.pem}", 15, "bridges.smtp[0].tls", "come together", "both"),
        ("127.0.0.0/8", "0.0.0.0/0", 15, "bridges.smtp[0].senders[0].proof[0].network", "is everybody", "network of the sender"),
        ("127.0.0.0/8", "'::/0'", 15, "bridges.smtp[0].senders[0].proof[0].network", "is everybody", "network of the sender"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      upstream: {addresses: [127.0.0.1/32]}", 16, "bridges.smtp[0].senders[0].proof[0].network", "overlaps 127.0.0.1/32 of upstream", "authserv_id"),
        ("127.0.0.0/8", "127.0.0.1/8", 15, "bridges.smtp[0].senders[0].proof[0].network", "host bits", "for example"),
        ("to: Support Desk", "to: Support Desk, original: keep", 16, "bridges.smtp[0].routes[0].original", "keep", "'drop' or 'attach'"),
        ("to: Support Desk", "to: Support Desk, active_attachments: yes", 16, "bridges.smtp[0].routes[0].active_attachments", "True", "'withhold' or 'allow'"),
        ("network: 127.0.0.0/8", "dkimm: x", 15, "bridges.smtp[0].senders[0].proof[0].dkimm", "there is no setting", "dkim"),
        ("recipient: c@d.example", "recipient: all", 16, "bridges.smtp[0].routes[0].recipient", "no mail address", "name@"),
        ("to: Support Desk", "to: Support Desk, unknown: maybe", 16, "bridges.smtp[0].routes[0].unknown", "maybe", "'refuse' or 'hold'"),
        ("to: Support Desk", "to: Support Desk, reply: smarthost", 16, "bridges.smtp[0].routes[0].reply", "no relay", "smarthost: {host:"),
        ("address: a@b.example", "address: a(b)@b.example", 15, "bridges.smtp[0].senders[0].address", "no address that mail could come from", "plain characters"),
        ("127.0.0.0/8]", "127.0.0.0/8], routes: [C@d.example, x@d.example]", 15, "bridges.smtp[0].senders[0].routes[1]", "no route for x@d.example", "one of c@d.example"),
        ("127.0.0.0/8]", "127.0.0.0/8], routes: []", 15, "bridges.smtp[0].senders[0].routes", "is not enough", "at least 1"),
        ("127.0.0.0/8]", "127.0.0.0/8], quota_per_day: 0", 15, "bridges.smtp[0].senders[0].quota_per_day", "0 does not fit", "greater than or equal to 1"),
        ("127.0.0.0/8]", "127.0.0.0/8], expires: soon", 15, "bridges.smtp[0].senders[0].expires", "'soon' does not fit", "date"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      invitation_url: example.org/join", 15, "bridges.smtp[0].invitation_url", "no address of a web page", "https://"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      invitation_url: 'ftp://example.org/join'", 15, "bridges.smtp[0].invitation_url", "no address of a web page", "https://"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      invitation_url: 'https://example.org/a b'", 15, "bridges.smtp[0].invitation_url", "no address of a web page", "https://"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      invitation_url: 'https://ä.example'", 15, "bridges.smtp[0].invitation_url", "no address of a web page", "https://"),
        ("listen: 127.0.0.1:2525", f"listen: 127.0.0.1:2525\n      invitation_url: 'https://x.example/{'y' * 200}'", 15, "bridges.smtp[0].invitation_url", "longer than 200", "at most 200"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      tell: desk@d.example", 15, "bridges.smtp[0].tell", "no route for desk@d.example", "or null"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      smarthost: {host: mx.example, user: tmtp}", 15, "bridges.smtp[0].smarthost", "come together", "both, or none"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      smarthost: {host: mx.example, user: tmtp, password: ./none}", 15, "bridges.smtp[0].smarthost.password", "not a file that can be read", "the password alone"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      smarthost: {host: mx.example, ca: ./none.pem}", 15, "bridges.smtp[0].smarthost.ca", "not a file that can be read", "PEM"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      hold: {mails_max: 0}", 15, "bridges.smtp[0].hold.mails_max", "0 does not fit", "1"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      life_cycle: {invite: never}", 15, "bridges.smtp[0].life_cycle.invite", "never", "'by_hand' or 'when_vetted'"),
        ("listen: 127.0.0.1:2525", "listen: 127.0.0.1:2525\n      decisions_kept_days: 30", 15, "bridges.smtp[0].decisions_kept_days", "30 does not fit", "90"),
        ("data_dir: ./data", 'http: {listen: "0.0.0.0:8080"}', 1, "http.listen", "from outside", "loopback"),
        ("policy: public", "policy: public\n    reached_at: chat.example.org:0", 8, "instances[1].reached_at", "need a port", "chat.example.org:4433"),
        ("data_dir: ./data", "data_dir: a\ndata_dir: b", 2, "data_dir", "twice", "line 1"),
        ("data_dir: ./data", "data_dir:\n\tx", 2, "", "not YAML", "never with tabs"),
        ("data_dir: ./data", "data_dir: [", 3, "", "not YAML", "syntax"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(
    tmp_path: Path, old: str, new: str, line: int, path: str, wrong: str, right: str
) -> None:
    assert old in GOOD
    for name, palette in PALETTES.items():
        new = new.replace(name, palette)
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    there = [problem for problem in found if (problem.line, problem.path) == (line, path)]
    assert len(there) == 1, found
    assert wrong in there[0].wrong
    assert right in there[0].right


def test_all_that_vetting_needs_can_be_said(tmp_path: Path) -> None:
    """Each of the settings, at its place in what an intake is told (C2, C5). What is over already is no mistake."""
    (tmp_path / "relay.password").write_text("secret", "utf-8")
    text = GOOD.replace(
        "proof: [network: 127.0.0.0/8]",
        "proof: [network: 127.0.0.0/8], owner: Purchasing, reason: orders, expires: 2020-02-29, "
        "routes: [C@d.example], quota_per_day: 5",
    ).replace(
        "to: Support Desk}]",
        "to: Support Desk, unknown: hold, reply: smarthost}]\n"
        "      invitation_url: https://example.org/join\n      tell: C@d.example\n"
        "      hold: {expires_days: 3, mails_max: 5, bytes_max: 2000000}\n"
        "      spool: {mails_max: 0, bytes_max: 3000000}\n"
        "      life_cycle: {invite: when_vetted, refuse_after_joined_days: 30}\n"
        "      smarthost: {host: mx.example, tls: implicit, user: tmtp, password: ./relay.password}\n"
        "      decisions_kept_days: 100",
    )
    bridge = load(tmp_path, text).bridges.smtp[0]
    assert bridge.senders[0].expires == date(2020, 2, 29)
    assert bridge.routes[0].unknown == "hold"
    assert bridge.smarthost is not None
    assert bridge.smarthost.password == tmp_path / "relay.password"
    assert (bridge.tell, bridge.life_cycle.refuse_after_joined_days) == ("C@d.example", 30)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = (
        GOOD.replace("policy: members", "policy: x").replace("name: intake", "name: In Take").replace("data_dir", "dir")
    )
    assert [problem.line for problem in problems(tmp_path, text)] == [1, 4, 12]


@pytest.mark.parametrize("text", ["hello", "- a", "42"])
def test_a_file_that_is_no_mapping_is_told_so(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert "block of settings" in problem.wrong


@pytest.mark.parametrize(
    "text", ["2021-13-45", "!!bool x", "!!timestamp x", "!!int ''", "!!float x", "1" * 5_000, '"a\\0b"']
)
def test_a_value_that_yaml_cannot_make_is_a_mistake_with_its_place(tmp_path: Path, text: str) -> None:
    (mistake,) = problems(tmp_path, GOOD + f"host: {text}\n")
    assert (mistake.line, mistake.column, mistake.path) == (GOOD.count("\n") + 1, 7, "host")
    assert mistake.wrong.isprintable()


def test_aliases_of_aliases_are_bounded_and_told_so(tmp_path: Path) -> None:
    """Nine lines could be four hundred million values, and all of the memory."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in pairwise("abcdefghi"):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    (problem,) = problems(tmp_path, "\n".join(lines))
    assert "more than 100,000 values" in problem.wrong
    assert "fewer aliases" in problem.right
    (problem,) = problems(tmp_path, "instances: &a [*a]")
    assert "an alias (*name) is in what it names" in problem.wrong
    few = GOOD.replace(
        "[network: 127.0.0.0/8]}]", "&here [network: 127.0.0.0/8]}, {address: b@b.example, proof: *here}]"
    )
    assert len(load(tmp_path, few).bridges.smtp[0].senders) == 2


@pytest.mark.parametrize("bridges", ["true", "5", "[x]", "{smtp: 5}", "{smtp: true}", "{smtp: [5]}"])
def test_what_is_no_list_of_bridges_is_told_so_to_a_bridge(tmp_path: Path, bridges: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"bridges: {bridges}\n", "utf-8")
    with pytest.raises(SettingsInvalid):
        load_bridges(file)


@pytest.mark.parametrize(
    ("place", "block"),
    [
        ("sign_in.provider.issuer", 'sign_in: {required: false, provider: {issuer: "https://[", client_id: x}}'),
        ("database", 'database: "postgresql://host:port/name"'),
    ],
)
def test_an_address_that_cannot_be_taken_apart_is_a_mistake(tmp_path: Path, place: str, block: str) -> None:
    found = problems(tmp_path, GOOD.replace("    registration: open\n", f"    registration: open\n    {block}\n"))
    assert [one.path for one in found] == [f"instances[1].{place}"]


def test_a_certificate_needs_its_own_key(tmp_path: Path) -> None:
    for name in ("one", "other"):
        make_self_signed(tmp_path / f"{name}.crt", tmp_path / f"{name}.key", name, datetime.now(UTC))
    (tmp_path / "junk.pem").write_text("junk", "utf-8")
    for certificate, key in (("one.crt", "other.key"), ("junk.pem", "junk.pem")):
        text = GOOD.replace(
            "policy: members\n", f"policy: members\n    tls: {{certificate: {certificate}, key: {key}}}\n"
        )
        (problem,) = problems(tmp_path, text)
        assert "cannot be used together" in problem.wrong


def test_mistakes_of_form_hide_no_others(tmp_path: Path) -> None:
    """All in one pass: also what contradicts something, beside values that are none and settings that are missing."""
    text = """\
http: {listen: "0.0.0.0:8080"}
instances:
  - {name: members, listen: [{tls: "127.0.0.1:4433"}], registration: oidc}
  - {name: members, policy: pubic, listen: [{tls: "127.0.0.1:4433"}], skin: {light: 5}}
  - {name: public, policy: public, tls: {certificate: no.pem, key: no.pem}, listen: [{tls: 5}]}
bridges:
  smtp:
    - {name: intake, instance: elsewhere, listen: "127.0.0.1:2525", senders: [{address: nobody}], routes: []}
"""
    found = {(one.line, one.path) for one in problems(tmp_path, text)}
    assert {
        (1, "http.listen"),
        (3, "instances[0].policy"),
        (3, "instances[0].registration"),
        (4, "instances[1].name"),
        (4, "instances[1].policy"),
        (4, "instances[1].listen[0].tls"),
        (4, "instances[1].skin.light"),
        (5, "instances[2].tls.certificate"),
        (5, "instances[2].listen[0].tls"),
        (8, "bridges.smtp[0].instance"),
        (8, "bridges.smtp[0].senders[0].proof"),
        (8, "bridges.smtp[0].senders[0].address"),
    } <= found
    assert not [one for one in problems(tmp_path, text) if "stand" in one.wrong]


def test_an_empty_file_says_what_is_missing(tmp_path: Path) -> None:
    assert problems(tmp_path, "")[0].wrong == "instances is missing"


def test_a_bucket_needs_a_library_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = "payloads: {s3: {endpoint: https://s3.example:9000, bucket: tmtp, prefix: messages/example}}"
    text = GOOD.replace("registration: open", f"database: postgresql+asyncpg://tmtp@host/tmtp\n    {bucket}")
    settings = load(tmp_path, text).instances[1].payloads
    assert settings is not None
    assert (settings.s3.bucket, settings.s3.region) == ("tmtp", "us-east-1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (problem,) = problems(tmp_path, text)
    assert (problem.path, "tmtp-gateway[s3]" in problem.right) == ("instances[1].payloads.s3", True)


def test_the_console_can_be_found_and_entered(tmp_path: Path) -> None:
    provider = "provider: {issuer: https://id.example.org, client_id: console}"
    good = f"""administration:
  listen: 127.0.0.1:8443
  url: https://console.example.org:8443
  sign_in: {{{provider}, secret: the.secret, groups: {{claim: roles, helpdesk: [a, b], administrator: [c]}}}}
"""
    (tmp_path / "the.secret").write_text("secret", "utf-8")
    settings = load(tmp_path, good + GOOD).administration
    assert settings.url == "https://console.example.org:8443"
    assert settings.sign_in is not None
    assert settings.sign_in.secret == tmp_path / "the.secret"
    assert settings.sign_in.groups.roles() == [("administrator", ["c"]), ("helpdesk", ["a", "b"])]

    wrong = """administration:
  listen: 127.0.0.1:8443
  url: http://console.example.org/
  sign_in:
    provider: {issuer: http://id.example.org, client_id: console, redirect_uri: http://127.0.0.1/}
    secret: no.such
    groups: {claim: groups}
"""
    found = {(problem.line, problem.path) for problem in problems(tmp_path, wrong + GOOD)}
    assert found >= {
        (3, "administration.url"),
        (5, "administration.sign_in.provider.issuer"),
        (5, "administration.sign_in.provider.redirect_uri"),
        (6, "administration.sign_in.secret"),
        (7, "administration.sign_in.groups"),
    }


def test_the_manual_loads_and_names_every_setting(tmp_path: Path) -> None:
    text = resources.files("config").joinpath("gateway.yaml").read_text("utf-8")
    load(tmp_path, text)
    for model in _models(Settings):
        for name in model.model_fields:
            assert f"{name}:" in text or name in {"host", "port", "path"}, name


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found += _models(part)
    return found
