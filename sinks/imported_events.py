"""contacts.imported.v1: one event for each row that wrote a contact, encoded for speed.

Encoding an event with fastavro costs 7 to 9 µs, half of what the sink may spend on a row. So what is the same
in every event of a batch is encoded once, and a created row is joined with it as one text in which each
character stands for one byte (latin-1), because Python joins short texts faster than short bytes. What is no
created row, or longer than the tables of lengths, takes the general path, piece by piece. A test holds both
to fastavro's bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from sinks.batch import Batch
from sinks.contract import Applied
from sinks.judging import Image
from sluice.avro import schema_text
from sluice.changes import SOURCES, VALUES, changed_fields, custom_fields
from sluice.cloudevents import cloud_headers
from sluice.contact import CUSTOM, DNC_FIELDS, contact_id_prefix, split_tags
from sluice.events import ContactImported, ContactValues, Lineage
from sluice.outcome import LETTERS, Outcome
from sluice.topics import CONTACTS_IMPORTED
from sluice.transactions import Headers, Record

TEXTS = tuple(name for name in VALUES if name not in DNC_FIELDS)
"""The optional texts of an event's contact, in its order: they come first."""

CREATED = LETTERS[Outcome.CREATED]
WRITTEN = frozenset({CREATED, LETTERS[Outcome.UPDATED], LETTERS[Outcome.MERGED]})


def event_id(job_id: uuid.UUID, run: int, row_no: int) -> str:
    """The same for every repetition of a row."""
    return f"{job_id}/{run}/{row_no}"


class ImportedEvents:
    """Makes the records of contacts.imported.v1; `prefix` is the five bytes before every body."""

    def __init__(self, prefix: bytes) -> None:
        _check_schema()
        self._prefix = prefix

    def records(self, applied: Applied) -> Iterator[Record]:
        """The events of one batch, in order of rows, without those that wrote nothing."""
        if applied.batch is None or WRITTEN.isdisjoint(applied.letters):
            return
        events = _BatchEvents(self._prefix, applied, applied.batch)
        topic = CONTACTS_IMPORTED.name
        for index, letter in enumerate(applied.letters):
            if letter == CREATED:
                identifier, contact, value = events.created(index)
            elif letter in WRITTEN:
                identifier, contact, value = events.updated(index)
            else:
                continue
            yield topic, contact, value, events.headers(identifier, contact)


def _check_schema() -> None:
    """The fast path writes the fields in this order; a schema that says otherwise must not be passed over."""
    fields = json.loads(schema_text(CONTACTS_IMPORTED.name))["fields"]
    names = {field["name"]: field["type"] for field in fields}
    inner = {name: tuple(field["name"] for field in names[name]["fields"]) for name in ("contact", "lineage")}
    assert tuple(names) == ContactImported.__struct_fields__
    assert inner["contact"] == ContactValues.__struct_fields__
    assert inner["lineage"] == Lineage.__struct_fields__


# Avro's binary encoding --------------------------------------------------------------------


