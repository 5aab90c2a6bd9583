"""The preview's rows: the wizard's words for what is wrong, and no more of them than the state can hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ingress.commands.options import WIZARD, job_options, read_options
from ingress.commands.sample import SAMPLE_BYTES, mapped_sample
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
    assert len(sample) == SAMPLE_BYTES // len(msgspec.json.encode(sample[-1]))
    assert len(msgspec.json.encode(sample)) <= SAMPLE_BYTES


def test_the_rows_go_into_the_state_with_the_rest_of_the_analysis() -> None:
    """However much is known of the file; where nothing goes beside it, the mapping stands without rows."""
    columns, rows = ["Mail"], [["a" * 1000 + "@example.com"]] * 1000
    for known, rooms in ((MAX_VALUE_BYTES - 1_500_000, True), (MAX_VALUE_BYTES, False)):
        facts = {"columnSummary": {"Mail": "x" * known}, "sampleRows": []}
        sample = previewed(columns, rows, {"Mail": "email"}, **facts)
        assert bool(sample) is rooms
        if rooms:
            whole = {"columns": columns, "sourceRows": rows, **facts, "sampleRows": sample}
            assert len(msgspec.json.encode(whole)) <= MAX_VALUE_BYTES


def test_all_rows_are_shown_where_they_go_in() -> None:
    """In order and once each, however many are judged at a time."""
    rows = [[f"p{number}@example.com"] for number in range(1000)]
    sample = previewed(["Mail"], rows, {"Mail": "email"})
    assert [row["email"] for row in sample] == [row[0] for row in rows]
    assert [row["_rowIndex"] for row in sample] == list(range(1, 1001))
