"""Reading: what a mapping's sources make of rows, and which of several values is the identity."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.mapping.plan import plan_of
from sluice.mapping.reading import SEVERAL, Reading, read_rows
from sluice.mapping.stored import Mapped, read_mapping
from tests.unit.streams.batches import make_read


def read(columns: list[str], *rows: list[str], mapping: Any = None, **options: Any) -> Reading:
    mapped = read_mapping(mapping) if mapping is not None else Mapped()
    return read_rows(
        rows, len(columns), plan_of(columns, mapped), make_read(columns, rows, **options).options
    )


def first(columns: list[str], row: list[str], **more: Any) -> dict[str, str]:
    """What one row gives, blanks left out."""
    reading = read(columns, row, **more)
    return {name: values[0] for name, values in reading.columns.items() if values[0]}


def faults(reading: Reading) -> list[tuple[str, str, str]]:
    return [(fault.field, fault.code, fault.value) for found in reading.faults.values() for fault in found]


COLUMNS = ["Name", "Mail", "Street", "No", "Seen", "Groups", "Office", "Mobile"]
ROW = ["ANN O'NEIL", "a@b.de", "Main St", "5", "05/06/2024", "vip, gold|new;x", "030 123456", "0171 1234567"]


@pytest.mark.requirement("S0-019")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"full_name": {"column": "Name", "case": "title"}}, {"first_name": "Ann", "last_name": "O'Neil"}),
        ({"company": {"column": "Name", "case": "lower"}}, {"company": "ann o'neil"}),
        ({"company": {"column": "Street", "case": "upper"}}, {"company": "MAIN ST"}),
        ({"address": {"join": ["Street", "No"]}}, {"address": "Main St 5"}),
        (
            {"notes": {"join": ["No", "Street", "Mail"], "separator": " / "}},
            {"notes": "5 / Main St / a@b.de"},
        ),
        ({"source": {"value": "fair"}}, {"source": "fair"}),
        (
            {"last_contact_date": {"column": "Seen", "date_format": "DD/MM/YYYY"}},
            {"last_contact_date": "2024-06-05T00:00:00+00:00"},
        ),
        (
            {"last_contact_date": {"column": "Seen", "date_format": "MM/DD/YYYY"}},
            {"last_contact_date": "2024-05-06T00:00:00+00:00"},
        ),
        ({"tags": {"column": "Groups", "delimiter": "|"}}, {"tags": "vip, gold;new;x"}),
        ({"tags": "Groups"}, {"tags": "vip;gold|new;x"}),
        (
            {"phone": {"column": "Office", "region": "DE"}},
            {"phone": "030 123456", "phone_formatted": "+4930123456"},
        ),
        (
            {"custom_fields.When": "Seen", "city": "Seen"},
            {"custom_fields.When": "05/06/2024", "city": "05/06/2024"},
        ),
    ],
)
def test_a_source_makes_its_field(fields: dict[str, Any], expected: dict[str, str]) -> None:
    """Each transform, by itself; columns that nothing speaks of are dropped as asked."""
    assert first(COLUMNS, ROW, mapping={"fields": fields, "unmapped": "drop"}) == expected


def test_what_is_not_mapped_is_kept_or_dropped_as_asked() -> None:
    """Custom fields by default; nowhere when dropped; a column that is ignored is nowhere in any case."""
    mapping: dict[str, Any] = {"fields": {"email": "Mail"}, "ignored": ["Secret"]}
    columns, row = ["Mail", "Secret", "Shoe"], ["a@b.de", "x", "42"]
    assert first(columns, row, mapping=mapping) == {"email": "a@b.de", "custom_fields.Shoe": "42"}
    assert first(columns, row, mapping=mapping | {"unmapped": "drop"}) == {"email": "a@b.de"}
    usual = {"fields": {}, "unmapped": "drop"}
    assert first(columns, row, mapping=usual) == {"email": "a@b.de"}


def test_a_joined_text_has_no_holes() -> None:
    """A blank part leaves no separator behind."""
    mapping = {"fields": {"address": {"join": ["A", "B", "C"], "separator": ", "}}}
    assert first(["A", "B", "C"], ["x", " ", "y"], mapping=mapping) == {"address": "x, y"}


def test_a_date_in_another_form_than_was_said_is_a_fault() -> None:
    """The form decides, not a guess; the fault says how it is to be written."""
    mapping = {"fields": {"last_contact_date": {"column": "Seen", "date_format": "DD/MM/YYYY"}}}
    reading = read(["Seen"], ["2024-05-06"], ["31/02/2024"], ["01/01/1899"], ["31/12/2024"], mapping=mapping)
    assert [fault[0].message for fault in reading.faults.values()] == [
        "Invalid date: write it as DD/MM/YYYY"
    ] * 3
    assert reading.columns["last_contact_date"][3] == "2024-12-31T00:00:00+00:00"


def test_a_time_of_change_has_its_form_too() -> None:
    """It is no field of the contact, so one that cannot be read is none."""
    mapping = {"fields": {"modified_at": {"column": "When", "date_format": "%d.%m.%y"}}}
    reading = read(["When"], ["01.02.24"], ["x"], mapping=mapping)
    assert reading.modified_at == [1706745600000, 0]
    assert not reading.faults


EMAILS = "custom_fields.other_emails"
PHONES = "custom_fields.other_phones"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (["A@b.de ::: c@d.de"], {"email": "a@b.de", EMAILS: "c@d.de"}),
        (["n/a ::: c@d.de ::: E@f.de"], {"email": "c@d.de", EMAILS: "n/a ::: E@f.de"}),
        ([" a@b.de ::: "], {"email": "a@b.de"}),
        (["a@b.de:::c@d.de"], {"email": "a@b.de", EMAILS: "c@d.de"}),
        (["", "2126471000 ::: 2126471001"], {"phone": "2126471000", PHONES: "2126471001"}),
        (["", "12 ::: 2126471001"], {"phone": "2126471001", PHONES: "12"}),
    ],
)
def test_the_first_valid_value_of_a_cell_is_the_identity(row: list[str], expected: dict[str, str]) -> None:
    """What is left of the cell is kept beside it, as it was written."""
    row = [*row, *[""] * (2 - len(row))]
    found = first(["Email", "Phone"], row)
    assert {name: value for name, value in found.items() if name != "phone_formatted"} == expected
    assert not read(["Email", "Phone"], row).faults


def test_the_first_twenty_values_of_a_cell_are_tried() -> None:
    """The identity is one of them, and all others are kept; behind them none is looked for."""
    mapping = {"fields": {"email": {"columns": ["One", "Two"]}}}
    broken = [f"x{number}" for number in range(20)]
    within, behind = SEVERAL.join([*broken[1:], "a@b.de", "c@d.de"]), SEVERAL.join([*broken, "a@b.de"])
    left = SEVERAL.join([*broken[1:], "c@d.de"])
    assert first(["One", "Two"], [within, ""], mapping=mapping) == {"email": "a@b.de", EMAILS: left}
    assert first(["One", "Two"], ["", within], mapping=mapping) == {
        "email": "a@b.de",
        "custom_fields.Two": left,
    }
    reading = read(["One", "Two"], [behind, behind], mapping=mapping)
    assert faults(reading) == [("email", "email_invalid", behind[:200])]
    assert reading.columns["email"] == [behind]


def test_a_cell_of_very_many_broken_values_is_judged_at_once() -> None:
    """Nine rows of 9,000 took seconds, when each value was tried."""
    began = time.process_time()
    read(["Email"], *[[SEVERAL.join(f"x{row}.{number}@" for number in range(9_000))] for row in range(9)])
    assert time.process_time() - began < 0.5


def test_several_values_of_which_none_is_valid_are_one_fault() -> None:
    """The row is invalid, as it would be with one of them, and keeps its text."""
    reading = read(["Email", "Phone"], ["x ::: y", "1 ::: 2"])
    assert faults(reading) == [
        ("email", "email_invalid", "x ::: y"),
        ("phone", "phone_invalid", "1 ::: 2"),
    ]
    assert reading.columns["email"] == ["x ::: y"]
    together = read(["Phone"], ["1234567 ::: 1234567"], [":::"], phone_check="lenient")
    assert [fault[0].code for fault in together.faults.values()] == ["phone_invalid", "phone_invalid"]


def test_unchecked_phones_prefer_the_one_that_is_an_identity() -> None:
    """Under `off` any text will do, but a number finds its contact; failing that, the first is kept."""
    assert first(["Phone"], ["ext 5 ::: 2126471000"], phone_check="off") == {
        "phone": "2126471000",
        "phone_formatted": "+12126471000",
        PHONES: "ext 5",
    }
    assert first(["Phone"], ["ext 5 ::: ext 6"], phone_check="off") == {"phone": "ext 5", PHONES: "ext 6"}
    assert first(["Phone"], ["ext 5"], phone_check="off") == {"phone": "ext 5"}


def test_tags_are_parted_and_other_texts_stay() -> None:
    """Google joins labels as it joins numbers; in notes it is just text."""
    found = first(["Email", "Labels", "Notes"], ["a@b.de", "* friends ::: * myContacts", "a ::: b"])
    assert found == {"email": "a@b.de", "tags": "* friends;* myContacts", "notes": "a ::: b"}


def test_of_several_full_names_the_first_is_split() -> None:
    """A directory writes a person's name in several ways; none of them gets lost."""
    assert first(["Full name"], ["Barbara Jensen ::: Barbara J Jensen ::: Babs"]) == {
        "first_name": "Barbara",
        "last_name": "Jensen",
        "custom_fields.other_names": "Barbara J Jensen ::: Babs",
    }
    assert "custom_fields.other_names" in read(["Full name"], ["Ann Lee"], blanks="clear").columns


