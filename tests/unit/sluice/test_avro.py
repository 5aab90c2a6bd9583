"""The Avro border: what is encoded comes back, and what cannot be decoded is a dead letter, no crash."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.avro import HEADER, Codec, parsed_schema, schema_text
from sluice.errors import MessageUndecodable
from sluice.events import EVENTS, DncChanged, JobProgress, RowsRead, to_avro
from tests.unit.sluice.samples import event_of

IDS = {topic: number for number, topic in enumerate(EVENTS, start=1)}
TOPIC = "dnc.changed.v1"


def codec(extra: dict[int, Any] | None = None) -> Codec:
    return Codec(IDS, {number: parsed_schema(topic) for topic, number in IDS.items()} | (extra or {}))


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
@pytest.mark.parametrize("topic", list(EVENTS))
def test_every_event_survives_the_wire(topic: str, filled: bool) -> None:
    """Encode, then decode: the same event, behind a zero byte and the schema's id."""
    event = event_of(topic, filled=filled)
    data = codec().encode(topic, event)
    assert data[:5] == codec().prefix(topic) == struct.pack(">bI", 0, IDS[topic])
    assert codec().decode(topic, EVENTS[topic], data) == event


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize("topic", ["imports.rows-read.v1", "imports.rows-resolved.v1"])
def test_a_message_from_before_sources_and_rules_is_read(topic: str) -> None:
    """What waits in a topic while the roles are replaced has neither: it asks for nothing of the kind."""
    older = json.loads(schema_text(topic))
    (options,) = (each["type"] for each in older["fields"] if each["name"] == "options")
    options["fields"] = [
        each for each in options["fields"] if each["name"] not in ("sources", "unmapped", "rules")
    ]
    event = event_of(topic)
    plain = to_avro(event)
    for name in ("sources", "unmapped", "rules"):
        del plain["options"][name]
    body = io.BytesIO()
    schema = fastavro.parse_schema(older)
    fastavro.schemaless_writer(body, schema, plain)
    read: Any = codec({77: schema}).decode(topic, EVENTS[topic], wire(77, body.getvalue()))
    assert (read.options.sources, read.options.unmapped, read.options.rules) == ([], "custom", [])
    assert read.options.mapping == event.options.mapping


def wire(schema_id: int, body: bytes, magic: int = 0) -> bytes:
    return HEADER.pack(magic, schema_id) + body


GOOD = codec().encode(TOPIC, event_of(TOPIC))
UNDECODABLE: dict[str, bytes | None] = {
    "null": None,
    "empty": b"",
    "shorter than its header": GOOD[:4],
    "another magic byte": b"\x01" + GOOD[1:],
    "unknown schema id": wire(999, GOOD[5:]),
    "no body": GOOD[:5],
    "truncated": GOOD[:-1],
    "bytes left over": GOOD + b"\x00",
    "another topic's event": codec().encode("imports.requested.v1", event_of("imports.requested.v1")),
    "a length beyond the end": wire(IDS[TOPIC], b"\xfe\xff\xff\xff\x0f"),
    "a negative length": wire(IDS[TOPIC], b"\x01"),
    "text that is no UTF-8": wire(IDS[TOPIC], b"\x04\xff\xfe" + GOOD[5:]),
    "JSON": json.dumps({"list_id": "x"}).encode(),
}


@pytest.mark.requirement("S0-037")
@pytest.mark.parametrize("data", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_what_cannot_be_decoded_is_named_so(data: bytes | None) -> None:
    """Each kind of broken message is the one error that sends it to the dead letters, with a sentence."""
    with pytest.raises(MessageUndecodable, match=r"The message cannot be decoded: .+\."):
        codec().decode(TOPIC, DncChanged, data)


@given(st.binary(max_size=200), st.sampled_from(sorted(EVENTS)))
def test_no_bytes_raise_anything_else(body: bytes, topic: str) -> None:
    """Whatever stands in a message, decoding answers an event or this one error."""
    try:
        event = codec().decode(topic, EVENTS[topic], wire(IDS[topic], body))
    except MessageUndecodable:
        return
    assert codec().decode(topic, EVENTS[topic], codec().encode(topic, event)) is not None


@given(st.data())
def test_a_flipped_byte_never_crashes(data: st.DataObject) -> None:
    """A message damaged in one place is an event or undecodable."""
    topic = data.draw(st.sampled_from(sorted(EVENTS)))
    whole = bytearray(codec().encode(topic, event_of(topic)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        codec().decode(topic, EVENTS[topic], bytes(whole))
    except MessageUndecodable as error:
        assert error.message  # noqa: PT017 - either end is right; the one that raises says why


@pytest.mark.requirement("B-02")
def test_a_message_of_an_older_schema_is_read_with_defaults() -> None:
    """A record written before a field was added is read by the version that wrote it."""
    old = json.loads(schema_text("contacts.changed.v1"))
    old["fields"] = [each for each in old["fields"] if each["name"] != "contact"]
    event = event_of("contacts.changed.v1")
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(old), to_avro(event))
    read = codec({77: fastavro.parse_schema(old)}).decode(
        "contacts.changed.v1", EVENTS["contacts.changed.v1"], wire(77, body.getvalue())
    )
    assert read.contact is None  # type: ignore[attr-defined]
    assert read.event_id == event.event_id  # type: ignore[attr-defined]


def test_an_event_with_a_value_of_another_type_cannot_be_sent() -> None:
    """The producer finds out, not the consumers."""
    wrong = DncChanged(list_id="x", version="one", changed_at=1)  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        codec().encode(TOPIC, wrong)


def test_a_map_of_counts_keeps_its_counts() -> None:
    """Outcome counters cross the wire as they are."""
    counts = {"created": 2**40, "invalid": 0}
    event = event_of("imports.progress.v1")
    made = JobProgress(
        **{name: getattr(event, name) for name in event.__struct_fields__} | {"counts": counts}
    )
    data = codec().encode("imports.progress.v1", made)
    assert codec().decode("imports.progress.v1", JobProgress, data).counts == counts


ROWS = [["", "a\0b", 'Zoë, "x"\r\n', "\U0001f600"], [], ["x" * 70_000]]


def with_rows(rows: list[list[str]]) -> RowsRead:
    event = event_of("imports.rows-read.v1")
    assert isinstance(event, RowsRead)
    return msgspec.structs.replace(event, rows=rows)


def test_rows_cross_the_wire_as_they_are() -> None:
    """Whatever a cell holds, and however wide a row is, the next hop reads the same."""
    data = codec().encode("imports.rows-read.v1", with_rows(ROWS))
    assert codec().decode("imports.rows-read.v1", RowsRead, data).rows == ROWS


@pytest.mark.parametrize(
    "rows", [b"", b"\xc1", b"\x91\xa1a", b"\x91\x91\x01", b"\x90\x90", b"\x91\x91\xa1\xff"]
)
def test_rows_that_are_no_rows_are_undecodable(rows: bytes) -> None:
    """Nothing, no MessagePack, a row or a cell of another type, something left over, no UTF-8."""
    schema = json.loads(schema_text("imports.rows-read.v1"))
    schema["fields"] = [
        each | {"type": "bytes"} if each["name"] == "rows" else each for each in schema["fields"]
    ]
    body = io.BytesIO()
    plain = to_avro(with_rows([])) | {"rows": rows}
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), plain)
    with pytest.raises(MessageUndecodable):
        codec().decode("imports.rows-read.v1", RowsRead, wire(IDS["imports.rows-read.v1"], body.getvalue()))
