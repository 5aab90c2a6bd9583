"""Bytes to physical lines: which encoding a file is in, and where its lines end.

A line ends with LF, CRLF or CR. Lines are found in the bytes, not in the decoded text, so that every offset
is one of the file and a wrong byte spoils its own line only.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import chardet

from ingress.formats.rows import MAX_ROW_BYTES

# Of a line that is longer than a row may be, this much is kept to show what it was.
KEPT_BYTES = 1024

WIDE = {"utf-16-le": 2, "utf-16-be": 2}

BYTE_ORDER_MARKS: Sequence[tuple[bytes, str]] = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# What spreadsheet programs have written before UTF-8; others are not guessed, but can be named.
GUESSED = (
    *(f"windows-{page}" for page in range(1250, 1259)),
    "koi8-r",
    "cp932",
    "euc-jp",
    "gb18030",
    "big5",
    "cp949",
)

# chardet's confidence for a few European names: 0.02 to 0.05 when it takes Windows-1252 for another code
# page, 0.05 to 0.26 when the text is in that other one (measured with version 7.7 on lists of 1 to 300
# names).
SURE_OF_ANOTHER_PAGE = 0.05

_ASCII_TEXT = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])
_BEYOND_ASCII = bytes(range(0x80, 0x100))
_EVIDENCE_BYTES = 64 * 1024
# It is tried where a cell begins and nowhere else: tried at every byte, a long cell would cost its square.
_CELL_BEYOND_ASCII = re.compile(rb"(?<![^\r\n,;\t|])[^\r\n,;\t|\x80-\xff]*+([\x80-\xff][^\r\n,;\t|]*)")

# A word before the first accent of a cell and a paragraph behind it tell as much as a cell of any length.
_BYTES_BEFORE, _BYTES_BEHIND = 64, 1024


@dataclass(frozen=True, slots=True)
class EncodingGuess:
    """An encoding, the bytes of byte order mark before the text, and whether a person should confirm."""

    encoding: str
    bom_bytes: int
    certain: bool
    note: str = ""


@dataclass(slots=True)
class Block:
    """Consecutive whole lines with their ends. `long` gives the true length of lines that were cut short."""

    lines: list[bytes]
    long: dict[int, int] = field(default_factory=dict)

    def lengths(self) -> list[int]:
        """Bytes of each line in the file."""
        lengths = list(map(len, self.lines))
        for index, length in self.long.items():
            lengths[index] = length
        return lengths

    def ends(self, offset: int) -> list[int]:
        """Offset behind each line, the first of which starts at `offset`."""
        ends = list(accumulate(self.lengths(), initial=offset))
        del ends[0]
        return ends

    def behind(self, index: int) -> Block:
        """The lines from `index` on."""
        return Block(self.lines[index:], {i - index: n for i, n in self.long.items() if i >= index})

    def extend(self, other: Block) -> None:
        """Take the lines that follow."""
        self.long.update({i + len(self.lines): n for i, n in other.long.items()})
        self.lines += other.lines


def canonical_encoding(name: str) -> str | None:
    """The codec's name, or None for what is no encoding of text in lines (unknown, EBCDIC, UTF-7, UTF-32).

    `utf-16` alone is taken as little endian, as every spreadsheet program writes it.
    """
    try:
        found = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return None
    found = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}.get(found, found)
    if found in WIDE or found == "utf-8":
        return found
    if found.startswith(("iso2022", "hz", "utf-7", "punycode", "idna", "raw", "unicode")):
        return None
    try:
        return found if _ASCII_TEXT.decode(found) == _ASCII_TEXT.decode("ascii") else None
    except (LookupError, UnicodeError):
        return None


def guess_encoding(head: bytes, *, complete: bool) -> EncodingGuess:
    """The encoding of a file that starts with `head`: byte order mark, then strict UTF-8, then chardet.

    Shapes: `head` is up to some hundred KiB; `complete` says that it is the whole file. Without evidence the
    answer is UTF-8, with little evidence Windows-1252, the code page of the programs that do not write UTF-8.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return EncodingGuess(encoding, len(mark), certain=True)
    if wide := _wide_without_mark(head):
        return EncodingGuess(
            wide, 0, certain=False, note=f"The file looks like {wide.upper()} without a mark."
        )
    wrong, right = _utf8_evidence(head, complete=complete)
    if not wrong:
        return EncodingGuess("utf-8", 0, certain=True)
    if right > wrong:
        return EncodingGuess(
            "utf-8", 0, certain=False, note="The file is UTF-8 with some bytes that are not."
        )
    encoding = _guess_code_page(head)
    note = f"The file is not UTF-8; it was read as {encoding}. Please check the letters with accents."
    return EncodingGuess(encoding, 0, certain=False, note=note)


