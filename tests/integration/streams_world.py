"""The streams role in processes of its own, and a small reader that sends batches until they come out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from cli.local.ports import free_ports
from sluice.avro import Codec, load_codec
from sluice.broker import make_follower, make_producer, partition_of
from sluice.events import ImportOptions, RowsRead, RowsResolved, SourcePosition
from sluice.topics import PARTITIONS, ROWS_READ, ROWS_RESOLVED
from tests.integration.stack import Servers

COLUMNS = ["First Name", "Email", "Phone", "City"]
OPTIONS: Mapping[str, Any] = {
    "on_duplicate": "overwrite", "match_on": "email", "dnc_policy": "flag", "phone_check": "strict",
    "mode": "partial", "dry_run": False, "blanks": "keep", "region": "US", "required": [],
    "missing_email": "invalid", "mapping": None, "created_at": 1,
}  # fmt: skip

_PROGRAM = "from sluice.settings import load_settings; from streams.app import run; run(load_settings())"


class Worker:
    """One process of the streams role. Its directory outlives it."""

    def __init__(self, stack: Servers, directory: Path, instance: str = "0", **environment: str) -> None:
        self.directory = directory / f"streams-{instance}"
        (self._port,) = free_ports(1)
        self._log = directory / f"{instance}.log"
        self._environment = {
            **os.environ,
            **stack.env,
            "INSTANCE": instance,
            "METRICS_PORT": str(self._port),
            "SLUICE_STATE_DIR": str(directory),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return at once."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM], env=self._environment, stdout=log, stderr=log
            )

    async def start_ready(self, timeout_seconds: float = 60) -> None:
        """Start it, and return when it answers that it is ready."""
        self.start()
        await eventually(lambda: self.health() is not None, timeout_seconds, "the worker is ready", self)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code. Safe to repeat."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def health(self) -> dict[str, Any] | None:
        """What `/health` answers, None while it is not ready or does not answer."""
        body = self._get("health")
        return None if body is None else json.loads(body)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; `name` may end in some of them."""
        lines = (self._get("metrics") or b"").decode().splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def log(self) -> str:
        """What it wrote, for a failing test."""
        return self._log.read_text(errors="replace")[-3000:]

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None


