# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway` over the operations: the same words and the same JSON, whether the gateway runs or not (C1)."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.administration import OPERATIONS, local_user
from tests.support.commands import Commands, Ran
from tests.support.gateway import SETTINGS, member, running_gateway
from tmtp_core.wire import revision2 as m2

COMMANDS = {
    "overview": ["overview"],
    "accounts.list": ["account", "list", "-i", "members"],
    "accounts.show": ["account", "show", "-i", "members", "Ada Lovelace"],
    "accounts.alias": ["account", "alias", "-i", "members", "Ada Lovelace", "Support Desk"],
    "accounts.bar": ["account", "bar", "-i", "members", "Ada Lovelace"],
    "accounts.unbar": ["account", "unbar", "-i", "members", "Ada Lovelace"],
    "accounts.reset": ["account", "reset", "-i", "members", "Ada Lovelace", "--yes"],
    "devices.list": ["device", "list", "-i", "members", "Ada Lovelace"],
    "groups.found": ["group", "create", "-i", "members", "Sales Team", "Ada Lovelace"],
    "groups.list": ["group", "list", "-i", "members"],
    "groups.show": ["group", "show", "-i", "members", "Sales Team"],
    "invitations.create": ["invite", "-i", "members", "--expires", "7d", "--note", "for Bob"],
    "invitations.list": ["invitation", "list", "-i", "members"],
    "invitations.revoke": ["invitation", "revoke", "-i", "members"],
    "reports.list": ["report", "list", "-i", "members"],
    "reports.close": ["report", "close", "-i", "members", "1", "--outcome", "acted", "--note", "barred her"],
    "queues.list": ["queue", "list", "-i", "members"],
    "tokens.create": [
        "token",
        "create",
        "provisioning",
        "--role",
        "auditor",
        "--scope",
        "accounts:read",
        "-i",
        "members",
    ],
    "tokens.list": ["token", "list"],
    "tokens.revoke": ["token", "revoke", "1", "--yes"],
    "audit.list": ["audit", "list"],
    "audit.verify": ["audit", "verify"],
    "accounts.remove": ["account", "remove", "-i", "members", "Ada Lovelace", "--yes"],
}
"""In an order in which each has something to work on."""

ONCE = {"accounts.remove", "tokens.revoke", "groups.found", "accounts.alias", "invitations.revoke", "reports.close"}
"""Cannot be done twice."""

ELSEWHERE = {"history", "settings", "bridges.list", "invitations.create_many", "devices.bar"} | {
    "console.link",
    "console.people",
    "console.remove",
}
"""For the console and for programs, or tried below."""


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    one = Commands()
    yield one
    one.close()


@dataclass(frozen=True)
class Typed:
    """Commands with a settings file."""

    commands: Commands
    config: Path

    async def ran(self, *arguments: str, given: str = "") -> Ran:
        at = (
            1
            if arguments[0] in {"overview", "invite", "status", "console-link", "console-people", "console-remove"}
            else 2
        )
        typed = (*arguments[:at], "-c", str(self.config), *arguments[at:])
        return await asyncio.to_thread(self.commands.run, *typed, given=given)

    async def printed(self, *arguments: str) -> Any:
        """What `--json` prints."""
        done = await self.ran(*arguments, "--json")
        assert done.exit_code == 0, done
        return json.loads(done.stdout)


@asynccontextmanager
async def gateway_with_ada(folder: Path, *, running: bool) -> AsyncIterator[Path]:
    """The settings file of a gateway that has had a member, whom another one has reported; it runs, or it ran."""
    async with running_gateway(folder) as gateway:
        async with (
            member(gateway, "members", "Ada Lovelace") as ada,
            member(gateway, "members", "Charles Babbage") as charles,
        ):
            await ada.connection.ping("1", "Ada Lovelace", "Charles Babbage", "buy this")
            await charles.connection.ask(m2.Report("1", ada.uid, "spam", "she wrote: \x1b[31mbuy this"))
        if running:
            yield folder / "gateway.yaml"
            return
    yield folder / "gateway.yaml"


@pytest.fixture
def nowhere(tmp_path: Path, commands: Commands) -> Typed:
    """With settings under which nothing ever ran."""
    (tmp_path / "gateway.yaml").write_text(SETTINGS, "utf-8")
    return Typed(commands, tmp_path / "gateway.yaml")


@pytest.fixture(params=[True, False], ids=["running", "down"])
async def typed(tmp_path: Path, request: pytest.FixtureRequest, commands: Commands) -> AsyncIterator[Typed]:
    async with gateway_with_ada(tmp_path, running=request.param) as file:
        yield Typed(commands, file)


def test_every_operation_has_a_command() -> None:
    """Those on an intake: test_smtp_commands.py."""
    there = {operation.name for operation in OPERATIONS if not operation.of_bridge}
    assert there == COMMANDS.keys() - {"devices.list"} | ELSEWHERE


