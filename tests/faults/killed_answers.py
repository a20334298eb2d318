# SPDX-License-Identifier: AGPL-3.0-or-later
"""`kill -9` while members' answers go out as mail: none is lost, and what goes twice shows it (C5).

    python -m tests.faults.killed_answers --kills 100 --seed 1

Most kills come between the relay's taking a mail and the bridge's noting it, where SMTP cannot rule out that a mail goes
once more: under the same Message-ID, octet by octet the same.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import smtplib
import sys
import tempfile
from collections import defaultdict
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from bench.server import free_port
from tests.faults.load import Process, PromiseBroken
from tests.support.relay import Relay, prepare, relay
from tmtp_client import limits
from tmtp_client.connection import AccountKeys, Connection, Disconnected, KeyLogin, Payload, PersistentConnection
from tmtp_core.crypto.encoding import to_text
from tmtp_core.wire import messages as m
from tmtp_core.wire import revision2 as m2
from tmtp_core.wire.payload import PostHead, decode_post_head, encode_post_head

CORRESPONDENT, ROUTE = "orders@partner.example", "support@example.org"
SETTLE_S: Final = 120.0
_LIFE_S: Final = (0.5, 2.0)
_BRIDGE: Final = """\
bridges:
  smtp:
    - name: intake
      instance: load
      listen: "127.0.0.1:{port}"
      hostname: mx.example.org
      senders: [{{address: orders@partner.example, proof: [network: 127.0.0.0/8]}}]
      routes: [{{recipient: support@example.org, to: Support Desk, reply: smarthost}}]
      {relay}
"""
_IMPATIENT: Final = (
    "from bridges import limits; limits.OUTGOING_FIRST_PAUSE_S = limits.OUTGOING_LONGEST_PAUSE_S = 0.05; "
    "limits.OUTGOING_LOOK_S = 0.1; from gateway.program import main; main()"
)


class Member:
    """Answers one mail again and again, and keeps what comes back."""

    def __init__(self) -> None:
        self.got: list[tuple[m.Delivery, bytes]] = []
        self.heard = asyncio.Event()
        self.answered: list[str] = []  # texts whose posts were acknowledged
        self.connection: PersistentConnection

    async def keep(self, event: m2.StoredEvent, payload: Payload) -> None:
        """One message."""
        if isinstance(event, m.Delivery):
            self.got.append((event, await payload.read()))
            self.heard.set()

    async def join(self, process: Process) -> None:
        """Register as the desk, and stay."""
        connection = await Connection.open(process.endpoint(), self.keep, revision="2")
        keys = AccountKeys.new(os.urandom)
        registered = await connection.register_keys("laptop", keys, "Support Desk")
        assert not registered.error, registered.error
        service = to_text((await connection.channel()).service_key)
        await connection.quit()
        login = KeyLogin(registered.uid, keys.device.signer, service)
        self.connection = PersistentConnection(process.endpoint(), login, self.keep, jitter=lambda: 0.0)

    async def go_on(self) -> None:
        """Answer, each under an id of its own until the service has it."""
        while not self.got:
            self.heard.clear()
            await self.heard.wait()
        event, data = self.got[0]
        thread = decode_post_head(data[: event.datahead]).threadid
        head = encode_post_head(PostHead(threadid=thread, alias="Support Desk", subject="Re"))
        to = [m.Recipient(event.from_, m.TO_UID)]
        while True:
            text = f"answer {len(self.answered)}"
            try:
                connection = await self.connection.current()
                await connection.post(text, to, head + text.encode(), datahead=len(head))
            except (Disconnected, TimeoutError):
                continue
            self.answered.append(text)
            await asyncio.sleep(0.02)


async def run(kills: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill it `kills` times; figures of the run. Raises `PromiseBroken`."""
    longest_s, limits.RECONNECT_LONGEST_S = limits.RECONNECT_LONGEST_S, limits.RECONNECT_FIRST_S
    try:  # a member whose service is killed every second would soon wait a minute each time
        return await _run(kills, seed, folder)
    finally:
        limits.RECONNECT_LONGEST_S = longest_s


async def _run(kills: int, seed: int, folder: Path) -> dict[str, int]:
    chance = random.Random(seed)
    await asyncio.to_thread(prepare, folder / "relay")
    async with relay(folder / "relay") as ours:
        smtp_port = free_port()
        bridge = _BRIDGE.format(port=smtp_port, relay=ours.settings())
        process = Process(folder, program=("-c", _IMPATIENT))
        await process.start()
        member = Member()
        await member.join(process)  # while the name is free: routes keep theirs for whom an administrator gives them
        await process.end(signal.SIGTERM)
        with process.settings.open("a") as settings:
            settings.write(bridge)
        await process.start()
        answering = asyncio.create_task(member.go_on())
        try:
            await _open(smtp_port)
            await asyncio.to_thread(_first_mail, smtp_port)
            for _ in range(kills):
                await _killed(process, ours, chance, member, answering)
                await process.start()
            await _settled(member, ours, process, answering)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            await member.connection.stop()
            await process.end(signal.SIGTERM)
        return verify(member, ours, kills)


