"""The AsyncAPI 3.0 document of all topics, made from the catalogue and the Avro schemas.

Source of the format: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and its Kafka bindings.
"""

from __future__ import annotations

import json
from typing import Any

from sluice.avro import schema_text
from sluice.topics import TOPICS, Topic

Document = dict[str, Any]

VERSION = "1.0.0"
"""Of the agreement with subscribers; every event has a version of its own in its topic's name."""

SCHEMA_FORMAT = "application/vnd.apache.avro+json;version=1.9.0"

CLOUDEVENTS = {
    "ce_specversion": "Always 1.0.",
    "ce_id": "The event's id, the same for every repetition: drop what you have seen.",
    "ce_type": "The topic's name.",
    "ce_source": "The tenant: /organizations/ and its UUID.",
    "ce_time": "When it happened, RFC 3339 in UTC.",
    "ce_subject": "UUID of the contact.",
}
"""The headers of public events (sluice.cloudevents)."""


def document() -> Document:
    """The whole document: a channel and a message for each topic, an operation for each thing to do with one.

    The operations are those of an outside party: everybody may receive the public topics. Between our own
    roles each topic is sent by its writers and received by its readers; the tags say which those are.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sluice events",
            "version": VERSION,
            "description": (
                "Contacts that imports created or updated, and what Sluice's roles tell each other. Public"
                " topics may be subscribed to; their schemas change compatibly in both directions. Read with"
                " isolation.level=read_committed: then an event is seen once, and never before its contact"
                " can be read. Delivery of contacts.changed.v1 is at least once."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/vnd.apache.avro",
        "servers": {
            "local": {
                "host": "127.0.0.1:19092",
                "protocol": "kafka",
                "description": "The local stack's broker; its registry answers at 127.0.0.1:18081.",
                "bindings": {
                    "kafka": {
                        "schemaRegistryUrl": "http://127.0.0.1:18081/apis/ccompat/v7",
                        "schemaRegistryVendor": "apicurio",
                        "bindingVersion": "0.5.0",
                    }
                },
            }
        },
        "channels": {name: _channel(topic) for name, topic in TOPICS.items()},
        "operations": {
            f"receive.{name}": _operation(topic) for name, topic in TOPICS.items() if topic.public
        },
        "components": {
            "messages": {_record(topic): _message(topic) for topic in TOPICS.values()},
            "schemas": {"CloudEventsHeaders": _headers()},
        },
    }


def _record(topic: Topic) -> str:
    return str(_schema(topic)["name"])


def _schema(topic: Topic) -> Document:
    schema: Document = json.loads(schema_text(topic.name))
    return schema


def _channel(topic: Topic) -> Document:
    record = _record(topic)
    parties = [f"written by {name}" for name in topic.writers] + [f"read by {name}" for name in topic.readers]
    return {
        "address": topic.name,
        "description": _schema(topic)["doc"],
        "messages": {record: {"$ref": f"#/components/messages/{record}"}},
        "servers": [{"$ref": "#/servers/local"}],
        "tags": [{"name": "public" if topic.public else "internal"}, *({"name": each} for each in parties)],
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _configuration(topic: Topic) -> Document:
    numbers = ("retention.ms", "max.message.bytes")
    return {"cleanup.policy": [topic.cleanup]} | {
        name: int(topic.config[name]) for name in numbers if name in topic.config
    }


def _operation(topic: Topic) -> Document:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": _schema(topic)["doc"],
        "messages": [{"$ref": f"#/channels/{topic.name}/messages/{_record(topic)}"}],
    }


def _message(topic: Topic) -> Document:
    schema = _schema(topic)
    message: Document = {
        "name": schema["name"],
        "title": schema["name"],
        "summary": schema["doc"],
        "contentType": "application/vnd.apache.avro",
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": schema},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"{topic.key}, partitioned by murmur2."},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicIdStrategy",
                "bindingVersion": "0.5.0",
            }
        },
    }
    if topic.public:
        message["headers"] = {"$ref": "#/components/schemas/CloudEventsHeaders"}
    return message


def _headers() -> Document:
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in the Kafka binding's binary mode.",
        "required": list(CLOUDEVENTS),
        "properties": {
            name: {"type": "string", "description": meaning} for name, meaning in CLOUDEVENTS.items()
        },
    }
