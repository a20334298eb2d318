# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forms come from others: read strictly, filled in as they say, and gathered in tables that run nothing."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stepping import Device
from tmtp_client import limits
from tmtp_client.api.models import Form, FormAnswers, FormField
from tmtp_client.engine import answers, forms
from tmtp_client.engine.forms import FormTrouble
from tmtp_client.store import messages

FORM = Form(
    "a form",
    "Lunch",
    (
        FormField("name", "text", "Your name", required=True, longest=20),
        FormField("why", "long", "Why", help="At length"),
        FormField("age", "integer", "Age", minimum=0, maximum=150),
        FormField("share", "number", "Share", minimum=-1.5),
        FormField("come", "yes", "Will you come?"),
        FormField("dish", "one", "Dish", choices=("soup", "salad")),
        FormField("drinks", "many", "Drinks", choices=("tea", "milk", "wine")),
        FormField("day", "date", "Which day"),
    ),
)
GOOD: dict[str, Any] = {
    "name": "Ada",
    "why": "two\nlines",
    "age": 36,
    "share": -1.5,
    "come": False,
    "dish": "soup",
    "drinks": ["tea", "wine"],
    "day": "2026-02-28",
}

_name = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=10)
_choices = st.lists(_name, min_size=1, max_size=5, unique=True).map(tuple)
_field = st.one_of(
    st.builds(FormField, _name, st.sampled_from(["text", "long"]), _name, st.booleans(), longest=st.integers(0, 99)),
    st.builds(FormField, _name, st.sampled_from(["yes", "date"]), _name, st.booleans(), help=_name),
    st.builds(FormField, _name, st.sampled_from(["one", "many"]), _name, st.booleans(), choices=_choices),
    st.builds(
        FormField, _name, st.just("number"), _name, minimum=st.none() | st.floats(-9, 0), maximum=st.floats(0, 9)
    ),
)
_forms = st.builds(
    Form, _name, _name, st.lists(_field, min_size=1, max_size=6, unique_by=lambda one: one.name).map(tuple)
)


@given(_forms)
def test_a_form_is_the_same_after_it_was_written_and_read(form: Form) -> None:
    assert forms.read_form(forms.write_form(form), form.ffn) == form


def test_what_is_filled_in_comes_back_in_the_order_of_the_form() -> None:
    shuffled = dict(reversed(GOOD.items()))
    assert list(forms.check_values(FORM, shuffled).items()) == list(GOOD.items())
    assert forms.check_values(FORM, {"name": "Ada", "why": "", "drinks": [], "age": None}) == {"name": "Ada"}
    assert forms.check_values(FORM, {"name": "A", "age": 3.0, "drinks": ["wine", "tea"]}) == {
        "name": "A",
        "age": 3,
        "drinks": ["tea", "wine"],
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", 7),
        ("name", "x" * 21),
        ("name", "two\nlines"),
        ("name", "\u202eabc"),
        ("why", ["x"]),
        ("why", "x" * (limits.FORM_TEXT_MAX_CHARACTERS + 1)),
        ("age", -1),
        ("age", 151),
        ("age", 1.5),
        ("age", True),
        ("age", "7"),
        ("age", 10**400),
        ("share", float("nan")),
        ("share", float("inf")),
        ("share", -2),
        ("share", 1e300),
        ("come", "yes"),
        ("come", 1),
        ("dish", "steak"),
        ("dish", ["soup"]),
        ("drinks", "tea"),
        ("drinks", ["tea", "beer"]),
        ("drinks", [["tea"]]),
        ("day", "2026-02-30"),
        ("day", "20260228"),
        ("day", "2026-W09-6"),
        ("day", "２０２６-02-28"),
        ("other", "x"),
    ],
)
def test_an_answer_that_is_none_is_named(name: str, value: Any) -> None:
    with pytest.raises(FormTrouble) as caught:
        forms.check_values(FORM, {**GOOD, name: value})
    assert caught.value.field == name
    assert caught.value.text


def schema(**field: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"q": field}}


DEEP: Any = "x"
for _ in range(300):
    DEEP = {"type": "object", "properties": {"q": DEEP}}