async def test_every_command_answers_people_and_programs(typed: Typed) -> None:
    """In JSON that is the operation's own answer, and in words."""
    answers = {operation.name: operation for operation in OPERATIONS}
    open_ones: list[Any] = []
    for name, command in COMMANDS.items():
        number = [str(open_ones[-1]["invitation"])] if name == "invitations.revoke" else []
        said = await typed.printed(*command, *number)
        if name == "invitations.list":
            open_ones = said
        if name not in ONCE:
            in_words = await typed.ran(*command)
            assert in_words.exit_code == 0, in_words
            assert in_words.stdout.strip()
            assert not in_words.stdout.startswith(("{", "["))
        rows = said if isinstance(said, list) else [said]
        assert rows or name == "queues.list", name
        if name in answers and name not in {"accounts.list", "audit.list"}:  # they are pages, and the commands show all
            fields = {field.name for field in msgspec.structs.fields(answers[name].answer)}
            assert all(fields <= row.keys() for row in rows), name
    audited = await typed.printed("audit", "list", "--limit", "500")
    assert {one["operation"] for one in audited} == {
        one.name for one in OPERATIONS if one.changes and not one.of_bridge
    } - ELSEWHERE
    assert {one["actor"] for one in audited} == {local_user().name}
    assert {one["outcome"] for one in audited} == {"done"}


async def test_an_overview_says_that_nothing_is_archived_and_a_list_who_owns_a_group(typed: Typed) -> None:
    seen = await typed.printed("overview")
    assert {one["instance"]: one["archive"] for one in seen["instances"]} == {"members": "none", "public": "none"}
    said = (await typed.ran("overview")).stdout
    assert "members: no archive" in said
    assert "backups: none are set up: with this machine everything would be lost" in said
    assert "public: no archive" in said
    made = await typed.printed("group", "create", "-i", "members", "Sales Team", "Ada Lovelace")
    uid = made["group"]["owner"]
    assert made["group"]["owner_alias"] == "Ada Lovelace"
    assert f"Ada Lovelace ({uid})" in (await typed.ran("group", "list", "-i", "members")).stdout
    (listed,) = await typed.printed("group", "list", "-i", "members")
    assert (listed["owner"], listed["owner_alias"]) == (uid, "Ada Lovelace")


async def test_reports_are_seen_by_words_and_closed_once(typed: Typed) -> None:
    """Nothing that a member wrote steers the terminal (D2)."""
    said = (await typed.ran("report", "list", "-i", "members")).stdout
    assert "Charles Babbage" in said
    assert "buy this" in said
    assert "\x1b" not in said
    (one,) = await typed.printed("report", "list", "-i", "members")
    assert (one["reported_alias"], one["reason"], one["about_same"], one["closed_ms"]) == (
        "Ada Lovelace",
        "spam",
        1,
        None,
    )
    assert {row["instance"]: row["reports_open"] for row in (await typed.printed("overview"))["instances"]} == {
        "members": 1,
        "public": 0,
    }
    closing = ["report", "close", "-i", "members", str(one["report"])]
    assert (await typed.ran(*closing, "--outcome", "perhaps")).exit_code == 2
    assert "kept for 90 days" in (await typed.ran(*closing, "--outcome", "unfounded", "--note", "asked her")).stdout
    again = await typed.ran(*closing, "--outcome", "acted")
    assert (again.exit_code, "closed before" in again.stderr) == (1, True)
    assert (await typed.ran("report", "close", "-i", "members", "99", "--outcome", "acted")).exit_code == 1
    assert "No report to members is open." in (await typed.ran("report", "list", "-i", "members")).stdout
    assert "unfounded: asked her" in (await typed.ran("report", "list", "-i", "members", "--closed")).stdout
    entry = next(one for one in await typed.printed("audit", "list") if one["outcome"] == "done")
    assert (entry["operation"], entry["target"]) == ("reports.close", "1")
    assert entry["detail"] == "outcome: unfounded; note: asked her"


async def test_what_is_refused_exits_with_1_and_says_why(typed: Typed) -> None:
    for command, words in (
        (["account", "show", "-i", "members", "Nobody Here"], "no account has the uid or alias"),
        (["group", "show", "-i", "members", "No Such Group"], "there is no group"),
        (["device", "bar", "-i", "members", "Ada Lovelace", "99", "--yes"], "has no device 99"),
        (["token", "revoke", "99", "--yes"], "there is no token 99"),
        (["console-link", "--person", "Grace Hopper"], "there is no console"),
    ):
        done = await typed.ran(*command)
        assert (done.exit_code, words in done.stderr) == (1, True), done
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["token", "create", "x"], "--scope or --role"),
        (["token", "create", "x", "--role", "king"], "one of owner"),
        (["token", "create", "x", "--scope", "everything"], "accounts:read"),
        (["console-link", "--person", "Grace Hopper", "--role", "king"], "one of owner"),
        (["queue", "list", "-i", "members", "--limit", "0"], "--limit"),
    ],
)
async def test_wrong_usage_exits_with_2(nowhere: Typed, command: list[str], words: str) -> None:
    done = await nowhere.ran(*command)
    assert (done.exit_code, words in done.stderr) == (2, True), done


