"""Dead letters: kept whole, counted, and answered when nothing else will come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sluice.avro import Codec, parsed_schema
from sluice.envelope import envelope_of
from sluice.events import RowsResolved
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_READ, ROWS_RESOLVED
from streams.dead_letters import DeadLetters, headers_of
from tests.unit.streams.batches import JOB, ORGANIZATION, Sent

HEADERS = {
    "job_id": str(JOB), "organization_id": ORGANIZATION, "run": "2", "lease_epoch": "3", "batch_no": "5",
    "first_row_no": "2001", "row_count": "2", "is_last": "true",
    "start": "1:100:7:2001", "end": "1:200:9:2003",
}  # fmt: skip
CODEC = Codec({ROWS_RESOLVED.name: 1}, {1: parsed_schema(ROWS_RESOLVED.name)})


def message(**headers: str) -> Any:
    """A message as Faust hands it over."""
    pairs = [(name, text.encode()) for name, text in {**HEADERS, **headers}.items()]
    return SimpleNamespace(
        key=ORGANIZATION.encode(), value=b"noise", headers=pairs, partition=3, offset=42, timestamp=1.5
    )


async def test_a_dead_letter_keeps_bytes_headers_and_where_it_came_from() -> None:
    """Enough to see what happened, and to send it again."""
    sent = Sent()
    await DeadLetters(sent, CODEC, Telemetry("test")).bury(ROWS_READ, message(), "Why.", rows="7,9")
    ((topic, key, value, headers),) = sent.messages
    assert (topic, key, value) == (ROWS_READ.dead_letters, ORGANIZATION.encode(), b"noise")
    assert headers["batch_no"] == b"5"
    assert {name: text for name, text in headers.items() if name.startswith("dead_letter")} == {
        "dead_letter_error": b"Why.",
        "dead_letter_topic": b"imports.rows-read.v1",
        "dead_letter_partition": b"3",
        "dead_letter_offset": b"42",
        "dead_letter_by": b"streams",
        "dead_letter_rows": b"7,9",
    }


async def test_the_third_arrival_is_answered() -> None:
    """And every one after it, for the answer may be lost as well."""
    sent = Sent()
    letters = DeadLetters(sent, CODEC, Telemetry("test"))
    for _ in range(2):
        await letters.bury_batch(message(), "Why.")
    await letters.bury_batch(message(batch_no="6"), "Why.")
    assert {topic for topic, *_ in sent.messages} == {ROWS_READ.dead_letters}
    for _ in range(2):
        await letters.bury_batch(message(), "Why.")
    answers = [value for topic, _, value, _ in sent.messages if topic == ROWS_RESOLVED.name]
    assert len(answers) == 2
    answer = CODEC.decode(ROWS_RESOLVED.name, RowsResolved, answers[0])
    assert (answer.job_id, answer.run, answer.batch_no, answer.lease_epoch) == (str(JOB), 2, 5, 3)
    assert [each.outcome for each in answer.refusals] == ["failed", "failed"]
    assert (answer.end.row_no, answer.is_last, answer.end_state) == (2003, True, "completed")


async def test_a_last_batch_without_rows_ends_its_job_failed() -> None:
    """It may have said cancelled or failed: nobody knows, and completed would be a guess."""
    sent = Sent()
    letters = DeadLetters(sent, CODEC, Telemetry("test"))
    for _ in range(3):
        await letters.bury_batch(message(row_count="0"), "Why.")
    answer = CODEC.decode(ROWS_RESOLVED.name, RowsResolved, sent.messages[-1][2])
    assert (answer.end_state, bool(answer.end_reason)) == ("failed", True)


@pytest.mark.parametrize(
    "broken",
    [
        {"job_id": "x"},
        {"batch_no": "0"},
        {"batch_no": "one"},
        {"row_count": "501"},
        {"row_count": "-1"},
        {"start": "1:2:3"},
        {"end": "a:b:c:d"},
        {"end": "1:-2:3:4"},
        {"run": "9" * 30},
        {"first_row_no": "-1"},
        {"lease_epoch": str(1 << 63)},
    ],
)
def test_headers_that_make_no_batch_are_not_answered(broken: dict[str, str]) -> None:
    """Whoever wrote them was not the reader."""
    assert envelope_of(headers_of(message(**broken))) is None
    assert envelope_of([]) is None


def test_headers_may_be_absent_or_null() -> None:
    """Kafka allows both."""
    assert headers_of(SimpleNamespace(headers=None)) == []
    assert headers_of(SimpleNamespace(headers={"a": None})) == [("a", b"")]


async def test_a_dead_letter_fits_into_a_message() -> None:
    """Whatever is too large in a message is cut, and the letter says so; else it could never be sent."""
    sent = Sent()
    huge = message(note="x" * 2_000_000)
    huge.key, huge.value = b"k" * 2_000_000, b"v" * 3_000_000
    await DeadLetters(sent, CODEC, Telemetry("test")).bury(ROWS_READ, huge, "Why. " * 100_000)
    ((_, key, value, headers),) = sent.messages
    assert headers["dead_letter_cut_from_bytes"] == b"3000000"
    assert headers["batch_no"] == b"5"
    taken = len(key) + len(value) + sum(len(name) + len(text) for name, text in headers.items())
    assert taken < 1_048_588