@pytest.mark.parametrize(
    "said",
    [
        [],
        7,
        {},
        {"properties": []},
        {"properties": {}},
        {"type": "array", "properties": {"q": {}}},
        {"properties": {"q": []}},
        {"properties": {"": {}}},
        {"properties": {"a\nb": {}}},
        {"properties": {"x" * 65: {}}},
        {"properties": {f"q{n}": {} for n in range(201)}},
        {"properties": {"q": {}}, "required": "q"},
        {"properties": {"q": {}}, "required": [7]},
        {"properties": {"q": {}}, "$ref": "http://elsewhere.example/"},
        {"properties": {"q": {}}, "allOf": []},
        {"properties": {"q": {}}, "patternProperties": {"(a+)+$": {}}},
        {"properties": {"q": {}}, "title": 7},
        schema(**{"$ref": "#"}),
        schema(pattern="(a+)+$"),
        schema(anyOf=[]),
        schema(**{"if": {}}),
        schema(const="x"),
        schema(type="null"),
        schema(type=["string", "null"]),
        schema(type={}),
        schema(format="uri"),
        schema(format=[]),
        schema(maxLength="9"),
        schema(maxLength=1.5),
        schema(type="number", minimum="0"),
        schema(type="number", minimum=True),
        schema(type="number", minimum=1, maximum=0),
        schema(type="number", maximum=1e300),
        schema(type="number", multipleOf=0),
        schema(type="array"),
        schema(type="array", items=[]),
        schema(type="array", items={"enum": [1]}),
        schema(type="array", items={"enum": ["a"], "$ref": "#"}),
        schema(enum=[]),
        schema(enum=["a", "a"]),
        schema(enum=[""]),
        schema(enum=["x" * 201]),
        schema(enum=[str(n) for n in range(201)]),
        schema(enum="abc"),
        schema(required="yes"),
        schema(title=["x"]),
        schema(description={}),
        schema(type="object", properties={"inner": {}}),
        DEEP,
    ],
)
def test_a_hostile_form_is_refused_in_words(said: Any) -> None:
    with pytest.raises(FormTrouble):
        forms.read_form(json.dumps(said).encode(), "a form")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{",
        b'{"properties":' + b"[" * 100_000,
        b'{"title":"' + b"x" * limits.FORM_MAX_BYTES + b'","properties":{"q":{}}}',
        b'{"properties":{"q":{"type":"number","maximum":1e999}}}',
    ],
)
def test_what_is_no_json_or_too_long_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(FormTrouble):
        forms.read_form(data, "a form")


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text() | st.integers() | st.booleans(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["properties", "type", "enum", "items", "required", "q", "title"]), inner)
        ),
    ).map(lambda said: json.dumps(said).encode())
)
def test_whatever_comes_is_a_form_or_refused(data: bytes) -> None:
    try:
        form = forms.read_form(data, "a form")
    except FormTrouble:
        return
    assert forms.read_form(forms.write_form(form), "a form") == form


def test_forms_of_older_programs_are_read() -> None:
    data = b'{"$schema":"http://json-schema.org/draft-03/schema#","type":"object","properties":{"s1":{"type":"string","title":"First","required":true}}}'
    assert forms.read_form(data, "x").fields == (FormField("s1", "text", "First", required=True),)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"7",
        b'{"a":{}}',
        b'{"a":[[]]}',
        b"{" * 100_000,
        b'{"a":"' + b"x" * limits.FILLED_MAX_BYTES + b'"}',
        json.dumps({str(n): 1 for n in range(201)}).encode(),
    ],
)
def test_what_is_no_filled_form_is_refused(data: bytes) -> None:
    with pytest.raises(FormTrouble):
        forms.read_values(data)


def filled(number: int, *, outgoing: bool = False, kind: str = "filled", file: str = "") -> messages.NewMessage:
    new = messages.NewAttachment(kind, "x", "a form", 1, file, 1)  # type: ignore[arg-type]
    return messages.NewMessage(
        f"{number:016x}",
        "message",
        outgoing,
        "B" * 32,
        "=Bob",
        True,
        (),
        "",
        "",
        "",
        f"2026-11-24T12:00:{number:02d}.000Z",
        0,
        "received",
        False,
        attachments=(new,),
    )


