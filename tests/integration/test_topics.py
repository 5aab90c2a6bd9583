"""Topics on a real broker: made as the catalogue says, mended where they differ, or refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from sluice import broker
from sluice.broker import ensure_topics
from sluice.errors import BrokerUnavailable, TopicMismatch
from sluice.topics import CONTACTS_IMPORTED, Topic, all_topics
from tests.integration.stack import Servers


@pytest.fixture
def bootstrap(stack: Servers) -> str:
    return stack.env["KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture
def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})


@pytest.fixture
def own(admin: AdminClient) -> Iterator[Topic]:
    """A topic that only this test knows."""
    topic = replace(CONTACTS_IMPORTED, name=f"own.{uuid.uuid4().hex}.v1", partitions=3)
    yield topic
    for future in admin.delete_topics([topic.name]).values():
        future.exception()


def config(admin: AdminClient, name: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    entries = admin.describe_configs([resource])[resource].result()
    return {key: entry.value for key, entry in entries.items()}


@pytest.mark.requirement("B-02")
async def test_every_topic_is_as_the_catalogue_says(bootstrap: str, admin: AdminClient) -> None:
    """Partitions, clean-up and retention of all of them, dead letters and changelogs included."""
    await ensure_topics(bootstrap)
    held = admin.list_topics(timeout=10).topics
    for topic in all_topics():
        assert len(held[topic.name].partitions) == topic.partitions
        found = config(admin, topic.name)
        assert {name: found[name] for name in topic.config} == topic.config


async def test_it_is_safe_to_repeat(bootstrap: str) -> None:
    """A second run makes nothing."""
    await ensure_topics(bootstrap)
    assert await ensure_topics(bootstrap) == []


async def test_a_setting_that_differs_is_set(
    bootstrap: str, admin: AdminClient, own: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new retention in the catalogue reaches the topic; what the catalogue does not name stays."""
    monkeypatch.setattr(broker, "all_topics", lambda: (own,))
    assert await ensure_topics(bootstrap) == [own.name]
    longer = replace(own, retention_seconds=86_400 * 60)
    monkeypatch.setattr(broker, "all_topics", lambda: (longer,))
    assert await ensure_topics(bootstrap) == []
    assert config(admin, own.name)["retention.ms"] == str(86_400 * 60 * 1000)


async def test_another_partition_count_is_refused(
    bootstrap: str, own: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys would go elsewhere, so nobody mends it behind our back: the sentence says what to do."""
    monkeypatch.setattr(broker, "all_topics", lambda: (own,))
    await ensure_topics(bootstrap)
    more = replace(own, partitions=4)
    monkeypatch.setattr(broker, "all_topics", lambda: (more,))
    with pytest.raises(TopicMismatch, match=rf"{own.name} has 3 partitions, not 4"):
        await ensure_topics(bootstrap)


async def test_a_broker_that_is_away_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time that was given, and with a sentence."""
    monkeypatch.setattr(broker, "ADMIN_TIMEOUT_SECONDS", 1)
    with pytest.raises(BrokerUnavailable):
        await ensure_topics("127.0.0.1:1")
