"""The documents made from the code are committed as the code makes them, and are what they claim to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import pytest
import yaml

from sluice import documents
from sluice.asyncapi import document
from sluice.cloudevents import cloud_headers
from sluice.documents import asyncapi_yaml, metrics_page, outdated, write
from sluice.telemetry import METRICS
from sluice.topics import TOPICS

TEXT = {"type": "string", "minLength": 1}
REFERENCE = {
    "type": "object",
    "properties": {"$ref": TEXT},
    "required": ["$ref"],
    "additionalProperties": False,
}
TAGS = {
    "type": "array",
    "uniqueItems": True,
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": TEXT},
    },
}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


def named(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": items, "propertyNames": {"pattern": r"^[\w.-]+$"}}


KAFKA_SERVER = closed(
    [], schemaRegistryUrl=TEXT, schemaRegistryVendor=TEXT, bindingVersion={"enum": ["0.4.0", "0.5.0"]}
)
KAFKA_CHANNEL = closed(
    [],
    topic=TEXT,
    partitions={"type": "integer", "minimum": 1},
    replicas={"type": "integer", "minimum": 1},
    topicConfiguration=closed(
        [],
        **{
            "cleanup.policy": {"type": "array", "items": {"enum": ["compact", "delete"]}},
            "retention.ms": {"type": "integer", "minimum": -1},
            "max.message.bytes": {"type": "integer", "minimum": 0},
        },
    ),
    bindingVersion={"enum": ["0.4.0", "0.5.0"]},
)
KAFKA_MESSAGE = closed(
    [],
    key={"type": "object"},
    schemaIdLocation={"enum": ["header", "payload"]},
    schemaIdPayloadEncoding=TEXT,
    schemaLookupStrategy=TEXT,
    bindingVersion={"enum": ["0.4.0", "0.5.0"]},
)
SPECIFICATION = closed(
    ["asyncapi", "info"],
    asyncapi={"const": "3.0.0"},
    info=closed(
        ["title", "version"],
        title=TEXT,
        version=TEXT,
        description=TEXT,
        license=closed(["name"], name=TEXT, url=TEXT),
    ),
    defaultContentType=TEXT,
    servers=named(
        closed(
            ["host", "protocol"],
            host={"type": "string", "pattern": r"^[^/]+$"},
            protocol=TEXT,
            description=TEXT,
            bindings=closed([], kafka=KAFKA_SERVER),
        )
    ),
    channels=named(
        closed(
            [],
            address=TEXT,
            description=TEXT,
            messages=named(REFERENCE),
            servers={"type": "array", "items": REFERENCE},
            tags=TAGS,
            bindings=closed([], kafka=KAFKA_CHANNEL),
        )
    ),
    operations=named(
        closed(
            ["action", "channel"],
            action={"enum": ["send", "receive"]},
            channel=REFERENCE,
            summary=TEXT,
            messages={"type": "array", "items": REFERENCE},
        )
    ),
    components=closed(
        [],
        messages=named(
            closed(
                [],
                name=TEXT,
                title=TEXT,
                summary=TEXT,
                contentType=TEXT,
                headers={"type": "object"},
                payload=closed(
                    ["schemaFormat", "schema"],
                    schemaFormat={"pattern": r"^application/vnd\.apache\.avro(\+json)?;version=1\.9\.0$"},
                    schema={"type": "object"},
                ),
                bindings=closed([], kafka=KAFKA_MESSAGE),
            )
        ),
        schemas=named({"type": "object"}),
    ),
)
"""The objects of AsyncAPI 3.0.0 that the document uses, with the fields that the specification has."""


def references(value: Any) -> list[str]:
    """All `$ref`s in a document."""
    if isinstance(value, dict):
        return (
            [value["$ref"]] if "$ref" in value else [each for v in value.values() for each in references(v)]
        )
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


def resolved(whole: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        whole = whole[part]
    return whole


@pytest.mark.requirement("B-07")
def test_the_asyncapi_document_has_the_shape_of_the_specification() -> None:
    """Every object holds what AsyncAPI 3.0.0 requires and nothing that it does not know."""
    jsonschema.validate(document(), SPECIFICATION, cls=jsonschema.Draft202012Validator)


@pytest.mark.requirement("B-07")
def test_every_reference_leads_somewhere_it_may() -> None:
    """Channels point at components, operations at channels and at messages of their own channel."""
    whole = document()
    assert references(whole)
    for reference in references(whole):
        resolved(whole, reference)
    for operation in whole["operations"].values():
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        assert all(each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"])


@pytest.mark.requirement("B-07")
def test_every_topic_is_described_with_its_schema() -> None:
    """Catalogue and document name the same topics; each payload is a valid Avro schema."""
    whole = document()
    assert set(whole["channels"]) == set(TOPICS)
    for name, topic in TOPICS.items():
        channel = whole["channels"][name]
        assert channel["bindings"]["kafka"]["partitions"] == topic.partitions
        (message,) = [resolved(whole, each["$ref"]) for each in channel["messages"].values()]
        fastavro.parse_schema(message["payload"]["schema"])
        assert topic.key in message["bindings"]["kafka"]["key"]["description"]
        assert ("headers" in message) == topic.public
    public = {name for name, topic in TOPICS.items() if topic.public}
    assert {name.removeprefix("receive.") for name in whole["operations"]} == public


def test_the_described_headers_are_the_ones_that_are_sent() -> None:
    """The document and `cloud_headers` name the same."""
    sent = cloud_headers("t", event_id="e", organization_id="o", subject="s", time_ms=0)
    described = document()["components"]["schemas"]["CloudEventsHeaders"]
    assert [name for name, _ in sent] == described["required"] == list(described["properties"])


def test_the_yaml_says_what_the_document_says() -> None:
    """Written out and read in again it is the same."""
    assert yaml.safe_load(asyncapi_yaml()) == document()


@pytest.mark.requirement("S0-040")
def test_every_metric_is_in_the_page() -> None:
    """With its kind, its labels and its sentence."""
    rows = {
        line.split("|")[1].strip(): line for line in metrics_page().splitlines() if line.startswith("| `")
    }
    assert set(rows) == {f"`{metric.name}`" for metric in METRICS}
    for metric in METRICS:
        row = rows[f"`{metric.name}`"]
        assert metric.kind in row
        assert metric.help in row
        assert all(f"`{label}`" in row for label in metric.labels)


def test_the_committed_documents_are_up_to_date() -> None:
    """Otherwise run `python -m sluice.documents`."""
    assert outdated() == []


def test_an_outdated_document_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, changed by hand, or made from an older catalogue."""
    assert outdated(tmp_path) == ["asyncapi.yaml", "metrics.md"]
    write(tmp_path)
    assert outdated(tmp_path) == []
    (tmp_path / "metrics.md").write_text(metrics_page() + "more\n", encoding="utf-8")
    assert outdated(tmp_path) == ["metrics.md"]
    monkeypatch.setattr(documents, "METRICS", METRICS[:-1])
    assert "metrics.md" in outdated(tmp_path)
