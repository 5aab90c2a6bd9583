"""What every format is read into: rows in chunks, their faults, and the place where the next row starts.

A format turns the bytes of one stored part into `RowChunk`s. A row is a list of trimmed texts, one a column;
a row that cannot be read whole is still a row: it keeps its number, its line and what is known of its cells,
and a `Fault` says what is wrong with it. Whoever judges rows answers a faulty one as `invalid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sluice.errors import FileRefused

# More is no contact list; Excel's own limit is 16,384, and a row of that many cells costs more than it tells.
MAX_COLUMNS = 1_000

# A row is held whole in memory and travels in one message.
MAX_ROW_BYTES = 256 * 1024

FAULTS: Mapping[str, str] = {
    "too_many_cells": "The row has {cells} cells, the header has {columns}."
    " Put a cell that contains the delimiter in quotation marks.",
    "broken_quote": "A quotation mark in the row is never closed, or text follows a closing one."
    " Put the whole cell in quotation marks and double those inside it.",
    "nul_byte": "The row contains a NUL byte, which no text can hold. Remove it, or export the file again.",
    "half_character": "The row contains half of a character that is written in two. Export the file again.",
    "bad_encoding": "The row contains bytes that are no {encoding} text. Save the file as UTF-8, or name its"
    " encoding.",
    "row_too_long": "The row is longer than {limit} bytes. Look for a missing line end or quotation mark.",
    "broken_json": "The line is no JSON: {problem}. Write one whole object on each line.",
    "not_an_object": "The element is {found}, not an object. Give each contact as an object.",
    "too_deep": "The row's values are nested in more than {limit} levels. Give them as names and values.",
    "card_not_begun": "The lines belong to no card: BEGIN:VCARD is missing. Add it, or remove them.",
    "card_not_ended": "The card has no END:VCARD. Add it behind the card's last line.",
    "group_card": "The card is a group of contacts, not a contact. Its members have cards of their own.",
    "broken_line": "Line {line} cannot be read: {problem}. Correct it, or remove it.",
    "change_record": "The entry asks for a change ({change}) of another. Export whole entries.",
    "no_dn": "The entry does not begin with a dn: line. Look for an empty line inside the entry before it.",
}


class HeaderUnreadable(FileRefused):
    """The file's header line cannot be read: {problem}"""

    code = "HEADER_UNREADABLE"
    mendable = True


class FileUnreadable(FileRefused):
    """The file is no {kind} that can be read: {problem}"""

    code = "FILE_UNREADABLE"


class FileHasNoContacts(FileRefused):
    """The file holds no {what}. Add at least one contact."""

    code = "FILE_HAS_NO_ROWS"


class FileHasTooManyFields(FileRefused):
    """The file's contacts have more than {limit} different fields, which is the most that is read.
    Leave out those that are not needed."""

    code = "TOO_MANY_COLUMNS"


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next row starts; lines without anything in them may come before it.

    `part_no` counts from 1, `byte_offset` from 0 at the part's first byte (its byte order mark included);
    `line` is the physical line at that offset and `row_no` the number of the next row, both from 1.
    """

    part_no: int
    byte_offset: int
    line: int
    row_no: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row could not be read whole: `index` in its chunk from 0, a code of `FAULTS`, its sentence."""

    index: int
    code: str
    message: str


@dataclass(slots=True)
class RowChunk:
    """Whole consecutive rows.

    Every row has at least as many cells as there are columns, a faulty one perhaps more. `lines[i]` is the
    physical line on which `rows[i]` starts. `end` lies directly behind the last row.
    """

    first_row_no: int
    rows: list[list[str]]
    lines: list[int]
    faults: list[Fault]
    end: Position


class Chunker(Protocol):
    """Bytes of one part in, in pieces of any size; chunks of whole rows out (see `csv.CsvChunker`)."""

    def feed(self, data: bytes) -> list[RowChunk]:
        """The chunks that these bytes complete, in order."""
        ...

    def finish(self) -> RowChunk | None:
        """After the last byte: the next chunk of the rest, None when nothing is left."""
        ...
