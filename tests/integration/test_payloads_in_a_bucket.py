# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large payloads in an object storage, for services that share nothing but a database (A4; docs/scaling.md)."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from gateway.instance import StartFailed
from tests.integration.test_several_processes import EVERYONE, Pair, move, until
from tests.support.devices import KeyDevice, fresh_id, newcomer, refusal
from tests.support.gateway import running_gateway
from tests.support.instance import ManualClock, running_instance
from tests.support.objects import KEY, SWIFT, USER, Babbler, Cutter, ObjectStorage, storage
from tests.support.postgresql import binaries, cluster
from tmtp_core import limits
from tmtp_core.domain.policy import Acquaintance, Policy
from tmtp_core.domain.port import Body
from tmtp_core.schema import DatabaseUnfit
from tmtp_core.store.objects import PayloadBucket
from tmtp_core.store.opening import opened_payloads
from tmtp_core.store.payloads import Backlog, PayloadsUnavailable, Upload
from tmtp_core.store.places import Bucket
from tmtp_core.store.sharing import Sharing
from tmtp_core.wire import messages as m

POSTGRESQL = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed: apt-get install postgresql")
pytestmark = SWIFT

PATIENCE_S = 60
_PIECE_BYTES = 50_000
SMALL, LARGE = 100_000, 2 * limits.OBJECT_PART_BYTES + 12_345  # at once, and in three parts


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)


@pytest.fixture
def own_storage() -> Iterator[ObjectStorage]:
    """One that a test may stop."""
    one = ObjectStorage()
    one.start()
    try:
        yield one
    finally:
        one.remove()


@asynccontextmanager
async def a_pair(folder: Path, bucket: Bucket, policy: Policy = EVERYONE) -> AsyncIterator[Pair]:
    """Two services as on two machines: each with its own folder, and copies of the keys in it."""
    database = await asyncio.to_thread(cluster().new_database)
    options: dict[str, Any] = {"policy": policy, "database": database, "bucket": bucket}
    async with running_instance(folder / "one", clock=ManualClock(), **options) as one:
        (folder / "other").mkdir()
        for file in (folder / "one").iterdir():
            if file.is_file():
                shutil.copy2(file, folder / "other" / file.name)
        async with running_instance(folder / "other", clock=ManualClock(), **options) as other:
            pair = Pair(one, other, database)
            living = asyncio.create_task(pair.live())
            try:
                yield pair
            finally:
                living.cancel()


async def gone(storage: ObjectStorage, bucket: Bucket) -> None:
    """Nothing is left in the bucket, or soon will be."""
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(lambda: storage.keys(bucket) + storage.uploads(bucket)):
            await asyncio.sleep(0.05)


def files_of(pair: Pair) -> list[Path]:
    return [file for one in (pair.one, pair.other) for file in (one.folder / "payloads").iterdir()]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# -- services --------------------------------------------------------------------------------------------------------
@POSTGRESQL
async def test_what_is_posted_on_one_machine_arrives_on_another(tmp_path: Path) -> None:
    """Without a folder in common; after the last ack nothing of it is anywhere."""
    bucket = storage().new_bucket()
    async with a_pair(tmp_path, bucket) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        copy = await alice.add_full_device()
        await copy.quit()
        contents = [os.urandom(size) for size in (SMALL, LARGE, SMALL)]
        for content in contents:
            await alice.post(bob.uid, data=content)
        for content in contents:
            assert (await bob.next(m.Delivery))[1] == content
        await pair.other.settle()
        names = await asyncio.to_thread(storage().keys, bucket)
        assert len(names) == 3  # Alice's other device waits for them, too
        owner = pair.one.service.identity.public_key[:16].hex()
        assert all(name.startswith(f"some/where/{owner}/{pair.one.service._bus.slot:x}-") for name in names)
        assert files_of(pair) == []
        move(copy, pair.other)
        await copy.log_in()
        for content in contents:
            assert (await copy.next(m.Delivery))[1] == content
        for device in (alice, bob, copy):
            await device.quit()
        await gone(storage(), bucket)
        assert pair.ask("SELECT count(*) FROM message") == ["0"]


