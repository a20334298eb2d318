# SPDX-License-Identifier: AGPL-3.0-or-later
"""What it costs that mail is read in workers (C2): mails a second and memory, as a ratio to reading it in this process.

python -m bench.mime [--seconds 3]
"""

import argparse
import asyncio
import base64
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bridges import limits
from bridges.mime.parse import parse_mail
from bridges.mime.pool import ParserPool

_HEAD = (
    b"From: Ann <ann@partner.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@partner.example>\r\n"
)
_ROW = b"<tr><td style='color:#333'>A row of a newsletter</td><td><a href='https://a.example/1'>more</a></td></tr>\r\n"


def shapes() -> dict[str, bytes]:
    """One mail of each kind that there is much of."""
    text = _HEAD + b"\r\n" + b"A line of a letter as people write them to each other.\r\n" * 20
    html = _HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n<table>" + _ROW * 100 + b"</table>"
    part = b"--b\r\nContent-Type: application/pdf; name=plan.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    file = base64.encodebytes(os.urandom(4 << 20)).replace(b"\n", b"\r\n")
    attached = (
        _HEAD
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee the plan.\r\n"
        + part
        + file
        + b"--b--"
    )
    return {"1 KiB of text": text, "newsletter, 100 rows": html, "4 MiB attachment": attached}


async def through_the_pool(raw: bytes, seconds: float) -> tuple[float, int]:
    """Mails a second with all workers busy, and the most memory that one of them had, in bytes."""
    pool = ParserPool()
    until = 0.0
    count = 0

    async def sender(folder: Path) -> None:
        nonlocal count
        await pool.parse(raw, folder)
        while time.monotonic() < until or until == 0.0:
            await pool.parse(raw, folder)
            count += until != 0.0

    with tempfile.TemporaryDirectory() as spool:
        folders = [Path(tempfile.mkdtemp(dir=spool)) for _ in range(2 * limits.PARSE_WORKERS)]
        senders = [asyncio.create_task(sender(folder)) for folder in folders]
        await asyncio.sleep(1.0)  # the workers start
        began = time.monotonic()
        until = began + seconds
        await asyncio.gather(*senders)
        took = time.monotonic() - began
        peak = max(_peak_bytes(worker.process.pid) for worker in pool._workers._all)
        await pool.stop()
    return count / took, peak


def in_this_process(raw: bytes, seconds: float) -> float:
    """Mails a second without a worker."""
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < seconds:
        parse_mail(raw)
        count += 1
    return count / (time.monotonic() - began)


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) << 10


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    table = Table("mail", "size", "mails/s, pool", "mails/s, in this process", "ratio", "peak of a worker")
    for name, raw in shapes().items():
        alone = in_this_process(raw, seconds)
        pooled, peak = asyncio.run(through_the_pool(raw, seconds))
        row = (f"{pooled:,.0f}", f"{alone:,.0f}", f"{pooled / alone:.2f}", f"{peak >> 20} MiB")
        table.add_row(name, f"{len(raw) / 1024:,.0f} KiB", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
