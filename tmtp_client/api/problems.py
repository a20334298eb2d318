# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why something was not done: raised anywhere below the API, answered by it in words for a person."""

from collections.abc import Iterator
from contextlib import contextmanager

from tmtp_client.api.frames import ErrorCode, Problem


class ProblemError(Exception):
    """What was asked for was not done; `problem` says why."""

    def __init__(self, code: ErrorCode, text: str, field: str = "") -> None:
        super().__init__(text)
        self.problem = Problem(code, text, field)


def usage(text: str, field: str = "") -> ProblemError:
    """What was asked makes no sense; `field` says where."""
    return ProblemError("usage", text, field)


def not_found(text: str, field: str = "") -> ProblemError:
    """What was named is not there."""
    return ProblemError("not_found", text, field)


def refused(text: str, field: str = "") -> ProblemError:
    """The service, or this device, does not do it."""
    return ProblemError("refused", text, field)


def not_now(text: str) -> ProblemError:
    """Not possible at present."""
    return ProblemError("not_now", text)


LOCKED = "the history is locked; unlock it first"


def locked() -> ProblemError:
    """Nothing but the home's state can be told."""
    return ProblemError("locked", LOCKED)


@contextmanager
def explained(field: str = "", what: str = "") -> Iterator[None]:
    """A ValueError inside is a usage, of the field that stands before its text's colon, or of `field`; a LookupError
    says that `what` is not there.
    """
    try:
        yield
    except ValueError as error:
        name, colon, text = str(error).partition(": ")
        if colon and name.isidentifier():
            raise usage(text, name) from None
        raise usage(str(error), field) from None
    except LookupError:
        if not what:
            raise
        raise not_found(what, field) from None
