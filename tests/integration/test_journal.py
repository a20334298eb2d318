# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal beside the backups, on disks that are cut off, away, or do not answer (B4, C1)."""

import os
import threading
import time
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from gateway.backup import journal
from tmtp_core import limits
from tmtp_core.crypto.signing import Signer
from tmtp_core.domain import facts as f

SECRET = PrivateKey(bytes(range(1, 33)))
SIGNER = Signer(bytes(32))
PATIENCE_S = 120.0


def story(number: int) -> f.Told:
    return f.Told(number, (f.BlockSet("a", "b", blocked=True),), number)


def opened(folder: Path, said: list[str] | None = None) -> journal.JournalFile:
    heard = said if said is not None else []
    return journal.JournalFile(folder, "x", SECRET.public_key, SIGNER, lambda event, fields: heard.append(event))


def told(folder: Path) -> list[int]:
    """The first numbers of all stories, in the order of the files."""
    files = journal.journals_of(folder, "x")
    return [one.first for path in files for one in journal.stories(path, SECRET, SIGNER.public_key, lambda what: None)]


def caught_up(kept: journal.JournalFile) -> bool:
    """Whether what waits is written in the end."""
    until = time.monotonic() + PATIENCE_S
    while kept.behind and time.monotonic() < until:
        kept.retry()
        time.sleep(0.01)
    return not kept.behind


def test_a_journal_whose_disk_is_away_refuses_nobody_and_catches_up(tmp_path: Path) -> None:
    said = list[str]()
    place = tmp_path / "mount"
    place.write_text("in the way")
    kept = opened(place, said)
    for number in (1, 2):
        kept.append(story(number))
    assert (kept.behind, said) == (2, ["journal_failing"])
    place.unlink()
    assert caught_up(kept)
    assert said == ["journal_failing", "journal_written_again"]
    kept.append(story(3))
    kept.close()
    assert told(place) == [1, 2, 3]


@pytest.mark.parametrize("again", [True, False])
def test_half_an_entry_hides_none_of_those_that_follow(tmp_path: Path, again: bool) -> None:
    """A cut of the power, or a full disk, while an entry was written; the process begins again, or goes on."""
    said = list[str]()
    kept = opened(tmp_path, said)
    kept.append(story(1))
    kept.append(story(2))
    path = journal.current_path(tmp_path, "x")
    os.truncate(path, path.stat().st_size - 7)
    assert journal.is_cut_off(path)
    if again:
        kept.close()
        kept = opened(tmp_path, said)
    for number in (3, 4):
        kept.append(story(number))
    kept.close()
    assert told(tmp_path) == [1, 3, 4]
    assert said == ["journal_cut_off"]
    assert not journal.is_cut_off(path)
    assert journal.last_number(path) == 4


@pytest.mark.parametrize("size", [1, 100, 1 << 31])
def test_a_length_that_no_entry_has_is_damage_and_is_put_aside(tmp_path: Path, size: int) -> None:
    said = list[str]()
    kept = opened(tmp_path, said)
    kept.append(story(1))
    path = journal.current_path(tmp_path, "x")
    with path.open("ab") as file:
        file.write(size.to_bytes(4) + bytes(500))
    assert journal.is_cut_off(path)
    heard: list[str] = []
    assert len(list(journal.stories(path, SECRET, SIGNER.public_key, heard.append))) == 1
    assert "damaged" in heard[0]
    kept.append(story(2))
    kept.close()
    assert said == ["journal_damaged"]
    assert told(tmp_path) == [1, 2]
    assert len(journal.journals_of(tmp_path, "x")) == 2


def test_a_backup_after_half_a_first_entry_begins_a_sound_file(tmp_path: Path) -> None:
    path = journal.current_path(tmp_path, "x")
    path.write_bytes(b"1234567")
    journal.put_aside(tmp_path, {"x": 5}, 1_790_000_000_000)
    assert journal.last_number(path) == 5
    assert not journal.is_cut_off(path)


def test_a_disk_that_does_not_answer_keeps_no_act_waiting_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted machine that is away, a stick that resets: the writer of the service goes on without it."""
    monkeypatch.setattr(limits, "JOURNAL_PATIENCE_S", 0.05)
    said = list[str]()
    kept = opened(tmp_path, said)
    answers, real = threading.Event(), os.fsync

    def hung(descriptor: int) -> None:
        answers.wait(PATIENCE_S)
        real(descriptor)

    monkeypatch.setattr(journal.os, "fsync", hung)
    for number in (1, 2, 3):
        kept.append(story(number))
    assert not answers.is_set()
    assert (kept.behind, said) == (3, ["journal_failing"])
    before = threading.active_count()
    for _ in range(100):
        kept.retry()  # each second: one thread, and no queue of those that wait
    assert threading.active_count() == before
    answers.set()
    assert caught_up(kept)
    assert said == ["journal_failing", "journal_written_again"]
    kept.close()
    assert told(tmp_path) == [1, 2, 3]


def test_an_act_in_time_is_on_the_disk_when_its_answer_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit, journal, then speak."""
    synced: list[int] = []
    real = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.05)
        real(descriptor)
        synced.append(descriptor)

    monkeypatch.setattr(journal.os, "fsync", slow)
    kept = opened(tmp_path)
    for number in range(1, 5):
        kept.append(story(number))
        assert len(synced) >= number
        assert told(tmp_path) == list(range(1, number + 1))
    kept.close()


def test_acts_that_waited_in_memory_at_the_end_are_missed_until_a_backup_has_them(tmp_path: Path) -> None:
    """The journal's disk was away, and the process ended: only the numbers tell."""
    said = list[str]()
    folder, away = tmp_path / "j", tmp_path / "away"
    kept = opened(folder)
    kept.append(story(1))
    folder.rename(away)
    folder.write_text("in the way")
    kept.append(story(2))
    kept.close()
    folder.unlink()
    away.rename(folder)
    for _ in range(2):  # it stays known, whatever the journal hears later
        kept = opened(folder, said)
        kept.known(2)
        kept.append(story(3))
        assert kept.behind == 1
        kept.close()
    assert said == ["journal_lacks_acts"]
    kept = opened(folder)
    kept.known(3)
    kept.append(story(4))
    assert kept.behind == 1
    journal.settled(folder, ["x"])  # as a backup does when it is whole
    assert caught_up(kept)
    kept.close()


@pytest.mark.parametrize("known", [0, 2, f.FACTS_LEAP, 3 * f.FACTS_LEAP])
def test_nothing_is_missed_where_nothing_is_missing(tmp_path: Path, known: int) -> None:
    """A new service, one that has told everything, one that was restored."""
    kept = opened(tmp_path)
    kept.append(story(1))
    kept.append(story(2))
    kept.close()
    said = list[str]()
    again = opened(tmp_path, said)
    again.known(known)
    again.append(story(known + 1))
    assert (again.behind, said) == (0, [])
    again.close()
