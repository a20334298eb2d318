# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway smtp …`: in words and in JSON, whether the gateway runs or not, and with what is wrong (C2, C5)."""

import asyncio
import csv
import json
import re
import smtplib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.administration import OPERATIONS
from gateway.app import Gateway
from tests.support.commands import Commands, Ran
from tests.support.gateway import SETTINGS, administer, member, running_gateway

HELD = SETTINGS.replace("to: Support Desk}", "to: Support Desk, unknown: hold}")
JO = "jo@partner.example"

COMMANDS = {
    "smtp.status": ["status"],
    "smtp.senders.list": ["senders", "list"],
    "smtp.senders.show": ["senders", "show", "1"],
    "smtp.senders.vet": ["senders", "vet", "new.example", "--spf"],
    "smtp.senders.suspend": ["senders", "suspend", "1"],
    "smtp.senders.resume": ["senders", "resume", "1"],
    "smtp.senders.withdraw": ["senders", "withdraw", "3", "--yes"],
    "smtp.held.list": ["held", "list"],
    "smtp.held.show": ["held", "show", "1"],
    "smtp.held.decide": ["held", "release", "1"],
    "smtp.correspondents.list": ["correspondents", "list"],
    "smtp.correspondents.show": ["correspondents", "show", JO],
    "smtp.correspondents.move": ["correspondents", "move", JO, "seen"],
    "smtp.correspondents.invite": ["correspondents", "invite", JO],
    "smtp.report": ["report"],
    "smtp.replay": ["replay", "--rules", "new.yaml"],
    "smtp.decisions.list": ["audit", "list"],
    "smtp.decisions.verify": ["audit", "verify"],
}


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    one = Commands()
    yield one
    one.close()


@dataclass
class World:
    """A gateway with an intake that holds mail of strangers, and the commands."""

    gateway: Gateway
    commands: Commands
    config: Path

    async def ran(self, *arguments: str, given: str = "") -> Ran:
        typed = ("smtp", *arguments, "-c", str(self.config))
        done = await asyncio.to_thread(self.commands.run, *typed, given=given)
        assert "Traceback" not in done.stderr
        return done

    async def said(self, *arguments: str, given: str = "") -> str:
        done = await self.ran(*arguments, given=given)
        assert done.exit_code == 0, done
        return " ".join(done.stdout.split())

    async def printed(self, *arguments: str) -> Any:
        done = await self.ran(*arguments, "--json")
        assert done.exit_code == 0, done
        return json.loads(done.stdout)

    async def refused(self, *arguments: str, code: int, words: str, given: str = "") -> None:
        done = await self.ran(*arguments, given=given)
        assert (done.exit_code, words in " ".join(done.stderr.split())) == (code, True), done

    async def mailed(self, sender: str, subject: str) -> None:
        host, port = self.gateway.bridges["intake"].address

        def send() -> None:
            with smtplib.SMTP(host, port) as relay:
                text = f"From: {sender}\r\nTo: support@example.org\r\nSubject: {subject}\r\n\r\nTen, please.\r\n"
                relay.sendmail(sender, ["support@example.org"], text)

        await asyncio.to_thread(send)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("smtp")
    async with running_gateway(folder, HELD) as gateway, member(gateway, "public", "Support Desk"):
        yield World(gateway, commands, folder / "gateway.yaml")


def test_every_operation_on_an_intake_has_a_command() -> None:
    assert set(COMMANDS) == {operation.name for operation in OPERATIONS if operation.of_bridge}


def test_every_command_shows_an_example(commands: Commands) -> None:
    for command in (*COMMANDS.values(), ["held", "reject"]):
        at = 1 if command[0] in {"status", "report", "replay"} else 2
        done = commands.run("smtp", *command[:at], "--help")
        assert "Example: tmtp-gateway smtp" in " ".join(done.stdout.split()), command


