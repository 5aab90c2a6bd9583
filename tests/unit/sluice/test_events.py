"""Records, schemas and topics name each other, field by field."""

from __future__ import annotations

import json
import types
import typing
from typing import Any

import msgspec
import pytest

from sluice.avro import check_catalogue, schema_text
from sluice.events import EVENTS, ContactImported, from_avro, to_avro
from sluice.topics import TOPICS
from tests.unit.sluice.samples import event_of

NAMES = sorted(EVENTS)
PRIMITIVES: dict[str, set[Any]] = {
    "string": {str},
    "int": {int},
    "long": {int},
    "double": {float},
    "boolean": {bool},
    "bytes": {bytes},
}
LOGICAL: dict[str, Any] = {"msgpack-rows": list[list[str]]}


def differences(schema: Any, kind: Any, defined: dict[str, Any], path: str) -> list[str]:
    """Where a schema and a type annotation differ; nothing where they say the same."""
    if isinstance(schema, str):
        schema = defined.get(schema, schema)
    if isinstance(schema, str):
        return [] if kind in PRIMITIVES[schema] else [f"{path}: {schema} but {kind}"]
    if isinstance(schema, list):
        options = typing.get_args(kind)
        inner = [each for each in schema if each != "null"]
        if schema[0] != "null" or len(inner) != 1 or type(None) not in options:
            return [f"{path}: {schema} but {kind}"]
        (rest,) = [each for each in options if each is not type(None)]
        return differences(inner[0], rest, defined, path)
    if schema["type"] == "array":
        return _inside(schema["items"], kind, list, defined, path)
    if schema["type"] == "map":
        return _inside(schema["values"], kind, dict, defined, path)
    if "logicalType" in schema:
        return [] if kind == LOGICAL[schema["logicalType"]] else [f"{path}: {schema} but {kind}"]
    if schema["type"] in PRIMITIVES:
        return differences(schema["type"], kind, defined, path)
    return record_differences(schema, kind, defined, path)


def _inside(schema: Any, kind: Any, container: type, defined: dict[str, Any], path: str) -> list[str]:
    if typing.get_origin(kind) is not container:
        return [f"{path}: {container.__name__} but {kind}"]
    return differences(schema, typing.get_args(kind)[-1], defined, f"{path}[]")


def record_differences(schema: Any, kind: Any, defined: dict[str, Any], path: str) -> list[str]:
    """As `differences`, for a record: its name, its fields, their order, their defaults."""
    defined[schema["name"]] = schema
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)) or kind.__name__ != schema["name"]:
        return [f"{path}: record {schema['name']} but {kind}"]
    names = [each["name"] for each in schema["fields"]]
    if names != list(kind.__struct_fields__):
        return [f"{path}: fields {names} but {kind.__struct_fields__}"]
    types_of = typing.get_type_hints(kind)
    found = []
    for each in schema["fields"]:
        found += differences(each["type"], types_of[each["name"]], defined, f"{path}.{each['name']}")
    return found


@pytest.mark.requirement("B-02")
def test_topics_records_and_schema_files_name_each_other() -> None:
    """One name derives file, record, topic and subject; none of them has one too many."""
    check_catalogue()
    assert set(EVENTS) == set(TOPICS)


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize("topic", NAMES)
def test_a_record_has_the_fields_of_its_schema(topic: str) -> None:
    """Names, order and types agree all the way down, and the record's docstring is the schema's doc."""
    schema = json.loads(schema_text(topic))
    assert record_differences(schema, EVENTS[topic], {}, topic) == []


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ("string", int),
        (["null", "string"], str),
        (["string", "null"], str | None),
        ({"type": "array", "items": "string"}, list[int]),
        ({"type": "map", "values": "string"}, dict[str, int]),
        ({"type": "bytes", "logicalType": "msgpack-rows"}, bytes),
        ({"type": "record", "name": "Other", "fields": []}, ContactImported),
        ({"type": "record", "name": "ContactImported", "fields": []}, ContactImported),
    ],
)
def test_the_comparison_sees_a_difference(schema: Any, kind: Any) -> None:
    """The test above would notice: another type, a null too few, another order of the union, a lost field."""
    assert differences(schema, kind, {}, "x")


def records(schema: Any) -> list[Any]:
    """All records defined in a schema, itself included."""
    if isinstance(schema, list):
        return [each for option in schema for each in records(option)]
    if not isinstance(schema, dict):
        return []
    inner = [records(schema[part]) for part in ("items", "values") if part in schema]
    inner += [records(each["type"]) for each in schema.get("fields", [])]
    nested = [each for some in inner for each in some]
    return [schema, *nested] if schema["type"] == "record" else nested


@pytest.mark.requirement("B-02", "B-07")
@pytest.mark.parametrize("topic", NAMES)
def test_every_record_and_field_says_what_it_means(topic: str) -> None:
    """A subscriber reads the schema, so each field has a sentence, and the record has the code's own."""
    for record in records(json.loads(schema_text(topic))):
        assert record["doc"].endswith(".")
        for field in record["fields"]:
            assert field["doc"].endswith("."), f"{record['name']}.{field['name']}"
    code = " ".join((EVENTS[topic].__doc__ or "").split())
    assert json.loads(schema_text(topic))["doc"] == code


@pytest.mark.parametrize("topic", NAMES)
def test_an_event_comes_back_from_its_plain_form(topic: str) -> None:
    """What fastavro is given is what the record is made of again."""
    event = event_of(topic)
    assert from_avro(EVENTS[topic], to_avro(event)) == event


def test_a_missing_field_is_an_error() -> None:
    """A record is never made up from half a message."""
    with pytest.raises(msgspec.ValidationError, match="contact_id"):
        from_avro(ContactImported, {"event_id": "x", "organization_id": "y"})


def test_records_are_frozen() -> None:
    """An event is a fact; nobody changes it on the way."""
    event = event_of("imports.requested.v1")
    with pytest.raises(AttributeError):
        event.job_id = "other"
    assert isinstance(EVENTS, dict | types.MappingProxyType)
