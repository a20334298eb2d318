# SPDX-License-Identifier: AGPL-3.0-or-later
"""The history written out: as other programmes read it, whole or not at all, never over something (B1)."""

import json
import mailbox
import re
import tracemalloc
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.support.history import ANNA, BELA, ME, OWN, a_file, a_message, history, id_of
from tmtp_client.api import models
from tmtp_client.store import export, groups, messages, people, threads
from tmtp_client.vault.files import FileDamaged, Files

OCTETS = bytes(range(256)) * 1_000  # several pieces of the vault, and no whole number of lines
TEXT = "Dear all,\nFrom now on\n>From then\n\nÄpfel — 林檎\n.\n"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    counter = iter(range(1_000))
    return Files(tmp_path / "files", bytes(32), lambda size: next(counter).to_bytes(size, "big"))


def put(files: Files, *octets: bytes) -> str:
    writer = files.writer()
    for one in octets:
        writer.write(one)
    return writer.finish().file


@pytest.fixture
def kept(files: Files) -> Iterator[Connection]:
    with history() as connection:
        people.learn(connection, ME, "Olga Own Name", "self", 1)
        people.learn(connection, ANNA, "Änne Almond", "ping", 1)
        people.learn(connection, BELA, "Bela\r\nBcc: all", "ping", 1)
        groups.put(connection, "Team", "joined", "Olga", "", 1)
        long = a_file("Übersicht\r\nX: y/../list.pdf", put(files, OCTETS), len(OCTETS))
        blank = a_file("empty.txt", put(files), 0)
        missing = a_file("coming.bin", "", 10, have=2)
        for message in (
            a_message(1, TEXT, subject="Früchte\r\nBcc: everybody", alias="Änne Almond"),
            a_message(2, "see files", thread=1, to=((ME, 1), (BELA, 1)), attachments=(long, blank, missing)),
            a_message(3, "x" * 5_000 + "\r\nFrom a", author=BELA, alias="Bela\r\nBcc: all", id="../../etc/passwd"),
        ):
            messages.record(connection, message, OWN)
        threads.set_tag(connection, id_of(1), "fruit", True)
        yield connection


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


def unquoted(octets: bytes) -> str:
    """As mboxrd is read: stdlib leaves that to others."""
    return re.sub(rb"^>(>*From )", rb"\1", octets, flags=re.MULTILINE).decode()


