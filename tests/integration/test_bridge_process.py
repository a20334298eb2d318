# SPDX-License-Identifier: AGPL-3.0-or-later
"""An intake in a process of its own: what it needs, what it reads, how it is administered, how it ends (C2)."""

import asyncio
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.server import free_port
from gateway.app import Gateway
from gateway.certificates import make_self_signed, spki_hash, spki_pin
from gateway.clock import SystemClock
from gateway.instance import StartFailed
from gateway.settings import SettingsInvalid, load_bridges, load_settings
from tests.support.bridge_process import begun_bridge, running_bridge
from tests.support.commands import Commands
from tests.support.gateway import SETTINGS, accounts_of, administer, member, running_gateway
from tmtp_core.crypto import spki
from tmtp_core.errors import RequestRefused, ServiceUnavailable

ON_ITS_OWN = """\
data_dir: ./data
bridges:
  smtp:
    - name: intake
      instance: public
      process: own
      listen: 127.0.0.1:{smtp}
      hostname: mx.example.org
      senders:
        - {{address: orders@partner.example, proof: [network: 127.0.0.0/8]}}
      routes:
        - {{recipient: support@example.org, to: Support Desk}}
"""
"""The file on a machine that has the bridge and nothing else."""


def own(smtp: int) -> str:
    """The settings of a gateway whose intake is a process of its own."""
    settings = SETTINGS.replace("log: {level: error}", "log: {level: info}")
    return settings.replace("listen: 127.0.0.1:0\n", f"listen: 127.0.0.1:{smtp}\n      process: own\n")


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    one = Commands()
    yield one
    one.close()


async def mailed(port: int, subject: str = "An order") -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port) as relay:
            text = f"From: orders@partner.example\r\nSubject: {subject}\r\n\r\nTen, please.\r\n"
            relay.sendmail("orders@partner.example", ["support@example.org"], text)

    await asyncio.to_thread(send)


async def test_mail_arrives_by_it_and_the_gateway_administers_it(tmp_path: Path) -> None:
    smtp, config = free_port(), tmp_path / "gateway.yaml"
    async with running_gateway(tmp_path, own(smtp)) as gateway, member(gateway, "public", "Support Desk") as desk:
        (shown,) = await administer(gateway, "bridges.list")
        assert not shown.running
        start = re.escape(f"start it: tmtp-gateway bridge smtp -c {config} --name intake")
        with pytest.raises(ServiceUnavailable, match=start):
            await administer(gateway, "smtp.status", bridge="intake")
        async with running_bridge(config) as process:
            (shown,) = await administer(gateway, "bridges.list")
            assert shown.running
            await mailed(smtp)
            await desk.until(1)
            status = await administer(gateway, "smtp.status", bridge="intake")
            assert (status.connected, status.senders_active) == (True, 2)
            with pytest.raises(RequestRefused, match="there is no record 99"):
                await administer(gateway, "smtp.senders.show", bridge="intake", number=99)
            invited = await administer(
                gateway, "smtp.correspondents.invite", bridge="intake", address="orders@partner.example"
            )
            assert invited.state == "invited"
            newest, *_ = (await administer(gateway, "smtp.decisions.list", bridge="intake")).entries
            assert json.loads(bytes(newest.body))["by"].startswith("local user")
            assert await process.ended(signal.SIGTERM) == 0
        assert not (tmp_path / "data/bridges/intake/control.sock").exists()
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            await administer(gateway, "smtp.report", bridge="intake")
        (act, *_) = (await gateway.administration.audit.page(None, 1)).entries
        assert (act.operation, act.instance, act.outcome) == ("smtp.correspondents.invite", "public", "done")


async def test_what_it_has_is_its_folder_which_only_its_owner_can_read(tmp_path: Path) -> None:
    smtp = free_port()
    async with running_gateway(tmp_path, own(smtp)) as gateway:
        folder = tmp_path / "data/bridges/intake"
        assert sorted(path.name for path in folder.iterdir()) == ["device.key", "service.json"]
        place = json.loads((folder / "service.json").read_bytes())
        running = gateway.instances["public"]
        assert (place["host"], place["port"], place["pin"]) == (*running.address, running.spki_pin)
        async with running_bridge(tmp_path / "gateway.yaml"):
            for path in [folder, *folder.rglob("*")]:
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            assert stat.S_ISSOCK((folder / "control.sock").stat().st_mode)


