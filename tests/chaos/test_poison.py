"""Poison read offline: whatever a message says, reading it ends in a batch or in the one error.

What poison does to a running system is a fault of the rounds (`tests/chaos/faults/poison.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import msgspec
import pytest

from sinks.batch import Position, batch_of
from sluice.clock import FakeClock
from sluice.envelope import position_text
from sluice.errors import MessageUndecodable
from sluice.events import BatchApplied, IdentitiesChanged, RowsRead, RowsResolved
from sluice.telemetry import Telemetry
from sluice.topics import BATCH_APPLIED, IDENTITIES_CHANGED, ROWS_READ, ROWS_RESOLVED
from streams.decoding import decode_rows_read
from streams.fitting import encode_fitting
from streams.identities import claims_of
from streams.pipeline import STEPS
from streams.progress import advanced, progress_of
from streams.resolving import Resolver
from tests.chaos.mutants import (
    BATCHES,
    BURIED,
    LIES,
    MUTATED,
    SIMPLE,
    Message,
    contradictory,
    far_ahead,
    flipped,
    made_by,
    of_another,
    problem_of,
    stale_lease,
)
from tests.integration.sink_world import Given, ImportJob, message_of, offline_codec, options
from tests.unit.sluice.samples import event_of
from tests.unit.streams.batches import look_ups, make_read

CODEC = offline_codec()
FLIPS = 1_500
TOPICS = [topic.name for topic in MUTATED]


def real(topic: str) -> Message:
    """A real message of a topic, with the headers that its writer gives it."""
    event = event_of(topic)
    ids = {
        name: str(uuid.uuid4())
        for name in ("organization_id", "job_id", "list_id")
        if name in event.__struct_fields__
    }
    event = msgspec.structs.replace(event, **ids)
    if topic == ROWS_READ.name:
        event = make_read(
            ["e-mail", "Phone", "Tags"], [["a@example.com", "+12125550100", "x"], ["b@example.com", "", ""]]
        )
    elif topic == ROWS_RESOLVED.name:
        job = ImportJob(uuid.uuid4(), uuid.uuid4(), options())
        event = message_of(
            job, [Given({"email": "a@example.com"}), Given({"email": "b@example.com"})], None, ""
        )
    return Message(
        topic, 3, b"key", CODEC.encode(topic, event), headers_of(event) if topic in BATCHES else ()
    )


def headers_of(event: RowsRead | RowsResolved) -> tuple[tuple[str, bytes], ...]:
    facts = {
        "organization_id": event.organization_id,
        "job_id": event.job_id,
        "run": event.run,
        "lease_epoch": event.lease_epoch,
        "batch_no": event.batch_no,
        "first_row_no": event.first_row_no,
        "row_count": len(event.rows),
        "start": position_text(event.start),
        "end": position_text(event.end),
        "is_last": "true" if event.is_last else "false",
    }
    return tuple((name, str(fact).encode()) for name, fact in facts.items())


def flips(topic: str) -> Iterator[Message]:
    """A message with one to eight bits flipped, again and again."""
    chance, message = Random(topic), real(topic)
    for _ in range(FLIPS):
        yield flipped(message, chance)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_real_message_is_no_poison(topic: str) -> None:
    """Or the tests below would prove nothing."""
    assert problem_of(CODEC, real(topic)) is None


@pytest.mark.requirement("B-04")
@pytest.mark.parametrize("make", [make for make in dict.fromkeys(SIMPLE) if make is not flipped])
@pytest.mark.parametrize("topic", TOPICS)
def test_every_sort_of_damage_is_found(topic: str, make: Callable[[Message, Random], Message]) -> None:
    """Wrong magic byte, unknown schema, cut anywhere, null, empty, noise: poison on every topic."""
    chance, message = Random(1), real(topic)
    for _ in range(20):
        assert problem_of(CODEC, made_by(make, message, chance)) is not None


@pytest.mark.requirement("B-04")
@pytest.mark.parametrize("topic", TOPICS)
def test_a_message_cut_anywhere_is_poison(topic: str) -> None:
    """At every byte there is, not only at those that chance picks."""
    message = real(topic)
    assert message.value is not None
    for end in range(len(message.value)):
        assert problem_of(CODEC, cut_to(message, message.value[:end])) is not None, end


def cut_to(message: Message, value: bytes) -> Message:
    return Message(message.topic, message.partition, message.key, value, message.headers)


@pytest.mark.requirement("B-04")
@pytest.mark.parametrize("topic", sorted(BATCHES))
def test_every_lie_in_the_headers_is_found(topic: str) -> None:
    """A value that is whole does not make its headers true: nobody knows which of them was meant."""
    message = real(topic)
    for name, text in LIES:
        told = {**dict(message.headers), name: text.encode("latin-1")}
        if told != dict(message.headers):
            lied = Message(topic, 3, b"key", message.value, tuple(told.items()))
            assert problem_of(CODEC, lied) is not None, (name, text)


@pytest.mark.parametrize("topic", sorted(BATCHES))
def test_a_value_about_another_batch_than_its_headers_is_found(topic: str) -> None:
    """And what agrees is a batch, however wrong: the order of batches and the job's row decide then."""
    chance = Random(5)
    for _ in range(20):
        assert "contradicts" in (problem_of(CODEC, contradictory(CODEC, real(topic), chance)) or "")
        for make in (far_ahead, stale_lease, of_another):
            assert problem_of(CODEC, make(CODEC, real(topic), chance)) is None


@pytest.mark.requirement("B-04")
@pytest.mark.parametrize("topic", sorted(BURIED))
def test_flipped_bits_are_poison_or_a_message(topic: str) -> None:
    """Never another error: that would end the worker, and the message would end the next one too."""
    found = [problem_of(CODEC, message) for message in flips(topic)]
    assert sum(problem is None for problem in found) > 20
    assert sum(problem is not None for problem in found) > 20


@pytest.mark.requirement("B-04", "S0-027")
async def test_a_batch_that_flipped_bits_made_is_resolved_like_any_other() -> None:
    """Rows may fail, the batch goes on: no step, and no encoding, raises for a value that can be read."""
    resolver = Resolver(STEPS, Telemetry("test"), FakeClock(), lambda: False)
    went_on = 0
    for message in flips(ROWS_READ.name):
        try:
            read = decode_rows_read(CODEC, message.value)
        except MessageUndecodable:
            continue
        batch, _ = await resolver.resolve(read, look_ups())
        value = encode_fitting(CODEC, batch)
        # The sink knows more: that there is no such target, for one.
        with suppress(MessageUndecodable):
            batch_of(CODEC.decode(ROWS_RESOLVED.name, RowsResolved, value), Position(0, 0), value)
        went_on += 1
    assert went_on > 100


def test_what_flipped_bits_say_of_progress_and_identities_is_survived() -> None:
    """Progress is a display and identities are hints: a wrong one is wrong, and nothing raises."""
    for message in flips(BATCH_APPLIED.name):
        if problem_of(CODEC, message) is None:
            applied = CODEC.decode(BATCH_APPLIED.name, BatchApplied, message.value)
            progress = progress_of(advanced(None, applied), applied)
            CODEC.encode("imports.progress.v1", progress)
    for message in flips(IDENTITIES_CHANGED.name):
        if problem_of(CODEC, message) is None:
            claims_of(CODEC.decode(IDENTITIES_CHANGED.name, IdentitiesChanged, message.value))