def test_an_mbox_is_read_by_the_standard_library(kept: Connection, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "history.mbox"
    seen: list[tuple[int, int]] = []
    exported = export.to_mbox(kept, files, path, lambda done, total: seen.append((done, total)))
    assert exported == models.Exported(str(path), 3, 2)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert path.stat().st_mode & 0o777 == 0o600
    box = mailbox.mbox(path, create=False)
    try:
        first, second, third = box
        assert str(make_header(decode_header(first["Subject"]))) == "Früchte Bcc: everybody"
        assert first["Bcc"] is None
        assert str(make_header(decode_header(first["From"]))).startswith("Änne Almond <ANNA%")
        assert parsedate_to_datetime(first["Date"]).isoformat() == "2025-01-01T00:01:00+00:00"
        assert first.get_from().endswith("Wed Jan  1 00:01:00 2025")
        assert unquoted(first.get_payload(decode=True)) == TEXT + "\n"
        assert second["References"] == first["Message-ID"]
        assert str(make_header(decode_header(second["Subject"]))) == "Früchte Bcc: everybody"
        to = [name for name, _ in getaddresses(second.get_all("To"))]
        assert to == ["Olga Own Name", "Bela Bcc: all"]
        text, long, blank, missing = second.get_payload()
        assert text.get_payload(decode=True).strip() == b"see files"
        assert long.get_filename() == "Übersicht X: y/../list.pdf"
        assert long.get_content_type() == "application/pdf"
        assert long.get_payload(decode=True) == OCTETS
        assert blank.get_payload(decode=True) == b""
        assert b"coming.bin: not here" in missing.get_payload(decode=True)
        assert third.get_payload(decode=True).decode() == "x" * 5_000 + "\r\nFrom a"
        assert third["Bcc"] is None
        assert "/" not in third["Message-ID"]
    finally:
        box.close()


def test_json_is_one_file_of_all_and_the_files(kept: Connection, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "history"
    exported = export.to_json(kept, files, path, quiet)
    assert exported == models.Exported(str(path), 3, 2)
    told = json.loads((path / "history.json").read_text("utf-8"))
    assert told["version"] == export.FORMAT_VERSION
    assert {one["alias"] for one in told["people"]} >= {"Olga Own Name", "Änne Almond"}
    assert [one["gid"] for one in told["groups"]] == ["Team"]
    assert {one["id"]: one.get("tags") for one in told["threads"]}[id_of(1)] == ["fruit"]
    assert [one["text"] for one in told["messages"]][:2] == [TEXT, "see files"]
    for one in told["messages"]:
        for file in one.get("attachments", ()):
            file.pop("path")
        assert msgspec.convert(one, models.Message)
    told = json.loads((path / "history.json").read_text("utf-8"))
    long, blank, missing = told["messages"][1]["attachments"]
    assert (path / long["path"]).read_bytes() == OCTETS
    assert (path / blank["path"]).read_bytes() == b""
    assert missing["path"] == ""
    inside = {one.relative_to(path).as_posix() for one in path.rglob("*")}
    assert inside == {"history.json", "files", long["path"], blank["path"]}
    assert all(one.parent == path / "files" for one in (path / "files").iterdir())
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("write", [export.to_mbox, export.to_json])
def test_nothing_is_written_over(kept: Connection, files: Files, tmp_path: Path, write: type[export.to_mbox]) -> None:
    for name in ("file", "folder", "dangling"):
        path = tmp_path / name
        {"file": lambda p: p.write_text("mine"), "folder": Path.mkdir, "dangling": lambda p: p.symlink_to("nowhere")}[
            name
        ](path)
        with pytest.raises(FileExistsError):
            write(kept, files, path, quiet)
    assert (tmp_path / "file").read_text() == "mine"
    assert not any((tmp_path / "folder").iterdir())
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("write", [export.to_mbox, export.to_json])
def test_an_export_that_is_broken_off_leaves_nothing(
    kept: Connection, files: Files, tmp_path: Path, write: type[export.to_mbox]
) -> None:
    before = set(tmp_path.rglob("*"))

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write(kept, files, tmp_path / "out", stop)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("write", [export.to_mbox, export.to_json])
def test_what_a_power_cut_left_is_no_hindrance(
    kept: Connection, files: Files, tmp_path: Path, write: type[export.to_mbox]
) -> None:
    left = tmp_path / ".out.part"
    left.mkdir()
    (left / "half").write_text("half")
    write(kept, files, tmp_path / "out", quiet)
    assert not left.exists()


def test_a_damaged_file_is_said_and_the_rest_is_there(kept: Connection, files: Files, tmp_path: Path) -> None:
    for stored in sorted((tmp_path / "files").rglob("*")):
        if stored.is_file() and stored.stat().st_size > 100_000:
            octets = bytearray(stored.read_bytes())
            octets[-1] ^= 1
            stored.write_bytes(octets)
    assert export.to_json(kept, files, tmp_path / "json", quiet).files == 1
    assert export.to_mbox(kept, files, tmp_path / "mbox", quiet).files == 1
    told = json.loads((tmp_path / "json" / "history.json").read_text("utf-8"))
    assert [file["path"] == "" for file in told["messages"][1]["attachments"]] == [True, False, True]
    box = mailbox.mbox(tmp_path / "mbox", create=False)
    try:
        assert len(box) == 3
        assert any(b"damaged" in part.get_payload(decode=True) for part in box[1].get_payload())
    finally:
        box.close()


class Endless:
    """A large file, that nobody has to store."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    def read(self, file: str, start: int = 0) -> Iterator[bytes]:
        for _ in range(self.pieces):
            yield bytes(65_536)


@pytest.mark.parametrize("write", [export.to_mbox, export.to_json])
def test_memory_does_not_grow_with_what_is_exported(tmp_path: Path, write: type[export.to_mbox]) -> None:
    with history() as connection:
        for number in range(10):
            new = a_message(number, "y" * 100_000, attachments=(a_file("large.bin", "f", 20 * 65_536),))
            messages.record(connection, new, OWN)
        tracemalloc.start()
        try:
            write(connection, Endless(20), tmp_path / "out", quiet)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2 << 20  # of 14 MiB


def test_what_is_no_file_of_ours_is_not_read(kept: Connection, tmp_path: Path) -> None:
    class Broken:
        def read(self, file: str, start: int = 0) -> Iterator[bytes]:
            raise FileDamaged("all of them")

    assert export.to_json(kept, Broken(), tmp_path / "out", quiet).files == 0


NAMES = st.text(max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.tuples(NAMES, NAMES, st.text(max_size=80) | st.sampled_from(["From ", ">From x", "\nFrom \n\n"])), max_size=4
    )
)
def test_whatever_is_said_an_mbox_has_so_many_messages_and_says_the_same(
    texts: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "any.mbox"
    path.unlink(missing_ok=True)
    with history() as connection:
        for number, (subject, alias, text) in enumerate(texts):
            new = a_message(
                number, text, subject=subject, alias=alias, attachments=(a_file(alias, ""),) if number % 2 else ()
            )
            messages.record(connection, new, OWN)
        export.to_mbox(connection, Endless(1), path, quiet)
    box = mailbox.mbox(path, create=False)
    try:
        assert len(box) == len(texts)
        for mail, (_, _, text) in zip(box, texts, strict=True):
            part = mail.get_payload()[0] if mail.is_multipart() else mail
            said = part.get_payload(decode=True)
            if part["Content-Transfer-Encoding"] == "8bit":
                assert unquoted(said).rstrip("\n") == text.rstrip("\n")
            else:
                assert said.decode() == text
    finally:
        box.close()
