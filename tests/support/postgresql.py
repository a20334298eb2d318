# SPDX-License-Identifier: AGPL-3.0-or-later
"""The PostgreSQL of the tests: started when the first test asks for a database, gone with the tests.

TMTP_TEST_ENGINE=postgresql pytest tests/integration/test_consent.py    # the same tests on the other engine
"""

import atexit
import os
from functools import cache
from pathlib import Path

import pytest

from bench.postgresql import Cluster, binaries
from tmtp_core.store.shared_database import SharedDatabase

__all__ = ["ENGINE", "ON_SQLITE", "Cluster", "binaries", "cluster", "database_of"]

ENGINE = os.environ.get("TMTP_TEST_ENGINE", "sqlite")
"""On which engine `tests.support.instance` opens its databases."""


@cache
def cluster() -> Cluster:
    """The one that all tests of this process share."""
    one = Cluster(max_connections="400", shared_buffers="64MB")
    atexit.register(one.remove)
    one.start()
    return one


@cache
def _template() -> str:
    """A database that has the schema and nothing else: to copy it is faster than to make it."""
    url = cluster().new_database()
    SharedDatabase(url).close()
    return url.rpartition("/")[2]


@cache
def database_of(folder: Path) -> str:
    """The URL of a folder's database, which has nothing in it at first but the schema."""
    return cluster().new_database(_template())


ON_SQLITE = pytest.mark.skipif(ENGINE != "sqlite", reason="it looks into SQLite's file")
