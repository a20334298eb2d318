# SPDX-License-Identifier: AGPL-3.0-or-later
"""Data of every earlier form is brought to today's, and used (C1, A4): the last release of each schema writes it.

No old data is kept: the old programs are in the repository's history, and write it anew.
"""

import asyncio
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.server import free_port
from tests.support.forked import Loaded
from tests.support.night import NIGHTLY
from tests.support.thorough import NOTHING_IS_MISSED

ROOT = Path(__file__).parents[2]
STEPS = sorted(path.name[1:5] for path in (ROOT / "migrations" / "versions").glob("s[0-9]*.py"))
RELEASES = {
    "0001": "1bcb6942",
    "0002": "717a7b35",
    "0003": "e9e967ed",
    "0004": "53450991",
    "0005": "c0307f3c",
    "0006": "d266ee4a",
    "0007": "ed3f97ce",
    "0008": "ba6851b0",
    "0009": "fd542316",
}
"""The last published commit of each form of the data."""
CLIENT_BEFORE_ITS_TIME = "0002"
"""Of this one nobody's devices are let in again, and that is meant so (docs/decisions/0010): the heads of its account logs
were bound to no service and no account, and did not cover who had signed. Revision 2 had not been published, so nothing
reads such heads any more: to today's service their stamps do not hold. It shuts these accounts out, each by itself, and
says so (`account_log_damaged`); their clients are told "service temporarily unavailable" and get nothing of what waits.
An administrator's reset is the way back.
"""
PATIENCE_S = 60.0
LOADED = {package: Loaded(package) for package in ("gateway", "tmtp_client")}
LARGE = b"".join(b"%d\n" % number for number in range(40_000))  # beyond what is kept in rows
SETTINGS = """\
data_dir: ./data
http: {{listen: "127.0.0.1:{http}"}}
instances:
  - {{name: public, policy: public, registration: invite, listen: [{{tls: "127.0.0.1:{tls}"}}]}}
"""


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def archive_of(commit: str) -> bytes:
    """The files of a commit. Skips where the history is not there."""
    try:
        return git("archive", commit)
    except (OSError, subprocess.CalledProcessError):
        if NOTHING_IS_MISSED:
            pytest.fail(f"the repository's history has no {commit}: clone it whole")
        pytest.skip(f"the repository's history has no {commit}")


class Release:
    """The programs of one commit, or (None) of this tree, over a folder with settings and people."""

    def __init__(self, folder: Path, code: Path | None) -> None:
        self.folder = folder
        self._is_new = code is None
        self._environment = {**os.environ, "PYTHONPATH": str(code or ROOT), "PYTHONDONTWRITEBYTECODE": "1"}

    def gateway(self, *arguments: str) -> str:
        return self._run("gateway", {}, *arguments, "-c", str(self.folder / "gateway.yaml"))

    def client(self, who: str, *arguments: str | Path) -> str:
        return self._run("tmtp_client", {"TMTP_HOME": str(self.folder / who)}, *map(str, arguments))

    def _run(self, package: str, more: dict[str, str], *arguments: str) -> str:
        if self._is_new:
            environment = {**self._environment, **more}
            ended = asyncio.run(LOADED[package].run(arguments, environment, PATIENCE_S, folder=self.folder))
            assert ended.code == 0, (arguments, ended)
            return ended.out.decode()
        done = subprocess.run(
            [sys.executable, "-c", f"from {package}.cli.main import main; main()", *arguments],
            cwd=self.folder,
            env={**self._environment, **more},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator[None]:
        log = self.folder / "gateway.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", "from gateway.cli.main import main; main()", "serve", "-c", "gateway.yaml"],
                cwd=self.folder,
                env=self._environment,
                stderr=file,
            )
        end = time.monotonic() + PATIENCE_S
        try:
            while b"ready" not in log.read_bytes():
                assert process.poll() is None, log.read_text("utf-8")
                assert time.monotonic() < end, log.read_text("utf-8")
                time.sleep(0.05)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()

    def invitation(self, note: str) -> str:
        made = json.loads(self.gateway("invite", "--instance", "public", "--note", note, "--json"))
        return str(made["link"])

    def accounts(self) -> dict[str, str]:
        return {one["aliases"][0]: one["status"] for one in self._listed() if one["aliases"]}

    def waiting(self, who: str) -> int:
        return next(int(one["queued"]) for one in self._listed() if who in one["aliases"])

    def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.gateway("account", "list", "--instance", "public", "--json"))
        return listed


