"""Normalize: every value in its one canonical form, nothing of the customer's thrown away."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.events import ColumnRule, FieldSource, RowFault
from streams.batch import Batch, resolved
from streams.steps.normalize import normalize
from tests.unit.streams.batches import make_read, run_steps


def normalized(columns: list[str], *rows: list[str], **more: Any) -> Batch:
    return run_steps(make_read(columns, rows, **more), [normalize])


def first(columns: list[str], row: list[str], **more: Any) -> dict[str, str]:
    """The canonical values of one row."""
    batch = normalized(columns, row, **more)
    return dict(zip(batch.columns, batch.rows()[0], strict=True))


@pytest.mark.requirement("S0-019")
@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (
            ["First Name", "E-Mail"],
            [" Ann ", " ANN@Example.COM "],
            {"first_name": "Ann", "email": "ann@example.com"},
        ),
        (["Phone"], ["(415) 555-2671"], {"phone": "(415) 555-2671", "phone_formatted": "+14155552671"}),
        (["email", "Land"], ["a@b.de", "Deutschland"], {"email": "a@b.de", "country": "DE"}),
        (
            ["email", "country"],
            ["a@b.de", "Atlantis"],
            {"email": "a@b.de", "country": "", "custom_fields.country": "Atlantis"},
        ),
        (["tags"], [" vip ; new,vip "], {"tags": "vip;new"}),
        (["last contact date"], ["2024-05-31"], {"last_contact_date": "2024-05-31T00:00:00+00:00"}),
        (["full name"], ["Ann van Dyk"], {"first_name": "Ann", "last_name": "van Dyk"}),
        (
            ["full name", "first name"],
            ["Ann van Dyk", "Anna"],
            {"first_name": "Anna", "last_name": "van Dyk"},
        ),
        (["email", "Shoe Size"], ["a@b.de", "42"], {"email": "a@b.de", "custom_fields.Shoe Size": "42"}),
        (["email", "Record ID"], ["a@b.de", "17"], {"email": "a@b.de", "custom_fields.Record ID": "17"}),
        (["email", ""], ["a@b.de", "x"], {"email": "a@b.de", "custom_fields.column_2": "x"}),
    ],
)
def test_values_take_their_canonical_form(
    columns: list[str], row: list[str], expected: dict[str, str]
) -> None:
    """Trimmed, lower-cased, E.164, ISO 3166, ISO 8601; what no field holds stays a custom field."""
    assert first(columns, row) == expected


def test_columns_with_one_header_are_both_kept() -> None:
    """A second column of the same name is a custom field of its own."""
    row = first(["email", "Note X", "Note X"], ["a@b.de", "one", "two"])
    assert row == {"email": "a@b.de", "custom_fields.Note X": "one", "custom_fields.Note X_3": "two"}


def test_a_mapping_of_the_callers_decides() -> None:
    """A column mapped to nothing is left out, one that is not named stays a custom field."""
    mapping = {"Contact": "email", "Secret": ""}
    row = first(["Contact", "Secret", "City"], ["A@b.de", "x", "Ulm"], mapping=mapping)
    assert row == {"email": "a@b.de", "custom_fields.City": "Ulm"}


@pytest.mark.requirement("S0-016")
@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("email", "nobody", "email_invalid"),
        ("phone", "12", "phone_invalid"),
        ("last contact date", "05/06/2024", "date_invalid"),
    ],
)
def test_what_cannot_be_read_keeps_its_text_and_a_fault(column: str, value: str, code: str) -> None:
    """The value stays as given, for the errors file; the fault says which field and why."""
    batch = normalized([column], [value])
    (fault,) = batch.faults[0]
    assert (fault.code, fault.value) == (code, value)
    assert value in batch.rows()[0]
    assert not batch.refusals


def test_a_modification_time_is_no_field_and_no_fault() -> None:
    """A row's own time goes beside its values; one that cannot be read is none."""
    batch = normalized(["email", "modified at"], ["a@b.de", "2024-05-31T12:00:00Z"], ["b@b.de", "5/6/24"])
    assert batch.modified_at == [1717156800000, 0]
    assert list(batch.columns) == ["email"]
    assert not batch.faults


def test_a_time_in_the_future_is_the_jobs_own() -> None:
    """Otherwise no later row could ever win against it."""
    batch = normalized(["email", "modified at"], ["a@b.de", "9999-12-31T00:00:00Z"])
    assert batch.modified_at == [batch.read.options.created_at]


def test_a_tag_that_the_index_cannot_hold_is_a_fault() -> None:
    """A person can mend it; the database's own words would help nobody."""
    batch = normalized(["email", "tags"], ["a@b.de", f"vip;{'x' * 256}"], ["b@b.de", f"vip;{'x' * 255}"])
    assert {index: [each.code for each in found] for index, found in batch.faults.items()} == {
        0: ["too_long"]
    }


def test_no_times_at_all_cost_nothing() -> None:
    """A column of blank times is as good as none."""
    assert normalized(["email", "modified at"], ["a@b.de", ""]).modified_at == []


def test_excluded_and_broken_rows_are_settled() -> None:
    """The caller's exclusion comes before the reader's fault; both come before every other rule."""
    broken = [RowFault(index=i, code="broken_quote", message="A quotation mark is open.") for i in (0, 1)]
    batch = normalized(["email"], ["a@b.de"], ["b@b.de"], ["c@b.de"], faults=broken, excluded=[0])
    assert {i: each.outcome for i, each in batch.refusals.items()} == {0: "excluded", 1: "invalid"}
    assert batch.refusals[1].faults[0].code == "broken_quote"


def test_ragged_rows_are_padded_and_surplus_cells_refused() -> None:
    """A short row gets blanks, blank surplus is cut, text beyond the header makes its row invalid."""
    batch = normalized(["email", "city"], ["a@b.de"], ["b@b.de", "Ulm", ""], ["c@b.de", "Ulm", "x"])
    assert batch.rows() == [("a@b.de", ""), ("b@b.de", "Ulm"), ("c@b.de", "Ulm")]
    assert {i: each.outcome for i, each in batch.refusals.items()} == {2: "invalid"}


def test_no_rows_still_have_columns() -> None:
    """A job's last batch may be empty."""
    batch = normalized(["email", "phone"])
    assert (list(batch.columns), batch.rows()) == (["email", "phone", "phone_formatted"], [])


def test_a_cleared_country_clears_what_was_kept_of_it() -> None:
    """Under blanks=clear the fields of a batch do not depend on its rows."""
    row = first(["email", "country"], ["a@b.de", "FR"], blanks="clear")
    assert row == {
        "email": "a@b.de",
        "country": "FR",
        "custom_fields.country": "",
        "custom_fields.other_emails": "",
    }


def test_mapping_and_rules_go_no_further() -> None:
    """The sink has no use for them, and a message has an end."""
    rules = [ColumnRule(column="Mail", required=True)]
    batch = normalized(
        ["Mail"], ["a@b.de"], sources=[FieldSource(field="email", columns=["Mail"])], rules=rules
    )
    sent = resolved(batch).options
    assert batch.columns == {"email": ["a@b.de"]}
    assert (sent.mapping, sent.sources, sent.rules) == (None, [], [])
    assert sent.on_duplicate == batch.read.options.on_duplicate
