# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operator's guide is true: a newcomer who knows nothing else has thirty people registered (A7, C1, B4, C2).

From the wheel to the last page, with the guide's own commands; the people are real `tmtp` processes.
"""

import asyncio
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.server import free_port
from tests.support.guide import GuideFailed, Scratch, inherited, python_for_guide, steps_of
from tests.support.instance import running_instance
from tests.support.terminal import TMTP, Terminal, link

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDE = ("first-hour", "install", "public-instance", "leaving-smtp", "incidents", "operators-guide", "scaling")
PEOPLE = ["Ada Lovelace", "Bob Builder", "Grace Hopper", *(f"Person Number {number}" for number in range(4, 31))]
AT_ONCE = 4
FOLDERS = ("/opt/tmtp-gateway", "/etc/tmtp-gateway", "/var/lib/tmtp-gateway", "/usr/local/bin")
PORTS = ("4433", "4434", "8080", "2525")


class Organisation:
    """The people of the guide, on a scratch machine of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in FOLDERS:
            (folder / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (folder / "usr/local/bin").mkdir()
        python_for_guide(folder / "usr/bin", getattr(sys, "_base_executable", sys.executable))
        environment = inherited()
        environment["PATH"] = f"{folder}/usr/local/bin:{folder}/usr/bin:{environment['PATH']}"
        environment["TMTP_GATEWAY_CONFIG"] = (
            f"{folder}/etc/tmtp-gateway/gateway.yaml"  # that is /etc's, to this machine
        )
        stands_for = {name: f"{folder}{name}" for name in FOLDERS}
        stands_for |= {port: str(free_port()) for port in PORTS}
        stands_for |= {"0.0.0.0": "127.0.0.1", "members 7": "members 7"}
        self.machine = Scratch(folder, stands_for, environment)
        self.machine.files["people.csv"] = "name,team\n" + "".join(f"{name},works\n" for name in PEOPLE)
        self.tmtp = f"{folder}/opt/tmtp-gateway/bin/tmtp"
        self.sheets: dict[str, str] = {}

    def client(self, who: str, *arguments: str, given: str = "") -> str:
        return self.machine.run([self.tmtp, *arguments], given, TMTP_HOME=str(self.folder / "people" / who))

    def gateway(self, *arguments: str) -> object:
        return json.loads(self.machine.run(["tmtp-gateway", *arguments, "--json"]))

    # -- what people do in the guide -----------------------------------------------------------------------------------
    def cards(self) -> None:
        """Each person types what is on the card."""
        page = (self.folder / "sheet.html").read_text("utf-8")
        commands = [shlex.split(html.unescape(found)) for found in re.findall("<code>(.*?)</code>", page)]
        assert [command[-1] for command in commands] == PEOPLE
        with ThreadPoolExecutor(AT_ONCE) as pool:
            told = pool.map(lambda command: self.client(command[-1], *command[1:]), commands)
            self.sheets = dict(zip(PEOPLE, told, strict=True))

    def desk_joins(self) -> None:
        made = self.gateway("invite", "--instance", "public", "--note", "the desk")
        assert isinstance(made, dict)
        self.client("desk", "join", made["link"], "--alias", "Desk Person")

    def ada_comes_back(self) -> None:
        sheet = self.sheets["Ada Lovelace"]
        way = re.search(r"the way back: (tmtp recover .*)", sheet)
        assert way is not None
        words = " ".join(re.findall(r"\b\d{1,2} ([a-z]{3,8})\b", sheet))
        self.client("Ada anew", *shlex.split(way[1])[1:], "--revoke-others", given=words)

    def bob_begins_anew(self) -> None:
        made = self.gateway("account", "reset", "--yes", "--instance", "members", "Bob Builder")
        assert isinstance(made, dict)
        self.client("Bob anew", "join", made["link"], "--alias", "Bob Builder")

    def an_invitation_is_open(self) -> None:
        self.machine.run(["tmtp-gateway", "invite", "--instance", "members", "--note", "left in the printer"])
        listed = self.gateway("invitation", "list", "--instance", "members")
        assert isinstance(listed, list)
        self.machine.stands_for["members 7"] = f"members {listed[-1]['invitation']}"

    def a_proxy_has_a_certificate(self) -> None:
        own = self.folder / "var/lib/tmtp-gateway/instances/members/tls.crt"
        (self.folder / "proxy.crt").write_bytes(own.read_bytes())

    def follow(self, page: str) -> int:
        return self.machine.follow(
            DOCS / f"{page}.md",
            {
                "the cards": self.cards,
                "the desk joins": self.desk_joins,
                "Ada comes back": self.ada_comes_back,
                "Bob begins anew": self.bob_begins_anew,
                "an invitation is open": self.an_invitation_is_open,
                "a proxy has a certificate": self.a_proxy_has_a_certificate,
            },
        )


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Organisation]:
    """One that has followed the first page."""
    for needed in ("git", "curl", "openssl", "swaks"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    folder = tmp_path_factory.mktemp("machine")
    built = [sys.executable, ROOT / "scripts" / "build.py", folder]
    subprocess.run(built, check=True, stdout=subprocess.DEVNULL)
    next(folder.glob("*.tar.gz")).unlink()
    made = Organisation(folder)
    try:
        assert made.follow("first-hour") >= 9
        yield made
    finally:
        made.machine.stop()


@pytest.mark.slow
def test_a_newcomer_has_thirty_people_registered_with_the_guide_alone(organisation: Organisation) -> None:
    accounts = organisation.gateway("account", "list", "--instance", "members")
    assert isinstance(accounts, list)
    assert sorted(name for account in accounts for name in account["aliases"]) == sorted(PEOPLE)
    assert all("Write it down" in sheet for sheet in organisation.sheets.values())
    assert not (organisation.folder / "sheet.html").exists()  # it said to delete it
    left = organisation.gateway("invitation", "list", "--instance", "members")
    assert isinstance(left, list)
    assert [one["note"] for one in left] == ["Linus, support"]
    organisation.client("Grace Hopper", "ping", "Person Number 30", "Grace here, from the works.")
    assert "Grace here" in organisation.client("Person Number 30", "inbox")


@pytest.mark.slow
def test_every_command_of_the_other_pages_works(organisation: Organisation) -> None:
    for page in GUIDE[1:]:
        organisation.follow(page)
    assert "An order" in organisation.client("desk", "inbox")
    assert "Win a prize" not in organisation.client("desk", "inbox")
    accounts = organisation.gateway("account", "list", "--instance", "members")
    assert isinstance(accounts, list)
    names = [name for account in accounts for name in account["aliases"]]
    assert "Grace Hopper" not in names  # she left
    assert {"Ada Lovelace", "Bob Builder"} <= set(names)
    assert "no longer" not in organisation.client("Ada anew", "whoami")


async def test_every_command_of_the_members_page_works(tmp_path: Path) -> None:
    """docs/client.md, by Ada, in a home of her own; Bob answers in his."""
    async with running_instance(tmp_path / "service") as service:
        ada, bob = Terminal(tmp_path / "ada"), Terminal(tmp_path / "bob")
        program = tmp_path / "bin" / "tmtp"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.join(TMTP)} "$@"\n', "utf-8")
        program.chmod(0o755)
        environment = {**ada.environment, "PATH": f"{program.parent}:{ada.environment['PATH']}"}
        machine = Scratch(tmp_path, {"nothing": "nothing"}, environment)

        def card() -> None:
            for home, alias in ((ada.home, "Ada Lovelace"), (bob.home, "Bob Builder")):
                machine.run([str(program), "join", link(service), "--alias", alias], TMTP_HOME=str(home))

        def answers() -> None:
            machine.run([str(program), "inbox"], TMTP_HOME=str(bob.home))
            machine.run([str(program), "accept", "Ada Lovelace", "Go ahead."], TMTP_HOME=str(bob.home))

        ran = await asyncio.to_thread(machine.follow, DOCS / "client.md", {"the card": card, "Bob answers": answers})
        assert ran >= 10
        shown = (await bob.does("inbox")).out
        assert "Here it is." in shown
        assert "Until next month" not in shown


@pytest.mark.parametrize("page", [*GUIDE, "client"])
def test_what_is_not_run_says_why(page: str) -> None:
    for step in steps_of(DOCS / f"{page}.md"):
        if step.kind == "not run":
            assert len(step.about) > 10, step.where
        if step.kind == "file":
            assert step.about, step.where


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("```sh\nfalse\n```\n", "page.md:1: exit code 1"),
        ("<!-- fails -->\n```sh\ntrue\n```\n", "exit code 0"),
        ("<!-- keeps running -->\n```sh\nsleep 0\n```\n", "does not start"),
        ("<!-- not ran: x -->\n", "no such comment"),
        ("<!-- fails -->\nText.\n", "stands before no block"),
    ],
)
def test_a_guide_that_is_not_true_fails(page: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(page, "utf-8")
    with pytest.raises(GuideFailed) as failed:
        Scratch(tmp_path, {"nothing": "nothing"}, inherited()).follow(tmp_path / "page.md", {})
    assert words in str(failed.value)
