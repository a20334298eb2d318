# SPDX-License-Identifier: AGPL-3.0-or-later
"""Attachments as encrypted files: what comes back is what was stored, or it is said not to be (B8)."""

import os
import tracemalloc
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tmtp_client.vault import files as module
from tmtp_client.vault.files import PIECE_BYTES, SEGMENT_BYTES, FileDamaged, Files, StoredFile

_STORED_PIECE = PIECE_BYTES + 17
_HEADER = 24


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "files", bytes(32), os.urandom)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> int:
    """Segments of two pieces, so that there are some: the octets of one."""
    monkeypatch.setattr(module, "SEGMENT_PIECES", 2)
    monkeypatch.setattr(module, "SEGMENT_BYTES", 2 * PIECE_BYTES)
    monkeypatch.setattr(module, "_STORED_SEGMENT_BYTES", _HEADER + 2 * _STORED_PIECE)
    return 2 * PIECE_BYTES


def pattern(size: int) -> bytes:
    """Content that is not the same anywhere."""
    return b"".join(number.to_bytes(4) for number in range(-(-size // 4)))[:size]


def store(files: Files, data: bytes, step: int = 10_000) -> StoredFile:
    with files.writer() as writer:
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
        return writer.finish()


def content(files: Files, file: str, start: int = 0) -> bytes:
    return b"".join(files.read(file, start))


def path_of(files: Files) -> Path:
    (path,) = files.folder.iterdir()
    return path


SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES, 5 * PIECE_BYTES + 7]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("small_segments")
def test_what_is_stored_comes_back(files: Files, size: int) -> None:
    data = pattern(size)
    stored = store(files, data)
    assert (stored.size, stored.hash) == (size, blake2b(data, digest_size=32).digest())
    assert content(files, stored.file) == data
    pieces = list(files.read(stored.file))
    assert all(len(piece) == PIECE_BYTES for piece in pieces[:-1])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 5 * PIECE_BYTES), start=st.integers(0, 6 * PIECE_BYTES), step=st.integers(1, PIECE_BYTES * 3)
)
def test_it_can_be_read_from_anywhere(files: Files, small_segments: int, size: int, start: int, step: int) -> None:
    data = pattern(size)
    stored = store(files, data, step)
    assert content(files, stored.file, start) == data[start:]
    files.remove(stored.file)


