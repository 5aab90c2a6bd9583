"""An outbox record becomes a message of its topic, or a dead letter that says why not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sluice.avro import Codec, parsed_schema
from sluice.events import EVENTS, ContactChanged, DncChanged, IdentitiesChanged, IdentityChange
from tasks.relay import MAX_VALUE_BYTES, Message, encode

IDS = {topic: number for number, topic in enumerate(EVENTS, start=1)}
CODEC = Codec(IDS, {number: parsed_schema(topic) for topic, number in IDS.items()})
CHANGED = ContactChanged(
    event_id="e1",
    organization_id="o1",
    contact_id="c1",
    version=4,
    action="deleted",
    changed_fields=[],
    changed_at=1_767_225_600_000,
)


def encoded(topic: str, event: Any, key: str = "k") -> Message:
    text = event if isinstance(event, str) else msgspec.json.encode(event).decode()
    return encode(CODEC, {"id": 7, "topic": topic, "key": key, "event": text})


@pytest.mark.requirement("B-07")
def test_a_public_event_carries_cloudevents_headers() -> None:
    """Value in the registry's wire format, key as given, headers from the event."""
    message = encoded("contacts.changed.v1", CHANGED, "c1")
    assert (message.topic, message.key, message.problem) == ("contacts.changed.v1", b"c1", None)
    assert CODEC.decode("contacts.changed.v1", ContactChanged, message.value) == CHANGED
    headers = dict(message.headers)
    assert headers["ce_id"] == b"e1"
    assert headers["ce_subject"] == b"c1"
    assert headers["ce_time"] == b"2026-01-01T00:00:00.000Z"


def test_bytes_travel_through_the_outbox_as_base64() -> None:
    """Hashes and ids come out as they went in."""
    change = IdentityChange(
        kind="email", hash=b"\x00\xff", contact_id=None, fingerprint=b"", other_hash=b"\x80"
    )
    event = IdentitiesChanged(organization_id="o", target="contacts", scope="", changes=[change])
    message = encoded("identities.changed.v1", event)
    assert CODEC.decode("identities.changed.v1", IdentitiesChanged, message.value) == event
    assert message.headers == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "list_id"),
        ('{"list_id": 5, "version": 1, "changed_at": 2}', "Expected `str`"),
        ('{"list_id": "x", "version": "one", "changed_at": 2}', "Expected `int`"),
        ("null", "Expected `object`"),
        ('{"list_id": "x", "version": 99999999999999999999, "changed_at": 2}', "DncChanged"),
        ('{"list_id": "\\ud800", "version": 1, "changed_at": 2}', "DncChanged"),
    ],
)
def test_what_is_no_event_is_a_dead_letter_with_its_reason(text: str, problem: str) -> None:
    """The record's own bytes and the reason are kept; nothing is raised that would stop the rest."""
    message = encoded("dnc.changed.v1", text)
    assert message.topic == "dnc.changed.v1.dlq"
    assert (message.key, message.value) == (b"k", text.encode())
    assert message.problem is not None
    assert problem in message.problem
    headers = dict(message.headers)
    assert headers["dead_letter_topic"] == b"dnc.changed.v1"
    assert headers["dead_letter_outbox_id"] == b"7"
    assert headers["dead_letter_error"] == message.problem.encode()


def test_what_is_larger_than_a_message_may_be_is_a_dead_letter_that_fits() -> None:
    """Otherwise the broker would refuse it for ever, and everything behind it."""
    event = DncChanged(list_id="x" * (MAX_VALUE_BYTES + 1), version=1, changed_at=1)
    message = encoded("dnc.changed.v1", event)
    assert message.topic == "dnc.changed.v1.dlq"
    assert len(message.value) == MAX_VALUE_BYTES
    assert "too many" in (message.problem or "")


def test_a_dead_letters_reason_shows_no_value() -> None:
    """Reasons are logged, so they name fields and types only."""
    secret = {"list_id": "x", "version": "ann@example.com", "changed_at": 1}
    message = encoded("dnc.changed.v1", json.dumps(secret))
    assert "ann@example.com" not in (message.problem or "")
