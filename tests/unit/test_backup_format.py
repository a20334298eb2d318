# SPDX-License-Identifier: AGPL-3.0-or-later
"""The format of backups: whatever is done to an archive, it is noticed (D5; docs/backup.md, *The format*)."""

import hashlib
import io
import itertools
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from nacl.public import PrivateKey, SealedBox

from gateway.backup import archive, keys, stream

SECRET = PrivateKey(bytes(range(32)))
PIECE = stream.FRAME_MAX_BYTES
FILES = {"a": b"", "b/c": b"x" * 10, "b/large": random.Random(1).randbytes(2 * archive.CHUNK_BYTES + 5)}


def made(files: dict[str, bytes], secret: PrivateKey = SECRET) -> bytes:
    out = io.BytesIO()
    writer = archive.ArchiveWriter(
        stream.StreamWriter(out, secret.public_key, os.urandom), archive.ArchiveHeader(1, "0", ("members",))
    )
    for name, content in files.items():
        for _ in writer.add(name, io.BytesIO(content)):
            pass
    writer.finish()
    return out.getvalue()


def read(raw: bytes, secret: PrivateKey = SECRET) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    path = ""
    for record in archive.records(io.BytesIO(raw), stream.opener_of(secret)):
        if isinstance(record, archive.FileStart):
            path = record.path
            files[path] = b""
        elif isinstance(record, bytes):
            files[path] += record
    return files


def frames_of(raw: bytes) -> tuple[bytes, list[bytes]]:
    """Prologue and frames with their lengths, as docs/backup.md has them."""
    at, found = 152, []
    while at < len(raw):
        size = 4 + int.from_bytes(raw[at : at + 4])
        found.append(raw[at : at + size])
        at += size
    return raw[:152], found


def test_what_goes_in_comes_out() -> None:
    assert read(made(FILES)) == FILES


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,8}(/[a-z]{1,8}){0,3}\Z"), st.binary(max_size=600), max_size=6))
def test_any_files_come_out(files: dict[str, bytes]) -> None:
    assert read(made(files)) == files


def test_a_stranger_can_read_it_from_the_documentation() -> None:
    """Decrypted with libsodium alone, by what docs/backup.md says of each octet."""
    raw = made(FILES)
    assert raw[:16] == b"TMTP backup 1\r\n\0"
    assert raw[16:48] == bytes(SECRET.public_key)
    key = SealedBox(SECRET).decrypt(raw[48:128])
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(state, raw[128:152], key)
    prologue, frames = frames_of(raw)
    kinds, content, tags = "", b"", []
    for number, frame in enumerate(frames):
        bound = prologue if number == 0 else None
        plain, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(state, frame[4:], bound)
        kinds += plain[:1].decode()
        tags.append(tag)
        if plain[:1] == b"D":
            content += plain[1:]
        last = plain[1:]
    assert kinds == "HFEFDEFDDDET"
    assert content == b"".join(FILES.values())
    assert tags == [0] * (len(tags) - 1) + [3]
    assert last == b'{"files":3,"size":%d}' % len(content)


