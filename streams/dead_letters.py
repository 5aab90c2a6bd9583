"""Messages that cannot be decoded, and batches with a row that raises: kept, counted, answered (D7)."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import structlog

from sluice.avro import Codec
from sluice.dead_letters import KEPT_KEY_BYTES, KEPT_VALUE_BYTES, dead_letter_headers, kept_headers
from sluice.envelope import Envelope, envelope_of
from sluice.events import FieldFault, ImportOptions, Refusal, RowsResolved
from sluice.outcome import Outcome
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_READ, ROWS_RESOLVED, Topic
from streams.batch import HASH_BYTES
from streams.sending import Sender

log = structlog.get_logger(__name__)

ARRIVALS_ANSWERED = 3
"""The sender sends a batch again that was not applied; at this arrival its rows are answered `failed`."""

# Batches that are counted at once; the oldest is forgotten, which costs it as many arrivals more.
_MAX_COUNTED = 10_000


class DeadLetters:
    """Sends to `<topic>.dlq`, and counts the arrivals of batches that nobody can read."""

    def __init__(self, sender: Sender, codec: Codec, telemetry: Telemetry) -> None:
        self._sender = sender
        self._codec = codec
        self._telemetry = telemetry
        self._arrivals: OrderedDict[tuple[uuid.UUID, int], int] = OrderedDict()

    async def bury(self, topic: Topic, message: Any, error: str, rows: str = "") -> None:
        """Keep a message's bytes, the error and where it came from; `rows` names the rows at fault."""
        value = message.value or b""
        headers = dead_letter_headers(
            headers_of(message),
            topic=topic,
            partition=message.partition,
            offset=message.offset,
            size_bytes=len(value),
            problem=error,
            by="streams",
            rows=rows,
        )
        await self._sender.send(
            topic.dead_letters,
            (message.key or b"")[:KEPT_KEY_BYTES],
            value[:KEPT_VALUE_BYTES],
            headers=[(name, held or b"") for name, held in headers],
        )
        self._telemetry.count("sluice_dead_letters_total", topic=topic.name)
        log.error(
            "dead_letter", topic=topic.name, partition=message.partition, offset=message.offset, error=error
        )

    async def bury_batch(self, message: Any, error: str) -> None:
        """Bury a batch that cannot be decoded; at its third arrival answer its rows as `failed`."""
        await self.bury(ROWS_READ, message, error)
        envelope = envelope_of(headers_of(message))
        if envelope is None or self._arrived(envelope) < ARRIVALS_ANSWERED:
            return
        answer = all_failed(envelope, read_at=int(message.timestamp * 1000))
        await self._sender.send(
            ROWS_RESOLVED.name,
            str(envelope.organization_id).encode(),
            self._codec.encode(ROWS_RESOLVED.name, answer),
            partition=message.partition,
            headers=headers_of(message),
        )

    def _arrived(self, envelope: Envelope) -> int:
        key = (envelope.job_id, envelope.batch_no)
        self._arrivals[key] = self._arrivals.pop(key, 0) + 1
        if len(self._arrivals) > _MAX_COUNTED:
            self._arrivals.popitem(last=False)
        return self._arrivals[key]


def all_failed(envelope: Envelope, read_at: int) -> RowsResolved:
    """The answer to a batch that nobody can read: every row `failed`, without its values.

    The options are not known and not needed: nothing of these rows is written. A last batch without rows may
    have said anything, so its job ends `failed`.
    """
    fault = FieldFault(
        field="",
        code="batch_unreadable",
        message="The row's batch was damaged on its way and is kept as a dead letter. Send the row again.",
        value="",
    )
    lost_end = envelope.is_last and not envelope.row_count
    return RowsResolved(
        organization_id=str(envelope.organization_id),
        job_id=str(envelope.job_id),
        run=envelope.run,
        lease_epoch=envelope.lease_epoch,
        batch_no=envelope.batch_no,
        applied_through=envelope.batch_no - 1,
        target="contacts",
        scope="",
        options=_NO_OPTIONS,
        first_row_no=envelope.first_row_no,
        fields=[],
        rows=[[] for _ in range(envelope.row_count)],
        lines=[envelope.start.line] * envelope.row_count,
        modified_at=[],
        refusals=[
            Refusal(index=index, outcome=Outcome.FAILED.value, faults=[fault])
            for index in range(envelope.row_count)
        ],
        marks=[],
        hints=bytes(envelope.row_count),
        hinted=b"",
        fingerprints=bytes(HASH_BYTES * envelope.row_count),
        start=envelope.start,
        end=envelope.end,
        is_last=envelope.is_last,
        end_state=("failed" if lost_end else "completed") if envelope.is_last else "",
        end_reason="The job's last batch was damaged on its way." if lost_end else "",
        read_at=read_at,
    )


_NO_OPTIONS = ImportOptions(
    on_duplicate="skip",
    match_on="email",
    dnc_policy="flag",
    phone_check="strict",
    mode="partial",
    dry_run=False,
    blanks="keep",
    region="US",
    required=[],
    missing_email=Outcome.INVALID.value,
    mapping=None,
    created_at=0,
)


def headers_of(message: Any) -> list[tuple[str, bytes]]:
    """A Faust message's headers, as far as they are passed on; a null value is empty."""
    held = message.headers or ()
    pairs = held.items() if isinstance(held, Mapping) else held
    return [(name, value or b"") for name, value in kept_headers(pairs)]
