# SPDX-License-Identifier: AGPL-3.0-or-later
"""`kill -9` of engines and services at any moment: every device ends with the same messages, none lost, none twice, each
author's in his order (B3).

    python -m tests.faults.killed_clients --kills 200 --seed 1

A person with three devices and another with one write to one another on two services, encrypted.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.faults.load import Process, PromiseBroken
from tests.support.homes import has_text, joined_at, linked, look_at_keys, ping, running_home

SETTLE_S: Final = 300.0
ANSWER_S: Final = 60.0
SERVICES: Final = ("one", "two")
ADAS: Final = ("ada-1", "ada-2", "ada-3")
ENGINES: Final = (*ADAS, "bob")
_LIFE_S: Final = (0.2, 1.5)
_ANSWER_MAX_BYTES: Final = 64 << 20  # a list of everything, in one line
_MESSAGES_A_KILL: Final = 25


@dataclass
class Engine:
    """An engine's process, and who tells it what to send."""

    name: str
    home: Path
    running: asyncio.subprocess.Process | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.engine_process",
            self.home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_ANSWER_MAX_BYTES,
        )
        if not (await _answer(running)).get("ready"):
            raise PromiseBroken(f"{self.name} did not start again")
        self.running = running

    async def ask(self, **asked: Any) -> dict[str, Any]:
        """An answer; {} where it was killed before it came."""
        async with self.asking:
            running = self.running
            if running is None or running.stdin is None:
                return {}
            try:
                running.stdin.write(msgspec.json.encode(asked) + b"\n")
                await running.stdin.drain()
            except ConnectionError:
                return {}
            return await _answer(running)

    async def end(self, number: signal.Signals) -> None:
        """End it, and wait until it is gone."""
        running = self.running
        if running is None:
            return
        if number is signal.SIGKILL:
            running.kill()
        else:
            assert running.stdin is not None
            running.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_S):
                await running.wait()
        except TimeoutError:
            running.kill()
            await running.wait()
            raise PromiseBroken(f"{self.name} does not end") from None
        finally:
            self.running = None


async def _answer(running: asyncio.subprocess.Process) -> dict[str, Any]:
    assert running.stdout is not None
    async with asyncio.timeout(ANSWER_S):
        line = await running.stdout.readline()
    answer: dict[str, Any] = msgspec.json.decode(line) if line.endswith(b"\n") else {}
    return answer


@dataclass
class World:
    """What was asked for: texts by service and engine, in their order; those that are durable for sure."""

    services: dict[str, Process]
    engines: dict[str, Engine]
    asked: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    promised: set[tuple[str, str]] = field(default_factory=set)  # service, text
    killed: Counter[str] = field(default_factory=Counter)


