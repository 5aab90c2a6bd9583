"""A decoded message is believed only as far as its parts agree; groups keep what must be alone alone."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from asyncpg import exceptions as refused
from asyncpg.exceptions._base import DataError as ValueUnsendable

from sinks.batch import (
    Arrival,
    Batch,
    Hint,
    Job,
    Position,
    Unreadable,
    batch_of,
    from_milliseconds,
    to_milliseconds,
)
from sinks.bookkeeping import Verdict, admit, faults_json, images_bytes, images_from
from sinks.refusals import Cause, cause_of
from sinks.worker import groups_of
from sluice.envelope import envelope_of
from sluice.errors import MessageUndecodable, RowRejected
from sluice.job import JobState, new_job_id
from sluice.outcome import FieldFault, Outcome
from tests.integration.sink_topics import headers_of
from tests.integration.sink_world import Given, ImportJob, message_of, options

IMPORT = ImportJob(new_job_id(), uuid.uuid4(), options())
ROWS = [Given({"email": "a@x.com"}), Given({"email": "b@x.com"}, refused=Outcome.INVALID)]


def batch(end: str = "", **given: Any) -> Batch:
    job = ImportJob(IMPORT.id, IMPORT.organization_id, options(**given))
    return batch_of(message_of(job, ROWS, [(Hint.NEW, b""), (Hint.NONE, b"")], end), Position(0, 7), b"")


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": [["a"], ["b", "c"]]},
        {"fields": ["status"]},
        {"fields": []},
        {"lines": [1]},
        {"modified_at": [0]},
        {"hints": b"\x01"},
        {"hints": b"\x01\x09"},
        {"hints": b"\x02\x00"},
        {"fingerprints": b""},
        {"first_row_no": 0},
        {"first_row_no": 1 << 32},
        {"target": "campaigns"},
        {"job_id": "nobody"},
        {"is_last": True, "end_state": "paused"},
        {"options": msgspec.structs.replace(options(), on_duplicate="guess")},
        {"options": msgspec.structs.replace(options(), created_at=1 << 62)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_message_that_contradicts_itself_is_undecodable(changes: dict[str, Any]) -> None:
    """It becomes a dead letter; nothing of it is guessed."""
    message = msgspec.structs.replace(batch().message, **changes)
    with pytest.raises(MessageUndecodable):
        batch_of(message, Position(0, 0), b"")


def test_a_row_cannot_be_refused_as_created() -> None:
    """The stream settles refusals only; what is written is for the sink to say."""
    message = batch().message
    refusal = msgspec.structs.replace(message.refusals[0], outcome="created")
    with pytest.raises(MessageUndecodable):
        batch_of(msgspec.structs.replace(message, refusals=[refusal]), Position(0, 0), b"")


def test_the_last_batch_of_a_staged_job_is_a_group_of_its_own() -> None:
    """What comes before it goes before it, what comes after goes after; nothing is lost or reordered."""
    plain, last = batch(), batch("completed", mode="atomic")
    unread = Unreadable(Position(0, 1), None, None, [], "")
    arrivals: list[Arrival] = [plain, unread, last, plain, batch("completed", dry_run=True)]
    assert groups_of(arrivals) == [arrivals[:2], arrivals[2:3], arrivals[3:4], arrivals[4:]]
    assert len(groups_of([plain, batch("completed"), plain])) == 1


def job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "id": IMPORT.id,
        "organization_id": IMPORT.organization_id,
        "created_by": uuid.uuid4(),
        "target_list_id": None,
        "options": {},
        "state": JobState.PROCESSING,
        "reason": None,
        "cancel_requested": False,
        "run": 1,
        "lease_epoch": 1,
        "applied_batch": 0,
        "created_at": from_milliseconds(0),
    }
    return Job(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "end", "verdict"),
    [
        ({}, "", Verdict.APPLY),
        ({"applied_batch": 1}, "", Verdict.REPEATED),
        ({"applied_batch": 1, "lease_epoch": 9}, "", Verdict.REPEATED),
        ({"lease_epoch": 9}, "", Verdict.DROPPED),
        ({"run": 2}, "", Verdict.DROPPED),
        ({"state": JobState.CANCELLED}, "", Verdict.DROPPED),
        ({"organization_id": uuid.uuid4()}, "", Verdict.DROPPED),
        ({"cancel_requested": True}, "", Verdict.CANCEL),
        ({"options": {"mode": "atomic"}}, "", Verdict.STAGE),
        ({"options": {"dry_run": True}}, "completed", Verdict.JUDGE),
        ({"options": {"dry_run": True}}, "failed", Verdict.CANCEL),
        ({}, "failed", Verdict.APPLY),
    ],
)
def test_a_batch_is_admitted_by_its_job(changes: dict[str, Any], end: str, verdict: Verdict) -> None:
    """By organization, number, lease, run and state; a batch of no job is dropped."""
    known = job(**changes)
    before = known.applied_batch
    assert admit(batch(end), known) is verdict
    counted = verdict not in (Verdict.REPEATED, Verdict.DROPPED)
    assert known.applied_batch == before + counted
    assert admit(batch(end), None) is Verdict.DROPPED


def test_the_second_copy_in_a_group_is_a_repeat() -> None:
    """Admission counts as it goes, so a copy beside its original has no effect."""
    known = job()
    assert [admit(batch(), known), admit(batch(), known)] == [Verdict.APPLY, Verdict.REPEATED]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (refused.UniqueViolationError("x"), Cause.CHANGED),
        (refused.ForeignKeyViolationError("x"), Cause.CHANGED),
        (refused.DeadlockDetectedError("x"), Cause.CONTENDED),
        (refused.SerializationError("x"), Cause.CONTENDED),
        (ValueUnsendable("value out of int32 range"), Cause.ROW),
        (refused.QueryCanceledError("x"), Cause.OUTAGE),
        (refused.LockNotAvailableError("x"), Cause.OUTAGE),
        (refused.CheckViolationError("x"), Cause.ROW),
        (refused.StringDataRightTruncationError("x"), Cause.ROW),
        (refused.ProgramLimitExceededError("x"), Cause.ROW),
        (RowRejected(problem="x"), Cause.ROW),
        (refused.DiskFullError("x"), Cause.OUTAGE),
        (refused.AdminShutdownError("x"), Cause.OUTAGE),
        (refused.UndefinedColumnError("x"), Cause.OUTAGE),
        (refused.ReadOnlySQLTransactionError("x"), Cause.OUTAGE),
        (refused.InterfaceError("x"), Cause.OUTAGE),
        (refused.InternalClientError("cannot switch to state 12"), Cause.OUTAGE),
        (ConnectionResetError(), Cause.OUTAGE),
        (TimeoutError(), Cause.OUTAGE),
        (KeyError("x"), Cause.OWN),
    ],
)
def test_an_outage_is_never_a_bad_row_and_a_bad_row_never_an_outage(error: Exception, cause: Cause) -> None:
    """The class of the SQLSTATE decides; what is not the database's is ours."""
    assert cause_of(error) is cause


