# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the console does not take: from other names, other sites, other sessions; and what it says to browsers (C1)."""

import http.client
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import pytest

from gateway.administration import models as m
from gateway.console.guards import COOKIE, HEADERS
from gateway.console.rendering import part
from gateway.console.routes import ROUTES
from tests.support.console import World
from tmtp_core import limits

FORM = "application/x-www-form-urlencoded"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Client:
    """A program, which says what it likes of itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cookie = ""

    def send(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        """A request. Headers are named with underscores; by default they are those of a page of the console."""
        sent = {"Sec-Fetch-Site": "same-origin", "Content-Type": FORM, "Cookie": self.cookie}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        port = self.world.gateway.administration_address[1]
        with closing(http.client.HTTPConnection("localhost", port, timeout=10)) as connection:
            body = urlencode(form) if form is not None else None
            connection.request(method, path, body, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())

    def sign_in(self, person: str = "Ada Lovelace", role: str = "owner") -> "Client":
        """Use a link."""
        secret = self.world.link(person, role).rpartition("/")[2]
        answer = self.send("POST", "/sign-in/link", {"token": secret})
        assert answer.status == 303, answer.text
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return self

    def csrf(self) -> str:
        """The token of this session's forms."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.send("GET", "/me").text)
        assert found is not None
        return found[1]


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    yield Client(world)
    world.clock.ahead_s += 60  # for the next one's tries


def test_another_name_is_refused_also_on_a_loopback_address(client: Client) -> None:
    """DNS rebinding: a stranger's name that leads to this machine."""
    for host in ("rebound.attacker.example", "localhost.attacker.example:80", "[::2]", "a@b:c@d"):
        answer = client.send("GET", "/sign-in", Host=host)
        assert answer.status in {400, 421}, host
        assert "sign in" not in answer.text.lower()
    assert client.send("GET", "/sign-in", Host="LOCALHOST:1").status == 200


