# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every operation, asked for in every role, on one's own instance, on another, and on all (C1).

What is right stands in `who_may_what.txt`, a decision for each cell.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from gateway.administration import OPERATIONS, ROLES, Actor, Denied, Operation, Performs, local_user, models
from gateway.api import API
from gateway.api.examples import ARGUMENTS, BODIES
from gateway.app import Gateway
from gateway.clock import SystemClock
from tests.support.gateway import SETTINGS, endpoint, running_gateway
from tests.support.sign_in import new_keys
from tmtp_client.connection import Connection
from tmtp_core import limits

TABLE = Path(__file__).with_name("who_may_what.txt")
NOBODY = "nobody"
"""An actor without a scope."""


def decisions() -> dict[str, dict[str, str]]:
    """By operation and role, three letters."""
    lines = [line.split() for line in TABLE.read_text("utf-8").splitlines() if line.strip() and line[0] != "#"]
    (_, *roles), *rows = lines
    return {name: dict(zip(roles, letters, strict=True)) for name, *letters in rows}


def test_every_operation_and_every_role_is_decided() -> None:
    table = decisions()
    assert list(table) == [operation.name for operation in OPERATIONS]
    for name, by_role in table.items():
        assert list(by_role) == [*ROLES, NOBODY], name
        for letters in by_role.values():
            assert len(letters) == 3, name
            assert set(letters) <= {"y", "n"}, name


@dataclass
class Asked:
    """A gateway, and tokens for each role: on all instances (""), and on each alone."""

    gateway: Gateway
    session: aiohttp.ClientSession
    tokens: dict[tuple[str, str], str]

    async def status(self, operation: Operation, token: str | None, instance: str) -> int:
        """How a request is answered."""
        path, _ = operation.url({**ARGUMENTS, "instance": instance})
        body = BODIES[operation.body] if operation.body is not None else None
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        host, port = self.gateway.administration_address
        async with self.session.request(
            operation.method,
            f"http://{host}:{port}{API}{path}",
            json=msgspec.to_builtins(body) if body is not None else None,
            headers=headers,
        ) as answer:
            await answer.read()
            return answer.status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asked]:
    """One for all cells: what one of them does, none of the others depends on."""
    folder = tmp_path_factory.mktemp("matrix")
    settings = SETTINGS + 'administration: {listen: "127.0.0.1:0"}\n'
    async with running_gateway(folder, settings) as gateway, aiohttp.ClientSession() as session:
        owner = gateway.administration.on_behalf_of(local_user())
        tokens = {}
        for role, scopes in ROLES.items():
            for instance in ("", "members", "public"):
                instances = [instance] if instance else []
                wanted = models.CreateToken(name=role, scopes=sorted(scopes), instances=instances)
                made = await owner.perform("tokens.create", {}, wanted)
                assert isinstance(made, models.NewToken)
                tokens[role, instance] = made.token
        yield Asked(gateway, session, tokens)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_who_may(asked: Asked, operation: Operation) -> None:
    for role, letters in decisions()[operation.name].items():
        if role == NOBODY:
            continue
        cases = (("public", ""), ("members", "members"), ("public", "members"))
        if operation.of_bridge:  # which is one of the public instance
            cases = (("", ""), ("", "public"), ("", "members"))
        for letter, (instance, restricted) in zip(letters, cases, strict=True):
            if letter == "y" and operation.name == "tokens.revoke":
                continue  # below, where nobody needs the token any more
            status = await asked.status(operation, asked.tokens[role, restricted], instance)
            assert status != 401
            assert (status != 403) == (letter == "y"), (role, instance, restricted, status)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_who_has_no_token_may_nothing(asked: Asked, operation: Operation) -> None:
    for token in (None, "tmtpadm_" + "A" * 43):
        assert await asked.status(operation, token, "members") in {401, 429}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_who_may_nothing_is_denied_and_that_is_written_down(
    asked: Asked, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUDIT_DENIALS_PER_MINUTE", 1_000)
    nobody = asked.gateway.administration.on_behalf_of(Actor("nobody at all", frozenset()))
    body = BODIES[operation.body] if operation.body is not None else None
    arguments = {name: ARGUMENTS[name] for name in operation.in_path}
    with pytest.raises(Exception, match="may not do this") as denied:
        await nobody.perform(operation.name, arguments, body)
    assert type(denied.value).__name__ == "Denied"
    page = await asked.gateway.administration.audit.page(None, 1)
    last = page.entries[0]
    if operation.changes:
        assert (last.actor, last.operation, last.outcome) == ("nobody at all", operation.name, "denied")
        assert last.instance == ("public" if operation.of_bridge else str(arguments.get("instance", "")))
    else:
        assert last.operation != operation.name or last.actor != "nobody at all"


@pytest.mark.asyncio(loop_scope="module")
async def test_an_owner_revokes_a_token(asked: Asked) -> None:
    owner = asked.gateway.administration.on_behalf_of(local_user())
    made = await owner.perform("tokens.create", {}, models.CreateToken(name="for a moment", scopes=["tokens:write"]))
    assert isinstance(made, models.NewToken)
    assert await owner.perform("tokens.revoke", {"number": made.number}) == models.Done()


@pytest.mark.parametrize("role", ["administrator", "helpdesk"])
@pytest.mark.parametrize("many", [False, True])
async def test_only_who_may_give_a_name_that_mail_is_routed_to_invites_somebody_to_it(
    tmp_path: Path, role: str, many: bool
) -> None:
    """C2: or a helpdesk would invite itself to the board's mail."""
    async with running_gateway(tmp_path) as gateway:
        on_behalf = gateway.administration.on_behalf_of(Actor(f"a {role}", ROLES[role]))
        here = {"instance": "public"}
        if many:
            made = await on_behalf.perform("invitations.create_many", here, models.CreateInvitations(notes=["one"]))
            assert isinstance(made, list)
            (invitation,) = made
        else:
            invitation = await on_behalf.perform("invitations.create", here, models.CreateInvitation())
        connection = await Connection.open(endpoint(gateway, "public"), revision="2")
        registered = await connection.register_keys("laptop", new_keys(), "Nobody Yet", invitation.token)
        await connection.quit()
        assert (registered.error == "") is (role == "administrator"), registered.error


async def test_what_a_token_makes_does_not_outlast_it(tmp_path: Path) -> None:
    settings = SETTINGS + 'administration: {listen: "127.0.0.1:0"}\n'
    async with running_gateway(tmp_path, settings) as gateway:
        administration = gateway.administration
        ends_ms = SystemClock().wall_ns() // 1_000_000 + 60_000

        async def made(by: Performs, expires_ms: int | None) -> Performs:
            wanted = models.CreateToken(name="x", scopes=sorted(ROLES["owner"]), expires_ms=expires_ms)
            token = await by.perform("tokens.create", {}, wanted)
            assert isinstance(token, models.NewToken)
            actor = await administration.tokens.actor(token.token)
            assert actor is not None
            return administration.on_behalf_of(actor)

        short = await made(administration.on_behalf_of(local_user()), ends_ms)
        shorter = await made(short, ends_ms - 1)
        for later in (None, ends_ms):
            with pytest.raises(Denied, match="longer"):
                await made(shorter, later)
        link = models.CreateSignInLink(person="Ada Lovelace", role="auditor")
        with pytest.raises(Denied, match="longer"):
            await short.perform("console.link", {}, link)
        endless = await made(administration.on_behalf_of(local_user()), None)
        assert isinstance(await endless.perform("console.link", {}, link), models.SignInLink)