@pytest.mark.parametrize("name", ["job_id", "batch_no", "row_count", "start"])
def test_headers_name_a_batch_or_nothing(name: str) -> None:
    """A message whose headers are damaged too is a dead letter and no answer."""
    whole = [(key, str(value).encode()) for key, value in headers_of(batch("completed").message)]
    named = envelope_of(whole)
    assert named is not None
    assert (named.job_id, named.batch_no, named.row_count, named.is_last) == (IMPORT.id, 1, 2, True)
    assert named.start == batch().message.start
    damaged: list[tuple[str, bytes | None]] = [
        (key, b"\xff" if key == name else value) for key, value in whole
    ]
    assert envelope_of(damaged) is None


def test_stored_forms_are_read_back() -> None:
    """Images keep the order of their values, times their millisecond, faults every field."""
    images = {3: (7, ["b", "a"], {"b": "1", "a": "2"})}
    assert {
        index: (version, list(changed), list(values.items()))
        for index, (version, changed, values) in images_from(images_bytes(images)).items()
    } == {3: (7, ["b", "a"], [("b", "1"), ("a", "2")])}
    assert images_from(images_bytes({})) == {}
    assert to_milliseconds(from_milliseconds(1_767_225_600_123)) == 1_767_225_600_123
    assert msgspec.json.decode(faults_json({0: [FieldFault("email", "c", "m\x00", "v")]})) == {
        "0": [{"field": "email", "code": "c", "message": "m\ufffd", "value": "v"}]
    }
