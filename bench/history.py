# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a long history costs a client (B1, B8): to open, to show its first page, to search, and in memory.

    python -m bench.history [--messages 100000]

An encrypted history is filled by the client's own functions, in this process. Then a process of its own starts as the
client does, opens it, shows the list of threads and the latest of them, and answers searches of every kind: words as
they are found in messages, from the most common to the rarest, phrases, beginnings, operators. Beside them it asks the
same index the same words as a plain FTS5 query does, ranked, without anything around; that is the other side of the
ratio. What must be found is looked for, too: a `problem` is that it is not.
"""

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text

from bench.scale import MIB, Result, Scale
from bench.server import usage
from tmtp_client.store import changes, messages, people, search, threads
from tmtp_client.store.database import Database
from tmtp_client.store.messages import NewAttachment, NewMessage

_KEY: Final = bytes(range(32))
_GROUP: Final = 500  # messages of one transaction
_SEED: Final = 5
_PEOPLE: Final = 200
_OWN: Final = frozenset({"Bench Own Name"})
_BEGIN: Final = datetime(2015, 1, 1, tzinfo=UTC)
_APART: Final = timedelta(minutes=50)  # 100,000 messages are nine years and a half
_SYLLABLES: Final = tuple(f"{consonant}{vowel}" for consonant in "bdgklmnprst" for vowel in "aeio")
_SEARCHES: Final = 20  # of each kind
_PLAIN: Final = text("SELECT rowid FROM search WHERE search MATCH :asked ORDER BY rank LIMIT 50")


class Language:
    """Words that are as common as words are: the n-th comes 1/n as often as the first."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same history each time
        made = (
            "".join(self.random.choices(_SYLLABLES, k=self.random.choice((1, 2, 2, 3, 3, 4)))) for _ in range(80_000)
        )
        self.vocabulary = list(dict.fromkeys(made))
        self._weights = list(itertools.accumulate(1 / (place + 5) for place in range(len(self.vocabulary))))

    def words(self, count: int) -> list[str]:
        """So many."""
        return self.random.choices(self.vocabulary, cum_weights=self._weights, k=count)


def _history(count: int) -> Iterator[NewMessage]:
    """Messages of nine years: a tenth begins a thread, a tenth brings a file, some are long."""
    language = Language(_SEED)
    pick = language.random
    heads: list[str] = []
    for number in range(count):
        id, new = f"{number:016x}", not heads or pick.random() < 0.1
        if new:
            heads.append(id)
        author = pick.randrange(_PEOPLE)
        names = (f"{'-'.join(language.words(2))}{pick.choice(('.pdf', '.png'))}",) if pick.random() < 0.1 else ()
        yield NewMessage(
            id=id,
            kind="message",
            outgoing=author == 0,
            author=_uid(author),
            alias=f"Bench Member {author:04}",
            verified=True,
            to=((_uid(0 if author else 1), 1),),
            thread=id if new else pick.choice(heads[-300:]),
            subject=" ".join(language.words(5)) if new else "",
            text=" ".join([*language.words(pick.choice((10, 40, 60, 100, 300))), f"planted{number}"]),
            posted=(_BEGIN + number * _APART).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            received_ms=number,
            state="received",
            seen=number < count - 50,
            attachments=tuple(NewAttachment("file", name, "", 1_000, f"file{number}", 1_000) for name in names),
        )


def _uid(number: int) -> str:
    return f"{number:032}"


async def fill(folder: Path, key: bytes, count: int) -> None:
    """Put a long history into an account's database."""
    database = Database(folder, key)
    await database.open()

    def meet(connection: Connection) -> None:
        for number in range(_PEOPLE):
            people.learn(connection, _uid(number), f"Bench Member {number:04}", "ping" if number else "self", 0)

    await database.write(meet)
    every = _history(count)
    while group := tuple(itertools.islice(every, _GROUP)):

        def record(connection: Connection, group: Sequence[NewMessage] = group) -> None:
            for one in group:
                messages.record(connection, one, _OWN)
            changes.trim(connection)

        await database.write(record)
    await database.checkpoint()
    await database.close()


