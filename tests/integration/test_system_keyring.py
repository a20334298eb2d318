# SPDX-License-Identifier: AGPL-3.0-or-later
"""The system's keyring as one way to open a history: GNOME's, real, on a bus of its own (B8)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tmtp_client.vault.keyrings import KeyringUnusable, SystemKeyring, system_keyring
from tmtp_client.vault.vault import Vault

_SESSION = """
printf 'the password of the session' | gnome-keyring-daemon --unlock --foreground --components=secrets >/dev/null 2>&1 &
daemon=$!
"$@"
code=$?
kill $daemon
wait $daemon
exit $code
"""
_FIRST = """
import os, sys, time
from pathlib import Path
from tmtp_client.vault.keyrings import system_keyring
from tmtp_client.vault.vault import Vault
for _ in range(100):  # the daemon takes its name on the bus in its own time
    keyring = system_keyring()
    if keyring is not None:
        break
    time.sleep(0.1)
assert keyring is not None
"""
_MAKE = """
vault = Vault(Path(sys.argv[1]), os.urandom, keyring, lambda: 1)
vault.make()
vault.add_recovery(bytes(32), "here")
assert {slot.kind for slot in vault.slots()} == {"keyring", "recovery"}
print(vault.account("here", make=True).database_key.hex())
"""
_OPEN = """
vault = Vault(Path(sys.argv[1]), os.urandom, keyring, lambda: 1)
assert vault.open_alone()
print(vault.account("here").database_key.hex())
"""
_FORGET = """
vault = Vault(Path(sys.argv[1]), os.urandom, keyring, lambda: 1)
assert vault.open_alone()
(slot,) = [slot for slot in vault._slots() if slot.kind == "keyring"]
assert keyring.get(vault._keyring_name(slot)) is not None
vault.forget_keyring()
assert keyring.get(vault._keyring_name(slot)) is None
keyring.forget(vault._keyring_name(slot))
"""


_API = """
import asyncio
from tmtp_client.api import operations as o
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.running import running

async def main(first: bool) -> None:
    async with running(Path(sys.argv[1])) as engine:
        ask = engine.dispatcher.ask
        state = await ask("home.state", o.Nothing())
        assert not state.locked
        if first:
            try:
                await ask("home.keyring", o.Nothing())
            except ProblemError as error:
                assert "set a passphrase first" in error.problem.text
            else:
                raise AssertionError("a keyring goes with its system")
            await ask("home.passphrase", o.SetPassphrase("correct horse battery"))
            state = await ask("home.keyring", o.Nothing())
            assert {slot.kind for slot in state.slots} == {"passphrase", "keyring"} and state.protected
        else:
            state = await ask("home.forget_keyring", o.Nothing())
            assert {slot.kind for slot in state.slots} == {"passphrase"}
"""


def _needed() -> None:
    for program in ("dbus-run-session", "gnome-keyring-daemon"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt-get install dbus gnome-keyring")


def _in_session(folder: Path, script: str, home: Path) -> str:
    """What the script prints, in a desktop session whose keyring is kept in `folder`."""
    bare = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "DBUS_SESSION_BUS_ADDRESS"}}
    environment = {
        **bare,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_RUNTIME_DIR": str(folder),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = ["dbus-run-session", "--", "sh", "-c", _SESSION, "sh", sys.executable, "-c", _FIRST + script, str(home)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_desktops_keyring_opens_it(tmp_path: Path) -> None:
    _needed()
    session, home = tmp_path / "session", tmp_path / "home"
    session.mkdir(mode=0o700)
    key = _in_session(session, _MAKE, home)
    assert len(key) == 64
    assert _in_session(session, _OPEN, home) == key
    assert not Vault(home, os.urandom, None, lambda: 1).open_alone()  # the disk without the session
    _in_session(session, _FORGET, home)
    assert Vault(home, os.urandom, None, lambda: 1).open_alone()  # by the device's file again


def test_the_local_api_gives_the_home_to_the_keyring_and_takes_it_back(tmp_path: Path) -> None:
    _needed()
    session, home = tmp_path / "session", tmp_path / "home"
    session.mkdir(mode=0o700)
    _in_session(session, _API + "asyncio.run(main(True))", home)
    assert Vault(home, os.urandom, None, lambda: 1).open_alone() is False
    _in_session(session, _API + "asyncio.run(main(False))", home)  # it opened by itself
    assert Vault(home, os.urandom, None, lambda: 1).open_alone() is False
    Vault(home, os.urandom, None, lambda: 1).unlock("correct horse battery")


def test_on_a_server_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No bus, no desktop: and a file that only pretends to be a keyring is none."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    for backend in ("", "keyring.backends.null.Keyring", "keyring.backends.fail.Keyring"):
        chosen = {**environment, "PYTHON_KEYRING_BACKEND": backend} if backend else environment
        asked = "from tmtp_client.vault.keyrings import system_keyring; print(system_keyring())"
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        chosen["PYTHONPATH"] = environment["PYTHONPATH"]
        ran = subprocess.run([sys.executable, "-c", asked], env=chosen, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout.strip()) == (0, "None"), (backend, ran.stderr)


class _Odd:
    """A backend as other packages have them."""

    def __init__(self, says: object) -> None:
        self.says = says

    def get_password(self, place: str, name: str) -> object:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def set_password(self, place: str, name: str, secret: str) -> None:
        pass

    def delete_password(self, place: str, name: str) -> None:
        raise RuntimeError("D-Bus")


@pytest.mark.parametrize("says", [None, "not base64 !", "AAAA", RuntimeError("D-Bus is away")])
def test_one_that_does_not_keep_what_it_is_given_is_not_used(says: object) -> None:
    with pytest.raises(KeyringUnusable):
        SystemKeyring(_Odd(says)).put("name", bytes(32))


def test_whatever_a_backend_raises_is_one_error() -> None:
    with pytest.raises(KeyringUnusable, match="does not answer: RuntimeError"):
        SystemKeyring(_Odd("AAAA")).forget("name")
    assert system_keyring() is None or isinstance(system_keyring(), SystemKeyring)
