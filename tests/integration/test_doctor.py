# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway doctor`: each thing that can be wrong is found, told with its mend, and mended where that is safe (A7)."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.certificates import make_self_signed
from gateway.doctor import machine
from tests.faults.load import PROGRAM
from tests.faults.machine_lost import Person, Site

pytestmark = pytest.mark.slow  # real processes
HOUR_S = 3_600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Path]:
    """A gateway that has run, with a backup; and a copy of all that it has, from before any test."""
    folder = tmp_path_factory.mktemp("site")
    site = Site(folder)

    async def make() -> None:
        await site.process.start()
        await site.process.end(signal.SIGTERM)
        await site.back_up()

    asyncio.run(make())
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "site")
    return site, copy


@pytest.fixture
async def site(made: tuple[Site, Path]) -> AsyncIterator[Site]:
    """That gateway, as it was made; it does not run now."""
    site, copy = made
    shutil.rmtree(site.folder)
    shutil.copytree(copy, site.folder)
    yield site
    if site.process.is_running:
        await site.process.end(signal.SIGTERM)


async def examined(site: Site, *more: str) -> tuple[int, list[dict[str, str]]]:
    code, said = await site.run("doctor", "-c", site.process.settings, "--json", *more)
    found = json.loads(said)
    assert found["ok"] is (code == 0)
    return code, found["findings"]


def those(findings: list[dict[str, str]], level: str) -> list[str]:
    return [f"{one['about']}: {one['text']}" for one in findings if one["level"] == level]


async def found(site: Site, level: str, text: str, *more: str) -> dict[str, str]:
    """The one finding with this text."""
    code, findings = await examined(site, *more)
    matching = [one for one in findings if text in f"{one['about']}: {one['text']}"]
    assert len(matching) == 1, findings
    assert matching[0]["level"] == level
    assert matching[0]["mend"] or level == "ok"
    assert code == (1 if level == "fail" else 0)
    return matching[0]


async def test_a_well_gateway_is_well_while_it_runs_and_when_not(site: Site) -> None:
    code, findings = await examined(site)
    assert (code, those(findings, "fail")) == (0, [])
    await site.process.start()
    code, findings = await examined(site)
    assert (code, those(findings, "fail")) == (0, [])
    told = those(findings, "ok")
    for wanted in ("it runs, and can be administered", "answers", "every instance is ready", "is sound", "own"):
        assert any(wanted in one for one in told), told


async def test_it_says_it_in_words_too(site: Site) -> None:
    code, said = await site.run("doctor", "-c", site.process.settings)
    assert code == 0
    assert "0 fail" in said


async def test_a_damaged_database(site: Site) -> None:
    raw = bytearray(site.process.database.read_bytes())
    raw[4096 * 3 : 4096 * 12] = os.urandom(4096 * 9)
    site.process.database.write_bytes(raw)
    one = await found(site, "fail", "service.sqlite3")
    assert "damaged" in one["text"] or "cannot be read" in one["text"]
    assert "restore" in one["mend"]
    code, said = await site.run("backup", "-c", site.process.settings)  # and no backup replaces the good one
    assert code == 1
    assert "last good backup" in said or "malformed" in said


