# SPDX-License-Identifier: AGPL-3.0-or-later
"""Certificates that are replaced while the service runs (C1, D4): nobody is cut off, newcomers see the new one."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from gateway.certificates import CertificateFiles, ensure_self_signed, make_self_signed, spki_pin
from gateway.instance import StartFailed
from gateway.listeners.http import HttpListener
from tests.faults.load import Process
from tests.support.devices import KeyDevice, newcomer
from tests.support.gateway import SETTINGS, running_gateway
from tests.support.instance import ManualClock, running_instance
from tmtp_client.connection import AccountKeys, Connection, Disconnected, Endpoint, WrongService
from tmtp_core import limits
from tmtp_core.crypto.spki import spki_hash, valid_until_s
from tmtp_core.wire import messages as m


def certificate(folder: Path, name: str = "one") -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    files = folder / f"{name}.crt", folder / f"{name}.pem"
    make_self_signed(*files, name, datetime.now(UTC))
    return files


async def pulse_of(device: KeyDevice) -> None:
    """The link stands: a request on it is answered."""
    await device.aliases()
    await device.post(device.uid)


async def test_links_stand_and_new_ones_see_the_new_certificate(tmp_path: Path) -> None:
    other = certificate(tmp_path / "other")
    async with running_instance(tmp_path / "instance") as instance:
        ada, bob = await newcomer(instance, "Ada Lovelace"), await newcomer(instance, "Bob Builder")
        await bob.connection.quit()
        first = instance.spki_pin
        half_way = await bob.open()  # has greeted, and logs in after the change
        for source, name in zip(other, ("tls.crt", "tls.key"), strict=True):
            shutil.copyfile(source, tmp_path / "instance" / name)
        instance.running.reload_certificate()
        assert instance.spki_pin == spki_pin(other[0]) != first
        await pulse_of(ada)
        assert (await half_way.login_by_key(bob.uid, bob.signer)).info == "login ok"  # names the key that it saw
        await half_way.quit()
        with pytest.raises(WrongService):
            await Connection.open(Endpoint(instance.host, instance.port, first), revision="2")
        await bob.log_in()  # by the new pin; his log-in names the new key
        await bob.post(ada.uid)
        await ada.next(m.Delivery)
        for device in (ada, bob):
            await device.connection.close()


async def test_who_shakes_hands_during_the_change_logs_in_by_the_certificate_that_he_saw(tmp_path: Path) -> None:
    """Newcomers while the certificate changes all the time: each gets in, whichever he saw."""
    async with running_instance(tmp_path / "instance") as instance:
        pairs = [certificate(tmp_path / "certificates", str(number)) for number in range(2)]
        ada = await newcomer(instance, "Ada Lovelace")
        await ada.connection.quit()
        done = asyncio.Event()

        async def change() -> int:
            count = 0
            while not done.is_set():
                for source, name in zip(pairs[count % 2], ("tls.crt", "tls.key"), strict=True):
                    shutil.copyfile(source, tmp_path / "instance" / name)
                instance.running.reload_certificate()
                count += 1
                await asyncio.sleep(0.002)
            return count

        changing = asyncio.create_task(change())
        entered = 0
        try:
            for _ in range(60):
                endpoint = Endpoint(instance.host, instance.port, instance.spki_pin)
                try:
                    connection = await Connection.open(endpoint, revision="2")
                except WrongService:  # the certificate changed between looking and dialling
                    continue
                info = await connection.login_by_key(ada.uid, ada.signer)
                assert info.info == "login ok"
                entered += 1
                await connection.quit()
        finally:
            done.set()
            changes = await changing
        assert entered > 5
        assert changes > 5


@pytest.mark.parametrize("broken", ["other key", "nonsense", "gone", "half"])
async def test_a_broken_certificate_leaves_the_one_before_in_use(
    tmp_path: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    crt, key = certificate(tmp_path / "own")
    other, _ = certificate(tmp_path / "other")
    clock = ManualClock()
    async with running_instance(tmp_path / "instance", clock=clock) as instance:
        pin = instance.spki_pin
        file = tmp_path / "instance/tls.crt"
        before = file.read_bytes()
        if broken == "other key":
            shutil.copyfile(other, file)
        elif broken == "nonsense":
            file.write_text("not a certificate")
        elif broken == "half":
            file.write_bytes(before[: len(before) // 2])
        else:
            file.unlink()
        for _ in range(5):
            await instance.advance(6)
        assert instance.spki_pin == pin
        ada = await newcomer(instance, "Ada Lovelace")
        await ada.connection.close()
        said = capsys.readouterr()
        assert (said.out + said.err).count("certificate_not_reloaded") == 1  # loudly, and once
        for source, name in ((crt, "tls.crt"), (key, "tls.key")):
            shutil.copyfile(source, tmp_path / "instance" / name)
        for _ in range(3):
            await instance.advance(6)
        assert instance.spki_pin == spki_pin(crt)


async def test_a_bridge_follows_a_new_key(tmp_path: Path) -> None:
    """Its link stands; when it ends, the bridge finds its way by the new pin (C2)."""
    other = certificate(tmp_path / "other")
    async with running_gateway(tmp_path, SETTINGS) as gateway:
        intake = gateway.bridges["intake"]
        service = intake._service
        assert service is not None
        await service.current(20)
        for source, name in zip(other, ("tls.crt", "tls.key"), strict=True):
            shutil.copyfile(source, tmp_path / "data/instances/public" / name)
        gateway.reload_certificates()
        connection = await service.current(20)
        await connection.close()
        again = await service.current(20)
        assert again is not connection


async def test_a_bridge_follows_a_new_key_and_the_instance_lives_on_where_the_disk_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What says where the service is cannot be written: that is said, and no deadline stands still for it (C2)."""
    other = certificate(tmp_path / "other")
    async with running_gateway(tmp_path, SETTINGS) as gateway:
        await asyncio.to_thread((tmp_path / "data/bridges/intake/service.json.new").mkdir)  # in the way, as a full disk
        for source, name in zip(other, ("tls.crt", "tls.key"), strict=True):
            await asyncio.to_thread(shutil.copyfile, source, tmp_path / "data/instances/public" / name)
        gateway.reload_certificates()
        service = gateway.bridges["intake"]._service
        assert service is not None
        assert service.endpoint.pin == spki_pin(other[0])
    said = capsys.readouterr()
    assert "bridge_not_told" in said.out + said.err


