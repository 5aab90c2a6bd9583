"""The preview's rows: the wizard's words for what is wrong, and no more of them than the state can hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ingress.commands.options import WIZARD, job_options, read_options
from ingress.commands.sample import ROWS_AT_ONCE, SAMPLE_BYTES, mapped_sample
from ingress.state import MAX_VALUE_BYTES

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def previewed(columns: list[str], rows: list[list[str]], mapping: Any, **more: Any) -> list[dict[str, Any]]:
    """The sample of these rows under a mapping."""
    options = job_options(read_options({"mapping": mapping}, WIZARD), WIZARD, NOW)
    return mapped_sample({"columns": columns, "sourceRows": rows, **more}, options)


def test_a_row_that_could_not_be_read_says_only_that() -> None:
    """Its values are not what the file's author meant, so nothing is said of them; numbers go on."""
    rows = [["a@example.com", "Ann"], ["x", ""], ["b@example.com", "Bob"]]
    mapping = {"Mail": "email", "Name": "firstName"}
    sample = previewed(["Mail", "Name"], rows, mapping, rowFaults={"1": "The quote is never closed."})
    assert [row["_rowIndex"] for row in sample] == [1, 2, 3]
    assert [row["_isValid"] for row in sample] == [True, False, True]
    assert sample[1]["_errors"] == ["The quote is never closed."]


def test_a_short_row_is_padded() -> None:
    """A mapped column that a row does not have is blank."""
    assert previewed(["Mail", "Name"], [["a@example.com"]], {"Name": "firstName"})[0]["firstName"] == ""


def test_without_a_mapping_the_usual_columns_are_found() -> None:
    """And shown under the wizard's names."""
    row = previewed(["E-Mail", "Vorname", "PLZ"], [["A@example.com", "Ann", "01234"]], {})[0]
    assert (row["email"], row["firstName"], row["zipCode"]) == ("a@example.com", "Ann", "01234")


def test_a_mapping_that_makes_much_of_little_keeps_fewer_rows() -> None:
    """What is shown fits into the state, whatever fixed values a mapping adds to each row."""
    fields = {f"custom_fields.f{number}": {"value": "x" * 900} for number in range(60)}
    rows = [["a@example.com"]] * 1000
    sample = previewed(["Mail"], rows, {"fields": {"email": "Mail", **fields}})
    assert ROWS_AT_ONCE <= len(sample) < 100
    assert SAMPLE_BYTES < len(msgspec.json.encode(sample)) < MAX_VALUE_BYTES / 2
