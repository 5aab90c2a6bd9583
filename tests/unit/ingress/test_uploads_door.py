"""S4's answers: sums of outcomes whose arithmetic holds, four words for every state, and the template."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commands.rows import RowResult
from ingress.doors.uploads import (
    DUPLICATES,
    IMPORTED,
    INVALID,
    MAX_ERRORS,
    STATUSES,
    estimated_time,
    job_json,
    results,
)
from ingress.formats.opening import Asked, Kind, opener_of
from ingress.templates import COLUMNS, csv_template, xlsx_template
from sluice.events import FieldFault
from sluice.job import JobState
from sluice.outcome import Outcome
from sluice.values.headers import map_columns
from tests.unit.ingress.test_answers import job

COUNTS = st.fixed_dictionaries({outcome: st.integers(0, 10**9) for outcome in Outcome})


@pytest.mark.requirement("S4-045", "S4-046", "K-09")
@given(COUNTS)
def test_the_arithmetic_of_the_example_holds_for_every_job(counts: dict[Outcome, int]) -> None:
    """valid + invalid = total; imported = valid - duplicates; skipped = invalid + duplicates."""
    told = results(counts)
    assert told["validContacts"] + told["invalidContacts"] == told["totalRows"]
    assert told["imported"] == told["validContacts"] - told["duplicates"]
    assert told["skipped"] == told["invalidContacts"] + told["duplicates"]
    assert told["totalRows"] == sum(counts.values()) - counts[Outcome.CANCELLED]


@pytest.mark.requirement("S4-046")
def test_the_numbers_of_the_example_come_out() -> None:
    """1250 rows, 1180 valid, 70 invalid, 45 duplicates, 1135 imported, 115 skipped."""
    counts = dict.fromkeys(Outcome, 0) | {
        Outcome.CREATED: 1000,
        Outcome.UPDATED: 135,
        Outcome.DUPLICATE_IN_FILE: 40,
        Outcome.CONFLICT: 5,
        Outcome.INVALID: 60,
        Outcome.NO_IDENTITY: 10,
    }
    assert list(results(counts).values()) == [1250, 1180, 70, 45, 1135, 115]


@pytest.mark.requirement("K-09")
def test_every_outcome_is_in_one_counter() -> None:
    """But cancelled rows, which are in none."""
    assert sorted([*IMPORTED, *DUPLICATES, *INVALID]) == sorted(set(Outcome) - {Outcome.CANCELLED})


@pytest.mark.requirement("K-08")
def test_every_state_is_one_of_four_words() -> None:
    """As the published table says."""
    assert set(STATUSES) == set(JobState)
    assert set(STATUSES.values()) == {"pending", "processing", "completed", "failed"}


@pytest.mark.requirement("S4-044")
def test_a_job_is_told_in_the_documents_words() -> None:
    """The example's keys; as many faults as an answer may hold, each with its row and value."""
    fault = FieldFault(field="phone", code="p", message="Invalid phone number format", value="555-CALL")
    whole = FieldFault(field="", code="too_many_cells", message="The row has 9 cells.", value="")
    refused = [RowResult(15, Outcome.INVALID, None, [fault, whole], (), None, None)] * MAX_ERRORS
    told = job_json(job(), refused)
    assert {"id", "filename", "status", "progress", "results", "validationErrors"} <= set(told)
    assert told["createdAt"] == "2026-01-01T00:00:00.000Z"
    assert told["completedAt"] is None
    assert told["validationErrors"][:2] == [
        {"row": 15, "error": "Invalid phone number format", "data": {"phone": "555-CALL"}},
        {"row": 15, "error": "The row has 9 cells.", "data": {}},
    ]
    assert len(told["validationErrors"]) == MAX_ERRORS


@pytest.mark.requirement("S4-043")
def test_the_time_that_a_file_takes_is_told_as_text() -> None:
    """In minutes, from its size."""
    assert estimated_time(1_024_000) == "less than 1 minute"
    assert estimated_time(60_000_000) == "2-3 minutes"


@pytest.mark.requirement("S4-047")
def test_the_csv_template_is_the_documents_header() -> None:
    """And nothing else, not even a byte order mark."""
    assert csv_template() == b"first_name,last_name,phone,email,company,title,address,city,state,zip\n"


@pytest.mark.requirement("S4-047")
def test_the_workbook_template_opens_with_the_same_columns(tmp_path: Path) -> None:
    """As a workbook of one sheet that has a row below it; the same bytes each time."""
    assert xlsx_template() == xlsx_template()
    path = tmp_path / "template.xlsx"
    path.write_bytes(xlsx_template())
    table = opener_of(Kind.XLSX)(path, Asked())
    assert (table.columns, table.sheets) == (COLUMNS, ("Contacts",))
    assert list(table.rows) == []


def test_every_column_of_the_template_is_recognised() -> None:
    """A person who fills it in maps nothing."""
    assert map_columns(COLUMNS).fields == COLUMNS