GOOGLE = [
    "First Name",
    "Labels",
    "E-mail 1 - Value",
    "E-mail 2 - Value",
    "Phone 1 - Value",
    "Phone 2 - Value",
]
SECOND_EMAIL = "custom_fields.E-mail 2 - Value"


@pytest.mark.parametrize(
    ("first_cell", "second_cell", "expected"),
    [
        ("a@b.de", "c@d.de", {"email": "a@b.de", SECOND_EMAIL: "c@d.de"}),
        ("", "c@d.de", {"email": "c@d.de"}),
        ("", "n/a ::: c@d.de", {"email": "c@d.de", SECOND_EMAIL: "n/a"}),
        ("broken", "c@d.de", {"email": "c@d.de", EMAILS: "broken"}),
        ("", "n/a", {SECOND_EMAIL: "n/a"}),
        ("a@b.de ::: e@f.de", "c@d.de", {"email": "a@b.de", EMAILS: "e@f.de", SECOND_EMAIL: "c@d.de"}),
    ],
)
def test_a_further_column_stands_in(first_cell: str, second_cell: str, expected: dict[str, str]) -> None:
    """Where the first column has nothing valid the next has; what is left of each cell stays in its place."""
    row = ["Ann", "", first_cell, second_cell, "2126471000", "2126471001"]
    found = first(GOOGLE, row)
    assert found.pop("custom_fields.Phone 2 - Value") == "2126471001"
    assert {
        name: value for name, value in found.items() if "email" in name.lower() or "mail" in name
    } == expected


