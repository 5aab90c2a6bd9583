"""Whatever the bytes: the same rows from any pieces, from any resume point, and none lost."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from functools import partial
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.formats.csv import MAX_OPEN_LINES
from ingress.formats.rows import RowChunk
from tests.unit.ingress.formats.reading import chunks_of, faults_of, lines_of, rows_of

# The machine may be busy; what is slow here shows in the count of parsed lines (test_csv.py).
unhurried = settings(deadline=None)

COLUMNS = ("a", "b", "c")
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "cp1252")

# What breaks readers, often: delimiters, quotes and line ends in every order.
hostile_text = st.lists(
    st.sampled_from(['"', '""', ",", "\n", "\r", "\r\n", "x", " ", "é", "\0", "1,2,3\n", '"q",', "abc"]),
    max_size=60,
).map("".join)
hostile_bytes = st.one_of(
    hostile_text.map(lambda text: text.encode()),
    st.lists(st.one_of(hostile_text.map(lambda text: text.encode()), st.binary(max_size=3)), max_size=6).map(
        b"".join
    ),
)
sizes = st.lists(st.integers(0, 20), max_size=30)
limits = st.tuples(st.integers(1, 6), st.integers(1, 60))  # rows and bytes of a chunk


@pytest.mark.requirement("S1-041")
@unhurried
@given(data=hostile_bytes, encoding=st.sampled_from(ENCODINGS), sizes=sizes, limits=limits)
def test_pieces_do_not_matter(data: bytes, encoding: str, sizes: list[int], limits: tuple[int, int]) -> None:
    """Any cut of the bytes into pieces gives the same chunks."""
    read = partial(chunks_of, data, COLUMNS, encoding=encoding, max_rows=limits[0], max_bytes=limits[1])
    assert read(sizes=sizes) == read()
    assert read(sizes=[1] * len(data)) == read()


@unhurried
@given(data=hostile_bytes, encoding=st.sampled_from(ENCODINGS), limits=limits)
def test_reading_goes_on_at_any_chunk_end(data: bytes, encoding: str, limits: tuple[int, int]) -> None:
    """Starting again where a chunk ended gives the chunks that followed it."""
    read = partial(chunks_of, data, COLUMNS, encoding=encoding, max_rows=limits[0], max_bytes=limits[1])
    chunks = read()
    for at, chunk in enumerate(chunks, 1):
        assert read(start=chunk.end) == chunks[at:]


@unhurried
@given(data=hostile_bytes, limits=limits)
def test_chunks_follow_each_other(data: bytes, limits: tuple[int, int]) -> None:
    """Row numbers have no gaps, limits are kept, and every row has its columns."""
    row_no, offset = 1, 0
    for chunk in chunks_of(data, COLUMNS, max_rows=limits[0], max_bytes=limits[1]):
        assert chunk.first_row_no == row_no
        assert 1 <= len(chunk.rows) == len(chunk.lines) <= limits[0]
        assert len(chunk.rows) == 1 or chunk.end.byte_offset - offset <= limits[1]
        faulty = {fault.index for fault in chunk.faults}
        for index, row in enumerate(chunk.rows):
            assert len(row) == 3 or (len(row) > 3 and index in faulty)
        row_no, offset = chunk.end.row_no, chunk.end.byte_offset
        assert row_no == chunk.first_row_no + len(chunk.rows)


Quoting = Literal[0, 1, 2, 3]

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
# With a line end of one character csv.writer quotes that character only, so it must quote everything.
STYLES: list[tuple[Quoting, str]] = [
    (csv.QUOTE_MINIMAL, "\r\n"),
    *((csv.QUOTE_ALL, end) for end in ("\n", "\r\n", "\r")),
]
tables = st.lists(st.lists(cells, min_size=3, max_size=3), max_size=12)


@pytest.mark.requirement("S0-014", "S1-042")
@unhurried
@given(
    table=tables,
    delimiter=st.sampled_from(",;\t|"),
    style=st.sampled_from(STYLES),
    encoding=st.sampled_from(ENCODINGS[:3]),
    sizes=sizes,
)
def test_well_formed_files_are_read_as_the_library_reads_them(
    table: list[list[str]], delimiter: str, style: tuple[Quoting, str], encoding: str, sizes: list[int]
) -> None:
    """What csv.writer writes is read as csv.reader reads it, and every row knows its line and offset."""
    quoting, end = style
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    starts = []
    for row in table:
        starts.append(out.tell())
        writer.writerow(row)
    text = out.getvalue()
    expected = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    data = text.encode(encoding)
    chunks = chunks_of(data, COLUMNS, encoding=encoding, delimiter=delimiter, sizes=sizes, max_rows=1)
    assert rows_of(chunks) == [[cell.strip() for cell in row] for row in expected]
    assert faults_of(chunks) == {}
    for chunk, begun in zip(chunks, starts, strict=True):
        assert chunk.lines == [1 + len(re.findall("\r\n|\r|\n", text[:begun]))]
    offsets = [len(text[:begun].encode(encoding)) for begun in [*starts[1:], len(text)]]
    assert [chunk.end.byte_offset for chunk in chunks] == offsets[: len(chunks)]


Read = list[tuple[int, str, list[str]]]  # source line, fault code, cells of each row


def plain_reading(data: bytes) -> Read:
    """The rules again, simply and slowly: for every line, the shortest run of lines that is a row."""
    lines = re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", data)
    read: Read = []
    at = 0
    while at < len(lines):
        if not lines[at].strip(b"\r\n"):
            at += 1
            continue
        length, code, row = 1, "broken_quote", next(csv.reader([lines[at].decode(errors="replace")]))
        for count in range(1, min(MAX_OPEN_LINES, len(lines) - at) + 1):
            texts = [line.decode(errors="replace") for line in lines[at : at + count]]
            try:
                row = next(csv.reader(texts, strict=True))
            except csv.Error as error:
                if "unexpected end" in str(error):
                    continue
                break
            length, code = count, ""
            raw = b"".join(lines[at : at + count])
            if raw.decode(errors="replace") != raw.decode(errors="ignore"):
                code = "bad_encoding"
            elif b"\0" in raw:
                code = "nul_byte"
            break
        row = [cell.replace("\0", "\ufffd").strip() for cell in row]
        if not code and any(row[3:]):
            code = "too_many_cells"
        elif not any(row[3:]):
            row = row[:3]
        read.append((at + 1, code, row + [""] * (3 - len(row))))
        at += length
    return read


def as_read(chunks: list[RowChunk]) -> Read:
    codes = faults_of(chunks)
    rows = zip(lines_of(chunks), rows_of(chunks), strict=True)
    return [(line, codes.get(row_no, ""), row) for row_no, (line, row) in enumerate(rows, 1)]


@unhurried
@given(data=hostile_bytes, sizes=sizes)
def test_hostile_bytes_are_read_by_the_rules(data: bytes, sizes: list[int]) -> None:
    """Rows, lines and faults are those of a reading of the rules that is too simple to be wrong."""
    assert as_read(chunks_of(data, COLUMNS, sizes=sizes)) == plain_reading(data)


@unhurried
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from([b"\0", b"\xff", b'"', b",,,,"])), max_size=6
    ),
    sizes=sizes,
)
def test_corruption_loses_no_other_row(damage: list[tuple[int, bytes]], sizes: list[int]) -> None:
    """Damage within lines faults or changes those rows; every undamaged line is still there, at its line."""
    lines = [b"name %d,%d,x" % (number, number) for number in range(1, 401)]
    damaged = set()
    for at, noise in damage:
        index = at % len(lines)
        middle = at // len(lines) % len(lines[index])
        lines[index] = lines[index][:middle] + noise + lines[index][middle:]
        damaged.add(index)
    read = as_read(chunks_of(b"\n".join(lines) + b"\n", COLUMNS, sizes=[size * 50 for size in sizes]))
    swallowed = {
        number
        for (line, _, _), (behind, _, _) in zip(read, [*read[1:], (len(lines) + 1, "", [])], strict=True)
        for number in range(line + 1, behind)
    }
    assert len(read) + len(swallowed) == len(lines)
    if [noise for _, noise in damage].count(b'"') < 2:  # two strays can make a cell of what is between them
        assert swallowed == set()
    by_line = {line: (code, row) for line, code, row in read}
    for index in set(range(len(lines))) - damaged:
        if index + 1 not in swallowed:
            assert by_line[index + 1] == ("", [f"name {index + 1}", str(index + 1), "x"])


@unhurried
@given(data=hostile_bytes, lines=st.integers(1, 10**6), rows=st.integers(1, 10**6))
def test_numbers_go_on_from_the_start_position(data: bytes, lines: int, rows: int) -> None:
    """Lines and row numbers are counted from the position that reading starts at."""
    plain = chunks_of(data, COLUMNS)
    if not plain:
        return
    moved = replace(plain[0].end, byte_offset=0, line=lines, row_no=rows)
    chunks = chunks_of(data, COLUMNS, start=moved)
    assert lines_of(chunks) == [line - 1 + lines for line in lines_of(plain)]
    assert chunks[0].first_row_no == rows
