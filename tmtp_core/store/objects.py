# SPDX-License-Identifier: AGPL-3.0-or-later
"""Large payloads in a bucket, S3's or one like it: for an instance that several machines serve (docs/scaling.md).

An upload is gathered on this machine's disk, in a file without a name, a part at a time: however many post at once,
memory holds no more of them than it does with files. A reading fetches one range after the other, so that a link that
takes hours holds no connection meanwhile. Removing waits for nobody: the writer goes on, threads of their own do it.
"""

import contextlib
import os
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Final

import botocore.exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.session import Session

from tmtp_core import limits
from tmtp_core.ids import RandomBytes
from tmtp_core.store.payloads import Backlog, PayloadsUnavailable, new_name
from tmtp_core.store.places import Bucket

_CREDENTIAL_SOURCES: Final = ("env", "shared-credentials-file")  # no others are asked, no network either
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO
_GONE: Final = ("NoSuchKey", "NoSuchUpload")
_UPLOADING: Final = ("put_object", "create_multipart_upload", "upload_part", "complete_multipart_upload")
_FAILURES: Final = (
    *(botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError, OSError),
    *(ResponseParserError, LookupError, ValueError),  # what answers is no object storage
)
_CONNECTIONS_MAX: Final = limits.OBJECT_UPLOADERS + limits.OBJECT_READERS + limits.OBJECT_REMOVERS


