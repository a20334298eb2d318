# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes wrong, as HTTP says it: `application/problem+json` (RFC 9457), the same few kinds everywhere."""

from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from gateway.administration import Denied, Invalid, NotFound
from tmtp_core.errors import RequestRefused, ServiceUnavailable

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:tmtp-gateway:problem:"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no answer. `type` is a kind that programs can tell apart, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str

    @property
    def kind(self) -> str:
        """The last part of `type`."""
        return self.type.removeprefix(_TYPE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its name, what it means, its status, after how many seconds to come again."""

    name: str
    title: str
    status: int
    retry_after_s: int | None = None


MALFORMED: Final = Kind("malformed", "The request makes no sense", 400)
UNAUTHENTICATED: Final = Kind("unauthenticated", "A valid token is needed", 401)
DENIED: Final = Kind("denied", "This is not allowed to you", 403)
NOT_FOUND: Final = Kind("not-found", "What you name is not there", 404)
NO_SUCH_PATH: Final = Kind("no-such-path", "There is nothing at this path", 404)
METHOD: Final = Kind("method-not-allowed", "The path is there, the method is not", 405)
TOO_SLOW: Final = Kind("too-slow", "The request did not come in time", 408)
REFUSED: Final = Kind("refused", "It cannot be done as things are", 409)
TOO_LARGE: Final = Kind("too-large", "The body is too large", 413)
MEDIA: Final = Kind("media-type", "The body is not of a type that is taken", 415)
INVALID: Final = Kind("invalid", "A value does not fit", 422)
TOO_MANY: Final = Kind("too-many", "Too many requests", 429, 60)
BROKEN: Final = Kind("broken", "The service failed, and its log says where", 500)
UNAVAILABLE: Final = Kind("unavailable", "Temporarily not possible", 503, 2)

ALWAYS: Final = (MALFORMED, UNAUTHENTICATED, DENIED, METHOD, TOO_SLOW, TOO_LARGE, MEDIA, INVALID, TOO_MANY, UNAVAILABLE)
"""What any operation may be answered with; some also with `NOT_FOUND` and `REFUSED`."""


class ProblemAnswer(Exception):
    """An answer that is a problem; `allow`: the methods that there are, of `METHOD`."""

    def __init__(self, kind: Kind, detail: str, allow: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.allow = allow

    def response(self) -> web.Response:
        """As it is sent."""
        kind = self.kind
        problem = Problem(type=_TYPE + kind.name, title=kind.title, status=kind.status, detail=self.detail)
        answer = web.Response(body=msgspec.json.encode(problem), status=kind.status, content_type=MEDIA_TYPE)
        if kind.retry_after_s is not None:
            answer.headers["Retry-After"] = str(kind.retry_after_s)
        if kind is UNAUTHENTICATED:
            answer.headers["WWW-Authenticate"] = 'Bearer realm="tmtp-gateway"'  # RFC 6750 §3
        if self.allow:
            answer.headers["Allow"] = self.allow
        return answer


def problem_of(error: RequestRefused | ServiceUnavailable) -> ProblemAnswer:
    """What an operation raised."""
    kinds: tuple[tuple[type[Exception], Kind], ...] = (
        (Denied, DENIED),
        (Invalid, INVALID),
        (NotFound, NOT_FOUND),
        (RequestRefused, REFUSED),
        (ServiceUnavailable, UNAVAILABLE),
    )
    return ProblemAnswer(next(kind for family, kind in kinds if isinstance(error, family)), str(error))


def error_of(problem: Problem) -> RequestRefused | ServiceUnavailable:
    """The reverse, for who asked over HTTP."""
    errors: dict[str, type[RequestRefused]] = {
        DENIED.name: Denied,
        INVALID.name: Invalid,
        NOT_FOUND.name: NotFound,
        REFUSED.name: RequestRefused,
    }
    found = errors.get(problem.kind)
    return found(problem.detail) if found is not None else ServiceUnavailable(problem.detail)
