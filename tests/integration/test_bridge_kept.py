# SPDX-License-Identifier: AGPL-3.0-or-later
"""A bridge in a backup, and under examination (C1, C2)."""

import asyncio
import os
import smtplib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bench.server import free_port
from bridges.smtp.control import models as s
from gateway.app import Gateway, descriptors_needed
from gateway.backup import taking
from gateway.clock import SystemClock
from gateway.doctor import Finding, examine
from gateway.settings import load_settings
from tests.integration.test_backup import BACKUP, put_back, rows, take
from tests.support.bridge_process import running_bridge
from tests.support.gateway import SETTINGS, administer, running_gateway

HELD = SETTINGS.replace("to: Support Desk}", "to: Support Desk, unknown: hold}") + BACKUP


def mailed(gateway: Gateway, subject: str) -> None:
    host, port = gateway.bridges["intake"].address
    with smtplib.SMTP(host, port) as relay:
        text = f"From: jo@stranger.example\r\nSubject: {subject}\r\n\r\nTen, please.\r\n"
        relay.sendmail("jo@stranger.example", ["support@example.org"], text)


async def examined(folder: Path) -> list[Finding]:
    settings = load_settings(folder / "gateway.yaml")

    def look() -> list[Finding]:
        found = examine(settings, SystemClock(), descriptors_needed(settings))
        return [one for one in found if one.about == "bridge intake"]

    return await asyncio.to_thread(look)


async def test_held_mail_is_in_a_backup_and_can_be_decided_on_after_a_restore(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, HELD) as gateway:
        await asyncio.to_thread(mailed, gateway, "Before")
        await administer(gateway, "smtp.correspondents.invite", bridge="intake", address="jo@partner.example")
        uid = (tmp_path / "data/bridges/intake/service.json").read_bytes()
        taken = await asyncio.to_thread(take, tmp_path)
    restored = tmp_path / "new"
    put_back(taken, restored / "data")
    assert (restored / "data/bridges/intake/service.json").read_bytes() == uid
    async with running_gateway(restored, HELD) as gateway:
        (waiting,) = await administer(gateway, "smtp.held.list", bridge="intake", state="held")
        shown = await administer(gateway, "smtp.held.show", bridge="intake", number=waiting.number)
        assert (waiting.subject, shown.text.strip()) == ("Before", "Ten, please.")
        page = await administer(gateway, "smtp.correspondents.list", bridge="intake", state="invited")
        assert [one.address for one in page.correspondents] == ["jo@partner.example"]
        assert (await administer(gateway, "smtp.decisions.verify", bridge="intake")).intact


async def test_mail_that_is_held_while_the_backup_is_taken_has_its_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are read first; then comes the moment of the databases."""
    async with running_gateway(tmp_path, HELD) as gateway:
        copy_databases = taking._Writing._add_databases

        def and_meanwhile(writing: taking._Writing, found: taking.Contents) -> None:
            mailed(gateway, "Meanwhile")
            copy_databases(writing, found)

        monkeypatch.setattr(taking._Writing, "_add_databases", and_meanwhile)
        await asyncio.to_thread(mailed, gateway, "Before")
        taken = await asyncio.to_thread(take, tmp_path)
    put_back(taken, tmp_path / "new")
    folder = tmp_path / "new/bridges/intake"
    held = rows(folder / "bridge.sqlite3", "SELECT number, subject FROM held ORDER BY number")
    assert held == [(1, "Before"), (2, "Meanwhile")]
    assert sorted(path.name for path in (folder / "held").iterdir()) == ["1.eml", "2.eml"]


# -- doctor ------------------------------------------------------------------------------------------------------------
async def test_a_bridge_is_examined_where_it_runs(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, HELD) as gateway:
        well = await examined(tmp_path)
        assert [one.level for one in well] == ["ok", "ok"]
        assert "it runs, with 2 vetted senders" in well[-1].text
        made = await administer(gateway, "smtp.senders.list", bridge="intake")
        because = {"bridge": "intake", "number": made[0].number}
        await administer(gateway, "smtp.senders.suspend", s.Because(reason="forged"), **because)
        ill = [one for one in await examined(tmp_path) if one.level == "warn"]
        assert len(ill) == 1
        assert "is suspended" in ill[0].text
        assert "smtp status" in ill[0].mend
    assert [one.level for one in await examined(tmp_path)] == ["ok"]  # it does not run: its database is all there is


async def test_a_process_of_its_own_that_does_not_answer_is_found(tmp_path: Path) -> None:
    own = HELD.replace("listen: 127.0.0.1:0\n", f"listen: 127.0.0.1:{free_port()}\n      process: own\n")
    own = own.replace("log: {level: error}", "log: {level: info}")
    async with running_gateway(tmp_path, own):
        (away,) = await examined(tmp_path)
        assert (away.level, "does not answer here" in away.text) == ("warn", True)
        assert f"tmtp-gateway bridge smtp -c {tmp_path / 'gateway.yaml'} --name intake" in away.mend
        async with running_bridge(tmp_path / "gateway.yaml"):
            assert {one.level for one in await examined(tmp_path)} == {"ok"}


async def test_a_damaged_database_of_a_bridge_is_found(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, HELD):
        pass
    database = tmp_path / "data/bridges/intake/bridge.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))
    found = await examined(tmp_path)
    assert [one.level for one in found] == ["fail"]


async def test_one_that_never_ran_is_said(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(HELD, "utf-8")
    (tmp_path / "data").mkdir(mode=0o700)
    (found,) = await examined(tmp_path)
    assert (found.level, found.text) == ("warn", "it has no key yet")