class LateEvidence:
    """What stands beyond ASCII behind a head that is ASCII alone: a long list may have its first accent late.

    Takes a file's pieces in order and keeps the cells that tell something, up to 64 KiB.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._held = b""

    def add(self, data: bytes) -> None:
        """Look at the next bytes."""
        if len(self._kept) >= _EVIDENCE_BYTES or (data.isascii() and not self._held):
            return
        data = self._held + data
        # A character may be cut by the piece's end; half of it would be taken for another code page.
        tail = data[-3:]
        self._held = tail[len(tail.rstrip(_BEYOND_ASCII)) :]
        whole = data[: len(data) - len(self._held)]
        self._kept += _cells_beyond_ascii(whole)

    def guess(self) -> EncodingGuess | None:
        """The encoding of what was found; None when the file is ASCII throughout."""
        found = bytes(self._kept) + self._held
        return guess_encoding(found, complete=True) if found else None


def _wide_without_mark(head: bytes) -> str | None:
    """UTF-16 without a mark: text with Latin letters and delimiters has a NUL in every other byte."""
    sample = head[:4096]
    half = len(sample) // 2
    if half < 2:
        return None
    even, odd = sample[0 : half * 2 : 2].count(0), sample[1 : half * 2 : 2].count(0)
    if odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return None


def _utf8_evidence(head: bytes, *, complete: bool) -> tuple[int, int]:
    """How many places are no UTF-8, and how many characters beyond ASCII are."""
    if head.isascii():
        return 0, 0
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(head, final=complete)
    wrong = len(re.findall("[\udc80-\udcff]", text))
    right = sum(map(len, re.findall("[^\x00-\x7f\udc80-\udcff]+", text)))
    return wrong, right


def _guess_code_page(head: bytes) -> str:
    """The code page of bytes that are no UTF-8.

    In Western names letters beyond ASCII stand alone or in pairs; where they stand in a row (Cyrillic, Greek,
    Arabic, Chinese) chardet has evidence, else it must be sure.
    """
    cells = _cells_beyond_ascii(head)
    beyond = sum(map(len, re.findall(rb"[\x80-\xff]+", cells)))
    in_a_row = sum(map(len, re.findall(rb"[\x80-\xff]{3,}", cells)))
    found = chardet.detect(cells, prefer_superset=True, include_encodings=GUESSED)
    encoding = canonical_encoding(found["encoding"] or "")
    if encoding and (in_a_row * 2 > beyond or found["confidence"] >= SURE_OF_ANOTHER_PAGE):
        return encoding
    return "cp1252"


def _cells_beyond_ascii(data: bytes) -> bytes:
    """The cells that tell something of the code page, one a line, up to 64 KiB."""
    kept = bytearray()
    for match in _CELL_BEYOND_ASCII.finditer(data):
        accent = match.start(1)
        kept += data[max(match.start(), accent - _BYTES_BEFORE) : min(match.end(), accent + _BYTES_BEHIND)]
        kept += b"\n"
        if len(kept) >= _EVIDENCE_BYTES:
            break
    return bytes(kept)


class LineSplitter:
    """Cuts a stream of bytes into whole lines, holding at most one row's worth of an unfinished line.

    Pieces may be of any size; the lines do not depend on how the stream was cut. A line over `MAX_ROW_BYTES`
    is counted to its end and only its start is kept.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._unit = WIDE.get(encoding, 1)
        self._line_feed = "\n".encode(encoding)
        self._carriage_return = "\r".encode(encoding)
        self._held = b""  # a CR that an LF may follow, half a code unit
        self._tail = bytearray()  # the start of a line whose end has not come
        self._tail_bytes = 0  # its true length

    def feed(self, data: bytes) -> Block:
        """The lines that `data` completes, in order; an empty block when it completes none."""
        data = self._hold_back(self._held + data if self._held else data)
        cut = max(self._behind_last(data, self._line_feed), self._behind_last(data, self._carriage_return))
        if not cut:
            self._grow(data)
            return Block([])
        block = self._lines(data[:cut])
        self._tail, self._tail_bytes = bytearray(), 0
        self._grow(data[cut:])
        return block

    def finish(self) -> Block:
        """What is left at the end of the stream: lines without an end."""
        held, self._held = self._held, b""
        if not held and not self._tail_bytes:
            return Block([])
        odd = len(held) % self._unit
        block = self._lines(held[: len(held) - odd])
        if odd:  # half a code unit at the very end: it spoils the line that it is in
            ends = (self._line_feed, self._carriage_return)
            if block.lines and not block.lines[-1].endswith(ends):
                block.lines[-1] += held[-odd:]
            else:
                block.lines.append(held[-odd:])
        self._tail, self._tail_bytes = bytearray(), 0
        return block

    def _hold_back(self, data: bytes) -> bytes:
        keep = len(data) - len(data) % self._unit
        if data[keep - self._unit : keep] == self._carriage_return:
            keep -= self._unit
        self._held = data[keep:]
        return data[:keep] if self._held else data

    def _behind_last(self, data: bytes, end: bytes) -> int:
        """Offset behind the last `end` that stands on whole code units; 0 without one."""
        at = data.rfind(end)
        while at >= 0 and at % self._unit:
            at = data.rfind(end, 0, at + len(end) - 1)
        return at + len(end) if at >= 0 else 0

    def _grow(self, data: bytes) -> None:
        """Keep the unfinished line, or only its start once it is too long for a row."""
        self._tail += data
        self._tail_bytes += len(data)
        if self._tail_bytes > MAX_ROW_BYTES:
            del self._tail[KEPT_BYTES:]

    def _lines(self, data: bytes) -> Block:
        """The lines of the unfinished one and `data`, which completes it."""
        cut_short = self._tail_bytes - len(self._tail)
        block = Block(self._split(bytes(self._tail) + data if self._tail else data))
        if cut_short or sum(map(len, block.lines)) > MAX_ROW_BYTES:
            self._shorten(block, cut_short)
        return block

    def _shorten(self, block: Block, cut_short: int) -> None:
        for index, line in enumerate(block.lines):
            length = len(line) + (cut_short if index == 0 else 0)
            if length > MAX_ROW_BYTES:
                block.long[index] = length
                block.lines[index] = line[:KEPT_BYTES]

    def _split(self, data: bytes) -> list[bytes]:
        if self._unit == 1:
            return data.splitlines(keepends=True)
        text = data.decode(self._encoding, "surrogatepass")
        return [line.encode(self._encoding, "surrogatepass") for line in io.StringIO(text, newline="")]
