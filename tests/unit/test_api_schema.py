# SPDX-License-Identifier: AGPL-3.0-or-later
"""One schema: what Python says is what TypeScript's types and the document say."""

import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from tmtp_client.api import frames, generate, models, schema
from tmtp_client.api.client import typed_answer, typed_event
from tmtp_client.api.operations import OPERATIONS

ROOT = Path(__file__).parent.parent.parent
_JSON = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Anything that fits a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in {Union, UnionType}:
        return st.one_of([values(one) for one in arguments])
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values(arguments[1]), max_size=2)
    if isinstance(kind, type) and issubclass(kind, Struct):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values(hints[field.name]) for field in msgspec.structs.fields(kind)})
    return {
        str: st.text(max_size=10),
        int: st.integers(-(2**53), 2**53),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        NoneType: st.none(),
        Any: _JSON,
    }[kind]


@given(st.data())
def test_every_operations_parameters_and_answers_survive_the_wire(data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(OPERATIONS))
    params = data.draw(values(operation.params))
    assert msgspec.json.decode(msgspec.json.encode(params), type=operation.params) == params
    answer = data.draw(st.one_of([values(kind) for kind in schema.answers(operation.answer)]))
    sent = [answer] if operation.many else answer
    came = msgspec.json.decode(msgspec.json.encode(frames.Answer(1, sent)))
    assert typed_answer(operation, came["result"]) == sent


@given(st.data())
def test_every_event_survives_the_wire(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(models.EVENTS)))
    event = models.Event(name, "work", 7, data.draw(values(models.EVENTS[name])))
    came = msgspec.json.decode(msgspec.json.encode(event), type=models.Event)
    assert typed_event(came) == event


def test_the_document_is_what_the_generator_writes() -> None:
    written = (ROOT / "docs" / "client-api.md").read_text("utf-8")
    assert written == generate.document(), "run: python -m tmtp_client.api.generate docs/client-api.md"


def test_every_link_of_the_document_leads_somewhere() -> None:
    document = generate.document()
    headings = [line.lstrip("# ").lower() for line in document.splitlines() if line.startswith("#")]
    assert len(headings) == len(set(headings)), "two headings would share an anchor"
    links = {part.partition(")")[0] for part in document.split("](#")[1:]}
    assert links <= set(headings)


def test_what_stands_behind_a_field_in_the_source_stands_in_the_document() -> None:
    assert "| `idle_lock_s` | `number` | 0: never |" in generate.document()
    assert '| `note?` | `string = ""` |' in generate.document()


def test_fields_that_answers_leave_out_are_optional_and_those_that_they_do_not_are_not() -> None:
    fields = {field.name: field.optional for field in schema.shape(models.Person).fields}
    assert fields["blocked"]
    assert not fields["uid"]
    assert not any(field.optional for field in schema.shape(models.Home).fields)


def test_names_are_unique() -> None:
    names = [one.name for one in schema.shapes()]
    assert len(names) == len(set(names))
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("kind", ["readonly Thread[]", "Record<string, unknown>", '"off" | "on" | null'])
def test_types_of_typescript(kind: str) -> None:
    assert kind in generate.typescript()


def test_every_struct_of_the_models_is_in_the_document() -> None:
    told = {one.name for one in schema.shapes()}
    structs = {name for name, kind in vars(models).items() if isinstance(kind, type) and issubclass(kind, Struct)}
    assert structs - {"Struct"} <= told, typing.cast("Any", structs - told)
