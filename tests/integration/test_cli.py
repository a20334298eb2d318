# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway` as an administrator runs it (C1, C4): exit codes, plain words, no traceback."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.server import free_port
from tests.support.instance import running_instance
from tmtp_client.connection import AccountKeys, Connection, Endpoint
from tmtp_core.domain.policy import Policy
from tmtp_core.wire import revision2 as m2

PROGRAM = [sys.executable, "-c", "from gateway.cli.main import main; main()"]

SETTINGS = """\
data_dir: ./data
http: {{listen: "127.0.0.1:{http}"}}
instances:
  - {{name: members, policy: members, listen: [{{tls: "127.0.0.1:{tls}"}}]}}
"""
BRIDGED = """\
data_dir: ./data
http: {{listen: "127.0.0.1:{http}"}}
instances:
  - {{name: members, policy: members, listen: [{{tls: "127.0.0.1:{members}"}}]}}
  - {{name: public, policy: public, listen: [{{tls: "127.0.0.1:{public}"}}]}}
bridges:
  smtp:
    - name: intake
      instance: public
      listen: 127.0.0.1:{smtp}
      senders: [{{address: orders@partner.example, proof: [{{network: 127.0.0.0/8}}]}}]
      routes: [{{recipient: support@example.org, to: Support Desk}}]
"""


def run(*arguments: str | Path, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], input=given, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(SETTINGS.format(http=free_port(), tls=free_port()), "utf-8")
    return file


