# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API over HTTP: tokens, strictness, limits, and what no answer holds (C1, D5)."""

import asyncio
import contextlib
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.administration import OPERATIONS, ROLES, local_user, models
from gateway.api import API
from gateway.api.examples import ANSWERS, ARGUMENTS, BODIES
from gateway.api.openapi import document
from gateway.app import Gateway
from gateway.certificates import make_self_signed
from gateway.settings import Settings, load_settings, settings_yaml
from tests.support.devices import fresh_id
from tests.support.gateway import SETTINGS, Desk, member, running_gateway
from tmtp_core import limits
from tmtp_core.wire import messages as m

SERVED = SETTINGS + 'administration: {listen: "127.0.0.1:0"}\n'
CANARY = "canary-6b1f9e"
HERE = {"instance": "members"}


@dataclass
class Reached:
    """A gateway's API, asked with a token that may do everything."""

    gateway: Gateway
    session: aiohttp.ClientSession
    token: str

    @property
    def url(self) -> str:
        """Below which everything is."""
        return "http://{}:{}".format(*self.gateway.administration_address) + API

    async def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Any, "dict[str, str]"]:
        """Status, what the JSON says, headers."""
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        sent = {name: value for name, value in given.items() if value}
        async with self.session.request(method, self.url + path, headers=sent, **options) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if raw else None, dict(answer.headers)


async def token_of(gateway: Gateway, **wanted: Any) -> models.NewToken:
    owner = gateway.administration.on_behalf_of(local_user())
    asked: dict[str, Any] = {"name": "test", "scopes": sorted(ROLES["owner"]), **wanted}
    made = await owner.perform("tokens.create", {}, models.CreateToken(**asked))
    assert isinstance(made, models.NewToken)
    return made


@asynccontextmanager
async def reached(folder: Path, settings: str = SERVED) -> AsyncIterator[Reached]:
    async with running_gateway(folder, settings) as gateway, aiohttp.ClientSession() as session:
        yield Reached(gateway, session, (await token_of(gateway)).token)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Reached]:
    async with reached(tmp_path) as one:
        yield one


# -- tokens ----------------------------------------------------------------------------------------------------------
async def test_a_token_is_good_until_it_ends_or_is_revoked_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reached(tmp_path) as api:
        now_ms = api.gateway._clock.wall_ns() // 1_000_000
        ending = await token_of(api.gateway, expires_ms=now_ms + 3_600_000)
        revoked, kept = await token_of(api.gateway), await token_of(api.gateway)
        for one in (ending, revoked, kept):
            assert (await api.ask("GET", "/overview", headers={"Authorization": f"Bearer {one.token}"}))[0] == 200
        assert (await api.ask("DELETE", f"/tokens/{revoked.number}"))[:2] == (200, {})
        assert (await api.ask("DELETE", f"/tokens/{revoked.number}"))[0] == 404
    stored = (tmp_path / "data" / "administration.sqlite3").read_bytes()
    assert kept.token.encode() not in stored
    async with reached(tmp_path) as api:
        _, listed, _ = await api.ask("GET", "/tokens")
        assert {one["number"] for one in listed} == {1, ending.number, kept.number, 5}
        assert next(one for one in listed if one["number"] == kept.number)["used_ms"] is not None
        clock = api.gateway._clock
        wall = clock.wall_ns
        answers = {}
        for moment, later_ns in (("now", 0), ("then", 2 * 3_600 * 10**9)):
            monkeypatch.setattr(clock, "wall_ns", lambda later_ns=later_ns: wall() + later_ns)
            for name, one in (("ending", ending), ("revoked", revoked), ("kept", kept)):
                headers = {"Authorization": f"Bearer {one.token}"}
                answers[moment, name] = (await api.ask("GET", "/overview", headers=headers))[0]
        assert [answers["now", name] for name in ("ending", "revoked", "kept")] == [200, 401, 200]
        assert [answers["then", name] for name in ("ending", "revoked", "kept")] == [401, 401, 200]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "tmtpadm_x",
        "Bearer tmtpadm_x",
        "Bearer " + "x" * 4_000,
        "Bearer \u00e9",
    ],
)
async def test_who_has_no_token_is_told_how_to_send_one(api: Reached, given: str) -> None:
    status, problem, headers = await api.ask("GET", "/overview", headers={"Authorization": given})
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert headers["Content-Type"] == "application/problem+json"
    assert "tmtp-gateway token create" in problem["detail"]


