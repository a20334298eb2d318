# SPDX-License-Identifier: AGPL-3.0-or-later
"""The unit for systemd: that it lets the gateway do its work and nothing else, and what systemd is told (C1).

systemd itself does not run in the tests. What its rules forbid is held against what a real gateway does.
"""

import ctypes
import os
import re
import select
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path

import pytest

from gateway.supervision import Supervisor
from tests.integration.test_cli import BRIDGED, PROGRAM, free_port

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
UNIT = UNITS / "tmtp-gateway.service"
OF_A_BRIDGE = UNITS / "tmtp-gateway-bridge@.service"
EXPOSURE_MAX = 2.0
PATIENCE_S = 60.0
PR_SET_MDWE, PR_GET_MDWE, REFUSE_EXEC_GAIN = 65, 66, 1  # prctl(2), Linux 6.3

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def settings_of_unit(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


# -- the unit, as systemd reads it -------------------------------------------------------------------------------------
@needs_systemd
@pytest.mark.parametrize("unit", [UNIT, OF_A_BRIDGE], ids=lambda unit: unit.name)
def test_what_a_gateway_broken_into_could_reach_is_little(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={round(EXPOSURE_MAX * 10)}", unit]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


@needs_systemd
@pytest.mark.parametrize("unit", [UNIT, OF_A_BRIDGE], ids=lambda unit: unit.name)
def test_systemd_understands_every_line(tmp_path: Path, unit: Path) -> None:
    program = re.escape(settings_of_unit("ExecStart")[0].split()[0])
    here = re.sub(program, shutil.which("true") or "/bin/true", unit.read_text("utf-8"))
    copy = tmp_path / unit.name.replace("@", "@intake")
    copy.write_text(here, "utf-8")
    (tmp_path / f"{copy.name}.d").mkdir()
    shutil.copy(UNITS / "credentials.conf", tmp_path / f"{copy.name}.d")
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_bridge_may_do_nothing_that_the_gateway_may_not() -> None:
    """And of the data folder it sees its own part."""

    def rules(unit: Path) -> set[str]:
        told = unit.read_text("utf-8").partition("# -- what it may not do")[2]
        return {line for line in told.partition("[Install]")[0].splitlines()[1:] if line and line[0] != "#"}

    assert rules(OF_A_BRIDGE) == rules(UNIT)
    seen = re.findall(r"^(?:TemporaryFileSystem|BindPaths)=(.*)$", OF_A_BRIDGE.read_text("utf-8"), re.MULTILINE)
    assert seen == ["/var/lib/tmtp-gateway:ro", "/var/lib/tmtp-gateway/bridges/%i"]


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")
def test_its_user_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", UNITS / "tmtp-gateway.sysusers.conf"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "err"},
    )
    assert made.returncode == 0, made.stderr
    entry = (tmp_path / "etc/passwd").read_text("utf-8").strip().split(":")
    assert (entry[0], entry[5]) == (settings_of_unit("User")[0], "/var/lib/tmtp-gateway")
    assert entry[6].endswith("nologin")


# -- what the gateway does, and what the unit forbids ------------------------------------------------------------------
class Heard:
    """The socket that systemd would listen at."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(PATIENCE_S)
        self.address = str(folder / "notify")

    def next(self) -> str:
        return self._socket.recv(4096).decode()

    def until(self, text: str) -> str:
        while text not in (heard := self.next()):
            pass
        return heard

    def forget(self) -> int:
        """Leave out what was said so far: how much it was."""
        said = 0
        while select.select([self._socket], [], [], 0)[0]:
            self.next()
            said += 1
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    made = Heard(tmp_path)
    yield made
    made.close()


@contextmanager
def serving(
    folder: Path, heard: Heard, *around: str, **more: object
) -> Iterator["tuple[subprocess.Popen[bytes], int]"]:
    """A gateway with a bridge as systemd would start it, ready, and where its intake is."""
    smtp = free_port()
    config = folder / "gateway.yaml"
    config.write_text(BRIDGED.format(http=free_port(), members=free_port(), public=free_port(), smtp=smtp), "utf-8")
    environment = {**os.environ, "NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": "200000"}
    process = subprocess.Popen(
        [*around, *PROGRAM, "serve", "-c", str(config)],
        env=environment,
        stderr=subprocess.DEVNULL,
        **more,  # type: ignore[call-overload]
    )
    try:
        heard.until("READY=1")
        yield process, smtp
    finally:
        process.kill()
        process.wait()


def use(folder: Path, smtp: int) -> None:
    """A member joins, and a mail comes in: commits, TLS, a parser in a process of its own."""
    made = subprocess.run(
        [*PROGRAM, "invite", "-c", folder / "gateway.yaml", "-i", "public"], capture_output=True, text=True, check=True
    )
    joined = re.search(r"tmtp join '(.*)' --alias", made.stdout)
    assert joined is not None
    client = [sys.executable, "-c", "from tmtp_client.cli.main import main; main()"]
    environment = {**os.environ, "TMTP_HOME": str(folder / "home")}
    subprocess.run(
        [*client, "join", joined[1], "--alias", "Support Desk"], env=environment, capture_output=True, check=True
    )
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "orders@partner.example", "support@example.org", "Hello"
    mail.set_content("An order.")
    mail.add_alternative("<p>An order.</p>", subtype="html")
    with smtplib.SMTP("127.0.0.1", smtp) as relay:
        relay.send_message(mail)


def test_systemd_hears_that_it_is_ready_lives_and_stops(tmp_path: Path, heard: Heard) -> None:
    with serving(tmp_path, heard) as (process, _):
        assert heard.until("WATCHDOG=1") == "WATCHDOG=1"
        heard.until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        assert "STATUS=stopping" in heard.until("STOPPING=1")
        assert process.wait(PATIENCE_S) == 0


def test_a_reload_ends_nothing(tmp_path: Path, heard: Heard) -> None:
    assert settings_of_unit("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    with serving(tmp_path, heard) as (process, _):
        process.send_signal(signal.SIGHUP)
        heard.forget()
        heard.until("WATCHDOG=1")
        heard.until("WATCHDOG=1")
        assert process.poll() is None


def test_a_gateway_whose_loop_stands_still_says_nothing(tmp_path: Path, heard: Heard) -> None:
    with serving(tmp_path, heard) as (process, _):
        heard.until("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        heard.forget()
        time.sleep(0.5)  # five times as long as it is silent while its loop turns
        assert heard.forget() == 0


def test_it_needs_no_call_that_the_unit_forbids(tmp_path: Path, heard: Heard) -> None:
    if shutil.which("strace") is None or shutil.which("systemd-analyze") is None:
        pytest.skip("strace or systemd is not installed")
    counts = tmp_path / "calls"
    # -D: strace stands aside, and the process that is started is the gateway
    with serving(tmp_path, heard, "strace", "-D", "-f", "-c", "-S", "name", "-o", str(counts)) as (process, smtp):
        use(tmp_path, smtp)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    while not (counts.exists() and counts.read_text("utf-8").endswith("total\n")):
        time.sleep(0.05)
    made = {line.split()[-1] for line in counts.read_text("utf-8").splitlines()[2:-2]}
    assert {"fdatasync", "sendto", "execve"} <= made
    if os.geteuid() == 0:
        made.discard("fchown")  # SQLite gives its files to the folder's owner, as root alone; the unit's user is not
    allowed: set[str] = set()
    for words in settings_of_unit("SystemCallFilter"):
        calls = {call for word in words.lstrip("~").split() for call in members_of(word)}
        allowed = allowed - calls if words.startswith("~") else allowed | calls
    assert made - allowed == set()


def members_of(word: str) -> set[str]:
    """The system calls of a group, with those of the groups in it (systemd.exec(5))."""
    if not word.startswith("@"):
        return {word}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
    lines = [line.split("#")[0].strip() for line in listed.stdout.splitlines()[1:]]
    return {call for line in lines if line for call in members_of(line)}


def test_it_needs_no_memory_that_is_written_and_run(tmp_path: Path, heard: Heard) -> None:
    assert settings_of_unit("MemoryDenyWriteExecute") == ["yes"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot forbid it (Linux 6.3 can)")

    def forbid() -> None:
        if libc.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
            os._exit(99)

    with serving(tmp_path, heard, preexec_fn=forbid) as (process, smtp):
        use(tmp_path, smtp)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


# -- the module by itself ----------------------------------------------------------------------------------------------
def test_without_systemd_nothing_is_said() -> None:
    nobody = Supervisor.from_environment({})
    assert nobody.interval_s is None
    nobody.ready("serving")


@pytest.mark.parametrize(
    ("more", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_how_often_it_speaks_is_what_it_was_asked_for(more: dict[str, str], interval_s: float | None) -> None:
    environment = {"NOTIFY_SOCKET": "/run/nobody", **more}
    assert Supervisor.from_environment(environment).interval_s == interval_s
    assert environment == {}


def test_a_socket_without_a_file_and_one_without_a_listener() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0tmtp-gateway-test-{os.getpid()}")
        told = Supervisor(f"@tmtp-gateway-test-{os.getpid()}")
        told.ready("serving members")
        assert listener.recv(4096) == b"READY=1\nSTATUS=serving members"
    told.alive()  # nobody is there any more: it goes on
