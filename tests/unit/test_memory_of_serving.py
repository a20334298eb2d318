# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small service holds nothing in memory that it does not use (A7): what is loaded, which is most of what it takes."""

import subprocess
import sys

import pytest

UNUSED = {
    "the command line": ("typer", "click", "rich", "pygments"),
    "pages before the console is opened": ("jinja2", "segno"),
    "passkeys before somebody uses one": ("fido2", "cryptography"),
    "SMTP without a bridge": ("aiosmtpd", "OpenSSL", "dkim", "lxml", "bridges.mime", "bridges.smtp.intake"),
    "sign-in without a provider": ("joserfc",),
    "PostgreSQL without one": ("asyncpg", "greenlet"),
    "migrations of a database that is as it should be": ("alembic",),
    "pictures, which a worker reads": ("PIL",),
}
LOADED = """
import sys
from gateway.cli import process
process.load()
import gateway.console
print(*sys.modules)
"""
AUTHORITIES = """
import ssl
from gateway.cli import process
of_all = len(ssl.create_default_context().get_ca_certs())
process.load()
from aiohttp.connector import _SSL_CONTEXT_UNVERIFIED, _SSL_CONTEXT_VERIFIED
kept = [len(one.get_ca_certs()) for one in (_SSL_CONTEXT_VERIFIED, _SSL_CONTEXT_UNVERIFIED)]
print(*kept, len(ssl.create_default_context().get_ca_certs()) - of_all)
"""


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The modules of a process that serves, with the console listening."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    return frozenset(done.stdout.split())


@pytest.mark.parametrize("what", UNUSED)
def test_what_is_not_used_is_not_loaded(loaded: frozenset[str], what: str) -> None:
    assert not loaded.intersection(UNUSED[what])


def test_what_is_used_is(loaded: frozenset[str]) -> None:
    """Else the test above could not fail."""
    assert {"gateway.app", "gateway.console", "aiohttp", "sqlalchemy", "structlog", "pydantic"} <= loaded


def test_aiohttp_keeps_no_authorities_and_who_asks_for_the_systems_has_them() -> None:
    done = subprocess.run([sys.executable, "-c", AUTHORITIES], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "0"]