@pytest.mark.parametrize(
    "command",
    [
        ["account", "remove", "-i", "members", "Ada Lovelace"],
        ["account", "reset", "-i", "members", "Ada Lovelace"],
        ["device", "bar", "-i", "members", "Ada Lovelace", "1"],
        ["token", "revoke", "1"],
    ],
)
async def test_what_takes_something_away_asks_first(nowhere: Typed, command: list[str]) -> None:
    done = await nowhere.ran(*command, given="n\n")
    assert done.exit_code == 1
    assert "Nothing was" in done.stderr
    assert not (nowhere.config.parent / "data").exists()


async def test_a_log_that_was_tampered_with_exits_with_1(tmp_path: Path, commands: Commands) -> None:
    async with gateway_with_ada(tmp_path, running=False) as config:
        with closing(sqlite3.connect(tmp_path / "data" / "administration.sqlite3")) as connection, connection:
            connection.execute("DROP TRIGGER audit_no_update")
            connection.execute("UPDATE audit SET actor = 'somebody else' WHERE number = 1")
        done = await Typed(commands, config).ran("audit", "verify", "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout)["first_broken"] == 1
        assert "Entry 1 is not as it was written" in done.stderr


@pytest.mark.parametrize("kept", [0, 5_000], ids=["something else", "cut off"])
async def test_a_database_that_cannot_be_used_is_said_to_be_one(tmp_path: Path, commands: Commands, kept: int) -> None:
    async with gateway_with_ada(tmp_path, running=False) as config:
        database = tmp_path / "data" / "administration.sqlite3"
        database.write_bytes(database.read_bytes()[:kept] or b"this is something else" * 100)
        for command in (("overview", "-c", str(config)), ("serve", "-c", str(config))):
            done = commands.run(*command)
            assert done.exit_code == 1, done
            assert f"administrators' database {database} cannot be used" in done.stderr
            assert "restore it from the backup" in done.stderr
            assert "Traceback" not in done.stderr


async def test_people_are_let_into_the_console_and_kept_out_of_it(tmp_path: Path, commands: Commands) -> None:
    settings = SETTINGS.replace("http: {", 'administration: {listen: "127.0.0.1:0"}\nhttp: {', 1)
    async with running_gateway(tmp_path, settings) as gateway:
        typed = Typed(commands, tmp_path / "gateway.yaml")
        made = await typed.printed("console-link", "--person", "Grace", "--role", "auditor")
        port = gateway.administration_address[1]
        assert made["url"].startswith(f"http://localhost:{port}/sign-in/link/")
        (entry, *_) = (await gateway.administration.audit.page(None, 1)).entries
        assert (entry.operation, entry.detail) == ("console.link", "person: Grace; role: auditor")
        (person,) = await typed.printed("console-people")
        assert (person["person"], person["role"], person["passkeys"]) == ("Grace", "auditor", 0)
        assert "Grace" in (await typed.ran("console-people")).stdout
        await typed.printed("console-remove", "Grace", "--yes")
        assert "Nobody may enter" in (await typed.ran("console-people")).stdout
        refused = await typed.ran("console-remove", "Grace", "--yes")
        assert (refused.exit_code, "nobody of that name" in refused.stderr) == (1, True)
    down = await Typed(commands, tmp_path / "gateway.yaml").ran("console-link", "--person", "Grace")
    assert (down.exit_code, "while the gateway runs" in down.stderr) == (1, True)


async def test_the_control_socket_is_its_owners_alone(tmp_path: Path) -> None:
    async with running_gateway(tmp_path):
        assert (tmp_path / "data" / "control.sock").stat().st_mode & 0o777 == 0o600


def test_every_command_shows_an_example_and_is_completed(commands: Commands) -> None:
    for command in COMMANDS.values():
        at = 1 if command[0] in {"overview", "invite"} else 2
        done = commands.run(*command[:at], "--help")
        assert done.exit_code == 0
        assert "Example: tmtp-gateway" in " ".join(done.stdout.split()), command
    begun = {"_TMTP_GATEWAY_COMPLETE": "complete_bash", "COMP_WORDS": "tmtp-gateway aud", "COMP_CWORD": "1"}
    assert "audit" in commands.run(environment=begun).stdout.split()
