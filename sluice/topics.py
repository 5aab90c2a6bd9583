"""The catalogue of topics and consumer groups: names, keys, partitions, retention, who writes.

Dots separate, hyphens join. A key goes to a partition by murmur2, so every producer must use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DAY_SECONDS = 86_400

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A row may be 1 MiB in its file and three times that in UTF-8 (the euro sign of Windows-1252); the broker's
own limit of 1 MiB would refuse it for ever. A batch of 512 KiB grows alike. Producers need the same limit."""

PARTITIONS = 12
"""Fixed: another count would send a key elsewhere, so it means new topics after a drain (D2)."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_seconds` None keeps for ever; a compacted topic keeps the last value of a key."""

    name: str
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    retention_seconds: int | None = 7 * DAY_SECONDS
    cleanup: Literal["delete", "compact"] = "delete"
    public: bool = False
    partitions: int = PARTITIONS

    @property
    def subject(self) -> str:
        """The registry subject of its values."""
        return f"{self.name}-value"

    @property
    def compatibility(self) -> str:
        """What the registry lets a new version of the schema change."""
        return "FULL_TRANSITIVE" if self.public else "BACKWARD_TRANSITIVE"

    @property
    def dead_letters(self) -> str:
        """The topic of messages from this one that nobody could decode."""
        return f"{self.name}.dlq"

    @property
    def config(self) -> dict[str, str]:
        """The broker's settings for it."""
        limit = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
        if self.cleanup == "compact":
            return limit | {"cleanup.policy": "compact", "min.compaction.lag.ms": "60000"}
        kept = -1 if self.retention_seconds is None else self.retention_seconds * 1000
        return limit | {"cleanup.policy": "delete", "retention.ms": str(kept)}


IMPORTS_REQUESTED = Topic("imports.requested.v1", "job_id", ("ingress", "connectors"), ("reader",))
ROWS_READ = Topic("imports.rows-read.v1", "organization_id", ("reader",), ("streams",))
ROWS_RESOLVED = Topic("imports.rows-resolved.v1", "organization_id", ("streams",), ("sink",))
BATCH_APPLIED = Topic("imports.batch-applied.v1", "job_id", ("sink",), ("reader", "streams"))
PROGRESS = Topic("imports.progress.v1", "job_id", ("streams",), ("ingress",), cleanup="compact")
CONTACTS_IMPORTED = Topic(
    "contacts.imported.v1", "contact_id", ("sink",), (), retention_seconds=30 * DAY_SECONDS, public=True
)
CONTACTS_CHANGED = Topic(
    "contacts.changed.v1", "contact_id", ("tasks",), (), retention_seconds=30 * DAY_SECONDS, public=True
)
IDENTITIES_CHANGED = Topic("identities.changed.v1", "organization_id", ("tasks", "sink"), ("streams",))
DNC_CHANGED = Topic("dnc.changed.v1", "list_id", ("tasks",), ("streams",), cleanup="compact")

TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        IMPORTS_REQUESTED,
        ROWS_READ,
        ROWS_RESOLVED,
        BATCH_APPLIED,
        PROGRESS,
        CONTACTS_IMPORTED,
        CONTACTS_CHANGED,
        IDENTITIES_CHANGED,
        DNC_CHANGED,
    )
}
"""Every topic that carries one of our events."""

DEAD_LETTERED = (ROWS_READ, ROWS_RESOLVED, BATCH_APPLIED, IDENTITIES_CHANGED, CONTACTS_CHANGED, DNC_CHANGED)
"""Topics with a `<topic>.dlq`: for what a reader cannot decode, or the outbox relay cannot encode."""

STREAMS_GROUP = "sluice-streams"
SINK_GROUP = "sluice-sink"
GROUPS = (STREAMS_GROUP, SINK_GROUP)
"""Consumer groups that commit offsets; every other reader follows its topics whole, without a group."""

IDENTITIES_CHANGELOG = f"{STREAMS_GROUP}-identities-changelog"
PROGRESS_CHANGELOG = f"{STREAMS_GROUP}-progress-changelog"

INFRASTRUCTURE: tuple[Topic, ...] = (
    *(
        Topic(topic.dead_letters, "as the original", topic.readers, (), retention_seconds=30 * DAY_SECONDS)
        for topic in DEAD_LETTERED
    ),
    # Deleted, never compacted: one record holds a whole batch, and recovery replays them in order (D5).
    Topic(IDENTITIES_CHANGELOG, "organization_id", ("streams",), ("streams",), retention_seconds=None),
    Topic(PROGRESS_CHANGELOG, "job_id", ("streams",), ("streams",), cleanup="compact"),
)
"""Dead letters and changelogs: they carry no event of ours, so they have no schema."""


def all_topics() -> tuple[Topic, ...]:
    """Everything that `sluice topics` makes."""
    return (*TOPICS.values(), *INFRASTRUCTURE)
