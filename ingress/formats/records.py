"""Records that name their fields, as a table: the first pass finds the columns, the second gives the rows.

JSON, vCard and LDIF have no header. A record is read by one generator, which runs twice, so that memory stays
flat and both passes see the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ingress.formats.inspect import name_columns
from ingress.formats.opening import OpenedRow, Table
from ingress.formats.rows import FAULTS, MAX_COLUMNS, FileHasNoContacts, FileHasTooManyFields

# What no text can hold. Bytes that are no text are such halves of characters too: `\udc80` to `\udcff`, as
# Python's "surrogateescape" and `source.MARKING` make them.
_UNSOUND = re.compile("[\0\ud800-\udfff]")
_WRONG_BYTES = re.compile("[\udc80-\udcff]")

RowFault = tuple[str, str]
"""A code of `rows.FAULTS` and its sentence."""


class Record(NamedTuple):
    """One contact of a file: where it begins, its trimmed values by field, and what is wrong with it."""

    line: int
    fields: dict[str, str]
    fault: RowFault | None = None


def row_fault(code: str, **facts: object) -> RowFault:
    """The fault with this code of `rows.FAULTS`, and its sentence."""
    return code, FAULTS[code].format(**facts)


def sound_record(line: int, fields: dict[str, str], fault: RowFault | None, encoding: str) -> Record:
    """The record, made faulty where its fields hold what no text can; that is replaced then."""
    text = "".join((*fields, *fields.values()))
    match = None if text.isascii() and "\0" not in text else _UNSOUND.search(text)
    if match is None:
        return Record(line, fields, fault)
    if match[0] == "\0":
        found = row_fault("nul_byte")
    elif _WRONG_BYTES.match(match[0]):
        found = row_fault("bad_encoding", encoding=encoding)
    else:
        found = row_fault("half_character")
    sound = {_UNSOUND.sub("\ufffd", name): _UNSOUND.sub("\ufffd", value) for name, value in fields.items()}
    return Record(line, sound, fault or found)


def table_of(
    read: Callable[[], Iterator[Record]],
    *,
    what: str,
    fixed: Sequence[str] = (),
    notes: Callable[[], Sequence[str]] = tuple,
) -> Table:
    """The table of the records that `read` gives, each time it is called, in order.

    Its columns are `fixed` and behind them the other fields as they first appear. `notes` is asked when all
    records were seen once. Raises FileHasNoContacts, saying that there is no `what`, FileHasTooManyFields,
    and what `read` raises.
    """
    names = dict.fromkeys(fixed)
    found = False
    for record in read():
        found = True
        if not record.fields.keys() <= names.keys():
            names.update(dict.fromkeys(record.fields))
            if len(names) > MAX_COLUMNS:
                raise FileHasTooManyFields(limit=MAX_COLUMNS)
    if not found or not names:
        raise FileHasNoContacts(what=what)
    return Table(name_columns(list(names)), _rows(read(), list(names)), notes=tuple(notes()))


def _rows(records: Iterator[Record], names: Sequence[str]) -> Iterator[OpenedRow]:
    for line, fields, fault in records:
        yield line, [fields.get(name, "") for name in names], fault
