# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes over the local API's socket, whatever is asked: a request, and its answer or why there is none."""

from typing import Any, Literal

from msgspec import Struct

ErrorCode = Literal["usage", "not_found", "locked", "refused", "not_now", "conflict", "unseen_keys", "internal"]
"""usage: what was asked makes no sense, `field` says where. not_now: temporary, try again. conflict: it was changed
meanwhile. unseen_keys: somebody's keys changed, and the person has not seen it yet."""


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """From a client: `params` are those of the operation. Answers come in any order, each with its request's `id`."""

    id: int
    method: str
    params: dict[str, Any] = {}


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why something was not done, in words for a person."""

    code: ErrorCode
    text: str
    field: str = ""


class Answer(Struct, frozen=True, omit_defaults=True):
    """To a client: `result` as the operation has it, or `problem`."""

    id: int
    result: Any = None
    problem: Problem | None = None