async def test_when_it_ends_is_on_metrics(tmp_path: Path) -> None:
    async with running_instance(tmp_path / "instance") as instance:
        http = HttpListener({"test": instance.running}, "127.0.0.1", 0)
        await http.start()
        try:
            url = "http://{}:{}/metrics".format(*http.address)
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                text = await answer.text()
        finally:
            await http.stop()
        from cryptography import x509  # noqa: PLC0415

        ends = x509.load_pem_x509_certificate((tmp_path / "instance/tls.crt").read_bytes()).not_valid_after_utc
        line = next(line for line in text.splitlines() if line.startswith("tmtp_certificate_ends_timestamp_seconds{"))
        assert float(line.split()[-1]) == ends.timestamp()
        assert 'tmtp_journal_behind{instance="test"} 0.0' in text


def test_the_end_of_a_certificate_is_read_from_both_forms_of_time(tmp_path: Path) -> None:
    """UTCTime up to 2049, GeneralizedTime afterwards (RFC 5280 §4.1.2.5)."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    for year in (2026, 2045):
        crt, key = tmp_path / "c", tmp_path / "k"
        make_self_signed(crt, key, "x", datetime(year, 5, 6, 7, 8, 9, tzinfo=UTC))
        loaded = x509.load_pem_x509_certificate(crt.read_bytes())
        assert valid_until_s(loaded.public_bytes(Encoding.DER)) == loaded.not_valid_after_utc.timestamp()
        assert CertificateFiles(crt, key).load().ends_s == loaded.not_valid_after_utc.timestamp()
    for wrong in (b"", b"\x30\x03\x30\x01\x00", os.urandom(200)):
        with pytest.raises(ValueError):
            valid_until_s(wrong)


@pytest.mark.parametrize("title", ["Ä" * 100, "工" * 33, "a" + "🙂" * 25, "x" * 100])
def test_a_service_of_any_title_gets_a_certificate(tmp_path: Path, title: str) -> None:
    """Its name has 64 octets in there, and a title 100 letters: the first start failed over it."""
    crt, _ = ensure_self_signed(tmp_path, title)
    assert spki_pin(crt).startswith("sha256:")


async def test_a_key_whose_certificate_is_gone_stays_what_clients_have_pinned(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    crt, key = ensure_self_signed(tmp_path / "instance", "x")
    pin, raw = spki_pin(crt), key.read_bytes()
    crt.unlink()
    ensure_self_signed(tmp_path / "instance", "x")
    assert (spki_pin(crt), key.read_bytes()) == (pin, raw)
    CertificateFiles(crt, key).load()
    crt.unlink()
    key.write_text("damaged")
    with pytest.raises(StartFailed, match="restore both"):
        async with running_instance(tmp_path / "instance"):
            pass
    assert key.read_text() == "damaged"


async def test_a_hangup_signal_reloads(tmp_path: Path) -> None:
    """SIGHUP to a real process, which goes on (C1)."""
    process = Process(tmp_path)
    await process.start()
    try:
        other = certificate(tmp_path / "other")
        before = process.endpoint()
        connection = await Connection.open(before, revision="2")
        keys = AccountKeys.new(os.urandom)
        await connection.register_keys("one", keys, "Ada Lovelace")
        for source, name in zip(other, ("tls.crt", "tls.key"), strict=True):
            shutil.copyfile(source, process.instance / name)
        process.tell(signal.SIGHUP)
        after = process.endpoint()
        assert after.pin != before.pin
        async with asyncio.timeout(60):
            while True:
                try:
                    fresh = await Connection.open(after, revision="2")
                    break
                except (WrongService, Disconnected, OSError):
                    await asyncio.sleep(0.02)
        await fresh.close()
        await connection.ask(m.UserEdit("alias", newalias="Ada of the Site"))
        await connection.quit()
    finally:
        await process.end(signal.SIGTERM)


_HANGS_UP_WHILE_IT_STARTS = """
import os, signal, sys
from gateway.app import Gateway
start = Gateway.start