def test_answers_are_gathered_in_a_table_and_what_fits_no_question_is_left_out(tmp_path: Path) -> None:
    device = Device(tmp_path / "d.db", "d", 0)

    def work(c: Any) -> FormAnswers:
        for number, values in ((2, {"name": "Bea", "age": "old"}), (1, {**GOOD, "more": 1})):
            messages.record(c, filled(number), frozenset())
            for _ in range(2):  # again is once
                answers.record(
                    c, f"{number:016x}", 0, "a form", "B" * 32, forms.read_values(forms.write_values(values))
                )
        answers.record(c, "f" * 16, 0, "another form", "B" * 32, GOOD)
        return answers.table(c, FORM)

    table = device.write(work)
    assert table.columns == ("message", "author", "alias", "posted", *GOOD)
    assert [row[4:] for row in table.rows] == [tuple(GOOD.values()), ("Bea", *[None] * 7)]
    read = list(csv.reader(io.StringIO(answers.to_csv(table), newline=""), strict=True))
    assert read[0][4:7] == ["Your name", "Why", "Age"]
    assert read[1][2:] == [
        "'=Bob",
        "2026-11-24T12:00:01.000Z",
        "Ada",
        "two\nlines",
        "36",
        "-1.5",
        "no",
        "soup",
        "tea, wine",
        "2026-02-28",
    ]
    device.close()


def test_who_answers_without_end_pushes_out_no_answer_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path / "d.db", "d", 0)
    why = "x" * 1_000

    def work(c: Any) -> FormAnswers:
        for number in range(1, 30):
            author = "B" * 32 if number == 1 else "C" * 32
            messages.record(c, filled(number), frozenset())
            answers.record(c, f"{number:016x}", 0, "a form", author, {"name": str(number), "why": why})
        return answers.table(c, FORM)

    assert not device.write(work).more
    monkeypatch.setattr(limits, "FORM_TABLE_MAX_CHARACTERS", 3_500)
    table = device.write(lambda c: answers.table(c, FORM))
    assert [row[4] for row in table.rows] == ["1", "28", "29"]
    assert table.more
    monkeypatch.setattr(limits, "FORM_ROWS_MAX", 2)
    assert len(device.write(lambda c: answers.table(c, FORM)).rows) == 2


def test_nobody_replaces_the_questions_under_answers(tmp_path: Path) -> None:
    device = Device(tmp_path / "d.db", "d", 0)
    for number, outgoing in ((1, False), (3, True), (2, False), (4, True)):
        device.write(
            lambda c, n=number, o=outgoing: messages.record(
                c, filled(n, outgoing=o, kind="form", file=f"f{n}"), frozenset()
            )
        )  # type: ignore[misc]
    assert device.write(lambda c: answers.blank_file(c, "a form")) == "f3"
    assert device.write(lambda c: answers.blank_file(c, "another form")) is None
    device.close()


FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "'=1",
    '"=1',
    "＝1+1",
    "=cmd|' /C calc'!A0",
    'a";=1+1',
    "a\n=1+1",
    "a;=1",
    "a;+cmd|x",
    "a; @x",
    "a\t-1+cmd",
    'a;"=1"',
    '=HYPERLINK("http://elsewhere.example")',
    "\x00=1",
    "\u00a0=1",
]


def _row(text: str) -> tuple[Any, ...]:
    return ("m", "a", text, "p", text)


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_cell_is_a_formula_by_whichever_separator_it_is_read(text: str, delimiter: str) -> None:
    form = Form("a form", "", (FormField("q", "long", "=title"),))
    table = FormAnswers(form, ("message", "author", "alias", "posted", "q"), (_row(text),))
    for row in csv.reader(io.StringIO(answers.to_csv(table), newline=""), delimiter=delimiter):
        for cell in row:
            for line in cell.splitlines() or [""]:
                assert not line.strip(' "\u00a0').startswith(("=", "+", "-", "@", "＝")), (row, cell)


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")), max_size=3))
def test_csv_comes_back_as_it_was_but_for_apostrophes(texts: list[str]) -> None:
    form = Form("a form", "", (FormField("q", "long", "q"),))
    table = FormAnswers(form, ("message", "author", "alias", "posted", "q"), tuple(_row(one) for one in texts))
    text = answers.to_csv(table)
    assert not text.startswith("\ufeff") or not texts
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [row[4].replace("'", "") for row in read[1:]] == [one.replace("'", "") for one in texts]