def test_a_page_that_fails_says_so_like_every_other(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(secret: str) -> None:
        raise RuntimeError

    console = client.world.gateway.console
    assert console is not None
    client.sign_in()
    monkeypatch.setattr(console.people, "use_link", broken)
    monkeypatch.setattr(console.people, "session", broken)
    for answer in (
        client.send("GET", "/me"),
        client.send("POST", "/sign-in/link", {"token": "a-secret"}),
    ):
        assert answer.status == 500
        assert "The console failed" in answer.text
        for name, value in HEADERS.items():
            assert answer.headers[name] == value


def test_a_members_page_shows_what_is_reported_of_him_to_whoever_may_read_that(client: Client) -> None:
    uid = client.world.people["Edsger Dijkstra"].uid
    closed, other = client.world.people["Alan Turing"].uid, client.world.people["Grace Hopper"].uid
    words, heading = "He goes on although I have asked him to stop", "Open reports about this account"
    client.sign_in(role="administrator")
    page = client.send("GET", f"/i/members/members/{part(uid)}").text
    assert heading in page
    assert words in page
    assert 'href="/i/members/reports/2/close"' in page
    for nobody in (closed, other):
        assert heading not in client.send("GET", f"/i/members/members/{part(nobody)}").text
    client.sign_in(role="helpdesk")
    page = client.send("GET", f"/i/members/members/{part(uid)}").text
    assert "Edsger Dijkstra" in page
    assert heading not in page
    assert words not in page


def test_every_answer_has_the_headers(client: Client) -> None:
    client.sign_in()
    paths = ["/", "/sign-in", "/i/members", "/nowhere", "/me", "/static/x/y.css", "/i/none/members"]
    answers = [client.send("GET", path) for path in paths]
    answers += [client.send("GET", "/", Host="elsewhere.example"), client.send("POST", "/sign-out", {"csrf": "wrong"})]
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, name


def test_files_are_kept_by_browsers_for_their_content_and_named_by_it(client: Client) -> None:
    page = client.send("GET", "/sign-in").text
    for path in re.findall(r'(?:href|src)="(/static/[^"#]+)', page):
        answer = client.send("GET", path)
        assert answer.status == 200, path
        assert "immutable" in answer.headers["Cache-Control"]
        assert client.send("GET", path.replace("/static/", "/static/0")).status == 404


def test_every_change_needs_the_forms_own_token(client: Client) -> None:
    client.sign_in()
    before = client.world.ask("audit.verify").entries
    other = Client(client.world).sign_in("Somebody Else", "owner").csrf()
    given = {
        "instance": "members",
        "uid": part(client.world.people["Alan Turing"].uid),
        "device": "1",
        "number": "1",
        "report": "1",
    }
    given |= {
        "invitation": "1",
        "person": "Ada%20Lovelace",
        "name": "x",
        "bridge": "intake",
        "address": "a%40b.example",
    }
    links = client.world.ask("audit.verify").entries
    for route in ROUTES:
        if route.method != "POST":
            continue
        path = re.sub(r"\{(\w+)(?::[^}]*\}?)?\}", lambda part: given[part[1]], route.path)
        for token in ("", "wrong", other):
            answer = client.send("POST", path, {"csrf": token, "alias": "x", "name": "x"}, X_Console_Token=token)
            assert answer.status == 403, (path, token)
        assert client.send("POST", path, None, Content_Type="application/json").status == 403
    assert client.send("GET", "/me").status == 200  # not even signed out
    assert client.world.ask("audit.verify").entries == links == before + 2  # the other's link and sign-in


@pytest.mark.parametrize("charset", ["punycode", "utf-16", "no-such-thing", "rot13"])
def test_a_form_is_in_utf8_whatever_its_sender_says(client: Client, charset: str) -> None:
    """Some codecs take a minute for a megabyte, on everybody's loop; others do not exist."""
    secret = client.world.link().rpartition("/")[2]
    answer = client.send("POST", "/sign-in/link", {"token": secret}, Content_Type=f"{FORM}; charset={charset}")
    assert answer.status == 403
    assert client.send("POST", "/sign-in/link", {"token": secret}, Content_Type=f"{FORM}; charset=UTF-8").status == 303


def test_a_form_has_its_bounds(client: Client) -> None:
    many = {f"field{number}": "" for number in range(limits.FORM_FIELDS_MAX + 1)}
    assert client.send("POST", "/sign-in/link", many).status == 403
    assert client.send("POST", "/sign-in/link", {"token": "x" * (limits.CONSOLE_FORM_MAX_BYTES + 1)}).status == 413
    too_long = {"x": "y" * limits.CONSOLE_REPORT_MAX_BYTES}
    assert client.send("POST", "/csp-report", too_long, Content_Type="application/csp-report").status == 413


def test_what_people_do_with_their_own_sign_in_is_written_down(client: Client) -> None:
    """C1: who may do what was refused, and who came and went, too."""
    client.sign_in("A Helper", "helpdesk")
    csrf, helper = client.csrf(), Client(client.world).sign_in("A Helper", "helpdesk")
    number = re.findall(r"/me/sessions/(\d+)/end", client.send("GET", "/me").text)[0]
    assert client.send("POST", "/tokens/new", {"csrf": csrf, "name": "x"}).status == 403
    assert client.send("POST", f"/me/sessions/{number}/end", {"csrf": csrf}).status == 303
    assert client.send("POST", "/sign-out", {"csrf": csrf}).status == 303
    assert helper.send("GET", "/me").status == 303
    entries: m.AuditPage = client.world.ask("audit.list", limit=5)
    told = [(one.operation, one.target.partition(" ")[0], one.outcome) for one in entries.entries[:3]]
    assert told == [
        ("console.sign_out", "A", "done"),
        ("console.session.end", number, "done"),
        ("console.form", "/tokens/new", "denied"),
    ]
    assert {one.actor for one in entries.entries[:3]} == {"console:A Helper"}
    assert entries.entries[3].detail == "by link, as helpdesk"


def test_other_sites_cannot_ask_for_a_change(client: Client) -> None:
    client.sign_in()
    form = {"csrf": client.csrf(), "note": "planted", "uses": "1", "expires": "7"}
    for headers in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "", "Origin": "https://attacker.example"},
        {"Sec_Fetch_Site": "", "Origin": "null"},
        {"Sec_Fetch_Site": "", "Origin": ""},
    ):
        assert client.send("POST", "/i/members/invitations/new", form, **headers).status == 403, headers
        assert client.send("POST", "/sign-in/link", {"token": "x"}, **headers).status == 403, headers
    own = {"Sec_Fetch_Site": "", "Origin": client.world.url}
    assert client.send("POST", "/i/members/invitations/new", form, **own).status == 303
    planted: list[m.Invitation] = client.world.ask("invitations.list", instance="members")
    assert [one.note for one in planted].count("planted") == 1


