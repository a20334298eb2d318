# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs of ours, each command a process of its own, without the second and more in which Python loads it.

A process that has loaded the program, and done nothing else, makes a copy of itself for each command. The copy has the
command's arguments, environment, folder and files; it runs `main` as a fresh process would, and ends as one does. That a
fresh one runs, too, is seen where a test starts a command that goes on.
"""

import array
import asyncio
import atexit
import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_OTHERS: Final = ("__main__", "_process", ".worker")  # programs of their own, with what no command is to have in it
_FILES: Final = 5  # of each request: what it is, standard input, output, error, and where its end is told
_PATIENCE_S: Final = 10.0  # with its end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: bytes
    err: bytes


class Loaded:
    """A program: `package`.program's `main`. It is loaded when first run. `warnings`: as in PYTHONWARNINGS."""

    def __init__(self, package: str, warnings: str = "") -> None:
        self._command = [sys.executable, "-m", __name__, package]
        self._environment = os.environ | {"PYTHONWARNINGS": warnings}
        self._server: subprocess.Popen[bytes] | None = None
        self._asking: socket.socket | None = None
        self._lock = threading.Lock()

    async def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        patience_s: float,
        given: bytes = b"",
        folder: Path | None = None,
    ) -> Ended:
        """A command to its end; `given` is what it reads. Raises TimeoutError, when it has been killed."""
        request = {"argv": list(arguments), "environment": dict(environment), "folder": str(folder or Path.cwd())}
        with ExitStack() as stack:
            what, typed, out, err = (stack.enter_context(tempfile.TemporaryFile(buffering=0)) for _ in range(4))
            what.write(json.dumps(request).encode())
            typed.write(given)
            what.seek(0)
            typed.seek(0)
            read, write = os.pipe()
            told = stack.enter_context(os.fdopen(read, "rb", buffering=0))
            try:
                self._ask([what.fileno(), typed.fileno(), out.fileno(), err.fileno(), write])
            finally:
                os.close(write)
            number = int(await asyncio.to_thread(told.readline))
            ending = asyncio.ensure_future(asyncio.to_thread(told.readline))
            try:
                await asyncio.wait_for(asyncio.shield(ending), patience_s)
            finally:
                if not ending.done():
                    with suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                    await ending
            out.seek(0)
            err.seek(0)
            return Ended(int(ending.result()), out.read(), err.read())

    def _ask(self, files: list[int]) -> None:
        with self._lock:
            if self._asking is None:
                self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._server = subprocess.Popen(
                        self._command,
                        stdin=theirs,
                        stdout=subprocess.DEVNULL,
                        env=os.environ | {"PYTHONWARNINGS": "error"},
                    )
                atexit.register(self._close)
            self._asking.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])

    def _close(self) -> None:
        assert self._asking is not None
        assert self._server is not None
        self._asking.close()
        try:
            self._server.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:  # a process that somebody left holds the socket, too
            self._server.kill()


def _load(package: str) -> None:
    for one in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not one.name.endswith(_OTHERS):
            import_module(one.name)


def _serve() -> None:
    """Returns in the copies only, each of which is a command then."""
    asked = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those between
    while True:
        message, files, _, _ = socket.recv_fds(asked, 1, _FILES)
        if not message:
            os._exit(0)
        if os.fork():
            for file in files:
                os.close(file)
            continue
        asked.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        told = files.pop()
        command = os.fork()
        if not command:
            os.close(told)
            return _become(files)
        os.write(told, b"%d\n" % command)
        _, status = os.waitpid(command, 0)
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)


def _become(files: list[int]) -> None:
    with os.fdopen(files[0], "rb") as what:
        request: dict[str, Any] = json.loads(what.read())
    for number, file in enumerate(files[1:]):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["-c", *request["argv"]]


if __name__ == "__main__":
    main = import_module(f"{sys.argv[1]}.program").main
    _load(sys.argv[1])
    gc.collect()
    gc.freeze()  # or each copy looks through all of it once more when it ends
    _serve()
    main()
