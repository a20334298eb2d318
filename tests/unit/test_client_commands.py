# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `tmtp` says to somebody who uses it wrongly, or for the first time."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tmtp_client.cli.main import app, main
from tmtp_client.engine.history import Identity
from tmtp_client.engine.profile import Profile


def run(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and everything that was printed, with blanks collapsed."""
    environment = {"TMTP_HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, arguments, env=environment)
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["join", "http://example.org", "--alias", "Ada Lovelace"], 2, "begins with tmtp://"),
        (["join", "127.0.0.1:1", "--alias", "Ada Lovelace"], 3, "cannot be reached"),
        (["join"], 2, "Missing argument"),
        (["inbox"], 2, "tmtp join"),
        (["send", "Bob Builder", "hello"], 2, "tmtp join"),
        (["ping", "Bob Builder", "😀" * 71], 2, "140 characters at most; this one has 142"),
        (["whoami", "--profile", "../other"], 2, "cannot be a profile"),
        (["fly"], 2, "No such command"),
    ],
)
def test_wrong_use_is_said_in_words(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    assert run(tmp_path / "home", *arguments)[0] == code
    assert words in run(tmp_path / "home", *arguments)[1]


@pytest.mark.parametrize("command", ["join", "alias", "whoami", "ping", "send", "reply", "inbox", "read", "watch"])
def test_every_command_explains_itself_with_an_example(tmp_path: Path, command: str) -> None:
    code, text = run(tmp_path / "home", command, "--help")
    assert code == 0
    assert f"Example: tmtp {command}" in text


@pytest.mark.parametrize("damage", ["a file where home should be", "no database"])
def test_a_profile_that_cannot_be_used_is_said_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    home = tmp_path / "home"
    if damage == "no database":
        (home / "default").mkdir(parents=True)
        (home / "default" / "history.sqlite3").write_bytes(b"this is no database, and longer than a header " * 100)
    else:
        home.touch()
    monkeypatch.setenv("TMTP_HOME", str(home))
    monkeypatch.setattr("sys.argv", ["tmtp", "whoami"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "cannot be used" in capsys.readouterr().err


def test_names_steer_no_terminal(tmp_path: Path) -> None:
    """A service that was broken into may call itself, and others, what it likes."""
    history = Profile(tmp_path, "default").open()
    history.set_identity(
        Identity("A" * 32, "N" * 40, "Ada :smile: [b]", "127.0.0.1", 1, None, None, "\x1b]0;title\x07\u202e")
    )
    history.learn_contact("\x1b[2J", "B" * 32)
    history.close()
    code, text = run(tmp_path, "whoami")
    assert code == 0
    assert "Ada :smile: [b] on \\u001b]0;title\\u0007\\u202e" in text
    assert "knows \\u001b[2J" in text
