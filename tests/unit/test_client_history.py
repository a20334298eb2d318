# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is recorded stays recorded, once; what is to be sent waits under one id."""

import os
import stat
from pathlib import Path

import pytest

from tmtp_client.engine.history import History, Identity, Outgoing, Recorded, StoredFile
from tmtp_client.engine.profile import Profile, default_home

ADA = Identity("A" * 32, "N" * 40, "Ada Lovelace", "127.0.0.1", 4433, "sha256:x", None, "Test Site")


def message(number: int, text: str = "hello") -> Recorded:
    return Recorded(
        f"{number:016x}", "message", False, "B" * 32, "Bob", "a subject", text, "", "2026-11-24T12:00:00.000Z"
    )


def outgoing(request_id: str, files: tuple[str, ...] = ()) -> Outgoing:
    return Outgoing(request_id, "message", "B" * 32, "Bob Builder", "", "text", "", files)


def test_a_message_is_kept_once_and_survives_the_process(tmp_path: Path) -> None:
    first = History(tmp_path / "h")
    assert first.record(message(1), [StoredFile("a.txt", 3, "/x/a"), StoredFile("b.txt", 0, "/x/b")])
    assert not first.record(message(1, "another text"), [StoredFile("c.txt", 1, "/x/c")])
    first.close()
    again = History(tmp_path / "h")
    assert again.knows(message(1).id)
    assert again.latest(10) == [message(1)]
    assert [file.name for file in again.files(message(1).id)] == ["a.txt", "b.txt"]
    again.close()


def test_the_latest_come_last_and_are_found_by_the_end_of_their_ids(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    for number in (0x1A2, 0x1A1, 0x2A1):
        history.record(message(number))
    assert [kept.id[-3:] for kept in history.latest(2)] == ["1a2", "2a1"]
    found = history.message("1a2")
    assert found is not None
    assert found.id == f"{0x1A2:016x}"
    assert history.message("a1") is None  # two end so
    assert history.message("%") is None  # no pattern of LIKE
    history.mark_seen([message(0x2A1).id])
    assert [kept.seen for kept in history.latest(3)] == [False, False, True]
    history.close()


@pytest.mark.parametrize(
    "text", ["line\nline", "\x00", "\x1b[31m", "\u202eabc", "😀" * 200, "'; DROP TABLE message; --"]
)
def test_any_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    history = History(tmp_path / "h")
    history.record(message(1, text))
    assert history.latest(1)[0].text == text
    history.close()


def test_the_outbox_keeps_order_and_id_until_the_service_has_it(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    for name in ("r1", "r2", "r3"):
        history.queue(outgoing(name, ("/x/a file", "/x/b")))
    history.refused("r2", "no")
    history.close()
    history = History(tmp_path / "h")
    assert [entry.request_id for entry in history.waiting()] == ["r1", "r3"]
    assert history.waiting()[0].files == ("/x/a file", "/x/b")
    history.sent(outgoing("r1"), message(7), [])
    assert history.outgoing("r1") is None
    assert history.knows(message(7).id)
    left = history.outgoing("r2")
    assert left is not None
    assert left.error == "no"
    assert history.refusals() == [left]
    history.forget_outgoing("r2")
    assert history.outgoing("r2") is None
    history.close()


def test_sent_may_happen_twice(tmp_path: Path) -> None:
    """After a crash between the two halves the entry is sent again, and answered with the same message id."""
    history = History(tmp_path / "h")
    history.queue(outgoing("r1"))
    history.record(message(7))
    history.sent(outgoing("r1"), message(7), [])
    assert history.latest(10) == [message(7)]
    assert history.waiting() == []
    history.close()


def test_contacts_are_those_that_the_service_vouched_for(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.learn_contact("Bob Builder", "B" * 32)
    history.learn_contact("Bob Builder", "B" * 32)
    history.learn_contact("Bob the Other", "B" * 32)
    assert history.contact("Bob Builder") == "B" * 32
    assert history.contact("bob builder") is None
    assert history.contacts() == [("Bob Builder", "B" * 32), ("Bob the Other", "B" * 32)]
    assert history.alias_of("C" * 32) is None
    history.close()


def test_identity_and_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        profile = Profile(tmp_path / "home", "default")
        history = profile.open()
        assert history.identity() is None
        history.set_identity(ADA)
        assert history.identity() == ADA
        assert stat.S_IMODE(profile.folder.stat().st_mode) == 0o700
        for file in profile.folder.glob("history*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        history.close()
    finally:
        os.umask(before)


def test_one_process_at_a_time_runs_an_engine(tmp_path: Path) -> None:
    one, other = Profile(tmp_path, "a"), Profile(tmp_path, "a")
    with one.lock() as ours:
        assert ours
        with other.lock() as theirs:
            assert not theirs
    with other.lock() as theirs:
        assert theirs


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", ".hidden", "a\x00b", "x" * 65, "naïve"])
def test_a_profile_is_one_folder_below_home(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a profile"):
        Profile(tmp_path, name)


def test_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMTP_HOME", str(tmp_path / "here"))
    assert default_home() == tmp_path / "here"
    monkeypatch.delenv("TMTP_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "tmtp"
