# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a closed process loads before it looks at a mail: a whole intake in it would be that much more to break into (D1),
and is waited for each time that one starts.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SMTP = Path(__file__).parents[2] / "bridges" / "smtp"
WORKERS = {
    "bridges.mime.worker": ("bridges.mime", "bridges.confined", "bridges.limits"),
    "bridges.smtp.proof.worker": ("bridges.smtp.proof", "bridges.mime", "bridges.confined", "bridges.limits"),
}
"""By its module: of the bridges, what it may load, with what is in it."""

INTAKES_OWN = {"aiohttp", "aiosmtpd", "aiosmtplib", "gateway", "OpenSSL", "sqlalchemy", "structlog", "tmtp_client"}


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_loads_its_own_rooms_only(worker: str) -> None:
    program = f"import sys, {worker}; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert worker in loaded
    packages = {worker.rsplit(".", at)[0] for at in range(1, worker.count(".") + 1)}
    ours = {name for name in loaded if name.split(".")[0] == "bridges"} - packages
    assert {name for name in ours if not f"{name}.".startswith(tuple(f"{one}." for one in WORKERS[worker]))} == set()
    assert loaded & INTAKES_OWN == set()


@pytest.mark.parametrize("room", sorted(SMTP.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_room_of_the_intake_loads_nothing_by_itself(room: Path) -> None:
    """Whoever wants one module of it would load them all."""
    assert [type(one) for one in ast.parse(room.read_text("utf-8")).body] == [ast.Expr]
