"""The child process that opens one file: `python -m ingress.formats.child REQUEST`, a `Request` as JSON.

It binds itself to its limits before it looks at the file. To its standard output go, a line each: the
`TableHead`, the rows as `stored_rows` writes them, and `{"rows": n}`; or, at any point, what refuses the file
as the last line: `{"error": {"type": "FileHasNoRows", "facts": {}}}`. An end without one of these two says
that the file was too much for it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from ingress.formats.limits import Limits, end_with_parent, limit_this_process
from ingress.formats.opening import Asked, FileTooDemanding, Kind, opener_of
from ingress.formats.rows import MAX_COLUMNS, HeaderUnreadable
from ingress.formats.stored_rows import encode_row
from sluice.errors import FileHasNoRows, FileHasTooManyRows, Refused

# Written together: as much as a pipe holds.
OUTPUT_BYTES = 64 * 1024

# A thousand columns with names of sixty characters: it travels with the job.
MAX_HEADER_CHARACTERS = 64 * 1024


class Request(msgspec.Struct, frozen=True):
    """Which file to open, as what."""

    path: str
    kind: Kind
    asked: Asked
    limits: Limits


class TableHead(msgspec.Struct, frozen=True):
    """A table without its rows (see `opening.Table`). Of an archive, `kind` is what its file is."""

    columns: tuple[str, ...]
    sheets: tuple[str, ...]
    notes: tuple[str, ...]
    encoding: str
    delimiter: str
    kind: Kind


def main() -> None:
    """Open the file that the one argument names."""
    sys.excepthook = tell_place
    request = msgspec.json.decode(sys.argv[1], type=Request)
    end_with_parent()
    limit_this_process(request.limits)
    with open(1, "wb", buffering=OUTPUT_BYTES) as output:
        try:
            output.writelines(table_lines(request))
        except Refused as refusal:
            output.write(_refusal_line(refusal))
        except MemoryError:
            output.write(_refusal_line(FileTooDemanding(resource="memory")))


def table_lines(request: Request) -> Iterator[bytes]:
    """Everything that is written for a file that is not refused."""
    table = opener_of(request.kind)(Path(request.path), request.asked)
    if len(table.columns) > MAX_COLUMNS:
        problem = f"it has {len(table.columns)} columns, and {MAX_COLUMNS} are read at most."
        raise HeaderUnreadable(problem=problem)
    if sum(map(len, table.columns)) > MAX_HEADER_CHARACTERS:
        raise HeaderUnreadable(problem=f"its names have more than {MAX_HEADER_CHARACTERS} characters.")
    head = TableHead(
        columns=table.columns,
        sheets=table.sheets,
        notes=table.notes,
        encoding=table.encoding,
        delimiter=table.delimiter,
        kind=table.inner or request.kind,
    )
    yield msgspec.json.encode(head) + b"\n"
    count = 0
    for row in table.rows:
        if line := encode_row(row):
            count += 1
            if count > request.limits.max_rows:
                raise FileHasTooManyRows(limit=request.limits.max_rows)
            yield line
    if not count:
        raise FileHasNoRows()
    yield msgspec.json.encode({"rows": count}) + b"\n"


def tell_place(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write where an error came from and its type, but not its text: that may hold a cell's value."""
    for frame in traceback.extract_tb(trace, -1):
        print(f'  File "{frame.filename}", line {frame.lineno}', file=sys.stderr)
    print(f"{kind.__module__}.{kind.__qualname__}", file=sys.stderr)


def _refusal_line(refusal: Refused) -> bytes:
    error = {"type": type(refusal).__name__, "facts": refusal.facts}
    return msgspec.json.encode({"error": error}, enc_hook=str) + b"\n"


if __name__ == "__main__":
    main()
