"""What the streams app asks of Kafka."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from streams.app import leave_out

INPUT, CHANGELOG, OTHER = TP("rows", 0), TP("changelog", 0), TP("changelog", 1)


async def test_a_changelog_is_fetched_only_while_its_table_is_read() -> None:
    """Paused when nobody wants it, resumed for a recovery; the input is left alone."""
    consumer = AIOKafkaConsumer()
    consumer.assign([TopicPartition(*each) for each in (INPUT, CHANGELOG, OTHER)])
    leave_out(consumer, {"changelog"}, {INPUT})
    assert consumer.paused() == {CHANGELOG, OTHER}
    leave_out(consumer, {"changelog"}, {OTHER})
    assert consumer.paused() == {CHANGELOG}
    leave_out(consumer, {"changelog"}, {INPUT})
    assert consumer.paused() == {CHANGELOG, OTHER}
    await consumer.stop()