async def test_who_guesses_is_slowed_down_and_keeps_nobody_else_out(api: Reached) -> None:
    wrong = {"Authorization": "Bearer tmtpadm_" + "A" * 43}
    statuses = [
        (await api.ask("GET", "/overview", headers=wrong))[0] for _ in range(limits.API_FAILURES_PER_MINUTE + 2)
    ]
    assert statuses == [401] * limits.API_FAILURES_PER_MINUTE + [429] * 2
    status, _, headers = await api.ask("GET", "/overview", headers=wrong)
    assert (status, headers["Retry-After"]) == (429, "60")
    assert (await api.ask("GET", "/overview"))[0] == 200


async def test_a_token_is_good_for_so_many_requests(api: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await token_of(api.gateway)
    monkeypatch.setattr(limits, "API_REQUESTS_PER_MINUTE", 3)
    assert [(await api.ask("GET", "/bridges"))[0] for _ in range(4)] == [200, 200, 200, 429]
    assert (await api.ask("GET", "/bridges", headers={"Authorization": f"Bearer {other.token}"}))[0] == 200


async def test_nobody_gives_more_than_he_has(api: Reached) -> None:
    maker = await token_of(api.gateway, scopes=["tokens:write", "accounts:read", "console:write"])
    headers = {"Authorization": f"Bearer {maker.token}"}
    more = {"name": "more", "scopes": ["accounts:write"]}
    status, problem, _ = await api.ask("POST", "/tokens", json=more, headers=headers)
    assert (status, "accounts:write" in problem["detail"]) == (403, True)
    link = {"person": "Grace Hopper", "role": "helpdesk"}
    assert (await api.ask("POST", "/console/links", json=link, headers=headers))[0] == 403
    less = {"name": "less", "scopes": ["accounts:read"], "instances": ["members"]}
    assert (await api.ask("POST", "/tokens", json=less, headers=headers))[0] == 200


async def test_who_may_not_is_told_that_and_not_that_his_body_is_wrong(api: Reached) -> None:
    looks_only = await token_of(api.gateway, scopes=["accounts:read"])
    headers = {"Authorization": f"Bearer {looks_only.token}", "Content-Type": "application/json"}
    assert (await api.ask("POST", "/tokens", data=b"{", headers=headers))[0] == 403
    _, page, _ = await api.ask("GET", "/audit?limit=1")
    (entry,) = page["entries"]
    assert (entry["operation"], entry["outcome"]) == ("tokens.create", "denied")
    made, *_ = [one for one in (await api.ask("GET", "/audit"))[1]["entries"] if one["number"] == 1]
    assert all(scope in made["detail"] for scope in ROLES["owner"])


# -- strictness ------------------------------------------------------------------------------------------------------
JSON = {"Content-Type": "application/json"}
MANY = "/instances/members/invitations"


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        ("GET", "/overview?x=1", {}, 400, "no parameter 'x'"),
        ("GET", "/instances/members/queues?limit=1&limit=2", {}, 400, "more than once"),
        ("GET", "/instances/members/queues?limit=0", {}, 422, "limit"),
        ("GET", "/instances/members/queues?limit=501", {}, 422, "limit"),
        ("GET", "/instances/members/queues?limit=many", {}, 422, "limit"),
        ("GET", "/instances/members/queues?limit=1.0", {}, 422, "limit"),
        ("GET", "/instances/members/accounts?status=removed", {}, 422, "status"),
        ("GET", "/instances/members/accounts?after=nobody", {}, 404, "nobody"),
        ("GET", "/overview", {"data": b"{}"}, 400, "takes no body"),
        ("GET", "/instances/elsewhere/queues", {}, 404, "no instance elsewhere"),
        ("GET", "/instances/members/accounts/Nobody%20Here", {}, 404, "Nobody Here"),
        ("GET", "/instances/members/accounts/" + "x" * 201, {}, 422, "who"),
        ("GET", "/nothing", {}, 404, "openapi.json"),
        ("GET", "/", {}, 404, "openapi.json"),
        ("DELETE", "/tokens/abc", {}, 404, "openapi.json"),
        ("DELETE", "/tokens/99999999999999999999", {}, 422, "number"),
        ("HEAD", "/overview", {}, 405, None),
        ("OPTIONS", "/overview", {}, 405, "GET"),
        ("PUT", "/tokens", {"json": {}}, 405, "GET, POST"),
        ("POST", MANY, {}, 415, "application/json"),
        ("POST", MANY, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "application/json"),
        ("POST", MANY, {"data": b"{}", "headers": {"Content-Type": "application/json; charset=latin-1"}}, 415, "UTF-8"),
        ("POST", MANY, {"data": b"{}", "headers": {**JSON, "Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
        ("POST", MANY, {"data": b"", "headers": JSON}, 400, "no JSON"),
        ("POST", MANY, {"data": b'{"uses": 1', "headers": JSON}, 400, "no JSON"),
        ("POST", MANY, {"data": b"\xff", "headers": JSON}, 400, "no JSON"),
        ("POST", MANY, {"data": b"[" * 100_000, "headers": JSON}, 422, "object"),
        ("POST", MANY, {"json": {"uses": "1"}}, 422, "uses"),
        ("POST", MANY, {"json": {"uses": 0}}, 422, "uses"),
        ("POST", MANY, {"json": {"uses": 1, "more": 1}}, 422, "more"),
        ("POST", MANY, {"json": {"note": "x" * 501}}, 422, "note"),
        ("POST", MANY, {"json": {"expires_ms": 1}}, 409, "past"),
        ("POST", MANY, {"data": io.BytesIO(b" " * ((1 << 20) + 1)), "headers": JSON}, 413, "1048576"),
        ("POST", MANY + "/many", {"json": {"notes": []}}, 422, "notes"),
        ("POST", MANY + "/many", {"json": {"notes": ["x"] * 1_001}}, 422, "notes"),
        ("POST", "/tokens", {"json": {"name": "x", "scopes": ["everything"]}}, 422, "scopes"),
        ("POST", "/tokens", {"json": {"name": "x", "scopes": ["audit:read"], "instances": ["no"]}}, 422, "instance no"),
        ("POST", "/console/links", {"json": {"person": "x", "role": "king"}}, 422, "role"),
        ("DELETE", "/console/people/Nobody%20Here", {}, 404, "nobody of that name"),
    ],
)
async def test_what_does_not_fit_is_answered_with_a_problem(
    api: Reached, method: str, path: str, options: dict[str, Any], status: int, words: str | None
) -> None:
    found, problem, headers = await api.ask(method, path, **options)
    assert found == status, problem
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    if words is not None:
        assert problem["status"] == status
        assert words in problem["detail"]


async def test_a_page_elsewhere_gets_nothing(api: Reached) -> None:
    """No answer allows another origin to read it, and no preflight is granted."""
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/tokens"), ("GET", "/overview")):
        _, _, headers = await api.ask(method, path, headers=origin)
        assert not [name for name in headers if name.lower().startswith("access-control-")]


async def test_the_description_is_of_this_api_and_its_examples_are_true(api: Reached) -> None:
    status, described, _ = await api.ask("GET", "/openapi.json")
    assert (status, described) == (200, json.loads(document(API)))
    assert described["openapi"].startswith("3.1")
    operations = {one["operationId"]: one for methods in described["paths"].values() for one in methods.values()}
    assert list(operations) == [
        operation.name for operation in sorted(OPERATIONS, key=lambda one: list(operations).index(one.name))
    ]
    for operation in OPERATIONS:
        responses = operations[operation.name]["responses"]
        assert {"200", "400", "401", "403", "405", "413", "415", "422", "429", "503"} <= responses.keys()
        assert ("409" in responses) == operation.changes
        wanted: Any = list[operation.answer] if operation.many else operation.answer  # type: ignore[name-defined]
        example = responses["200"]["content"]["application/json"]["example"]
        msgspec.json.decode(msgspec.json.encode(example), type=wanted)
        if operation.body is not None:
            body = operations[operation.name]["requestBody"]["content"]["application/json"]["example"]
            msgspec.convert(body, operation.body)
    assert set(ANSWERS) == {operation.answer for operation in OPERATIONS}
    assert set(BODIES) == {operation.body for operation in OPERATIONS} - {None}


# -- limits of the listener ------------------------------------------------------------------------------------------
async def raw(api: Reached, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*api.gateway.administration_address)
    writer.write(data)
    return reader, writer


async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What still comes until the other side ends it."""
    got = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            got = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return got


async def test_who_sends_nothing_or_no_end_does_not_stay(api: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_REQUEST_DEADLINE_S", 1.0)
    authorised = f"GET {API}/overview HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
    silent = await raw(api, b"")
    half = await raw(api, authorised.encode())
    post = authorised.replace("GET", "POST").replace("/overview", MANY) + "Content-Type: application/json\r\n"
    slow = await raw(api, (post + "Content-Length: 100\r\n\r\n{").encode())
    assert await ended(*silent) == b""
    assert await ended(*half) == b""
    assert b" 408 " in await ended(*slow)
    assert (await api.ask("GET", "/overview"))[0] == 200


async def test_who_sends_no_body_keeps_no_place(api: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler runs as soon as the head is there, also one of the console before anybody has signed in."""
    monkeypatch.setattr(limits, "API_CONNECTIONS_MAX", 5)
    heads = [
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Type: %s\r\n"
        b"Content-Length: 10\r\n\r\n" % (path, kind)
        for path, kind in (
            (b"/csp-report", b"application/csp-report"),
            (b"/sign-in/link", b"application/x-www-form-urlencoded"),
            (b"/sign-in/passkey", b"application/json"),
        )
    ]
    held = [await raw(api, head) for head in heads + heads[:2]]
    await asyncio.sleep(1.5)
    async with aiohttp.ClientSession() as session:
        other = Reached(api.gateway, session, api.token)
        assert (await other.ask("GET", "/overview"))[0] == 200  # the eldest has given way
    assert await ended(*held[0]) == b""
    for _, writer in held[1:]:
        writer.close()
    monkeypatch.setattr(limits, "API_REQUEST_DEADLINE_S", 1.0)
    for one in [await raw(api, head) for head in heads]:
        assert b" 408 " in await ended(*one)


async def test_there_are_so_many_connections_and_idle_ones_give_way(
    api: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_CONNECTIONS_MAX", 5)
    first = [await raw(api, b"") for _ in range(5)]
    await asyncio.sleep(1.2)  # none of them has just come any more
    assert (await api.ask("GET", "/overview"))[0] == 200
    assert await ended(*first[0]) == b""
    for one in first[1:]:
        one[1].close()


async def test_there_are_so_many_requests_at_once(api: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_REQUESTS_AT_ONCE_MAX", 2)
    answers = await asyncio.gather(*(api.ask("GET", "/audit/verify") for _ in range(8)))
    statuses = [status for status, _, _ in answers]
    assert 200 in statuses
    assert set(statuses) <= {200, 503}
    assert 503 in statuses
    refused = next(headers for status, _, headers in answers if status == 503)
    assert int(refused["Retry-After"]) > 0


async def test_handshakes_that_never_end_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKES_MAX", 3)
    monkeypatch.setattr(limits, "HANDSHAKE_SILENCE_S", 0.0)
    make_self_signed(tmp_path / "admin.crt", tmp_path / "admin.key", "localhost", datetime.now(UTC))
    settings = SETTINGS + 'administration: {listen: "127.0.0.1:0", tls: {certificate: admin.crt, key: admin.key}}\n'
    async with running_gateway(tmp_path, settings) as gateway, aiohttp.ClientSession() as session:
        token = (await token_of(gateway)).token
        context = ssl.create_default_context(cafile=str(tmp_path / "admin.crt"))
        silent = [await asyncio.open_connection(*gateway.administration_address) for _ in range(20)]
        given_up = [asyncio.create_task(ended(*one)) for one in silent[:-3]]
        assert set(await asyncio.gather(*given_up)) == {b""}  # long before a handshake's deadline: they made room
        url = f"https://localhost:{gateway.administration_address[1]}{API}/overview"
        async with session.get(url, ssl=context, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
        for _, writer in silent[-3:]:
            writer.close()
    assert gateway.descriptors_needed >= limits.API_CONNECTIONS_MAX + limits.HANDSHAKES_MAX


async def test_over_tls(tmp_path: Path) -> None:
    make_self_signed(tmp_path / "admin.crt", tmp_path / "admin.key", "localhost", datetime.now(UTC))
    settings = SETTINGS + 'administration: {listen: "127.0.0.1:0", tls: {certificate: admin.crt, key: admin.key}}\n'
    async with running_gateway(tmp_path, settings) as gateway, aiohttp.ClientSession() as session:
        token = (await token_of(gateway)).token
        context = ssl.create_default_context(cafile=str(tmp_path / "admin.crt"))
        _, port = gateway.administration_address
        url = f"https://localhost:{port}{API}/overview"
        async with session.get(url, ssl=context, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200
            assert "Strict-Transport-Security" in answer.headers


# -- what no answer holds --------------------------------------------------------------------------------------------
async def posted(ada: Desk, bob: Desk) -> None:
    """A message with a canary in its text, its subject and its payload, and the device away that it is for."""
    await bob.connection.quit()
    recipients = [m.Recipient(bob.uid, m.TO_UID)]
    await ada.connection.post(fresh_id(), recipients, CANARY.encode() * 10)
    await ada.connection.post(fresh_id(), recipients, CANARY.encode() * 20_000)


async def test_no_answer_and_no_log_has_a_messages_content(api: Reached, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is asked, while messages wait (A4, D5)."""
    said: list[str] = []
    async with (
        member(api.gateway, "members", "Ada Lovelace") as ada,
        member(api.gateway, "members", "Bob Stone") as bob,
    ):
        await posted(ada, bob)
        for operation in OPERATIONS:
            if operation.name == "accounts.remove":
                continue  # last
            arguments = {**ARGUMENTS, "who": "Bob Stone", "gid": "Sales Team"}
            path, _ = operation.url({name: arguments[name] for name in operation.in_path})
            body = msgspec.to_builtins(BODIES[operation.body]) if operation.body is not None else None
            _, answer, _ = await api.ask(operation.method, path, json=body)
            said.append(json.dumps(answer))
            if operation.name == "queues.list":
                assert [one["alias"] for one in answer] == ["Bob Stone"]
                assert answer[0]["deliveries"] == 3  # and that he has a further alias
                assert answer[0]["bytes"] > 20_000 * len(CANARY)
        said.append(json.dumps((await api.ask("DELETE", "/instances/members/accounts/Bob%20Stone"))[1]))
    said.append(json.dumps((await api.ask("GET", "/audit"))[1]))
    assert len(said) == len(OPERATIONS) + 1
    assert CANARY not in "".join(said)
    assert CANARY not in capsys.readouterr().out
    assert CANARY.encode() not in (await asyncio.to_thread(_read, api.gateway._settings.data_dir))


def _read(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("administration.sqlite3*"))


def test_the_settings_are_shown_without_the_password_of_a_database(tmp_path: Path) -> None:
    text = SETTINGS.replace(
        "registration: invite,", 'registration: invite, database: "postgresql+asyncpg://tmtp:s3cret@db/members",'
    )
    shown = settings_yaml(loaded(tmp_path, text))
    assert "s3cret" not in shown
    assert "tmtp:***@db" in shown


def test_the_settings_that_are_shown_are_settings(tmp_path: Path) -> None:
    plain = loaded(tmp_path, SERVED)
    assert loaded(tmp_path, settings_yaml(plain)) == plain


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "gateway.yaml"
    file.write_text(text, "utf-8")
    return load_settings(file)