async def hung_up(self):
    os.kill(os.getpid(), signal.SIGHUP)
    await start(self)
    os.kill(os.getpid(), signal.SIGTERM)

reload = Gateway.reload_certificates

def told(self):
    print("reloaded", len(self.instances), flush=True)
    reload(self)

Gateway.start, Gateway.reload_certificates = hung_up, told
import asyncio, pathlib
from gateway.cli.serving import serve_until_told
from gateway.settings import load_settings
sys.exit(not asyncio.run(serve_until_told(load_settings(pathlib.Path(sys.argv[1])))))
"""


async def test_a_hangup_signal_while_it_starts_is_heard_and_ends_nothing(tmp_path: Path) -> None:
    """By default it would: certbot's hook and `systemctl reload` come when they come (C1)."""
    config = tmp_path / "gateway.yaml"
    config.write_text(SETTINGS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HANGS_UP_WHILE_IT_STARTS, str(config), stdout=-1, stderr=-1, cwd=tmp_path
    )
    printed, complained = await process.communicate()
    assert (process.returncode, complained) == (0, b""), printed
    assert b"reloaded 2" in printed


async def _shown_at(port: int, *, starttls: bool = False) -> str:
    """The pin of the certificate that a newcomer sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if starttls:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"STARTTLS\r\n")
        assert (await reader.readline()).startswith(b"220")
        await writer.start_tls(context)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return "sha256:" + base64.urlsafe_b64encode(spki_hash(shown)).rstrip(b"=").decode()


@pytest.mark.parametrize("told", [True, False], ids=["by SIGHUP", "by itself"])
async def test_the_administrators_page_and_the_intake_show_the_new_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """What clients do not pin is renewed as well, and a bad pair of files leaves what was before (C1, C2)."""
    monkeypatch.setattr(limits, "CERTIFICATE_LOOK_INTERVAL_S", 3600 if told else 0.02)
    crt, key = certificate(tmp_path / "tls")
    other = certificate(tmp_path / "other")
    settings = SETTINGS.replace("hostname: mx", f"tls: {{certificate: {crt}, key: {key}}}\n      hostname: mx")
    settings += f'administration: {{listen: "127.0.0.1:0", tls: {{certificate: {crt}, key: {key}}}}}\n'
    async with running_gateway(tmp_path, settings) as gateway:
        page, intake = gateway.administration_address[1], gateway.bridges["intake"].address[1]

        async def shown(pin: str) -> None:
            async with asyncio.timeout(60):
                while {await _shown_at(page), await _shown_at(intake, starttls=True)} != {pin}:
                    assert not told
                    await asyncio.sleep(0.02)

        await shown(spki_pin(crt))
        before = spki_pin(crt)
        shutil.copyfile(other[0], crt)  # its key is yet to come
        gateway.reload_certificates()
        assert {await _shown_at(page), await _shown_at(intake, starttls=True)} == {before}
        shutil.copyfile(other[1], key)
        if told:
            gateway.reload_certificates()
        await shown(spki_pin(other[0]))
