"""CSV bytes become rows: what a row is, what is wrong with it, and where it stands."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Sequence

import pytest

from ingress.formats.csv import MAX_OPEN_BYTES, MAX_OPEN_LINES, CsvChunker, CsvDialect, _LineByLine
from ingress.formats.rows import FAULTS, MAX_ROW_BYTES, Position
from tests.unit.ingress.formats.reading import START, chunks_of, faults_of, lines_of, rows_of

AB = ("a", "b")


@pytest.mark.requirement("S0-014", "S1-044")
@pytest.mark.parametrize(
    ("text", "rows", "lines"),
    [
        ("1,2\n3,4\n", [["1", "2"], ["3", "4"]], [1, 2]),
        ("1,2\n3,4", [["1", "2"], ["3", "4"]], [1, 2]),
        ("1,2\r\n3,4\r\n", [["1", "2"], ["3", "4"]], [1, 2]),
        ("1,2\r3,4\r", [["1", "2"], ["3", "4"]], [1, 2]),
        ("1,2\r\r\n\n3,4\n", [["1", "2"], ["3", "4"]], [1, 4]),
        ("\n\n1,2\n\n", [["1", "2"]], [3]),
        (",\n", [["", ""]], [1]),
        ('""\n', [["", ""]], [1]),
        ("  \n", [["", ""]], [1]),
        ("1\n", [["1", ""]], [1]),
        ("1,2,,\n", [["1", "2"]], [1]),
        ("1,2, , \n", [["1", "2"]], [1]),
        (' 1 ,"\t2\u00a0"\n', [["1", "2"]], [1]),
        ('"1,\n""x"",\r\n2",3\n4,5\n', [['1,\n"x",\r\n2', "3"], ["4", "5"]], [1, 4]),
        ('5" pipe,2\n', [['5" pipe', "2"]], [1]),
        ("a\u2028b,c\x0bd\x85e\n", [["a\u2028b", "c\x0bd\x85e"]], [1]),
        ("", [], []),
        ("\r\n\r\n", [], []),
    ],
)
def test_what_a_row_is(text: str, rows: list[list[str]], lines: list[int]) -> None:
    """Every line with anything in it is a row, trimmed and padded, and knows its source line."""
    chunks = chunks_of(text.encode(), AB)
    assert rows_of(chunks) == rows
    assert lines_of(chunks) == lines
    assert faults_of(chunks) == {}


@pytest.mark.requirement("S0-014", "K-22")
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter: str) -> None:
    """A row is divided by the dialect's delimiter only."""
    others = "".join({",", ";", "\t", "|"} - {delimiter})
    line = f"x{others}x{delimiter}y\n"
    assert rows_of(chunks_of(line.encode(), AB, delimiter=delimiter)) == [[f"x{others}x", "y"]]


@pytest.mark.requirement("S0-018")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "cp1252", "cp932", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_their_offsets(encoding: str, end: str) -> None:
    """Rows, lines and byte offsets are exact in every encoding and with every line end."""
    name = {"cp1252": "Jürgen Ÿ €", "cp932": "表 田中", "gb18030": "王芳 丂"}.get(encoding, "ਊ 🙂 Müller")
    text = f'{name},1{end}"x{end}y",2{end}{end}{name},"{name}"{end}'
    data = text.encode(encoding)
    chunks = chunks_of(data, AB, encoding=encoding, max_rows=1)
    assert rows_of(chunks) == [[name, "1"], [f"x{end}y", "2"], [name, name]]
    assert lines_of(chunks) == [1, 2, 5]
    rests = [data[chunk.end.byte_offset :].decode(encoding) for chunk in chunks]
    assert rests[0].startswith('"x')
    assert rests[1] == f'{end}{name},"{name}"{end}'
    assert rests[2] == ""
    assert [chunk.end.line for chunk in chunks] == [2, 4, 6]


@pytest.mark.requirement("S0-014")
@pytest.mark.parametrize(
    ("line", "code", "cells"),
    [
        (b"1,2,3,4", "too_many_cells", ["1", "2", "3", "4"]),
        (b'"1"x,2', "broken_quote", ["1x", "2"]),
        (b'1,"2"x', "broken_quote", ["1", "2x"]),
        (b'1,"2', "broken_quote", ["1", "2"]),
        (b"1\x00,2", "nul_byte", ["1\ufffd", "2"]),
        (b"\xff,2", "bad_encoding", ["\ufffd", "2"]),
        (b"\xc3,2", "bad_encoding", ["\ufffd", "2"]),
        (b"1\x00,\xff,3", "bad_encoding", ["1\ufffd", "\ufffd", "3"]),
    ],
)
def test_a_faulty_row_is_one_row(line: bytes, code: str, cells: list[str]) -> None:
    """A row that cannot be read whole keeps its number, line and cells, and its neighbours are read."""
    data = b"x,1\n\n" + line + b'\ny,2\n"z\n",3\n'
    chunks = chunks_of(data, AB)
    assert rows_of(chunks) == [["x", "1"], cells, ["y", "2"], ["z", "3"]]
    assert lines_of(chunks) == [1, 3, 4, 5]
    assert faults_of(chunks) == {2: code}
    message = chunks[0].faults[0].message
    assert "{" not in message
    assert message.endswith(".")


