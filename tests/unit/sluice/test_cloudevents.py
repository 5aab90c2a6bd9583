"""The CloudEvents headers of public events."""

from __future__ import annotations

import pytest

from sluice.cloudevents import cloud_headers, rfc3339


@pytest.mark.requirement("B-07")
def test_a_public_event_says_what_it_is_in_its_headers() -> None:
    """A consumer can route and deduplicate without decoding the value."""
    headers = cloud_headers(
        "contacts.changed.v1", event_id="e1", organization_id="o1", subject="c1", time_ms=1_767_225_600_007
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_type": b"contacts.changed.v1",
        "ce_source": b"/organizations/o1",
        "ce_time": b"2026-01-01T00:00:00.007Z",
        "ce_subject": b"c1",
    }


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_700_000_000_001, "2023-11-14T22:13:20.001Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_times_keep_their_milliseconds(milliseconds: int, text: str) -> None:
    """No rounding up into the next second."""
    assert rfc3339(milliseconds) == text
