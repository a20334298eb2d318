# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads the operator's guide as its reader would, and does what it says, in a scratch folder.

Every block of `sh` in a page is run, in order, unless a comment before it says otherwise:

    <!-- not run: WHY -->      a person can run it, the tests cannot; why is said
    <!-- keeps running -->     it is started, and what follows waits until it says `ready`
    <!-- stop -->              what keeps running is told to stop, as by Ctrl-C
    <!-- fails -->             its exit code is not 0
    <!-- file: PATH -->        whatever block follows is what the reader writes into this file
    <!-- here: WHAT -->        people do something; the test does it

The guide speaks of a real machine's folders, ports and addresses: `Scratch` puts others in their place.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_MARK = re.compile(r"<!-- (not run|keeps running|stop|fails|file|here)(?:: (.+?))? -->")
_FENCE = re.compile(r"^(\s*)(`{3,})\s*(\S*)\s*$")
_PATIENCE_S = 300.0

Kind = Literal["run", "fails", "keeps running", "stop", "not run", "file", "here"]


class GuideFailed(Exception):
    """What the guide says does not work; the text says where and how."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the reader does. `about`: the file, the happening, or why it is not run."""

    kind: Kind
    page: str
    line: int
    text: str = ""
    about: str = ""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def steps_of(page: Path) -> list[Step]:
    """What a page tells its reader to do. Raises `GuideFailed` for a comment or block that does not fit."""
    steps: list[Step] = []
    mark: tuple[str, str] | None = None
    lines = iter(enumerate(page.read_text("utf-8").splitlines(), 1))
    for number, line in lines:
        if line.lstrip().startswith("<!--"):
            found = _MARK.fullmatch(line.strip())
            if found is None:
                raise GuideFailed(f"{page.name}:{number}: no such comment: {line}")
            if found[1] in {"stop", "here"}:
                steps.append(Step(found[1], page.name, number, about=found[2] or ""))  # type: ignore[arg-type]
            else:
                mark = (found[1], found[2] or "")
        elif fence := _FENCE.match(line):
            body = []
            for _, inner in lines:
                if inner.strip() == fence[2]:
                    break
                body.append(inner.removeprefix(fence[1]))
            kind, about = mark or ("run" if fence[3] == "sh" else "", "")
            if kind:
                steps.append(Step(kind, page.name, number, "\n".join(body) + "\n", about))  # type: ignore[arg-type]
            mark = None
        elif line.strip() and mark is not None:
            raise GuideFailed(f"{page.name}:{number}: a comment stands before no block")
    return steps


@dataclass
class Scratch:
    """A machine as the guide speaks of it, below a folder. `stands_for`: what takes the place of what in its texts."""

    folder: Path
    stands_for: dict[str, str]
    environment: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    """What the reader writes instead of the example, by the guide's path."""
    _running: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def read(self, text: str) -> str:
        """A text of the guide, as this reader takes it. One pass: nothing that was put in is replaced again."""
        words = sorted(self.stands_for, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, words)), lambda found: self.stands_for[found[0]], text)

    def follow(self, page: Path, happenings: Mapping[str, Callable[[], None]]) -> int:
        """Do what a page says. How many commands were run. Raises `GuideFailed`."""
        ran = 0
        for step in steps_of(page):
            if step.kind == "here":
                happenings[step.about]()
            elif step.kind == "file":
                file = self.folder / self.read(step.about)
                file.write_text(self.files.get(step.about, self.read(step.text)), "utf-8")
            elif step.kind == "stop":
                self.stop()
            elif step.kind == "keeps running":
                self._start(step)
            elif step.kind != "not run":
                self._run(step)
            ran += step.kind in {"run", "fails", "keeps running"}
        return ran

    def run(self, command: list[str], given: str = "", **more: str) -> str:
        """What a program says, as the happenings call it."""
        done = subprocess.run(
            command,
            input=given,
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode != 0:
            raise GuideFailed(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """End what keeps running."""
        while self._running:
            process = self._running.pop()
            process.send_signal(signal.SIGINT)
            process.wait(_PATIENCE_S)

    def _run(self, step: Step) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.read(step.text)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if (done.returncode != 0) != (step.kind == "fails"):
            raise GuideFailed(f"{step.where}: exit code {done.returncode}\n{step.text}\n{done.stdout}{done.stderr}")

    def _start(self, step: Step) -> None:
        log = self.folder / f"{step.page}-{step.line}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.read(step.text)}"], cwd=self.folder, env=self.environment, stderr=file
            )
        self._running.append(process)
        end = time.monotonic() + _PATIENCE_S
        while b"ready" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                raise GuideFailed(f"{step.where} does not start\n{log.read_text('utf-8')}")
            time.sleep(0.05)


def python_for_guide(folder: Path, base: str) -> None:
    """The `python3` of the machine: the one that the tests run with, found by its path."""
    folder.mkdir(parents=True)
    wrapper = folder / "python3"
    wrapper.write_text(f'#!/bin/sh\nexec "{base}" "$@"\n', "utf-8")
    wrapper.chmod(0o755)


def inherited() -> dict[str, str]:
    """What of this process's environment a person's shell would have, too."""
    dropped = ("TMTP_", "PYTHON", "VIRTUAL_ENV", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
