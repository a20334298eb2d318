# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway invite-many` and which settings file is meant, as an administrator meets them (A7, C1, C4)."""

import html
import json
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import finding
from gateway.cli.common import ConfigOption
from tests.integration.test_cli import PROGRAM, SETTINGS, free_port, run, serving
from tmtp_core.wire.address import parse_address

__all__ = ["serving"]

THREE = '\ufeffName;Team\nAda Lovelace;sales\nZoë Bauer;\n"Conan O\'Brien; Ltd";x\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(SETTINGS.format(http=free_port(), tls=free_port()), "utf-8")
    return file


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(THREE, "utf-8")
    return file


def test_a_sheet_for_each_person_of_a_list(config: Path, people: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    made = run("invite-many", people, "-c", config, "-i", "members", "--expires", "14d", "--sheet", sheet, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert [one["name"] for one in told] == ["Ada Lovelace", "Zoë Bauer", "Conan O'Brien; Ltd"]
    assert sheet.stat().st_mode & 0o777 == 0o600
    page = sheet.read_text("utf-8")
    commands = [html.unescape(found) for found in re.findall("<code>(tmtp join .*?)</code>", page)]
    assert [shlex.split(command)[2] for command in commands] == [one["link"] for one in told]
    assert len({parse_address(one["link"]).invite for one in told}) == 3
    kept = json.loads(run("invitation", "list", "-c", config, "-i", "members", "--json").stdout)
    assert [(one["note"], one["uses_left"]) for one in kept] == [(one["name"], 1) for one in told]


def test_links_that_only_this_machine_can_follow_are_told_so(config: Path, people: Path, tmp_path: Path) -> None:
    """Before a sheet is printed: a machine may be called localhost, and the sample listens on loopback."""
    for name, command in (("s.html", ("invite-many", people)), ("t.html", ("invite",))):
        more = ("--sheet", tmp_path / name) if command[0] == "invite-many" else ()
        made = run(*command, "-c", config, "-i", "members", *more)
        assert made.returncode == 0
        assert "names 127.0.0.1: give host:" in made.stderr
    config.write_text(config.read_text("utf-8") + "host: chat.example.org\n", "utf-8")
    config.write_text(config.read_text("utf-8").replace('tls: "127.0.0.1', 'tls: "0.0.0.0'), "utf-8")
    assert run("invite", "-c", config, "-i", "members").stderr == ""


def test_nobody_is_invited_when_the_list_has_a_mistake(config: Path, people: Path, tmp_path: Path) -> None:
    people.write_bytes(b"name\nAda Lovelace\n\xff\n")
    refused = run("invite-many", people, "-c", config, "-i", "members", "--sheet", tmp_path / "s.html")
    assert refused.returncode == 2
    assert f"{people}:3" in refused.stderr
    assert "UTF-8" in refused.stderr
    assert "nobody was invited" in refused.stderr
    assert not (tmp_path / "s.html").exists()
    assert not (tmp_path / "data").exists()


def test_invitations_are_made_only_when_they_have_a_place(config: Path, people: Path, tmp_path: Path) -> None:
    taken, nowhere = tmp_path / "sheet.html", tmp_path / "none" / "sheet.html"
    taken.write_text("an older one", "utf-8")
    for place, words in ((taken, "is there already"), (nowhere, "No such file")):
        refused = run("invite-many", people, "-c", config, "-i", "members", "--sheet", place)
        assert refused.returncode == 2
        assert words in refused.stderr
    assert taken.read_text("utf-8") == "an older one"
    assert run("invite-many", people, "-c", config, "-i", "members").returncode == 2
    assert not (tmp_path / "data").exists()


def test_no_sheet_is_left_when_they_are_refused(config: Path, people: Path, tmp_path: Path) -> None:
    refused = run("invite-many", people, "-c", config, "-i", "nowhere", "--sheet", tmp_path / "s.html")
    assert refused.returncode == 1
    assert "no instance nowhere" in refused.stderr
    assert not (tmp_path / "s.html").exists()


def test_ctrl_c_loses_no_invitation_that_is_told_once(
    config: Path, people: Path, tmp_path: Path, serving: "subprocess.Popen[str]"
) -> None:
    sheet = tmp_path / "sheet.html"
    serving.send_signal(signal.SIGSTOP)  # whoever asks it now waits
    try:
        asked = [*PROGRAM, "invite-many", str(people), "-c", str(config), "-i", "members", "--sheet", str(sheet)]
        inviting = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not sheet.exists():  # from then on it asks
            assert inviting.poll() is None
            time.sleep(0.05)
        inviting.send_signal(signal.SIGINT)
        assert inviting.stderr is not None
        assert "brought to its end" in inviting.stderr.readline()
    finally:
        serving.send_signal(signal.SIGCONT)
    out, _ = inviting.communicate(timeout=60)
    assert inviting.returncode == 130
    assert out.startswith("3 invitations to members are in")
    assert len(re.findall("<code>tmtp join", sheet.read_text("utf-8"))) == 3
    assert len(json.loads(run("invitation", "list", "-c", config, "-i", "members", "--json").stdout)) == 3


# -- which settings file ---------------------------------------------------------------------------------------------
def asked(arguments: list[str], variable: str | None = None) -> str:
    """Which file a command takes."""
    app = typer.Typer()

    @app.command()
    def show(file: ConfigOption = Path("gateway.yaml")) -> None:
        typer.echo(file)

    return CliRunner().invoke(app, arguments, env={finding.VARIABLE: variable}).stdout.strip()


def test_the_settings_file_named_nearest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "etc" / "gateway.yaml"
    monkeypatch.setattr(finding, "SYSTEM_CONFIG", system)
    monkeypatch.chdir(tmp_path)
    assert asked([]) == "gateway.yaml"  # which is then called missing
    system.parent.mkdir()
    system.touch()
    assert asked([]) == str(system)
    Path("gateway.yaml").touch()
    assert asked([]) == "gateway.yaml"
    assert asked([], "other.yaml") == "other.yaml"
    assert asked(["-c", "named.yaml"], "other.yaml") == "named.yaml"
