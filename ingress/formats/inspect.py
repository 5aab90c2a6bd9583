"""The head of a file to its header: is it CSV at all, in which encoding and dialect, with which columns.

Three questions in this order, each answered by a function below: what else could the file be
(`FileNotCsv`), how is it encoded, and which delimiter makes the most even table of its first rows. What was
guessed and not known is told in `notes`, for the person who confirms it.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingress.formats.csv import CsvDialect
from ingress.formats.encoding import WIDE, EncodingGuess, LineSplitter, canonical_encoding, guess_encoding
from ingress.formats.rows import MAX_COLUMNS, MAX_ROW_BYTES, HeaderUnreadable, Position
from sluice.errors import FileEmpty, FileHasNoRows, FileNotCsv, OptionInvalid
from sluice.values.headers import map_columns

# How much of a file's start is looked at; a header has to end within it.
HEAD_BYTES = 256 * 1024

DELIMITERS = (",", ";", "\t", "|")

# The rows that decide on the delimiter: enough to see a pattern, few enough to cost nothing.
SAMPLED_ROWS = 50

# Bytes that no text has (control characters except tab, line ends, form feed and the old end of file) make
# one in ten of random bytes and next to none of a text; a NUL or two in a row of a CSV file is that row's
# fault.
BINARY_SHARE = 0.05

_CONTROL = bytes({*range(0x20)} - {0x09, 0x0A, 0x0C, 0x0D, 0x1A})

SIGNATURES: Sequence[tuple[bytes, str]] = (
    (b"%PDF-", "it is a PDF document"),
    (b"PK\x03\x04", "it is a ZIP archive or an Excel workbook"),
    (b"PK\x05\x06", "it is an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is an old Excel or Word document"),
    (b"\x89PNG\r\n", "it is a PNG image"),
    (b"\xff\xd8\xff", "it is a JPEG image"),
    (b"GIF87a", "it is a GIF image"),
    (b"GIF89a", "it is a GIF image"),
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"BZh", "it is compressed with bzip2"),
    (b"\xfd7zXZ\x00", "it is compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive"),
    (b"Rar!\x1a\x07", "it is a RAR archive"),
    (b"{\\rtf", "it is an RTF document"),
    (b"SQLite format 3\x00", "it is an SQLite database"),
    (b"PAR1", "it is a Parquet file"),
    (b"\x7fELF", "it is a program"),
)

_MARKUP: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"<(!doctype\s|html[\s>])", re.IGNORECASE), "it is a web page"),
    (re.compile(r"<\?xml\s", re.IGNORECASE), "it is an XML document"),
    (re.compile(r"begin:vcard\s", re.IGNORECASE), "it is a vCard address book"),
    (re.compile(r'\{\s*("[^"]*"\s*:|\})|\[\s*(\{\s*"|"[^"]*"\s*[,\]]\s*["\]]|\])'), "it is a JSON document"),
)

# Lines above the header, such as a title or LinkedIn's notes, are looked for within this many.
PREAMBLE_LINES = 10

_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?', re.IGNORECASE)
_FORBIDDEN_IN_NAMES = str.maketrans("", "", "<>\"'\0")


@dataclass(frozen=True, slots=True)
class SourceHead:
    """What the head of a CSV file tells.

    `columns` are unique names, one a column; `first` is where the first row starts (in part 1). `certain` is
    False when the encoding was guessed; `notes` are sentences for the person who can confirm or change it.
    """

    columns: tuple[str, ...]
    dialect: CsvDialect
    first: Position
    certain: bool
    notes: tuple[str, ...]


def inspect_head(
    head: bytes, *, complete: bool, encoding: str | None = None, delimiter: str | None = None
) -> SourceHead:
    """Read the header of a file from its first bytes, at most `HEAD_BYTES`; `complete` says these are all.

    `encoding` and `delimiter` override what the file looks like. Raises FileEmpty, FileHasNoRows, FileNotCsv,
    HeaderUnreadable, and OptionInvalid for an encoding or delimiter that cannot be.
    """
    head, complete = head[:HEAD_BYTES], complete and len(head) <= HEAD_BYTES
    refuse_other_formats(head)
    guess = choose_encoding(head, encoding, complete=complete)
    lines = _whole_lines(head[guess.bom_bytes :], guess.encoding, complete=complete)
    texts = [line.decode(guess.encoding, "replace") for line in lines]
    blank = _blank_lines(texts)
    if blank == len(texts):
        if complete:
            raise FileEmpty()
        raise HeaderUnreadable(problem=f"it does not end within {HEAD_BYTES} bytes.")
    hint = _SEPARATOR_LINE.fullmatch(texts[blank].rstrip("\r\n"))
    header_at = blank + 1 + _blank_lines(texts[blank + 1 :]) if hint else blank
    if header_at == len(texts):
        raise FileEmpty()
    wanted = _checked(delimiter or (hint and hint[1]))
    above = _lines_above(wanted, texts[header_at:])
    header_at += above
    chosen = _choose_delimiter(wanted, texts[header_at:])
    cells, behind = _read_header(texts, header_at, chosen)
    _refuse_wrong_bytes(b"".join(lines[header_at:behind]), guess.encoding)
    if complete and _blank_lines(texts[behind:]) == len(texts) - behind:
        raise FileHasNoRows()
    offset = guess.bom_bytes + sum(map(len, lines[:behind]))
    return SourceHead(
        columns=name_columns(cells),
        dialect=CsvDialect(guess.encoding, chosen),
        first=Position(part_no=1, byte_offset=offset, line=behind + 1, row_no=1),
        certain=guess.certain,
        notes=(
            *((guess.note,) if guess.note else ()),
            *((above_note("line", header_at + 1),) if above else ()),
        ),
    )


def refuse_other_formats(head: bytes) -> None:
    """Raise FileNotCsv for content that is plainly something else, whatever the file is called."""
    for signature, found in SIGNATURES:
        if head.startswith(signature):
            raise FileNotCsv(found=found)
    guess = guess_encoding(head[:4096], complete=False)
    if not guess.encoding.startswith(("utf-16", "utf-32")):
        _refuse_binary(head)
    try:
        start = head[guess.bom_bytes : 4096].decode(guess.encoding, "replace").lstrip()
    except LookupError:
        return
    for pattern, found in _MARKUP:
        if pattern.match(start):
            raise FileNotCsv(found=found)


def name_columns(cells: Sequence[str]) -> tuple[str, ...]:
    """The header's cells as names: cleaned, never empty, never twice.

    `<`, `>` and quotation marks go, as names are shown on pages. An empty name becomes `column 3`, the second
    `email` becomes `email (2)`.
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, cell in enumerate(cells, 1):
        plain = " ".join(cell.translate(_FORBIDDEN_IN_NAMES).split()) or f"column {number}"
        name, copy = plain, 1
        while name in taken:
            copy += 1
            name = f"{plain} ({copy})"
        taken.add(name)
        names.append(name)
    return tuple(names)


