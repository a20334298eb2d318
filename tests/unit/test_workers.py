# SPDX-License-Identifier: AGPL-3.0-or-later
"""The processes that look at proofs: whose fault it is when one ends, and what outlives a client that hangs up (C2)."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bridges import limits
from bridges.smtp.proof.exchange import SpfOrder
from bridges.workers import WorkerFailed, WorkerOvertaxed, Workers

ORDER = msgspec.json.encode(SpfOrder("192.0.2.1", "a@partner.example", "mx.partner.example"))


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers("bridges.smtp.proof.worker", 1)
    yield made
    await made.stop()


async def ask(workers: Workers) -> bytes:
    """Any order, and its answer."""
    return await workers.ask(ORDER, b"", limits.PROOF_WALL_S, limits.WORKER_ANSWER_MAX_BYTES)


async def held(workers: Workers) -> tuple[int, asyncio.Task[bytes]]:
    """The one process, which has an order and does not go on, and who waits for the answer."""
    await ask(workers)
    (worker,) = workers._all
    os.kill(worker.process.pid, signal.SIGSTOP)
    before, task = worker.orders, asyncio.create_task(ask(workers))
    while worker.orders == before:
        await asyncio.sleep(0)
    return worker.process.pid, task


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1])
async def test_a_worker_that_somebody_ends_is_not_the_mails_fault(workers: Workers, fatal: int) -> None:
    pid, task = await held(workers)
    os.kill(pid, fatal)
    with contextlib.suppress(ProcessLookupError):  # one that was killed needs no waking, and may be gone
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(WorkerFailed):
        await task
    assert await ask(workers)


async def test_a_worker_that_used_up_its_cpu_is(workers: Workers) -> None:
    pid, task = await held(workers)
    os.kill(pid, signal.SIGXCPU)
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(WorkerOvertaxed):
        await task


async def test_a_stop_of_the_whole_unit_lets_a_worker_finish(workers: Workers) -> None:
    """systemd sends SIGTERM to all of a unit; the parent ends its workers when its mails are done."""
    pid, task = await held(workers)
    for one in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, one)
    os.kill(pid, signal.SIGCONT)
    assert await task


async def test_a_client_that_hangs_up_does_not_end_a_worker(workers: Workers) -> None:
    pid, task = await held(workers)
    task.cancel()
    os.kill(pid, signal.SIGCONT)
    assert await ask(workers)
    assert [one.process.pid for one in workers._all] == [pid]


async def test_a_worker_has_nothing_of_ours(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither secrets of the environment, nor a folder to write in, nor room for a file or a process."""
    monkeypatch.setenv("TMTP_SECRET", "x")
    await ask(workers)
    (process,) = (one.process for one in workers._all)
    proc = Path(f"/proc/{process.pid}")
    assert b"TMTP_SECRET" not in (proc / "environ").read_bytes()
    assert (proc / "cwd").readlink() == Path("/")
    bounds = {line[:26].strip(): line[26:].split()[1] for line in (proc / "limits").read_text().splitlines()[1:]}
    assert bounds["Max file size"] == bounds["Max processes"] == "0"
    assert bounds["Max open files"] == str(limits.PROOF_DESCRIPTORS_MAX)
