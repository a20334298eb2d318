# SPDX-License-Identifier: AGPL-3.0-or-later
"""What opens a device's history, and what does not (B8)."""

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tmtp_client import limits
from tmtp_client.vault import vault as vaults
from tmtp_client.vault.keyrings import KeyringUnusable
from tmtp_client.vault.recovery import words_of
from tmtp_client.vault.slots import Slot, SlotUnfit, new_slot, opened, passphrase_bytes
from tmtp_client.vault.vault import Locked, Vault, VaultDamaged, WrongSecret

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id at its least: what it costs is not what is tested."""
    monkeypatch.setattr(limits, "PASSPHRASE_OPS", 1)
    monkeypatch.setattr(limits, "PASSPHRASE_MEMORY_BYTES", 1 << 13)


class Desktop:
    """A keyring in memory, which can break."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.broken = False

    def _check(self) -> None:
        if self.broken:
            raise KeyringUnusable("broken")

    def get(self, name: str) -> bytes | None:
        self._check()
        return self.kept.get(name)

    def put(self, name: str, secret: bytes) -> None:
        self._check()
        self.kept[name] = secret

    def forget(self, name: str) -> None:
        self._check()
        self.kept.pop(name, None)


def vault_of(home: Path, keyring: Desktop | None = None) -> Vault:
    return Vault(home, os.urandom, keyring, lambda: 1_800_000_000_000)


def made(home: Path, keyring: Desktop | None = None) -> Vault:
    one = vault_of(home, keyring)
    one.make()
    return one


def kinds(one: Vault) -> list[str]:
    return sorted(slot.kind for slot in one.slots())


def test_a_new_vault_opens_by_itself_and_says_that_it_protects_nothing(tmp_path: Path) -> None:
    one = vault_of(tmp_path / "home")
    assert (one.is_made, one.locked, one.protected, one.open_alone()) == (False, True, False, False)
    one.make()
    assert (one.is_made, one.locked, one.protected, kinds(one)) == (True, False, False, ["device"])
    key = one.account("here", make=True).database_key
    again = vault_of(tmp_path / "home")
    assert again.is_made
    assert again.locked
    assert again.accounts() == ["here"]
    assert again.open_alone()
    assert again.account("here").database_key == key
    with pytest.raises(ValueError, match="has a vault already"):
        again.make()


def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        one = made(tmp_path / "home")
        one.account("here", make=True)
    finally:
        os.umask(before)
    for path in (tmp_path / "home").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_a_passphrase_takes_the_place_of_the_devices_file(tmp_path: Path) -> None:
    one = made(tmp_path)
    secret = (tmp_path / "device.key").read_bytes()
    key = one.account("here", make=True).database_key
    one.set_passphrase(PASSPHRASE)
    assert (kinds(one), one.protected) == (["passphrase"], True)
    assert not (tmp_path / "device.key").exists()
    (tmp_path / "device.key").write_bytes(secret)  # as who copied it earlier has it
    again = vault_of(tmp_path)
    assert not again.open_alone()
    with pytest.raises(Locked):
        again.account("here")
    with pytest.raises(WrongSecret, match="not the passphrase"):
        again.unlock(PASSPHRASE + "!")
    assert again.locked
    again.unlock(PASSPHRASE)
    assert again.account("here").database_key == key
    assert not (tmp_path / "device.key").exists()


