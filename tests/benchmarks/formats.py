"""Reading each kind of file against its bare parser, and analysis; no server needed.

What is measured is one process's time from stored bytes to chunks of rows: for text the chunker itself, for
other kinds the child process that opens them, its start included, and reading its rows back.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import python_calamine

from ingress.analysis.analysis import Analysis
from ingress.formats.children import open_rows
from ingress.formats.csv import CsvChunker
from ingress.formats.inspect import inspect_head
from ingress.formats.opening import Asked, Kind
from ingress.formats.parts import PartFormat, open_chunker
from ingress.formats.rows import Position
from ingress.reading.job import StoredOptions, event_options
from tests.benchmarks.reader_stage import contacts
from tests.unit.ingress.formats.workbooks import make_workbook

FORMATS, ANALYSIS = "formats", "analysis"

Rows = list[list[str]]
Facts = dict[str, object]


def formats(rows: int, rounds: int) -> Facts:
    """Rows a second of each kind, and as a share of its bare parser's."""
    table = list(csv.reader(io.StringIO(contacts(rows).decode())))
    with tempfile.TemporaryDirectory() as directory:
        files = _files(Path(directory), table)
        found = {kind.value: _compare(kind, path, rows, rounds) for kind, path in files.items()}
    return {
        "what": "reading a file of each kind, against its bare parser",
        "rows": rows,
        "ratios": {kind: each["ratio"] for kind, each in found.items()},
        "kinds": found,
    }


def analysis(rows: int, rounds: int) -> Facts:
    """Rows a second of an analysis, and when the first proposals are there."""
    data = contacts(rows)
    speeds, firsts = [], []
    for _ in range(rounds):
        head = inspect_head(data, complete=True)
        chunker = CsvChunker(head.columns, head.dialect, head.first)
        options = event_options(StoredOptions(required=["email"]), datetime(2026, 1, 1, tzinfo=UTC))
        started = time.perf_counter()
        first = 0.0
        with Analysis(head.columns, options, None) as looked:
            for at in range(head.first.byte_offset, len(data), 1 << 20):
                for chunk in chunker.feed(data[at : at + (1 << 20)]):
                    looked.add(chunk)
                    first = first or time.perf_counter() - started
            while (rest := chunker.finish()) is not None:
                looked.add(rest)
            assert looked.summary()["totalRows"] == rows
        speeds.append(rows / (time.perf_counter() - started))
        firsts.append(first)
    return {
        "what": "analysis of a file: columns, proposals, every row judged",
        "rows": rows,
        "rows_per_second": round(statistics.median(speeds)),
        "seconds_to_first_proposals": round(statistics.median(firsts), 3),
    }


def _files(directory: Path, table: Rows) -> Mapping[Kind, Path]:
    header, *rows = table
    text = contacts(len(rows))
    records = [dict(zip(header, row, strict=True)) for row in rows]
    cards = "".join(
        f"BEGIN:VCARD\r\nVERSION:3.0\r\nN:{row[2]};{row[1]};;;\r\nEMAIL:{row[0]}\r\nTEL:{row[3]}\r\n"
        f"ORG:{row[4]}\r\nEND:VCARD\r\n"
        for row in rows
    )
    entries = "".join(
        f"dn: cn={row[0]}\nmail: {row[0]}\ngivenName: {row[1]}\nsn: {row[2]}\ntelephoneNumber: {row[3]}\n\n"
        for row in rows
    )
    contents = {
        Kind.CSV: text,
        Kind.GZIP: gzip.compress(text, 1),
        Kind.JSON: json.dumps(records).encode(),
        Kind.NDJSON: "\n".join(map(json.dumps, records)).encode(),
        Kind.VCARD: cards.encode(),
        Kind.LDIF: entries.encode(),
    }
    paths = {}
    for kind, content in contents.items():
        paths[kind] = directory / f"contacts.{kind.value}"
        paths[kind].write_bytes(content)
    paths[Kind.XLSX] = make_workbook(directory / "contacts.xlsx", table)
    return paths


def _compare(kind: Kind, path: Path, rows: int, rounds: int) -> Facts:
    bare = _BARE.get(kind)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_timed(lambda: _ours(kind, path, rows)))
        if bare is not None:
            theirs.append(_timed(lambda: bare(path)))
    ratios = [bare_s / our_s for bare_s, our_s in zip(theirs, ours, strict=False)]
    return {
        "rows_per_second": round(rows / statistics.median(ours)),
        "ratio": round(statistics.median(ratios), 3) if ratios else None,
    }


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ours(kind: Kind, path: Path, rows: int) -> None:
    if kind is Kind.CSV:
        data = path.read_bytes()
        head = inspect_head(data, complete=True)
        form = PartFormat(columns=list(head.columns), delimiter=head.dialect.delimiter)
        count = _count(form, data, head.first)
    else:
        count = asyncio.run(_opened(kind, path))
    assert count == rows, (kind, count)


async def _opened(kind: Kind, path: Path) -> int:
    async with open_rows(path, kind, Asked()) as opened:
        stored = b"".join([piece async for piece in opened.pieces()])
    form = PartFormat(kind="rows", columns=list(opened.head.columns))
    return _count(form, stored, Position(1, 0, 1, 1))


def _count(form: PartFormat, data: bytes, start: Position) -> int:
    chunker = open_chunker(form, start)
    count = sum(len(chunk.rows) for chunk in chunker.feed(data[start.byte_offset :]))
    while (rest := chunker.finish()) is not None:
        count += len(rest.rows)
    return count


def _bare_csv(path: Path) -> object:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def _bare_gzip(path: Path) -> object:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.reader(file))


def _bare_xlsx(path: Path) -> object:
    return python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()


_BARE: Mapping[Kind, Callable[[Path], object]] = {
    Kind.CSV: _bare_csv,
    Kind.GZIP: _bare_gzip,
    Kind.XLSX: _bare_xlsx,
    Kind.JSON: lambda path: msgspec.json.decode(path.read_bytes()),
    Kind.NDJSON: lambda path: msgspec.json.Decoder().decode_lines(path.read_bytes()),
}
"""Where there is a bare parser in use here: cards and directory entries have only ours."""