def test_to_begin_anywhere_reads_one_segment_at_most(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HTTP range of a long film is not the price of all before it."""
    data = pattern(3 * SEGMENT_BYTES)
    stored = store(files, data, PIECE_BYTES)
    opened = [0]
    whole = module.sodium.crypto_secretstream_xchacha20poly1305_pull

    def pull(*arguments: object) -> object:
        opened[0] += 1
        return whole(*arguments)

    monkeypatch.setattr(module.sodium, "crypto_secretstream_xchacha20poly1305_pull", pull)
    start = 2 * SEGMENT_BYTES + 5 * PIECE_BYTES + 3
    assert next(files.read(stored.file, start)) == data[start : 2 * SEGMENT_BYTES + 6 * PIECE_BYTES]
    assert opened[0] == 6


def test_memory_is_constant(files: Files) -> None:
    piece = os.urandom(1 << 18)
    tracemalloc.start()
    try:
        with files.writer() as writer:
            for _ in range(160):  # 40 MB
                writer.write(piece)
            stored = writer.finish()
        for got in files.read(stored.file):
            assert got
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 4 << 20


def test_names_tell_nothing(files: Files, tmp_path: Path) -> None:
    """Neither what is inside nor how the database calls it, and not the same with another key."""
    stored = store(files, b"the same")
    assert stored.file not in path_of(files).name
    assert path_of(files).name not in stored.file
    other = Files(tmp_path / "other", bytes(31) + b"x", bytes)
    same = Files(tmp_path / "same", bytes(32), bytes)
    assert store(other, b"the same").file == store(same, b"the same").file
    assert path_of(other).name != path_of(same).name
    assert path_of(other).read_bytes()[:_HEADER] != path_of(same).read_bytes()[:_HEADER]


def test_no_two_files_of_one_content_are_alike(files: Files) -> None:
    store(files, b"the same")
    store(files, b"the same")
    one, other = (path.read_bytes() for path in files.folder.iterdir())
    assert one[_HEADER:] != other[_HEADER:]


def _cut(raw: bytes) -> bytes:
    return raw[:-1]


def _cut_piece(raw: bytes) -> bytes:
    return raw[: -(9 + 17)]  # the last one, of 9 octets


def _cut_segment(raw: bytes) -> bytes:
    return raw[: _HEADER + 2 * _STORED_PIECE]


def _turn_pieces(raw: bytes) -> bytes:
    first, second = raw[_HEADER : _HEADER + _STORED_PIECE], raw[_HEADER + _STORED_PIECE : _HEADER + 2 * _STORED_PIECE]
    return raw[:_HEADER] + second + first + raw[_HEADER + 2 * _STORED_PIECE :]


def _turn_segments(raw: bytes) -> bytes:
    segment = _HEADER + 2 * _STORED_PIECE
    return raw[segment : 2 * segment] + raw[:segment] + raw[2 * segment :]


def _drop_segment(raw: bytes) -> bytes:
    return raw[_HEADER + 2 * _STORED_PIECE :]


def _add(raw: bytes) -> bytes:
    return raw + b"\0"


def _repeat(raw: bytes) -> bytes:
    return raw + raw


def _nothing(raw: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    "damage",
    [_cut, _cut_piece, _cut_segment, _turn_pieces, _turn_segments, _drop_segment, _add, _repeat, _nothing],
)
@pytest.mark.usefixtures("small_segments")
def test_what_is_not_whole_is_noticed(files: Files, damage: Callable[[bytes], bytes]) -> None:
    data = pattern(5 * PIECE_BYTES + 9)
    stored = store(files, data)
    path = path_of(files)
    path.write_bytes(damage(path.read_bytes()))
    got = b""
    with pytest.raises(FileDamaged):
        for piece in files.read(stored.file):
            got += piece
    assert data.startswith(got)  # and nothing that is wrong was given before


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.usefixtures("small_segments")
def test_what_is_added_behind_a_full_piece_is_noticed(files: Files, pieces: int) -> None:
    stored = store(files, pattern(pieces * PIECE_BYTES))
    path_of(files).write_bytes(path_of(files).read_bytes() + b"more")
    with pytest.raises(FileDamaged):
        content(files, stored.file)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0), bit=st.integers(0, 7), start=st.sampled_from([0, PIECE_BYTES, 2 * PIECE_BYTES]))
def test_no_octet_can_be_altered(files: Files, small_segments: int, place: int, bit: int, start: int) -> None:
    data = pattern(2 * PIECE_BYTES + 900)
    stored = store(files, data)
    path = path_of(files)
    raw = bytearray(path.read_bytes())
    first = _HEADER + 2 * _STORED_PIECE if start == small_segments else 0  # what comes before is not read
    place = first + place % (len(raw) - first)
    raw[place] ^= 1 << bit
    path.write_bytes(raw)
    with pytest.raises(FileDamaged):
        content(files, stored.file, start)
    path.unlink()


def test_one_file_cannot_be_put_in_anothers_place(files: Files) -> None:
    stored = [store(files, text) for text in (b"mine, yours", b"yours, mine")]
    one, other = files.folder.iterdir()
    raw = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(raw)
    for file in stored:
        with pytest.raises(FileDamaged, match="another one's"):
            content(files, file.file)


def test_what_is_not_finished_is_not_there(files: Files) -> None:
    with files.writer() as writer:
        writer.write(b"x" * 200_000)
    assert list(files.folder.iterdir()) == []
    other = files.writer()
    other.write(b"x")
    other.abandon()
    other.abandon()
    assert list(files.folder.iterdir()) == []
    with files.writer() as kept:
        stored = kept.finish()
    kept.abandon()
    assert content(files, stored.file) == b""


def test_what_is_not_named_is_swept(files: Files) -> None:
    assert files.sweep(set()) == 0
    kept, gone = store(files, b"kept"), store(files, b"gone")
    cut_off = files.writer()
    cut_off.write(b"x" * 200_000)
    assert files.sweep({kept.file, "of another device"}) == 2
    assert content(files, kept.file) == b"kept"
    with pytest.raises(FileNotFoundError):
        content(files, gone.file)
    files.remove(kept.file)
    files.remove(kept.file)
    assert list(files.folder.iterdir()) == []
    cut_off.abandon()


def test_a_disk_that_fails_leaves_nothing_half(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store(files, b"x")
    monkeypatch.undo()
    assert list(files.folder.iterdir()) == []
