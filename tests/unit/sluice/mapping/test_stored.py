"""The stored mapping: both forms are read, and what is wrong with one is named in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import MappingInvalid
from sluice.events import FieldSource
from sluice.mapping.plan import plan_of
from sluice.mapping.reading import read_rows
from sluice.mapping.stored import Mapped, parse_json, read_mapping
from sluice.values.headers import SOURCE_FIELDS
from tests.unit.streams.batches import make_read

COLUMNS = ["Name", "E-Mail", "Street", "No", "Seen", "Groups", "Office", "Mobile"]


def rich(**fields: Any) -> dict[str, Any]:
    return {"fields": fields}


def test_the_plain_form_stays_valid() -> None:
    """A field in any of its spellings for each column, nothing for one to leave out."""
    assert read_mapping({"Mail": "email", "Zip": "zipCode", "Junk": None, "X": ""}) == Mapped(
        {"Mail": "email", "Zip": "zipCode", "Junk": "", "X": ""}
    )


def test_the_rich_form_has_a_source_for_each_field() -> None:
    """One column, ranked columns, joined columns, a fixed value, and what is done to their text."""
    mapped = read_mapping(
        {
            "fields": {
                "email": "E-Mail",
                "fullName": {"column": "Name", "case": "title"},
                "address": {"join": ["Street", "No"]},
                "source": {"value": " fair 2026 "},
                "last_contact_date": {"column": "Seen", "date_format": "DD/MM/YYYY"},
                "phone": {"columns": ["Mobile", "Office"], "region": "de"},
                "tags": {"column": "Groups", "delimiter": "|"},
                "custom_fields.Shoe size": "No",
            },
            "unmapped": "drop",
            "ignored": ["Internal"],
        }
    )
    assert (mapped.mapping, mapped.unmapped) == ({"Internal": ""}, "drop")
    assert mapped.sources == [
        FieldSource(field="email", columns=["E-Mail"]),
        FieldSource(field="full_name", columns=["Name"], case="title"),
        FieldSource(field="address", columns=["Street", "No"], separator=" "),
        FieldSource(field="source", value="fair 2026"),
        FieldSource(field="last_contact_date", columns=["Seen"], date_format="DD/MM/YYYY"),
        FieldSource(field="phone", columns=["Mobile", "Office"], region="DE"),
        FieldSource(field="tags", columns=["Groups"], delimiter="|"),
        FieldSource(field="custom_fields.Shoe size", columns=["No"]),
    ]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (["email"], "JSON object"),
        ({"Mail": 1}, '"Mail"'),
        ({"Mail": "shoe"}, '"shoe"'),
        ({"Mail": "custom_fields."}, "custom_fields."),
        (rich(shoe="Name"), '"shoe"'),
        (rich(email=1), '"email"'),
        (rich(email={"col": "Name"}), '"email" cannot be read.*col'),
        (rich(email={}), '"email" needs one of column'),
        (rich(email={"column": "A", "value": "b"}), '"email" needs one of column'),
        (rich(email={"columns": []}), '"email" needs from 1'),
        (rich(email={"join": ["A", "A"]}), '"email" names a column twice'),
        (rich(email={"column": "A", "separator": "-"}), '"email" has a separator'),
        (rich(notes={"join": ["A", "B"], "separator": "-" * 11}), "longer than 10"),
        (rich(notes={"value": "x" * 1001}), 'value of "notes"'),
        (rich(email="A", eMail="B"), '"email" is mapped twice'),
        (rich(notes={"column": "A", "date_format": "DD/MM/YYYY"}), '"notes" has a date_format'),
        (rich(last_contact_date={"column": "A", "date_format": "DD/MM"}), '"DD/MM" has to name year'),
        (rich(last_contact_date={"column": "A", "date_format": "%Q"}), '"%Q" is no form'),
        (rich(email={"column": "A", "case": "upper"}), '"email" has one form only'),
        (rich(city={"column": "A", "case": "camel"}), '"camel"'),
        (rich(city={"column": "A", "region": "DE"}), '"city" has a region'),
        (rich(phone={"column": "A", "region": "Atlantis"}), '"Atlantis"'),
        (rich(notes={"column": "A", "delimiter": "|"}), '"notes" has a delimiter'),
        ({"fields": {"email": "A"}, "unmapped": "burn"}, '"burn"'),
        ({"fields": {"email": "A"}, "ignored": "B"}, '"ignored"'),
        ({"fields": {"email": "A"}, "ignored": ["A"]}, '"A" is ignored and mapped'),
        ({"fields": {}, "ignored": ["A"]}, "no field is mapped"),
        ({"fields": {"email": "A"}, "rest": "drop"}, '"rest"'),
        ({"fields": {f"custom_fields.{n}": "A" for n in range(501)}}, "500 fields"),
        ({"x" * 70_000: "email"}, "64 KB"),
        ({"Mail\0": "email"}, "no text"),
        ({"\ud800": "email"}, "no text"),
    ],
)
def test_what_is_wrong_is_named(value: Any, named: str) -> None:
    """A column, a field, a format, a size: the sentence says which, and is no page."""
    with pytest.raises(MappingInvalid, match=named) as refused:
        read_mapping(value)
    assert len(refused.value.message) < 800


def test_a_name_that_stands_twice_is_not_lost_silently() -> None:
    """JSON would let the last one win."""
    with pytest.raises(MappingInvalid, match='"Mail" is named twice'):
        parse_json('{"Mail": "email", "Mail": "phone"}')


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nul"])
def test_what_is_no_json_is_said_so(text: str) -> None:
    """However deep it is."""
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (rich(email="Mail"), '"Mail"'),
        (rich(notes={"join": ["Name", "Nowhere"]}), '"Nowhere"'),
        ({"fields": {"email": "E-Mail"}, "ignored": ["Nowhere"]}, '"Nowhere"'),
    ],
)
def test_a_column_that_the_file_does_not_have_is_named(value: Any, named: str) -> None:
    """Only the file's header can tell, so the plan says it."""
    with pytest.raises(MappingInvalid, match=named):
        plan_of(COLUMNS, read_mapping(value))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(COLUMNS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [*COLUMNS, "fields", "unmapped", "ignored", "email", "column", "join", "value", "case"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
COLUMN = st.sampled_from(COLUMNS)
SOURCES = st.one_of(
    COLUMN,
    st.fixed_dictionaries({"column": COLUMN}, optional={"case": st.sampled_from(["upper", "title", "x"])}),
    st.fixed_dictionaries({"columns": st.lists(COLUMN, max_size=3)}),
    st.fixed_dictionaries(
        {"join": st.lists(COLUMN, max_size=3)}, optional={"separator": st.text(max_size=2)}
    ),
    st.fixed_dictionaries({"value": st.text(max_size=5)}),
    st.fixed_dictionaries({"column": COLUMN, "date_format": st.text("DMYHhmsA%/ ", max_size=12)}),
    st.fixed_dictionaries({"column": COLUMN, "delimiter": st.text(max_size=2)}),
    st.fixed_dictionaries({"column": COLUMN, "region": st.sampled_from(["DE", "us", "ZZ"])}),
)
MAPPINGS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"fields": st.dictionaries(st.sampled_from(sorted(SOURCE_FIELDS)), SOURCES, max_size=6)},
        optional={
            "unmapped": st.sampled_from(["custom", "drop"]),
            "ignored": st.lists(COLUMN, max_size=2),
        },
    ),
)
CELL = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["a@b.de", "a@b.de ::: c@d.de", "2126471000 ::: x", "31/12/2024", "a|b;c", "Germany", "O'NEIL"]
    ),
)
ROWS = st.lists(st.lists(CELL, max_size=9), max_size=5)


@settings(deadline=None, max_examples=300)
@given(MAPPINGS, ROWS, st.sampled_from(["keep", "clear"]), st.sampled_from(["strict", "lenient", "off"]))
def test_no_mapping_ever_breaks_a_batch(value: Any, rows: list[list[str]], blanks: str, check: str) -> None:
    """Either the mapping is refused by name, before the job, or it reads any row: as many values as rows."""
    try:
        mapped = read_mapping(value)
        plan = plan_of(COLUMNS, mapped)
    except MappingInvalid:
        return
    options = make_read(COLUMNS, rows, blanks=blanks, phone_check=check).options
    reading = read_rows(rows, len(COLUMNS), plan, options)
    assert all(len(values) == len(rows) for values in reading.columns.values())
    assert all(value == value.strip() for values in reading.columns.values() for value in values)
    assert json.dumps(reading.columns)
