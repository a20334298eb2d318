# SPDX-License-Identifier: AGPL-3.0-or-later
"""A payload's descriptor: closed by whoever finishes last, read by nobody afterwards (storage.md, A4)."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tmtp_core.store.payloads import Reading

PATIENCE_S = 60.0


class Disk:
    """`os.open` and `os.read` that wait for the test, and a list of what was done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, int]] = []
        self.slow = ""
        self.reached, self.released = threading.Event(), threading.Event()
        for name in ("open", "read", "close"):
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, act: Callable[..., int]) -> Callable[..., int]:
        def watched(what: int, *more: int) -> int:
            if name == self.slow:
                self.reached.set()
                self.released.wait(PATIENCE_S)
            result = act(what, *more)
            self.done.append((name, result if name == "open" else what))
            return result

        return watched


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    path = tmp_path / "payload"
    path.write_bytes(b"content")
    return path


def test_it_is_read_to_its_end(payload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(payload)
    assert reading.open()
    disk = Disk(monkeypatch)
    assert [reading.read(4), reading.read(4), reading.read(4)] == [b"cont", b"ent", b""]
    reading.close()
    reading.close()
    assert [name for name, _ in disk.done] == ["read", "read", "read", "close"]


def test_one_that_is_gone(payload: Path) -> None:
    payload.unlink()
    reading = Reading(payload)
    assert not reading.open()
    assert reading.read(4) == b""
    reading.close()


@pytest.mark.parametrize("slow", ["open", "read"])
def test_who_loses_interest_meanwhile_leaves_the_closing_to_the_worker(
    payload: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    reading = Reading(payload)
    if slow == "read":
        reading.open()
    disk = Disk(monkeypatch)
    disk.slow = slow
    worker = threading.Thread(target=reading.open if slow == "open" else lambda: reading.read(4))
    worker.start()
    assert disk.reached.wait(PATIENCE_S)
    reading.close()
    assert disk.done == []
    disk.released.set()
    worker.join(PATIENCE_S)
    (_, descriptor), (last, closed) = disk.done
    assert (last, closed) == ("close", descriptor)


def test_a_read_that_was_waiting_for_its_thread_touches_no_descriptor_any_more(
    payload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another file's by then."""
    reading = Reading(payload)
    reading.open()
    reading.close()
    disk = Disk(monkeypatch)
    assert reading.read(4) == b""
    assert not reading.open()
    assert disk.done == []
