"""Batches that nobody can decode: dead letters, and an answer the third time (D7).

The sender sends a batch again until it is answered. So that no job hangs on one broken message, the rows that
the headers name end as `failed` when the batch has arrived undecodable three times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sinks.batch import Arrival, Batch, Unreadable, batch_of, to_milliseconds
from sinks.queries import SQL
from sinks.reading import Connection
from sluice.avro import Codec
from sluice.envelope import Envelope, envelope_of
from sluice.errors import MessageUndecodable
from sluice.events import FieldFault, ImportOptions, Refusal, RowsResolved
from sluice.job import JobState
from sluice.outcome import Outcome
from sluice.topics import ROWS_RESOLVED

ARRIVALS = 3
"""The arrival at which an undecodable batch is answered."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """Turns what arrived into batches: readable ones as they are, others when it is time to answer them."""

    codec: Codec

    async def batches(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[Batch]:
        """The batches of a group, in order of arrival."""
        batches = []
        for arrival in arrivals:
            found = arrival if isinstance(arrival, Batch) else await self._answer(connection, arrival)
            if found is not None:
                batches.append(found)
        return batches

    async def _answer(self, connection: Connection, message: Unreadable) -> Batch | None:
        named = envelope_of(message.headers) if message.names_a_batch else None
        if named is None:
            return None
        seen = await connection.fetchval(
            SQL["count_undecodable"],
            named.job_id,
            named.organization_id,
            named.batch_no,
            message.position.partition,
            message.position.offset,
        )
        if seen is None or seen < ARRIVALS:
            return None
        job = await connection.fetchrow(SQL["job_options"], named.job_id, named.organization_id)
        if job is None:
            return None
        options = _options(msgspec.json.decode(job["options"]), to_milliseconds(job["created_at"]))
        event = _refused(named, options)
        data = self.codec.encode(ROWS_RESOLVED.name, event)
        try:
            return batch_of(event, message.position, data)
        except MessageUndecodable:
            return None


def _options(stored: Mapping[str, object], created_at: int) -> ImportOptions:
    return ImportOptions(
        on_duplicate="skip",
        match_on="email",
        dnc_policy="flag",
        phone_check="off",
        mode=str(stored.get("mode") or "partial"),
        dry_run=bool(stored.get("dry_run")),
        blanks="keep",
        region="US",
        required=[],
        missing_email="invalid",
        mapping=None,
        created_at=created_at,
    )


def _refused(named: Envelope, options: ImportOptions) -> RowsResolved:
    """The batch with every row refused."""
    message = "The row's batch was damaged on its way and is kept as a dead letter. Send the row again."
    fault = FieldFault(field="", code="batch_unreadable", message=message, value="")
    rows = named.row_count
    end_state, end_reason = "", ""
    if named.is_last:
        end_state = JobState.COMPLETED.value
        if not rows:
            # It may have said anything, and there is no row to show that something is missing.
            end_state, end_reason = JobState.FAILED.value, "The job's last batch was damaged on its way."
    return RowsResolved(
        organization_id=str(named.organization_id),
        job_id=str(named.job_id),
        run=named.run,
        lease_epoch=named.lease_epoch,
        batch_no=named.batch_no,
        applied_through=named.batch_no - 1,
        target="contacts",
        scope="",
        options=options,
        first_row_no=named.first_row_no,
        fields=[],
        rows=[[] for _ in range(rows)],
        lines=[named.start.line] * rows,
        modified_at=[],
        refusals=[
            Refusal(index=index, outcome=Outcome.FAILED.value, faults=[fault]) for index in range(rows)
        ],
        marks=[],
        hints=bytes(rows),
        hinted=b"",
        fingerprints=bytes(16 * rows),
        start=named.start,
        end=named.end,
        is_last=named.is_last,
        end_state=end_state,
        end_reason=end_reason,
        read_at=options.created_at,
    )
