"""Cells of an xlsx sheet that calamine gives otherwise than a person sees them, found in the sheet's XML.

- An error such as #N/A, which it leaves empty; one without a stored value stays empty.
- A number whose format is zeros only, such as Excel's for ZIP codes: 2139 is shown as 02139.
- A negative number in the format of a date or a time, which it takes for a time of day.

A cell or row without a place of its own (`r`) stands behind the one before it, as calamine counts, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import IO
from xml.parsers.expat import ExpatError, ParserCreate

from ingress.formats.inflating import PIECE_BYTES

ShownCell = tuple[int, int, str]  # row and column from 0, the text

# A sheet whose bytes have none of these has no error and no negative number.
SIGNS = re.compile(rb"""\st=["']e["']|v>-""")
SIGNS_BYTES = 8

# Zeros, which may be parted by hyphens (00000\-0000): a first section, behind a language or not. Whatever
# sections follow are for negative numbers and for texts.
_ZEROS = re.compile(r"(?:\[\$-[0-9A-Fa-f]{1,8}\])?((?:0|\\-|-){2,40})(?:;.*)?", re.DOTALL)

_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})", re.IGNORECASE)
_WHOLE_BELOW = 1e15  # to here every whole number is exact
_ERROR_CHARACTERS = 40

Masks = Mapping[str, str]  # the number of a cell's style to what its format shows: zeros and hyphens


def shown_cells(stream: IO[bytes], masks: Masks) -> Iterator[ShownCell]:
    """The cells in the order of the file; XML that is broken ends them."""
    sheet = _Sheet(masks)
    try:
        while piece := stream.read(PIECE_BYTES):
            sheet.parser.Parse(piece, False)
            yield from sheet.take()
    except ExpatError:
        yield from sheet.take()


def masks_of(stream: IO[bytes]) -> Masks:
    """The styles of a workbook's `styles.xml` whose format is zeros only."""
    formats: dict[str, str] = {}
    masks: dict[str, str] = {}
    section, style = "", 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal section, style
        tag = name.rpartition(":")[2]
        if tag in ("numFmts", "cellStyleXfs", "cellXfs", "cellStyles", "dxfs"):
            section = tag
        elif tag == "numFmt" and section == "numFmts":
            if mask := _mask_of(attributes.get("formatCode", "")):
                formats[attributes.get("numFmtId", "")] = mask
        elif tag == "xf" and section == "cellXfs":
            if shown := formats.get(attributes.get("numFmtId", "")):
                masks[str(style)] = shown
            style += 1

    parser = ParserCreate()
    parser.StartElementHandler = start
    try:
        parser.ParseFile(stream)
    except ExpatError:
        return {}
    return masks


def masked(number: float, mask: str) -> str:
    """The number as its format shows it; nothing where it is no whole one."""
    if not (0 <= number < _WHOLE_BELOW and number.is_integer()):
        return ""
    digits = f"{int(number):0{mask.count('0')}}"
    spare = len(digits) - mask.count("0")
    rest = iter(digits[spare:])
    return digits[:spare] + "".join(next(rest) if mark == "0" else mark for mark in mask)


def _mask_of(code: str) -> str:
    match = _ZEROS.fullmatch(code)
    mask = match[1].replace("\\", "") if match else ""
    return mask if mask.startswith("00") else ""


class _Sheet:
    """A sheet while it is parsed. The parser's handlers for a cell's value are there for such cells alone."""

    def __init__(self, masks: Masks) -> None:
        self.parser = ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self._masks = masks
        self._row = -1
        # The last place that was named in the row, and how many cells stand behind it without one.
        self._place, self._behind = "", -1
        self._is_error = False
        self._mask: str | None = ""  # of the cell; None for one that is no number
        self._value: list[str] = []
        self._found: list[ShownCell] = []

    def take(self) -> list[ShownCell]:
        """What was found since the last time."""
        found, self._found = self._found, []
        return found

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2] if ":" in name else name
        if tag == "c":
            self._begin_cell(attributes)
        elif tag == "v" and (self._is_error or self._mask is not None):
            self._value = []
            self.parser.CharacterDataHandler = self._value.append
            self.parser.EndElementHandler = self._end
        elif tag == "row":
            number = attributes.get("r", "")
            self._row = int(number) - 1 if number.isdecimal() and len(number) < 8 else self._row + 1
            self._place, self._behind = "", -1

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        if "r" in attributes:
            self._place, self._behind = attributes["r"], 0
        else:
            self._behind += 1
        kind = attributes.get("t", "n")
        self._is_error = kind == "e"
        self._mask = self._masks.get(attributes.get("s", ""), "") if kind == "n" else None

    def _end(self, name: str) -> None:
        self.parser.CharacterDataHandler = None
        self.parser.EndElementHandler = None
        if text := self._shown("".join(self._value).strip()):
            self._found.append((*self._here(), text))

    def _here(self) -> tuple[int, int]:
        """The cell's row and column."""
        if match := _PLACE.fullmatch(self._place):
            return int(match[2]) - 1, _column(match[1]) + self._behind
        return self._row, self._behind

    def _shown(self, value: str) -> str:
        if self._is_error:
            return value[:_ERROR_CHARACTERS]
        if not (self._mask or value.startswith("-")):
            return ""
        try:
            number = float(value)
        except ValueError:
            return ""
        if number < 0:
            return str(int(number)) if number.is_integer() and number > -_WHOLE_BELOW else repr(number)
        return masked(number, self._mask) if self._mask else ""


def _column(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number - 1
