# SPDX-License-Identifier: AGPL-3.0-or-later
"""The workers that read mail (C2): what they may do, what kills them, and that a killer costs only itself."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridges import limits, workers
from bridges.mime import Letter, Reason, Unparsable
from bridges.mime.pool import ParserFailed, ParserPool

FROM = b"From: Orders <orders@partner.example>\r\n"
NEST = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(1_000))
PARTS = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 100_000
SLOW = b"Content-Type: multipart/mixed; boundary=b" + b"".join(b';"' for _ in range(15_000)) + b"\r\n\r\nx"


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ParserPool]:
    """Its patience is for a machine that has much else to do; the tests of patience say what theirs is."""
    monkeypatch.setattr(limits, "PARSE_WALL_S", 60.0)
    monkeypatch.setattr(limits, "WORKER_PIPE_S", 60.0)
    made = ParserPool()
    yield made
    await made.stop()


async def parse(pool: ParserPool, raw: bytes, folder: Path) -> Letter:
    """One mail through a pool; attachments in `folder`."""
    return await pool.parse(raw, folder)


def processes(pool: ParserPool) -> set[int]:
    return {worker.process.pid for worker in pool._workers._all}


async def test_attachments_are_where_the_pool_puts_them(pool: ParserPool, tmp_path: Path) -> None:
    body = bytes(range(256)) * 5_000
    head = b"Content-Type: image/png\r\nContent-Disposition: attachment; filename=/etc/passwd\r\n\r\n"
    letter = await parse(pool, FROM + head + body, tmp_path)
    one = letter.attachments[0]
    assert (one.name, one.size, Path(one.path).parent) == ("passwd", len(body), tmp_path)
    assert await asyncio.to_thread(Path(one.path).read_bytes) == body


async def test_a_mail_without_attachments_makes_no_folder(pool: ParserPool, tmp_path: Path) -> None:
    assert (await pool.parse(FROM + b"\r\nx", tmp_path / "folder")).text == "x"
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_hangs_up_costs_no_worker_and_leaves_nothing(pool: ParserPool, tmp_path: Path) -> None:
    """Whoever removes the folder of its mail is not written to afterwards; the next mail gets its own answer."""
    attached = FROM + b"Content-Type: image/png\r\n\r\n" + bytes(4 << 20)
    assert (await pool.parse(FROM + b"\r\nx", tmp_path / "first")).text == "x"
    (before,) = processes(pool)
    for number in range(6):
        folder = tmp_path / str(number)
        asked = asyncio.create_task(pool.parse(attached, folder))
        for _ in range(40 * number):
            await asyncio.sleep(0)
        if number == 5:
            while not folder.exists():
                await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        shutil.rmtree(folder, ignore_errors=True)
        assert (await pool.parse(FROM + b"\r\n%d" % number, tmp_path / "next")).text == str(number)
        assert not folder.exists()
    assert before in processes(pool)


async def test_a_disk_that_takes_nothing_costs_no_worker(pool: ParserPool, tmp_path: Path) -> None:
    attached = FROM + b"Content-Type: image/png\r\n\r\n" + bytes(1 << 20)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        await pool.parse(attached, tmp_path / "file")
    (before,) = processes(pool)
    assert (await pool.parse(FROM + b"\r\nx", tmp_path / "next")).text == "x"
    assert before in processes(pool)


async def test_the_three_killers_cost_only_themselves(pool: ParserPool, tmp_path: Path) -> None:
    """100,000 parts, a nest of 1,000, deeply nested comments (research.md), and the next mail is read."""
    with pytest.raises(Unparsable) as parts:
        await parse(pool, FROM + PARTS, tmp_path)
    with pytest.raises(Unparsable) as nest:
        await parse(pool, FROM + NEST, tmp_path)
    assert (parts.value.reason, nest.value.reason) == (Reason.PARTS, Reason.DEPTH)
    comments = b"To: " + b"(" * 30_000 + b"\r\nContent-Type: " + b"(" * 20_000 + b"\r\n\r\nx"
    assert (await parse(pool, FROM + comments, tmp_path)).text == "x"
    assert (await parse(pool, FROM + b"\r\nstill here", tmp_path)).text == "still here"


async def test_a_worker_that_is_late_is_killed_and_replaced(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mail is to blame if it worked all the time; if the machine was busy, the mail can come again."""
    assert (await parse(pool, FROM + b"\r\nx", tmp_path)).text == "x"
    before = processes(pool)
    large = FROM + b"Content-Type: text/html\r\n\r\n" + b"<p>x <a href='https://x.example'>y</a>\r\n" * 7_000
    monkeypatch.setattr(limits, "PARSE_WALL_S", 0.1)
    monkeypatch.setattr(limits, "PARSE_BUSY_SHARE", 0.0)
    while processes(pool) & before:
        with pytest.raises(Unparsable) as late:
            await parse(pool, large, tmp_path)
        assert late.value.reason is Reason.TIME
    monkeypatch.setattr(limits, "PARSE_BUSY_SHARE", 1_000.0)
    with pytest.raises(ParserFailed, match="busy"):
        await parse(pool, large, tmp_path)
    monkeypatch.setattr(limits, "PARSE_WALL_S", 60.0)
    assert (await parse(pool, FROM + b"\r\nstill here", tmp_path)).text == "still here"


