"""The catalogue of topics: the names that everyone agreed on, and what follows from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sinks
from sluice.broker import partition_of
from sluice.topics import DAY_SECONDS, DEAD_LETTERED, GROUPS, TOPICS, all_topics

FIXED = {
    "imports.requested.v1": ("job_id", 7, False),
    "imports.rows-read.v1": ("organization_id", 7, False),
    "imports.rows-resolved.v1": ("organization_id", 7, False),
    "imports.batch-applied.v1": ("job_id", 7, False),
    "imports.progress.v1": ("job_id", None, False),
    "contacts.imported.v1": ("contact_id", 30, True),
    "contacts.changed.v1": ("contact_id", 30, True),
    "identities.changed.v1": ("organization_id", 7, False),
    "dnc.changed.v1": ("list_id", None, False),
}


@pytest.mark.requirement("B-02", "B-07")
@pytest.mark.parametrize("name", FIXED)
def test_a_topic_has_its_fixed_key_and_retention(name: str) -> None:
    """Names, keys, how long they are kept and who may read them are the agreement with subscribers."""
    key, days, public = FIXED[name]
    topic = TOPICS[name]
    assert (topic.key, topic.public, topic.partitions) == (key, public, 12)
    if days is None:
        assert topic.config["cleanup.policy"] == "compact"
        assert "retention.ms" not in topic.config
    else:
        assert topic.config["cleanup.policy"] == "delete"
        assert topic.config["retention.ms"] == str(days * DAY_SECONDS * 1000)


def test_there_are_no_other_topics() -> None:
    """A topic that nobody agreed on does not exist."""
    assert set(TOPICS) == set(FIXED)


@pytest.mark.requirement("B-02")
def test_a_topics_schema_may_change_compatibly_only() -> None:
    """Public topics both ways, ours so that new readers read old messages."""
    expected = {True: "FULL_TRANSITIVE", False: "BACKWARD_TRANSITIVE"}
    for each in TOPICS.values():
        assert each.compatibility == expected[each.public]
        assert each.subject == f"{each.name}-value"


def test_names_follow_the_convention() -> None:
    """Dots separate, hyphens join, the version ends it; and no two topics collide in a metric's name."""
    assert all(re.fullmatch(r"[a-z]+\.[a-z-]+\.v\d+", name) for name in TOPICS)
    names = [topic.name for topic in all_topics()]
    assert len({name.replace(".", "_") for name in names}) == len(names)


def test_dead_letters_keep_the_partition_count_and_last_longer() -> None:
    """A dead letter lies under the same key for 30 days, long enough to be looked into."""
    by_name = {topic.name: topic for topic in all_topics()}
    for topic in DEAD_LETTERED:
        dead = by_name[f"{topic.name}.dlq"]
        assert dead.partitions == topic.partitions
        assert dead.retention_seconds == 30 * DAY_SECONDS


def test_the_outbox_takes_the_relays_topics_only() -> None:
    """A record for another topic is refused when it is written, and each can become a dead letter."""
    sql = (Path(sinks.__path__[0]) / "migrations" / "0001_initial.sql").read_text(encoding="utf-8")
    table = sql.partition("CREATE TABLE outbox")[2].partition(";")[0]
    allowed = set(re.findall(r"'([a-z.-]+v\d+)'", table))
    relayed = {topic.name for topic in TOPICS.values() if "tasks" in topic.writers}
    assert allowed == relayed
    assert relayed <= {topic.name for topic in DEAD_LETTERED}


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        (b"", (275646681 & 0x7FFFFFFF) % 12),
        (b"21", (-973932308 & 0x7FFFFFFF) % 12),
        (b"foobar", (-790332482 & 0x7FFFFFFF) % 12),
        (b"a-little-bit-long-string", (-985981536 & 0x7FFFFFFF) % 12),
        (b"a-little-bit-longer-string", (-1486304829 & 0x7FFFFFFF) % 12),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", (-58897971 & 0x7FFFFFFF) % 12),
        (b"abc", (479470107 & 0x7FFFFFFF) % 12),
    ],
)
def test_a_key_goes_where_every_client_sends_it(key: bytes, partition: int) -> None:
    """The hashes are those of Kafka's own UtilsTest.testMurmur2, so Java clients agree."""
    assert partition_of(key, 12) == partition


def test_groups_are_the_two_that_commit_offsets() -> None:
    """Everybody else follows topics whole."""
    assert GROUPS == ("sluice-streams", "sluice-sink")