def test_a_new_passphrase_rewrites_its_slot_and_nothing_else(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.account("here", make=True)
    one.set_passphrase(PASSPHRASE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    one.set_passphrase("another passphrase")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert [path.name for path in after if after[path] != before.get(path)] == ["vault.json"]
    assert set(before) == set(after)
    again = vault_of(tmp_path)
    with pytest.raises(WrongSecret):
        again.unlock(PASSPHRASE)
    again.unlock("another passphrase")


def test_without_a_passphrase_it_opens_by_itself_again(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.set_passphrase(PASSPHRASE)
    one.set_passphrase("")
    assert (kinds(one), one.protected) == (["device"], False)
    assert vault_of(tmp_path).open_alone()


@pytest.mark.parametrize(
    ("new", "said"), [("1234567", "8 characters or more"), ("x" * 1_025, "1024 bytes at most"), ("é" * 600, "1024")]
)
def test_what_is_no_passphrase_is_said_to_be_none(tmp_path: Path, new: str, said: str) -> None:
    one = made(tmp_path)
    with pytest.raises(ValueError, match=said):
        one.set_passphrase(new)
    assert kinds(one) == ["device"]
    with pytest.raises(WrongSecret, match="no passphrase was set"):
        vault_of(tmp_path).unlock(new)


def test_a_passphrase_is_the_same_on_every_keyboard(tmp_path: Path) -> None:
    """One that composes its letters, one that does not (RFC 8265 §4.2)."""
    made(tmp_path).set_passphrase("caf\u00e9 cr\u00e8me")
    vault_of(tmp_path).unlock("cafe\u0301 cre\u0300me")


def test_the_words_of_a_recovery_sheet_open_it(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.set_passphrase(PASSPHRASE)
    seed, other = os.urandom(32), os.urandom(32)
    one.add_recovery(seed, "here")
    assert [(slot.kind, slot.note) for slot in one.slots()] == [("passphrase", ""), ("recovery", "here")]
    assert seed.hex() not in (tmp_path / "vault.json").read_text()
    again = vault_of(tmp_path)
    with pytest.raises(WrongSecret, match="another recovery sheet"):
        again.unlock(words_of(other))
    words = words_of(seed).split()
    with pytest.raises(WrongSecret, match="word 3, qqqqq"):
        again.unlock(" ".join([*words[:2], "qqqqq", *words[3:]]))
    with pytest.raises(WrongSecret, match="the 24 words of a recovery sheet open it, too"):
        again.unlock("forgotten")
    again.unlock("  ".join(words).upper())
    assert not again.locked


def test_a_new_sheet_of_an_account_takes_the_place_of_its_older_one(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.set_passphrase(PASSPHRASE)
    old, new, other = (os.urandom(32) for _ in range(3))
    one.add_recovery(old, "here")
    one.add_recovery(other, "there")
    one.add_recovery(new, "here")
    assert kinds(one) == ["passphrase", "recovery", "recovery"]
    with pytest.raises(WrongSecret):
        vault_of(tmp_path).unlock(words_of(old))
    for seed in (new, other):
        vault_of(tmp_path).unlock(words_of(seed))


def test_with_a_sheet_the_keyring_takes_the_place_of_the_devices_file(tmp_path: Path) -> None:
    desktop = Desktop()
    one = made(tmp_path, desktop)
    assert kinds(one) == ["device"]  # the keyring is never the only slot
    with pytest.raises(ValueError, match="set a passphrase first"):
        one.use_keyring()
    one.add_recovery(os.urandom(32), "here")
    assert (kinds(one), one.protected) == (["keyring", "recovery"], True)
    assert not (tmp_path / "device.key").exists()
    assert vault_of(tmp_path, desktop).open_alone()
    assert not vault_of(tmp_path, None).open_alone()  # the same disk in another system
    desktop.broken = True
    assert not vault_of(tmp_path, desktop).open_alone()
    desktop.kept.clear()
    desktop.broken = False
    assert not vault_of(tmp_path, desktop).open_alone()


def test_a_keyring_that_breaks_is_not_relied_on(tmp_path: Path) -> None:
    desktop = Desktop()
    one = made(tmp_path, desktop)
    desktop.broken = True
    one.add_recovery(os.urandom(32), "here")
    assert kinds(one) == ["device", "recovery"]
    with pytest.raises(KeyringUnusable):
        one.use_keyring()
    assert vault_of(tmp_path, desktop).open_alone()
    with pytest.raises(KeyringUnusable, match="no keyring"):
        made(tmp_path / "server").use_keyring()


def test_the_first_passphrase_ends_opening_by_itself_and_the_keyring_may_be_asked_back(tmp_path: Path) -> None:
    desktop = Desktop()
    one = made(tmp_path, desktop)
    one.add_recovery(os.urandom(32), "here")
    one.set_passphrase(PASSPHRASE)
    assert kinds(one) == ["passphrase", "recovery"]
    assert desktop.kept == {}
    one.use_keyring()
    one.use_keyring()
    assert kinds(one) == ["keyring", "passphrase", "recovery"]
    assert len(desktop.kept) == 1
    one.set_passphrase("another passphrase")
    assert "keyring" in kinds(one)
    assert vault_of(tmp_path, desktop).open_alone()
    one.forget_keyring()
    assert (kinds(one), desktop.kept) == (["passphrase", "recovery"], {})
    assert not vault_of(tmp_path, desktop).open_alone()


def test_the_keyring_is_never_left_as_the_only_slot(tmp_path: Path) -> None:
    desktop = Desktop()
    one = made(tmp_path, desktop)
    one.account("here", make=True)
    one.account("there", make=True)
    one.add_recovery(os.urandom(32), "here")
    assert kinds(one) == ["keyring", "recovery"]
    one.destroy("here")
    assert (kinds(one), one.protected) == (["device"], False)
    assert vault_of(tmp_path, None).open_alone()


def test_locked_is_locked(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.account("here", make=True)
    kept = one._key
    one.lock()
    assert kept == bytes(32)  # written over
    for act in (
        lambda: one.account("here"),
        lambda: one.set_passphrase(PASSPHRASE),
        lambda: one.add_recovery(bytes(32), "here"),
        one.use_keyring,
        one.forget_keyring,
        lambda: one.destroy("here"),
    ):
        with pytest.raises(Locked):
            act()
    one.lock()
    assert one.open_alone()


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", ".hidden", "a\x00b", "x" * 65, "naïve"])
def test_an_account_is_one_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be an account's name"):
        made(tmp_path).account(name, make=True)
    with pytest.raises(LookupError):
        vault_of(tmp_path).open_alone()
        one = vault_of(tmp_path)
        one.open_alone()
        one.destroy(name)


def test_each_account_has_keys_of_its_own(tmp_path: Path) -> None:
    one = made(tmp_path)
    here, there = one.account("here", make=True), one.account("there", make=True)
    assert here.database_key != there.database_key
    assert here.folder != there.folder
    stored = here.files.writer()
    stored.write(b"content")
    file = stored.finish().file
    with pytest.raises(FileNotFoundError):
        b"".join(there.files.read(file))
    with pytest.raises(LookupError, match="no account elsewhere"):
        one.account("elsewhere")
    with pytest.raises(VaultDamaged, match="another home's"):  # nor is one put in another's place
        (there.folder / "key").write_bytes((here.folder / "key").read_bytes())
        one.account("there")


def test_leaving_destroys_the_key_first_and_then_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(tmp_path)
    account = one.account("here", make=True)
    one.add_recovery(os.urandom(32), "here")
    (account.folder / "history.db").write_bytes(b"noise")
    key = (account.folder / "key").read_bytes()

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(vaults.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            one.destroy("here")
    assert not (account.folder / "key").exists()
    assert (account.folder / "history.db").exists()
    again = vault_of(tmp_path)
    assert again.accounts() == []
    again.open_alone()  # the rest goes now
    assert not account.folder.exists()
    assert kinds(again) == ["device"]
    fresh = again.account("here", make=True)
    assert fresh.database_key != account.database_key
    assert (fresh.folder / "key").read_bytes() != key
    again.destroy("here")
    again.destroy("here")
    assert list((tmp_path / "accounts").iterdir()) == []


def test_an_account_that_was_left_is_not_found_in_what_is_left_of_its_key(tmp_path: Path) -> None:
    """The file is written over before its name goes: who holds it open reads zeros."""
    one = made(tmp_path)
    path = one.account("here", make=True).folder / "key"
    with path.open("rb") as held:
        one.destroy("here")
        assert set(held.read()) == {0}


# -- what the file says ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ops": limits.PASSPHRASE_OPS_MAX + 1}, "rounds of Argon2id"),
        ({"ops": 0}, "rounds of Argon2id"),
        ({"memory_bytes": limits.PASSPHRASE_MEMORY_MAX_BYTES + 1}, "512 MiB at most"),
        ({"memory_bytes": 1}, "of memory"),
        ({"salt": "AAAA"}, "has 16 bytes; this one has 3"),
        ({"salt": "!"}, "has 16 bytes; this one has 0"),
    ],
)
def test_a_file_cannot_ask_for_any_amount_of_work(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    made(tmp_path).set_passphrase(PASSPHRASE)
    path = tmp_path / "vault.json"
    file = json.loads(path.read_text())
    file["slots"][0].update(changes)
    path.write_text(json.dumps(file))
    with pytest.raises(VaultDamaged, match=said):
        vault_of(tmp_path).unlock(PASSPHRASE)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is damaged"),
        (b"[]", "is damaged"),
        (b"{}", "is damaged"),
        (b'{"version": 2, "unheard": 1}', "newer release"),
        (b'{"version": 1, "id": "x", "slots": [{"id": "x"}]}', "is damaged"),
        (b'{"version": 1, "id": "x", "slots": [], "more": 1}', "is damaged"),
        (b" " * (limits.VAULT_MAX_BYTES + 1), "is damaged"),
        (b"\xff\xfe", "is damaged"),
    ],
)
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "vault.json").write_bytes(raw)
    with pytest.raises(VaultDamaged, match=said):
        vault_of(tmp_path)


def test_no_slot_can_be_made_to_pass_for_another() -> None:
    """Its kind, its note, its costs and its id are bound to what it holds."""
    key, secret = os.urandom(32), os.urandom(32)
    slot = new_slot("recovery", secret, key, made_ms=1, note="here", random_bytes=os.urandom)
    assert opened(slot, secret) == key
    for changes in ({"note": "there"}, {"kind": "keyring"}, {"made_ms": 2}, {"id": "x"}, {"sealed": "AAAA"}):
        assert opened(msgspec.structs.replace(slot, **changes), secret) is None, changes
    assert opened(slot, os.urandom(32)) is None


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=8, max_size=30), st.text(min_size=8, max_size=30), st.binary(min_size=32, max_size=32))
def test_a_passphrase_opens_its_own_slot_alone(one: str, other: str, key: bytes) -> None:
    slot = new_slot("passphrase", passphrase_bytes(one), key, made_ms=1, note="", random_bytes=os.urandom)
    assert msgspec.json.decode(msgspec.json.encode(slot), type=Slot) == slot
    assert opened(slot, passphrase_bytes(one)) == key
    if passphrase_bytes(one) != passphrase_bytes(other):
        assert opened(slot, passphrase_bytes(other)) is None


@given(st.text(max_size=40), st.integers(), st.integers())
def test_no_slot_of_a_file_is_a_traceback(salt: str, ops: int, memory_bytes: int) -> None:
    ops, memory_bytes = (ops, memory_bytes) if not 1 <= ops <= 64 else (0, memory_bytes)  # no work is to be done here
    slot = Slot("i", "passphrase", 1, "AAAA", salt=salt, ops=ops, memory_bytes=memory_bytes)
    with pytest.raises(SlotUnfit):
        opened(slot, b"x")


# -- kill ------------------------------------------------------------------------------------------------------------
class Killed(BaseException):
    """Whatever was under way ends here."""


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Ends everything before the call of the disk with this number."""
    left = [0]

    def counted(whole: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return whole(*arguments, **named)

        return call

    for name in ("fsync", "unlink", "rename", "replace", "mkdir", "pwrite", "open"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    yield lambda count: left.__setitem__(0, count)
    left[0] = 0


@pytest.mark.parametrize("act", ["passphrase", "away", "recovery", "keyring", "forget"])
def test_however_a_change_is_cut_off_there_is_a_way_in(
    tmp_path: Path, killing: Callable[[int], None], act: str
) -> None:
    """With the old secrets or with the new ones; the history is never locked up (B8)."""
    seed = bytes(range(32))
    count, finished = 0, False
    while not finished:
        count += 1
        home, desktop = tmp_path / str(count), Desktop()
        one = made(home, desktop)
        key = one.account("here", make=True).database_key
        if act in {"away", "keyring", "forget"}:
            one.set_passphrase(PASSPHRASE)
        if act == "forget":
            one.use_keyring()
        killing(count)
        try:
            {
                "passphrase": lambda one=one: one.set_passphrase("another passphrase"),
                "away": lambda one=one: one.set_passphrase(""),
                "recovery": lambda one=one: one.add_recovery(seed, "here"),
                "keyring": one.use_keyring,
                "forget": one.forget_keyring,
            }[act]()
            finished = True
        except Killed:
            pass
        killing(0)
        again = vault_of(home, desktop)
        if not again.open_alone():
            secret = "another passphrase" if act == "passphrase" else PASSPHRASE
            again.unlock(secret)
        assert again.account("here").database_key == key
    assert count > 4


def test_several_threads_change_it_one_after_the_other(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.set_passphrase(PASSPHRASE)
    seeds = [os.urandom(32) for _ in range(8)]
    acts = [threading.Thread(target=one.add_recovery, args=(seed, str(n))) for n, seed in enumerate(seeds)]
    for act in acts:
        act.start()
    for act in acts:
        act.join()
    assert kinds(one) == ["passphrase"] + ["recovery"] * 8
    for seed in seeds:
        vault_of(tmp_path).unlock(words_of(seed))
