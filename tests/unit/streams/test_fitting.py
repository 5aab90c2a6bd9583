"""A batch that grew too large still becomes one message."""

from __future__ import annotations

import pytest

from sluice.avro import Codec, parsed_schema
from sluice.events import RowsResolved
from sluice.topics import ROWS_RESOLVED
from streams.batch import resolved
from streams.fitting import LARGEST_VALUE_BYTES, encode_fitting
from streams.pipeline import STEPS
from tests.unit.streams.batches import look_ups, make_read, run_steps

CODEC = Codec({ROWS_RESOLVED.name: 1}, {1: parsed_schema(ROWS_RESOLVED.name)})


def fitted(columns: list[str], rows: list[list[str]]) -> RowsResolved:
    batch = run_steps(make_read(columns, rows), STEPS, look_ups())
    value = encode_fitting(CODEC, batch)
    assert len(value) <= LARGEST_VALUE_BYTES
    return CODEC.decode(ROWS_RESOLVED.name, RowsResolved, value)


def test_a_usual_batch_is_sent_as_it_is() -> None:
    """Nothing is cut where nothing need be."""
    batch = run_steps(make_read(["email"], [["a@b.de"], ["nobody"]]), STEPS, look_ups())
    assert encode_fitting(CODEC, batch) == CODEC.encode(ROWS_RESOLVED.name, resolved(batch))


def test_faults_go_before_rows() -> None:
    """500 rows with many long faults keep their outcome, with the first of them."""
    columns = ["first name", "last name", "company", "title", "city", "state", "zip", "email"]
    out = fitted(columns, [["x" * 150] * 8] * 500)
    assert {len(each.faults) for each in out.refusals} == {1}
    assert {each.outcome for each in out.refusals} == {"invalid"}
    assert all(row[0] for row in out.rows)


@pytest.mark.parametrize("sizes", [[600_000, 600_000, 10], [1_200_000], [300_000] * 5])
def test_the_largest_rows_fail(sizes: list[int]) -> None:
    """The others come through, and every row is answered."""
    out = fitted(["email", "notes"], [[f"p{i}@b.de", "x" * size] for i, size in enumerate(sizes)])
    failed = {each.index for each in out.refusals if each.outcome == "failed"}
    assert failed
    assert len(out.rows) == len(out.hints) == len(sizes)
    assert all(bool(row[0]) is (index not in failed) for index, row in enumerate(out.rows))
    assert sum(size for index, size in enumerate(sizes) if index not in failed) <= LARGEST_VALUE_BYTES


def test_a_header_too_large_fails_the_batch() -> None:
    """Then there is nothing to keep but the answer."""
    out = fitted(["email", "x" * 1_200_000], [["a@b.de", "y"]])
    assert [each.outcome for each in out.refusals] == ["failed"]
    assert out.fields == []
