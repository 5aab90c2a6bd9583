"""The errors file on its way back: whatever was done to its order, each row is read under its own number."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commands.errors_file import errors_file
from ingress.commands.rows import RowResult
from ingress.formats.corrected import (
    ADDED,
    ColumnsDiffer,
    CorrectedChunker,
    Corrections,
    TokenUnreadable,
    added_columns,
    corrections_of,
    row_token,
    token_row,
)
from ingress.formats.csv import CsvDialect
from ingress.formats.inspect import inspect_head
from ingress.formats.parts import PartFormat
from ingress.formats.rows import Position, RowChunk
from sluice.outcome import Outcome

JOB = uuid.UUID("0190c0de-1111-7222-8333-444455556666")
OWN = ("Email", "Name")


def file_of(rows: Iterable[tuple[int, Sequence[str]]], header: Sequence[str] = (*OWN, *ADDED)) -> bytes:
    """A corrected file: row numbers with their own cells, and what is behind the token."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(header)
    for row_no, cells in rows:
        writer.writerow([*cells[:2], row_no, "why", row_token(JOB, row_no), *cells[2:]])
    return out.getvalue().encode()


def chunker(
    data: bytes, start: Position | None = None, *, max_rows: int = 500, max_bytes: int = 1 << 20
) -> CorrectedChunker:
    head = inspect_head(data, complete=True)
    corrections = corrections_of(OWN, head.columns)
    return CorrectedChunker(
        head.dialect, corrections, start or head.first, max_rows=max_rows, max_bytes=max_bytes
    )


def chunks_of(reader: CorrectedChunker, data: bytes, at: int, piece: int) -> list[RowChunk]:
    found = []
    for offset in range(at, len(data), piece):
        found += reader.feed(data[offset : offset + piece])
    while (chunk := reader.finish()) is not None:
        found.append(chunk)
    return found


def read(data: bytes, start: Position | None = None, *, piece: int = 7, **limits: int) -> list[RowChunk]:
    first = start or inspect_head(data, complete=True).first
    return chunks_of(chunker(data, start, **limits), data, first.byte_offset, piece)


@given(
    st.lists(st.integers(1, 40), unique=True, min_size=1),
    st.integers(1, 60),
    st.integers(1, 4),
    st.sampled_from([30, 100, 1 << 20]),
)
def test_rows_go_by_their_numbers_and_each_chunk_can_be_begun_at(
    numbers: list[int], piece: int, max_rows: int, max_bytes: int
) -> None:
    """Consecutive numbers together, as many as may be; from any chunk's end on, the same chunks again."""
    data = file_of((n, [f"p{n}@example.com", f"a\n{n}" if n % 3 else "b"]) for n in numbers)
    found = read(data, piece=piece, max_rows=max_rows, max_bytes=max_bytes)
    told = [(c.first_row_no + i, row[0]) for c in found for i, row in enumerate(c.rows)]
    assert told == [(n, f"p{n}@example.com") for n in numbers]
    assert all(chunk.end.row_no == chunk.first_row_no + len(chunk.rows) for chunk in found)
    assert all(0 < len(chunk.rows) <= max_rows for chunk in found)
    if max_bytes == 1 << 20:
        for one, other in pairwise(found):
            assert other.first_row_no != one.end.row_no or len(one.rows) == max_rows
    for index, chunk in enumerate(found):
        again = read(data, chunk.end, piece=piece, max_rows=max_rows, max_bytes=max_bytes)
        assert again == found[index + 1 :]


def test_columns_may_be_moved_and_left_out_rows_stay_out() -> None:
    """Only the token's column and the import's own are needed, wherever they are."""
    token = row_token(JOB, 9)
    data = f"_token,Name,Email\r\n,,\r\n{token},Ann,ann@example.com\r\n".encode()
    (chunk,) = read(data)
    assert (chunk.first_row_no, chunk.rows, chunk.lines) == (9, [["ann@example.com", "Ann"]], [3])


