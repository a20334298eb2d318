# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `tmtp` says to somebody who uses it wrongly, or for the first time."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tmtp_client.cli.main import app


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


@pytest.mark.parametrize("command", ["join", "whoami", "ping", "send", "inbox", "read", "watch"])
def test_every_command_explains_itself_with_an_example(tmp_path: Path, command: str) -> None:
    code, text = run(tmp_path / "home", command, "--help")
    assert code == 0
    assert f"Example: tmtp {command}" in text
