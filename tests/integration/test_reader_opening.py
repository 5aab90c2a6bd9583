"""Files that are no plain text: opened once under the lease, then read like any other; and analyzed."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import tempfile
import uuid
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ingress.state import analysis_key, progress_key
from tests.integration.reader_world import World, open_world, own_database, running_reader, running_sink
from tests.unit.ingress.formats.workbooks import make_workbook

if TYPE_CHECKING:
    from tests.integration.stack import Servers

HEADER = ["email", "first_name", "last_name", "phone"]


@pytest.fixture(scope="module")
async def world(stack: Servers) -> AsyncIterator[World]:
    """A database of this module's own on the shared servers."""
    async with own_database(stack) as env, open_world(env, stack.settings(**env)) as opened:
        yield opened


def people(count: int) -> list[list[str]]:
    return [[f"p{n}@example.com", "Per", f"Son {n}", f"+1415555{n % 10_000:04}"] for n in range(1, count + 1)]


def as_csv(rows: list[list[str]]) -> bytes:
    return "\n".join(",".join(row) for row in [HEADER, *rows]).encode() + b"\n"


def as_ndjson(rows: list[list[str]]) -> bytes:
    lines = [json.dumps(dict(zip(HEADER, row, strict=True))) for row in rows]
    return "\n".join(lines).encode()


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def xlsx(rows: list[list[str]]) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        return make_workbook(Path(directory) / "people.xlsx", {"People": rows}).read_bytes()


def files(rows: list[list[str]]) -> dict[str, bytes]:
    """The same rows as files of several kinds."""
    return {
        "people.csv": as_csv(rows),
        "people.csv.gz": gzip.compress(as_csv(rows)),
        "people.zip": zipped("people.csv", as_csv(rows)),
        "people.xlsx": xlsx([HEADER, *rows]),
        "people.ndjson": as_ndjson(rows),
        "people.json": json.dumps([dict(zip(HEADER, row, strict=True)) for row in rows]).encode(),
    }


async def part_of(world: World, job_id: uuid.UUID) -> dict[str, Any]:
    row = await world.pool.fetchrow("SELECT * FROM import_parts WHERE job_id = $1", job_id)
    assert row is not None
    return {**dict(row), "format": json.loads(row["format"])}


@pytest.mark.requirement("S1-040", "S1-048", "S1-049", "T-02", "K-22")
async def test_the_same_rows_come_out_of_every_kind_of_file(world: World) -> None:
    """Workbook, lines of JSON, archive: 1,200 rows in order, the file's own hash, its bytes kept beside."""
    rows = people(1_200)
    async with running_sink(world) as sink, running_reader(world):
        for name, data in files(rows).items():
            job_id = await world.new_file(data, name, needs=["email", "phone"])
            job = await world.until(job_id, "completed", seconds=60)
            batches = sink.applied[str(job_id)]
            assert [row for batch in batches for row in batch.rows] == rows, name
            assert batches[0].columns == HEADER
            part = await part_of(world, job_id)
            digest = hashlib.sha256(data).hexdigest()
            assert (part["sha256"], job["file_sha256"], job["file_size"]) == (digest, digest, len(data))
            assert (part["source_bytes"] or part["size_bytes"]) == len(data)


@pytest.mark.requirement("S1-041")
async def test_a_reader_killed_while_it_opens_is_followed_by_another(world: World) -> None:
    """Whatever was stored of the rows so far is nobody's; every row arrives once."""
    rows = people(30_000)
    data = xlsx([HEADER, *rows])
    async with running_sink(world) as sink:
        async with running_reader(world) as reader:
            job_id = await world.new_file(data, "people.xlsx")
            await world.until(job_id, "processing")
            await asyncio.sleep(0.5)
            reader.process.kill()
        async with running_reader(world):
            await world.until(job_id, "completed", seconds=90)
    assert [row for batch in sink.applied[str(job_id)] for row in batch.rows] == rows


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("broken.xlsx", b"PK\x03\x04" + bytes(3000), "damaged"),
        ("broken.gz", gzip.compress(as_csv(people(50)))[:-20], ""),
        ("names.csv", b"first,second\n1,2\n", "email or phone"),
        ("page.xls", b"<html><body><table><tr><td>email</td></tr></table></body></html>", "web page"),
        ("empty.csv", b"\n\n", "empty"),
    ],
)
async def test_a_file_that_cannot_be_opened_ends_its_job_with_a_sentence(
    world: World, name: str, data: bytes, reason: str
) -> None:
    """No row is read, nothing hangs, and the reason says what to do."""
    async with running_sink(world), running_reader(world):
        job_id = await world.new_file(data, name, needs=["email", "phone"])
        job = await world.until(job_id, "failed", seconds=60)
    assert job["rows_read"] == 0
    assert reason in job["reason"]
    assert job["reason"].endswith(".")


