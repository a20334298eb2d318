# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp daemon` as a process: where it is, that one runs and no more, how it ends and what it leaves (B1)."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.client_engine import Person
from tests.support.gateway import running_gateway
from tmtp_client.api import daemon_file
from tmtp_client.api import models as m
from tmtp_client.api import operations as o
from tmtp_client.api.connecting import connected
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.running import running

PATIENCE_S = 120.0


async def begun(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from tmtp_client.program import main; main()",
        "daemon",
        *arguments,
        env=os.environ | {"TMTP_HOME": str(home), "PYTHONUNBUFFERED": ""},  # as a shell has it
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def started(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """What `--json` says."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        text = await process.stdout.readuntil(b"}\n")
    said: dict[str, Any] = json.loads(text)
    return said


@asynccontextmanager
async def daemon(home: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    process = await begun(home, "--json")
    try:
        yield process, await started(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()


async def test_it_says_where_it_is_to_its_owner_alone_and_ends_cleanly(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with daemon(home) as (process, said):
        file = daemon_file.read(home)
        assert file is not None
        assert (file.pid, file.port, file.url) == (process.pid, said["port"], said["url"])
        assert stat.S_IMODE((home / "daemon.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert said["enter"].startswith(f"{file.url}/enter?token=")
        assert file.key not in json.dumps(said)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")
        assert not (home / "daemon.json").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
async def test_it_ends_with_windows_open_and_tells_them(tmp_path: Path, end: signal.Signals) -> None:
    async with daemon(tmp_path) as (process, _), connected(tmp_path) as client:
        listening = asyncio.create_task(anext(client.events()))
        await client.call("home.state")
        process.send_signal(end)
        with pytest.raises(ProblemError) as raised:
            await listening
        assert raised.value.problem.code == "not_now"
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0


async def test_a_second_one_says_that_one_runs(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (process, said):
        other = await begun(tmp_path)
        _, err = await other.communicate()
        assert other.returncode == 3
        assert f"A daemon runs already: process {process.pid}, {said['url']}" in err.decode()
        async with connected(tmp_path) as client:  # the first one is none the worse
            assert not (await client.call("home.state")).locked


async def test_what_a_killed_one_left_is_noticed_and_misleads_nobody(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (process, said):
        process.kill()
        await process.wait()
    assert daemon_file.read(tmp_path) is not None
    async with connected(tmp_path) as client:  # nobody answers there: this process runs the engine
        assert (await client.call("home.state")).version == 1
    async with daemon(tmp_path) as (process, again):
        assert again["pid"] != said["pid"]
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert f"A daemon before this one (process {said['pid']}) was cut off" in err.decode()


async def test_a_home_that_another_process_runs_without_a_daemon_is_said_to_be_busy(tmp_path: Path) -> None:
    async with running(tmp_path):
        with pytest.raises(ProblemError) as raised:
            async with connected(tmp_path):
                pass
        assert raised.value.problem.code == "not_now"
        other = await begun(tmp_path)
        _, err = await other.communicate()
        assert other.returncode == 3
        assert "Another process runs the accounts" in err.decode()


async def test_a_port_that_is_taken_is_said_without_a_traceback(tmp_path: Path) -> None:
    async with daemon(tmp_path / "one") as (_, said):
        other = await begun(tmp_path / "other", "--port", str(said["port"]))
        _, err = await other.communicate()
        assert other.returncode == 1
        assert "cannot be had" in err.decode()
        assert "Traceback" not in err.decode()
        assert not (tmp_path / "other" / "daemon.json").exists()


async def test_a_person_joins_writes_and_reads_by_two_daemons_and_a_history_outlives_them(tmp_path: Path) -> None:
    """B1, B3: the same client that works in a process works with a daemon."""
    (tmp_path / "gateway").mkdir()
    async with running_gateway(tmp_path / "gateway") as gateway:
        async with (
            daemon(tmp_path / "ada"),
            daemon(tmp_path / "bob"),
            connected(tmp_path / "ada") as to_ada,
            connected(tmp_path / "bob") as to_bob,
        ):
            ada, bob = Person(to_ada), Person(to_bob)
            await ada.join(gateway, "public", "work", "Ada Lovelace")
            await bob.join(gateway, "public", "work", "Bob Babbage")
            told: list[str] = []

            async def listen() -> None:
                async for event in to_bob.events({"work": 0}):
                    if isinstance(event.data, m.MessageEvent) and event.data.new:
                        told.append(event.data.message.text)

            listening = asyncio.create_task(listen())
            await ada("people.ping", o.SendPing("work", "Bob Babbage", "Hello Bob"))
            assert (await bob.message("work", "Hello Bob")).kind == "ping"
            async with asyncio.timeout(PATIENCE_S):
                while "Hello Bob" not in told:
                    await asyncio.sleep(0.05)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        async with connected(tmp_path / "bob") as here:
            assert (await Person(here).message("work", "Hello Bob")).alias == "Ada Lovelace"
