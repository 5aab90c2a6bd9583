"""contacts.imported.v1: one event for each row that wrote a contact, encoded for speed.

Encoding an event with fastavro costs 7 to 9 µs, half of what the sink may spend on a row. So what is the same
in every event of a batch is encoded once, and the cells of a created row are joined under their lengths: as
long as a row is ASCII and no cell is longer than 63, a length is one ASCII character and the whole event one
string. Other rows take the general path, piece by piece. A test holds both to fastavro's bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from sinks.batch import Batch
from sinks.contract import Applied
from sinks.judging import Image
from sluice.avro import schema_text
from sluice.cloudevents import cloud_headers
from sluice.contact import CUSTOM, DNC_FIELDS, contact_id_prefix, split_tags
from sluice.events import ContactImported, ContactValues, Lineage
from sluice.outcome import LETTERS, Outcome
from sluice.topics import CONTACTS_IMPORTED
from sluice.transactions import Headers, Record

VALUES = tuple(name for name in ContactValues.__struct_fields__ if name not in ("tags", "custom_fields"))
TEXTS = tuple(name for name in VALUES if name not in DNC_FIELDS)
"""The optional texts of an event's contact, in its order: they come first."""
SOURCES: Mapping[str, str] = {"phone": "phone_formatted", "phone_as_given": "phone"}
"""Event field to contact field, where the names differ: in events `phone` is the E.164 number."""
NAMES: Mapping[str, str] = {source: name for name, source in SOURCES.items()}

CREATED = LETTERS[Outcome.CREATED]
WRITTEN = frozenset({CREATED, LETTERS[Outcome.UPDATED], LETTERS[Outcome.MERGED]})


def contact_values(values: Mapping[str, str]) -> ContactValues:
    """A contact's content as public events carry it."""
    plain = {name: values.get(SOURCES.get(name, name)) or None for name in VALUES}
    return ContactValues(
        **{**plain, "do_not_call": bool(plain["do_not_call"])},  # type: ignore[arg-type]
        tags=split_tags(values.get("tags", "")),
        custom_fields=custom_fields(values),
    )


def custom_fields(values: Mapping[str, str]) -> dict[str, str]:
    """The custom fields of a content, under their own names."""
    return {
        name.removeprefix(CUSTOM): value
        for name, value in values.items()
        if value and name.startswith(CUSTOM)
    }


def changed_fields(names: Sequence[str]) -> list[str]:
    """Changed contact fields by the names that events use."""
    return [NAMES.get(name, name) for name in names]


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

LONGEST = 63
"""Bytes of text whose length Avro writes as one byte below 128."""
LENGTHS = tuple(chr(2 * length) for length in range(LONGEST + 1))
OPTIONAL = ("\x00", *("\x02" + length for length in LENGTHS[1:]))
"""What stands before an optional text of some length: branch 1 and the length, or branch 0 for none."""
OPTIONAL_BYTES = tuple(before.encode() for before in OPTIONAL)


def _zigzag(number: int) -> bytes:
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


SMALL = tuple(_zigzag(number) for number in range(8192))
"""The longs of lengths, counts and most row numbers, made once."""


def avro_long(number: int) -> bytes:
    """A long: zigzag, then seven bits a byte, lowest first."""
    return SMALL[number] if 0 <= number < 8192 else _zigzag(number)


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


class _BatchEvents:
    """The events of one batch: what is the same in all of them is prepared once."""

    def __init__(self, prefix: bytes, applied: Applied, batch: Batch) -> None:
        message, columns = batch.message, batch.columns
        self._batch, self._applied = batch, applied
        self._rows, self._lines, self._marks = message.rows, message.lines, batch.marks
        self._first = message.first_row_no
        self._prefix = prefix
        self._event = f"{applied.job_id}/{applied.run}/"
        self._contact = str(uuid.UUID(bytes=contact_id_prefix(applied.job_id) + bytes(4)))[:-8]
        # The organization's id, and the length of the contact's, which follows.
        self._organization = f"{LENGTHS[36]}{applied.organization_id}{LENGTHS[36]}"
        # Version 1 is a long of 1; then the action.
        self._action = f"\x02{LENGTHS[7]}created"
        self._changed: dict[tuple[bool, ...], str] = {}
        # Cells in the order of the event; -1 is the empty cell that `created` puts behind each row.
        self._cells = itemgetter(*(columns.get(SOURCES.get(name, name), -1) for name in TEXTS))
        self._tags = columns.get("tags")
        self._custom = [
            (name.removeprefix(CUSTOM), index) for name, index in columns.items() if name.startswith(CUSTOM)
        ]
        self._lineage = avro_text(str(applied.job_id)) + avro_long(applied.run)
        self._tail = (
            avro_long(message.start.part_no)
            + avro_text(applied.object_sha256)
            + avro_long(applied.applied_at)
        )
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
        text = self._short(index, identifier, contact) if index not in self._marks else None
        if text is None:
            row = self._batch.row(index)
            values = {name: value for name, value in row.values.items() if value} | (row.mark or {})
            return identifier, contact, self._general(index, identifier, contact, (1, list(values), values))
        numbers = avro_long(row_no) + avro_long(self._lines[index])
        return identifier, contact, b"".join((self._prefix, text, self._lineage, numbers, self._tail))

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

    def _short(self, index: int, identifier: str, contact: str) -> bytes | None:
        """The event up to its lineage, made of texts; None where some length is no ASCII character."""
        row = self._rows[index]
        cells = self._cells([*row, ""])
        try:
            head = (
                f"{LENGTHS[len(identifier)]}{identifier}{self._organization}{contact}{self._action}"
                f"{self._changed_of(row)}"
            )
            middle = "".join([OPTIONAL[len(cell)] + cell for cell in cells])
            tags = _array(split_tags(row[self._tags])) if self._tags is not None else "\x00"
            custom = self._custom_of(row) if self._custom else "\x00"
            # Three zeros behind: no mark, no list, no reason.
            rest = f"{tags}{custom}\x00\x00\x00"
            if not head.isascii() or not rest.isascii():
                return None
            if middle.isascii():
                return f"{head}{middle}{rest}".encode()
            # Names are written in all alphabets: only the cells are measured in bytes then.
            measured = [OPTIONAL_BYTES[len(data)] + data for data in map(str.encode, cells)]
            return b"".join((head.encode(), *measured, rest.encode()))
        except IndexError:
            return None

    def _changed_of(self, row: Sequence[str]) -> str:
        """The names of the fields that the row gives; made once for each pattern of blanks."""
        blank = tuple([not cell for cell in row]) if "" in row else ()
        found = self._changed.get(blank)
        if found is None:
            names = [name for name, cell in zip(self._batch.message.fields, row, strict=True) if cell]
            found = self._changed[blank] = _array(changed_fields(names))
        return found

    def _custom_of(self, row: Sequence[str]) -> str:
        entries = [(name, value) for name, index in self._custom if (value := row[index])]
        if not entries:
            return "\x00"
        pairs = "".join(
            [f"{LENGTHS[len(name)]}{name}{LENGTHS[len(value)]}{value}" for name, value in entries]
        )
        return f"{LENGTHS[len(entries)]}{pairs}\x00"


def _array(items: Sequence[str]) -> str:
    """`avro_block` of short texts, as a text."""
    if not items:
        return "\x00"
    return f"{LENGTHS[len(items)]}{''.join([LENGTHS[len(item)] + item for item in items])}\x00"
