# SPDX-License-Identifier: AGPL-3.0-or-later
"""The local API's types, as they are read out of its structs: what TypeScript and the document are made from.

What stands after a field as a comment in the source is what the document says of it.
"""

import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct

from tmtp_client.api import frames, models
from tmtp_client.api.operations import OPERATIONS

_FIELD: Final = re.compile(r"\s+(\w+):")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: its name, its Python type, whether it may be left out and what it is then."""

    name: str
    type: Any
    optional: bool
    default: Any
    note: str


@dataclass(frozen=True, slots=True)
class Shape:
    """An object of the API."""

    name: str
    about: str
    fields: tuple[Field, ...]


def shapes() -> list[Shape]:
    """All objects that requests, answers and events are made of, frames first, each once."""
    found: dict[type[Struct], None] = {}
    framing = (frames.Request, frames.Answer, frames.Problem, models.Event)
    for root in (*framing, *_roots(), *models.EVENTS.values()):
        _collect(root, found)
    return [shape(kind) for kind in found]


def shape(kind: type[Struct]) -> Shape:
    """One object. A field may be left out where it has a default, in answers only where defaults are left out."""
    config = kind.__struct_config__
    leaves_out = config.omit_defaults or config.forbid_unknown_fields
    hints, notes = get_type_hints(kind), _notes(kind)
    fields = []
    for one in msgspec.structs.fields(kind):
        default = one.default_factory() if one.default_factory is not NODEFAULT else one.default
        optional = default is not NODEFAULT and leaves_out
        fields.append(Field(one.encode_name, hints[one.name], optional, default, notes.get(one.name, "")))
    return Shape(kind.__name__, inspect.cleandoc(kind.__doc__ or ""), tuple(fields))


def type_text(kind: Any, array: str = "readonly {}[]") -> str:
    """A type as TypeScript writes it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(f'"{one}"' for one in arguments)
    if origin in {Union, UnionType}:
        return " | ".join(type_text(one, array) for one in arguments)
    if origin in {tuple, list}:
        inner = type_text(arguments[0], array)
        return array.format(f"({inner})" if " " in inner else inner)
    if origin is dict:
        return f"Record<string, {type_text(arguments[1], array)}>"
    if isinstance(kind, type) and issubclass(kind, Struct):
        return kind.__name__
    return {str: "string", int: "number", float: "number", bool: "boolean", NoneType: "null", Any: "unknown"}[kind]


def _roots() -> Iterator[type[Struct]]:
    for operation in OPERATIONS:
        yield operation.params
        yield from answers(operation.answer)


def answers(answer: type[Struct] | tuple[type[Struct], ...]) -> tuple[type[Struct], ...]:
    """The objects that an operation may answer."""
    return answer if isinstance(answer, tuple) else (answer,)


def _collect(kind: Any, found: dict[type[Struct], None]) -> None:
    """An object and those that it has inside, itself first."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        if kind not in found:
            found[kind] = None
            for hint in get_type_hints(kind).values():
                _collect(hint, found)
        return
    for argument in get_args(kind):
        if get_origin(kind) is not Literal:
            _collect(argument, found)


@cache
def _notes(kind: type[Struct]) -> dict[str, str]:
    """The comments behind a struct's fields, and those in lines of their own that follow."""
    notes: dict[str, str] = {}
    source = inspect.getsource(kind)
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(source) + "\n").readline):
        named = _FIELD.match(lines[token.start[0] - 1]) if token.type == tokenize.COMMENT else None
        if named is not None:
            notes[named[1]] = token.string.lstrip("# ")
    return notes
