"""Rows as the oracle reads them: the same values and the same refusals, without a server."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings

from streams.steps.normalize import normalize
from streams.steps.validate import validate
from tests.acceptance.generated import HEADERS, jobs
from tests.acceptance.oracle import Job, read_row
from tests.unit.streams.batches import make_read, run_steps

COMPARED = ("email", "phone", "phone_formatted", "other_emails", "other_phones", "tags", "first_name")

seen: Counter[str] = Counter()


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(jobs())
def test_the_oracle_reads_rows_the_same_way(job: Job) -> None:
    """Refused by both or by none, and value for value; what a cell has besides its identity, too."""
    rows = [{name: text.strip() for name, text in row.items()} for row in job.rows if row]
    columns = [HEADERS[name] for name in job.columns]
    cells = [[row[name] for name in job.columns] for row in rows]
    check, blanks = job.options.phone_check, job.options.blanks
    batch = run_steps(make_read(columns, cells, phone_check=check, blanks=blanks), [normalize, validate])
    for index, row in enumerate(rows):
        if not row["email"] and not row["phone"]:
            continue
        expected = read_row(row, job.options)
        assert (expected is None) == (index in batch.refusals)
        seen["refused" if expected is None else "read"] += 1
        if expected is None:
            continue
        given = {name.removeprefix("custom_fields."): texts[index] for name, texts in batch.columns.items()}
        for name in COMPARED:
            assert given.get(name, "") == expected.get(name, "")
            # Under blanks=clear an empty value and none at all are two things.
            assert job.options.blanks == "keep" or (name in given) == (name in expected)
        seen["several"] += bool(expected.get("other_emails") or expected.get("other_phones"))


def test_the_rows_were_worth_it() -> None:
    """Good rows, refused ones, and cells with several values."""
    assert min(seen["read"], seen["refused"], seen["several"]) > 50