@pytest.fixture
def serving(config: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([*PROGRAM, "serve", "-c", str(config)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "ready" in line:
            break
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()
    process.stderr.close()


def test_a_gateway_serves_and_stops(config: Path, serving: "subprocess.Popen[str]") -> None:
    port = int(config.read_text().split('http: {listen: "127.0.0.1:')[1].split('"')[0])
    pages = {}
    for page in ("healthz", "readyz", "metrics"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
            pages[page] = answer.read().decode()
    assert pages["healthz"] == "ok\n"
    assert pages["readyz"] == "ready\n"
    assert 'tmtp_healthy{instance="members"} 1.0' in pages["metrics"]
    assert 'tmtp_commits_total{instance="members"}' in pages["metrics"]

    made = json.loads(run("invite", "-c", config, "-i", "members", "--expires", "7d", "--json").stdout)
    (listed,) = json.loads(run("invitation", "list", "-c", config, "-i", "members", "--json").stdout)
    assert listed["expires_ms"] is not None
    assert run("invite", "-c", config, "-i", "members", "--expires", "1s").returncode == 0
    assert run("invite", "-c", config, "-i", "members").returncode == 0
    time.sleep(1.1)
    shown = run("invitation", "list", "-c", config, "-i", "members").stdout
    assert "no end" in shown
    assert "revoked" not in shown
    assert len(json.loads(run("invitation", "list", "-c", config, "-i", "members", "--json").stdout)) == 2
    assert made["token"] in made["link"].replace("%2B", "+").replace("%25", "%")
    assert json.loads(run("account", "list", "-c", config, "-i", "members", "--json").stdout) == []
    second = run("serve", "-c", config)
    assert second.returncode == 1
    assert "a gateway runs on" in second.stderr

    serving.send_signal(signal.SIGTERM)
    assert serving.wait(20) == 0
    assert not (config.parent / "data" / "control.sock").exists()


def test_a_command_waits_for_a_gateway_that_is_about_to_start(config: Path) -> None:
    """Its data is taken, and it does not answer yet: nobody is told to stop it (C1)."""
    data = config.parent / "data"
    data.mkdir(mode=0o700)
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asked = subprocess.Popen(
            [*PROGRAM, "invitation", "list", "-c", str(config), "-i", "members", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            asked.wait(4)
    assert (asked.communicate(timeout=60)[0].strip(), asked.returncode) == (b"[]", 0)


def test_ctrl_c_ends_it_cleanly(serving: "subprocess.Popen[str]") -> None:
    serving.send_signal(signal.SIGINT)
    assert serving.wait(20) == 0
    assert serving.stderr is not None
    assert "Traceback" not in serving.stderr.read()


def test_settings_may_come_through_a_pipe(config: Path) -> None:
    """`serve -c <(…)`, `-c /dev/stdin`: what can be read once only, secrets filled in on the way, for one (C4)."""
    program = [*PROGRAM, "serve", "-c", "/dev/stdin"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=config.parent)
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stdin, process.stderr:
        process.stdin.write(config.read_text("utf-8").replace("./data", str(config.parent / "data")))
        process.stdin.close()
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, said


def test_without_a_running_gateway_the_data_is_used_directly(config: Path) -> None:
    assert run("account", "list", "-c", config, "-i", "members").stdout.startswith("No accounts on members yet")
    made = run("invite", "-c", config, "-i", "members")
    assert "tmtp join 'tmtp://127.0.0.1:" in made.stdout
    assert made.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["account", "bar", "-i", "members", "Nobody Here"], 1, "no account has the uid or alias"),
        (["account", "alias", "-i", "members", "Nobody Here", "Support Desk"], 1, "no account has the uid or alias"),
        (["group", "create", "-i", "members", "Sales Team", "Nobody Here"], 1, "no account has the uid or alias"),
        (["account", "list", "-i", "elsewhere"], 1, "there is no instance elsewhere; the file has: members"),
        (["invite", "-i", "members", "--expires", "soon"], 2, "for example 12h, 7d or 4w"),
        (["invite", "-i", "members", "--uses", "0"], 2, "Invalid value for '--uses'"),
        (["invite", "-i", "members", "--expires", "999999w"], 2, "beyond the year 9999"),
        (["invite", "-i", "members", "--expires", "0s"], 2, "for example 12h, 7d or 4w"),
        (["invite"], 2, "Missing option"),
        (["account", "list", "-i", ""], 2, "it is empty"),
        (["account", "list", "-i", "a/b"], 1, "there is no instance a/b; the file has: members"),
        (["account", "bar", "-i", "members", "\udcff1234567"], 2, "it is not UTF-8"),
        (["invite", "-i", "members", "--note", "\udcff"], 2, "it is not UTF-8"),
        (["token", "create", "\udcff", "--role", "auditor"], 2, "it is not UTF-8"),
        (["account", "list", "-i", "members", "--search", "\udcff"], 2, "it is not UTF-8"),
    ],
)
def test_wrong_input_is_answered_in_plain_words(config: Path, arguments: list[str], code: int, words: str) -> None:
    at = 2 if arguments[0] in {"account", "group", "token"} else 1
    done = run(*arguments[:at], "-c", config, *arguments[at:])
    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr + done.stdout


def test_removing_asks_first(config: Path) -> None:
    done = run("account", "remove", "-c", config, "-i", "members", "Somebody", given="n\n")
    assert done.returncode == 1
    assert "Nothing was removed" in done.stderr


def test_check_config(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("check-config", config).stdout.startswith(f"{config} is fine")
    with monkeypatch.context() as named:  # as all commands find it
        named.setenv("TMTP_GATEWAY_CONFIG", str(config))
        assert run("check-config").stdout.startswith(f"{config} is fine")
    bad = tmp_path / "bad.yaml"
    bad.write_text(config.read_text().replace("policy: members", "policy: member"), "utf-8")
    done = run("check-config", bad)
    assert done.returncode == 2
    assert f"{bad}:4:" in done.stderr
    assert "right: one of 'members' or 'public'" in done.stderr
    as_json = run("check-config", bad, "--json")
    assert as_json.returncode == 2
    assert json.loads(as_json.stdout)["problems"][0]["line"] == 4
    assert run("check-config", tmp_path / "none.yaml").returncode == 2
    assert run("serve", "-c", bad).returncode == 2


def test_the_sample_is_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(run("sample-config").stdout, "utf-8")
    assert run("check-config", file).returncode == 0


async def test_a_taken_port_is_named(config: Path) -> None:
    port = int(config.read_text().split('tls: "127.0.0.1:')[1].split('"')[0])
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    async with server:
        done = await asyncio.to_thread(run, "serve", "-c", config)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_running_gateway_answers_wrong_input_in_plain_words(config: Path, serving: "subprocess.Popen[str]") -> None:
    for instance, words in (("a/b", "there is no instance a/b"), ("elsewhere", "there is no instance elsewhere")):
        done = run("account", "list", "-c", config, "-i", instance)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_what_members_chose_steers_no_terminal(tmp_path: Path) -> None:
    """Names, labels and notes are printed as they are: no markup, no escape sequence (D2)."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        SETTINGS.format(http=free_port(), tls=free_port()).replace("policy: members", "policy: public"), "utf-8"
    )
    assert run("account", "list", "-c", file, "-i", "members").returncode == 0  # the certificate is made

    async def fill() -> None:
        folder = tmp_path / "data" / "instances" / "members"
        async with running_instance(folder, title="Members", policy=Policy(members_invite=True)) as instance:
            keys = AccountKeys.new(os.urandom)
            connection = await Connection.open(Endpoint(instance.host, instance.port, instance.spki_pin), revision="2")
            await connection.register_keys("\x1b]0;owned\x07laptop", keys, "Ada [/b] Lovelace", None)
            await connection.ask(m2.InviteEdit("1", "create", note="for [/red] people"))
            await connection.quit()

    asyncio.run(fill())
    for arguments, words in (
        (["account", "list"], "Ada [/b] Lovelace"),
        (["device", "list", "Ada [/b] Lovelace"], "\\u001b]0;owned"),
        (["invitation", "list"], "for [/red] people"),
        (["account", "bar", "Ada [/b] Lovelace"], "Ada [/b] Lovelace ("),
        (["account", "bar", "Nobody [/b] Here"], "Nobody [/b] Here"),
    ):
        done = run(*arguments[:2], "-c", file, "-i", "members", *arguments[2:])
        assert words in done.stdout + done.stderr
        assert "\x1b" not in done.stdout
        assert "Traceback" not in done.stderr


def test_a_barred_bridge_keeps_nobody_else_away(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        BRIDGED.format(http=free_port(), members=free_port(), public=free_port(), smtp=free_port()), "utf-8"
    )

    def started() -> "subprocess.Popen[str]":
        process = subprocess.Popen([*PROGRAM, "serve", "-c", str(file)], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready" in line:
                break
        assert ("the bridge intake is barred" in "".join(said)) is barred
        return process

    def stopped(process: "subprocess.Popen[str]") -> bool:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        return process.returncode == 0

    barred = False
    process = started()
    try:
        (account,) = json.loads(run("account", "list", "-c", file, "-i", "public", "--json").stdout)
        assert run("account", "bar", "-c", file, "-i", "public", account["uid"]).returncode == 0
        assert stopped(process)
        barred = True
        process = started()
        assert run("invite", "-c", file, "-i", "members").returncode == 0
    finally:
        assert stopped(process)


def test_a_database_that_cannot_be_read_is_said_to_be_one(config: Path) -> None:
    assert run("account", "list", "-c", config, "-i", "members").returncode == 0
    database = config.parent / "data" / "instances" / "members" / "service.sqlite3"
    database.write_bytes(database.read_bytes()[:5_000])
    done = run("account", "list", "-c", config, "-i", "members")
    assert done.returncode == 1
    assert "instance members cannot read its database" in done.stderr
    assert "restore the backup" in done.stderr
    assert "Traceback" not in done.stderr