@pytest.mark.requirement("S0-018")
@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("cp1252", b"\x81,2\n"),
        ("utf-16-le", b"\x00\xd8,\x002\x00\n\x00"),
        ("cp932", b"\x81,2\n"),
    ],
)
def test_bad_bytes_spoil_their_row_only(encoding: str, line: bytes) -> None:
    """Bytes that are nothing under the chosen encoding fault one row, not the file."""
    before, after = "a,1\n".encode(encoding), "b,2\n".encode(encoding)
    chunks = chunks_of(before + line + after, AB, encoding=encoding)
    assert [row[1] for row in rows_of(chunks)] == ["1", "2", "2"]
    assert faults_of(chunks) == {2: "bad_encoding"}


def test_half_a_code_unit_at_the_end_is_a_fault() -> None:
    """A UTF-16 file that was cut in the middle of a letter says so in its last row."""
    chunks = chunks_of("a,1\nb,2".encode("utf-16-le") + b"x", AB, encoding="utf-16-le")
    assert faults_of(chunks) == {2: "bad_encoding"}
    assert lines_of(chunks) == [1, 2]


@pytest.mark.requirement("S0-014")
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_an_unclosed_quote_costs_one_row_of_a_thousand(newline: str) -> None:
    """Line 3 opens a quote that is never closed: line 3 is broken, all other rows are read at their lines."""
    texts = [f"name {number},{number}" for number in range(1, 1001)]
    texts[2] = 'name 3,"3'
    data = newline.join(texts).encode()
    chunks = chunks_of(data, AB)
    assert [len(chunk.rows) for chunk in chunks] == [500, 500]
    assert rows_of(chunks) == [[f"name {number}", str(number)] for number in range(1, 1001)]
    assert lines_of(chunks) == list(range(1, 1001))
    assert faults_of(chunks) == {3: "broken_quote"}
    assert data[chunks[0].end.byte_offset :].startswith(b"name 501,501")


@pytest.mark.parametrize(
    ("inside", "faulty"),
    [
        ("x\n" * (MAX_OPEN_LINES - 1), False),
        ("x\n" * MAX_OPEN_LINES, True),
        ("x" * (MAX_OPEN_BYTES - len('"",b\n') - 1) + "\n", False),
        ("x" * (MAX_OPEN_BYTES - len('"",b\n')) + "\n", True),
    ],
)
def test_how_long_a_quote_may_stay_open(inside: str, faulty: bool) -> None:
    """A row over the bounds is broken at its first line; a row exactly at them is whole."""
    data = f'"{inside}",b\nnext,row\n'.encode()
    for sizes in ((), [7] * 40, [1000] * 400):
        chunks = chunks_of(data, AB, sizes=sizes)
        rows = rows_of(chunks)
        assert rows[-1] == ["next", "row"]
        assert (rows[0] == [inside.strip(), "b"]) is not faulty
        assert (faults_of(chunks).get(1) == "broken_quote") is faulty