def test_every_class_of_flipped_bits_is_noticed() -> None:
    """In the magic, the recipient, the sealed key, the stream's header; in each frame's length, text and tag."""
    raw = bytearray(made(FILES))
    prologue, frames = frames_of(bytes(raw))
    places = set(range(len(prologue)))
    at = len(prologue)
    for frame in frames:
        places.update({at, at + 1, at + 2, at + 3, at + 4, at + 5, at + len(frame) // 2, at + len(frame) - 1})
        places.add(at + len(frame) - 16)
        at += len(frame)
    for place, bit in itertools.product(sorted(places), (0, 7)):
        raw[place] ^= 1 << bit
        with pytest.raises(stream.BackupDamaged):
            read(bytes(raw))
        raw[place] ^= 1 << bit
    assert read(bytes(raw)) == FILES


def test_every_cut_is_noticed() -> None:
    raw = made({"a": b"x" * 300, "b": b"y"})
    for size in range(len(raw)):
        with pytest.raises(stream.BackupDamaged):
            read(raw[:size])


def test_frames_left_out_repeated_or_swapped_are_noticed() -> None:
    prologue, frames = frames_of(made({"a": b"same", "b": b"same", "c": b"same"}))
    for number in range(len(frames)):
        for changed in (
            frames[:number] + frames[number + 1 :],
            frames[: number + 1] + frames[number:],
            [*frames[:number], *frames[number : number + 2][::-1], *frames[number + 2 :]]
            if number < len(frames) - 1
            else None,
        ):
            if changed is not None:
                with pytest.raises(stream.BackupDamaged):
                    read(prologue + b"".join(changed))


def test_two_backups_cannot_be_joined() -> None:
    (one, first), (other, second) = frames_of(made(FILES)), frames_of(made(FILES))
    for raw in (one + b"".join(second), other + b"".join([*first[:3], *second[3:]]), one + b"".join([*first, *second])):
        with pytest.raises(stream.BackupDamaged):
            read(raw)


def test_another_key_is_told_from_damage() -> None:
    with pytest.raises(stream.BackupDamaged, match="made for another key"):
        read(made(FILES), PrivateKey.generate())


def test_something_else_is_no_backup() -> None:
    for raw in (b"", b"PK\3\4" + bytes(300), bytes(1000)):
        with pytest.raises(stream.BackupDamaged, match="no backup"):
            read(raw)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a//b", "", ".", "a/.", "a\0b", "x" * 2000])
def test_no_file_leaves_its_folder(path: str) -> None:
    """Whoever knows the public key can make an archive: it does not write where it likes."""
    out = io.BytesIO()
    writer = stream.StreamWriter(out, SECRET.public_key, os.urandom)
    writer.write(b'H{"made_ms":1,"version":"0","instances":[]}')
    import msgspec  # noqa: PLC0415

    writer.write(b"F" + msgspec.json.encode({"path": path}))
    with pytest.raises(stream.BackupDamaged):
        read(out.getvalue())


@pytest.mark.parametrize(
    "plain",
    [
        [b"T{}"],
        [b"H{}"],
        [b'H{"made_ms":1,"version":"0","instances":[]}', b"D1"],
        [b'H{"made_ms":1,"version":"0","instances":[]}', b'F{"path":"a"}', b'F{"path":"b"}'],
        [b'H{"made_ms":1,"version":"0","instances":[]}', b'F{"path":"a"}', b'E{"size":1,"hash":""}'],
        [b'H{"made_ms":1,"version":"0","instances":[]}', b'T{"files":1,"size":0}'],
        [b'H{"made_ms":1,"version":"0","instances":[]}', b"Z"],
        [b""],
    ],
)
def test_records_out_of_order_are_refused(plain: list[bytes]) -> None:
    out = io.BytesIO()
    writer = stream.StreamWriter(out, SECRET.public_key, os.urandom)
    for number, one in enumerate(plain):
        writer.write(one, last=number == len(plain) - 1)
    with pytest.raises(stream.BackupDamaged):
        read(out.getvalue())


def test_a_file_twice_is_refused() -> None:
    empty = hashlib.blake2b(digest_size=32).hexdigest().encode()
    out = io.BytesIO()
    writer = stream.StreamWriter(out, SECRET.public_key, os.urandom)
    writer.write(b'H{"made_ms":1,"version":"0","instances":[]}')
    writer.write(b'F{"path":"a"}')
    writer.write(b'E{"size":0,"hash":"' + empty + b'"}')
    writer.write(b'F{"path":"a"}')
    with pytest.raises(stream.BackupDamaged, match="twice"):
        read(out.getvalue())


def test_keys_are_not_taken_for_one_another(tmp_path: Path) -> None:
    public, secret = keys.public_text(SECRET.public_key), keys.secret_text(SECRET)
    assert bytes(keys.parse_public(public)) == bytes(SECRET.public_key)
    for wrong in (secret, public[:-1], public + "A", "", "age1xyz"):
        with pytest.raises(keys.BackupKeyInvalid) as refused:
            keys.parse_public(wrong)
        assert secret not in str(refused.value)
    file = tmp_path / "key"
    file.write_text(f"# a remark\n\n{secret}\n")
    assert bytes(keys.read_secret(file)) == bytes(SECRET)
    for wrong in (public, "", f"{secret}\n{secret}", secret[:-1], "x" * 100_000):
        file.write_text(wrong)
        with pytest.raises(keys.BackupKeyInvalid) as refused:
            keys.read_secret(file)
        assert secret not in str(refused.value)


@pytest.mark.parametrize("tag", [1, 2])
def test_a_frame_of_another_kind_is_refused(tag: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """PUSH and REKEY are no part of the format (docs/backup.md)."""
    monkeypatch.setattr(stream, "_MORE", tag)
    raw = made(FILES)
    monkeypatch.undo()
    with pytest.raises(stream.BackupDamaged, match="unknown kind"):
        read(raw)
