"""RowsRead as bytes in two pieces: a head that changes when a batch is sent again, and a tail that does not.

The fields up to `applied_through` come first in the schema; so the rows, encoded once, are never encoded
again. Together the pieces are what `Codec.encode` makes of a RowsRead; a test holds them to it.
"""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import fastavro

from ingress.formats.rows import Position
from ingress.reading.batches import Cut, Exclusions
from ingress.reading.job import LeasedJob, StoredOptions, event_options, event_position
from sluice.avro import Codec, parsed_schema
from sluice.events import to_avro
from sluice.topics import ROWS_READ

TARGET, SCOPE = "contacts", ""

HEAD_FIELDS = ("organization_id", "job_id", "run", "lease_epoch", "batch_no", "applied_through")

Headers = list[tuple[str, bytes]]


def _schema_of(fields: list[Any], name: str) -> Any:
    return fastavro.parse_schema(
        {"type": "record", "name": name, "namespace": "sluice.reader", "fields": fields}
    )


_FIELDS: list[Any] = parsed_schema(ROWS_READ.name)["fields"]
_HEAD = _schema_of(_FIELDS[: len(HEAD_FIELDS)], "Head")
_TAIL = _schema_of(_FIELDS[len(HEAD_FIELDS) :], "Tail")
assert tuple(field["name"] for field in _FIELDS[: len(HEAD_FIELDS)]) == HEAD_FIELDS


class Messages:
    """Makes the messages of one leased job: key, value and headers."""

    def __init__(self, job: LeasedJob, codec: Codec) -> None:
        self.key = str(job.organization_id).encode()
        self._prefix = codec.prefix(ROWS_READ.name)
        self._facts: dict[str, Any] = {
            "organization_id": str(job.organization_id),
            "job_id": str(job.id),
            "run": job.run,
            "lease_epoch": job.lease_epoch,
        }

    def value(self, tail: bytes, batch_no: int, applied_through: int) -> bytes:
        """The message's value, from its tail."""
        head = {**self._facts, "batch_no": batch_no, "applied_through": applied_through}
        out = io.BytesIO()
        out.write(self._prefix)
        fastavro.schemaless_writer(out, _HEAD, head)
        out.write(tail)
        return out.getvalue()

    def headers(self, cut: Cut, batch_no: int) -> Headers:
        """What tells of the batch even when its value cannot be decoded (D1)."""
        facts = {
            **self._facts,
            "batch_no": batch_no,
            "first_row_no": cut.start.row_no,
            "row_count": cut.row_count,
            "start": position_text(cut.start),
            "end": position_text(cut.end),
            "is_last": "true" if cut.ending else "false",
        }
        return [(name, str(value).encode()) for name, value in facts.items()]


class Tails:
    """Encodes the part of the messages that never changes, under the options of one job."""

    def __init__(self, options: StoredOptions, created_at: datetime) -> None:
        self._exclusions = Exclusions(options.exclude_rows)
        self._options = to_avro(event_options(options, created_at))

    def tail(self, cut: Cut, read_at: int) -> bytes:
        """One batch; `read_at` in milliseconds since 1970."""
        faults = cut.chunk.faults if cut.chunk else []
        record = {
            "target": TARGET,
            "scope": SCOPE,
            "options": self._options,
            "first_row_no": cut.start.row_no,
            "columns": list(cut.columns),
            "rows": cut.chunk.rows if cut.chunk else [],
            "lines": cut.chunk.lines if cut.chunk else [],
            "faults": [{"index": f.index, "code": f.code, "message": f.message} for f in faults],
            "excluded": self._exclusions.indexes(cut.start.row_no, cut.row_count),
            "start": to_avro(event_position(cut.start)),
            "end": to_avro(event_position(cut.end)),
            "is_last": cut.ending is not None,
            "end_state": cut.ending.state if cut.ending else "",
            "end_reason": cut.ending.reason if cut.ending else "",
            "read_at": read_at,
        }
        out = io.BytesIO()
        fastavro.schemaless_writer(out, _TAIL, record)
        return out.getvalue()


def position_text(position: Position) -> str:
    """A position as headers carry it: part:byte:line:row."""
    return f"{position.part_no}:{position.byte_offset}:{position.line}:{position.row_no}"
