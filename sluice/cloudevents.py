"""CloudEvents 1.0 headers of public events, in the Kafka binding's binary mode.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from datetime import UTC, datetime

Headers = list[tuple[str, bytes]]


def cloud_headers(topic: str, *, event_id: str, organization_id: str, subject: str, time_ms: int) -> Headers:
    """The headers of one event: its type is its topic, its source the tenant, its subject the contact.

    `event_id` is the same for every repetition, so a consumer can drop what it has seen; `time_ms` is when it
    happened, in milliseconds since 1970.
    """
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", topic.encode()),
        ("ce_source", f"/organizations/{organization_id}".encode()),
        ("ce_time", rfc3339(time_ms).encode()),
        ("ce_subject", subject.encode()),
    ]


def rfc3339(time_ms: int) -> str:
    """Milliseconds since 1970 as CloudEvents writes a time: `2026-01-01T00:00:00.000Z`."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"
