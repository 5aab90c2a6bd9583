"""JSON as rows: an array of objects, or one object a line (NDJSON).

What belongs to one contact is that row's fault: a line that is no JSON, an element that is no object, half a
character, a value nested too deep. An array is one document, though: where its structure is broken nobody can
say where the next contact begins, so the file is refused, with the place.

A row's source line is the line in NDJSON, and the number of the element, from 1, in an array.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ingress.formats.json_array import Found, JsonList
from ingress.formats.json_values import MAX_DEPTH, TooDeep, flatten, scan, told
from ingress.formats.opening import Asked, Table
from ingress.formats.records import Record, row_fault, sound_record, table_of
from ingress.formats.rows import MAX_ROW_BYTES
from ingress.formats.source import SourceText, open_source

_WHAT = "JSON object with a field"
_NAMES = {str: "a text or a number", list: "a list", bool: "true or false", type(None): "null"}


def open_json(path: Path, asked: Asked) -> Table:
    """An array of objects, or an object with one such array in it.

    Raises FileEmpty, FileUnreadable for what is no JSON or no list, FileHasNoContacts, FileHasTooManyFields,
    and what `open_source` raises.
    """
    return _document(open_source(path, asked.encoding))


def open_ndjson(path: Path, asked: Asked) -> Table:
    """One object on each line; blank lines are left out. A file of one line is read as `open_json` does.

    Raises what `open_json` raises.
    """
    source = open_source(path, asked.encoding)
    if _has_one_line(source):
        return _document(source)
    return table_of(lambda: _lines(source), what=_WHAT, notes=lambda: source.notes)


def _document(source: SourceText) -> Table:
    document = JsonList(source)

    def read() -> Iterator[Record]:
        for number, found in enumerate(document.elements(), 1):
            yield _record(number, found, source.encoding)

    return table_of(
        read, what=_WHAT, notes=lambda: [*source.notes, *([document.note] if document.note else [])]
    )


def _has_one_line(source: SourceText) -> bool:
    """Whether the file may as well be a document written without line ends, as most programs' answers are."""
    return len(list(islice((number for number, data, _ in source.lines() if data.strip()), 2))) == 1


def _lines(source: SourceText) -> Iterator[Record]:
    encoding = source.line_encoding
    for number, data, cut in source.lines():
        if cut:
            yield Record(number, {}, row_fault("row_too_long", limit=MAX_ROW_BYTES))
        elif b"\0" in data:
            yield Record(number, {}, row_fault("nul_byte"))
        elif text := data.decode(encoding, "surrogateescape").strip(" \t\ufeff"):
            yield _line(number, text, source.encoding)


def _line(number: int, text: str, encoding: str) -> Record:
    try:
        value, end = scan(text, 0)
    except RecursionError:
        return Record(number, {}, row_fault("too_deep", limit=MAX_DEPTH))
    except json.JSONDecodeError as error:
        return _broken(number, f"{told(error)} at character {error.pos + 1}")
    if end < len(text):
        return _broken(number, f"text follows behind the object at character {end + 1}")
    return _record(number, Found(value, text), encoding)


def _broken(number: int, problem: str) -> Record:
    return Record(number, {}, row_fault("broken_json", problem=problem))


def _record(number: int, found: Found, encoding: str) -> Record:
    if found.fault:
        limit = MAX_DEPTH if found.fault == "too_deep" else MAX_ROW_BYTES
        return Record(number, {}, row_fault(found.fault, limit=limit))
    if not isinstance(found.value, dict):
        return Record(number, {}, row_fault("not_an_object", found=_NAMES[type(found.value)]))
    try:
        fields = flatten(found.value)
    except TooDeep:
        return Record(number, {}, row_fault("too_deep", limit=MAX_DEPTH))
    # A character that cannot be stored comes from wrong bytes or from an escape.
    if found.source.isascii() and "\\u" not in found.source:
        return Record(number, fields)
    return sound_record(number, fields, None, encoding)
