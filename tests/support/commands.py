# SPDX-License-Identifier: AGPL-3.0-or-later
"""`tmtp-gateway`, each command in a process of its own, without the seconds in which Python loads it.

A process that has loaded the program makes a copy of itself for each command.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


class Commands:
    """Runs commands until `close`, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, given: str = "", environment: dict[str, str] | None = None) -> Ran:
        """Run one; `given` is what a person types."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([arguments, given, environment or {}]) + "\n")
        process.stdin.flush()
        return Ran(*json.loads(process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _in_a_copy(arguments: list[str], given: str, environment: dict[str, str]) -> tuple[int, str, str]:
    from gateway.cli.main import main  # noqa: PLC0415 - loaded once, by the first

    with tempfile.TemporaryFile("w+") as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        copy = os.fork()
        if not copy:
            for number, file in enumerate((stdin, stdout, stderr)):
                os.dup2(file.fileno(), number)
            sys.argv = ["tmtp-gateway", *arguments]
            os.environ.update(environment)
            os._exit(_exit_code(main))
        _, status = os.waitpid(copy, 0)
        return os.waitstatus_to_exitcode(status), _read(stdout), _read(stderr)


def _exit_code(main: object) -> int:
    assert callable(main)
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_in_a_copy(*json.loads(line))), flush=True)