@POSTGRESQL
async def test_a_refused_post_and_a_repeated_one_leave_nothing(tmp_path: Path) -> None:
    bucket = storage().new_bucket()
    async with a_pair(tmp_path, bucket, Policy(acquaintance=Acquaintance.INTRODUCTION)) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        for size in (SMALL, LARGE):
            assert "acquaint" in await refusal(alice.post(bob.uid, data=bytes(size)))
        await bob.quit()
        await gone(storage(), bucket)
        repeated, entries = fresh_id(), [m.Recipient(alice.uid, m.TO_UID)]
        first = await alice.connection.post(repeated, entries, bytes(SMALL))
        again = await alice.connection.post(repeated, entries, bytes(SMALL))
        assert first == again
        await alice.quit()
        await gone(storage(), bucket)


@POSTGRESQL
async def test_a_storage_that_goes_away_comes_back(tmp_path: Path, own_storage: ObjectStorage) -> None:
    """Nothing is acknowledged that is not stored; links stay, small posts go on, and large ones when it is there."""
    bucket = own_storage.new_bucket()
    async with a_pair(tmp_path, bucket) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        await bob.quit()
        await alice.post(bob.uid, data=bytes(SMALL) + b"before")
        await asyncio.to_thread(own_storage.stop)
        for size in (SMALL, LARGE):
            assert "unavailable" in await refusal(alice.post(bob.uid, data=bytes(size)))
        await alice.post(bob.uid, data=b"small")
        assert pair.ask("SELECT count(*) FROM message") == ["2"]
        await bob.log_in()  # what it cannot be given yet delays it, and the link stays
        await asyncio.to_thread(own_storage.start)
        assert (await bob.next(m.Delivery))[1] == bytes(SMALL) + b"before"
        assert (await bob.next(m.Delivery))[1] == b"small"
        await alice.post(bob.uid, data=bytes(LARGE) + b"after")
        assert (await bob.next(m.Delivery))[1] == bytes(LARGE) + b"after"
        for device in (alice, bob):
            await device.quit()
        await pair.one.settle()  # each commit tries again what could not be removed
        await gone(own_storage, bucket)


@POSTGRESQL
async def test_a_storage_that_hangs_holds_nobody_for_ever(
    tmp_path: Path, own_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OBJECT_ANSWER_TIMEOUT_S", 2.0)  # also of what is stored afterwards
    bucket = own_storage.new_bucket()
    async with a_pair(tmp_path, bucket) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.other, "Bob the Builder")
        own_storage.hang(True)
        try:
            assert "unavailable" in await refusal(alice.post(bob.uid, data=bytes(SMALL)))
        finally:
            own_storage.hang(False)
        await alice.post(bob.uid, data=bytes(SMALL) + b"after")
        assert (await bob.next(m.Delivery))[1] == bytes(SMALL) + b"after"
        for device in (alice, bob):
            await device.quit()


@POSTGRESQL
async def test_a_start_sweeps_its_own_orphans_and_nobody_elses(tmp_path: Path) -> None:
    bucket, client = storage().new_bucket(), storage().client()
    async with a_pair(tmp_path, bucket) as pair:
        alice, bob = await newcomer(pair.other, "Alice Liddell"), await newcomer(pair.one, "Bob the Builder")
        await bob.quit()
        await alice.post(bob.uid, data=bytes(SMALL))
        (named,) = storage().keys(bucket)
        folder, mine = named.rpartition("/")[0], pair.other.service._bus.slot
        other_instance = folder.rpartition("/")[0] + "/" + 32 * "0"
        orphans = [f"{folder}/{mine:x}-left", f"{folder}/{mine:x}0-left", f"{other_instance}/{mine:x}-left"]
        for key in orphans:
            client.put_object(Bucket=bucket.name, Key=key, Body=b"x")
            begun = client.create_multipart_upload(Bucket=bucket.name, Key=key + "-in-parts")["UploadId"]
            client.upload_part(Bucket=bucket.name, Key=key + "-in-parts", UploadId=begun, PartNumber=1, Body=b"x")
        await alice.quit()
        await pair.other.restart()
        assert pair.other.service._bus.slot == mine
        assert sorted(storage().keys(bucket)) == sorted([named, *orphans[1:]])
        assert sorted(storage().uploads(bucket)) == sorted(key + "-in-parts" for key in orphans[1:])
        await bob.log_in()
        assert len((await bob.next(m.Delivery))[1]) == SMALL
        await bob.quit()