async def test_it_reads_nothing_of_any_instance(tmp_path: Path) -> None:
    """Who breaks into it has its folder, and no service's database, key or message."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    smtp, trace = free_port(), tmp_path / "opened"
    around = ("strace", "-D", "-f", "-qq", "-e", "trace=open,openat,openat2,stat,newfstatat", "-o", str(trace))
    async with running_gateway(tmp_path, own(smtp)) as gateway, member(gateway, "public", "Support Desk") as desk:
        async with running_bridge(tmp_path / "gateway.yaml", around=around) as process:
            await mailed(smtp)
            await desk.until(1)
            await administer(gateway, "smtp.report", bridge="intake")
            await process.ended(signal.SIGTERM)
        data = str(tmp_path / "data")
        touched = set(re.findall(rf'"({re.escape(data)}[^"]*)"', trace.read_text("utf-8", "replace")))
        assert f"{data}/bridges/intake/bridge.sqlite3" in touched
        above = {data, f"{data}/bridges"}
        assert not [path for path in touched - above if not path.startswith(f"{data}/bridges/intake")]


async def test_mail_waits_while_the_service_is_away(tmp_path: Path) -> None:
    """Accepted, on the bridge's disk, and delivered when the gateway is back: also by another pin."""
    smtp, config = free_port(), tmp_path / "gateway.yaml"
    tls = free_port()
    settings = own(smtp).replace(
        'acquaintance: everyone, listen: [{tls: "127.0.0.1:0"}]',
        f'acquaintance: everyone, listen: [{{tls: "127.0.0.1:{tls}"}}]',
    )
    async with running_gateway(tmp_path, settings) as gateway, member(gateway, "public", "Support Desk"):
        await asyncio.sleep(0)
    async with running_bridge(config) as process:
        await mailed(smtp)
        async with running_gateway(tmp_path, settings) as gateway:
            async with asyncio.timeout(60):
                while (status := await administer(gateway, "smtp.status", bridge="intake")).spooled:
                    await asyncio.sleep(0.1)
            assert status.connected
            (desk,) = [one for one in await accounts_of(gateway, "public") if "Support Desk" in one.aliases]
            assert desk.queued == 1
        await process.ended(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
async def test_it_ends_when_it_is_told_to(tmp_path: Path, number: int) -> None:
    smtp = free_port()
    async with running_gateway(tmp_path, own(smtp)), running_bridge(tmp_path / "gateway.yaml") as process:
        assert await process.ended(number) == 0
        assert "stopped" in process.said[-1]
        assert not [line for line in process.said if "Traceback" in line]


async def test_one_that_was_killed_starts_again(tmp_path: Path) -> None:
    smtp = free_port()
    async with running_gateway(tmp_path, own(smtp)) as gateway:
        async with running_bridge(tmp_path / "gateway.yaml") as process:
            await process.ended(signal.SIGKILL)
        assert (tmp_path / "data/bridges/intake/control.sock").exists()
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            await administer(gateway, "smtp.correspondents.invite", bridge="intake", address="jo@partner.example")
        assert await administer(gateway, "invitations.list", instance="public") == []
        async with running_bridge(tmp_path / "gateway.yaml"):
            assert (await administer(gateway, "smtp.decisions.verify", bridge="intake")).intact


async def test_systemd_hears_that_it_is_ready_lives_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        loop = asyncio.get_running_loop()

        async def heard(text: str) -> None:
            async with asyncio.timeout(60):
                while text not in (await loop.sock_recv(systemd, 4096)).decode():
                    pass

        async with running_gateway(tmp_path, own(free_port())), running_bridge(tmp_path / "gateway.yaml") as process:
            await heard("READY=1\nSTATUS=bridge intake")
            await heard("WATCHDOG=1")
            await heard("WATCHDOG=1")
            process.process.send_signal(signal.SIGTERM)
            await heard("STOPPING=1")
            assert await process.ended() == 0


async def test_a_new_certificate_is_shown_when_it_is_told(tmp_path: Path) -> None:
    smtp = free_port()
    crt, key = tmp_path / "data/bridges/intake/tls.crt", tmp_path / "data/bridges/intake/tls.key"

    def shown() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", smtp) as relay:
            relay.starttls(context=context)
            assert isinstance(relay.sock, ssl.SSLSocket)
            return spki.spki_hash(relay.sock.getpeercert(binary_form=True) or b"")

    async with running_gateway(tmp_path, own(smtp)), running_bridge(tmp_path / "gateway.yaml") as process:
        assert await asyncio.to_thread(shown) == spki_hash(crt)
        before = spki_hash(crt)
        make_self_signed(crt, key, "another", datetime.now(UTC))
        process.process.send_signal(signal.SIGHUP)
        await process.until("certificate_reloaded")
        assert await asyncio.to_thread(shown) == spki_hash(crt) != before


async def test_it_follows_the_service_to_another_key(tmp_path: Path) -> None:
    smtp = free_port()
    async with running_gateway(tmp_path, own(smtp)) as gateway, running_bridge(tmp_path / "gateway.yaml") as process:
        folder = tmp_path / "data/instances/public"
        make_self_signed(folder / "tls.crt", folder / "tls.key", "another", datetime.now(UTC))
        gateway.reload_certificates()
        place = json.loads((tmp_path / "data/bridges/intake/service.json").read_bytes())
        assert place["pin"] == spki_pin(folder / "tls.crt")
        process.process.send_signal(signal.SIGHUP)
        await process.until("bridge_service_moved")


async def test_what_it_lacks_is_said_with_what_to_do(tmp_path: Path) -> None:
    smtp, config = free_port(), tmp_path / "gateway.yaml"
    config.write_text(own(smtp), "utf-8")
    folder = tmp_path / "data/bridges/intake"

    async def refused(*words: str, code: int = 1) -> None:
        async with begun_bridge(config) as process:
            assert await process.ended() == code
            said = " ".join(" ".join(process.said).split())
            assert "Traceback" not in said
            for word in words:
                assert word in said, said

    await refused(f"{folder}/device.key cannot be read", "the gateway makes it at its start", "docs/leaving-smtp.md")
    async with running_gateway(tmp_path, own(smtp)):
        async with running_bridge(config):
            await refused("another process runs this bridge")
        (folder / "service.json").write_text('{"host": 1}', "utf-8")
        await refused("service.json is not as the gateway writes it")
        (folder / "service.json").unlink()
        await refused("service.json cannot be read", "copy device.key and service.json")
        (folder / "device.key").chmod(0o640)
        await refused("others on this machine may read", f"chmod 600 {folder}/device.key")
        (folder / "device.key").chmod(0o600)
        (folder / "device.key").write_bytes(b"short")
        await refused("device.key must hold 64 bytes, not 5")
    config.write_text(SETTINGS, "utf-8")
    await refused("a part of the gateway's process", "process: own", code=2)


async def test_the_gateway_does_not_open_it_too(tmp_path: Path) -> None:
    """Nor does one whose file no longer says so, while the process runs."""
    smtp, config = free_port(), tmp_path / "gateway.yaml"
    async with running_gateway(tmp_path, own(smtp)) as gateway:
        assert not gateway.bridges
    async with running_bridge(config):
        other = tmp_path / "other.yaml"
        other.write_text(own(free_port()).replace("      process: own\n", ""), "utf-8")
        with pytest.raises(StartFailed, match="another process runs this bridge"):
            await Gateway(load_settings(other), SystemClock(), os.urandom).start()


async def test_the_gateway_does_not_even_load_it(tmp_path: Path) -> None:
    """What reads strangers' mail is not in the process that has the services' data."""
    config = tmp_path / "gateway.yaml"
    config.write_text(own(free_port()), "utf-8")
    program = f"""
import asyncio, os, sys
from pathlib import Path
from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.settings import load_settings

async def main():
    gateway = Gateway(load_settings(Path({str(config)!r})), SystemClock(), os.urandom)
    await gateway.start()
    await gateway.stop(grace_s=1.0)
    print(sorted(name for name in sys.modules if name.split(".")[0] in ("aiosmtpd", "dkim", "dns", "spf")))
    print("bridges.smtp.intake" in sys.modules)

asyncio.run(main())
"""
    ran = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE)
    said, _ = await ran.communicate()
    assert said.decode().splitlines()[-2:] == ["[]", "False"]