@pytest.mark.slow
async def test_the_kernel_ends_who_uses_too_much_cpu(pool: ParserPool, tmp_path: Path) -> None:
    """RLIMIT_CPU holds where nobody watches the clock."""
    busy = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(300))
    with pytest.raises(Unparsable) as killed:
        await parse(pool, FROM + busy + b"x\r\n" * 2_000_000, tmp_path)
    assert killed.value.reason is Reason.TIME
    assert (await parse(pool, FROM + b"\r\nstill here", tmp_path)).text == "still here"


async def test_many_at_once_with_a_killer_among_them(pool: ParserPool, tmp_path: Path) -> None:
    async def one(number: int) -> str:
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            return (await parse(pool, FROM + (NEST if number % 5 == 0 else b"\r\n%d" % number), folder)).text
        except Unparsable:
            return "unparsable"

    texts = await asyncio.gather(*(one(number) for number in range(20)))
    assert texts == ["unparsable" if number % 5 == 0 else str(number) for number in range(20)]
    assert len(processes(pool)) <= limits.PARSE_WORKERS


async def test_a_killed_worker_is_replaced(pool: ParserPool, tmp_path: Path) -> None:
    await parse(pool, FROM + b"\r\nx", tmp_path)
    for pid in processes(pool):
        os.kill(pid, 9)
    texts = []
    for _ in range(limits.PARSE_WORKERS + 1):
        try:
            texts.append((await parse(pool, FROM + b"\r\nx", tmp_path)).text)
        except ParserFailed:  # of what somebody else did no mail is to blame
            texts.append("later")
    assert texts[-1] == "x"


async def test_a_worker_is_fresh_after_so_many_mails(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WORKER_MAILS_MAX", 1)
    await parse(pool, FROM + b"\r\nx", tmp_path)
    assert processes(pool) == set()


@pytest.mark.slow
async def test_memory_has_a_bound(pool: ParserPool, tmp_path: Path) -> None:
    """A mail that does not fit is named so, and the worker that was full is replaced."""
    with pytest.raises(Unparsable) as full:
        await parse(pool, FROM + b"\r\n" + bytes(450 << 20), tmp_path)
    assert full.value.reason is Reason.MEMORY
    assert (await parse(pool, FROM + b"\r\nstill here", tmp_path)).text == "still here"


_INTRUDER = """
import os, socket, subprocess, sys, threading
from bridges.mime import worker
from bridges.mime.letter import Answer, Letter

def tried(what, attempt):
    try:
        attempt()
    except BaseException as error:
        return f"{what}: {type(error).__name__}"
    return f"{what}: DONE"

def intruder(mail):
    found = [
        tried("open", lambda: open("/etc/passwd")),
        tried("write", lambda: open("/tmp/intruder", "w")),
        tried("socket", lambda: socket.socket()),
        tried("process", lambda: subprocess.Popen(["/bin/true"])),
        tried("library", lambda: __import__("wave")),
        f"environment: {sorted(os.environ.keys() - {'PYTHONPATH', 'LC_CTYPE'})}",
        f"folder: {os.getcwd()}",
        f"descriptors: {[fd for fd in range(3, 64) if tried('', lambda: os.fstat(fd)).endswith('DONE')]}",
    ]
    letter = Letter("", "", "", "", (), "", "\\n".join(found), (), ())
    return worker.Answer(letter=letter), []

worker._answer = intruder
worker.main()
"""


async def test_who_breaks_into_a_worker_has_nothing(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file, no socket, no process, no secret, nothing that was open before it."""
    monkeypatch.setenv("TMTP_SECRET", "a secret")
    held = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(held, True)
    real = asyncio.create_subprocess_exec

    async def with_intruder(program: str, *arguments: str, **options: object) -> asyncio.subprocess.Process:
        assert arguments == ("-P", "-s", "-m", "bridges.mime.worker")
        return await real(program, "-P", "-s", "-c", _INTRUDER, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(workers.asyncio, "create_subprocess_exec", with_intruder)
    try:
        found = (await parse(pool, FROM + b"\r\nx", tmp_path)).text.split("\n")
    finally:
        os.close(held)
    assert found[:5] == [
        "open: OSError",
        "write: OSError",
        "socket: OSError",
        "process: OSError",
        "library: OSError",
    ]
    assert found[5:] == ["environment: []", "folder: /", "descriptors: []"]


_LIAR = """
import sys
from bridges.confined import READY
sys.stdout.buffer.write(READY)
sys.stdout.buffer.flush()
sys.stdin.buffer.read(16)
sys.stdout.buffer.write({answer!r})
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
"""


@pytest.mark.parametrize("answer", [b"\xff" * 16, b"\x00" * 7 + b"\x02{}", b"\x00" * 7 + b"\x01x"])
async def test_what_a_worker_says_has_bounds(
    pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    real = asyncio.create_subprocess_exec

    async def with_liar(program: str, *arguments: str, **options: object) -> asyncio.subprocess.Process:
        return await real(program, "-P", "-s", "-c", _LIAR.format(answer=answer), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(workers.asyncio, "create_subprocess_exec", with_liar)
    with pytest.raises((Unparsable, ParserFailed)):
        await parse(pool, FROM + b"\r\nx", tmp_path)


async def test_no_worker_no_answer(pool: ParserPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/nonexistent")
    with pytest.raises(ParserFailed, match="could be started"):
        await parse(pool, FROM + b"\r\nx", tmp_path)