def converse(new: Release, folder: Path, form: str) -> None:
    """What waited arrives, and people write to each other as before."""
    told = new.client("Bob Builder", "inbox", "--json")
    assert "The plan." in told
    assert "A small one." in told
    saved = folder / "saved"
    for message in json.loads(told):
        if message.get("attachments"):
            new.client("Bob Builder", "read", message["id"], "--save", saved)
    assert LARGE in [file.read_bytes() for file in saved.rglob("*") if file.is_file()]
    if form == "0001":  # it did not know who is acquainted with whom, so a public instance asks for that again
        new.client("Ada Lovelace", "ping", "Bob Builder", "Ada again.")
    new.client("Bob Builder", "send", "Ada Lovelace", "Got it.")
    assert "Got it." in new.client("Ada Lovelace", "inbox")


def schema(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "data/instances/public/service.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found: str = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        return found


def test_each_form_of_the_data_but_todays_has_a_release_that_wrote_it() -> None:
    assert set(STEPS[:-1]) <= set(RELEASES)


TRIED = [*RELEASES] if NIGHTLY else [*RELEASES][:2] + [*RELEASES][-1:]
"""The eldest, which have most to go through, and the latest, which most people have; by night all."""


@pytest.mark.slow
@pytest.mark.parametrize("form", TRIED)
def test_data_of_an_earlier_release_is_used_by_this_one(form: str, tmp_path: Path) -> None:
    code = tmp_path / "code"
    with tarfile.open(fileobj=io.BytesIO(archive_of(RELEASES[form]))) as archive:
        archive.extractall(code, filter="data")
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(SETTINGS.format(http=free_port(), tls=free_port()), "utf-8")
    (folder / "large.txt").write_bytes(LARGE)

    old = Release(folder, code)
    with old.serving():
        for who in ("Ada Lovelace", "Bob Builder", "Mallory Mean"):
            old.client(who, "join", old.invitation(who), "--alias", who)
        kept = old.invitation("for Carol")
        old.client("Ada Lovelace", "ping", "Bob Builder", "Ada here.")
        old.client("Bob Builder", "inbox")
        old.client("Bob Builder", "ping", "Ada Lovelace", "Go ahead.")
        old.client("Ada Lovelace", "inbox")
        old.client("Ada Lovelace", "send", "Bob Builder", "The plan.", "--attach", folder / "large.txt")
        old.client("Ada Lovelace", "send", "Bob Builder", "A small one.")
        old.gateway("account", "bar", "--instance", "public", "Mallory Mean")
    assert schema(folder) == form

    new = Release(folder, None)
    with new.serving():
        assert new.accounts() == {"Ada Lovelace": "active", "Bob Builder": "active", "Mallory Mean": "barred"}
        if form == CLIENT_BEFORE_ITS_TIME:
            assert new.waiting("Bob Builder") == 2
            made = json.loads(new.gateway("account", "reset", "--instance", "public", "Bob Builder", "--yes", "--json"))
            new.client("Bob anew", "join", made["link"], "--alias", "Bob Builder")
            assert "account_log_damaged" in (folder / "gateway.log").read_text("utf-8")
            assert new.accounts()["Bob Builder"] == "active"
            new.client("Bob anew", "whoami")
        else:
            converse(new, folder, form)
        new.client("Carol Danvers", "join", kept, "--alias", "Carol Danvers")
        assert new.accounts()["Carol Danvers"] == "active"
    assert schema(folder) == STEPS[-1]
    assert not list(folder.rglob("service.sqlite3.before-*"))
