"""Validate: row rules 3 and 4, every fault of a row, and their order."""

from __future__ import annotations

from typing import Any

import pytest

from streams.batch import Batch
from streams.steps.normalize import normalize
from streams.steps.validate import validate
from tests.unit.streams.batches import make_read, run_steps

COLUMNS = ["first name", "email", "phone"]


def validated(*rows: list[str], columns: list[str] | None = None, **options: Any) -> Batch:
    return run_steps(make_read(columns or COLUMNS, rows, **options), [normalize, validate])


def outcomes(batch: Batch) -> list[str]:
    return [batch.refusals[i].outcome if i in batch.refusals else "" for i in range(batch.row_count)]


@pytest.mark.requirement("S0-016", "S0-017", "K-02")
@pytest.mark.parametrize(
    ("row", "options", "outcome", "messages"),
    [
        (["Ann", "a@b.de", ""], {}, "", []),
        (["Ann", "", "4155552671"], {}, "", []),
        (["Ann", "", ""], {}, "no_identity", ["Email or phone is required"]),
        (["Ann", "", ""], {"required": ["email"]}, "no_identity", ["Email or phone is required"]),
        (["Ann", "", "4155552671"], {"required": ["email"]}, "invalid", ["Email is required"]),
        (
            ["Ann", "", "4155552671"],
            {"required": ["email"], "missing_email": "no_identity"},
            "no_identity",
            ["Email is required"],
        ),
        (["", "a@b.de", ""], {"required": ["email", "first_name"]}, "invalid", ["First name is required"]),
        (
            ["", "nobody", "12"],
            {"required": ["first_name"]},
            "invalid",
            ["First name is required", "Invalid email format", "Invalid phone number format"],
        ),
        (["A" * 101, "a@b.de", ""], {}, "invalid", ["First name is longer than 100 characters"]),
        (["A" * 100, "a@b.de", ""], {}, "", []),
    ],
)
def test_a_row_is_refused_with_every_fault(
    row: list[str], options: dict[str, Any], outcome: str, messages: list[str]
) -> None:
    """Rule 3 comes before rule 4, and rule 4 names all that is wrong."""
    batch = validated(row, **options)
    assert outcomes(batch) == [outcome]
    assert [fault.message for each in batch.refusals.values() for fault in each.faults] == messages


@pytest.mark.requirement("K-12")
@pytest.mark.parametrize(
    ("phone", "by_check"),
    [
        ("(415) 555-2671", {"strict": "", "lenient": "", "off": ""}),
        ("123-456-7890", {"strict": "invalid", "lenient": "", "off": ""}),
        ("555-2671", {"strict": "invalid", "lenient": "invalid", "off": ""}),
        ("call me", {"strict": "invalid", "lenient": "invalid", "off": ""}),
    ],
)
def test_a_phone_is_judged_by_the_jobs_check(phone: str, by_check: dict[str, str]) -> None:
    """Strict asks the library, lenient counts ten digits, off takes anything."""
    found = {check: outcomes(validated(["Ann", "a@b.de", phone], phone_check=check))[0] for check in by_check}
    assert found == by_check


def test_an_unreadable_phone_under_off_is_kept_and_is_no_identity() -> None:
    """The text stays, the E.164 form is empty."""
    batch = validated(["Ann", "", "call me"], phone_check="off")
    assert batch.columns["phone"] == ["call me"]
    assert batch.columns["phone_formatted"] == [""]


@pytest.mark.requirement("S0-015")
def test_a_file_without_the_required_column_refuses_every_row() -> None:
    """The door refuses such a file; whoever sends it past the door gets nothing stored."""
    batch = validated(["Ann", "4155552671"], columns=["first name", "phone"], required=["email"])
    assert outcomes(batch) == ["invalid"]
    assert outcomes(validated(["Ann"], columns=["first name"])) == ["no_identity"]
