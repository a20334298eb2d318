# SPDX-License-Identifier: AGPL-3.0-or-later
"""A vault whose files somebody else can write: he opens nothing, slips in no key, and costs its owner no hour (B8)."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.test_vault import PASSPHRASE, kinds, made, vault_of
from tmtp_client import limits
from tmtp_client.vault import disk, slots
from tmtp_client.vault.recovery import words_of
from tmtp_client.vault.vault import VaultDamaged


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its least: what it costs is not what is tested."""
    monkeypatch.setattr(limits, "PASSPHRASE_OPS", 1)
    monkeypatch.setattr(limits, "PASSPHRASE_MEMORY_BYTES", 1 << 13)


def read(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "vault.json").read_bytes())
    return found


def write(home: Path, said: dict[str, Any]) -> None:
    (home / "vault.json").write_bytes(json.dumps(said).encode())


def test_a_vault_that_is_missing_is_not_made_anew_over_accounts(tmp_path: Path) -> None:
    """A backup brings it back: it must open then."""
    one = made(tmp_path)
    key = one.account("here", make=True).database_key
    backup = (tmp_path / "vault.json").read_bytes()
    (tmp_path / "vault.json").unlink()
    with pytest.raises(VaultDamaged, match="backup"):
        vault_of(tmp_path).make()
    (tmp_path / "vault.json").write_bytes(backup)
    again = vault_of(tmp_path)
    assert again.open_alone()
    assert again.account("here").database_key == key


def test_a_file_with_many_passphrases_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would be tried, as dear as it may be."""
    one = made(tmp_path)
    one.set_passphrase(PASSPHRASE)
    said = read(tmp_path)
    said["slots"] = said["slots"] * 200
    write(tmp_path, said)
    tried = 0
    stretched = slots._stretched

    def count(*arguments: Any) -> bytes:
        nonlocal tried
        tried += 1
        return stretched(*arguments)

    monkeypatch.setattr(slots, "_stretched", count)
    with pytest.raises(VaultDamaged, match="passphrase"):
        vault_of(tmp_path).unlock("another passphrase")
    assert tried == 0


def test_a_slot_that_opens_by_itself_is_not_slipped_in_beside_a_passphrase(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    one = made(home)
    one.account("here", make=True)
    one.set_passphrase(PASSPHRASE)
    made(other)
    said = read(home)
    said["slots"] += read(other)["slots"]
    write(home, said)
    shutil.copy(other / "device.key", home / "device.key")
    with pytest.raises(VaultDamaged, match="device"):
        vault_of(home).open_alone()


@pytest.mark.parametrize("kind", ["device", "passphrase", "recovery"])
def test_another_homes_slots_do_not_open_this_one(tmp_path: Path, kind: str) -> None:
    """New accounts would be made under a key that somebody else has."""
    home, other = tmp_path / "home", tmp_path / "other"
    seed = os.urandom(32)
    for place in (home, other):
        one = made(place)
        one.account("here", make=True)
        if kind == "passphrase":
            one.set_passphrase(PASSPHRASE)
        if kind == "recovery":
            one.add_recovery(seed, "here")
            (place / "device.key").unlink()
    shutil.copy(other / "vault.json", home / "vault.json")
    if kind == "device":
        shutil.copy(other / "device.key", home / "device.key")
    again = vault_of(home)
    with pytest.raises(VaultDamaged, match="another home"):
        again.open_alone() or again.unlock(words_of(seed) if kind == "recovery" else PASSPHRASE)
    assert again.locked


def test_what_a_file_may_ask_for_is_what_a_small_computer_has() -> None:
    assert limits.PASSPHRASE_MEMORY_MAX_BYTES <= 512 << 20
    most = limits.PASSPHRASE_OPS_MAX * limits.PASSPHRASE_MEMORY_MAX_BYTES
    assert most <= 16 * 4 * (128 << 20), "more than sixteen times as dear as ours"


def test_who_lost_the_devices_file_gets_another_by_the_recovery_sheet(tmp_path: Path) -> None:
    seed = os.urandom(32)
    one = made(tmp_path)
    one.add_recovery(seed, "here")
    assert kinds(one) == ["device", "recovery"]
    (tmp_path / "device.key").unlink()
    again = vault_of(tmp_path)
    assert not again.open_alone()
    again.unlock(words_of(seed))
    assert vault_of(tmp_path).open_alone()


def test_what_a_write_left_that_was_cut_off_goes(tmp_path: Path) -> None:
    one = made(tmp_path)
    (tmp_path / "vault.json.new").write_bytes(msgspec.json.encode(read(tmp_path)))
    (tmp_path / "device.key.new").write_bytes(bytes(32))
    again = vault_of(tmp_path)
    assert again.open_alone()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device.key", "vault.json"]
    assert one.is_made


def test_destroying_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    link = tmp_path / "link"
    link.symlink_to(precious)
    disk.destroy(link)
    assert not link.is_symlink()
    assert precious.read_bytes() == b"mine"


def test_a_folder_among_the_files_does_not_keep_an_account_shut(tmp_path: Path) -> None:
    files = made(tmp_path).account("here", make=True).files
    with files.writer() as writer:
        writer.write(b"x")
        kept = writer.finish()
    (files.folder / "lost+found").mkdir()
    assert files.sweep({kept.file}) == 0
