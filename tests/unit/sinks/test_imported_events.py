"""The template encoder writes what fastavro writes, byte for byte, for every row there can be."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.batch import Batch, Position, batch_of
from sinks.contract import Applied
from sinks.imported_events import CREATED, ImportedEvents, avro_long, event_id
from sluice.changes import changed_fields, contact_values
from sluice.contact import contact_id
from sluice.events import ContactImported, DncMark, Lineage
from sluice.job import new_job_id
from sluice.topics import CONTACTS_IMPORTED, ROWS_RESOLVED
from tests.integration.sink_world import Given, ImportJob, message_of, offline_codec, options

CODEC = offline_codec()
EVENTS = ImportedEvents(CODEC.prefix(CONTACTS_IMPORTED.name))
JOB = ImportJob(new_job_id(), uuid.uuid4(), options())

short = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
texts = st.one_of(
    st.just(""),
    short,
    st.sampled_from(["x" * 63, "x" * 64, "x" * 65, "é" * 31, "é" * 32, "x" * 9000, "\x7f", "\x80", "a\x00b"]),
    st.text(max_size=5),
)
FIELDS = (
    "email",
    "phone",
    "phone_formatted",
    "first_name",
    "country",
    "notes",
    "last_contact_date",
    "custom_fields.size",
    "custom_fields.a; b",
    f"custom_fields.{'long' * 20}",
)


@st.composite
def rows(draw: st.DrawFn) -> list[Given]:
    fields = draw(st.lists(st.sampled_from(FIELDS), unique=True, min_size=1))
    tags = draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(1, 4))):
        values = {name: draw(texts) for name in fields}
        if tags:
            values["tags"] = ";".join(
                draw(st.lists(short.map(lambda tag: tag.strip().replace(";", "")), max_size=70))
            )
        found.append(Given(values))
    return found


def batch(given_rows: list[Given], first_row_no: int, line: int, **changes: Any) -> Batch:
    """A batch as it comes out of the topic."""
    job = ImportJob(JOB.id, JOB.organization_id, JOB.options, row_no=first_row_no)
    message = message_of(job, given_rows, None, "")
    lines = [line + index for index in range(len(given_rows))]
    message = msgspec.structs.replace(message, lines=lines, **changes)
    return batch_of(message, Position(0, 0), CODEC.encode(ROWS_RESOLVED.name, message))


def applied(found: Batch, letters: str, images: dict[int, Any] | None = None) -> Applied:
    """The stored result of a batch."""
    first = found.message.first_row_no
    ids = b"".join(contact_id(JOB.id, first + index) for index in range(found.row_count))
    return Applied(
        JOB.organization_id, JOB.id, 1, found, letters, ids, images or {}, "ab" * 32, 1_767_225_600_123, None
    )


def imported_event(applied: Applied, index: int) -> ContactImported:
    """One row's event as a record: what the encoder's bytes must mean."""
    batch = applied.batch
    assert batch is not None
    message = batch.message
    row_no = message.first_row_no + index
    if applied.letters[index] == CREATED:
        row = batch.row(index)
        values = {name: value for name, value in row.values.items() if value} | (row.mark or {})
        version, changed, action = 1, list(values), "created"
    else:
        version, names, values = applied.images[index]
        changed, action = list(names), "updated"
    return ContactImported(
        event_id=event_id(applied.job_id, applied.run, row_no),
        organization_id=str(applied.organization_id),
        contact_id=str(uuid.UUID(bytes=applied.contact_ids[16 * index : 16 * index + 16])),
        version=version,
        action=action,
        changed_fields=changed_fields(changed),
        contact=contact_values(values),
        lineage=Lineage(
            job_id=str(applied.job_id),
            run=applied.run,
            row_no=row_no,
            source_line=message.lines[index],
            part_no=message.start.part_no,
            object_sha256=applied.object_sha256,
        ),
        imported_at=applied.applied_at,
    )


@given(
    given_rows=rows(),
    first_row_no=st.sampled_from([1, 63, 64, 8191, 8192, 1 << 20, (1 << 32) - 10]),
    line=st.sampled_from([2, 64, 1 << 40]),
)
def test_created_rows_are_encoded_as_fastavro_encodes_them(
    given_rows: list[Given], first_row_no: int, line: int
) -> None:
    """Whatever the cells hold, the event decodes to what the row said, and its bytes are fastavro's."""
    found = applied(batch(given_rows, first_row_no, line), "c" * len(given_rows))
    records = list(EVENTS.records(found))
    assert len(records) == len(given_rows)
    for index, (topic, key, value, headers) in enumerate(records):
        event = imported_event(found, index)
        assert topic == CONTACTS_IMPORTED.name
        assert value == CODEC.encode(topic, event)
        assert key == event.contact_id
        known = dict(headers)
        assert _text(known["ce_id"]) == event.event_id
        assert _text(known["ce_subject"]) == event.contact_id


def _text(value: str | bytes | None) -> str:
    assert value is not None
    return value if isinstance(value, str) else value.decode()


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_long_is_encoded_as_avro_says(number: int) -> None:
    """Zigzag and seven bits a byte: decoding gives the number back."""
    data, shifted, number_read = avro_long(number), 0, 0
    for byte in data:
        number_read |= (byte & 0x7F) << shifted
        shifted += 7
    assert (number_read >> 1) ^ -(number_read & 1) == number
    assert all(byte & 0x80 for byte in data[:-1])
    assert not data[-1] & 0x80


@pytest.mark.requirement("B-07")
def test_only_rows_that_wrote_are_events() -> None:
    """Duplicates, conflicts and refused rows emit nothing; merged rows are updates."""
    given_rows = [Given({"email": f"p{n}@example.com"}) for n in range(5)]
    images = {4: (7, ["phone", "phone_formatted"], {"email": "p4@example.com", "tags": "a;b"})}
    found = applied(batch(given_rows, 1, 2), "cdk!m", images)
    values = [value for _, _, value, _ in EVENTS.records(found)]
    assert values[1] == CODEC.encode(CONTACTS_IMPORTED.name, imported_event(found, 4))
    first, last = (CODEC.decode(CONTACTS_IMPORTED.name, ContactImported, value) for value in values)
    assert (first.lineage.row_no, first.action, first.version) == (1, "created", 1)
    assert (last.lineage.row_no, last.action, last.version) == (5, "updated", 7)
    assert last.changed_fields == ["phone_as_given", "phone"]
    assert last.contact.tags == ["a", "b"]
    assert last.event_id == event_id(JOB.id, 1, 5)


def test_a_marked_row_is_announced_with_its_mark() -> None:
    """A created contact that is listed says so, with the list and the reason."""
    list_id = str(uuid.uuid4())
    mark = DncMark(index=0, list_id=list_id, version=1, listed_on="2026-01-01", reason="asked")
    found = applied(batch([Given({"email": "p@example.com"})], 1, 2, marks=[mark]), "c")
    ((_, _, value, _),) = EVENTS.records(found)
    event = CODEC.decode(CONTACTS_IMPORTED.name, ContactImported, value)
    assert (event.contact.do_not_call, event.contact.dnc_list_id, event.contact.dnc_reason) == (
        True,
        list_id,
        "asked",
    )


def test_the_phone_of_an_event_is_the_e164_number() -> None:
    """Events call the number `phone` and its spelling `phone_as_given`."""
    values = contact_values(
        {"phone": "(646) 555-0100", "phone_formatted": "+16465550100", "custom_fields.x": "1"}
    )
    assert (values.phone, values.phone_as_given) == ("+16465550100", "(646) 555-0100")
    assert values.custom_fields == {"x": "1"}
