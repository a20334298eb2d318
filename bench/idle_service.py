# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a service of ten people costs while nobody writes: memory, CPU, and what it writes to the disk (A7).

    python -m bench.idle_service                    # an hour
    python -m bench.idle_service --minutes 10 --json FILE

Two services, side by side for the same time: a members instance with the console listening, as the first hour of the
operator's guide leaves it, to which the aims are; and the same with a public instance and an SMTP intake besides. One
device a person, connected to the members instance by the client's own connection, which pulses. Exit code 1 when a
device lost its link; never for a figure.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.server import BenchServer, Usage, free_port, usage
from tmtp_client.connection import AccountKeys, Connection, Endpoint
from tmtp_core.wire.address import parse_address

AIM_RSS_MIB: Final = 80
AIM_CPU_PERCENT: Final = 0.5
_SETTLED_S: Final = 5.0
_MEMBERS: Final = """\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
administration: {{listen: "127.0.0.1:0"}}
log: {{level: warning}}
instances:
  - {{name: bench, policy: members, listen: [{{tls: "127.0.0.1:{port}"}}, {{wss: "127.0.0.1:{websocket}"}}]}}
"""
_PUBLIC: Final = """\
  - {{name: public, policy: public, listen: [{{tls: "127.0.0.1:{public}"}}]}}
bridges:
  smtp:
    - name: intake
      instance: public
      listen: 127.0.0.1:{smtp}
      senders: [{{address: orders@partner.example, proof: [network: 127.0.0.0/8]}}]
      routes: [{{recipient: support@example.org, to: Support Desk}}]
"""
SERVICES: Final = {"members": _MEMBERS, "members, public, intake": _MEMBERS + _PUBLIC}


class SmallService(BenchServer):
    """A gateway as a small organisation has it."""

    def __init__(self, settings: str) -> None:
        super().__init__()
        self._config.write_text(
            settings.format(port=self.port, websocket=self.websocket_port, public=free_port(), smtp=free_port()),
            "utf-8",
        )


async def measure(people: int, minutes: float) -> dict[str, Any]:
    """The figures of all services."""
    figures = await asyncio.gather(*(_measured(settings, people, minutes) for settings in SERVICES.values()))
    return {"people": people, "services": dict(zip(SERVICES, figures, strict=True))}


async def _measured(settings: str, people: int, minutes: float) -> dict[str, Any]:
    server = await asyncio.to_thread(SmallService(settings).__enter__)
    try:
        first_rss = usage(server.pid).rss
        await asyncio.to_thread(server.restart)  # the first start makes keys and tables, which no later one does
        links = await _join(server, people)
        lost = [asyncio.ensure_future(link.closed()) for link in links]
        await asyncio.sleep(_SETTLED_S)
        before, begin = usage(server.pid), time.monotonic()
        await asyncio.wait(lost, timeout=minutes * 60, return_when=asyncio.FIRST_COMPLETED)
        after, seconds = usage(server.pid), time.monotonic() - begin
        problems = [f"a device lost its link: {one.result()}" for one in lost if one.done()]
        for link in links:
            await link.quit()
        await asyncio.gather(*lost)
        return {"first_start_rss_mib": _mib(first_rss), **_figures(before, after, seconds), "problems": problems}
    finally:
        await asyncio.to_thread(server.__exit__)


async def _join(server: BenchServer, people: int) -> list[Connection]:
    invited = parse_address(await asyncio.to_thread(server.invitation))
    endpoint = Endpoint(invited.host, invited.port, invited.pin)
    links = []
    for number in range(people):
        link = await Connection.open(endpoint, revision="2")
        await link.register_keys("device", AccountKeys.new(os.urandom), f"Person {number:02}", invited.invite)
        links.append(link)
    return links


def _figures(before: Usage, after: Usage, seconds: float) -> dict[str, Any]:
    return {
        "minutes": round(seconds / 60, 1),
        "rss_mib": _mib(after.rss),
        "rss_max_mib": _mib(after.rss_max),
        "rss_growth_mib": _mib(after.rss - before.rss),
        "cpu_percent": round((after.cpu_s - before.cpu_s) / seconds * 100, 3),
        "written_mib_per_hour": _mib((after.written - before.written) / seconds * 3600),
    }


def _mib(octets: float) -> float:
    return round(octets / (1 << 20), 2)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long nobody writes (default 60)")
    parser.add_argument("--people", type=int, default=10, help="each with one device that is connected (default 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go, too")
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.people, arguments.minutes))
    told = json.dumps({**figures, "aims": {"rss_mib": AIM_RSS_MIB, "cpu_percent": AIM_CPU_PERCENT}}, indent=2)
    sys.stdout.write(told + "\n")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(told + "\n", "utf-8")
    return 1 if any(one["problems"] for one in figures["services"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