@POSTGRESQL
async def test_who_goes_away_half_way_leaves_nothing_running(tmp_path: Path) -> None:
    """No thread, no connection; and the device that comes back gets the whole of it."""
    bucket = storage().new_bucket()
    async with a_pair(tmp_path, bucket) as pair:
        alice, bob = await newcomer(pair.one, "Alice Liddell"), await newcomer(pair.one, "Bob the Builder")
        await bob.quit()
        content = os.urandom(LARGE)
        await alice.post(bob.uid, data=content)
        started = asyncio.Event()

        async def begin(event: object, payload: Any) -> None:
            async for _ in payload:
                started.set()
                await asyncio.Event().wait()

        hasty = KeyDevice(pair.one, bob.uid, bob.signer, bob.recovery)
        hasty._keep = begin  # type: ignore[method-assign]
        open_before = 0
        for number in range(3 * limits.OBJECT_READERS):
            started.clear()
            await hasty.log_in()
            await asyncio.wait_for(started.wait(), PATIENCE_S)
            await hasty.connection.close()
            await until(lambda: pair.one.service.figures()["links"] == 1)
            if number == limits.OBJECT_READERS:
                open_before = descriptors()
        assert descriptors() <= open_before + 2
        readers = [one for one in threading.enumerate() if one.name.startswith("tmtp-reading")]
        assert len(readers) <= 2 * limits.OBJECT_READERS
        await bob.log_in()
        assert (await bob.next(m.Delivery))[1] == content
        for device in (alice, bob):
            await device.quit()


# -- the store -------------------------------------------------------------------------------------------------------
class Opened:
    """A store of payloads alone, and what it reports."""

    def __init__(self, bucket: Bucket, folder: Path, prefix: str = "7-") -> None:
        folder.mkdir(exist_ok=True)
        self.reports: list[tuple[str, dict[str, object]]] = []
        self.store = PayloadBucket(
            bucket, "owner", prefix, folder, os.urandom, lambda event, fields: self.reports.append((event, fields))
        )

    def upload(self, content: bytes, after_first_part: Callable[[], None] = lambda: None) -> Body | OSError:
        """Send it as a link would."""
        result: Future[Body | OSError] = Future()
        upload = Upload(self.store, len(content), Backlog(self.store.backlog), lambda: None)
        for start in range(0, len(content), _PIECE_BYTES):
            upload.take(memoryview(content)[start : start + _PIECE_BYTES])
            if start < limits.OBJECT_PART_BYTES + limits.PAYLOAD_INLINE_MAX_BYTES <= start + _PIECE_BYTES:
                after_first_part()
        upload.finish(result.set_result)
        return result.result(PATIENCE_S)

    def stored(self, content: bytes) -> str:
        """The name under which it is stored."""
        body = self.upload(content)
        assert isinstance(body, Body)
        assert body.file is not None
        return body.file

    def read(self, name: str) -> bytes:
        """All of a payload."""
        reading, content = self.store.reading(name), bytearray()
        assert reading.open()
        while piece := reading.read(limits.PAYLOAD_CHUNK_BYTES):
            assert len(piece) <= limits.PAYLOAD_CHUNK_BYTES
            content += piece
        reading.close()
        assert reading.read(1) == b""
        return bytes(content)


