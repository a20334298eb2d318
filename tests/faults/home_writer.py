# SPDX-License-Identifier: AGPL-3.0-or-later
"""A client's home that changes all the time, and says on standard output what it began and what is durable.

    python -m tests.faults.home_writer HOME SEED

Lines of JSON: `["begun", what, …]` before it changes a slot or leaves an account, `["done", what, …]` once the call has
returned. It goes on until the disk is gone.
"""

import asyncio
import json
import os
import random
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, insert

from tmtp_client import limits
from tmtp_client.store.database import Database
from tmtp_client.store.tables import stamp
from tmtp_client.vault.vault import Vault

limits.PASSPHRASE_OPS, limits.PASSPHRASE_MEMORY_BYTES = 1, 1 << 13

ROWS = 5  # in one commit, or in some


def say(*what: object) -> None:
    """To whoever checks."""
    print(json.dumps(what), flush=True)


def add(row: str, c: Connection) -> None:
    """A change of the database."""
    c.execute(insert(stamp).values(latest=row))


async def write(home: Path, chance: random.Random, secret: str | None) -> None:
    """Change whatever comes next, for ever."""
    vault = Vault(home, os.urandom, None, lambda: 1)
    if not vault.is_made:
        vault.make()
    elif not vault.open_alone():
        assert secret is not None
        vault.unlock(secret)
    account = vault.account("kept", make=True)
    database = Database(account.folder, account.database_key)
    await database.open()
    say("done", "opened")
    for number in range(1_000_000):
        what = chance.choice(["passphrase", "away", "row", "row", "file", "leave"])
        name = f"{os.getpid()}-{number}"
        if what == "passphrase":
            say("begun", what, f"the passphrase {name}")
            vault.set_passphrase(f"the passphrase {name}")
            say("done", what, f"the passphrase {name}")
        elif what == "away":
            say("begun", what)
            vault.set_passphrase("")
            say("done", what)
        elif what == "row":
            rows = [f"{name}-{number}" for number in range(ROWS)]
            await asyncio.gather(*(database.write(partial(add, row)) for row in rows))
            say("done", what, *rows)
        elif what == "file":
            with account.files.writer() as writer:
                writer.write(name.encode() * chance.randrange(1, 10_000))
                stored = writer.finish()
            say("done", what, stored.file, stored.hash.hex())
        else:
            vault.account(f"left-{name}", make=True)
            vault.destroy(f"left-{name}")
            say("done", what, f"left-{name}")


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), random.Random(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
