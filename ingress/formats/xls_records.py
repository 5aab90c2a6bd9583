"""What calamine does not tell of an old workbook (xls): its error cells, and every way of having a password.

An xls file is a container of streams ([MS-CFB]); the stream of the workbook is a row of records ([MS-XLS]),
each a number and a length of two bytes and its data. A file that does not hold together has neither.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ingress.formats.xlsx_cells import ShownCell

ERRORS = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}

_BEGIN, _END, _PASSWORD, _SHEET, _VALUE, _FORMULA = 0x0809, 0x000A, 0x002F, 0x0085, 0x0205, 0x0006
_LAST_SECTOR = 0xFFFFFFFA  # numbers above it end a chain or mark a sector


def has_password(path: Path) -> bool:
    """Whether the first records say that the others are encrypted: calamine knows one way of two."""
    return any(number == _PASSWORD for number, _ in _records(_workbook_stream(path.read_bytes()), 0))


def error_cells(path: Path, sheet_index: int) -> Iterator[ShownCell]:
    """The error cells of the sheet with this number, from 0, in the order of its rows."""
    stream = _workbook_stream(path.read_bytes())
    starts = [int.from_bytes(data[:4], "little") for number, data in _records(stream, 0) if number == _SHEET]
    return iter(sorted(_errors(stream, starts[sheet_index])) if sheet_index < len(starts) else ())


def _errors(stream: bytes, start: int) -> Iterator[ShownCell]:
    for number, data in _records(stream, start):
        if number == _VALUE and data[7:8] == b"\x01":
            code = data[6]
        elif number == _FORMULA and data[6:7] == b"\x02" and data[12:14] == b"\xff\xff":
            code = data[8]
        else:
            continue
        row, column = struct.unpack_from("<2H", data)
        yield row, column, ERRORS.get(code, "#UNKNOWN!")


def _records(stream: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The records from a substream's begin to its end, without those of charts within it."""
    at, depth = start, 0
    while at + 4 <= len(stream):
        number, length = struct.unpack_from("<2H", stream, at)
        depth += (number == _BEGIN) - (number == _END)
        if depth == 0:
            return
        if depth == 1:
            yield number, stream[at + 4 : at + 4 + length]
        at += 4 + length


def _workbook_stream(content: bytes) -> bytes:
    """The workbook's stream out of the container; nothing where that does not hold together."""
    try:
        return _Container(content).stream("Workbook", "Book")
    except (struct.error, LookupError, ValueError, StopIteration):
        return b""


class _Container:
    """Streams in sectors, chained by an allocation table; short ones in small sectors of the root's own."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._size = 1 << min(*struct.unpack_from("<H", content, 30), 16)
        self._links = _numbers(self._sectors(self._table_sectors()))
        (start,) = struct.unpack_from("<I", content, 48)
        directory = self._sectors(_chain(self._links, start))
        self._entries = {
            _name_of(entry): struct.unpack_from("<2I", entry, 116)
            for entry in (directory[at : at + 128] for at in range(0, len(directory) - 127, 128))
        }

    def stream(self, *names: str) -> bytes:
        """The first of these streams that there is."""
        start, length = next(self._entries[name] for name in names if name in self._entries)
        small_below, small_table = struct.unpack_from("<2I", self._content, 56)
        if length >= small_below:
            return self._sectors(_chain(self._links, start))[:length]
        small = self._sectors(_chain(self._links, self._entries["Root Entry"][0]))
        links = _numbers(self._sectors(_chain(self._links, small_table)))
        return b"".join(small[number * 64 : number * 64 + 64] for number in _chain(links, start))[:length]

    def _table_sectors(self) -> list[int]:
        """The sectors of the table: 109 are named in the header, the others in sectors of their own."""
        count, following = struct.unpack_from("<I20xI", self._content, 44)
        found = list(struct.unpack_from("<109I", self._content, 76))
        taken: set[int] = set()
        while following < _LAST_SECTOR and following not in taken and len(found) < count:
            taken.add(following)  # a ring of them brings nothing new
            *more, following = _numbers(self._sectors([following]))
            found += more
        return [number for number in found[:count] if number < _LAST_SECTOR]

    def _sectors(self, numbers: Iterable[int]) -> bytes:
        size = self._size
        return b"".join(self._content[(number + 1) * size : (number + 2) * size] for number in numbers)


def _name_of(entry: bytes) -> str:
    (length,) = struct.unpack_from("<H", entry, 64)
    return entry[: min(max(length - 2, 0), 64)].decode("utf-16-le", "replace")


def _chain(links: Sequence[int], start: int) -> Iterator[int]:
    """The sectors from this one on; a ring of them ends when it is as long as the table."""
    number = start
    for _ in links:
        if number >= _LAST_SECTOR:
            return
        yield number
        number = links[number]


def _numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
