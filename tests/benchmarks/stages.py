"""What each stage of the streams role costs a row, in µs of CPU and without a broker: `make bench` prints it.

The rows are new contacts with the columns that address lists usually have. Decode and encode are the agent's
own; the identities table is a real one on disk, read by deduplicate and written as behind a changelog record.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sluice.avro import Codec, parsed_schema
from sluice.events import ImportOptions, RowsRead, SourcePosition
from sluice.memory import calm_garbage_collector
from sluice.topics import ROWS_READ, ROWS_RESOLVED
from streams import claims
from streams.batch import Batch, resolved
from streams.decoding import decode_rows_read
from streams.look_ups import Listing, LookUps
from streams.pipeline import STEPS
from streams.store import PartitionStore
from tests.benchmarks import reader_stage

COLUMNS = [
    "First Name", "Last Name", "Email", "Phone", "Company", "Title", "City", "State", "Zip", "Country",
]  # fmt: skip
ROWS = 500
ORGANIZATION = "0190c0de-0000-7000-8000-000000000001"
AREA_CODES = ("212", "312", "415", "512", "617", "702", "813", "917")


def make_rows(batch_no: int, count: int = ROWS) -> list[list[str]]:
    """Rows whose e-mails and numbers occur nowhere else."""
    rows: list[list[str]] = []
    for index in range(count):
        n = batch_no * count + index
        number = f"({AREA_CODES[n % 8]}) {200 + n // 8 % 800}-{n // 6400 % 10000:04d}"
        name = f"Person{n}"
        email = f"{name}.Doe@example{n % 97}.com"
        rows.append([name, "Doe", email, number, f"Firm {n % 500}", "Buyer", "Austin", "TX", "78701", "USA"])
    return rows


def make_batch(job_id: uuid.UUID, batch_no: int, rows: list[list[str]], **options: Any) -> RowsRead:
    """A batch as the reader sends it."""
    position = SourcePosition(part_no=1, byte_offset=0, line=1, row_no=1)
    chosen: dict[str, Any] = {
        "on_duplicate": "overwrite", "match_on": "email", "dnc_policy": "flag", "phone_check": "strict",
        "mode": "partial", "dry_run": False, "blanks": "keep", "region": "US", "required": ["email"],
        "missing_email": "invalid", "mapping": None, "created_at": 1,
    }  # fmt: skip
    return RowsRead(
        organization_id=ORGANIZATION,
        job_id=str(job_id),
        run=1,
        lease_epoch=1,
        batch_no=batch_no,
        applied_through=0,
        target="contacts",
        scope="",
        options=ImportOptions(**(chosen | options)),
        first_row_no=(batch_no - 1) * len(rows) + 1,
        columns=COLUMNS,
        rows=rows,
        lines=list(range(2, len(rows) + 2)),
        faults=[],
        excluded=[],
        start=position,
        end=position,
        is_last=False,
        end_state="",
        end_reason="",
        read_at=1,
    )


class NoLists:
    """No organization has a Do-Not-Call list."""

    def listings(self, organization_id: str, numbers: Sequence[str]) -> dict[str, Listing]:
        return {}


class _OnDisk:
    def __init__(self, store: PartitionStore) -> None:
        self._store = store

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return self._store.get_many(0, keys)


def measure(batches: int = 40) -> dict[str, float]:
    """Microseconds a row and stage, for new rows and for the same rows again (`…, again`)."""
    ids = {ROWS_READ.name: 1, ROWS_RESOLVED.name: 2}
    codec = Codec(ids, {number: parsed_schema(topic) for topic, number in ids.items()})
    spent: dict[str, float] = {}
    # As the role does; otherwise the second pass pays for what the first one left to collect.
    calm_garbage_collector()
    with tempfile.TemporaryDirectory() as directory:
        store = PartitionStore(Path(directory), "benchmark")
        for suffix in ("", ", again"):
            job_id = uuid.uuid4()
            for number in range(1, batches + 1):
                message = codec.encode(ROWS_READ.name, make_batch(job_id, number, make_rows(number)))
                _one_batch(message, number, codec, store, lambda name: name + suffix, spent)  # noqa: B023
        store.close()
    return {name: round(seconds * 1e6 / (batches * ROWS), 2) for name, seconds in spent.items()}


def _one_batch(
    message: bytes,
    number: int,
    codec: Codec,
    store: PartitionStore,
    label: Callable[[str], str],
    spent: dict[str, float],
) -> None:
    last = time.thread_time()

    def lap(name: str) -> None:
        nonlocal last
        now = time.thread_time()
        spent[label(name)] = spent.get(label(name), 0.0) + now - last
        last = time.thread_time()

    batch = Batch(decode_rows_read(codec, message))
    lap("decode")
    look_ups = LookUps(NoLists(), _OnDisk(store), b"k" * 32)
    for step in STEPS:
        step(batch, look_ups)
        lap(step.__name__)
    codec.encode(ROWS_RESOLVED.name, resolved(batch))
    lap("encode")
    read = batch.read
    head = claims.header(
        organization_id=read.organization_id, target=read.target, scope=read.scope, at=1,
        job_id=read.job_id, batch_no=read.batch_no, lease_epoch=1,
    )  # fmt: skip
    store.write(0, claims.unpack(claims.pack(head, batch.claims)), number)
    lap("identities")


def by_itself() -> dict[str, Any]:
    """What reading and each stage of the streams role cost a row, without a server."""
    reader = min((reader_stage.measure() for _ in range(3)), key=lambda stage: stage.total)
    found = measure()
    for suffix in ("", ", again"):
        found[f"all{suffix}"] = round(
            sum(each for name, each in found.items() if name.endswith(", again") == bool(suffix)), 2
        )
    return {
        "what": "CPU by itself, without servers",
        "unit": "µs a row",
        "reader": {"reading": round(reader.reading, 2), "encoding": round(reader.encoding, 2)},
        "streams": found,
    }


if __name__ == "__main__":
    print(json.dumps(by_itself(), ensure_ascii=False))
