# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `tmtp` says to somebody who uses it wrongly, or for the first time."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tmtp_client import limits
from tmtp_client.api.frames import Problem
from tmtp_client.api.models import Attachment
from tmtp_client.cli.common import bare, default_home, fail_by, moment_ms, time_text
from tmtp_client.cli.forms import _chosen
from tmtp_client.cli.main import app, main
from tmtp_client.cli.query import query_of


def run(home: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and everything that was printed, with blanks collapsed."""
    environment = {"TMTP_HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, arguments, env=environment)
    return result.exit_code, " ".join(result.output.split())


def commands() -> Iterator[tuple[str, ...]]:
    """Every command, as it is typed."""

    def below(one: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if isinstance(one, typer.core.TyperGroup):
            if path[0] in {"accounts", "devices", "drafts", "wishes"}:  # which list, by themselves
                yield path
            for name, command in one.commands.items():
                yield from below(command, (*path, name))
        else:
            yield path

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield from below(command, (name,))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["join", "http://example.org", "--alias", "Ada Lovelace"], 2, "begins with tmtp://"),
        (["join", "127.0.0.1:1", "--alias", "Ada Lovelace"], 3, "reached: nothing answers at its address"),
        (["join", "no-such-host.invalid:1", "--alias", "Ada Lovelace"], 3, "cannot be reached: "),
        (["join", "127.0.0.1:1", "--alias", "Ada Lovelace", "--ca", "/no/such/file"], 2, "no certificates"),
        (["join"], 2, "Missing option"),
        (["join", "--alias", "Ada Lovelace"], 2, "or give a picture of its QR code"),
        (["join", "", "--alias", "Ada Lovelace"], 2, "say the link that you were given"),
        (["join", "127.0.0.1:here", "--alias", "Ada Lovelace"], 2, "has no port between"),
        (["inbox"], 2, "tmtp join"),
        (["watch"], 2, "tmtp join"),
        (["search", "x", "-a", "nobody"], 2, "tmtp join"),
        (["send", "Bob Builder", "hello"], 2, "tmtp join"),
        (["whoami", "--profile", "../other"], 2, "joined no service"),
        (["join", "127.0.0.1:1", "--alias", "Ada Lovelace", "-a", "../other"], 2, "cannot be an account's name"),
        (["mark", "1f2e3d4c"], 2, "say what"),
        (["mark", "1f2e3d4c", "--snooze", "soon"], 2, "--snooze takes 30m, 3h"),
        (["lock", "--set-passphrase", "--no-passphrase"], 2, "either"),
        (["lock", "--after", "10081"], 2, "less than or equal to 10080"),
        (["accounts", "leave", "club"], 2, "--yes"),
        (["recovery", "new"], 2, "--yes"),
        (["fly"], 2, "No such command"),
        (["search"], 2, "Missing argument"),
        (["drafts", "edit"], 2, "say what: --text"),
        (["drafts", "edit", "1f2e3d4c", "--reply", "1f2e3d4c", "-t", "x"], 2, "either"),
        (["drafts", "delete", "1f2e3d4c"], 2, "--yes"),
        (["form", "write", "Bob Builder"], 2, "say what you ask: --ask"),
        (["form", "write", "Bob Builder", "-q", "day"], 2, "--ask takes 'day! date Which day?'"),
        (["form", "write", "Bob Builder", "-q", "day year When?"], 2, "not day year When?"),
        (["form", "write", "Bob Builder", "-q", "n integer(few..many)"], 2, "--ask takes"),
        (["form", "write", "Bob Builder", "-q", "day date(2026)"], 2, "--ask takes"),
        (["form", "fill", "1f2e3d4c", "day"], 2, "an answer is NAME=ANSWER; not day"),
        (["keys", "Bob Builder", "--shown", "12345", "--compared"], 2, "either"),
        (["form", "answers", "1f2e3d4c", "--csv", "--json"], 2, "either --csv or --json"),
        (["send", "Bob Builder", "later", "--at", "9" * 5_000 + "d"], 2, "--at takes 30m"),
        (["mark", "1f2e3d4c", "--snooze", "9999999d"], 2, "--snooze takes 30m"),
        (["search", "-n", "5"], 2, "Missing argument"),
        (["search", "-word", "-n"], 2, "requires an argument"),
        (["search", "--nonsense"], 2, "No such option"),
        (["search", "-word", "--limit", "many"], 2, "valid integer"),
    ],
)
def test_wrong_use_is_said_in_words(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    ended, said = run(tmp_path / "home", *arguments)
    assert words in said
    assert ended == code


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_explains_itself_with_an_example_and_prints_json(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    code, text = run(tmp_path / "home", *command, "--help")
    assert code == 0
    example = re.search(r"Example: tmtp (.*?)(?:│|╭|$)", text)
    assert example is not None
    assert example[1].startswith(" ".join(command))
    assert "--json" in text


@pytest.mark.parametrize(
    ("typed", "query", "options"),
    [
        (("plan", "-draft"), "plan -draft", {}),
        (("-draft", "plan"), "-draft plan", {}),
        (("-note", "-a", "club", "-another", "-plan"), "-note -another -plan", {"account": "club"}),
        (("-n", "5", "-n5x", "x"), "-n5x x", {"limit": 5}),
        (("-n5", "x", "-p", "club", "--json"), "x", {"limit": 5, "account": "club", "as_json": True}),
        (("--limit=7", "x", "--", "-n", "--json"), "x -n --json", {"limit": 7}),
        (("x", "--account", "-club"), "x", {"account": "-club"}),
        (("from:Bob Builder", "-in:the plan"), 'from:"Bob Builder" -in:"the plan"', {}),
        (("weaves algebra", "-lunch at noon"), '"weaves algebra" -"lunch at noon"', {}),
        (("plan from:bob -draft",), "plan from:bob -draft", {}),
        (('plan "as agreed"', "alge*"), 'plan "as agreed" alge*', {}),
        (("-from:bob", "-has:file", "after:2026-11-01", "-"), "-from:bob -has:file after:2026-11-01 -", {}),
    ],
)
def test_words_of_a_search_may_begin_with_a_minus(
    typed: tuple[str, ...], query: str, options: dict[str, object]
) -> None:
    command = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    read = command.make_context("search", [*typed]).params
    assert query_of(read.pop("query")) == query
    assert read == {"limit": 20, "account": "", "as_json": False, **options}


@pytest.mark.parametrize("damage", ["a file where home should be", "no database"])
def test_a_home_that_cannot_be_used_is_said_without_a_traceback(
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


@pytest.mark.parametrize(
    ("typed", "given", "code", "words"),
    [
        ("send Bob -", b"\xff", 2, b"no valid UTF-8"),
        ("lock --set-passphrase", b"\xff" * 12, 2, b"no valid UTF-8"),
        ("recovery check", b"\xff", 2, b"no valid UTF-8"),
        ("link answer -", b"\xff", 2, b"no valid UTF-8"),
        ("send $(printf 'B\\377b') hello", b"", 2, b"An argument is no valid UTF-8"),
        ("lock --set-passphrase <&-", b"", 2, b"a passphrase has to say something"),
        ("lock --set-passphrase </dev/zero", b"", 2, b"1024 bytes at most"),
        ("accounts --json >&-", b"", 0, b""),
        ("accounts > /dev/full", b"", 1, b"or where the output goes, takes no more: No space left"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="as a shell has it")
def test_what_comes_and_goes_through_the_streams_is_no_reason_for_a_traceback(
    tmp_path: Path, typed: str, given: bytes, code: int, words: bytes
) -> None:
    """As under a desktop's language, where Python takes nothing that is no UTF-8."""
    environment = {**os.environ, "TMTP_HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "200"}
    command = f"{shlex.quote(sys.executable)} -c 'from tmtp_client.program import main; main()' {typed}"
    ran = subprocess.run(
        command, shell=True, input=given, capture_output=True, env=environment, timeout=120, check=False
    )
    assert (ran.returncode, b"Traceback" in ran.stderr) == (code, False), ran.stderr.decode(errors="replace")
    assert words in ran.stderr


def test_of_several_forms_of_a_message_one_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where they have one name, as after a forward: their answers are told apart by where they stand."""
    two = [Attachment(place, "form", "plan", 9, 9, form="plan") for place in (0, 2)]
    assert _chosen(two, 2) is two[1]
    assert _chosen(two[:1], None) is two[0]
    for forms, place, words in ((two, None, "--place 0, 2"), (two, 1, "no form is there"), ([], None, "no form")):
        with pytest.raises(typer.Exit) as ended:
            _chosen(forms, place)
        assert ended.value.exit_code == 2
        assert words in capsys.readouterr().err


def test_an_id_is_never_nothing_which_every_id_ends_in(capsys: pytest.CaptureFixture[str]) -> None:
    """`tmtp devices revoke '#'` would else bar the only one that there is."""
    assert bare("#1f2e") == bare("1f2e") == "1f2e"
    for nothing in ("", "#"):
        with pytest.raises(typer.Exit) as ended:
            bare(nothing)
        assert ended.value.exit_code == 2
    assert "say an ID" in capsys.readouterr().err


def test_a_problem_says_what_is_meant_and_not_how_the_api_calls_it(capsys: pytest.CaptureFixture[str]) -> None:
    for problem, said in (
        (Problem("usage", "a passphrase has 8 characters or more", "new"), "A passphrase has 8 characters or more\n"),
        (Problem("usage", "the form has no such question", "wine"), "Wine: the form has no such question\n"),
        (Problem("not_found", "no message", "message"), "No message. tmtp inbox and tmtp thread show their ids\n"),
        (Problem("usage", "plan.txt: Permission denied", "path"), "plan.txt: Permission denied\n"),
    ):
        with pytest.raises(typer.Exit):
            fail_by(problem)
        assert capsys.readouterr().err == said


def test_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMTP_HOME", str(tmp_path / "here"))
    assert default_home() == tmp_path / "here"
    monkeypatch.delenv("TMTP_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "tmtp"


def test_without_any_home_a_person_is_asked_to_name_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container, whose user the system knows nothing of."""

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    monkeypatch.delenv("TMTP_HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    with pytest.raises(typer.Exit) as ended:
        default_home()
    assert ended.value.exit_code == 2
    assert "TMTP_HOME" in capsys.readouterr().err


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_last_moment_that_can_be_said_can_be_shown_everywhere(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert time_text(limits.STAMP_MAX_MS)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_are_spans_or_moments_of_this_device() -> None:
    assert moment_ms("2026-12-24", "--at") < moment_ms("2026-12-24 09:00", "--at")
    assert moment_ms("2026-12-24T09:00:00+00:00", "--at") == 1_798_102_800_000
    assert abs(moment_ms("1w", "--at") - moment_ms("7d", "--at")) < 60_000
