# SPDX-License-Identifier: AGPL-3.0-or-later
"""One route for each operation, strict about everything that comes (C1)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from aiohttp import web

from gateway.administration import OPERATIONS, Administration, Operation
from gateway.administration.dispatcher import in_words
from gateway.api import problems as p
from gateway.api.access import Gate
from gateway.api.openapi import document
from gateway.bodies import BodyRefused, body_of, is_utf8
from tmtp_core import limits
from tmtp_core.errors import RequestRefused, ServiceUnavailable

API: Final = "/api/1"
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")
_OF_STATUS: Final = {kind.status: kind for kind in (p.MALFORMED, p.TOO_SLOW, p.TOO_LARGE, p.MEDIA)}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Server": "tmtp-gateway",
}

log = structlog.get_logger()

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The operations of `administration`, for whom `gate` admits. `secure`: over TLS."""

    def __init__(self, administration: Administration, gate: Gate, *, secure: bool = False) -> None:
        self._administration = administration
        self._gate = gate
        self._headers = {**_HEADERS, "Strict-Transport-Security": "max-age=31536000"} if secure else _HEADERS
        self._under_way = 0

    def application(self) -> web.Application:
        """An application with everything under `API`, to which others may add what is elsewhere."""
        app = web.Application(client_max_size=limits.API_BODY_MAX_BYTES, middlewares=[self._answering])
        for operation in OPERATIONS:
            app.router.add_route(operation.method, API + _pattern(operation), self._handler(operation))
        app.router.add_route("GET", f"{API}/openapi.json", self._describe)
        return app

    def _handler(self, operation: Operation) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            actor = await self._gate.admit(request)
            arguments = _arguments(operation, request)
            may = operation.scope in actor.scopes  # else it is denied, and that is written down, whatever the body is
            body = await _body(operation, request) if may else None
            async with asyncio.timeout(limits.API_ANSWER_DEADLINE_S):
                answer = await self._administration.perform(actor, operation.name, arguments, body)
            return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

        return handle

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        await self._gate.admit(request)
        _refuse_query(request, frozenset())
        return web.Response(body=document(API), content_type="application/json")

    @web.middleware
    async def _answering(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """What is under `API` is always answered in JSON; what others have added answers for itself."""
        if not (request.path == "/api" or request.path.startswith("/api/")):
            return await handler(request)
        try:
            answer = await self._answer(request, handler)
        except p.ProblemAnswer as problem:
            answer = problem.response()
        answer.headers.update(self._headers)
        return answer

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if self._under_way >= limits.API_REQUESTS_AT_ONCE_MAX:
            raise p.ProblemAnswer(p.UNAVAILABLE, "too many requests are being answered; try again in a moment")
        self._under_way += 1
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as wrong:
            allowed = ", ".join(sorted(wrong.allowed_methods))
            raise p.ProblemAnswer(p.METHOD, f"this path takes {allowed}, not {request.method}", allowed) from None
        except web.HTTPNotFound:
            raise p.ProblemAnswer(p.NO_SUCH_PATH, f"the paths that there are stand in {API}/openapi.json") from None
        except web.HTTPException as other:
            raise p.ProblemAnswer(p.MALFORMED, other.reason or "this is no request that makes sense") from None
        except (RequestRefused, ServiceUnavailable) as error:
            raise p.problem_of(error) from None
        except TimeoutError:
            raise p.ProblemAnswer(
                p.UNAVAILABLE, "this took too long; a change goes on, and the audit log says how"
            ) from None
        except p.ProblemAnswer:
            raise
        except Exception as error:
            log.error("api_failed", path=request.path, error=type(error).__name__)
            raise p.ProblemAnswer(p.BROKEN, "look at the service's log") from None
        finally:
            self._under_way -= 1


def _pattern(operation: Operation) -> str:
    """The path as the router has it: numbers are digits, so that `many` is no invitation."""
    pattern = operation.path
    for name in operation.numbered.intersection(operation.in_path):
        pattern = pattern.replace(f"{{{name}}}", f"{{{name}:[0-9]+}}")
    return pattern


def _arguments(operation: Operation, request: web.Request) -> dict[str, object]:
    """Those of the path and of the query, each at most once."""
    _refuse_query(request, frozenset(name for name, _ in operation.query))
    texts = {**request.match_info, **request.query}
    arguments: dict[str, object] = {}
    for name, text in texts.items():
        if name not in operation.numbered:
            arguments[name] = text
        elif _NUMBER.fullmatch(text):
            arguments[name] = int(text)
        else:
            raise p.ProblemAnswer(p.INVALID, f"{name}: this is no number")
    return arguments


def _refuse_query(request: web.Request, known: frozenset[str]) -> None:
    for name in request.query:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise p.ProblemAnswer(p.MALFORMED, f"there is no parameter {name[:100]!r} here; there are: {there}")
        if len(request.query.getall(name)) > 1:
            raise p.ProblemAnswer(p.MALFORMED, f"the parameter {name} is there more than once")


async def _body(operation: Operation, request: web.Request) -> msgspec.Struct | None:
    """The body, typed. Raises `ProblemAnswer`."""
    if operation.body is not None and (request.content_type != "application/json" or not is_utf8(request)):
        raise p.ProblemAnswer(p.MEDIA, "the body is application/json, in UTF-8")
    try:
        raw = await body_of(request, limits.API_BODY_MAX_BYTES)
    except BodyRefused as refused:
        raise p.ProblemAnswer(_OF_STATUS[refused.status], str(refused)) from None
    if operation.body is None:
        if raw:
            raise p.ProblemAnswer(p.MALFORMED, f"{operation.name} takes no body")
        return None
    try:
        decoded: msgspec.Struct = msgspec.json.decode(raw, type=operation.body)
    except msgspec.ValidationError as error:
        raise p.ProblemAnswer(p.INVALID, in_words(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise p.ProblemAnswer(p.MALFORMED, "the body is no JSON") from None
    return decoded
