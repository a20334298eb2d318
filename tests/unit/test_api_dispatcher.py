# SPDX-License-Identifier: AGPL-3.0-or-later
"""Parameters are read strictly; every failure is a problem in words; nothing of a message gets into a log."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.small_engine import SmallEngine
from tmtp_client.api import frames
from tmtp_client.api import operations as o
from tmtp_client.api.dispatcher import Dispatcher, to_stderr
from tmtp_client.api.problems import ProblemError
from tmtp_client.api.translating import translated
from tmtp_client.connection import Disconnected, LogInRefused, Refused, WrongService


@pytest.fixture
def engine(tmp_path: Path) -> SmallEngine:
    return SmallEngine(tmp_path)


async def problem(engine: SmallEngine, method: str, **params: Any) -> frames.Problem:
    answer = await engine.dispatcher.answer(frames.Request(1, method, params))
    assert answer.problem is not None
    return answer.problem


@pytest.mark.parametrize(
    ("params", "field", "words"),
    [
        ({}, "account", "missing"),
        ({"account": "a", "text": "b", "more": 1}, "more", "no field more"),
        ({"account": 1, "text": "b"}, "account", "Expected `str`, got `int`"),
        ({"account": "a", "text": None}, "text", "Expected `str`, got `null`"),
    ],
)
async def test_what_does_not_fit_is_named_with_its_field(
    engine: SmallEngine, params: dict[str, Any], field: str, words: str
) -> None:
    said = await problem(engine, "people.find", **params)
    assert (said.code, said.field) == ("usage", field)
    assert words in said.text


async def test_a_field_of_a_field_is_named_too(tmp_path: Path) -> None:
    dispatcher = Dispatcher({"drafts.save": lambda params: params}, lambda: False, lambda: None)
    answer = await dispatcher.answer(
        frames.Request(1, "drafts.save", {"account": "a", "draft": {"key": "k", "to": [1]}})
    )
    assert answer.problem is not None
    assert answer.problem.field == "draft.to[0]"


async def test_an_operation_that_is_not_there(engine: SmallEngine) -> None:
    assert (await problem(engine, "people.eat")).code == "not_found"
    assert (await problem(engine, "home.unlock", secret="x")).code == "not_found"  # this engine has no such handler


async def test_while_locked_only_what_may_be_is_answered_and_nothing_keeps_the_home_open(engine: SmallEngine) -> None:
    engine.locked = True
    assert (await problem(engine, "people.find", account="a", text="1")).code == "locked"
    assert (await problem(engine, "people.find", nonsense=1)).code == "locked"
    assert (await engine.dispatcher.ask("home.state", {})).locked
    assert engine.stirred == 0


async def test_a_persons_doing_begins_the_idle_lock_anew_and_a_programs_looks_do_not(engine: SmallEngine) -> None:
    await engine.dispatcher.ask("home.state", {})
    assert engine.stirred == 0
    await engine.dispatcher.ask("threads.list", o.ListThreads())
    assert engine.stirred == 1


async def test_what_nobody_foresaw_is_internal_and_its_words_stay_inside(
    engine: SmallEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    said = await problem(engine, "messages.seen", account="a")
    assert said.code == "internal"
    assert "words of a message" not in said.text
    [(name, error)] = engine.failures
    to_stderr(name, error)
    logged = capsys.readouterr().err
    assert "messages.seen: RuntimeError at " in logged
    assert "small_engine.py" in logged
    assert "words of a message" not in logged


async def test_a_handlers_problem_is_the_answer(engine: SmallEngine) -> None:
    with pytest.raises(ProblemError, match="no message has this id") as raised:
        await engine.dispatcher.ask("messages.show", o.OfMessage("a", "b"))
    assert raised.value.problem == frames.Problem("not_found", "no message has this id", "message")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("not acquainted"), "refused"),
        (LogInRefused("authentication required"), "refused"),
        (WrongService("another key"), "refused"),
        (Disconnected("shutting down"), "not_now"),
        (TimeoutError(), "not_now"),
        (OSError(111, "Connection refused"), "not_now"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "not_now"),
    ],
)
def test_what_the_rooms_raise_is_a_problem(error: Exception, code: str) -> None:
    said = translated(error)
    assert said is not None
    assert said.code == code
    assert said.text
    assert "Errno" not in said.text
