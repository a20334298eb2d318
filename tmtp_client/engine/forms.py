# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forms: questions that a message brings, and the answers that people send back (wire.md §11: `f:` and `r:`).

A blank form is JSON: a subset of JSON Schema (2020-12), an object whose properties are the questions, in their order.
It comes from others, so it is read strictly: what is not understood and could change what an answer may be is refused
in words, and nothing in it is ever run, no pattern matched, no reference followed. `required` may also stand in a
property, as older programs write it (draft 3).
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final, Literal, NoReturn

import msgspec

from tmtp_client import limits
from tmtp_client.api.models import Form, FormField
from tmtp_core.ids import RandomBytes

FormType = Literal["text", "long", "number", "integer", "yes", "one", "many", "date"]

SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"
_NOTES: Final = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "type", "default", "examples", "readonly"}
)
_OF_FORM: Final = _NOTES | {"properties", "required", "additionalproperties"}
_OF_FIELD: Final[dict[FormType, frozenset[str]]] = {
    "text": frozenset({"maxlength"}),
    "long": frozenset({"maxlength", "format"}),
    "number": frozenset({"minimum", "maximum"}),
    "integer": frozenset({"minimum", "maximum"}),
    "yes": frozenset(),
    "one": frozenset({"enum"}),
    "many": frozenset({"items", "uniqueitems"}),
    "date": frozenset({"format"}),
}
_FORMATS: Final = {"textarea": "long", "date": "date"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class FormTrouble(ValueError):
    """Why a form, or an answer to one, is none. `field`: of which question; "" of all of it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}" if field else text)
        self.field = field
        self.text = text


# -- blank forms -----------------------------------------------------------------------------------------------------
def read_form(data: bytes, ffn: str) -> Form:
    """A blank form from its JSON. Raises `FormTrouble`."""
    if len(data) > limits.FORM_MAX_BYTES:
        raise FormTrouble("", f"the form is longer than {limits.FORM_MAX_BYTES} octets")
    said = _object(_json(data), "", "the form")
    _only(said, _OF_FORM, "")
    if said.get("type", "object") != "object":
        raise FormTrouble("", 'the form must have the type "object"')
    properties = _object(said.get("properties"), "", "properties")
    required = said.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise FormTrouble("", "required must be a list of names")
    fields = tuple(_read_field(name, one, name in required) for name, one in properties.items())
    return check_form(Form(ffn, _words(said, "title", "", limits.FORM_TITLE_MAX_CHARACTERS), fields))


def write_form(form: Form) -> bytes:
    """The JSON of a blank form, for an attachment. Raises `FormTrouble` for one that nobody could fill in."""
    check_form(form)
    properties = {field.name: _field_schema(field) for field in form.fields}
    said: dict[str, Any] = {"$schema": SCHEMA, "type": "object", "title": form.title, "properties": properties}
    if required := [field.name for field in form.fields if field.required]:
        said["required"] = required
    data = msgspec.json.encode(said)
    if len(data) > limits.FORM_MAX_BYTES:
        raise FormTrouble("", f"the form is longer than {limits.FORM_MAX_BYTES} octets")
    return data


def new_ffn(random_bytes: RandomBytes) -> str:
    """A name for a new form, which no other has: its answers are gathered under it."""
    return random_bytes(16).hex()


def check_form(form: Form) -> Form:
    """The same form. Raises `FormTrouble` for one that nobody could fill in, or that is too large."""
    if not form.ffn or len(form.ffn) > limits.FORM_TITLE_MAX_CHARACTERS or not form.ffn.isprintable():
        raise FormTrouble("", f"a form's ffn has 1 to {limits.FORM_TITLE_MAX_CHARACTERS} printable characters")
    if len(form.title) > limits.FORM_TITLE_MAX_CHARACTERS:
        raise FormTrouble("", f"a form's title has {limits.FORM_TITLE_MAX_CHARACTERS} characters at most")
    if not 0 < len(form.fields) <= limits.FORM_FIELDS_MAX:
        raise FormTrouble("", f"a form has 1 to {limits.FORM_FIELDS_MAX} questions")
    if len({field.name for field in form.fields}) < len(form.fields):
        raise FormTrouble("", "two questions of the form have the same name")
    for field in form.fields:
        _check_field(field)
    return form


def _check_field(field: FormField) -> None:
    name = field.name
    if not name or len(name) > limits.FORM_NAME_MAX_CHARACTERS or not name.isprintable():
        raise FormTrouble(
            name[:20], f"a question's name has 1 to {limits.FORM_NAME_MAX_CHARACTERS} printable characters"
        )
    if len(field.title) > limits.FORM_TITLE_MAX_CHARACTERS or len(field.help) > limits.FORM_HELP_MAX_CHARACTERS:
        raise FormTrouble(name, "its title or help is too long")
    if field.type in {"one", "many"}:
        if not 0 < len(field.choices) <= limits.FORM_CHOICES_MAX or len(set(field.choices)) < len(field.choices):
            raise FormTrouble(name, f"it needs 1 to {limits.FORM_CHOICES_MAX} choices, each different")
        if any(not one or len(one) > limits.FORM_TITLE_MAX_CHARACTERS for one in field.choices):
            raise FormTrouble(name, f"a choice has 1 to {limits.FORM_TITLE_MAX_CHARACTERS} characters")
    elif field.choices:
        raise FormTrouble(name, f"a question of the type {field.type} has no choices")
    bounds = [one for one in (field.minimum, field.maximum) if one is not None]
    if bounds and field.type not in {"number", "integer"}:
        raise FormTrouble(name, f"a question of the type {field.type} has no minimum and maximum")
    if not all(abs(one) <= limits.FORM_NUMBER_MAX for one in bounds) or bounds != sorted(bounds):
        raise FormTrouble(name, "its minimum and maximum leave no answer")
    if not 0 <= field.longest <= limits.FORM_TEXT_MAX_CHARACTERS:
        raise FormTrouble(name, f"its longest answer has {limits.FORM_TEXT_MAX_CHARACTERS} characters at most")
    if field.longest and field.type not in {"text", "long"}:
        raise FormTrouble(name, f"a question of the type {field.type} has no longest answer")


def _read_field(name: str, said: Any, required: bool) -> FormField:
    said = _object(said, name, "a question")
    kind = _type_of(name, said)
    _only(said, _NOTES | {"required"} | _OF_FIELD[kind], name)
    if not isinstance(said.get("required", False), bool):
        raise FormTrouble(name, "required must be true or false")
    choices = said.get("enum", [])
    if kind == "many":
        items = _object(said.get("items"), name, "items")
        _only(items, frozenset({"type", "enum"}), name)
        choices = items.get("enum", [])
    if not isinstance(choices, list) or not all(isinstance(one, str) for one in choices):
        raise FormTrouble(name, "enum must be a list of texts")
    longest = said.get("maxlength", 0)
    if not _is_integer(longest):
        raise FormTrouble(name, "maxLength must be a whole number")
    return FormField(
        name,
        kind,
        _words(said, "title", name, limits.FORM_TITLE_MAX_CHARACTERS) or name,
        required or said.get("required", False),
        tuple(choices),
        _bound(said, "minimum", name),
        _bound(said, "maximum", name),
        min(max(longest, 0), limits.FORM_TEXT_MAX_CHARACTERS),
        _words(said, "description", name, limits.FORM_HELP_MAX_CHARACTERS),
    )


def _type_of(name: str, said: Mapping[str, Any]) -> FormType:
    kind, form = said.get("type", "string"), said.get("format")
    if kind == "string":
        if "enum" in said:
            return "one"
        if form is None:
            return "text"
        if isinstance(form, str) and form in _FORMATS:
            return "date" if _FORMATS[form] == "date" else "long"
        raise FormTrouble(name, f"the format {str(form)[:40]!r} is not understood here")
    if isinstance(kind, str) and kind in _SIMPLE:
        return _SIMPLE[kind]
    raise FormTrouble(name, f"the type {str(kind)[:40]!r} is not understood here")


_SIMPLE: Final[dict[str, FormType]] = {"number": "number", "integer": "integer", "boolean": "yes", "array": "many"}


def _field_schema(field: FormField) -> dict[str, Any]:
    said: dict[str, Any] = {"title": field.title}
    if field.help:
        said["description"] = field.help
    match field.type:
        case "text" | "long" | "date" | "one":
            said["type"] = "string"
        case "yes":
            said["type"] = "boolean"
        case "many":
            said |= {"type": "array", "uniqueItems": True, "items": {"type": "string", "enum": list(field.choices)}}
        case _:
            said["type"] = field.type
    if field.type == "one":
        said["enum"] = list(field.choices)
    if field.type in _FORMATS.values():
        said["format"] = next(form for form, kind in _FORMATS.items() if kind == field.type)
    if field.longest:
        said["maxLength"] = field.longest
    for bound, value in (("minimum", field.minimum), ("maximum", field.maximum)):
        if value is not None:
            said[bound] = value
    return said


# -- answers ---------------------------------------------------------------------------------------------------------
def check_values(form: Form, values: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody filled in, as it is sent: in the form's order, what was left empty left out.

    Raises `FormTrouble` with the question that it is about, and what would be right.
    """
    if unknown := [name for name in values if name not in {field.name for field in form.fields}]:
        raise FormTrouble(unknown[0][:40], "the form has no such question")
    good: dict[str, Any] = {}
    for field in form.fields:
        value = values.get(field.name)
        if value is None or value in ("", []):
            if field.required:
                raise FormTrouble(field.name, f"{field.title or field.name} must be answered")
            continue
        good[field.name] = _CHECKS[field.type](field, value)
    return good


def fits(field: FormField, value: Any) -> bool:
    """Whether a value is an answer to this question."""
    try:
        _CHECKS[field.type](field, value)
    except FormTrouble:
        return False
    return True


def write_values(values: Mapping[str, Any]) -> bytes:
    """The JSON of a filled form, for an attachment."""
    return msgspec.json.encode(values)


def read_values(data: bytes) -> dict[str, Any]:
    """What somebody filled in, whatever form it was. Raises `FormTrouble` for what is no answer to any."""
    if len(data) > limits.FILLED_MAX_BYTES:
        raise FormTrouble("", f"the filled form is longer than {limits.FILLED_MAX_BYTES} octets")
    said = _json(data)
    if not isinstance(said, dict) or len(said) > limits.FORM_FIELDS_MAX:
        raise FormTrouble("", f"a filled form has {limits.FORM_FIELDS_MAX} answers at most, each with its name")
    for name, value in said.items():
        parts = value if isinstance(value, list) else [value]
        if len(parts) > limits.FORM_CHOICES_MAX or not all(isinstance(one, _SCALARS) for one in parts):
            raise FormTrouble(name[:40], "an answer is a text, a number, true or false, or a list of them")
    return said


_SCALARS: Final = (str, int, float, bool, type(None))


def _check_text(field: FormField, value: Any) -> str:
    longest = field.longest or limits.FORM_TEXT_MAX_CHARACTERS
    if not isinstance(value, str):
        _wrong(field, "a text")
    if len(value) > longest:
        _wrong(field, f"a text of {longest} characters at most")
    if field.type == "text" and not value.isprintable():
        _wrong(field, "a text of one line")
    return value


def _check_number(field: FormField, value: Any) -> int | float:
    whole = field.type == "integer"
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong(field, "a whole number" if whole else "a number")
    if not abs(value) <= limits.FORM_NUMBER_MAX:  # nor is it for what is no number
        _wrong(field, f"a number up to {limits.FORM_NUMBER_MAX:.0f}")
    if whole and value != int(value):
        _wrong(field, "a whole number")
    if field.minimum is not None and value < field.minimum:
        _wrong(field, f"{field.minimum:g} or more")
    if field.maximum is not None and value > field.maximum:
        _wrong(field, f"{field.maximum:g} or less")
    return int(value) if whole else value


def _check_yes(field: FormField, value: Any) -> bool:
    return value if isinstance(value, bool) else _wrong(field, "true or false")


def _check_one(field: FormField, value: Any) -> str:
    return value if isinstance(value, str) and value in field.choices else _wrong(field, "one of its choices")


def _check_many(field: FormField, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one in field.choices for one in value):
        _wrong(field, "some of its choices")
    return [one for one in field.choices if one in value]


def _check_date(field: FormField, value: Any) -> str:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            return date.fromisoformat(value).isoformat()
    except ValueError:
        pass
    return _wrong(field, "a date such as 2026-11-24")


def _wrong(field: FormField, right: str) -> NoReturn:
    raise FormTrouble(field.name, f"{field.title or field.name} must be {right}")


_CHECKS: Final[dict[FormType, Callable[[FormField, Any], Any]]] = {
    "text": _check_text,
    "long": _check_text,
    "number": _check_number,
    "integer": _check_number,
    "yes": _check_yes,
    "one": _check_one,
    "many": _check_many,
    "date": _check_date,
}


# -- strangers' JSON -------------------------------------------------------------------------------------------------
def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise FormTrouble("", f"it is not JSON: {str(error)[:100]}") from None


def _object(said: Any, field: str, what: str) -> dict[str, Any]:
    """An object; of all but the form's properties the names in lower case, as programs differ in that."""
    if not isinstance(said, dict):
        raise FormTrouble(field, f"{what} must be an object")
    return said if what == "properties" else {name.lower(): value for name, value in said.items()}


def _only(said: Mapping[str, Any], known: frozenset[str], field: str) -> None:
    if strange := sorted(said.keys() - known):
        raise FormTrouble(field, f"{strange[0][:40]!r} is not understood here")


def _words(said: Mapping[str, Any], name: str, field: str, longest: int) -> str:
    words = said.get(name, "")
    if not isinstance(words, str):
        raise FormTrouble(field, f"{name} must be a text")
    return words[:longest]


def _bound(said: Mapping[str, Any], name: str, field: str) -> float | None:
    value = said.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise FormTrouble(field, f"{name} must be a number")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
