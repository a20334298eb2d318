# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which store an instance's large payloads are in: a folder, or a bucket that several machines reach."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tmtp_core.ids import RandomBytes
from tmtp_core.store.payloads import PayloadFolder, PayloadStore
from tmtp_core.store.references import file_prefix
from tmtp_core.store.schema import DatabaseUnfit
from tmtp_core.store.sharing import Sharing

_THREADS = 2
_OWNER_BYTES = 16


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of an S3-compatible object storage, by path: `endpoint`/`name`/`prefix`…"""

    endpoint: str
    name: str
    region: str
    prefix: str = ""


def opened_payloads(
    folder: Path,
    bucket: Bucket | None,
    owner: bytes,
    sharing: Sharing | None,
    random_bytes: RandomBytes,
    report: Callable[[str, dict[str, object]], None],
) -> PayloadStore:
    """The store of the instance whose key is `owner`. Raises `DatabaseUnfit`, or OSError where a bucket cannot be used.

    Each process writes names of its own, and at start sweeps those that nobody needs. Each instance has its own part of
    a bucket, by its key: two that are given one bucket do not sweep each other's.
    """
    prefix = file_prefix(sharing.slot) if sharing is not None else ""
    if bucket is None:
        executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="tmtp-payload")
        return PayloadFolder(folder, executor, random_bytes, prefix)
    if sharing is None:
        raise DatabaseUnfit("payloads are kept in a bucket where the database is PostgreSQL")
    try:
        from tmtp_core.store.objects import PayloadBucket  # noqa: PLC0415 - its library is not everybody's
    except ModuleNotFoundError as missing:
        raise OSError(f"{missing.name} is not installed: pip install 'tmtp-gateway[s3]'") from None
    return PayloadBucket(bucket, owner[:_OWNER_BYTES].hex(), prefix, folder, random_bytes, report)