async def test_a_newer_schema(site: Site) -> None:
    with closing(sqlite3.connect(site.process.database)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    assert "newer release" in (await found(site, "fail", "9999"))["mend"]


def message(site: Site, number: int, file: str, size: int) -> None:
    with closing(sqlite3.connect(site.process.database)) as database:
        row = (number, b"", size, None, file)
        database.execute("INSERT INTO message (number, head, size, body, file) VALUES (?, ?, ?, ?, ?)", row)
        database.commit()


async def test_payloads_that_are_missing_short_or_nobodys(site: Site) -> None:
    message(site, 1, "a" * 32, 5)
    message(site, 2, "b" * 32, 5)
    (site.process.payloads / ("b" * 32)).write_bytes(b"1234")
    old, young = site.process.payloads / ("c" * 32), site.process.payloads / ("d" * 32)
    for path in (old, young):
        path.write_bytes(b"x")
        path.chmod(0o600)
    (site.process.payloads / ("b" * 32)).chmod(0o600)
    os.utime(old, (0, 0))
    code, findings = await examined(site)
    assert code == 1
    assert any("1 payloads are missing and 1 have another size" in one for one in those(findings, "fail"))
    assert any("1 payloads in" in one and old.name in one for one in those(findings, "warn"))
    await examined(site, "--mend", "--yes")
    assert not old.exists()
    assert young.exists()  # it may belong to a message that is on its way in
    code, said = await site.run("backup", "-c", site.process.settings, "--json")  # it takes what there is, and says so
    assert code == 1
    assert len(json.loads(said)["missing"]) == 2


async def test_who_may_read_it(site: Site) -> None:
    secret = site.process.instance / "service.key"
    secret.chmod(0o644)
    assert "chmod" in (await found(site, "fail", "others on this machine may read"))["mend"]
    await examined(site, "--mend", "--yes")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert (await examined(site))[0] == 0


async def test_nothing_is_mended_without_being_asked(site: Site) -> None:
    secret = site.process.instance / "service.key"
    secret.chmod(0o644)
    asked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *PROGRAM, "doctor", "-c", site.process.settings, "--mend"],
        input="n\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert "Mend it?" in asked.stdout
    assert asked.returncode == 1
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644


async def test_what_dead_processes_left(site: Site) -> None:
    await site.process.start()
    async with asyncio.timeout(30):
        while not (site.process.data / "control.sock").exists():  # it comes after the instances
            await asyncio.sleep(0.01)
    await site.process.end(signal.SIGKILL)
    staging = site.process.data / "backup.tmp"
    staging.mkdir(0o700)
    (staging / "0.sqlite3").write_bytes(b"")
    (staging / "0.sqlite3").chmod(0o600)
    code, findings = await examined(site)
    assert code == 0
    assert [one for one in those(findings, "warn") if "was left by" in one] != []
    assert len([one for one in those(findings, "warn") if "was left by" in one]) == 2
    await examined(site, "--mend", "--yes")
    assert not staging.exists()
    assert not (site.process.data / "control.sock").exists()


async def test_an_address_that_somebody_else_has(site: Site) -> None:
    with closing(socket.create_server(("127.0.0.1", site.process.port))):
        await found(site, "fail", "cannot be had")


def certificate(site: Site, *, days: int) -> None:
    """A configured one that ends so soon."""
    crt, key = site.folder / "own.crt", site.folder / "own.pem"
    make_self_signed(crt, key, "own", datetime.now(UTC) - timedelta(days=3650) + timedelta(days=days))
    text = site.process.settings.read_text()
    site.process.settings.write_text(
        text.replace("    listen:", f"    tls: {{certificate: {crt}, key: {key}}}\n    listen:")
    )


@pytest.mark.parametrize(
    ("days", "level", "text"), [(-3, "fail", "has ended"), (5, "warn", "ends in"), (90, "ok", "is good")]
)
async def test_certificates_end(site: Site, days: int, level: str, text: str) -> None:
    certificate(site, days=days)
    await found(site, level, text)


async def test_another_certificate_is_shown_than_the_files_hold(site: Site) -> None:
    certificate(site, days=90)
    await site.process.start()
    make_self_signed(site.folder / "x.crt", site.folder / "own.pem", "x", datetime.now(UTC))
    shutil.copyfile(site.folder / "x.crt", site.folder / "own.crt")
    assert "HUP" in (await found(site, "fail", "another certificate is shown"))["mend"]


async def test_others_may_read_the_key_of_a_configured_certificate(site: Site) -> None:
    certificate(site, days=90)
    (site.folder / "own.pem").chmod(0o604)
    await found(site, "fail", "others on this machine may read")


async def test_backups_that_are_old_gone_or_without_their_journal(site: Site) -> None:
    (backup,) = site.backups.glob("*.tmtpbackup")
    for hours, level in ((12, "ok"), (48, "warn"), (24 * 9, "fail")):
        then = datetime.now(UTC) - timedelta(hours=hours)
        backup = backup.rename(site.backups / f"tmtp-{then:%Y%m%dT%H%M%S}000Z.tmtpbackup")
        await found(site, level, "the newest of 1 is")
    backup = backup.rename(site.backups / "tmtp-20990101T000000000Z.tmtpbackup")
    await found(site, "warn", "a time that has not come")
    (site.backups / "load.journal").unlink()
    backup.rename(site.backups / f"tmtp-{datetime.now(UTC):%Y%m%dT%H%M%S}000Z.tmtpbackup")
    assert "backup now" in (await found(site, "fail", "has no journal of load"))["mend"]
    shutil.rmtree(site.backups)
    code, findings = await examined(site)
    assert code == 1
    assert {"backups: there is none in", "journal: "} <= {
        one[: len("backups: there is none in")] for one in those(findings, "fail")
    } | {one[: len("journal: ")] for one in those(findings, "fail")}


