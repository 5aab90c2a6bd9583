"""Rows of opened files: what is stored is read again, from any chunk's end, and holds nothing unstorable."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.formats.opening import OpenedRow, faulty_row
from ingress.formats.rows import FAULTS, MAX_ROW_BYTES
from ingress.formats.stored_rows import encode_row
from tests.unit.ingress.formats.opening import stored_chunks
from tests.unit.ingress.formats.reading import faults_of, lines_of, rows_of

unhurried = settings(deadline=None)

COLUMNS = ("a", "b", "c")

# Any character there is, halves of pairs and NUL with them.
cells = st.lists(st.text(max_size=8), min_size=1, max_size=4)
faults = st.none() | st.tuples(st.sampled_from(sorted(FAULTS)), st.text(st.characters(codec="utf-8")))
tables = st.lists(st.tuples(st.integers(1, 10**6), cells, faults), max_size=20)
sizes = st.lists(st.integers(0, 40), max_size=30)
limits = st.tuples(st.integers(1, 6), st.integers(1, 120))  # rows and bytes of a chunk


@unhurried
@given(table=tables, sizes=sizes)
def test_rows_come_back_as_they_went(table: list[OpenedRow], sizes: list[int]) -> None:
    """Cells, lines and faults are those of the opener, save for what no text can hold, which is a fault."""
    chunks = stored_chunks(b"".join(map(encode_row, table)), COLUMNS, sizes=sizes)
    assert lines_of(chunks) == [line for line, _, _ in table]
    assert [chunk.end.line for chunk in chunks] == [chunk.lines[-1] + 1 for chunk in chunks]
    for row_no, (row, (_, cells, fault)) in enumerate(zip(rows_of(chunks), table, strict=True), 1):
        storable = all("\0" not in cell and not _has_surrogate(cell) for cell in cells)
        code = faults_of(chunks).get(row_no)
        if fault is not None:
            assert code == fault[0]
        elif not storable:
            assert code in ("nul_byte", "half_character")
        else:
            stripped = [cell.strip() for cell in cells]
            assert row[:3] == (stripped + [""] * 3)[:3]
            assert code == ("too_many_cells" if any(stripped[3:]) else None)


def _has_surrogate(cell: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in cell)


@unhurried
@given(table=tables, sizes=sizes, limits=limits)
def test_any_chunks_end_gives_the_chunks_that_follow(
    table: list[OpenedRow], sizes: list[int], limits: tuple[int, int]
) -> None:
    """Reading from the end of any chunk, in any pieces, gives exactly the rest of the chunks."""
    data = b"".join(map(encode_row, table))
    whole = stored_chunks(data, COLUMNS, max_rows=limits[0], max_bytes=limits[1])
    for number, chunk in enumerate(whole, 1):
        again = stored_chunks(
            data, COLUMNS, start=chunk.end, sizes=sizes, max_rows=limits[0], max_bytes=limits[1]
        )
        assert again == whole[number:]
        assert len(chunk.rows) <= limits[0]


def test_a_row_without_cells_is_not_stored() -> None:
    """A blank row of a sheet is no row, as a blank line of a CSV file is none."""
    assert encode_row((7, [], None)) == b""
    assert encode_row(faulty_row(7, [], "broken_quote")) != b""


@pytest.mark.parametrize(
    ("cells", "code", "shown"),
    [
        (["a\0b", "c"], "nul_byte", ["a\ufffdb", "c", ""]),
        (["\ud83d", "c"], "half_character", ["\ufffd", "c", ""]),
        (["x" * MAX_ROW_BYTES], "row_too_long", ["x" * 1024, "", ""]),
        (["\0\ud800"], "half_character", ["\ufffd\ufffd", "", ""]),
    ],
)
def test_what_cannot_be_stored_is_the_rows_own_fault(cells: list[str], code: str, shown: list[str]) -> None:
    """NUL, half a character and a row beyond all bounds cost that row alone, which shows what it was."""
    data = encode_row((2, cells, None)) + encode_row((3, ["next"], None))
    chunks = stored_chunks(data, COLUMNS)
    assert rows_of(chunks) == [shown, ["next", "", ""]]
    assert faults_of(chunks) == {1: code}


def test_a_text_that_looks_like_an_escaped_nul_is_a_text() -> None:
    r"""The six characters \u0000 in a cell are no NUL."""
    chunks = stored_chunks(encode_row((2, [r"\u0000"], None)), COLUMNS)
    assert rows_of(chunks) == [[r"\u0000", "", ""]]
    assert faults_of(chunks) == {}