class PayloadBucket:
    """One instance's part of a bucket. `owner` and `prefix` stand before the names of what this process writes.

    `report` hears, as (event, fields), when the bucket begins to fail. Raises OSError where it cannot be used.
    """

    def __init__(
        self,
        bucket: Bucket,
        owner: str,
        prefix: str,
        folder: Path,
        random_bytes: RandomBytes,
        report: Callable[[str, dict[str, object]], None],
    ) -> None:
        self._name = f"{bucket.name} at {bucket.endpoint}"
        self._bucket = bucket.name
        self._before = f"{bucket.prefix.strip('/')}/{owner}/".lstrip("/")
        self._prefix = prefix
        self.folder = folder
        self._random_bytes = random_bytes
        self._report = report
        self._failing = False
        self._ending = False
        self._client = self._connected(bucket)
        self.executor: Executor = ThreadPoolExecutor(limits.OBJECT_UPLOADERS, thread_name_prefix="tmtp-payload")
        # Never shut down: links that are being closed still read. Its threads end with it.
        self.readers: Executor | None = ThreadPoolExecutor(limits.OBJECT_READERS, thread_name_prefix="tmtp-reading")
        self.backlog = Backlog()
        self.left_behind: deque[str] = deque()
        self._removers = ThreadPoolExecutor(limits.OBJECT_REMOVERS, thread_name_prefix="tmtp-removing")
        self._lock = threading.Lock()
        self._removing = 0  # threads
        self._not_removed: OSError | None = None  # told to who removes next
        self._uploads: dict[str, str] = {}  # in parts, begun and not ended: their ids by name

    # -- as a store --------------------------------------------------------------------------------------------------
    def new_name(self) -> str:
        """See `PayloadStore`."""
        return new_name(self._prefix, self._random_bytes)

    def sink(self, name: str, size: int) -> "_Object":
        """See `PayloadStore`."""
        return _Object(self, name, size)

    def reading(self, file: str) -> "ObjectReading":
        """See `PayloadStore`."""
        return ObjectReading(self, file)

    def unlink(self, files: Iterable[str]) -> None:
        """See `PayloadStore`; returns before it is done."""
        with self._lock:
            self.left_behind.extend(files)
            failed, self._not_removed = self._not_removed, None
            wanted = min(len(self.left_behind), 1 if self._failing else limits.OBJECT_REMOVERS)
            starting = max(0, wanted - self._removing)
        for _ in range(starting):
            self._start_removing()
        if failed is not None:
            raise failed

    def sweep(self, sweepable: Callable[[str], bool]) -> int:
        """See `PayloadStore`. Looks at no names but those of this process's slot.

        Refuses a bucket that keeps what is deleted: nobody is to have what was acknowledged (A4).
        """
        if self._keeps_versions():
            raise OSError(f"{self._name} keeps what is deleted: suspend its versioning")
        found = 0
        for listing, of, field in (
            ("list_multipart_uploads", "Uploads", "UploadId"),
            ("list_objects_v2", "Contents", "Key"),
        ):
            for entry in self._listed(listing, of):
                name = entry["Key"].removeprefix(self._before)
                if field == "UploadId":  # whoever sent it is dead
                    self._abort(name, entry[field])
                elif sweepable(name):
                    self._remove(name)
                    found += 1
        return found

    def end_uploads(self) -> None:
        """See `PayloadStore`. To a bucket that fails nothing more is sent, or a stop would wait for each."""
        self._ending = True
        self.executor.shutdown()

    def close(self) -> None:
        """See `PayloadStore`."""
        self.end_uploads()
        self._removers.shutdown()

    # -- one request each; on worker threads -------------------------------------------------------------------------
    def put(self, name: str, content: IO[bytes]) -> None:
        """Store a whole object: it is durable when this returns."""
        self.ask("put_object", "ETag", Key=self._key(name), Body=content)

    def begin(self, name: str) -> None:
        """An object will come in parts."""
        self._uploads[name] = self.ask("create_multipart_upload", "UploadId", Key=self._key(name))

    def put_part(self, name: str, number: int, content: IO[bytes]) -> dict[str, object]:
        """Store one part, and what `complete` has to know of it."""
        upload = self._uploads[name]
        tag = self.ask("upload_part", "ETag", Key=self._key(name), UploadId=upload, PartNumber=number, Body=content)
        return {"ETag": tag, "PartNumber": number}

    def complete(self, name: str, parts: list[dict[str, object]]) -> None:
        """All parts came: the object is durable when this returns."""
        self.ask(
            "complete_multipart_upload",
            "ETag",
            Key=self._key(name),
            UploadId=self._uploads[name],
            MultipartUpload={"Parts": parts},
        )
        del self._uploads[name]

    def fetch(self, name: str, start: int) -> tuple[bytes, int] | None:
        """The octets from `start` on, one range of them, and how many the object has. None: it is gone."""
        wanted = f"bytes={start}-{start + limits.OBJECT_RANGE_BYTES - 1}"
        for attempt in range(1, limits.OBJECT_ATTEMPTS_MAX + 1):
            try:
                with self._failures("get_object"):  # until it begins to come, the library tries again
                    answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name), Range=wanted)
            except FileNotFoundError:
                return None
            try:
                with self._failures("get_object"):
                    return self._read(answer, start)
            except PayloadsUnavailable:
                if attempt == limits.OBJECT_ATTEMPTS_MAX:
                    raise
        raise AssertionError

    def ask(self, operation: str, field: str = "ResponseMetadata", **parameters: Any) -> Any:
        """One request, tried again as often as the limits say; a field of its answer.

        Raises `PayloadsUnavailable`, FileNotFoundError.
        """
        if operation in _UPLOADING and self._ending and self._failing:
            raise PayloadsUnavailable(f"{self._name} was failing when this process ended ({operation})")
        with self._failures(operation):
            return getattr(self._client, operation)(Bucket=self._bucket, **parameters)[field]

    # -- inside ------------------------------------------------------------------------------------------------------
    def _key(self, name: str) -> str:
        return self._before + name

    def _listed(self, listing: str, of: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator(listing).paginate(Bucket=self._bucket, Prefix=self._key(self._prefix))
        with self._failures(listing):
            for page in pages:
                yield from page.get(of, ())

    def _keeps_versions(self) -> bool:
        with self._failures("get_bucket_versioning"):
            try:
                answer = self._client.get_bucket_versioning(Bucket=self._bucket)
            except botocore.exceptions.ClientError:  # it has none, or does not tell
                return False
        return bool(answer.get("Status") == "Enabled")

    def _read(self, answer: dict[str, Any], start: int) -> tuple[bytes, int]:
        """All of the range that was asked for: its connection is free again, or closed."""
        with contextlib.closing(answer["Body"]) as body:
            span, _, size = answer.get("ContentRange", "bytes 0-/0").partition("/")
            first, _, last = span.removeprefix("bytes ").partition("-")
            octets: bytes = body.read(limits.OBJECT_RANGE_BYTES) if last else b""
        if not octets or int(first) != start or len(octets) != int(last) - start + 1:
            raise OSError("another range, or not all of it")
        return octets, int(size)

    def _abort(self, name: str, upload: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.ask("abort_multipart_upload", Key=self._key(name), UploadId=upload)

    def _remove(self, name: str) -> None:
        """An object, and the upload that it was to come from: its end may not have been answered."""
        upload = self._uploads.get(name)
        if upload is not None:
            self._abort(name, upload)
        with contextlib.suppress(FileNotFoundError):
            self.ask("delete_object", Key=self._key(name))
        self._uploads.pop(name, None)

    def _start_removing(self) -> None:
        with self._lock:
            self._removing += 1
        try:
            self._removers.submit(self._remove_what_waits)
        except RuntimeError:  # no thread can be started: the next call tries again
            with self._lock:
                self._removing -= 1
            raise

    def _remove_what_waits(self) -> None:
        """On a thread of their own, until nothing is left or something fails: that waits for the next call."""
        while True:
            with self._lock:
                if not self.left_behind:
                    self._removing -= 1
                    return
                name = self.left_behind.popleft()
            try:
                self._remove(name)
            except OSError as error:
                with self._lock:
                    self.left_behind.append(name)
                    self._not_removed = error
                    self._removing -= 1
                return

    def _connected(self, bucket: Bucket) -> Any:
        try:
            session = Session()
            found = session.get_component("credential_provider")
            found.providers = [one for one in found.providers if one.METHOD in _CREDENTIAL_SOURCES]
            credentials = session.get_credentials()
            if credentials is None:
                raise OSError(
                    f"{self._name}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file"
                    " that has them in AWS_SHARED_CREDENTIALS_FILE"
                )
            if credentials.method == "shared-credentials-file":
                _require_private(Path(session.get_config_variable("credentials_file")).expanduser())
            return session.create_client(
                "s3", region_name=bucket.region, endpoint_url=bucket.endpoint, config=_config()
            )
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise OSError(f"{self._name}: {type(error).__name__}") from None

    @contextlib.contextmanager
    def _failures(self, operation: str) -> Iterator[None]:
        """What the library raises as OSError, without the words of others: they may repeat what was sent."""
        try:
            yield
        except botocore.exceptions.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "no code"))
            if code in _GONE:
                raise FileNotFoundError(f"{self._name}: {code}") from None
            raise self._failed(operation, code) from None
        except _FAILURES as error:
            raise self._failed(operation, type(error).__name__) from None
        else:
            self._failing = False

    def _failed(self, operation: str, what: str) -> PayloadsUnavailable:
        error = PayloadsUnavailable(f"{self._name}: {what} ({operation})")
        if not self._failing:
            self._failing = True
            self._report("payload_store_failing", {"error": str(error)})
        return error


