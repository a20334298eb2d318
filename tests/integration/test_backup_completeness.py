# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a backup must hold whatever things are called, and what a restore must not bring back (C1, B4, D1)."""

import os
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args, get_origin

import pytest
from nacl.public import PrivateKey
from pydantic import BaseModel
from sqlalchemy import Connection

from gateway.administration import models as m
from gateway.administration.database import AdministrationDatabase
from gateway.administration.tokens import Tokens
from gateway.backup import archive, contents, journal, restoring, snapshots, stream, taking
from gateway.certificates import make_self_signed
from gateway.clock import SystemClock
from gateway.console.people import People
from gateway.doctor.places import examine_places
from gateway.settings import Settings, load_settings
from tmtp_core.domain.facts import FACTS_LEAP
from tmtp_core.store.database import Database
from tmtp_core.store.ledger import SqlLedger

SECRET = PrivateKey(bytes(range(1, 33)))
NAMES = ("main", "press-journal", "x-wal", "lock", "lock-2", "payloads")


class Clock(SystemClock):
    """One that stands still."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns

    def wall_ns(self) -> int:
        return self._now_ns


NOON_NS = 1_790_000_000_000_000_000


def site(folder: Path, names: tuple[str, ...] = ("main",), more: str = "") -> Settings:
    """A data folder as a gateway leaves it, and its settings."""
    instances = "".join(
        f'  - {{name: {name}, title: T, policy: members, registration: invite, listen: [{{tls: "127.0.0.1:{port}"}}]}}\n'
        for port, name in enumerate(names, 14433)
    )
    (folder / "gateway.yaml").write_text(f"data_dir: data\ninstances:\n{instances}{more}")
    for name in names:
        instance(folder, name)
    return load_settings(folder / "gateway.yaml")


def instance(folder: Path, name: str) -> Path:
    """The folder of an instance that has run."""
    made = folder / "data/instances" / name
    (made / "payloads").mkdir(parents=True)
    Database(made / "service.sqlite3").close()
    for key in ("service.key", "credential.key"):
        (made / key).write_bytes(os.urandom(32))
    return made


def take(settings: Settings, folder: Path, now_ns: int = NOON_NS, **changes: object) -> taking.Taken:
    wanted = taking.Taking(settings, folder / "gateway.yaml", folder / "backups", SECRET.public_key, "test", **changes)  # type: ignore[arg-type]
    return taking.take_backup(wanted, Clock(now_ns), os.urandom, lambda step, octets: None)


def put_back(file: Path, target: Path, now_ns: int = NOON_NS, journals: Path | None = None) -> restoring.Restored:
    wanted = restoring.Restoring(file, SECRET, target, journals)
    return restoring.restore(wanted, Clock(now_ns), lambda step, octets: None)


def give_ids(folder: Path, now_ns: int, count: int) -> list[int]:
    """Ids as a service gives them at this time."""
    database = Database(folder / "service.sqlite3")
    ledger = SqlLedger(database, bytes(32), lambda event, fields: None)
    database.do(ledger.load)

    def give(connection: Connection) -> list[int]:
        ledger.begin(connection)
        given = [ledger.next_number(now_ns) for _ in range(count)]
        ledger.flush()
        return given

    given = database.do(give)
    database.close()
    return given


def forged(file: Path, header: archive.ArchiveHeader) -> Path:
    """A whole archive that holds nothing but what its header says."""
    with file.open("wb") as out:
        archive.ArchiveWriter(stream.StreamWriter(out, SECRET.public_key, os.urandom), header).finish()
    return file


def test_instances_and_bridges_of_any_name_are_in_it(tmp_path: Path) -> None:
    settings = site(tmp_path, NAMES)
    bridges = [tmp_path / f"data/bridges/{name}/bridge.sqlite3" for name in NAMES]
    for bridge in bridges:
        bridge.parent.mkdir(parents=True)
        with closing(sqlite3.connect(bridge)) as database:
            database.execute("CREATE TABLE delivered (mail TEXT)")
    taken = take(settings, tmp_path)
    restored = put_back(taken.file, tmp_path / "new")
    assert restored.header.instances == NAMES
    for path in [*bridges, *(tmp_path / f"data/instances/{name}/service.sqlite3" for name in NAMES)]:
        assert (tmp_path / "new" / path.relative_to(tmp_path / "data")).is_file()


def test_a_database_that_would_be_left_out_makes_no_backup(tmp_path: Path) -> None:
    settings = site(tmp_path)
    database = tmp_path / "data/instances/main/service.sqlite3"
    database.unlink()
    database.mkdir()
    with pytest.raises(taking.BackupFailed, match="see that it is a plain file"):
        take(settings, tmp_path)
    assert list((tmp_path / "backups").iterdir()) == []


def test_an_instance_that_never_ran_is_not_said_to_be_in_it(tmp_path: Path) -> None:
    settings = site(tmp_path, ("main", "second"))
    (tmp_path / "data/instances/second/service.sqlite3").unlink()
    assert put_back(take(settings, tmp_path).file, tmp_path / "new").header.instances == ("main",)


def test_a_backup_without_the_database_that_it_lists_is_refused(tmp_path: Path) -> None:
    file = forged(tmp_path / "x.tmtpbackup", archive.ArchiveHeader(1, "0", ("main",)))
    with pytest.raises(restoring.RestoreFailed, match="no database"):
        put_back(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ahead_s", [0, 400 * 86_400])
def test_no_id_is_given_twice_where_the_new_clock_is_behind(tmp_path: Path, ahead_s: int) -> None:
    """The journal has heard nothing, and the ids of the old machine may have run ahead of its own clock."""
    settings = site(tmp_path)
    old = tmp_path / "data/instances/main"
    give_ids(old, NOON_NS + ahead_s * 10**9, 3)
    taken = take(settings, tmp_path)
    given = give_ids(old, NOON_NS + 3_600 * 10**9, 5)
    restored = put_back(taken.file, tmp_path / "new", NOON_NS - 30 * 86_400 * 10**9)
    assert min(give_ids(tmp_path / "new/instances/main", NOON_NS, 1)) > max(given)
    assert any("clock" in remark for remark in restored.remarks)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "", "Main", "main\n"])
def test_a_hostile_backup_names_no_paths(tmp_path: Path, name: str) -> None:
    file = forged(tmp_path / "x.tmtpbackup", archive.ArchiveHeader(1, "0", (name,)))
    with pytest.raises(restoring.RestoreFailed, match="no name of an instance"):
        put_back(file, tmp_path / "new")


async def test_who_administrates_must_be_let_in_anew_after_a_restore(tmp_path: Path) -> None:
    """C1: a token, a link or a session that was revoked after the backup is not good again."""
    settings = site(tmp_path)
    database = AdministrationDatabase(settings.data_dir)
    tokens, people = (kind(database, SystemClock(), os.urandom) for kind in (Tokens, People))
    made = await tokens.create(m.CreateToken(name="leaked", scopes=["accounts:read"]))
    link, _ = await people.make_link("ada", "owner")
    cookie, _ = await people.begin("ada", "link", "browser", None)
    with closing(sqlite3.connect(settings.data_dir / "administration.sqlite3")) as raw, raw:
        raw.execute(
            "INSERT INTO console_passkey (person, site, credential_id, credential, uses, name, created_ms)"
            " VALUES ('ada', 'x', x'01', x'02', 0, 'key', 1)"
        )
    taken = take(settings, tmp_path)
    assert await tokens.actor(made.token) is not None
    await database.close()
    restored = put_back(taken.file, tmp_path / "new")
    (remark,) = restored.remarks
    for what in ("1 tokens", "1 passkeys", "1 sessions", "1 one-time links", "console-link"):
        assert what in remark
    database = AdministrationDatabase(tmp_path / "new")
    tokens, people = (kind(database, SystemClock(), os.urandom) for kind in (Tokens, People))
    assert await tokens.actor(made.token) is None
    assert await people.use_link(link) is None
    assert await people.session(cookie) is None
    await database.close()
    with closing(sqlite3.connect(tmp_path / "new/administration.sqlite3")) as raw:
        assert raw.execute("SELECT person FROM console_person").fetchall() == [("ada",)]
        assert raw.execute("SELECT count(*) FROM console_passkey").fetchall() == [(0,)]


def test_a_backup_after_the_clock_was_put_right_is_the_newest(tmp_path: Path) -> None:
    """Where it ran 400 days ahead, the next backup was removed as the oldest, with what the journal had for it."""
    settings = site(tmp_path)
    place = {"keep": 1, "journal_folder": tmp_path / "backups"}
    first = take(settings, tmp_path, NOON_NS + 400 * 86_400 * 10**9, **place)
    with journal.current_path(tmp_path / "backups", "main").open("ab") as file:
        file.write(b"an act after it")
    second = take(settings, tmp_path, NOON_NS, **place)
    assert second.file.exists()
    assert second.removed == (first.file,)
    assert second.made_ms == first.made_ms + 1
    assert put_back(second.file, tmp_path / "new").header.made_ms == NOON_NS // 10**6


def test_an_instance_that_settings_no_longer_name_hinders_no_backup(tmp_path: Path) -> None:
    settings = site(tmp_path)
    old = instance(tmp_path, "old")
    (old / "payloads/aa").write_bytes(b"x" * 70_000)
    with closing(sqlite3.connect(old / "service.sqlite3")) as database, database:
        database.execute("INSERT INTO message (number, head, size, file) VALUES (1, x'00', 70000, 'aa')")
    taken = take(settings, tmp_path)
    assert taken.missing == ()
    put_back(taken.file, tmp_path / "new")
    assert (tmp_path / "new/instances/old/payloads/aa").stat().st_size == 70_000


def test_what_no_archive_can_hold_is_told_without_a_traceback(tmp_path: Path) -> None:
    settings = site(tmp_path)
    deep = tmp_path / "data" / "/".join(["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    with pytest.raises(taking.BackupFailed, match="no path below a folder"):
        take(settings, tmp_path)


def test_a_database_that_is_none_is_told_without_a_traceback(tmp_path: Path) -> None:
    settings = site(tmp_path)
    with closing(sqlite3.connect(tmp_path / "data/instances/main/service.sqlite3")) as database:
        database.execute("DROP TABLE message")
        database.execute("CREATE TABLE message (number INTEGER, file TEXT, size INTEGER)")
        database.execute("DROP TABLE counter")
    taken = take(settings, tmp_path)
    with pytest.raises(restoring.RestoreFailed, match="cannot be used"):
        put_back(taken.file, tmp_path / "new")


def test_acts_are_missed_where_only_a_later_backup_tells_that_there_were_some(tmp_path: Path) -> None:
    """The files between were removed: the number that a backup began a journal with is left."""
    settings = site(tmp_path)
    taken = take(settings, tmp_path, journal_folder=tmp_path / "backups")
    journal.put_aside(tmp_path / "backups", {"main": 500}, NOON_NS // 10**6 + 1)
    restored = put_back(taken.file, tmp_path / "new", journals=tmp_path / "backups")
    assert restored.remarks == ["main: 500 acts are missing in the journal"]


def test_two_restores_without_a_journal_go_on_from_different_numbers(tmp_path: Path) -> None:
    """Or the acts of one would be taken for those of the other, in a folder that has both."""
    taken = take(site(tmp_path), tmp_path)
    numbers = set()
    for minutes in range(3):
        put_back(taken.file, tmp_path / f"new{minutes}", NOON_NS + minutes * 60 * 10**9)
        numbers.add(snapshots.last_fact(tmp_path / f"new{minutes}/instances/main"))
    assert len(numbers) == 3
    assert all(number % FACTS_LEAP == 0 for number in numbers)


def test_every_file_that_the_settings_name_is_in_it_and_in_the_next_one(tmp_path: Path) -> None:
    """Also what a restore put into the data folder, and the settings name there since."""
    given = tmp_path / "given"
    given.mkdir()
    for number in range(2):
        make_self_signed(given / f"{number}.crt", given / f"{number}.key", "x", datetime.now(UTC))
    kept = "data/settings-of-backup/instances/main/tls"
    for name in ("certificate/0.crt", "key/0.key"):
        (tmp_path / kept / name).parent.mkdir(parents=True)
        (given / name.rpartition("/")[2]).rename(tmp_path / kept / name)
    (tmp_path / "data/settings-of-backup/gateway.yaml").write_text("of the backup before")
    instance(tmp_path, "main")
    (tmp_path / "gateway.yaml").write_text(f"""
