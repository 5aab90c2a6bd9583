"""Batches: the same however often and from wherever a file is read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.formats.parts import FirstRow, PartFormat
from ingress.formats.rows import Position
from ingress.reading.batches import Cut, Exclusions, Limits, cuts
from ingress.reading.encoding import Messages, Tails
from ingress.reading.job import JobUnreadable, LeasedJob, Part, StoredOptions
from ingress.reading.source import Source, quoted
from sluice.avro import Codec, parsed_schema
from sluice.events import RowsRead, to_avro
from sluice.telemetry import Telemetry
from sluice.topics import ROWS_READ

HEADER = b"email,note\n"
NEW = Position(1, 0, 0, 1)
LIMITS = Limits(batch_rows=5, batch_bytes=64 * 1024, job_rows=1_000)


class Memory:
    """Objects in memory; the first answers to a range are as short as `short` says."""

    def __init__(self, objects: Mapping[str, bytes], short: list[int] | None = None) -> None:
        self._objects = objects
        self._short = short or []

    async def read(self, key: str, etag: str, start: int, end: int) -> bytes:
        """The bytes, or fewer."""
        data = self._objects[key][start:end]
        return data[: self._short.pop(0)] if self._short else data


def part(number: int, data: bytes) -> Part:
    """A stored CSV file with its header."""
    return Part(
        part_no=number,
        object_key=str(number),
        etag="e",
        size_bytes=len(data),
        format=PartFormat(
            columns=["email", "note"],
            encoding="utf-8",
            delimiter=",",
            first=FirstRow(byte_offset=len(HEADER), line=2),
        ),
    )


def read(files: list[bytes], position: Position = NEW, limits: Limits = LIMITS) -> list[Cut]:
    """All batches from there on."""
    parts = [part(number, data) for number, data in enumerate(files, 1)]
    memory = Memory({each.object_key: data for each, data in zip(parts, files, strict=True)})
    source = Source(memory, Telemetry("reader"))

    async def collected() -> list[Cut]:
        return [cut async for cut in cuts(parts, position, source, limits)]

    return asyncio.run(collected())


def file(count: int) -> bytes:
    """So many rows below a header."""
    return HEADER + b"".join(b"%d@example.com,x\n" % n for n in range(count))


cells = st.text(alphabet='ab"\n\r, é', max_size=6)
files = st.lists(
    st.lists(cells, max_size=12).map(lambda rows: HEADER + "\n".join(rows).encode()), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(files)
def test_reading_again_from_any_batch_gives_those_that_follow(stored: list[bytes]) -> None:
    """Whatever the files hold, a reader that takes over sends what the one before would have sent."""
    whole = read(stored)
    for index, cut in enumerate(whole[:-1]):
        assert read(stored, cut.end) == whole[index + 1 :]


@settings(max_examples=60, deadline=None)
@given(files)
def test_rows_are_numbered_without_a_gap_and_one_batch_is_the_last(stored: list[bytes]) -> None:
    """Numbers go on through all batches and parts; only the last batch ends the job."""
    whole = read(stored)
    expected = 1
    for cut in whole:
        assert cut.start.row_no == expected
        expected += cut.row_count
        assert cut.end.row_no == expected
        assert cut.start.part_no == cut.end.part_no
    assert [cut.ending is not None for cut in whole] == [False] * (len(whole) - 1) + [True]


def test_the_last_rows_and_the_end_travel_together() -> None:
    """A small import is one batch."""
    [cut] = read([file(5)])
    assert cut.row_count == 5
    assert cut.ending is not None
    assert cut.ending.state == "completed"


def test_a_job_without_a_row_is_one_empty_batch() -> None:
    """Whatever is left to read, there is something that ends the job."""
    [cut] = read([HEADER])
    assert (cut.row_count, cut.start, cut.end) == (0, NEW, NEW)


@pytest.mark.requirement("T-06", "T-08")
def test_too_many_rows_end_the_job_before_they_are_sent() -> None:
    """The batches up to there stay as they are; the last one is empty and says why."""
    whole = read([file(20)], limits=Limits(5, 64 * 1024, 12))
    assert [cut.row_count for cut in whole] == [5, 5, 0]
    ending = whole[-1].ending
    assert ending is not None
    assert ending.state == "failed"
    assert "more than 12 rows" in ending.reason
    assert [c.row_count for c in read([file(12)], limits=Limits(5, 64 * 1024, 12))] == [5, 5, 2]


async def test_a_short_answer_of_the_store_is_an_outage() -> None:
    """A body that ends early is noticed by its length and never taken for the end of the file."""
    data = file(100)
    source = Source(Memory({"1": data}, short=[10, 0]), Telemetry("reader"))
    assert b"".join([piece async for piece in source.pieces(part(1, data), 0)]) == data


def test_etags_are_quoted_once() -> None:
    """`If-Match` wants quotation marks, whoever stored the tag."""
    assert quoted("abc") == quoted('"abc"') == '"abc"'


@given(st.lists(st.integers(1, 60)), st.integers(1, 50), st.integers(0, 20))
def test_excluded_rows_are_found_by_number(excluded: list[int], first: int, count: int) -> None:
    """Every excluded number of the batch is named once, in order."""
    expected = [i for i in range(count) if first + i in excluded]
    assert Exclusions(excluded).indexes(first, count) == expected


def job(**stored: object) -> LeasedJob:
    """A leased job with these options."""
    return LeasedJob(
        id=UUID(int=1),
        organization_id=UUID(int=2),
        run=1,
        lease_epoch=3,
        applied_batch=0,
        position=NEW,
        cancelled=False,
        stored_options=stored,
        stored_parts=[],
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_message_in_pieces_is_the_whole_message() -> None:
    """Head and tail together are what the codec makes of the same event, when sent again too."""
    codec = Codec({ROWS_READ.name: 7}, {7: parsed_schema(ROWS_READ.name)})
    leased = job(on_duplicate="overwrite", mapping={"email": "email"}, exclude_rows=[2], required=["email"])
    tails, messages = Tails(leased.options(), leased.created_at), Messages(leased, codec)
    for cut in read([file(7) + b'"open,never closed\n']):
        tail = tails.tail(cut, 5)
        for applied_through in (0, 300):
            value = messages.value(tail, 301, applied_through)
            event = codec.decode(ROWS_READ.name, RowsRead, value)
            assert codec.encode(ROWS_READ.name, event) == value
            assert (event.applied_through, event.batch_no, event.lease_epoch) == (applied_through, 301, 3)
            assert event.rows == (cut.chunk.rows if cut.chunk else [])
            assert len(event.faults) == len(cut.chunk.faults if cut.chunk else [])
            assert to_avro(event.end)["row_no"] == cut.end.row_no


def test_missing_options_have_the_defaults_of_the_contract() -> None:
    """An empty record is the contract's row for `/v1/imports`."""
    options = job(encoding="utf-8", list_name="x").options()
    assert (options.on_duplicate, options.match_on, options.phone_check) == ("skip", "email", "strict")
    assert options == StoredOptions()


@pytest.mark.parametrize("stored", [{"required": "email"}, {"exclude_rows": [None]}, {"dry_run": "yes"}])
def test_options_that_are_none_say_so(stored: dict[str, object]) -> None:
    """A record that was written wrongly ends the job with a sentence."""
    with pytest.raises(JobUnreadable, match="options"):
        job(**stored).options()