async def test_a_key_of_before_is_moved_and_the_account_stays(tmp_path: Path) -> None:
    smtp = free_port()
    new, old = tmp_path / "data/bridges/intake/device.key", tmp_path / "data/bridges/intake.key"
    async with running_gateway(tmp_path, own(smtp)):
        uid = json.loads((new.parent / "service.json").read_bytes())["uid"]
        key = new.read_bytes()
    new.rename(old)
    async with running_gateway(tmp_path, own(smtp)) as gateway:
        assert (new.read_bytes(), old.exists()) == (key, False)
        assert json.loads((new.parent / "service.json").read_bytes())["uid"] == uid
        bridges = [one for one in await accounts_of(gateway, "public") if one.role == "bridge"]
        assert [one.uid for one in bridges] == [uid]


# -- on a machine of its own -------------------------------------------------------------------------------------------
async def test_on_another_machine_it_needs_two_files_and_its_block(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, commands: Commands
) -> None:
    smtp = free_port()
    home, away = tmp_path / "home", tmp_path_factory.mktemp("away")  # a short path, as sockets want it
    home.mkdir()
    config = away / "bridge.yaml"
    async with running_gateway(home, own(smtp)) as gateway, member(gateway, "public", "Support Desk") as desk:
        folder = away / "data/bridges/intake"
        folder.mkdir(parents=True, mode=0o700)
        config.write_text(ON_ITS_OWN.format(smtp=smtp), "utf-8")
        for name in ("device.key", "service.json"):
            shutil.copy(home / "data/bridges/intake" / name, folder)
        async with running_bridge(config, "--folder", str(folder)):
            await mailed(smtp)
            await desk.until(1)
            status = await typed(commands, "smtp", "status", "-c", str(config), "--json")
            assert json.loads(status)["connected"]
            with pytest.raises(ServiceUnavailable, match="where it runs on another machine, ask there"):
                await administer(gateway, "smtp.status", bridge="intake")
            refused = await asyncio.to_thread(
                commands.run, "smtp", "correspondents", "invite", "-c", str(config), "orders@partner.example"
            )
            assert (refused.exit_code, "the gateway makes invitations" in refused.stderr) == (1, True)
        assert not (away / "data/instances").exists()
        down = await typed(commands, "smtp", "correspondents", "list", "-c", str(config), "--json")
        assert [one["address"] for one in json.loads(down)["correspondents"]] == ["orders@partner.example"]
        assert not (away / "data/instances").exists()