@pytest.mark.parametrize(
    "header",
    [(*OWN, *ADDED), (*OWN, *ADDED, ""), (*OWN, *ADDED, "column 6")],
    ids=["as it was sent", "as a spreadsheet saves it", "named by us"],
)
def test_surplus_cells_keep_a_row_refused(header: Sequence[str]) -> None:
    """What stands behind the token belongs to no column: the row is as wrong as it was, nothing is lost."""
    data = file_of([(1, ["a", "b", "c"]), (2, ["a@example.com", "b"])], header)
    (chunk,) = read(data)
    assert chunk.rows == [["a", "b", "c"], ["a@example.com", "b"]]
    assert [(fault.index, fault.code) for fault in chunk.faults] == [(0, "too_many_cells")]
    assert "3 cells, the header has 2" in chunk.faults[0].message


def test_a_row_that_cannot_be_read_whole_keeps_its_fault() -> None:
    """Its token is read all the same."""
    data = file_of([(1, ["a@example.com", "b"])]).replace(b"b,1", b"\xff,1")
    head = inspect_head(data, complete=True, encoding="utf-8")
    reader = CorrectedChunker(head.dialect, corrections_of(OWN, head.columns), head.first)
    (chunk,) = chunks_of(reader, data, head.first.byte_offset, 100)
    assert [fault.code for fault in chunk.faults] == ["bad_encoding"]


def test_formulas_are_themselves_again() -> None:
    """The apostrophe that made them harmless comes off; a person's own stays."""
    (chunk,) = read(file_of([(1, ["'+12125550101", "'tHooft"]), (2, ["''=1", "=2"])]))
    assert chunk.rows == [["+12125550101", "'tHooft"], ["'=1", "=2"]]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (OWN, 'no column "_token"'),
        (("Email", *ADDED), '"Name" is missing'),
        (("E-Mail", "First", *ADDED), '"Email", "Name" are missing'),
        ((*OWN, "Notes", *ADDED), '"Notes" is not known'),
    ],
)
def test_other_columns_are_refused_by_name(found: Sequence[str], problem: str) -> None:
    """A column that is lost or added would change what the rows mean."""
    with pytest.raises(ColumnsDiffer, match=problem):
        corrections_of(OWN, found)


def test_a_file_that_has_a_token_column_of_its_own_gets_another() -> None:
    """An errors file that was imported as a file has errors files too."""
    own = ("Email", "_token")
    assert added_columns(own) == ("_row", "_error", "_token (2)")
    assert corrections_of(own, (*own, "_row", "_error", "_token (2)")) == Corrections(
        width=5, token=4, own=[0, 1], surplus=[]
    )


@pytest.mark.parametrize("token", ["", "7", f"{JOB}:", f"{JOB}:0", f"{JOB}:x", f"{JOB}:99999999999", "x:1"])
def test_what_is_no_token_is_none(token: str) -> None:
    """And a row with such a one stops the file, by its line."""
    assert token_row(token) is None
    with pytest.raises(TokenUnreadable, match="Line 2"):
        read(f"Email,Name,_token\r\na,b,{token}\r\n".encode())


def test_a_token_names_its_row() -> None:
    assert token_row(row_token(JOB, 4712)) == (JOB, 4712)


CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6).map(str.strip)


@given(
    st.lists(st.lists(CELL, min_size=2, max_size=4), min_size=1, max_size=5),
    st.sampled_from([("utf-8", ","), ("utf-16-le", ";"), ("utf-8", "\t")]),
)
async def test_an_errors_file_that_is_sent_back_says_what_it_said(
    table: list[list[str]], form: tuple[str, str]
) -> None:
    """Cell for cell, in the file's own encoding and delimiter, with its surplus."""

    async def rows() -> AsyncIterator[RowResult]:
        for number, cells in enumerate(table, 1):
            yield RowResult(number, Outcome.INVALID, None, [], OWN, cells, number)

    encoding, delimiter = form
    pieces = [
        piece
        async for piece in errors_file(
            JOB, PartFormat(columns=list(OWN), encoding=encoding, delimiter=delimiter), rows()
        )
    ]
    data = b"".join(pieces)
    head = inspect_head(data, complete=True, delimiter=delimiter)
    assert head.dialect == CsvDialect(encoding, delimiter)
    reader = CorrectedChunker(head.dialect, corrections_of(OWN, head.columns), head.first)
    (chunk,) = chunks_of(reader, data, head.first.byte_offset, 1000)
    for row, cells in zip(chunk.rows, table, strict=True):
        expected = [*cells]
        while len(expected) > 2 and not expected[-1]:
            expected.pop()
        assert row == expected
