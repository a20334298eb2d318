# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp open` and the daemon behind it, as processes: begun where none runs, told from strangers, ended when asked (B1)."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.support.commands import Ran
from tmtp_client.api import daemon_file
from tmtp_client.api.connecting import connected
from tmtp_client.api.daemon_file import DaemonFile
from tmtp_client.api.running import running

ROOT = str(Path(__file__).parents[2])
PATIENCE_S = 120.0


async def tmtp(home: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> Ran:
    """A command, to its end; it finds the program where the tests do."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tmtp_client", *arguments),
        env=os.environ | {"TMTP_HOME": str(home), "PYTHONPATH": ROOT} | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def opened(home: Path) -> str:
    ran = await tmtp(home, "open", "--print")
    assert ran.exit_code == 0, ran.stderr
    return ran.stdout.strip()


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Path]:
    """One whose daemon is ended, if a test began one."""
    folder = tmp_path / "home"
    yield folder
    await tmtp(folder, "daemon", "--stop")


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status


async def test_the_first_begins_a_daemon_which_the_next_finds_and_which_ends_when_asked(home: Path) -> None:
    url = await opened(home)
    file = daemon_file.read(home)
    assert file is not None
    assert url.startswith(f"{file.url}/enter?token=")
    assert os.getsid(file.pid) == file.pid  # no terminal that is closed ends it
    assert stat.S_IMODE((home / "daemon.log").stat().st_mode) == 0o600
    assert await status_of(url) == 200
    assert await status_of(url) == 403  # good once
    again = await opened(home)
    assert daemon_file.read(home) == file
    assert again != url
    async with connected(home) as client:  # commands use it, too
        assert (await client.call("home.state")).version == 1
    stopped = await tmtp(home, "daemon", "--stop")
    assert (stopped.exit_code, stopped.stderr) == (0, "The daemon has ended.\n")
    assert not (home / "daemon.json").exists()
    none = await tmtp(home, "daemon", "--stop")
    assert (none.exit_code, none.stderr) == (0, "No daemon runs.\n")
    assert (home / "daemon.log").read_text() == ""  # no token, no key, nothing that went wrong


async def test_several_at_once_come_to_one_daemon(home: Path) -> None:
    urls = await asyncio.gather(*(opened(home) for _ in range(3)))
    assert len({url.partition("/enter")[0] for url in urls}) == 1
    assert len(set(urls)) == 3


async def test_the_browser_is_given_the_address(home: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/shown\n')
    browser.chmod(0o755)
    ran = await tmtp(home, "open", BROWSER=f"{browser} %s")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "in your browser" in ran.stderr
    assert await status_of((tmp_path / "shown").read_text()) == 200


async def test_without_a_browser_the_address_is_said(home: Path, tmp_path: Path) -> None:
    ran = await tmtp(home, "open", PATH=str(tmp_path), BROWSER="", DISPLAY="", WAYLAND_DISPLAY="")
    assert ran.exit_code == 0
    assert "No browser can be started here" in ran.stderr
    assert await status_of(ran.stdout.strip()) == 200


async def test_what_a_killed_daemon_left_misleads_nobody(home: Path) -> None:
    await opened(home)
    left = daemon_file.read(home)
    assert left is not None
    os.kill(left.pid, signal.SIGKILL)
    assert await status_of(await opened(home)) == 200
    now = daemon_file.read(home)
    assert now is not None
    assert now.pid != left.pid


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[tuple[int, list[str]]]:
    """Somebody else at a port of this machine, who answers everything."""
    asked: list[str] = []

    async def heard(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=answer, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", heard)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], asked
    finally:
        await runner.cleanup()


async def test_a_stranger_at_the_port_of_a_dead_daemon_is_not_asked(home: Path) -> None:
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    async with stranger(b"{}") as (port, asked):
        home.mkdir(mode=0o700)
        DaemonFile(1, ended.pid, port, f"http://127.0.0.1:{port}", "key").write(home)
        assert not (await opened(home)).startswith(f"http://127.0.0.1:{port}/")
        assert asked == []


_TAKES = """
import os, socket
os.setuid(65534)
listening = socket.create_server(("0.0.0.0", 0))
print(listening.getsockname()[1], flush=True)
listening.accept()
print("asked", flush=True)
"""


async def test_no_command_asks_a_stranger_at_the_port_of_a_dead_daemon(home: Path) -> None:
    """He would be told the passphrase (B8)."""
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    async with stranger(b"{}") as (port, asked):
        home.mkdir(mode=0o700)
        DaemonFile(1, ended.pid, port, f"http://127.0.0.1:{port}", "key").write(home)
        assert (await tmtp(home, "accounts")).exit_code == 0
        assert asked == []


async def test_another_user_of_the_machine_who_has_taken_the_port_is_not_asked(home: Path) -> None:
    """Also where some process has the number of the daemon that was killed."""
    if os.getuid() != 0 or not Path("/proc/net/tcp").exists():
        pytest.skip("to be another user one has to be root, on Linux")
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", _TAKES, stdout=asyncio.subprocess.PIPE)
    assert other.stdout is not None
    try:
        port = int(await asyncio.wait_for(other.stdout.readline(), PATIENCE_S))
        home.mkdir(mode=0o700)
        DaemonFile(1, os.getpid(), port, f"http://127.0.0.1:{port}", "key").write(home)
        assert (await tmtp(home, "accounts")).exit_code == 0
        assert other.returncode is None  # nobody came
    finally:
        if other.returncode is None:
            other.kill()
            await other.wait()


async def test_that_nothing_ran_is_said_to_programs_too(home: Path) -> None:
    ran = await tmtp(home, "daemon", "--stop", "--json")
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, {"ended": False})


@pytest.mark.parametrize("answer", [b'{"url": "http://evil.example/enter?token=1"}', b'{"url": 1}', b"<html>", b""])
async def test_an_answer_that_leads_elsewhere_is_not_followed(home: Path, answer: bytes) -> None:
    async with stranger(answer) as (port, asked):
        home.mkdir(mode=0o700)
        DaemonFile(1, os.getpid(), port, f"http://127.0.0.1:{port}", "key").write(home)
        url = await opened(home)
        assert "evil" not in url
        assert await status_of(url) == 200
        assert asked


async def test_it_waits_for_a_command_that_is_soon_done(home: Path) -> None:
    async with running(home):
        opening = asyncio.create_task(opened(home))
        while not (home / "daemon.log").exists() or not (home / "daemon.log").read_text():
            await asyncio.sleep(0.05)  # until one was begun, and found this
    assert await status_of(await opening) == 200


async def test_a_home_that_cannot_be_used_is_said_plainly(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    ran = await tmtp(file / "home", "open", "--print")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "cannot be used: " in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_why_a_daemon_cannot_begin_is_said(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "vault.json").write_text("not a vault")
    ran = await tmtp(home, "open", "--print")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "vault.json" in ran.stderr
    assert "Traceback" not in ran.stderr


async def test_what_lies_where_the_person_is_is_not_run(home: Path, tmp_path: Path) -> None:
    for name in ("tmtp_client", "aiohttp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open('{tmp_path}/taken', 'w').close()\n")
    assert (await tmtp(home, "open", "--print", cwd=tmp_path)).exit_code == 0
    assert not (tmp_path / "taken").exists()


async def test_without_pywebview_a_window_is_refused_plainly_and_nothing_is_begun(home: Path, tmp_path: Path) -> None:
    (tmp_path / "webview.py").write_text("raise ImportError")  # as where it is not installed
    ran = await tmtp(home, "open", "--window", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "pip install 'tmtp-gateway[window]'" in ran.stderr
    assert not home.exists()


async def test_a_window_and_an_address_only_are_not_both(home: Path) -> None:
    assert (await tmtp(home, "open", "--window", "--print")).exit_code == 2
