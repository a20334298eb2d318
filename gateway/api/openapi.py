# SPDX-License-Identifier: AGPL-3.0-or-later
"""The API's own description, OpenAPI 3.1, made from the operations and their types and from nothing else (C1)."""

from functools import cache
from importlib.metadata import version
from typing import Any, Final

import msgspec

from gateway.administration import OPERATIONS, Operation
from gateway.api import problems as p
from gateway.api.examples import ANSWERS, BODIES, example

_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = (
    "Everything that an administrator of a TMTP gateway can see and do. A token comes from "
    "`tmtp-gateway token create`, which also says what it may do. Times are milliseconds since 1970, sizes octets. "
    "No answer holds a message's content, but of mail that an intake holds for a person's decision. "
    "Every change is in the audit log before it is answered."
)


@cache
def document(base: str) -> bytes:
    """The description, as JSON. `base`: below which path the API is."""
    types: set[Any] = {p.Problem}
    for operation in OPERATIONS:
        types |= {operation.answer} if operation.body is None else {operation.answer, operation.body}
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "TMTP Gateway administration",
            "version": version("tmtp-gateway"),
            "description": _ABOUT,
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": base}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, OPERATIONS))],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "tmtpadm_…"}},
            "responses": {kind.name: _problem(kind) for kind in _KINDS},
        },
    }
    return msgspec.json.format(msgspec.json.encode(made), indent=1)


_KINDS: Final = (*p.ALWAYS, p.NOT_FOUND, p.REFUSED)


def _described(operation: Operation) -> dict[str, Any]:
    kinds = [*p.ALWAYS]
    if operation.in_path:
        kinds.append(p.NOT_FOUND)
    if operation.changes:
        kinds.append(p.REFUSED)
    answer: dict[str, Any] = {"$ref": _REF.format(name=operation.answer.__name__)}
    example = _example(ANSWERS[operation.answer])
    if operation.many:
        answer, example = {"type": "array", "items": answer}, [example]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [_tag(operation)],
        "summary": _summary(operation),
        "description": _description(operation),
        "parameters": _parameters(operation),
        "responses": {
            "200": {
                "description": (operation.answer.__doc__ or "").split("\n")[0],
                "content": {"application/json": {"schema": answer, "example": example}},
            },
            **{str(kind.status): {"$ref": f"#/components/responses/{kind.name}"} for kind in kinds},
        },
    }
    if operation.body is not None:
        schema = {"$ref": _REF.format(name=operation.body.__name__)}
        example = _example(BODIES[operation.body])
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    return described


def _example(value: msgspec.Struct) -> Any:
    """As JSON has it, in which some answers have parts already."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(operation.arguments)["$defs"][operation.arguments.__name__]
    found = []
    for name, about in schema["properties"].items():
        in_path = name in operation.in_path
        found.append(
            {
                "name": name,
                "in": "path" if in_path else "query",
                "required": in_path,
                "schema": about if in_path else about["anyOf"][0],  # left out, not null
                "example": example(name, operation.name),
            }
        )
    return found


def _problem(kind: p.Kind) -> dict[str, Any]:
    answer = p.ProblemAnswer(kind, "for example").response()
    headers = {
        name: {"schema": {"type": "string"}, "description": about}
        for name, about in (("Retry-After", "seconds"), ("WWW-Authenticate", "RFC 6750"))
        if name in answer.headers
    }
    described: dict[str, Any] = {
        "description": kind.title,
        "content": {p.MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
    if kind is p.METHOD:
        headers["Allow"] = {"schema": {"type": "string"}, "description": "the methods that there are"}
    return {**described, "headers": headers} if headers else described


def _tag(operation: Operation) -> str:
    return operation.name.partition(".")[0]


def _summary(operation: Operation) -> str:
    return operation.name.replace(".", ": ").replace("_", " ")


def _description(operation: Operation) -> str:
    said = [f"Takes the scope `{operation.scope}`."]
    if operation.whole:
        said.append("A token for some instances only may not do this.")
    if operation.destructive:
        said.append("It cannot be taken back, or takes something from somebody.")
    return " ".join(said)
