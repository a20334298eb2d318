# SPDX-License-Identifier: AGPL-3.0-or-later
"""One request in, one answer out: parameters are read strictly, every failure is a problem in words.

The same object serves a window over the local server and a command in its own process.
"""

import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from tmtp_client.api import problems
from tmtp_client.api.frames import Answer, Request
from tmtp_client.api.operations import BY_NAME, Operation
from tmtp_client.api.problems import ProblemError

Got = TypeVar("Got")

Handler = Callable[[Any], Awaitable[Any]]
"""Takes the operation's parameters, gives its answer; raises `ProblemError`, or what `translated` knows."""

Report = Callable[[str, BaseException], None]
"""Told of failures that nobody foresaw: the operation's name and what was raised."""

WATCH: Final = "home.watch"
"""The one operation that belongs to a connection: whoever holds it answers it, see `tmtp_client.api.events`."""

INTERNAL: Final = "something went wrong inside; the engine's log says where"


class Dispatcher:
    """Answers requests by the handlers of the operations.

    `locked`: whether the home is locked now. `stir`: a person did something, so that the idle lock begins anew.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        locked: Callable[[], bool],
        stir: Callable[[], None],
        report: Report | None = None,
    ) -> None:
        unknown = handlers.keys() - BY_NAME.keys()
        assert not unknown, unknown
        self._handlers = handlers
        self._locked = locked
        self._stir = stir
        self._report = report or to_stderr

    @property
    def locked(self) -> bool:
        """Whether nothing but the home's state can be told now."""
        return self._locked()

    async def ask(self, method: str, params: Mapping[str, Any] | Struct) -> Any:
        """The answer to one request, of the type that the operation has. Raises `ProblemError` and nothing else."""
        operation = BY_NAME.get(method)
        handler = self._handlers.get(method)
        if operation is None or handler is None:
            raise problems.not_found(f"there is no operation {method[:80]!r}", "method")
        read = self.admit(operation, params)
        return await self._translating(method, handler(read))

    async def guarded(self, method: str, work: Callable[[], Awaitable[Got]]) -> Got:
        """The same for what comes by another way than a request, and is like this operation. Raises `ProblemError`."""
        if self.locked:
            raise problems.locked()
        self._stir()
        return await self._translating(method, work())

    async def answer(self, request: Request) -> Answer:
        """The same, as it goes to a client."""
        try:
            return Answer(request.id, await self.ask(request.method, request.params))
        except ProblemError as error:
            return Answer(request.id, problem=error.problem)

    def admit(self, operation: Operation, params: Mapping[str, Any] | Struct) -> Any:
        """The parameters, read. Raises `ProblemError`: locked, or usage with the field that does not fit."""
        if self.locked and not operation.locked:
            raise problems.locked()
        read = parameters(operation, params)
        if operation.keeps_open:
            self._stir()
        return read

    async def _translating(self, method: str, work: Awaitable[Got]) -> Got:
        try:
            return await work
        except ProblemError:
            raise
        except Exception as error:
            from tmtp_client.api.translating import translated  # noqa: PLC0415 - who asks a daemon loads no engine

            problem = translated(error)
            if problem is None:
                self._report(method, error)
                raise ProblemError("internal", INTERNAL) from None
            raise ProblemError(problem.code, problem.text, problem.field) from error


def parameters(operation: Operation, params: Mapping[str, Any] | Struct) -> Struct:
    """An operation's parameters. Raises `ProblemError` (usage), with the field that does not fit."""
    if isinstance(params, operation.params):
        return params
    given = msgspec.to_builtins(params) if isinstance(params, Struct) else params
    try:
        return msgspec.convert(given, operation.params)
    except msgspec.ValidationError as error:
        text, field = explained(str(error))
        raise problems.usage(f"{operation.name}: {text}", field) from None


def explained(error: str) -> tuple[str, str]:
    """msgspec's words for what does not fit, and the field: `draft.to`. Its own path begins with `$`."""
    text, _, path = error.partition(" - at `")
    field = path.rstrip("`").removeprefix("$").lstrip(".")
    for before in ("Object missing required field `", "Object contains unknown field `"):
        if text.startswith(before):
            name = text.removeprefix(before).rstrip("`")
            field = f"{field}.{name}" if field else name
            text = f"the field {name} is missing" if "missing" in before else f"there is no field {name[:80]}"
    return text, field[:200]


def to_stderr(method: str, error: BaseException) -> None:
    """Where it happened and of which kind it was; never its words, which may be a message's."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-6:]]
    sys.stderr.write(f"{method}: {type(error).__name__} at {' < '.join(reversed(places))}\n")