def eventually(true: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(PATIENCE_S * 20):
        if true():
            return
        waited.wait(0.05)
    raise AssertionError("this did not come about")


@pytest.mark.parametrize(
    "size",
    [
        limits.PAYLOAD_INLINE_MAX_BYTES + 1,
        limits.OBJECT_RANGE_BYTES,
        limits.OBJECT_PART_BYTES,
        limits.OBJECT_PART_BYTES + 1,
        2 * limits.OBJECT_PART_BYTES,
        LARGE,
    ],
)
def test_what_is_stored_is_what_was_sent(tmp_path: Path, size: int) -> None:
    bucket, content = storage().new_bucket(), os.urandom(size)
    opened = Opened(bucket, tmp_path / "payloads")
    name = opened.stored(content)
    assert opened.read(name) == content
    opened.store.unlink([name, "7-never-there"])
    opened.store.close()
    assert storage().keys(bucket) == []
    assert storage().uploads(bucket) == []
    assert not opened.store.reading(name).open()
    assert list((tmp_path / "payloads").iterdir()) == []
    assert opened.store.backlog.size == 0
    assert not opened.store.left_behind
    assert opened.reports == []


def test_a_reading_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    content = os.urandom(LARGE)
    cutter = Cutter(storage().port, limits.OBJECT_RANGE_BYTES * 3 // 2)
    bucket = storage().new_bucket(cutter.port)
    opened = Opened(bucket, tmp_path / "payloads")
    name = opened.stored(content)
    assert opened.read(name) == content
    assert cutter.cuts >= LARGE // (2 * limits.OBJECT_RANGE_BYTES)
    cutter.close()
    opened.store.close()


def test_one_that_is_always_cut_is_given_up(tmp_path: Path) -> None:
    cutter = Cutter(storage().port, limits.OBJECT_RANGE_BYTES // 2)
    bucket = storage().new_bucket(cutter.port)
    opened = Opened(bucket, tmp_path / "payloads")
    name = opened.stored(bytes(LARGE))
    with pytest.raises(PayloadsUnavailable):
        opened.store.reading(name).open()
    cutter.close()
    opened.store.close()


def test_what_was_removed_meanwhile_is_no_end(tmp_path: Path) -> None:
    bucket = storage().new_bucket()
    opened = Opened(bucket, tmp_path / "payloads")
    name = opened.stored(bytes(LARGE))
    reading = opened.store.reading(name)
    assert reading.open()
    opened.store.unlink([name])
    opened.store.close()
    with pytest.raises(FileNotFoundError):
        while reading.read(limits.PAYLOAD_CHUNK_BYTES):
            pass


def test_an_upload_that_is_given_up_half_way_leaves_nothing(tmp_path: Path) -> None:
    bucket = storage().new_bucket()
    opened = Opened(bucket, tmp_path / "payloads")
    upload = Upload(opened.store, LARGE, Backlog(opened.store.backlog), lambda: None)
    for _ in range(0, limits.OBJECT_PART_BYTES + 2 * _PIECE_BYTES, _PIECE_BYTES):
        upload.take(memoryview(bytes(_PIECE_BYTES)))
    eventually(lambda: len(storage().uploads(bucket)) == 1)
    upload.discard()
    eventually(lambda: storage().uploads(bucket) == [])
    opened.store.close()
    assert storage().keys(bucket) == []
    assert opened.store.backlog.size == 0


def test_a_storage_that_dies_in_the_midst_of_an_upload(tmp_path: Path, own_storage: ObjectStorage) -> None:
    """The post is refused; what came of it is removed when the storage is there again."""
    bucket = own_storage.new_bucket()
    opened = Opened(bucket, tmp_path / "payloads")

    def die() -> None:
        eventually(lambda: len(own_storage.uploads(bucket)) == 1)
        own_storage.stop()

    failure = opened.upload(bytes(LARGE), die)
    assert isinstance(failure, PayloadsUnavailable)
    assert [event for event, _ in opened.reports] == ["payload_store_failing"]
    eventually(lambda: not opened.store._removing)
    assert len(opened.store.left_behind) == 1
    with pytest.raises(PayloadsUnavailable):
        opened.store.unlink([])  # it says so once
    own_storage.start()
    eventually(lambda: not opened.store._removing)
    if opened.store.left_behind:
        opened.store._not_removed = None
        opened.store.unlink([])
    opened.store.close()
    assert own_storage.uploads(bucket) == own_storage.keys(bucket) == []


def test_a_payload_that_no_thread_could_be_started_for_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = storage().new_bucket()
    opened = Opened(bucket, tmp_path / "payloads")
    name = opened.stored(bytes(SMALL))

    def no_thread(work: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as crowded:
        crowded.setattr(opened.store._removers, "submit", no_thread)
        with pytest.raises(RuntimeError):
            opened.store.unlink([name])
    opened.store.unlink([])
    opened.store.close()
    assert storage().keys(bucket) == []


def test_a_stop_asks_nothing_more_of_a_storage_that_fails(
    tmp_path: Path, own_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would wait for a time-out after the other."""
    monkeypatch.setattr(limits, "OBJECT_ANSWER_TIMEOUT_S", 0.5)
    opened = Opened(own_storage.new_bucket(), tmp_path / "payloads")
    assert isinstance(opened.upload(bytes(SMALL)), Body)
    put, asked = opened.store._client.put_object, []
    monkeypatch.setattr(opened.store._client, "put_object", lambda **what: (asked.append(what), put(**what))[1])
    own_storage.hang(True)
    results: list[Body | OSError] = []
    for _ in range(4 * limits.OBJECT_UPLOADERS):
        upload = Upload(opened.store, SMALL, Backlog(opened.store.backlog), lambda: None)
        upload.take(memoryview(bytes(SMALL)))
        upload.finish(results.append)
    opened.store.close()
    own_storage.hang(False)
    assert [type(result) for result in results] == [PayloadsUnavailable] * (4 * limits.OBJECT_UPLOADERS)
    assert len(asked) <= 2 * limits.OBJECT_UPLOADERS


@pytest.mark.parametrize("page", [b"", b"<html>Welcome"])
def test_what_is_no_object_storage_is_unavailable(tmp_path: Path, page: bytes) -> None:
    """A server that answers everything with a page: nothing is stored there, and nobody waits for it."""
    with Babbler(page) as babbler:
        opened = Opened(Bucket(f"http://127.0.0.1:{babbler.port}", "tmtp", "us-east-1"), tmp_path / "payloads")
        for size in (SMALL, LARGE):
            assert isinstance(opened.upload(bytes(size)), PayloadsUnavailable)
        with pytest.raises(PayloadsUnavailable):
            opened.store.reading("7-x").open()
        opened.store.close()


_MEASURED = """
import os, resource, sys, threading
from pathlib import Path
from tmtp_core.store.places import Bucket
from tmtp_core.store.objects import PayloadBucket
from tmtp_core.store.payloads import Backlog, Upload
from tmtp_core import limits
endpoint, name, folder, size = *sys.argv[1:4], int(sys.argv[4])
store = PayloadBucket(Bucket(endpoint, name, "us-east-1"), "owner", "0-", Path(folder), os.urandom, print)
progress, done, results = threading.Event(), threading.Event(), []
def send(size):
    done.clear()
    backlog = Backlog(store.backlog)
    upload = Upload(store, size, backlog, progress.set)
    chunk = memoryview(os.urandom(1 << 16))
    for start in range(0, size, len(chunk)):
        while backlog.size >= limits.UPLOAD_BACKLOG_MAX_BYTES:
            progress.wait(); progress.clear()
        upload.take(chunk[:size - start])
    upload.finish(lambda result: (results.append(result), done.set()))
    done.wait()
    reading, got = store.reading(results[-1].file), 0
    assert reading.open()
    while piece := reading.read(limits.PAYLOAD_CHUNK_BYTES):
        got += len(piece)
    assert got == size
send(2 * limits.OBJECT_PART_BYTES)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
send(size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
store.close()
"""


def test_the_largest_takes_no_more_memory(tmp_path: Path) -> None:
    bucket = storage().new_bucket()
    arguments = [bucket.endpoint, bucket.name, tmp_path, str(200 << 20)]
    done = subprocess.run([sys.executable, "-c", _MEASURED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 << 10  # KiB


# -- how it is opened ------------------------------------------------------------------------------------------------
def refused_opening(bucket: Bucket, folder: Path) -> str:
    opened = None
    try:
        opened = Opened(bucket, folder)
        opened.store.sweep(lambda name: True)
    except OSError as error:
        return str(error)
    finally:
        if opened is not None:
            opened.store.close()
    raise AssertionError("this was not refused")


def test_wrong_credentials_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    words = refused_opening(storage().new_bucket(), tmp_path)
    assert "SignatureDoesNotMatch" in words
    assert "not-the-secret" not in words
    assert USER not in words


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path) -> None:
    bucket = Bucket(f"http://127.0.0.1:{storage().port}", "nowhere", "us-east-1")
    assert "nowhere at http://127.0.0.1" in refused_opening(bucket, tmp_path)
    assert "NoSuchBucket" in refused_opening(bucket, tmp_path)


def test_a_bucket_that_keeps_what_is_deleted_is_refused(tmp_path: Path) -> None:
    """Nobody is to have what was acknowledged (A4)."""
    bucket = storage().new_bucket()
    versions = {"Bucket": bucket.name, "VersioningConfiguration": {"Status": "Enabled"}}
    storage().client().put_bucket_versioning(**versions)
    assert "versioning" in refused_opening(bucket, tmp_path)


@POSTGRESQL
async def test_the_settings_name_the_bucket(tmp_path: Path) -> None:
    bucket = storage().new_bucket()
    settings = f"""\
data_dir: ./data
http: {{listen: "127.0.0.1:0"}}
instances:
  - name: members
    policy: members
    listen: [{{tls: "127.0.0.1:0"}}]
    database: {await asyncio.to_thread(cluster().new_database)}
    payloads: {{s3: {{endpoint: "{bucket.endpoint}", bucket: {bucket.name}, prefix: "a/b"}}}}
"""
    async with running_gateway(tmp_path, settings) as gateway:
        store = gateway.instances["members"].service.payloads
        assert isinstance(store, PayloadBucket)
        await asyncio.to_thread(store.put, "1-x", BytesIO(b"x"))
        owner = gateway.instances["members"].service.identity.public_key[:16].hex()
        assert await asyncio.to_thread(storage().keys, bucket) == [f"a/b/{owner}/1-x"]
    with pytest.raises(StartFailed, match=r"instance members cannot open its data: nowhere at .*NoSuchBucket"):
        async with running_gateway(tmp_path, settings.replace(f"bucket: {bucket.name}", "bucket: nowhere")):
            pass


def test_credentials_may_be_in_a_file_that_nobody_else_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file, bucket = tmp_path / "credentials", storage().new_bucket()
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert "AWS_ACCESS_KEY_ID" in refused_opening(bucket, tmp_path / "payloads")
    file.write_text(f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {KEY}\n")
    file.chmod(0o640)
    assert "chmod 600" in refused_opening(bucket, tmp_path / "payloads")
    file.chmod(0o600)
    opened = Opened(bucket, tmp_path / "payloads")
    assert isinstance(opened.upload(bytes(SMALL)), Body)
    assert opened.store.sweep(lambda name: True) == 1
    opened.store.close()
    assert storage().keys(bucket) == []


def test_its_library_is_needed_by_who_wants_it_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, here = Bucket("https://s3.example", "tmtp", "us-east-1"), Sharing(0, "token")
    with pytest.raises(DatabaseUnfit):
        opened_payloads(tmp_path, bucket, bytes(32), None, os.urandom, lambda event, fields: None)
    monkeypatch.delitem(sys.modules, "tmtp_core.store.objects")
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(OSError, match=r"pip install 'tmtp-gateway\[s3\]'"):
        opened_payloads(tmp_path, bucket, bytes(32), here, os.urandom, lambda event, fields: None)
    program = "import sys, gateway.program; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
