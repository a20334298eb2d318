# SPDX-License-Identifier: AGPL-3.0-or-later
"""A profile as the first clients kept it: a plain SQLite file beside plain attachments."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tmtp_core.crypto.account_log import LogState
from tmtp_core.crypto.encoding import to_text
from tmtp_core.crypto.log_records import append, encode_record, genesis
from tmtp_core.crypto.signing import Signer

_SCHEMA = """
CREATE TABLE identity (uid VARCHAR NOT NULL, node VARCHAR NOT NULL, alias VARCHAR NOT NULL, host VARCHAR NOT NULL,
  port INTEGER NOT NULL, pin VARCHAR, ca_file VARCHAR, service VARCHAR NOT NULL, PRIMARY KEY (uid));
CREATE TABLE keys (service_key VARCHAR NOT NULL, seed BLOB NOT NULL, box_key BLOB NOT NULL, PRIMARY KEY (service_key));
CREATE TABLE pending (service_key VARCHAR NOT NULL, seed BLOB NOT NULL, box_key BLOB NOT NULL,
  recovery_seed BLOB NOT NULL, PRIMARY KEY (service_key));
CREATE TABLE log_record (place INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (place));
CREATE TABLE contact (alias VARCHAR NOT NULL, uid VARCHAR NOT NULL, PRIMARY KEY (alias));
CREATE INDEX ix_contact_uid ON contact (uid);
CREATE TABLE message (id VARCHAR NOT NULL, kind VARCHAR NOT NULL, outgoing INTEGER NOT NULL, peer VARCHAR NOT NULL,
  alias VARCHAR NOT NULL, subject VARCHAR NOT NULL, text VARCHAR NOT NULL, thread VARCHAR NOT NULL,
  posted VARCHAR NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TABLE attachment (message VARCHAR NOT NULL, place INTEGER NOT NULL, name VARCHAR NOT NULL,
  size INTEGER NOT NULL, path VARCHAR NOT NULL, PRIMARY KEY (message, place));
CREATE TABLE outbox (request_id VARCHAR NOT NULL, "order" INTEGER NOT NULL, kind VARCHAR NOT NULL,
  "to" VARCHAR NOT NULL, alias VARCHAR NOT NULL, subject VARCHAR NOT NULL, text VARCHAR NOT NULL,
  thread VARCHAR NOT NULL, files VARCHAR NOT NULL, error VARCHAR NOT NULL, PRIMARY KEY (request_id));
"""

UID, BOB, CAROL, DAVE, GHOST = "A" * 32, "B" * 32, "C" * 32, "D" * 32, "G" * 32
ADA = "Ada Lovelace"
SERVICE, DEVICE, RECOVERY = (Signer(bytes([number]) * 32) for number in (1, 2, 3))
BOX_KEY = bytes([4]) * 32
SERVICE_KEY = SERVICE.public


class FirstClient:
    """The profile of Ada, a member with keys; what is given to `add` is a row of a table."""

    def __init__(self, folder: Path, *, revision: int = 2) -> None:
        self.folder = folder
        (folder / "attachments").mkdir(mode=0o700, parents=True)
        with closing(self._connected()) as raw, raw:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.executescript(_SCHEMA)
        self.add(
            "identity",
            uid=UID,
            node="" if revision == 2 else "N" * 40,
            alias=ADA,
            host="127.0.0.1",
            port=9,
            pin="sha256:x",
            ca_file=None,
            service="Test Site",
        )
        if revision == 2:
            self.add("keys", service_key=SERVICE_KEY, seed=bytes([2]) * 32, box_key=BOX_KEY)
            log = LogState.begin(SERVICE.public_key, UID)
            said = genesis(DEVICE, RECOVERY, to_text(BOX_KEY), SERVICE.public_key)
            record = append(log, *said, 1_000, uid=UID, service=SERVICE)
            self.add("log_record", place=0, record=encode_record(record))
            self.head = log.head_text

    @property
    def path(self) -> Path:
        """The plain database."""
        return self.folder / "history.sqlite3"

    def add(self, table: str, **row: Any) -> None:
        """One row."""
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        with closing(self._connected()) as raw, raw:
            raw.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))

    def message(self, number: int, peer: str, alias: str, text: str, **changes: Any) -> str:
        """A message; its id."""
        row = {
            "id": f"{number:016x}",
            "kind": "message",
            "outgoing": 0,
            "peer": peer,
            "alias": alias,
            "subject": "",
            "text": text,
            "thread": "",
            "posted": f"2026-11-24T12:00:{number % 60:02d}.000Z",
            "seen": 0,
            **changes,
        }
        if row["kind"] == "message" and not row["thread"]:
            row["thread"] = row["id"]
        self.add("message", **row)
        return str(row["id"])

    def attachment(self, message: str, place: int, name: str, content: bytes) -> Path:
        """What a message brought."""
        path = self.folder / "attachments" / f"{message}-{place}-{name}"
        path.write_bytes(content)
        self.add("attachment", message=message, place=place, name=name, size=len(content), path=str(path))
        return path

    def waiting(self, request_id: str, order: int, **changes: Any) -> None:
        """What the service has not acknowledged yet."""
        row = {
            "request_id": request_id,
            "order": order,
            "kind": "message",
            "to": BOB,
            "alias": "Bob Builder",
            "subject": "",
            "text": "waits",
            "thread": "",
            "files": "",
            "error": "",
            **changes,
        }
        self.add("outbox", **row)

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path)
