"""Schemas in a real registry: pushed once, looked up after, and never broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema

from sluice import avro
from sluice.errors import MessageUndecodable, RegistryUnavailable, SchemaIncompatible
from sluice.events import DncChanged
from sluice.topics import CONTACTS_IMPORTED, DNC_CHANGED, ROWS_READ, TOPICS, Topic
from tests.chaos.proxy import HttpProxy, LoopThread
from tests.chaos.proxy.http import Fault
from tests.integration.stack import Servers
from tests.unit.sluice.samples import event_of


@pytest.fixture
def registry(stack: Servers) -> str:
    return stack.env["SCHEMA_REGISTRY_URL"]


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Topic, dict[str, Any]], None]:
    """Give the record of a topic one more field, as if its schema file had it."""
    stored = avro.schema_text

    def change(topic: Topic, field: dict[str, Any]) -> None:
        schema = json.loads(stored(topic.name))
        schema["fields"].append(field)
        text = json.dumps(schema)
        monkeypatch.setattr(avro, "schema_text", lambda name: text if name == topic.name else stored(name))

    return change


@pytest.mark.requirement("B-02")
async def test_pushing_again_changes_nothing(registry: str) -> None:
    """And every subject is held to what its topic promises its readers."""
    assert await avro.push_schemas(registry) == []
    assert await avro.check_schemas(registry) == []
    async with AsyncSchemaRegistryClient({"url": registry}) as client:
        for topic in TOPICS.values():
            level = (await client.get_config(topic.subject)).compatibility_level
            assert getattr(level, "value", level) == topic.compatibility


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize("topic", [CONTACTS_IMPORTED, ROWS_READ], ids=lambda topic: topic.name)
async def test_a_breaking_change_is_refused_and_named(
    registry: str, changed: Callable[[Topic, dict[str, Any]], None], topic: Topic
) -> None:
    """A field without a default cannot be read from older messages; nothing is registered."""
    changed(topic, {"name": "shoe_size", "type": "int", "doc": "x"})
    for call in (avro.check_schemas, avro.push_schemas):
        with pytest.raises(SchemaIncompatible, match="shoe_size"):
            await call(registry)
    async with AsyncSchemaRegistryClient({"url": registry}) as client:
        assert await client.get_versions(topic.subject) == [1]


@pytest.mark.requirement("B-02")
async def test_a_field_with_a_default_may_come(
    registry: str, changed: Callable[[Topic, dict[str, Any]], None]
) -> None:
    """It is what would be pushed; looking does not push it."""
    changed(CONTACTS_IMPORTED, {"name": "shoe_size", "type": "int", "default": 0, "doc": "x"})
    assert await avro.check_schemas(registry) == [CONTACTS_IMPORTED.subject]
    async with AsyncSchemaRegistryClient({"url": registry}) as client:
        assert await client.get_versions(CONTACTS_IMPORTED.subject) == [1]


async def test_a_registry_that_is_away_is_an_outage() -> None:
    """Not a schema's fault."""
    with pytest.raises(RegistryUnavailable):
        await avro.load_codec("http://127.0.0.1:9")


@pytest.mark.requirement("B-02")
async def test_a_schema_that_was_pushed_since_the_start_is_learnt(registry: str) -> None:
    """A message of a newer writer is decoded by a process that started before its schema was there."""
    codec = await avro.load_codec(registry)
    event = event_of(DNC_CHANGED.name)
    newer = json.loads(avro.schema_text(DNC_CHANGED.name))
    newer["fields"].append({"name": "note", "type": "string", "default": "", "doc": "Whatever."})
    async with AsyncSchemaRegistryClient({"url": registry}) as client:
        schema_id = await client.register_schema(DNC_CHANGED.subject, Schema(json.dumps(newer), "AVRO"))
    data = avro.HEADER.pack(0, schema_id) + codec.encode(DNC_CHANGED.name, event)[avro.HEADER.size :] + b"\0"
    with pytest.raises(MessageUndecodable, match="not known"):
        codec.decode(DNC_CHANGED.name, DncChanged, data)
    await codec.learn(data)
    assert codec.decode(DNC_CHANGED.name, DncChanged, data) == event


@pytest.mark.requirement("B-02")
async def test_only_the_registry_says_that_a_schema_is_unknown(registry: str) -> None:
    """While it answers 500, or not at all, nothing is known of a message; an id it never gave is poison."""
    garbage = [avro.HEADER.pack(0, schema_id) + b"x" for schema_id in (0, 999_999, 2**31, 2**32 - 1)]
    with LoopThread() as thread:
        proxy = HttpProxy(thread, registry)
        codec = await avro.load_codec(f"http://127.0.0.1:{proxy.start()}")
        for fault in (Fault("status", status=500), Fault("status", status=503), Fault("drop"), Fault("cut")):
            proxy.faults = (fault,)
            with pytest.raises(RegistryUnavailable):
                await codec.learn(garbage[1])
        proxy.heal()
        for data in (*garbage, b"\x01\0\0\0\x05x", b"", None):
            await codec.learn(data)
            with pytest.raises(MessageUndecodable):
                codec.decode(DNC_CHANGED.name, DncChanged, data)
        proxy.stop()
