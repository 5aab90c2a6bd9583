"""What reading costs: CPU per row from stored bytes to encoded messages, without the network's share.

python -m tests.benchmarks.reader_stage
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from ingress.formats.inspect import inspect_head
from ingress.formats.parts import FirstRow, PartFormat
from ingress.formats.rows import Position
from ingress.reading.batches import Limits, cuts
from ingress.reading.encoding import Messages, Tails
from ingress.reading.job import LeasedJob, Part, StoredOptions
from ingress.reading.source import Source
from sluice.avro import Codec, parsed_schema
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_READ

# Twelve fields, as in the measurements of the design.
COLUMNS = "email,first_name,last_name,phone,company,title,address,city,state,zip,country,notes"


@dataclass(frozen=True, slots=True)
class ReaderStage:
    """Microseconds of CPU for each row: cut from the file, encoded with the schema, and both."""

    rows: int
    reading: float
    encoding: float

    @property
    def total(self) -> float:
        """The stage's whole share."""
        return self.reading + self.encoding


class _Stored:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, key: str, etag: str, start: int, end: int) -> bytes:
        return self._data[start:end]


def contacts(rows: int) -> bytes:
    """A file of contacts with twelve columns."""
    lines = [
        f"person{n}@example.com,Per{n % 700},Son{n % 9000},+1 415 555 {n % 10_000:04},"
        f"Company {n % 300},Buyer,{n % 2000} Main Street,Springfield,CA,9{n % 10_000:04},US,"
        for n in range(rows)
    ]
    return "\r\n".join([COLUMNS, *lines, ""]).encode()


def measure(rows: int = 100_000) -> ReaderStage:
    """Run the stage once over so many rows."""
    return asyncio.run(_measure(rows))


async def _measure(rows: int) -> ReaderStage:
    data = contacts(rows)
    head = inspect_head(data, complete=True)
    part = Part(
        part_no=1,
        object_key="contacts.csv",
        etag="1",
        size_bytes=len(data),
        format=PartFormat(
            columns=list(head.columns),
            encoding=head.dialect.encoding,
            delimiter=head.dialect.delimiter,
            first=FirstRow(byte_offset=head.first.byte_offset, line=head.first.line),
        ),
    )
    job = LeasedJob(
        UUID(int=1),
        UUID(int=2),
        1,
        1,
        0,
        Position(1, 0, 0, 1),
        False,
        {},
        [],
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    codec = Codec({ROWS_READ.name: 1}, {1: parsed_schema(ROWS_READ.name)})
    tails, messages = Tails(StoredOptions(), job.created_at), Messages(job, codec)
    source = Source(_Stored(data), Telemetry("reader"))
    encoding, read, number = 0.0, 0, 0
    started = time.process_time()
    async for cut in cuts([part], job.position, source, Limits(500, 512 * 1024, rows)):
        before = time.process_time()
        number += 1
        messages.value(tails.tail(cut, 0), number, 0)
        messages.headers(cut, number)
        encoding += time.process_time() - before
        read += cut.row_count
    total = time.process_time() - started
    assert read == rows
    return ReaderStage(rows, (total - encoding) / rows * 1e6, encoding / rows * 1e6)


def main() -> None:
    """Print the best of three runs as JSON."""
    best = min((measure() for _ in range(3)), key=lambda stage: stage.total)
    print(
        json.dumps(
            {
                "stage": "reader",
                "rows": best.rows,
                "reading_us": round(best.reading, 2),
                "encoding_us": round(best.encoding, 2),
                "total_us": round(best.total, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
