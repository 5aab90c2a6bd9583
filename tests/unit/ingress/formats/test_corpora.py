"""Files that others made, read from the folder that `SLUICE_CORPORA` names."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from ingress.formats.inspect import inspect_head
from sluice.errors import FileRefused
from tests.unit.ingress.formats.reading import chunks_of, faults_of, lines_of, rows_of

CORPORA = Path(os.environ.get("SLUICE_CORPORA", "corpora"))
SPECTRUM = sorted((CORPORA / "csv-spectrum" / "csvs").glob("*.csv"))
UNIVOCITY = sorted(path for path in (CORPORA / "univocity-parsers").rglob("*") if path.is_file())

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="SLUICE_CORPORA names no folder")


def read(path: Path, sizes: list[int]) -> tuple[list[dict[str, str]], dict[int, str]]:
    """The rows of a file by column, and its faults."""
    data = path.read_bytes()
    head = inspect_head(data, complete=True)
    encoding, delimiter = head.dialect.encoding, head.dialect.delimiter
    chunks = chunks_of(
        data, head.columns, encoding=encoding, delimiter=delimiter, start=head.first, sizes=sizes
    )
    lines = lines_of(chunks)
    assert lines == sorted(set(lines))
    rows = [dict(zip(head.columns, row, strict=False)) for row in rows_of(chunks)]
    return rows, faults_of(chunks)


@pytest.mark.requirement("S0-014", "S1-043")
@pytest.mark.parametrize("path", SPECTRUM, ids=lambda path: path.name)
def test_csv_spectrum(path: Path) -> None:
    """Every file of csv-spectrum gives exactly its expected records, save for trimmed white space."""
    expected = json.loads((path.parent.parent / "json" / f"{path.stem}.json").read_text())
    expected = expected if isinstance(expected, list) else [expected]
    rows, faults = read(path, sizes=[5] * 20)
    if path.name == "location_coordinates.csv":  # its phone number differs between the two files
        expected[0]["Contact Phone Number"] = "2095257564"
    assert rows == [{name: value.strip() for name, value in record.items()} for record in expected]
    assert faults == {}


@pytest.mark.parametrize("path", UNIVOCITY, ids=lambda path: path.name)
def test_univocity_files_never_crash(path: Path) -> None:
    """Preambles, comments, ragged rows and other delimiters end in rows, faults or a refusal."""
    with contextlib.suppress(FileRefused):
        assert read(path, sizes=[]) == read(path, sizes=[3] * 50)


@pytest.mark.parametrize(
    ("name", "rows", "columns", "column", "value"),
    [
        ("google/google_contacts.csv", 3, 56, "Given Name", None),
        ("outlook/outlook.csv", 3, 22, "E-mail Address", "adam.glacius@anycom.com"),
    ],
)
def test_contact_exports(name: str, rows: int, columns: int, column: str, value: str | None) -> None:
    """Address books as Google and Outlook export them are read whole, short rows padded."""
    read_rows, faults = read(CORPORA / "contacts-csv" / name, sizes=[])
    assert [len(row) for row in read_rows] == [columns] * rows
    assert column in read_rows[0]
    assert value is None or read_rows[0][column] == value
    assert faults == {}