@pytest.mark.requirement("S1-041")
@pytest.mark.parametrize("piece", [1 << 16, 1 << 20])
def test_a_line_of_ten_megabytes_is_one_row_in_bounded_memory(piece: int) -> None:
    """A 10 MB line is one faulty row, its neighbours are read, and it is never held whole."""
    chunker = CsvChunker(AB, CsvDialect("utf-8", ","), START)
    filler = b"y" * piece
    tracemalloc.start()
    try:
        chunks = chunker.feed(b"a,1\n")
        for _ in range(10 * (1 << 20) // piece):
            chunks += chunker.feed(filler)
        chunks += chunker.feed(b"\nb,2\n")
        while (chunk := chunker.finish()) is not None:
            chunks.append(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert faults_of(chunks) == {2: "row_too_long"}
    assert [row[1] for row in rows_of(chunks)] == ["1", "", "2"]
    assert lines_of(chunks) == [1, 2, 3]
    assert chunker.position == Position(1, 4 + 10 * (1 << 20) + 1 + 4, 4, 4)
    assert peak < 3 * MAX_ROW_BYTES


@pytest.mark.requirement("S1-041")
def test_a_whole_file_is_read_in_bounded_memory() -> None:
    """Reading five times as much takes no more memory."""

    def peak_of(repeats: int) -> int:
        chunker = CsvChunker(AB, CsvDialect("utf-8", ","), START)
        block = b'some name,"a, quoted cell"\n' * 5000
        rows = 0
        tracemalloc.start()
        try:
            for _ in range(repeats):
                rows += sum(len(chunk.rows) for chunk in chunker.feed(block))
            assert rows == 5000 * repeats
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_of(10) < 1.2 * peak_of(2)


def test_a_row_at_the_bound_is_whole_and_one_byte_more_is_not() -> None:
    """A row of exactly 1 MiB is read, cells over the csv module's own limit included."""
    fitting = b"x" * (MAX_ROW_BYTES - 3) + b",1\n"
    chunks = chunks_of(fitting + b"x" + fitting + b"a,b\n", AB)
    assert faults_of(chunks) == {2: "row_too_long"}
    rows = rows_of(chunks)
    assert [len(rows[0][0]), rows[0][1], rows[2]] == [MAX_ROW_BYTES - 3, "1", ["a", "b"]]
    assert csv.field_size_limit() >= MAX_ROW_BYTES


def test_a_quote_that_runs_into_a_huge_line_is_broken() -> None:
    """The row that opens the quote and the huge line are two faulty rows."""
    data = b'a,"1\n' + b"x" * (MAX_ROW_BYTES + 1) + b'",2\nb,3\n'
    for sizes in ((), [100_000] * 5):
        chunks = chunks_of(data, AB, sizes=sizes)
        assert faults_of(chunks) == {1: "broken_quote", 2: "row_too_long"}
        assert rows_of(chunks)[2] == ["b", "3"]


def test_chunks_end_at_rows_or_bytes() -> None:
    """A chunk has at most so many rows and bytes; a row that is larger alone stands alone."""
    data = b"aaa,1\n" * 3 + b"b" * 30 + b",2\n" + b"c,3\n"
    sizes = [len(chunk.rows) for chunk in chunks_of(data, AB, max_rows=2, max_bytes=20)]
    assert sizes == [2, 1, 1, 1]
    assert [len(chunk.rows) for chunk in chunks_of(data, AB, max_bytes=18)] == [3, 1, 1]
    assert [len(chunk.rows) for chunk in chunks_of(data, AB, max_bytes=17)] == [2, 1, 1, 1]


@pytest.mark.requirement("S1-045")
def test_full_chunks_come_while_the_file_is_still_read() -> None:
    """A chunk is handed out with the bytes that complete it, so whoever reads sets the pace."""
    chunker = CsvChunker(AB, CsvDialect("utf-8", ","), START, max_rows=2)
    assert chunker.feed(b"a,1\nb,") == []
    (chunk,) = chunker.feed(b"2\nc,3\n")
    assert (chunk.first_row_no, chunk.rows, chunk.end) == (1, [["a", "1"], ["b", "2"]], Position(1, 8, 3, 3))
    rest = chunker.finish()
    assert rest is not None
    assert (rest.first_row_no, rest.rows) == (3, [["c", "3"]])
    assert chunker.finish() is None


def test_finish_gives_every_row_behind_a_quote_that_never_closes() -> None:
    """Called until None, finish hands out the rest in chunks within the limit."""
    chunks = chunks_of(b'"a,1\n' + b"b,2\n" * 9, AB, max_rows=4)
    assert [len(chunk.rows) for chunk in chunks] == [4, 4, 2]
    assert faults_of(chunks) == {1: "broken_quote"}


def test_a_quote_that_never_closes_does_not_hold_up_the_file() -> None:
    """Rows behind it come as soon as the bounds are passed, however the pieces fall."""
    chunker = CsvChunker(AB, CsvDialect("utf-8", ","), START, max_rows=10)
    rows = len(chunker.feed(b'"a,1\n'))
    for _ in range(2 * MAX_OPEN_LINES):
        rows += sum(len(chunk.rows) for chunk in chunker.feed(b"b,2\n"))
    assert rows > MAX_OPEN_LINES


def count_parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of lines of every look at a single row."""
    parsed: list[int] = []
    parse = _LineByLine._parse

    def count(self: _LineByLine, texts: Sequence[str]) -> object:
        parsed.append(len(texts))
        return parse(self, texts)

    monkeypatch.setattr(_LineByLine, "_parse", count)
    return parsed


def test_a_long_row_that_comes_line_by_line_costs_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of 250 lines is looked at again when it has doubled, not at every line."""
    parsed = count_parsed(monkeypatch)
    data = b'"' + b"x\n" * 250 + b'",1\n'
    assert len(rows_of(chunks_of(data, AB, sizes=[2] * 260))) == 1
    assert sum(parsed) < 5 * 250


@pytest.mark.parametrize(
    "line", [b'a","b\n', b'"x\n', b'x,"y\n', b'"""\n', b'"a"b\n', b'""x""\n', b"\x00\n", b"\xff\n", b'a,"b\r']
)
def test_a_file_made_to_break_costs_its_length(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its lines are broken, each is parsed a few times at most."""
    parsed = count_parsed(monkeypatch)
    rows = rows_of(chunks_of(line * 5000, AB, sizes=[500] * 30))
    assert len(rows) in (5000, 2500)
    assert sum(parsed) <= 5 * 5000


def test_every_fault_has_a_sentence_that_says_what_to_do() -> None:
    """Each code's message states the fact and the remedy."""
    for message in FAULTS.values():
        assert message.count(". ") >= 1
        assert message.endswith(".")