def rows_above(rows: Iterable[Sequence[str]]) -> int:
    """How many of a table's first rows stand above its header, each alone in its row: usually none.

    Only a row of three cells or more, of which two or more name contact fields, is a header below others.
    """
    for index, cells in enumerate(rows):
        filled = sum(1 for cell in cells if cell.strip())
        if index and filled >= 3 and sum(map(bool, map_columns(cells).fields)) >= 2:
            return index
        if filled > 1:
            return 0
    return 0


def above_note(unit: str, number: int) -> str:
    """The sentence for a header that is not the first thing in the file, but in this line or row of it."""
    return f"The columns' names were taken from {unit} {number}; what stands above them was not read."


def _lines_above(wanted: str | None, texts: Sequence[str]) -> int:
    """How many lines stand above the header, by whichever delimiter finds it."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    for delimiter in (wanted,) if wanted else DELIMITERS:
        rows: list[list[str]] = []
        lines: list[int] = []  # above each row
        reader = csv.reader(iter(texts[:PREAMBLE_LINES]), delimiter=delimiter)
        with suppress(csv.Error):
            behind = 0
            for row in reader:
                rows.append([cell.strip() for cell in row])
                lines.append(behind)
                behind = reader.line_num
        if above := rows_above(rows):
            return lines[above]
    return 0


def _refuse_binary(head: bytes) -> None:
    control = len(head) - len(head.translate(None, _CONTROL))
    if control > max(8, BINARY_SHARE * len(head)):
        raise FileNotCsv(found="it holds binary data")


def choose_encoding(head: bytes, wanted: str | None, *, complete: bool) -> EncodingGuess:
    """How a file that starts with `head` is read: as the caller wants it, else as it looks.

    Raises HeaderUnreadable for UTF-32, OptionInvalid for a wanted encoding that cannot be.
    """
    guess = guess_encoding(head, complete=complete)
    if wanted is None:
        if canonical_encoding(guess.encoding) is None:
            raise HeaderUnreadable(problem=f"it is in {guess.encoding.upper()}. Save the file as UTF-8.")
        return guess
    named = canonical_encoding(wanted)
    if named is None:
        allowed = "the name of a text encoding, such as utf-8, utf-16 or windows-1252"
        raise OptionInvalid(field="encoding", value=wanted, allowed=allowed)
    either_order = guess.bom_bytes > 0 or codecs.lookup(wanted.strip()).name == "utf-16"
    if named in WIDE and guess.encoding in WIDE and either_order:
        return EncodingGuess(guess.encoding, guess.bom_bytes, certain=True)
    return EncodingGuess(named, guess.bom_bytes if guess.encoding == "utf-8" else 0, certain=True)


def _whole_lines(data: bytes, encoding: str, *, complete: bool) -> list[bytes]:
    splitter = LineSplitter(encoding)
    block = splitter.feed(data)
    if complete:
        block.extend(splitter.finish())
    return block.lines


def _refuse_wrong_bytes(header: bytes, encoding: str) -> None:
    try:
        sound = "\0" not in header.decode(encoding)
    except UnicodeDecodeError:
        sound = False
    if not sound:
        problem = "it holds bytes that are no text. Name the file's encoding, or save it as UTF-8."
        raise HeaderUnreadable(problem=problem)


def _blank_lines(texts: Sequence[str]) -> int:
    """How many lines at the start have nothing in them."""
    for index, text in enumerate(texts):
        if text.strip("\r\n"):
            return index
    return len(texts)


def can_delimit(text: str) -> bool:
    """Whether this can stand between cells: one character, and none that cells are made of."""
    return len(text) == 1 and not text.isalnum() and text not in ' "\r\n\0'


def _checked(delimiter: str | None) -> str | None:
    if delimiter and not can_delimit(delimiter):
        allowed = "one character such as , ; | or a tab"
        raise OptionInvalid(field="delimiter", value=delimiter, allowed=allowed)
    return delimiter


def _choose_delimiter(wanted: str | None, texts: Sequence[str]) -> str:
    if wanted:
        return wanted
    best, best_score = DELIMITERS[0], (0.0, 0)
    for delimiter in DELIMITERS:
        score = _evenness(texts, delimiter)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _evenness(texts: Sequence[str], delimiter: str) -> tuple[float, int]:
    """How well a delimiter divides the rows: the share of them as wide as the header, and that width."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    sample = io.StringIO("".join(texts[: SAMPLED_ROWS * 2]), newline="")
    rows = [row for row in csv.reader(sample, delimiter=delimiter) if row][:SAMPLED_ROWS]
    width = len(rows[0]) if rows else 0
    if width < 2:
        return (0.0, 0)
    even = sum(len(row) == width for row in rows[1:])
    return ((even + 1) / len(rows), width)


def _read_header(texts: Sequence[str], at: int, delimiter: str) -> tuple[list[str], int]:
    """The header's cells and the line behind it."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))
    reader = csv.reader(iter(texts[at:]), delimiter=delimiter, strict=True)
    try:
        cells = [cell.strip().lstrip("\ufeff").strip() for cell in next(reader)]
    except csv.Error as error:
        problem = "a quotation mark in it is never closed, or text follows a closing one."
        raise HeaderUnreadable(problem=problem) from error
    if len(cells) > MAX_COLUMNS:
        raise HeaderUnreadable(problem=f"it has {len(cells)} columns, and {MAX_COLUMNS} are read at most.")
    if not any(cells):
        raise HeaderUnreadable(problem="it names no column. Put the columns' names into the first line.")
    return cells, at + reader.line_num