@pytest.mark.asyncio(loop_scope="module")
async def test_senders_are_vetted_suspended_resumed_and_withdrawn(world: World) -> None:
    made = await world.printed(
        *("senders", "vet", "supplier.example", "--dkim", "supplier.example", "--spf", "--owner", "Purchasing"),
        *("--reason", "until May", "--expires", "2090-03-31", "--route", "support@example.org", "--quota", "7"),
    )
    number = str(made["number"])
    assert made["domain"] == "supplier.example"
    assert made["proof"] == [
        {"dkim": "supplier.example", "spf": None, "network": None, "client_certificate": None},
        {"dkim": None, "spf": "aligned", "network": None, "client_certificate": None},
    ]
    assert (made["expires_ms"], made["routes"], made["quota_per_day"]) == (
        3_794_601_600_000,
        ["support@example.org"],
        7,
    )
    assert made["created_by"].startswith("local user")
    suspended = await world.said("senders", "suspend", number, "--reason", "forged")
    assert "suspended: forged" in suspended
    assert [one["number"] for one in await world.printed("senders", "list", "--state", "suspended")] == [int(number)]
    assert (await world.printed("senders", "resume", number))["state"] == "active"
    await world.refused("senders", "withdraw", number, given="n\n", code=1, words="Nothing was withdrawn")
    assert (await world.printed("senders", "show", number))["state"] == "active"
    assert "withdrawn" in await world.said("senders", "withdraw", number, given="y\n")
    assert "No record is like that" in await world.said("senders", "list", "--search", "nobody.example")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["senders", "vet", "x.example"], 2, "--dkim DOMAIN, --spf, --network NETWORK or --certificate PIN"),
        (["senders", "vet", "x.example", "--spf", "--expires", "2027-02-31"], 2, "is no day"),
        (
            ["senders", "vet", "x.example", "--spf", "--expires", "soon"],
            2,
            "is no time; for example 12h, 90d or 2027-03-31",
        ),
        (["senders", "vet", "x.example", "--network", "0.0.0.0/0"], 1, "everybody, which proves nobody"),
        (["senders", "vet", "no domain", "--spf"], 1, "is no domain"),
        (["senders", "vet", "x.example", "--spf", "--route", "nobody@nowhere.example"], 1, "there is no route for"),
        (["senders", "vet", "orders@partner.example", "--spf"], 1, "stands in the settings file"),
        (["senders", "show", "99"], 1, "99"),
        (["senders", "show", "0"], 2, "or equal to 1"),
        (["senders", "list", "--state", "odd"], 2, "odd"),
        (["senders", "withdraw", "1", "--yes"], 1, "stands in the settings file"),
        (["held", "show", "99"], 1, "99"),
        (["held", "release", "99", "--invite"], 2, "say --vet, too"),
        (["held", "release", "99", "--owner", "x"], 2, "say --vet, too"),
        (["correspondents", "show", "nobody@nowhere.example"], 1, "nobody@nowhere.example"),
        (["correspondents", "move", JO, "gone"], 2, "one of seen, vetted, invited, joined, refused"),
        (["correspondents", "invite", "no-address"], 1, "is no mail address"),
        (["report", "--csv", "/tmp", "--json"], 2, "give one"),
        (["replay", "--rules", "/nowhere.yaml"], 2, "cannot be read"),
        (["status", "--name", "other"], 2, "there is no bridge other; the file has: intake"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_is_wrong_is_said(world: World, typed: list[str], code: int, words: str) -> None:
    await world.refused(*typed, code=code, words=words)


@pytest.mark.asyncio(loop_scope="module")
async def test_held_mail_is_looked_into_released_and_rejected(world: World) -> None:
    for subject in ("One", "Two", "Three"):
        await world.mailed(JO, subject)
    listed = await world.printed("held", "list")
    assert [one["subject"] for one in listed] == ["Three", "Two", "One"]
    one, two, three = (str(mail["number"]) for mail in reversed(listed))
    shown = await world.said("held", "show", one)
    assert "| Ten, please." in shown
    assert JO in shown
    await world.refused("held", "reject", one, given="n\n", code=1, words="Nothing was rejected")
    assert "is gone" in await world.said("held", "reject", one, "--reason", "an advertisement", given="y\n")
    await world.refused("held", "release", one, code=1, words="local user")
    assert (await world.printed("held", "release", two))["outcomes"] == {"support@example.org": "delivered"}
    done = await world.said("held", "release", three, "--vet", "--invite", "--owner", "Sales")
    assert re.search(rf"{JO} is vetted: record \d+, by network: 127\.0\.0\.1/32\.", done)
    assert f"{JO} is invited: tmtp://" in done
    (record,) = await world.printed("senders", "list", "--search", JO)
    assert (record["owner"], record["proof"][0]["network"]) == ("Sales", "127.0.0.1/32")
    states = {one["number"]: one["state"] for one in await world.printed("held", "list", "--state", "all")}
    assert (states[int(one)], states[int(two)], states[int(three)]) == ("rejected", "released", "released")


@pytest.mark.asyncio(loop_scope="module")
async def test_correspondents_are_invited_and_moved(world: World) -> None:
    await world.mailed("orders@partner.example", "Known")
    page = await world.printed("correspondents", "list", "--search", "orders@")
    assert [one["address"] for one in page["correspondents"]] == ["orders@partner.example"]
    invited = await world.printed("correspondents", "invite", "orders@partner.example")
    assert "invited" in await world.said("correspondents", "show", "orders@partner.example")
    assert (await world.printed("correspondents", "invite", "orders@partner.example"))["link"] == invited["link"]
    moved = await world.printed("correspondents", "move", "orders@partner.example", "seen", "--reason", "a mistake")
    assert (moved["state"], moved["link"]) == ("seen", "")


@pytest.mark.asyncio(loop_scope="module")
async def test_figures_in_words_json_and_csv(world: World, tmp_path: Path) -> None:
    assert "vetted senders" in await world.said("status")
    await world.mailed("orders@partner.example", "Counted")
    report = await world.printed("report")
    assert [window["days"] for window in report["windows"]] == [7, 30, 90]
    assert report["windows"][0]["delivered"] >= 1
    assert {one["alias"] for one in report["members"]} <= {"Support Desk"}  # written within a minute
    assert "The way out" in await world.said("report")
    await world.said("report", "--csv", str(tmp_path / "tables"))
    with (tmp_path / "tables/windows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["days", "7", "30", "90"]
    (tmp_path / "file").write_text("x")
    await world.refused("report", "--csv", str(tmp_path / "file/below"), code=1, words="cannot be written")
    entries = (await world.printed("audit", "list", "--limit", "3"))["entries"]
    assert len(entries) == 3
    assert "mail from orders@partner.example" in await world.said("audit", "list")
    assert "as they were written" in await world.said("audit", "verify")
    assert (await world.printed("audit", "verify"))["intact"]


@pytest.mark.asyncio(loop_scope="module")
async def test_rules_are_tried_on_what_came(world: World, tmp_path: Path) -> None:
    await world.mailed("orders@partner.example", "Tried")
    rules = tmp_path / "new.yaml"
    rules.write_text("senders: []\n", "utf-8")
    found = await world.printed("replay", "--rules", str(rules), "--days", "1")
    (change,) = [one for one in found["changes"] if one["author"] == "orders@partner.example"]
    assert (change["recipient"], change["before"], change["after"]) == ("support@example.org", "delivered", "held")
    assert change["messages"] >= 1
    said = await world.said("replay", "--rules", str(rules), "--days", "1")
    assert "orders@partner.example to support@example.org" in said
    rules.write_text(HELD, "utf-8")
    same = await world.printed("replay", "--rules", str(rules), "--days", "1")
    assert [one for one in same["changes"] if one["author"] == "orders@partner.example"] == []
    still = await world.printed("senders", "list", "--search", "orders@")
    assert [one["state"] for one in still] == ["active"]


@pytest.mark.asyncio(loop_scope="module")
async def test_rules_to_try_are_checked_as_settings_are(world: World, tmp_path: Path) -> None:
    rules = tmp_path / "new.yaml"
    rules.write_text("senders:\n  - {adress: x@y.example, proof: [network: 127.0.0.0/8]}\n", "utf-8")
    await world.refused("replay", "--rules", str(rules), code=2, words="did you mean address?")
    rules.write_text("senders:\n  - address: x@y.example\n    proof: [network: 0.0.0.0/0]\n", "utf-8")
    await world.refused("replay", "--rules", str(rules), code=2, words="everybody, which proves nobody")
    rules.write_text("routes: [\n", "utf-8")
    await world.refused("replay", "--rules", str(rules), code=2, words="this is not YAML")
    rules.write_text(HELD.replace("name: intake", "name: other"), "utf-8")
    await world.refused("replay", "--rules", str(rules), code=2, words="no bridge here is intake")
    await world.refused("replay", "--rules", str(rules), "--days", "0", code=2, words="--days")


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_done_is_in_both_logs(world: World) -> None:
    await world.printed("senders", "vet", "logged.example", "--spf", "--owner", "Sales")
    (audited, *_) = (await world.gateway.administration.audit.page(None, 1)).entries
    assert (audited.operation, audited.instance, audited.target) == ("smtp.senders.vet", "public", "intake")
    assert audited.detail == "proof: spf aligned; domain: logged.example; owner: Sales"
    (entry, *_) = (await world.printed("audit", "list", "--limit", "1"))["entries"]
    assert (entry["body"]["act"], entry["body"]["by"]) == ("senders.vet", audited.actor)


async def test_they_work_on_the_data_of_a_gateway_that_is_down(tmp_path: Path, commands: Commands) -> None:
    async with running_gateway(tmp_path, HELD) as gateway:
        down = World(gateway, commands, tmp_path / "gateway.yaml")
    made = await down.printed("senders", "vet", "down.example", "--spf")
    assert made["number"] == 3
    assert [one["number"] for one in await down.printed("senders", "list")] == [1, 2, 3]
    assert "No mail waits" in await down.said("held", "list")
    status = await down.ran("status")
    assert (status.exit_code, "the service does not answer" in status.stdout) == (1, True)
    async with running_gateway(tmp_path, HELD) as gateway:
        found = await administer(gateway, "smtp.senders.list", bridge="intake")
        assert [one.domain for one in found] == ["", "", "down.example"]


async def test_where_nothing_ever_ran_it_is_said_what_to_do(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "gateway.yaml").write_text(HELD, "utf-8")
    done = await asyncio.to_thread(commands.run, "smtp", "status", "-c", str(tmp_path / "gateway.yaml"))
    assert done.exit_code == 1
    assert "the gateway makes it at its start" in " ".join(done.stderr.split())