async def test_a_journal_that_lacks_what_the_database_knows(site: Site) -> None:
    """Its disk lost the last entry: a restore would let somebody in again (B4)."""
    bar = ("account", "bar", "Nobody Knows", "-c", site.process.settings, "-i", "load")
    assert (await site.run(*bar))[0] == 1
    person = Person(site, "Eve of the Site")
    for _ in range(2):
        await site.process.start()
        if not person.uid:
            await person.register(None)
        await site.process.end(signal.SIGTERM)
        path = site.backups / "load.journal"
        whole = path.read_bytes()
        await found(site, "ok", "it is in")
        assert (await site.run("account", "bar", person.uid, "-c", site.process.settings, "-i", "load"))[0] == 0
        assert path.stat().st_size > len(whole)
        await found(site, "ok", "it is in")
        path.write_bytes(whole)
        assert "backup now" in (await found(site, "fail", "lacks acts of load"))["mend"]
        await site.process.start()  # it sees that, and so does who looks after the next act
        await site.process.end(signal.SIGTERM)
        for act in ("unbar", "bar"):
            assert (await site.run("account", act, person.uid, "-c", site.process.settings, "-i", "load"))[0] == 0
        await found(site, "fail", "lacks acts of load")
        await site.back_up()
        await found(site, "ok", "it is in")


async def test_a_journal_that_is_cut_off(site: Site) -> None:
    with (site.backups / "load.journal").open("ab") as file:
        file.write(b"half")
    assert "backup now" in (await found(site, "fail", "cut off in what it has of load"))["mend"]
    await site.back_up()
    await found(site, "ok", "it is in")


async def test_settings_with_mistakes(site: Site) -> None:
    with site.process.settings.open("a") as file:
        file.write("nonsense: 1\n")
    code, said = await site.run("doctor", "-c", site.process.settings, "--json")
    assert code == 2
    told: dict[str, Any] = json.loads(said)
    assert "nonsense" in told["findings"][0]["text"]
    code, said = await site.run("doctor", "-c", site.folder / "nowhere.yaml")
    assert code == 2
    assert "cannot be read" in said


class Clock:
    """Stands still."""

    def __init__(self, ahead_s: float) -> None:
        self.now_ns = int((datetime.now(UTC).timestamp() + ahead_s) * 1e9)

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_s(self) -> float:
        return 0.0


async def test_a_clock_that_was_set_back(site: Site) -> None:
    from gateway.doctor import examine  # noqa: PLC0415
    from gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(site.process.settings)
    told = [f"{one.level} {one.text}" for one in examine(settings, Clock(-50 * HOUR_S), 1)]
    assert any(one.startswith("fail it is 50.") and "behind what was written here last" in one for one in told), told
    with closing(sqlite3.connect(site.process.database)) as database:
        database.execute(
            "INSERT OR REPLACE INTO counter VALUES ('message_high_water', ?)", (Clock(50 * HOUR_S).now_ns,)
        )
        database.commit()
    told = [f"{one.level} {one.text}" for one in examine(settings, Clock(0), 1)]
    assert any(one.startswith("warn message ids are 50 hours ahead") for one in told), told


@pytest.mark.parametrize(("free", "level"), [(1 << 20, "fail"), (1 << 40, "ok")])
async def test_a_disk_that_is_nearly_full(
    site: Site, free: int, level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real: Callable[[Any], os.statvfs_result] = os.statvfs

    def small(path: Any) -> os.statvfs_result:
        values = list(real(path))
        values[1] = 1  # f_frsize
        values[2], values[3], values[4] = 1 << 41, free, free
        return os.statvfs_result(values)

    monkeypatch.setattr(machine.os, "statvfs", small)
    levels = {one.level for one in machine._disk("data_dir", tmp_path, 1)}
    assert level in levels
