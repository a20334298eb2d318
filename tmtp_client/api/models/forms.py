# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forms in messages, and the answers to them."""

from typing import Any, Literal

from msgspec import Struct


class FormField(Struct, frozen=True, omit_defaults=True):
    """One question of a form."""

    name: str
    type: Literal["text", "long", "number", "integer", "yes", "one", "many", "date"]
    title: str
    required: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    longest: int = 0
    help: str = ""


class Form(Struct, frozen=True, omit_defaults=True):
    """Questions in a message: a subset of JSON Schema. `ffn` names it for its answers."""

    ffn: str
    title: str
    fields: tuple[FormField, ...]


class WaitingAnswer(Struct, frozen=True):
    """What an answer says that has not left yet, and the latest message of its thread that asks: which has the form at
    `place`.
    """

    message: str
    place: int
    values: dict[str, Any]


class FormAnswers(Struct, frozen=True):
    """All answers to a form, a row each: message id, author's uid and alias, when, and a value for each field."""

    form: Form
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool = False  # there are more than a table holds: earlier ones of the same people