def test_a_planted_cookie_is_worth_nothing_afterwards(client: Client) -> None:
    """Session fixation: who knew the cookie before does not know the session."""
    client.cookie = f"{COOKIE}={'A' * 43}"
    planted = client.cookie
    client.sign_in()
    assert client.cookie.startswith(f"{COOKIE}=")
    assert client.cookie != planted
    client.cookie = planted
    assert client.send("GET", "/me").headers["Location"] == "/sign-in"


def test_a_role_opens_its_own_pages_only_and_forms_are_no_way_around(client: Client) -> None:
    client.sign_in("An Auditor", "auditor")
    csrf = client.csrf()
    assert client.send("GET", "/audit").status == 200
    for path in ("/i/members/members", "/i/members/invitations", "/tokens", "/people", "/i/members/invitations/new"):
        assert client.send("GET", path).status == 403, path
    uid = client.world.people["Alan Turing"].uid
    assert client.send("POST", f"/i/members/members/{part(uid)}/bar", {"csrf": csrf}).status == 403
    detail: m.AccountDetail = client.world.ask("accounts.show", instance="members", who=uid)
    assert detail.account.status == "active"
    nav = client.send("GET", "/audit").text
    assert 'href="/settings"' in nav
    assert 'href="/tokens"' not in nav


def test_without_a_session_there_is_nothing_but_the_way_in(client: Client) -> None:
    for route in ROUTES:
        path = re.sub(r"\{(\w+)(?::[^}]*\}?)?\}", lambda part: "members" if part[1] == "instance" else "1", route.path)
        answer = client.send(route.method, path, {} if route.method == "POST" else None)
        assert (answer.status, answer.headers["Location"]) == (303, "/sign-in"), path


def test_who_asks_for_passkeys_without_end_keeps_nobody_out(client: Client) -> None:
    """Behind a proxy all have one address: beginning costs nothing and is not counted, answers that fail are."""
    statuses = [client.send("POST", "/sign-in/passkey/begin", {}).status for _ in range(30)]
    assert set(statuses) == {200}
    client.world.clock.ahead_s += 120
    statuses = [client.send("POST", "/sign-in/passkey", {}).status for _ in range(limits.CONSOLE_ATTEMPTS_MAX + 1)]
    assert statuses == [400] * limits.CONSOLE_ATTEMPTS_MAX + [429]


@pytest.mark.parametrize("expires", ["0", "-1", "1.5", "3651", "1e9", "never", None])
def test_what_is_no_end_is_not_taken_for_none(client: Client, expires: str | None) -> None:
    csrf = client.sign_in().csrf()
    end = {} if expires is None else {"expires": expires}
    for path, form in (
        ("/i/members/invitations/new", {"uses": "1", "note": "odd"}),
        ("/i/members/invitations/many", {"people": "odd"}),
        ("/tokens/new", {"name": "odd", "scopes": "overview:read"}),
    ):
        answer = client.send("POST", path, {"csrf": csrf, **form, **end})
        assert (answer.status, "how many days" in answer.text) == (409, True), path


