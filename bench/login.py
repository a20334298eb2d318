# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a log-in by key costs the server, beyond the TLS handshake.

    python -m bench.login [--count 1000] [--at-once 50]

A service runs in a process of its own. Two loads take turns, several rounds each: a TLS handshake and nothing more; and
a log-in by signature. The difference of the server's CPU time is the log-in's: the greeting with the service's proof,
verifying the device's signature, the commit of the `login` message, its delivery, and the ack. `--at-once` accounts log
in together, as after a restart, when the cost matters; 1 shows what a log-in costs that has a commit to itself.
"""

import argparse
import asyncio
import json
import os
import statistics

from bench.server import BenchServer, usage
from tmtp_client.connection import AccountKeys, Connection, Endpoint, Payload
from tmtp_client.connection.endpoint import client_context
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.address import parse_address

_ROUNDS = 5


async def measure(count: int, at_once: int) -> dict[str, float]:
    """CPU milliseconds of the server for a TLS handshake, for a connection with a log-in, and for the log-in."""
    with BenchServer() as server:
        address = parse_address(await asyncio.to_thread(server.invitation))
        endpoint = Endpoint(address.host, address.port, address.pin)
        devices = [await _new_device(endpoint, f"Bench Mark {number}", address.invite) for number in range(at_once)]

        context = client_context(endpoint)

        async def shake_hands(uid: str, keys: AccountKeys) -> None:
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
            writer.close()
            await writer.wait_closed()

        async def log_in(uid: str, keys: AccountKeys) -> None:
            heard = asyncio.Event()

            async def hear(event: m2.StoredEvent, payload: Payload) -> None:
                heard.set()

            connection = await Connection.open(endpoint, hear, revision="2")
            await connection.login_by_key(uid, keys.device.signer)
            await heard.wait()  # its own `login` message, so that nothing is left for the next one
            await connection.close()

        without: list[float] = []
        with_login: list[float] = []
        for _ in range(_ROUNDS):
            for act, costs in ((shake_hands, without), (log_in, with_login)):
                before = usage(server.pid).cpu_s
                turns = max(1, count // _ROUNDS // at_once)
                for _ in range(turns):
                    await asyncio.gather(*(act(uid, keys) for uid, keys in devices))
                costs.append((usage(server.pid).cpu_s - before) / (turns * at_once) * 1000)
        handshake, login = statistics.median(without), statistics.median(with_login)
        return {"handshake_ms": handshake, "with_login_ms": login, "login_ms": login - handshake}


async def _new_device(endpoint: Endpoint, alias: str, invite: str | None) -> tuple[str, AccountKeys]:
    """A new account: its uid, its keys."""
    keys = AccountKeys.new(os.urandom)
    connection = await Connection.open(endpoint, revision="2")
    registered = await connection.register_keys("bench", keys, alias, invite)
    await connection.quit()
    return registered.uid, keys


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="What a log-in by key costs the server.")
    parser.add_argument("--count", type=int, default=1000, help="log-ins, and connections without (default: 1000)")
    parser.add_argument("--at-once", type=int, default=50, help="accounts that log in together (default: 50)")
    given = parser.parse_args()
    figures = asyncio.run(measure(given.count, given.at_once))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