async def eventually(
    holds: Callable[[], bool], timeout_seconds: float, what: str, worker: Worker | None = None
) -> None:
    """Return when `holds` does; AssertionError, with the worker's log, if it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not await asyncio.to_thread(holds):
        log = worker.log() if worker else ""
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}\n{log}"
        await asyncio.sleep(0.05)


class Reader:
    """Sends the batches of jobs and reads what comes out, as the reader and the sink would (D13)."""

    def __init__(self, codec: Codec, producer: AIOKafkaProducer, consumer: AIOKafkaConsumer) -> None:
        self.codec = codec
        self.producer = producer
        self._consumer = consumer
        # What came out, by job and batch: each copy.
        self.records: dict[tuple[str, int], list[ConsumerRecord]] = {}
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self._consumer.stop()
        await self.producer.stop()

    async def _follow(self) -> None:
        async for record in self._consumer:
            event = self.codec.decode(ROWS_RESOLVED.name, RowsResolved, record.value)
            self.records.setdefault((event.job_id, event.batch_no), []).append(record)

    async def send(self, batch: RowsRead) -> None:
        """Send one batch once."""
        await self.send_bytes(batch, self.codec.encode(ROWS_READ.name, batch))

    async def send_bytes(self, batch: RowsRead, value: bytes) -> None:
        """Send these bytes in the envelope of a batch."""
        await self.producer.send_and_wait(
            ROWS_READ.name, value, key=batch.organization_id.encode(), headers=headers_of(batch)
        )

    async def resolve(self, batch: RowsRead, timeout_seconds: float = 30) -> RowsResolved:
        """Send one batch and wait for it to come out once more."""
        key = (batch.job_id, batch.batch_no)
        before = len(self.records.get(key, ()))
        await self.send(batch)
        await eventually(lambda: len(self.records.get(key, ())) > before, timeout_seconds, f"{key} comes out")
        return self.resolved(*key)[-1]

    def resolved(self, job_id: str, batch_no: int) -> list[RowsResolved]:
        """Every copy of a batch that came out."""
        records = self.records.get((job_id, batch_no), [])
        return [self.codec.decode(ROWS_RESOLVED.name, RowsResolved, record.value) for record in records]

    async def run(self, batches: Sequence[RowsRead], timeout_seconds: float = 120, window: int = 20) -> int:
        """Send a job's batches until all came out, the oldest again when nothing moves; how many again.

        A batch counts as applied when it came out and all before it did, as the sink would have it.
        """
        deadline = time.monotonic() + timeout_seconds
        applied = sent = resent = 0
        moved_at = time.monotonic()
        while applied < len(batches):
            assert time.monotonic() < deadline, f"stuck behind batch {applied} of {len(batches)}"
            while applied < len(batches) and (batches[applied].job_id, applied + 1) in self.records:
                applied += 1
                moved_at = time.monotonic()
            if sent < min(len(batches), applied + window):
                await self.send(with_applied(batches[sent], applied))
                sent += 1
            elif time.monotonic() - moved_at > 2:
                for number in range(applied, min(sent, applied + 2)):
                    await self.send(with_applied(batches[number], applied))
                    resent += 1
                moved_at = time.monotonic()
            else:
                await asyncio.sleep(0.01)
        return resent


@asynccontextmanager
async def reader_of(stack: Servers) -> AsyncIterator[Reader]:
    """A reader that sees what comes out from now on."""
    settings = stack.settings()
    consumer = make_follower(settings, (), from_start=False)
    await consumer.start()
    partitions = [TopicPartition(ROWS_RESOLVED.name, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    # The position must be known before anything is sent, or "from now on" is later than it says.
    for partition in partitions:
        await consumer.position(partition)
    producer = make_producer(settings)
    await producer.start()
    reader = Reader(await load_codec(settings.schema_registry_url), producer, consumer)
    try:
        yield reader
    finally:
        await reader.stop()


def organization_in(partition: int) -> str:
    """An organization whose messages go to this partition."""
    while partition_of((name := str(uuid.uuid4())).encode(), PARTITIONS) != partition:
        pass
    return name


def people(first: int, count: int, city: str = "Austin") -> list[list[str]]:
    """Rows of people who are numbered from `first`: the same numbers are the same people."""
    return [
        [f"Person {n}", f"person{n}@example.com", f"+1415{2000000 + n}", city]
        for n in range(first, first + count)
    ]


def make_batch(
    organization: str, job: str, number: int, rows: list[list[str]], *, first_row_no: int = 1, **options: Any
) -> RowsRead:
    """One batch of a job; `options` replaces some of OPTIONS."""
    position = SourcePosition(part_no=1, byte_offset=0, line=1, row_no=1)
    return RowsRead(
        organization_id=organization,
        job_id=job,
        run=1,
        lease_epoch=1,
        batch_no=number,
        applied_through=number - 1,
        target="contacts",
        scope="",
        options=ImportOptions(**{**OPTIONS, **options}),
        first_row_no=first_row_no,
        columns=COLUMNS,
        rows=rows,
        lines=list(range(first_row_no + 1, first_row_no + 1 + len(rows))),
        faults=[],
        excluded=[],
        start=position,
        end=position,
        is_last=False,
        end_state="",
        end_reason="",
        read_at=1,
    )


def make_job(organization: str, batches: int, rows: int = 50, **options: Any) -> list[RowsRead]:
    """A job of people numbered from 1, in batches."""
    job = str(uuid.uuid4())
    return [
        make_batch(
            organization,
            job,
            number + 1,
            people(number * rows, rows),
            first_row_no=number * rows + 1,
            **options,
        )
        for number in range(batches)
    ]


def with_applied(batch: RowsRead, applied_through: int) -> RowsRead:
    """The batch as it is sent when so many are applied."""

    return msgspec.structs.replace(batch, applied_through=applied_through)


def headers_of(batch: RowsRead) -> list[tuple[str, bytes]]:
    """The envelope that the reader gives a batch."""

    def place(position: SourcePosition) -> str:
        return f"{position.part_no}:{position.byte_offset}:{position.line}:{position.row_no}"

    texts = {
        "job_id": batch.job_id,
        "organization_id": batch.organization_id,
        "run": batch.run,
        "lease_epoch": batch.lease_epoch,
        "batch_no": batch.batch_no,
        "first_row_no": batch.first_row_no,
        "row_count": len(batch.rows),
        "start": place(batch.start),
        "end": place(batch.end),
        "is_last": str(batch.is_last).lower(),
    }
    return [(name, str(value).encode()) for name, value in texts.items()]