def test_a_new_link_ends_the_ones_before_it(client: Client) -> None:
    """Of somebody's links only the last is good: an earlier one may have gone astray."""
    first, second = (client.world.link("Somebody New").rpartition("/")[2] for _ in range(2))
    client.world.link("Somebody Else")
    assert client.send("POST", "/sign-in/link", {"token": first}).status == 403
    assert client.send("POST", "/sign-in/link", {"token": second}).status == 303


def test_guessing_links_is_slowed_down(client: Client) -> None:
    client.world.clock.ahead_s += 120
    statuses = [client.send("POST", "/sign-in/link", {"token": f"guess{n}"}).status for n in range(14)]
    assert statuses[: limits.CONSOLE_ATTEMPTS_MAX] == [403] * limits.CONSOLE_ATTEMPTS_MAX
    assert set(statuses[limits.CONSOLE_ATTEMPTS_MAX :]) == {429}
    secret = client.world.link().rpartition("/")[2]
    assert client.send("POST", "/sign-in/link", {"token": secret}).status == 303  # who knows a link gets in
    client.world.clock.ahead_s += 120
    assert client.send("POST", "/sign-in/link", {"token": secret}).status == 403


def test_nonsense_is_answered_and_never_with_a_traceback(client: Client) -> None:
    client.sign_in()
    csrf = client.csrf()
    for method, path, form, status in (
        ("GET", "/i/members/members?after=%00&search=%ff&status=odd", None, {200, 404, 409}),
        ("GET", "/i/members/members/%00", None, {404, 409}),
        ("GET", "/audit?before=99999999999999999999", None, {200}),
        ("GET", "/audit?before=-1", None, {200}),
        ("GET", "/i/members/groups/%2e%2e", None, {404}),
        ("GET", "/i/elsewhere/members", None, {404}),
        ("POST", "/i/members/invitations/new", {"uses": "0"}, {409}),
        ("POST", "/i/members/invitations/new", {"uses": "99999999999"}, {409}),
        ("POST", "/i/members/invitations/new", {"uses": "1", "note": "x" * 501}, {409}),
        ("POST", "/i/members/invitations/many", {"people": " \n \n"}, {409}),
        ("POST", "/i/members/invitations/many", {"people": "x\n" * 251}, {409}),
        ("POST", "/i/members/found", {"gid": "", "who": ""}, {409}),
        ("POST", "/tokens/new", {"name": "", "scopes": "no:such"}, {409}),
        ("POST", "/me/passkeys/999999/rename", {"name": "x" * 1000}, {303}),
        ("GET", "/me/passkeys/999999/remove", None, {303}),
        ("POST", "/sign-in/passkey", {}, {400}),
        ("PUT", "/me", {}, {404, 405}),
        ("GET", "/sign-in/link/" + "x" * 4000, None, {200}),
    ):
        answer = client.send(method, path, None if form is None else {"csrf": csrf, **form})
        assert answer.status in status, (path, answer.status, answer.text[:300])
        assert "Traceback" not in answer.text
    assert client.send("POST", "/sign-out", {"csrf": csrf, "x": "x" * (2 << 20)}).status in {403, 413}


def test_one_sessions_links_are_not_shown_to_another(client: Client) -> None:
    client.sign_in()
    form = {"csrf": client.csrf(), "note": "for one", "uses": "1", "expires": ""}
    made = client.send("POST", "/i/members/invitations/new", form).headers["Location"]
    assert "tmtp" in client.send("GET", made).text
    other = Client(client.world).sign_in("Somebody Else", "owner")
    assert other.send("GET", made).status == 303
    client.world.clock.ahead_s += limits.CONSOLE_SHOWN_MS / 1000
    assert client.send("GET", made).status == 303


def test_the_log_of_the_gateway_has_no_secret_of_the_console(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    secret = client.world.link().rpartition("/")[2]
    client.send("GET", f"/sign-in/link/{secret}")
    client.send("POST", "/sign-in/link", {"token": secret})
    entries: m.AuditPage = client.world.ask("audit.list")
    assert urlsplit(client.world.url).hostname == "localhost"
    assert all(secret not in f"{one.target}{one.detail}" for one in entries.entries)
    assert secret not in caplog.text
