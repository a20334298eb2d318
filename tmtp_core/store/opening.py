# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which database an instance is in, and where its large payloads are; what only some need is loaded for them alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tmtp_core.ids import RandomBytes
from tmtp_core.schema import DatabaseUnfit
from tmtp_core.store.database import Database, Store
from tmtp_core.store.payloads import PayloadFolder, PayloadStore
from tmtp_core.store.places import Bucket
from tmtp_core.store.references import file_prefix
from tmtp_core.store.sharing import Sharing

if TYPE_CHECKING:
    from tmtp_core.store.bus import Bus

_THREADS = 2
_OWNER_BYTES = 16


def opened_database(folder: Path, address: str | None) -> Store:
    """PostgreSQL at `address`, or SQLite in the folder. Raises what their constructors raise."""
    if address is None:
        return Database(folder / "service.sqlite3")
    from tmtp_core.store.shared_database import SharedDatabase  # noqa: PLC0415 - with its driver, 5 MB

    return SharedDatabase(address)


def opened_bus(
    database: Store, in_loop: Callable[[Callable[[], None]], None], report: Callable[[str, dict[str, object]], None]
) -> "Bus | None":
    """How this process hears of the others, where there can be any."""
    if database.sharing is None:
        return None
    from tmtp_core.store.bus import Bus  # noqa: PLC0415 - see `opened_database`
    from tmtp_core.store.shared_database import SharedDatabase  # noqa: PLC0415

    assert isinstance(database, SharedDatabase)
    return Bus(database.dsn, database.sharing.slot, database.sharing.token, in_loop, report)


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