async def _killed(
    process: Process, ours: Relay, chance: random.Random, member: Member, answering: "asyncio.Task[None]"
) -> None:
    """By and by: at any moment, or as the relay gets a mail, or just after it has said that it has it.

    Raises `PromiseBroken` when no mail comes: and says what stands still.
    """
    await asyncio.sleep(chance.uniform(*_LIFE_S))
    kind = chance.choice(("any", "before", "after", "after"))
    if kind != "any":
        struck = asyncio.Event()
        which = chance.randint(1, 6)  # of the mails of this life, or none but the first would ever be over

        def strike(verb: str, address: str) -> None:
            nonlocal which
            which -= verb == "DATA"
            if which == 0 and not struck.is_set():
                struck.set()
                if kind == "before":
                    process.tell(signal.SIGKILL)
                else:  # the reply is on its way by then
                    asyncio.get_running_loop().call_soon(process.tell, signal.SIGKILL)

        ours.says = strike
        try:
            async with asyncio.timeout(SETTLE_S):
                await struck.wait()
        except TimeoutError:
            if answering.done():
                answering.result()
            raise PromiseBroken(
                f"no mail came for {SETTLE_S} s: {len(member.answered)} answers, {len(ours.mails)} mails, "
                f"{len(_waiting(process))} kept, running: {process.is_running}, the member's connection: "
                f"{member.connection.failed or member.connection.trouble or 'there'}"
            ) from None
        finally:
            ours.says = lambda verb, address: None
    await process.end(signal.SIGKILL)


def _waiting(process: Process) -> list[Path]:
    """Mails that the bridge has not got rid of."""
    return list((process.data / "bridges/intake/outgoing").iterdir())


async def _settled(member: Member, ours: Relay, process: Process, answering: "asyncio.Task[None]") -> None:
    """Everything that was answered has come out, and is not kept. Raises `PromiseBroken`."""
    answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)
    try:
        async with asyncio.timeout(SETTLE_S):
            while not set(member.answered) <= {taken.text.strip() for taken in ours.mails} or _waiting(process):
                await asyncio.sleep(0.1)
    except TimeoutError:
        lost = set(member.answered) - {taken.text.strip() for taken in ours.mails}
        kept = len(_waiting(process))
        raise PromiseBroken(f"{len(lost)} answers are lost, {kept} kept: {sorted(lost)[:20]}") from None


def verify(member: Member, ours: Relay, kills: int) -> dict[str, int]:
    """What came twice is the same mail, and no more of it than kills. Raises `PromiseBroken`."""
    by_text: dict[str, list[bytes]] = defaultdict(list)
    ids: dict[str, set[str]] = defaultdict(set)
    for taken in ours.mails:
        by_text[taken.text].append(taken.content)
        ids[taken.mail["Message-ID"]].add(taken.text)
    repeated = sum(len(copies) - 1 for copies in by_text.values())
    if repeated > kills:
        raise PromiseBroken(f"{repeated} mails came again, after {kills} kills")
    if any(len(set(copies)) > 1 for copies in by_text.values()) or any(len(texts) > 1 for texts in ids.values()):
        raise PromiseBroken("a mail that came again was another, or two had one Message-ID")
    if len({event.id for event, _ in member.got}) > 1:  # one that was not acknowledged yet may come again
        raise PromiseBroken(f"the member was told that an answer was not sent: {member.got[-1][1].decode()}")
    return {"kills": kills, "answers": len(member.answered), "mails": len(ours.mails), "repeated": repeated, "lost": 0}


async def _open(port: int) -> None:
    """Wait until the intake listens: the service does before it."""
    async with asyncio.timeout(SETTLE_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def _first_mail(port: int) -> None:
    mail = EmailMessage()
    for name, value in (("From", CORRESPONDENT), ("To", ROUTE), ("Subject", "An order"), ("Message-ID", "<1@p>")):
        mail[name] = value
    mail.set_content("Good morning.\n")
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=30) as client:
        client.send_message(mail)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=100, help="how often the process is killed (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="killed-answers-") as folder:
        try:
            figures = asyncio.run(run(arguments.kills, arguments.seed, Path(folder)))
        except PromiseBroken as broken:
            sys.stderr.write(f"A promise was broken (seed {arguments.seed}):\n{broken}\n")
            return 1
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