def _varint(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


SMALL = tuple(_varint(number << 1) for number in range(8192))
"""The longs of lengths, counts and most row numbers, made once."""


def avro_long(number: int) -> bytes:
    """A long: zigzag, then seven bits a byte, lowest first."""
    return SMALL[number] if 0 <= number < 8192 else _varint((number << 1) ^ (number >> 63))


def avro_text(text: str) -> bytes:
    """A string: its length in bytes, then UTF-8."""
    data = text.encode()
    return avro_long(len(data)) + data


def avro_optional(text: str) -> bytes:
    """A union of null and string."""
    return b"\x02" + avro_text(text) if text else b"\x00"


def avro_block(items: Sequence[bytes]) -> bytes:
    """An array, or a map whose items are keys with values: one block, then the empty one."""
    return avro_long(len(items)) + b"".join(items) + b"\x00" if items else b"\x00"


# The same as octets: texts in which each character stands for one byte --------------------------

LENGTHS = tuple(data.decode("latin-1") for data in SMALL)
OPTIONAL = ("\x00", *("\x02" + length for length in LENGTHS[1:]))
"""What stands before an optional text of some length: branch 1 and the length, or branch 0 for none."""
LOW_BITS = tuple(chr(number << 1 | 0x80) for number in range(64))
"""The first byte of a long from 64 on; `HIGH_BITS`, at the number's other bits, are the bytes behind it."""
HIGH_BITS = tuple(_varint(number).decode("latin-1") for number in range(8192))


def octets(text: str) -> str:
    """A text as its UTF-8 bytes."""
    return text if text.isascii() else text.encode().decode("latin-1")


def octets_of(row: Sequence[str]) -> Sequence[str]:
    """A row's cells as their UTF-8 bytes, converted together: names are written in all alphabets."""
    joined = "\x00".join(row)
    if joined.isascii():
        return row
    cells = joined.encode().decode("latin-1").split("\x00")
    return cells if len(cells) == len(row) else [octets(cell) for cell in row]


def octets_long(number: int) -> str:
    """`avro_long`; IndexError beyond the tables, which end at 524,288 rows or lines."""
    return LENGTHS[number] if number < 64 else LOW_BITS[number & 63] + HIGH_BITS[number >> 6]


@cache
def joined_cells(places: tuple[int, ...]) -> Callable[[Sequence[str]], str]:
    """Joins a row's cells at these places as optional texts; -1 is the place of an absent one.

    Compiled for its header, because a loop over the cells takes three times as long (1.4 µs a row, measured).
    """
    pieces = ["\\x00" if i < 0 else f"{{lengths[len(row[{i}])]}}{{row[{i}]}}" for i in places]
    found: Callable[[Sequence[str]], str] = eval(  # noqa: S307 - made of numbers alone
        f'lambda row: f"{"".join(pieces)}"', {"lengths": OPTIONAL}
    )
    return found


def octets_block(items: Sequence[str]) -> str:
    """`avro_block` of texts that are octets already."""
    if not items:
        return "\x00"
    return f"{LENGTHS[len(items)]}{''.join([LENGTHS[len(item)] + item for item in items])}\x00"


class _BatchEvents:
    """The events of one batch: what is the same in all of them is prepared once."""

    def __init__(self, prefix: bytes, applied: Applied, batch: Batch) -> None:
        message, columns = batch.message, batch.columns
        self._batch, self._applied = batch, applied
        self._rows, self._lines, self._marks = message.rows, message.lines, batch.marks
        self._first = message.first_row_no
        self._prefix = prefix
        self._start = prefix.decode("latin-1")
        self._event = f"{applied.job_id}/{applied.run}/"
        self._contact = str(uuid.UUID(bytes=contact_id_prefix(applied.job_id) + bytes(4)))[:-8]
        # The organization's id, and the length of the contact's, which follows.
        self._organization = f"{LENGTHS[36]}{applied.organization_id}{LENGTHS[36]}"
        # Version 1 is a long of 1; then the action.
        self._action = f"\x02{LENGTHS[7]}created"
        self._changed: dict[tuple[bool, ...], str] = {}
        self._cells = joined_cells(tuple(columns.get(SOURCES.get(name, name), -1) for name in TEXTS))
        self._tags = columns.get("tags")
        self._custom = [
            (octets(name.removeprefix(CUSTOM)), index)
            for name, index in columns.items()
            if name.startswith(CUSTOM)
        ]
        self._lineage = avro_text(str(applied.job_id)) + avro_long(applied.run)
        self._tail = (
            avro_long(message.start.part_no)
            + avro_text(applied.object_sha256)
            + avro_long(applied.applied_at)
        )
        # Unless it is marked: no do-not-call, no list, no reason; then the lineage.
        self._unmarked = "\x00\x00\x00" + self._lineage.decode("latin-1")
        self._end = self._tail.decode("latin-1")
        self._headers = cloud_headers(
            CONTACTS_IMPORTED.name,
            event_id="",
            organization_id=str(applied.organization_id),
            subject="",
            time_ms=applied.applied_at,
        )
        names = [name for name, _ in self._headers]
        self._id_at, self._subject_at = names.index("ce_id"), names.index("ce_subject")

    def headers(self, identifier: str, contact: str) -> Headers:
        """The CloudEvents headers of one event."""
        headers: Headers = [*self._headers]
        headers[self._id_at] = ("ce_id", identifier)
        headers[self._subject_at] = ("ce_subject", contact)
        return headers

    def created(self, index: int) -> tuple[str, str, bytes]:
        """Event id, contact id and value of a created row."""
        row_no = self._first + index
        identifier = f"{self._event}{row_no}"
        contact = f"{self._contact}{row_no:08x}"
        if index not in self._marks:
            try:
                return identifier, contact, self._joined(index, row_no, identifier, contact)
            except IndexError:
                pass
        row = self._batch.row(index)
        values = {name: value for name, value in row.values.items() if value} | (row.mark or {})
        return identifier, contact, self._general(index, identifier, contact, (1, list(values), values))

    def updated(self, index: int) -> tuple[str, str, bytes]:
        """Event id, contact id and value of a row that changed a contact."""
        identifier = f"{self._event}{self._first + index}"
        contact = str(uuid.UUID(bytes=self._applied.contact_ids[16 * index : 16 * index + 16]))
        return identifier, contact, self._general(index, identifier, contact, self._applied.images[index])

    def _general(self, index: int, identifier: str, contact: str, image: Image) -> bytes:
        version, changed, values = image
        action = "created" if self._applied.letters[index] == CREATED else "updated"
        custom = [avro_text(name) + avro_text(value) for name, value in custom_fields(values).items()]
        get = values.get
        return b"".join(
            (
                self._prefix,
                avro_text(identifier),
                avro_text(str(self._applied.organization_id)),
                avro_text(contact),
                avro_long(version),
                avro_text(action),
                avro_block([avro_text(name) for name in changed_fields(changed)]),
                *[avro_optional(get(SOURCES.get(name, name), "")) for name in TEXTS],
                avro_block([avro_text(tag) for tag in split_tags(get("tags", ""))]),
                avro_block(custom),
                b"\x01" if get("do_not_call") else b"\x00",
                avro_optional(get("dnc_list_id", "")),
                avro_optional(get("dnc_reason", "")),
                self._lineage,
                avro_long(self._first + index),
                avro_long(self._lines[index]),
                self._tail,
            )
        )

    def _joined(self, index: int, row_no: int, identifier: str, contact: str) -> bytes:
        """A created row's event in one piece; IndexError where a length is in no table."""
        row = self._rows[index]
        cells = self._cells(octets_of(row))
        tags = "\x00"
        if self._tags is not None:
            tags = octets_block([octets(tag) for tag in split_tags(row[self._tags])])
        custom = self._custom_of(row) if self._custom else "\x00"
        return (
            f"{self._start}{LENGTHS[len(identifier)]}{identifier}{self._organization}{contact}{self._action}"
            f"{self._changed_of(row)}{cells}{tags}{custom}"
            f"{self._unmarked}{octets_long(row_no)}{octets_long(self._lines[index])}{self._end}"
        ).encode("latin-1")

    def _changed_of(self, row: Sequence[str]) -> str:
        """The names of the fields that the row gives; made once for each pattern of blanks."""
        blank = tuple([not cell for cell in row]) if "" in row else ()
        found = self._changed.get(blank)
        if found is None:
            names = [name for name, cell in zip(self._batch.message.fields, row, strict=True) if cell]
            found = self._changed[blank] = octets_block([octets(name) for name in changed_fields(names)])
        return found

    def _custom_of(self, row: Sequence[str]) -> str:
        given = [(name, octets(value)) for name, index in self._custom if (value := row[index])]
        if not given:
            return "\x00"
        pairs = [f"{LENGTHS[len(name)]}{name}{LENGTHS[len(value)]}{value}" for name, value in given]
        return f"{LENGTHS[len(given)]}{''.join(pairs)}\x00"