data_dir: data
instances:
  - name: main
    title: T
    policy: public
    registration: invite
    listen: [{{tls: "127.0.0.1:14433"}}]
    tls: {{certificate: {kept}/certificate/0.crt, key: {kept}/key/0.key}}
bridges:
  smtp:
    - name: post
      instance: main
      listen: [{{smtp: "127.0.0.1:2525"}}]
      tls: {{certificate: given/1.crt, key: given/1.key}}
administration:
  listen: 127.0.0.1:9000
  tls: {{certificate: given/1.crt, key: given/1.key}}
""")
    settings = load_settings(tmp_path / "gateway.yaml")
    put_back(take(settings, tmp_path).file, tmp_path / "new")
    there = tmp_path / "new/settings-of-backup"
    assert (there / "gateway.yaml").read_text() == (tmp_path / "gateway.yaml").read_text()
    found = dict(contents.named_files(settings))
    for block in ("instances/main/tls", "bridges/smtp/post/tls", "administration/tls"):
        for name in ("certificate", "key"):
            path = found.pop(f"{block}/{name}")
            assert (there / block / name / path.name).read_bytes() == path.read_bytes()
    assert set(found) == {"data_dir", "backup/to"}  # folders


def test_every_path_that_settings_can_hold_is_found() -> None:
    """A new setting that names a file is in backups without anybody thinking of it."""
    expected: list[str] = []

    def filled(model: type[BaseModel], place: str) -> BaseModel:
        """A block with a file in every place for one."""
        values: dict[str, object] = {}
        for name, one in model.model_fields.items():
            kinds = _kinds(one.annotation)
            inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
            listed = list in kinds
            where = f"{place}/{name}".lstrip("/")
            if Path in kinds:
                expected.append(where)
                values[name] = Path(f"/x/{where}")
            elif inner is not None:
                block = filled(inner, f"{where}/0" if listed else where)
                values[name] = [block] if listed else block
        return model.model_construct(**values)

    settings = filled(Settings, "")
    found = dict(contents.named_files(settings))
    assert {str(path)[3:] for path in found.values()} == set(expected)
    assert len(expected) > 12


def _kinds(annotation: object) -> set[object]:
    """Every type in an annotation."""
    inside = set().union(*(_kinds(one) for one in get_args(annotation)))
    return inside | {get_origin(annotation) or annotation}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may give files away")
def test_root_makes_no_files_in_the_place_of_a_gateway_of_another_user(tmp_path: Path) -> None:
    settings = site(tmp_path)
    os.chown(settings.data_dir, 65534, 65534)
    with pytest.raises(taking.BackupFailed, match="runuser -u nobody -- tmtp-gateway backup"):
        take(settings, tmp_path, journal_folder=tmp_path / "backups")
    assert not (tmp_path / "backups").exists()
    assert not (settings.data_dir / "backup.lock").exists()


def test_a_control_socket_that_answers_is_never_a_leftover(tmp_path: Path) -> None:
    """The locks of a gateway in another container are not seen from here."""
    settings = site(tmp_path)
    control = settings.data_dir / "control.sock"
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(control))
        (left,) = [one for one in examine_places(settings) if "was left by" in one.text]
        listening.listen()
        assert left.repair is not None
        left.repair()
        assert control.exists()
        assert not [one for one in examine_places(settings) if "was left by" in one.text]
    left.repair()
    assert not control.exists()
