"""What the doors say: counters as sums of outcomes, errors in each door's form, no live formulas."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commands.errors_file import errors_file
from ingress.commands.jobs import Job
from ingress.commands.rows import RowResult
from ingress.doors.contacts_import import COUNTERS, MAX_ERRORS, answer
from ingress.doors.errors import error_response, serializer_of
from ingress.doors.v1_imports import job_json
from ingress.formats.corrected import ADDED
from ingress.formats.formulas import LIVE, harmless, original
from ingress.formats.parts import PartFormat
from ingress.openapi import document
from sluice.errors import DatabaseUnavailable, OptionInvalid, RateLimited
from sluice.events import FieldFault
from sluice.job import JobState
from sluice.outcome import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(state: JobState = JobState.COMPLETED, **changes: Any) -> Job:
    """A job with one row of each outcome."""
    facts: dict[str, Any] = {
        "id": uuid.UUID(int=1),
        "organization_id": uuid.UUID(int=2),
        "created_by": uuid.UUID(int=3),
        "door": "v1",
        "list_id": None,
        "filename": "a.csv",
        "file_bytes": 1000,
        "file_sha256": "",
        "options": {},
        "state": state,
        "reason": None,
        "run": 1,
        "applied_batch": 1,
        "position_bytes": 250,
        "rows_read": len(Outcome),
        "rows_staged": 0,
        "counts": dict.fromkeys(Outcome, 1),
        "created_at": NOW,
        "started_at": NOW,
        "completed_at": None,
        "cancel_requested": False,
    }
    return Job(**(facts | changes))


@pytest.mark.requirement("K-09", "S0-030")
def test_the_contacts_doors_counters_are_sums_of_outcomes() -> None:
    """As the table of docs/api.md says: every outcome in one counter, cancelled in none."""
    body = answer(job(), [], 12)
    assert (body["created"], body["updated"], body["skipped"], body["failed"]) == (1, 3, 4, 4)
    assert body["total"] == 12
    assert body["processingTimeMs"] == 12
    assert set(COUNTERS) == set(Outcome) - {Outcome.CANCELLED}
    assert body["outcomes"] == {outcome.value: 1 for outcome in Outcome}


def test_a_job_that_failed_is_no_success() -> None:
    """And its reason is told."""
    body = answer(job(JobState.FAILED, reason="The stored file was overwritten."), [], 1)
    assert (body["success"], body["status"]) == (False, "failed")
    assert body["message"] == "The stored file was overwritten."
    assert answer(job(JobState.PROCESSING), [], 1)["success"] is True


@pytest.mark.requirement("S0-031")
def test_no_more_than_a_thousand_errors_are_listed() -> None:
    """The rest is behind errorsUrl."""
    fault = FieldFault(field="email", code="c", message="m", value="v")
    rows = [RowResult(n, Outcome.INVALID, None, [fault, fault], (), None, None) for n in range(1, 900)]
    body = answer(job(), rows, 1)
    assert len(body["errors"]) == MAX_ERRORS
    assert body["errors"][0] == {"row": 1, "line": None, "field": "email", "code": "c", "message": "m"}
    assert body["errorsUrl"].endswith("/errors.csv")


def test_a_job_tells_its_rate_and_the_time_left() -> None:
    """From the rows and bytes behind the applied position; nothing is divided by zero."""
    running = job(JobState.PROCESSING)
    now = NOW + timedelta(seconds=2)
    assert running.rate(now) == 6.5
    assert running.eta_seconds(now) == 6.0
    assert running.progress == 25.0
    told = job_json(running, now)
    assert sum(told["counts"].values()) == told["rows_read"] == 13
    assert told["total_rows"] == 12
    fresh = job(JobState.PENDING, started_at=None, position_bytes=0, rows_read=0, file_bytes=0)
    assert (fresh.rate(now), fresh.eta_seconds(now), fresh.progress) == (0.0, None, 0.0)
    assert job(JobState.COMPLETED, completed_at=now).eta_seconds(now) == 0.0


@pytest.mark.requirement("K-19")
def test_errors_have_each_doors_form() -> None:
    """S4's object everywhere, with `success` on S0's path; Retry-After where it helps."""
    error = OptionInvalid(field="mode", value="x" * 500, allowed="partial or atomic")
    told = serializer_of("/v1/imports")(error, "req_1", NOW)
    assert told == {
        "error": {
            "code": "VALIDATION_ERROR",
            "message": error.message,
            "details": {"field": "mode", "value": "x" * 200, "constraint": "partial or atomic"},
            "timestamp": "2026-01-01T00:00:00.000Z",
            "requestId": "req_1",
        }
    }
    assert serializer_of("/api/contacts/import")(error, "req_1", NOW) == {
        "success": False,
        "status": "failed",
        **told,
    }
    assert error_response(RateLimited(retry_after_seconds=7), "/", "r", NOW).headers["Retry-After"] == "7"
    assert error_response(DatabaseUnavailable(), "/", "r", NOW).headers["Retry-After"] == "5"


CELLS = st.lists(st.one_of(st.sampled_from([*LIVE, "'"]), st.text(max_size=5)), max_size=5).map("".join)


@given(CELLS)
def test_no_cell_is_a_live_formula_and_none_is_lost(cell: str) -> None:
    """An apostrophe stands before what a spreadsheet would run, and comes off again."""
    written = harmless(cell)
    assert not written.startswith(LIVE)
    assert original(written) == cell


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_every_sign_that_starts_a_formula_is_stopped(sign: str) -> None:
    """The plain ones and their full-width forms; a cell that already has the apostrophe gets its own."""
    assert harmless(f"{sign}1") == f"'{sign}1"
    assert harmless(f"'{sign}1") == f"''{sign}1"


async def test_an_errors_file_without_rows_has_a_header() -> None:
    """Nothing was refused: there is a file all the same, and it is CSV."""

    async def nothing() -> AsyncIterator[RowResult]:
        none: list[RowResult] = []
        for row in none:
            yield row

    pieces = [piece async for piece in errors_file(uuid.UUID(int=1), PartFormat(), nothing())]
    text = b"".join(pieces).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text))) == [list(ADDED)]


async def test_a_long_errors_file_comes_in_pieces() -> None:
    """Never whole in memory, and every row in it once."""

    async def many() -> AsyncIterator[RowResult]:
        for number in range(1, 1001):
            yield RowResult(number, Outcome.INVALID, None, [], ("A",), [str(number)], number)

    pieces = [piece async for piece in errors_file(uuid.UUID(int=1), PartFormat(columns=["A"]), many())]
    assert len(pieces) > 3
    rows = list(csv.reader(io.StringIO(b"".join(pieces).decode("utf-8-sig"))))
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 1001)]


@pytest.mark.requirement("S4-117")
def test_the_description_speaks_of_every_path_and_resolves() -> None:
    """Every reference leads somewhere, every operation has an id of its own and says what a 401 is."""
    description = document()
    operations = [each for methods in description["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations) == 27
    assert all("401" in each["responses"] for each in operations)
    schemas = description["components"]["schemas"]
    for reference in _references(description):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_the_wizards_answers_are_described_whole() -> None:
    """What an analysis tells beside the document's fields, and why an import failed."""
    description = document()
    analysis = description["components"]["schemas"]["Analysis"]["properties"]
    assert {"proposals", "sheets", "notes", "encoding", "delimiter"} <= set(analysis["summary"]["properties"])
    assert "proposals" in analysis["progress"]["properties"]
    assert "proposals" not in analysis["progress"]["required"]
    failure = description["paths"]["/api/import"]["post"]["responses"]["500"]["content"]["application/json"]
    assert failure["schema"]["$ref"].endswith("/ImportFailure")
    assert "reason" in description["components"]["schemas"]["ImportFailure"]["properties"]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if "$ref" in value else []
        return found + [each for item in value.values() for each in _references(item)]
    return [each for item in value for each in _references(item)] if isinstance(value, list) else []
