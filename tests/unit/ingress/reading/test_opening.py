"""What a reader finds when it looks at a new part, and in which turn it opens what has to be opened."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from ingress.formats.parts import PartFormat
from ingress.reading.job import LeasedJob, Part, StoredOptions
from ingress.reading.opening import AT_ONCE, Opening, Slots
from ingress.reading.source import Source
from sluice.errors import FileHasNoColumn, RulesInvalid
from sluice.events import ColumnRule
from sluice.telemetry import Telemetry
from tests.unit.ingress.formats.workbooks import make_workbook

TELEMETRY = Telemetry("reader")
NEW = PartFormat(kind="new", needs=["email"])
TABLE = b"email,name\nana@example.com,Ana\n"


class Objects:
    """Objects in memory."""

    def __init__(self, data: bytes) -> None:
        self.held = {"file": data}

    async def read(self, key: str, etag: str, start: int, end: int) -> bytes:
        """A range."""
        return self.held[key][start:end]

    async def put(self, key: str, data: bytes) -> str:
        """A whole object."""
        self.held[key] = data
        return "etag"


class Books:
    """What was kept of a part."""

    part: Part
    source: str

    async def opened(self, job: LeasedJob, part: Part, file_bytes: int, source: str) -> None:
        """Keep it."""
        self.part, self.source = part, source


def leased(filename: str = "people.csv") -> LeasedJob:
    return LeasedJob(
        id=uuid.uuid4(),
        organization_id=uuid.uuid4(),
        run=1,
        lease_epoch=1,
        applied_batch=0,
        position=cast("Any", None),
        cancelled=False,
        stored_options={},
        stored_parts=[],
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        filename=filename,
    )


async def look(
    data: bytes,
    folder: Path,
    *,
    form: PartFormat = NEW,
    options: StoredOptions = StoredOptions(),  # noqa: B008 - frozen
) -> Books:
    """What is kept of a part when a reader has looked at it."""
    objects, books = Objects(data), Books()
    source = Source(objects, TELEMETRY)
    opening = Opening(cast("Any", objects), source, cast("Any", books), 1_000, TELEMETRY, folder)
    part = Part(part_no=1, object_key="file", etag="e", size_bytes=len(data), format=form)
    assert await opening.look(leased(), part, options) == getattr(books, "part", part)
    assert not any(folder.iterdir())
    return books


async def test_what_was_guessed_late_is_noted_with_the_part(tmp_path: Path) -> None:
    """A file with its first accent behind its head is read in that accent's code page, and says so."""
    rows = b"ana@example.com,Ana,A\n" * 15_000
    data = (
        b"Our people\n\nemail,first_name,last_name\n"
        + rows
        + "jörg@example.com,Jörg,Müller\n".encode("cp1252") * 20
    )
    form = (await look(data, tmp_path)).part.format
    assert form.encoding == "cp1252"
    title, encoding = form.notes
    assert "taken from line 3" in title
    assert encoding == "The file is not UTF-8; it was read as cp1252. Please check the letters with accents."


async def test_notes_and_sheets_are_kept_with_the_part(tmp_path: Path) -> None:
    """Another reader that takes the job over has them, too."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    rows = [["email"], ["ana@example.com"]]
    book = make_workbook(tmp_path / "in" / "book.xlsx", {"People": rows, "Others": rows}).read_bytes()
    form = (await look(book, tmp_path / "out")).part.format
    assert form.sheets == ["People", "Others"]
    assert len(form.notes) == 1
    assert msgspec.convert(msgspec.to_builtins(form), PartFormat) == form


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "source"),
    [
        (TABLE, "csv"),
        (gzip.compress(TABLE), "csv"),
        (zipped("people.json", json.dumps([{"email": "ana@example.com"}]).encode()), "json"),
        (zipped("a.vcf.gz", gzip.compress(b"BEGIN:VCARD\nVERSION:3.0\nEMAIL:a@b.com\nEND:VCARD\n")), "vcard"),
    ],
    ids=["text", "gzip", "zip", "both"],
)
async def test_an_archive_is_told_by_what_is_in_it(tmp_path: Path, data: bytes, source: str) -> None:
    """Also through two of them."""
    assert (await look(data, tmp_path)).source == source


async def test_columns_are_required_of_a_part_that_was_looked_at_before(tmp_path: Path) -> None:
    """The reader that looked may have died before it refused."""
    form = PartFormat(columns=["Name"], needs=["email"])
    with pytest.raises(FileHasNoColumn):
        await look(b"", tmp_path, form=form)
    rules = StoredOptions(rules=[ColumnRule(column="Shoe", required=True)])
    with pytest.raises(RulesInvalid):
        await look(b"", tmp_path, form=PartFormat(columns=["email"]), options=rules)


async def test_one_organization_leaves_room_for_others() -> None:
    """However many files it has to open: one at a time, and no more than so many of all."""
    slots, many = Slots(), uuid.uuid4()
    held: list[uuid.UUID] = []
    leave = asyncio.Event()

    async def opens(organization_id: uuid.UUID) -> None:
        async with slots.taken(organization_id):
            held.append(organization_id)
            await leave.wait()

    others = [uuid.uuid4() for _ in range(AT_ONCE)]
    tasks = [asyncio.create_task(opens(each)) for each in [many, many, many, *others]]
    for _ in range(10):
        await asyncio.sleep(0)
    assert held == [many, *others[: AT_ONCE - 1]]
    leave.set()
    await asyncio.gather(*tasks)
    assert len(held) == len(tasks)


async def test_delimited_text_waits_for_nobodys_turn(tmp_path: Path) -> None:
    """It is read from its head: a child is started for other files only."""
    slots = Slots()
    objects, books = Objects(TABLE), Books()
    source = Source(objects, TELEMETRY)
    opening = Opening(cast("Any", objects), source, cast("Any", books), 9, TELEMETRY, tmp_path, slots)
    part = Part(part_no=1, object_key="file", etag="e", size_bytes=len(TABLE), format=NEW)
    job = leased()
    async with slots.taken(job.organization_id), slots.taken(uuid.uuid4()), asyncio.timeout(10):
        assert (await opening.look(job, part, StoredOptions())).format.columns == ["email", "name"]