@pytest.mark.requirement("S1-018", "S1-071", "S1-072", "S1-073", "S1-074", "S1-077", "S1-078", "T-03", "T-05")
@pytest.mark.requirement("S1-019", "S1-046")
async def test_an_analysis_says_what_the_file_holds_and_proposes_a_mapping(world: World) -> None:
    """Of a workbook as of a text; the rows are judged under the proposed mapping, not called invalid."""
    rows = [*people(2_300), ["no-at-sign", "Bad", "Row", ""]]
    async with running_reader(world):
        for name in ("people.csv", "people.xlsx"):
            job_id = await world.new_file(files(rows)[name], name, state="analyzing")
            await world.until(job_id, "awaiting_mapping", seconds=60)
            assert await completed(world, progress_key(job_id)) == {
                "status": "complete",
                "processed": 2_301,
                "total": 2_301,
            }
            summary = await state_of(world, analysis_key(job_id))
            assert (summary["totalRows"], summary["validRows"], summary["invalidRows"]) == (2_301, 2_300, 1)
            assert summary["columns"] == HEADER
            assert [each["field"] for each in summary["proposals"]] == HEADER
            assert summary["columnSummary"]["email"]["unique"] == 2_301
            assert summary["columnSummary"]["first_name"]["unique"] == 2
            assert len(summary["sampleRows"]) == 1_000
            assert summary["sampleRows"][0]["_rowIndex"] == 1
            assert summary["fileId"] == f"file_{job_id}"


@pytest.mark.requirement("S1-071")
async def test_an_analysis_that_fails_says_why(world: World) -> None:
    """In its progress, for who polls, and in the job."""
    async with running_reader(world):
        job_id = await world.new_file(b"%PDF-1.7 ...", "people.csv", state="analyzing")
        job = await world.until(job_id, "failed", seconds=30)
    progress = await state_of(world, progress_key(job_id))
    assert progress["status"] == "error"
    assert "PDF" in progress["message"]
    assert job["reason"] == progress["message"]


async def state_of(world: World, key: str) -> Any:
    return json.loads(await world.pool.fetchval("SELECT value FROM temporary_state WHERE key = $1", key))


async def completed(world: World, key: str) -> Any:
    """The progress when it says complete, which comes behind the job's own state."""
    async with asyncio.timeout(10):
        while (progress := await state_of(world, key))["status"] != "complete":  # noqa: ASYNC110 - it asks
            await asyncio.sleep(0.05)
    return progress


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"sheet": "Nobody"}, "no sheet of cells named"),
        ({"asked_encoding": "klingon"}, "encoding cannot be"),
        ({"asked_encoding": "utf-16"}, "file"),
    ],
)
async def test_a_refusal_that_other_options_may_mend_leaves_the_job_waiting(
    world: World, asked: dict[str, str], says: str
) -> None:
    """With its reason in the progress, and without an analysis: it can be analyzed again."""
    data = xlsx([HEADER, *people(2)]) if "sheet" in asked else as_csv(people(2))
    async with running_reader(world):
        job_id = await world.new_file(data, "people", state="analyzing", **asked)
        await world.until(job_id, "awaiting_mapping")
    progress = await state_of(world, progress_key(job_id))
    assert progress["status"] == "error"
    assert says in progress["message"]
    assert not await world.pool.fetchval(
        "SELECT count(*) FROM temporary_state WHERE key = $1", analysis_key(job_id)
    )