async def typed(commands: Commands, *arguments: str) -> str:
    done = await asyncio.to_thread(commands.run, *arguments)
    assert done.exit_code == 0, done
    return done.stdout


async def test_what_another_machine_has_is_not_made_up_here_while_the_gateway_is_down(
    tmp_path: Path, commands: Commands
) -> None:
    """A record that is vetted into an empty database beside the gateway would never count: nobody reads that."""
    async with running_gateway(tmp_path, own(free_port())):
        pass  # the folder is made, and its two files are copied to where the bridge runs
    words = ("vet", "jo@partner.example", "--spf", "-c", str(tmp_path / "gateway.yaml"))
    done = await asyncio.to_thread(commands.run, "smtp", "senders", *words)
    assert (done.exit_code, "where it runs on another machine, ask there" in done.stderr) == (1, True), done
    assert not (tmp_path / "data/bridges/intake/bridge.sqlite3").exists()


def test_of_the_file_it_reads_what_is_about_bridges(tmp_path: Path) -> None:
    """An instance's key is not for it to read: under its unit it could not."""
    file = tmp_path / "gateway.yaml"
    tls = "policy: public, tls: {certificate: ./nowhere.crt, key: ./nowhere.key}"
    file.write_text(own(2525).replace("policy: public", tls), "utf-8")
    with pytest.raises(SettingsInvalid):
        load_settings(file)
    settings, whole = load_bridges(file)
    assert whole
    assert [(one.name, one.tls.key) for one in settings.instances] == [("public", None)]
    assert settings.data_dir == tmp_path / "data"
    assert settings.bridges.smtp[0].process == "own"


async def test_mistakes_in_its_block_are_named_with_their_lines(tmp_path: Path, commands: Commands) -> None:
    config = tmp_path / "bridge.yaml"
    config.write_text(
        ON_ITS_OWN.format(smtp=2525)
        .replace("network: 127.0.0.0/8", "network: 0.0.0.0/0")
        .replace("to: Sup", "ot: Sup"),
        "utf-8",
    )
    done = await asyncio.to_thread(commands.run, "bridge", "smtp", "-c", str(config))
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "Traceback" not in said
    assert "there is no setting ot" in said
    assert "0.0.0.0/0 is everybody" in said
    assert "10" in said
    assert "12" in said
