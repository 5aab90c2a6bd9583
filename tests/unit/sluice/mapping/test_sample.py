"""The wizard's fields and its verdict on sample rows: S1's names and words, the pipeline's decision."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import MappingInvalid
from sluice.events import ImportOptions
from sluice.mapping.sample import REQUIRED, SYSTEM_FIELDS, RowVerdict, judge_sample
from streams.steps.normalize import normalize
from streams.steps.validate import validate
from tests.unit.streams.batches import OPTIONS, make_read, run_steps

COLUMNS = ["Email", "Name", "Phone", "Zip", "City"]
MAPPING = {"Email": "email", "Name": "firstName", "Phone": "phone", "Zip": "zipCode", "City": "city"}
S1 = {**OPTIONS, "phone_check": "lenient", "required": list(REQUIRED), "mapping": MAPPING}


def judged(*rows: list[str], **options: object) -> list[RowVerdict]:
    return judge_sample(COLUMNS, rows, ImportOptions(**(S1 | options)))


@pytest.mark.requirement("S1-024", "S1-025", "S1-026")
def test_the_system_fields_are_those_of_the_document() -> None:
    """Keys, labels, what is required, and types, in the document's order."""
    assert [(field.key, field.label, field.required, field.type) for field in SYSTEM_FIELDS] == [
        ("email", "Email", True, "email"),
        ("firstName", "First Name", True, "text"),
        ("lastName", "Last Name", False, "text"),
        ("phone", "Phone", False, "phone"),
        ("company", "Company", False, "text"),
        ("title", "Job Title", False, "text"),
        ("address", "Address", False, "text"),
        ("city", "City", False, "text"),
        ("state", "State/Province", False, "text"),
        ("country", "Country", False, "text"),
        ("zipCode", "Zip/Postal Code", False, "text"),
        ("notes", "Notes", False, "text"),
    ]


@pytest.mark.requirement("S1-023", "S1-050", "S1-051", "S1-052", "S1-053", "S1-054", "S1-055", "S1-056")
@pytest.mark.parametrize(
    ("row", "errors"),
    [
        (["ann@example.com", "Ann", "", "", ""], []),
        (["ann@example.com", "Ann", "(212) 647-1000", "", ""], []),
        (["", "Ann", "", "", ""], [("email", "Email is required", "")]),
        (["", "Ann", "2126471000", "", ""], [("email", "Email is required", "")]),
        (["ann@example.com", "   ", "", "", ""], [("firstName", "First Name is required", "")]),
        (
            ["", "", "", "", ""],
            [("email", "Email is required", ""), ("firstName", "First Name is required", "")],
        ),
        (["ann@", "Ann", "", "", ""], [("email", "Invalid email format", "ann@")]),
        (["a@b.de", "Ann", "647-1000", "", ""], [("phone", "Invalid phone number format", "647-1000")]),
        (["a@b.de", "Ann", "12-34-56-78-90", "", ""], []),
        (
            ["nobody", "", "12", "", ""],
            [
                ("firstName", "First Name is required", ""),
                ("email", "Invalid email format", "nobody"),
                ("phone", "Invalid phone number format", "12"),
            ],
        ),
        (
            ["a@b.de", "Ann", "", "1" * 21, ""],
            [("zipCode", "Zip/Postal Code is longer than 20 characters", "1" * 21)],
        ),
    ],
)
def test_a_row_is_judged_in_the_documents_words(row: list[str], errors: list[tuple[str, str, str]]) -> None:
    """Required is what is not blank; an address is a real one; a phone has ten digits or is not given."""
    (verdict,) = judged(row)
    assert [tuple(each) for each in verdict.errors] == errors
    assert verdict.is_valid == (not errors)


@pytest.mark.requirement("S1-057")
def test_many_rows_are_judged_one_by_one() -> None:
    """Each row has its own verdict, in order, whatever the others are; a row too wide is no good one."""
    rows = [
        ["a@b.de", "Ann"],
        ["", "Bob"],
        ["c@d.de", "Cy", "", "", "", "too much"],
        ["e@f.de", "Eve", "", "", ""],
    ]
    assert [verdict.is_valid for verdict in judged(*rows)] == [True, False, False, True]


def test_a_mapping_that_does_not_fit_is_named() -> None:
    """The preview refuses what the import would refuse."""
    with pytest.raises(MappingInvalid, match='"Mail"'):
        judged(["a@b.de", "Ann", "", "", ""], mapping={"Mail": "email"})


CELLS = {
    "Email": st.sampled_from(
        ["", "a@b.de", "A@B.DE", "nobody", "x@y", "a@b.de ::: c@d.de", " ::: ", "q ::: a@b.de"]
    ),
    "Name": st.sampled_from(["", " ", "Ann", "x" * 101]),
    "Phone": st.sampled_from(["", "2126471000", "12", "x", "+49 30 123456", "1" * 16, "12 ::: 2126471000"]),
    "Zip": st.sampled_from(["", "04001", "9" * 21]),
    "City": st.text(max_size=10),
}
ROWS = st.lists(
    st.tuples(*CELLS.values())
    .map(list)
    .flatmap(lambda row: st.sampled_from([row, row[:2], [*row, ""], [*row, "more"]])),
    max_size=8,
)


@pytest.mark.requirement("S1-050", "S1-051", "S1-052", "S1-053", "S1-054", "S1-055", "S1-056", "S1-057")
@settings(deadline=None)
@given(ROWS, st.sampled_from(["strict", "lenient", "off"]), st.sampled_from([[], list(REQUIRED)]))
def test_the_preview_says_what_the_pipeline_decides(
    rows: list[list[str]], phone_check: str, required: list[str]
) -> None:
    """A row is valid in the preview exactly when the pipeline lets it pass, and for the same fields."""
    options = S1 | {"phone_check": phone_check, "required": required}
    batch = run_steps(make_read(COLUMNS, rows, **options), [normalize, validate])
    verdicts = judge_sample(COLUMNS, rows, ImportOptions(**options))
    assert [verdict.is_valid for verdict in verdicts] == [
        index not in batch.refusals for index in range(len(rows))
    ]
    names = {field.key: field.name for field in SYSTEM_FIELDS}
    for index, verdict in enumerate(verdicts):
        shown = {(names.get(each.field, each.field), each.value) for each in verdict.errors}
        faults = batch.refusals[index].faults if index in batch.refusals else []
        decided = {(fault.field, fault.value) for fault in faults}
        assert shown == decided or ("email,phone", "") in decided
