"""Follows the contacts that imports created or updated, each once, and prints them.

    pip install "confluent-kafka[avro,schemaregistry]"
    KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:19092 SCHEMA_REGISTRY_URL=http://127.0.0.1:18081/apis/ccompat/v7 \
        python examples/subscriber.py
"""

import os

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "contacts.imported.v1"

consumer = Consumer(
    {
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "group.id": os.environ.get("GROUP", "example-subscriber"),
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",  # an event is seen only after its contact can be read
        "enable.auto.commit": False,
    }
)
decode = AvroDeserializer(SchemaRegistryClient({"url": os.environ["SCHEMA_REGISTRY_URL"]}))
newest: dict[str, int] = {}  # keep it where your contacts are, and commit both together

consumer.subscribe([TOPIC])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise SystemExit(str(message.error()))
        event = decode(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
        if event["version"] > newest.get(event["contact_id"], 0):  # a contact's version only rises
            newest[event["contact_id"]] = event["version"]
            print(
                event["action"], event["contact"]["email"], "from row", event["lineage"]["row_no"], flush=True
            )
        consumer.commit(message)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
