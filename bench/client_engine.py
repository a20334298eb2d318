# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the client's engine costs from end to end, on loopback, with a real service (B1, B3, B8, B9).

    python -m bench.client_engine                    # about six minutes
    python -m bench.client_engine --messages 1000 --history 100000 --idle 180 --json FILE

Two people with an engine each. One writes while there is no service, so that all of it waits in the outbox; then a
process of its own sends it, and one of the other person receives it: what leaves and comes is encrypted. A member
without keys then writes as many in plain text. At last the receiver's account is filled with a long history, and a
`tmtp daemon` opens it: how soon its API answers with the first page, its memory, how long searches take through the
API, what it uses while nothing happens. What must have come is counted: a `problem` is that it has not. Exit code 1
when something is missing; never for a figure.
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection as Rows
from sqlalchemy import func, select

from bench.history import fill, quantile_ms, queries
from bench.scale import MIB
from bench.server import BenchFailed, BenchServer, usage
from tmtp_client.api import operations as o
from tmtp_client.api.client import Client, Local, to_daemon
from tmtp_client.api.daemon_file import read as daemon_file
from tmtp_client.api.running import Engine, running
from tmtp_client.connection import Connection, Endpoint
from tmtp_client.engine.account import Account
from tmtp_client.store.tables import message, outbox
from tmtp_client.vault.vault import Vault
from tmtp_core.wire import messages as m
from tmtp_core.wire.address import parse_address
from tmtp_core.wire.payload import PostHead, encode_post_head

_ACCOUNT: Final = "bench"
_ADA: Final = "Ada Lovelace"
_BOB: Final = "Bob Builder"
_TEXT: Final = "A message as people write them, some two hundred characters of text in one or two sentences. " * 2
_PATIENCE_S: Final = 600.0
_LOOK_S: Final = 0.02
_SETTLED_S: Final = 10.0  # after its start, before a daemon is idle
_DAEMON: Final = ("-c", "from tmtp_client.program import main; main()", "daemon", "--json")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    messages: int = 1_000
    history: int = 100_000
    idle_s: float = 180.0