def test_a_further_column_does_not_make_a_row_invalid() -> None:
    """Only what the first column gives is a fault, and only when no other column makes up for it."""
    assert not read(GOOGLE, ["Ann", "", "", "junk", "2126471000", "junk"]).faults
    assert faults(read(GOOGLE, ["Ann", "", "junk", "trash", "", ""])) == [("email", "email_invalid", "junk")]


def test_ranked_columns_serve_any_field() -> None:
    """The first that is not blank gives the value; the others keep what they have."""
    mapping = {"fields": {"city": {"columns": ["A", "B"]}, "full_name": {"columns": ["N", "M"]}}}
    rows = [["x", "y", "Ann Lee", "Bo Ng"], ["", "y", "", "Bo Ng"]]
    reading = read(["A", "B", "N", "M"], *rows, mapping=mapping)
    assert reading.columns["city"] == ["x", "y"]
    assert reading.columns["custom_fields.B"] == ["y", ""]
    assert reading.columns["last_name"] == ["Lee", "Ng"]
    assert reading.columns["custom_fields.M"] == ["Bo Ng", ""]


def test_a_column_of_the_same_name_loses_nothing() -> None:
    """What an export has as `other_emails` comes in again beside what the cell has left."""
    columns = ["Email", "custom_fields.other_emails", "Country", "custom_fields.country"]
    assert first(columns, ["a@b.de ::: c@d.de", "e@f.de", "Atlantis", "x"]) == {
        "email": "a@b.de",
        EMAILS: "c@d.de ::: e@f.de",
        "custom_fields.country": "Atlantis ::: x",
    }
    assert first(columns, ["a@b.de", "e@f.de", "FR", "x"]) == {
        "email": "a@b.de",
        EMAILS: "e@f.de",
        "country": "FR",
        "custom_fields.country": "x",
    }


@pytest.mark.parametrize("cell", ["a@b.de", "a@b.de ::: c@d.de"])
def test_under_clear_the_fields_do_not_hang_on_the_rows(cell: str) -> None:
    """Whether a batch has a row with several values must not decide what its other rows clear."""
    assert set(read(["Email", "Phone"], [cell, ""], blanks="clear").columns) == {
        "email", "phone", "phone_formatted", EMAILS, PHONES,
    }  # fmt: skip


VALUES = st.lists(st.sampled_from(["a@b.de", "C@d.de", "e@f.de", "broken", "n/a", "x@"]), max_size=4)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_no_value_is_lost_and_none_is_doubled(one: list[str], two: list[str]) -> None:
    """Identity, other addresses and the further column hold each value that the row gave, once."""
    columns = ["First Name", "Labels", "E-mail 1 - Value", "E-mail 2 - Value"]
    found = first(columns, ["Ann", "", " ::: ".join(one), " ::: ".join(two)])
    cells = [found.get(name, "") for name in ("email", EMAILS, SECOND_EMAIL)]
    held = [value.lower() for cell in cells for value in cell.split(" ::: ") if value]
    assert sorted(held) == sorted(value.lower() for value in [*one, *two])
    valid = [value.lower() for value in [*one, *two] if value.endswith(".de")]
    if valid:
        assert found["email"] == valid[0]