async def run(kills: int, messages: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kill `kills` times while `messages` are sent; figures of the run. Raises `PromiseBroken`."""
    chance = random.Random(seed)
    services = {}
    for name in SERVICES:
        (folder / name).mkdir()
        services[name] = Process(folder / name)
        await services[name].start()
    begin = time.monotonic()
    world = World(services, {name: Engine(name, folder / "homes" / name) for name in ENGINES})
    try:
        await _people(world)
        for engine in world.engines.values():
            await engine.start()
        sending = [
            asyncio.create_task(_send(world, name, messages // len(ENGINES), kills, random.Random(f"{seed} {name}")))
            for name in ENGINES
        ]
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(*_LIFE_S))
            await _kill(world, chance.choice((*SERVICES, *ENGINES)))
        await asyncio.gather(*sending)
        sent_s = time.monotonic() - begin
        await _settled(world)
        settled_s = time.monotonic() - begin
        return {**await _verified(world), "killing_s": round(sent_s), "at_rest_s": round(settled_s)}
    finally:
        for engine in world.engines.values():
            await engine.end(signal.SIGTERM)
        for process in services.values():
            await process.end(signal.SIGTERM)


async def _people(world: World) -> None:
    """Ada joins both services with three devices, Bob with one; they know one another."""
    async with AsyncExitStack() as stack:
        homes = {name: await stack.enter_async_context(running_home(one.home)) for name, one in world.engines.items()}
        for service, process in world.services.items():
            first = await joined_at(homes["ada-1"], service, process.endpoint(), "Ada Lovelace")
            others = [await linked(first, homes[name]) for name in ADAS[1:]]
            bob = await joined_at(homes["bob"], service, process.endpoint(), "Bob Builder")
            await ping(bob, "Ada Lovelace", "hello")
            for account in (first, *others):
                await has_text(account, "hello")
            await ping(first, "Bob Builder", "hello to you")
            for account in (first, *others, bob):
                await has_text(account, "hello to you")
                await look_at_keys(account.context)


async def _send(world: World, name: str, count: int, kills: int, chance: random.Random) -> None:
    """One engine's messages, spread over the kills. What was not answered since it was killed may be durable, and is not
    asked for again: the next one is another.
    """
    engine = world.engines[name]
    pause_s = kills * sum(_LIFE_S) / 2 / max(count, 1)
    number = answered = 0
    while answered < count:
        # However fast the machine is: as large a share of the messages as of the kills, that all may be hit.
        is_early = answered * kills > (world.killed.total() + 1) * count
        if engine.running is None or is_early:
            await asyncio.sleep(chance.uniform(0, _LIFE_S[0]))
            continue
        service = chance.choice(SERVICES)
        to = "Ada Lovelace" if name == "bob" else "Bob Builder"
        text = f"{name} {number}"
        world.asked[service, name].append(text)
        number += 1
        if await engine.ask(do="send", account=service, to=to, text=text):
            world.promised.add((service, text))
            answered += 1
        await asyncio.sleep(chance.uniform(0, 2 * pause_s))


async def _kill(world: World, name: str) -> None:
    world.killed[name] += 1
    if name in world.services:
        await world.services[name].end(signal.SIGKILL)
        await world.services[name].start()
    else:
        await world.engines[name].end(signal.SIGKILL)
        await world.engines[name].start()


async def _settled(world: World) -> None:
    """Nothing waits, and all have as many. Raises `PromiseBroken`."""
    stands: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        async with asyncio.timeout(SETTLE_S):
            while True:
                for service in SERVICES:
                    for name, engine in world.engines.items():
                        stands[service, name] = await engine.ask(do="look", account=service)
                if all(one and one["online"] and not one["waiting"] for one in stands.values()) and all(
                    len({stands[service, name]["count"] for name in ENGINES}) == 1 for service in SERVICES
                ):
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        told = "\n".join(
            f"{service} {name}: online {one.get('online')}, {one.get('count')} messages, waiting: {one.get('waiting')}"
            for (service, name), one in stands.items()
        )
        raise PromiseBroken(f"they do not come to rest, or not to the same:\n{told}") from None


async def _verified(world: World) -> dict[str, Any]:
    """The same everywhere, each once, all that was promised, each author's in their order. Raises `PromiseBroken`."""
    broken: list[str] = []
    total = doubts = 0
    for service in SERVICES:
        lists = {}
        for name, engine in world.engines.items():
            answer = await engine.ask(do="list", account=service)
            lists[name] = [tuple(row[:3]) for row in answer["messages"]]
            doubts += sum('"doubts":["' in row[4] for row in answer["messages"])
        first = lists[ENGINES[0]]
        total += len(first)
        for name, listed in lists.items():
            if listed != first:
                differ = sorted(set(listed) ^ set(first))[:10]
                broken.append(f"{service}: {name} has not what {ENGINES[0]} has: {differ}")
        texts = [text for _, _, text in first]
        twice = [text for text, count in Counter(texts).items() if count > 1]
        if twice:
            broken.append(f"{service}: twice: {twice[:10]}")
        lost = sorted(text for where, text in world.promised if where == service and text not in set(texts))
        if lost:
            broken.append(f"{service}: {len(lost)} are lost: {lost[:10]}")
        for name in ENGINES:
            mine = [text for text in texts if text.rpartition(" ")[0] == name]
            order = {text: place for place, text in enumerate(world.asked[service, name])}
            places = [order[text] for text in mine]
            if places != sorted(places):
                broken.append(f"{service}: {name}'s messages changed their order: {mine[:20]}")
    if doubts:
        broken.append(f"{doubts} messages are doubted where nobody lies")
    if broken:
        raise PromiseBroken("\n".join(broken))
    asked = sum(len(texts) for texts in world.asked.values())
    return {
        "asked": asked,
        "answered": len(world.promised),
        "messages": total,
        "killed": dict(world.killed),
        "doubts": doubts,
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=200, help="how often something is killed (default 200)")
    parser.add_argument("--messages", type=int, help=f"how many are sent (default {_MESSAGES_A_KILL} for each kill)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="killed-clients-") as folder:
        try:
            messages = arguments.messages or _MESSAGES_A_KILL * arguments.kills
            figures = asyncio.run(run(arguments.kills, messages, arguments.seed, Path(folder)))
        except PromiseBroken as broken:
            sys.stderr.write(f"A promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