def measure(size: Size) -> dict[str, Any]:
    """The figures of everything."""
    with tempfile.TemporaryDirectory(prefix="tmtp-bench-") as name, BenchServer() as server:
        ada, bob = Path(name) / "ada", Path(name) / "bob"
        service = parse_address(server.invitation())
        endpoint = Endpoint(service.host, service.port, service.pin)
        address = f"{service.host}:{service.port}"
        uid = asyncio.run(_meet(ada, bob, address, service.pin or ""))
        server.stop()
        queued_s = asyncio.run(_queue(bob, size.messages))
        server.start()
        figures: dict[str, Any] = {"messages": size.messages, "queued_per_s": size.messages / queued_s}
        figures["sent"] = _in_a_process(bob, "send", 0)
        received = _in_a_process(ada, "receive", size.messages)
        asyncio.run(_post_plain(endpoint, uid, size.messages))
        plain = _in_a_process(ada, "receive", 2 * size.messages)
        figures |= {"received_sealed": received, "received_plain": plain}
        figures["problems"] = [problem for one in (received, plain) for problem in one.pop("problems")]
        vault = Vault(ada, os.urandom, None, lambda: time.time_ns() // 1_000_000)
        vault.open_alone()
        kept = vault.account(_ACCOUNT)
        asyncio.run(fill(kept.folder, kept.database_key, size.history))
        vault.lock()
        figures["daemon"] = asyncio.run(_daemon(ada, size))
        return figures


# -- people ----------------------------------------------------------------------------------------------------------
async def _meet(ada: Path, bob: Path, address: str, pin: str) -> str:
    """Both join, and know each other and each other's keys; Ada's uid."""
    async with running(ada) as one, running(bob) as other:
        uids = []
        for engine, alias in ((one, _ADA), (other, _BOB)):
            client = Local(engine.dispatcher, engine.home)
            joined = await client.call("accounts.join", o.Join(_ACCOUNT, address, alias, "bench", "", pin))
            await client.call("accounts.told", o.OfAccount(_ACCOUNT))
            uids.append(joined.account.uid)
        for engine, to in ((one, _BOB), (other, _ADA)):
            client = Local(engine.dispatcher, engine.home)
            await client.call("people.ping", o.SendPing(_ACCOUNT, to, "Hello"))
        for engine in (one, other):
            await _until(engine, lambda account: account.context.database.read(_met))
        return str(uids[0])


def _met(c: Rows) -> bool:
    """A ping left, and one came."""
    return (c.scalar(select(func.count()).select_from(message)) or 0) >= 2


async def _queue(home: Path, count: int) -> float:
    """Write while there is no service; seconds."""
    async with running(home) as engine:
        client = Local(engine.dispatcher, engine.home)
        begin = time.monotonic()
        for number in range(count):
            send = o.Send(_ACCOUNT, (_ADA,), f"Message {number}", _TEXT, delay_s=0)
            await client.call("messages.send", send)
        return time.monotonic() - begin


async def _post_plain(endpoint: Endpoint, uid: str, count: int) -> None:
    """A member of revision 1 writes."""
    head = encode_post_head(PostHead(subject="In plain text"))
    data = head + _TEXT.encode()
    connection = await Connection.open(endpoint)
    await connection.register("bench", "Carol Clearly")
    numbers = iter(range(count))
    while some := tuple(itertools.islice(numbers, 50)):
        to = [m.Recipient(uid, m.TO_UID)]
        await asyncio.gather(*(connection.post(f"plain {one}", to, data, datahead=len(head)) for one in some))
    await connection.quit()


# -- the processes that are measured ---------------------------------------------------------------------------------
def _in_a_process(home: Path, what: str, count: int) -> dict[str, Any]:
    """What a process that only sends, or receives, says of itself."""
    command = (sys.executable, "-m", "bench.client_engine", "--measure", what, str(home), "--messages", str(count))
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - this one
    figures: dict[str, Any] = json.loads(said.stdout)
    return figures


async def _sends(home: Path) -> dict[str, Any]:
    async with running(home) as engine:
        account = engine.home.account(_ACCOUNT)
        count = await account.context.database.read(_waiting)
        took = await _timed(engine, lambda account: account.context.database.read(lambda c: not _waiting(c)))
    return took.figures(count)


async def _receives(home: Path, count: int) -> dict[str, Any]:
    """`count`: how many messages there must be in the end."""
    async with running(home) as engine:
        database = engine.home.account(_ACCOUNT).context.database
        before = await database.read(_messages)

        async def caught_up(account: Account) -> bool:
            return account.caught_up.is_set()

        took = await _timed(engine, caught_up)
        kept = await database.read(_messages)
        sealed = await database.read(lambda c: c.scalar(select(func.count()).where(message.c.suite > 0))) or 0
    problems = [] if kept == count else [f"{kept} messages came where {count} were sent"]
    return {**took.figures(kept - before), "sealed": sealed, "problems": problems}


@dataclass(frozen=True, slots=True)
class _Took:
    """Seconds of time and of CPU."""

    seconds: float
    cpu_s: float

    def figures(self, count: int) -> dict[str, Any]:
        """Of so many messages."""
        return {"count": count, "per_s": count / self.seconds, "cpu_us_each": self.cpu_s / max(count, 1) * 1e6}


async def _timed(engine: Engine, done: Callable[[Account], Awaitable[bool]]) -> _Took:
    """From the log-in until it is done."""
    await engine.home.account(_ACCOUNT).context.current()
    begin, used = time.perf_counter(), time.process_time()
    await _until(engine, done)
    return _Took(time.perf_counter() - begin, time.process_time() - used)


async def _until(engine: Engine, done: Callable[[Account], Awaitable[bool]]) -> None:
    account = engine.home.account(_ACCOUNT)
    async with asyncio.timeout(_PATIENCE_S):
        while not await done(account):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(_LOOK_S)


def _waiting(c: Rows) -> int:
    return c.scalar(select(func.count()).select_from(outbox).where(outbox.c.kind == "message")) or 0


def _messages(c: Rows) -> int:
    return c.scalar(select(func.count()).where(message.c.kind == "message")) or 0


# -- the daemon ------------------------------------------------------------------------------------------------------
async def _daemon(home: Path, size: Size) -> dict[str, Any]:
    """From its start, with a long history, through searches, to its rest."""
    begin = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *_DAEMON, env={**os.environ, "TMTP_HOME": str(home)}, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await process.stdout.readuntil(b"}\n")
        file = daemon_file(home)
        if file is None:
            raise BenchFailed("the daemon does not say where it is")
        listening_s = time.monotonic() - begin
        async with to_daemon(file) as client:
            page = await client.call("threads.list", o.ListThreads(_ACCOUNT))
            await client.call("threads.read", o.ReadThread(_ACCOUNT, page.threads[0].id))
            first_page_s = time.monotonic() - begin
            rss_first = usage(process.pid).rss
            await asyncio.sleep(min(_SETTLED_S, size.idle_s))
            searched = await _searched(client, size.history)
            rss_searched = usage(process.pid).rss
            await asyncio.sleep(min(_SETTLED_S, size.idle_s))
            idle = await _idle(process.pid, size.idle_s)
        return {
            "history": size.history,
            "start_to_listening_s": listening_s,
            "start_to_first_page_s": first_page_s,
            **searched,
            **idle,
            "rss_first_page_mib": rss_first / MIB,
            "rss_searched_mib": rss_searched / MIB,
            "rss_max_mib": usage(process.pid).rss_max / MIB,
        }
    finally:
        process.terminate()
        await process.wait()


async def _searched(client: Client, history: int) -> dict[str, Any]:
    took = []
    for query in itertools.chain.from_iterable(queries(history).values()):
        begin = time.perf_counter()
        await client.call("search", o.Search(query, _ACCOUNT))
        took.append(time.perf_counter() - begin)
    return {"searches": len(took), "search_ms": {f"p{int(100 * one)}": quantile_ms(took, one) for one in (0.5, 0.95)}}


async def _idle(pid: int, seconds: float) -> dict[str, Any]:
    """CPU of a core, and how often its threads were woken."""
    before, woken, begin = usage(pid), _switches(pid), time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - begin
    after = usage(pid)
    return {
        "idle_s": passed,
        "idle_cpu_percent": (after.cpu_s - before.cpu_s) / passed * 100,
        "idle_wake_ups_per_s": (_switches(pid) - woken) / passed,
        "idle_written_per_hour_mib": (after.written - before.written) / passed * 3600 / MIB,
    }


def _switches(pid: int) -> int:
    """How often its threads gave up the processor to wait."""
    lines = [
        line
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text("utf-8").splitlines()
        if line.startswith("voluntary_ctxt_switches")
    ]
    return sum(int(line.split(":")[1]) for line in lines)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="What the client's engine costs.")
    size = Size()
    parser.add_argument("--messages", type=int, default=size.messages, help="sent and received (default: 1,000)")
    parser.add_argument("--history", type=int, default=size.history, help="of the daemon's account (default: 100,000)")
    parser.add_argument("--idle", type=float, default=size.idle_s, help="seconds that it is idle (default: 180)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures, too")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "HOME"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        what, home = given.measure
        running_one = _sends(Path(home)) if what == "send" else _receives(Path(home), given.messages)
        print(json.dumps(asyncio.run(running_one)))
        return
    figures = measure(Size(given.messages, given.history, given.idle))
    text = json.dumps(figures, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", "utf-8")
    sys.exit(1 if figures["problems"] else 0)


if __name__ == "__main__":
    main()
