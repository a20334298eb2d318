# SPDX-License-Identifier: AGPL-3.0-or-later
"""The disk of an intake is full (C2): 452, nothing half, nothing lost that had its 250, and room heals it by itself."""

import asyncio
import contextlib
import os
import smtplib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.app import Gateway
from tests.faults.killed_intake import Desk, Mails
from tests.faults.needed import ROOT, small_disk
from tests.support.gateway import SETTINGS, endpoint, invited, running_gateway
from tmtp_client.connection import AccountKeys, Connection, KeyLogin, PersistentConnection

SIZE_MIB = 8
PAGE = 4096
AUTHOR, STRANGER, RECIPIENT = "orders@partner.example", "somebody@elsewhere.example", "support@example.org"
HOLDING = SETTINGS.replace("to: Support Desk}", "to: Support Desk, unknown: hold}")


def a_mail(author: str, name: str) -> bytes:
    """One mail of about three pages."""
    head = f"From: {author}\r\nSubject: mail {name}\r\nMessage-ID: <{name}@partner.example>\r\n\r\n"
    return head.encode() + (b"x" * 70 + b"\r\n") * (3 * PAGE // 72)


async def send(gateway: Gateway, author: str, name: str) -> int:
    """Hand a mail in: the code of the answer."""
    host, port = gateway.bridges["intake"].address

    def talk() -> int:
        with smtplib.SMTP(host, port, local_hostname="client.example", timeout=60) as client:
            try:
                client.sendmail(author, [RECIPIENT], a_mail(author, name))
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code
            return 250

    return await asyncio.to_thread(talk)


@contextlib.contextmanager
def almost_full(folder: Path, pages: int) -> "contextlib.Iterator[None]":
    """So much room is left on the disk, for the length of the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while not pages or os.statvfs(folder).f_bavail > pages:
            file.write(bytes(PAGE))
    try:
        yield
    finally:
        ballast.unlink()


@asynccontextmanager
async def at_the_desk(gateway: Gateway, login: KeyLogin, mails: Mails) -> AsyncIterator[None]:
    """The member of the route is there for the length of the block."""
    link = PersistentConnection(endpoint(gateway, "public"), login, Desk(RECIPIENT, login, mails).record)
    try:
        yield
    finally:
        await link.stop()


async def a_desk(gateway: Gateway) -> KeyLogin:
    """A member who has joined."""
    keys = AccountKeys.new(os.urandom)
    token = (await invited(gateway, "public", "Support Desk")).token
    connection = await Connection.open(endpoint(gateway, "public"), revision="2")
    registered = await connection.register_keys("Support Desk", keys, "Support Desk", token)
    await connection.quit()
    return KeyLogin(registered.uid, keys.device.signer, gateway.instances["public"].service.identity.public)


async def arrived(mails: Mails) -> None:
    """Wait until all that had its 250 has come, and say what has come besides."""
    async with asyncio.timeout(60):
        while mails.missing():
            await asyncio.sleep(0.05)
    mails.verify()


@ROOT
@pytest.mark.slow
async def test_what_waits_for_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more and more room: each step on the way to 250 is the one that has none."""
    monkeypatch.setattr("bridges.limits.SERVICE_WAIT_S", 0.3)
    monkeypatch.setattr("bridges.limits.PARSE_WALL_S", 60.0)
    folder = tmp_path / "data/bridges/intake"
    folder.parent.mkdir(parents=True)
    mails, codes = Mails(), Counter[int]()
    with small_disk(folder, SIZE_MIB):
        async with running_gateway(tmp_path) as gateway:
            login = await a_desk(gateway)
            await gateway.instances["public"].stop(0.1)
            spool = gateway.bridges["intake"].spool
            for pages in range(24):
                before = spool.figures
                with almost_full(folder, pages):
                    code = await send(gateway, AUTHOR, f"orders/{pages}")
                codes[code] += 1
                if code == 250:
                    mails.accepted[f"orders/{pages}"] = (RECIPIENT,)
                elif spool.figures != before:  # in place, but not in the log: its sender comes again, and it is one
                    assert (await send(gateway, AUTHOR, f"orders/{pages}")) == 250
                    mails.accepted[f"orders/{pages}"] = (RECIPIENT,)
                assert not [path for path in (folder / "waiting").iterdir() if not path.name.isdecimal()]
            assert codes.keys() <= {250, 451, 452}
            assert codes[452] > 0 < codes[250]
            assert await send(gateway, AUTHOR, "orders/99") == 250
            mails.accepted["orders/99"] = (RECIPIENT,)
        async with running_gateway(tmp_path) as gateway, at_the_desk(gateway, login, mails):
            await arrived(mails)
            assert not [name for name, _ in mails.got if name not in mails.accepted]


@ROOT
@pytest.mark.slow
async def test_what_waits_for_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridges.limits.PARSE_WALL_S", 60.0)
    folder = tmp_path / "data/bridges/intake"
    folder.parent.mkdir(parents=True)
    codes = Counter[int]()
    with small_disk(folder, SIZE_MIB):
        async with running_gateway(tmp_path, HOLDING) as gateway:
            holding = gateway.bridges["intake"].holding
            accepted = set()
            for pages in range(24):
                before = holding.figures
                with almost_full(folder, pages):
                    code = await send(gateway, STRANGER, f"{pages}")
                codes[code] += 1
                if code == 250 or holding.figures != before:
                    accepted.add(f"mail {pages}")
                held = await holding.list("held")
                assert {one.subject for one in held} == accepted
                assert {path.name for path in (folder / "held").iterdir()} == {f"{one.number}.eml" for one in held}
            assert codes.keys() <= {250, 451, 452}
            assert codes[452] > 0 < codes[250]
        async with running_gateway(tmp_path, HOLDING) as gateway:
            holding = gateway.bridges["intake"].holding
            assert {one.subject for one in await holding.list("held")} == accepted
            assert (await holding.show(held[0].number)).text.startswith("xxx")
