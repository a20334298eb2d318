# SPDX-License-Identifier: AGPL-3.0-or-later
"""An intake in a process of its own, to be killed: `python -m tests.faults.intake_process PLACE`.

PLACE is a JSON file that says where it listens, and its service. Whoever writes from this machine as somebody of
partner.example is vetted, so that nothing has to be signed.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from bridges import limits
from bridges.smtp.control.models import Proof, VetSender
from bridges.smtp.intake import SmtpIntake
from bridges.smtp.rules import Door, IntakeSettings, Route
from gateway.clock import SystemClock
from gateway.logs import configure_logs
from tmtp_client.connection import Endpoint, KeyLogin
from tmtp_core.crypto.signing import Signer

DOMAIN = "partner.example"
ROUTES = {"support@example.org": "Support Desk", "sales@example.org": "Sales Desk"}


class Place(msgspec.Struct):
    """Where it is, and where its service is. `seed` is hex; `wait_s`: how long it waits for the service."""

    port: int
    folder: str
    service_port: int
    pin: str
    uid: str
    service_key: str
    seed: str
    wait_s: float


async def serve(place: Place) -> None:
    """Until SIGTERM."""
    limits.SERVICE_WAIT_S = place.wait_s
    limits.SPOOL_LOOK_S = place.wait_s
    limits.PARSE_WALL_S = 60.0  # a machine that has much else to do is no reason to hold a mail
    folder = Path(place.folder)
    intake = SmtpIntake(
        IntakeSettings(
            name="intake",
            doors=(Door("127.0.0.1", place.port),),
            hostname="mx.example.org",
            senders=(VetSender(domain=DOMAIN, proof=[Proof(network="127.0.0.0/8")]),),
            routes=tuple(Route(recipient) for recipient in ROUTES),
            endpoint=Endpoint("127.0.0.1", place.service_port, place.pin),
            login=KeyLogin(place.uid, Signer(bytes.fromhex(place.seed)), place.service_key),
            spool=folder / "spool",
            database=folder / "bridge.sqlite3",
        ),
        SystemClock(),
        os.urandom,
    )
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await intake.start()
    await told.wait()
    await intake.stop(grace_s=1.0)


def main() -> None:
    """The command line."""
    configure_logs("error", "console")
    asyncio.run(serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Place)))


if __name__ == "__main__":
    main()