class _Object:
    """One object that is being written: at once, or in parts where it is larger than one."""

    def __init__(self, store: PayloadBucket, name: str, size: int) -> None:
        self._store = store
        self._name = name
        self._in_parts = size > limits.OBJECT_PART_BYTES
        self._part_bytes = max(limits.OBJECT_PART_BYTES, -(-size // limits.OBJECT_PARTS_MAX))
        self._parts: list[dict[str, object]] = []
        self._gathered: IO[bytes] | None = None
        self._size = 0  # of what is gathered
        self._asked = False  # there may be something in the bucket

    def write(self, piece: bytes) -> None:
        """See `Sink`."""
        view = memoryview(piece)
        while view:
            fits = view[: self._part_bytes - self._size]
            self._gather(fits)
            view = view[len(fits) :]
            if self._in_parts and self._size == self._part_bytes:
                self._send_part()

    def keep(self) -> None:
        """See `Sink`."""
        if not self._in_parts:
            self._asked = True
            self._store.put(self._name, self._rewound())
        else:
            if self._size:
                self._send_part()
            self._store.complete(self._name, self._parts)
        self._let_go()

    def drop(self) -> None:
        """See `Sink`."""
        self._let_go()
        if self._asked:
            with contextlib.suppress(OSError):  # an older failure: it was told when it happened
                self._store.unlink([self._name])

    def _gather(self, piece: memoryview) -> None:
        if self._gathered is None:
            self._gathered = tempfile.TemporaryFile(dir=self._store.folder, buffering=0)  # noqa: SIM115
        self._size += len(piece)
        while piece:
            piece = piece[self._gathered.write(piece) :]

    def _send_part(self) -> None:
        if not self._asked:
            self._asked = True
            self._store.begin(self._name)
        content = self._rewound()
        self._parts.append(self._store.put_part(self._name, len(self._parts) + 1, content))
        content.seek(0)
        content.truncate()
        self._size = 0

    def _rewound(self) -> IO[bytes]:
        assert self._gathered is not None
        self._gathered.seek(0)
        return self._gathered

    def _let_go(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered is not None:
            with contextlib.suppress(OSError):
                gathered.close()


class ObjectReading:
    """One payload on its way out, a range at a time. Between two ranges it holds nothing but memory."""

    def __init__(self, store: PayloadBucket, name: str) -> None:
        self._store = store
        self._name = name
        self._held = memoryview(b"")
        self._next = 0  # octet to fetch
        self._size = 0
        self._closed = False

    def open(self) -> bool:
        """See `PayloadReading`."""
        return not self._closed and self._fetch()

    def read(self, size: int) -> bytes:
        """See `PayloadReading`."""
        if self._closed:
            return b""
        if not self._held and self._next < self._size and not self._fetch():
            raise FileNotFoundError(f"{self._name} was removed while it was read")
        piece, self._held = self._held[:size], self._held[size:]
        return bytes(piece)

    def close(self) -> None:
        """See `PayloadReading`."""
        self._closed = True

    def _fetch(self) -> bool:
        fetched = self._store.fetch(self._name, self._next)
        if fetched is None:
            return False
        octets, self._size = fetched
        self._held = memoryview(octets)
        self._next += len(octets)
        return True


def _config() -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=limits.OBJECT_CONNECT_TIMEOUT_S,
        read_timeout=limits.OBJECT_ANSWER_TIMEOUT_S,
        retries={"total_max_attempts": limits.OBJECT_ATTEMPTS_MAX, "mode": "standard"},
        max_pool_connections=_CONNECTIONS_MAX,
        # Those that are not Amazon's: they have no names by bucket, and do not all know its newer checksums.
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _require_private(file: Path) -> None:
    """Raises OSError where others may read a file of credentials."""
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & _OTHERS_MAY:
        raise OSError(f"others may read the credentials in {file}: chmod 600 {file}")