# -- the process that is measured ------------------------------------------------------------------------------------
def queries(count: int) -> dict[str, list[str]]:
    """Searches by kind. Words are drawn as they stand in messages: common ones more often."""
    language = Language(_SEED)
    language.random.seed(_SEED + 1)

    def one() -> str:
        return language.words(1)[0]

    number = language.random.randrange
    return {
        "words": [one() for _ in range(_SEARCHES)] + [" ".join(language.words(2)) for _ in range(_SEARCHES)],
        "phrases": [f'"{" ".join(language.words(2))}"' for _ in range(_SEARCHES)],
        "beginnings": [f"{one()[:3]}*" for _ in range(_SEARCHES)],
        "rare": [f"planted{number(count)}" for _ in range(_SEARCHES)],
        "without": [f"{one()} -{one()}" for _ in range(_SEARCHES)],
        "people": [f"from:{number(_PEOPLE):04} {one()}" for _ in range(_SEARCHES)],
        "dates": [f"{one()} before:2020" for _ in range(_SEARCHES // 2)]
        + [f"{one()} after:2022-06" for _ in range(_SEARCHES // 2)],
        "operators": [
            *("from:me", "to:me", "has:file", "has:image", "before:2016", "after:2023 has:file", "-has:file"),
            *(f"in:{one()}" for _ in range(5)),
            *(f"in:inbox {one()}" for _ in range(5)),
        ],
    }


async def _measured(folder: Path, count: int) -> None:
    """Print what it took to show the first page; then, on a line of its own, the figures of searches and memory."""
    begin = time.perf_counter()
    database = Database(folder, _KEY)
    await database.open()
    page = await database.read(lambda c: threads.list_page(c, "inbox", now_ms=0))
    first = await database.read(lambda c: messages.page(c, page.threads[0].id))
    opened = time.perf_counter() - begin
    print(json.dumps({"open_to_first_page_s": opened, "shown": len(first.messages) if first else 0}), flush=True)
    kinds = queries(count)
    took: dict[str, list[float]] = {}
    cpu: list[float] = []
    plain: list[float] = []
    same: list[float] = []
    problems = []
    for kind, asked_for in kinds.items():
        for query in asked_for:
            parsed = search.parse(query)
            begin, used = time.perf_counter(), time.process_time()
            hits = await database.read(lambda c, parsed=parsed: search.find(c, parsed))  # type: ignore[misc]
            took.setdefault(kind, []).append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
            if kind == "rare" and [hit.found.message.id for hit in hits.hits] != [f"{int(query[7:]):016x}"]:
                problems.append(f"{query} was not found, or not alone")
            if kind in {"words", "phrases", "beginnings", "rare"}:
                asked = {"asked": " AND ".join(one.match() for one in parsed.wanted)}
                begin = time.perf_counter()
                await database.read(lambda c, asked=asked: c.execute(_PLAIN, asked).all())  # type: ignore[misc]
                plain.append(time.perf_counter() - begin)
                same.append(took[kind][-1])
    every = [one for some in took.values() for one in some]
    ms = {"p50": quantile_ms(every, 0.5), "p95": quantile_ms(every, 0.95), "max": quantile_ms(every, 1.0)}
    figures = {
        "searches": len(every),
        "search_ms": ms,
        "search_p95_ms": {kind: quantile_ms(some, 0.95) for kind, some in took.items()},
        "search_cpu_ms": {"p50": quantile_ms(cpu, 0.5), "p95": quantile_ms(cpu, 0.95)},
        "plain_ms": {"p50": quantile_ms(plain, 0.5), "p95": quantile_ms(plain, 0.95)},
        "ratios": {
            f"search_{name}": quantile_ms(same, share) / quantile_ms(plain, share)
            for name, share in (("p50", 0.5), ("p95", 0.95))
        },
        "problems": problems,
    }
    await database.close()
    print(json.dumps(figures), flush=True)


def quantile_ms(times_s: Sequence[float], share: float) -> float:
    """A quantile, in milliseconds."""
    return sorted(times_s)[min(len(times_s) - 1, int(len(times_s) * share))] * 1_000


# -- what is run -----------------------------------------------------------------------------------------------------
def history(scale: Scale) -> Result:
    """A client's long history: opening it, searching it, its memory."""
    with tempfile.TemporaryDirectory(prefix="tmtp-bench-") as name:
        folder = Path(name)
        begin = time.monotonic()
        asyncio.run(fill(folder, _KEY, scale.history))
        fill_s = time.monotonic() - begin
        command = (sys.executable, "-m", "bench.history", "--messages", str(scale.history), "--measure", name)
        begin = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:  # noqa: S603 - this one
            assert process.stdout is not None
            opened: dict[str, Any] = json.loads(process.stdout.readline())
            start_s = time.monotonic() - begin
            figures: dict[str, Any] = json.loads(process.stdout.readline())
            used = usage(process.pid)
            process.communicate()
        return {
            "messages": scale.history,
            "fill_us_per_message": fill_s / scale.history * 1e6,
            "file_mib": sum(path.stat().st_size for path in folder.iterdir()) / MIB,
            "start_to_first_page_s": start_s,
            **opened,
            **figures,
            "rss_mib": used.rss / MIB,
            "rss_max_mib": used.rss_max / MIB,
        }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="What a long history costs a client.")
    parser.add_argument("--messages", type=int, default=Scale().history, help="in the history (default: 100,000)")
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        asyncio.run(_measured(given.measure, given.messages))
        sys.stdin.read()  # until memory has been looked at
        return
    print(json.dumps(history(replace(Scale(), history=given.messages)), indent=2))


if __name__ == "__main__":
    main()
